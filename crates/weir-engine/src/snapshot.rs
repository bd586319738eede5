//! Wallets as they are written behind: the durable part of an account that no entry tells anew.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use weir_core::alert::{Alerts, Burn, Level, LevelState, Notices, Standing, Told};
use weir_core::grant::Grant;
use weir_core::id::Seq;
use weir_core::ledger::{Category, Entry, EntryKind, Terms};
use weir_core::money::Nano;
use weir_core::price::Period;
use weir_core::time::Timestamp;
use weir_core::usage::{Meter, Usage};
use weir_core::wallet::replay::WalletState;
use weir_core::wallet::{LedgerFault, Wallet};

use crate::cell::{Live, Totals};
use crate::levels::Levels;

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct WalletRow {
    balance: i64,
    owed: i64,
    last_top_up: i64,
    promo_covered: i64,
    grants: Vec<GrantRow>,
    period_us: i64,
    totals: BTreeMap<Box<str>, Vec<u64>>,
    latest_us: i64,
    #[serde(default)]
    levels: LevelsRow,
}

/// What is kept for alerts.
#[derive(Debug, Default, Deserialize, Serialize)]
struct LevelsRow {
    /// Each level as it is written (depletion: empty) and where the account stands.
    #[serde(default)]
    standings: Vec<(String, u8)>,
    #[serde(default)]
    told: Vec<(u64, u8)>,
    #[serde(default)]
    burn: (i64, i64, i64, Option<u8>),
}

#[derive(Debug, Deserialize, Serialize)]
struct GrantRow {
    seq: u64,
    left: i64,
    promo: bool,
    priority: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_us: Option<i64>,
}

impl WalletRow {
    pub(crate) fn of(live: &Live) -> Self {
        let state = live.account.wallet.state(live.last_entry);
        let totals = live.totals.used.iter();
        let amounts = |usage: &Usage| Meter::ALL.map(|meter| usage.of(meter)).to_vec();
        Self {
            balance: state.balance.get(),
            owed: state.owed.get(),
            last_top_up: state.last_top_up.get(),
            promo_covered: state.promo_covered.get(),
            grants: state.grants.iter().map(GrantRow::of).collect(),
            period_us: live.totals.since.micros(),
            totals: totals.map(|(price, usage)| (price.clone(), amounts(usage))).collect(),
            latest_us: live.account.latest().micros(),
            levels: LevelsRow::of(&live.levels),
        }
    }

    pub(crate) fn state(&self, as_of: Seq) -> WalletState {
        WalletState {
            as_of,
            balance: Nano::new(self.balance),
            owed: Nano::new(self.owed),
            credit_line: Nano::ZERO,
            last_top_up: Nano::new(self.last_top_up),
            promo_covered: Nano::new(self.promo_covered),
            grants: self.grants.iter().map(GrantRow::grant).collect(),
        }
    }

    pub(crate) fn totals(&self) -> Totals {
        let usage = |amounts: &Vec<u64>| {
            let known = Meter::ALL.into_iter().zip(amounts);
            known.fold(Usage::NONE, |usage, (meter, amount)| usage.with(meter, *amount))
        };
        Totals {
            since: Timestamp::from_micros(self.period_us),
            used: self.totals.iter().map(|(price, all)| (price.clone(), usage(all))).collect(),
        }
    }

    /// Takes up the levels as they were kept.
    pub(crate) fn restore_levels(&self, levels: &mut Levels) {
        let standings = self.levels.standings.iter();
        let known = standings.filter_map(|(level, standing)| {
            let level = match level.as_str() {
                "" => Level::Depleted,
                text => Level::Low(text.parse().ok()?),
            };
            let standing = *STANDINGS.get(usize::from(*standing))?;
            Some(LevelState { level, standing })
        });
        levels.alerts = Alerts::restore(known).ok().filter(|alerts| !alerts.levels().is_empty());
        let told = self.levels.told.iter();
        levels.notices = Notices::restore(
            told.map(|(grant, stages)| Told { grant: Seq(*grant), stages: *stages }),
        );
        let (per_hour, open, hour, closed) = self.levels.burn;
        levels.burn = Burn { per_hour: Nano::new(per_hour), open: Nano::new(open), hour, closed };
    }

    pub(crate) fn latest(&self) -> Timestamp {
        Timestamp::from_micros(self.latest_us)
    }
}

impl LevelsRow {
    fn of(levels: &Levels) -> Self {
        let states = levels.alerts.as_ref().map_or(&[][..], |alerts| alerts.levels());
        let standing = |state: &LevelState| {
            let place = STANDINGS.iter().position(|standing| *standing == state.standing);
            let level = match state.level {
                Level::Depleted => String::new(),
                Level::Low(threshold) => threshold.to_string(),
            };
            (level, place.and_then(|place| u8::try_from(place).ok()).unwrap_or_default())
        };
        let told = levels.notices.told().iter().map(|told| (told.grant.0, told.stages));
        let Burn { per_hour, open, hour, closed } = levels.burn;
        Self {
            standings: states.iter().map(standing).collect(),
            told: told.collect(),
            burn: (per_hour.get(), open.get(), hour, closed),
        }
    }
}

impl GrantRow {
    fn of(grant: &Grant) -> Self {
        Self {
            seq: grant.seq.0,
            left: grant.remaining.get(),
            promo: grant.terms.category == Category::Promo,
            priority: grant.terms.priority,
            expires_us: grant.terms.expires_at.map(Timestamp::micros),
        }
    }

    fn grant(&self) -> Grant {
        let category = if self.promo { Category::Promo } else { Category::Paid };
        let expires_at = self.expires_us.map(Timestamp::from_micros);
        Grant {
            seq: Seq(self.seq),
            remaining: Nano::new(self.left),
            terms: Terms { category, priority: self.priority, expires_at },
        }
    }
}

/// Puts a wallet as it was kept in the place of what is posted; open holds stay.
pub(crate) fn take_up(live: &mut Live, row: &WalletRow, as_of: Seq) -> Result<(), LedgerFault> {
    let wallet = Wallet::from_state(&row.state(as_of))?;
    live.account.wallet.reread(wallet);
    live.totals = row.totals();
    live.last_entry = as_of;
    row.restore_levels(&mut live.levels);
    live.account.not_before(row.latest());
    Ok(())
}

/// Takes in an entry that the ledger has. What its alerts told was told in its commit.
pub(crate) fn replay_into(live: &mut Live, entry: &Entry) -> Result<(), LedgerFault> {
    live.account.wallet.replay(entry)?;
    live.last_entry = entry.seq;
    live.account.not_before(entry.at);
    // A charge with debt is two entries of one call: its usage counts once.
    if let Some(call) = &entry.call
        && entry.kind == EntryKind::Charge
    {
        live.totals.add(&call.price, &call.usage, Period::Month.start(entry.at));
    }
    if matches!(entry.kind, EntryKind::Charge | EntryKind::Debt) {
        live.levels.burn.record(-entry.amount, entry.at);
    }
    let Live { account, levels, .. } = live;
    if let Some(grant) = account.wallet.grants().find(|grant| grant.seq == entry.seq) {
        levels.notices.begin(grant, entry.at);
    }
    let reading = levels.reading(&account.wallet, entry.at);
    if let Some(alerts) = &mut levels.alerts {
        alerts.read(&reading);
    }
    Ok(())
}

const STANDINGS: [Standing; 3] = [Standing::Above, Standing::Below, Standing::Seeded];
