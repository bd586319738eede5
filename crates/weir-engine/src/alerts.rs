//! Alerts: what an account falls to and comes back from, told in the commit that moved it.

use std::sync::Arc;

use serde_json::{Value, json};
use weir_core::alert::{Crossing, Level, Standing};
use weir_core::id::AccountId;
use weir_core::money::Nano;
use weir_core::time::{Span, Timestamp};
use weir_store::op::{Once, Op, Urgency};

use crate::cell::{AccountCell, Live};
use crate::engine::Engine;
use crate::event::event;

/// A level as its owner sees it.
#[derive(Clone, Copy, Debug)]
pub struct AlertView {
    /// Which.
    pub level: Level,
    /// What it amounts to now; `None` while that is not known (no top-up, no burn rate).
    pub value: Option<Nano>,
    /// Whether the account is at or below it.
    pub reached: bool,
}

/// How fast an account spends.
#[derive(Clone, Copy, Debug)]
pub struct Spending {
    /// Per hour; `None` before six hours of history.
    pub per_hour: Option<Nano>,
    /// How long the available credit lasts at that rate.
    pub runway: Option<Span>,
}

impl Engine {
    /// Reads the levels of an account and tells what was crossed. To be called in one's turn at
    /// the journal, with what is committed in it.
    pub(crate) fn read_levels(
        &self,
        live: &mut Live,
        id: AccountId,
        now: Timestamp,
        ops: &mut Vec<Op>,
    ) {
        if !live.account.entitlement.is_charged() {
            return;
        }
        let reading = live.levels.reading(&live.account.wallet, now);
        let Some(alerts) = &mut live.levels.alerts else { return };
        let crossings = alerts.read(&reading);
        if crossings.is_empty() {
            return;
        }
        let wallet = &live.account.wallet;
        let runway = live.levels.burn.runway(reading.available, now);
        let facts = |crossed: &[&Crossing]| {
            let crossed: Vec<Value> = crossed.iter().map(|crossing| threshold(crossing)).collect();
            json!({
                "account_id": id.to_string(),
                "available": reading.available.to_string(),
                "balance": wallet.balance().to_string(),
                "held": wallet.held().to_string(),
                "currency": self.currency(),
                "thresholds": crossed,
                "burn_per_hour": reading.burn_per_hour.map(|burn| burn.to_string()),
                "runway_s": runway.map(Span::secs_ceil),
            })
        };
        let mut tell = |kind, crossed: Vec<&Crossing>| {
            if !crossed.is_empty() {
                ops.push(Op::Event(event(self, kind, Some(id), &facts(&crossed))));
            }
        };
        let is_depletion = |crossing: &&Crossing| crossing.level == Level::Depleted;
        let (depleted, low) = crossings.fallen.iter().partition(is_depletion);
        tell("wallet.depleted", depleted);
        tell("wallet.low", low);
        tell("wallet.recovered", crossings.recovered.iter().collect());
    }

    /// Reads the levels after a hold was refused: the account may be as good as empty without an
    /// entry that says so.
    pub(crate) fn read_levels_refused(&self, live: &mut Live, id: AccountId, now: Timestamp) {
        let turn = self.journal.turn();
        let mut ops = Vec::new();
        self.read_levels(live, id, now, &mut ops);
        if !ops.is_empty() {
            drop(turn.commit(Urgency::Settlement, ops));
        }
    }

    /// Tells of credit that is about to expire: each notice once.
    pub(crate) fn tell_expiring(&self, cell: &Arc<AccountCell>, clock: Timestamp) {
        let mut live = cell.live.lock();
        let now = live.account.observe(clock);
        let Live { account, levels, .. } = &mut *live;
        if levels.notices.next(account.wallet.grants()).is_none_or(|at| at > now) {
            return;
        }
        let due = levels.notices.due(account.wallet.grants(), now);
        self.touch(cell);
        for notice in due {
            let data = json!({
                "account_id": cell.id.to_string(),
                "grant": notice.grant.to_string(),
                "remaining": notice.remaining.to_string(),
                "expires_at_us": notice.expires_at.micros(),
                "days_before": notice.days_before,
            });
            let id = format!("{}:{}", notice.grant, notice.days_before).into();
            let turn = self.journal.turn();
            let ops = vec![
                Op::Once(Once { source: "grant.expiring".into(), id, at: now }),
                Op::Event(event(self, "grant.expiring", Some(cell.id), &data)),
            ];
            drop(turn.commit(Urgency::Settlement, ops));
        }
    }

    /// The levels of an account, and how fast it spends.
    pub fn alerts_of(&self, cell: &AccountCell) -> (Vec<AlertView>, Spending) {
        let mut live = cell.live.lock();
        let now = live.account.observe(self.now());
        let reading = live.levels.reading(&live.account.wallet, now);
        let levels = live.levels.alerts.as_ref().map_or(&[][..], |alerts| alerts.levels());
        let views = levels
            .iter()
            .map(|state| AlertView {
                level: state.level,
                value: state.level.value(&reading),
                reached: state.standing != Standing::Above,
            })
            .collect();
        let runway = live.levels.burn.runway(reading.available, now);
        (views, Spending { per_hour: reading.burn_per_hour, runway })
    }
}

/// The name of a level: a threshold as it is written, or `depleted`.
pub fn level_name(level: Level) -> String {
    match level {
        Level::Depleted => "depleted".to_owned(),
        Level::Low(threshold) => threshold.to_string(),
    }
}

fn threshold(crossing: &Crossing) -> Value {
    json!({ "name": level_name(crossing.level), "value": crossing.value.to_string() })
}
