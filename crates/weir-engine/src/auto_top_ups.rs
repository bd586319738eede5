//! Automatic top-ups: asked for by an event when credit runs low, answered by the operator.

use std::sync::Arc;

use serde_json::json;
use weir_core::id::AccountId;
use weir_core::money::Nano;
use weir_core::time::Timestamp;
use weir_store::commit::Commit;
use weir_store::error::ReadError;
use weir_store::load::Loaded;
use weir_store::op::{Expected, Op, Put, Urgency};

use crate::auto_top_up::{ANSWERED_WITHIN, AutoRequest, AutoRule, AutoState, AutoStep};
use crate::cell::{AccountCell, Live};
use crate::change::ChangeError;
use crate::engine::Engine;
use crate::event::event;

impl Engine {
    /// Asks for a top-up where one is due. Called each second for what changed, and each minute
    /// for all.
    pub(crate) fn ask_top_ups(&self, cells: &[Arc<AccountCell>]) {
        let mut asked = Vec::new();
        for cell in cells {
            let record = cell.record.load();
            let Some(rule) = record.auto_top_up.as_ref().and_then(AutoRule::read) else { continue };
            asked.extend(self.ask_top_up(cell, &rule));
        }
        for (cell, before, commit) in asked {
            if let Err(error) = commit.wait() {
                tracing::warn!(account = %cell.id, %error, "a top-up could not be asked for");
                cell.live.lock().auto = before;
            }
        }
    }

    fn ask_top_up<'a>(
        &self,
        cell: &'a Arc<AccountCell>,
        rule: &AutoRule,
    ) -> Option<(&'a Arc<AccountCell>, AutoState, Commit)> {
        let mut live = cell.live.lock();
        if live.gone || !live.account.entitlement.is_charged() || !self.is_sound(cell) {
            return None;
        }
        let now = live.account.observe(self.now());
        let available = live.account.wallet.available(now);
        let before = live.auto.clone();
        let step = live.auto.next(rule, available, now)?;
        let turn = self.journal.turn();
        let mut data = json!({
            "account_id": cell.id.to_string(), "currency": self.currency(),
            "available": available.to_string(), "threshold": rule.threshold.to_string(),
            "topped_up_this_month": Nano::new(live.auto.spent).to_string(),
            "monthly_max": rule.monthly_max.map(|max| max.to_string()),
        });
        let kind = match step {
            AutoStep::Request(amount) => {
                let expires = now.plus(ANSWERED_WITHIN);
                let reference = format!("atu_{:016x}", self.next_id());
                data["reference"] = reference.as_str().into();
                data["amount"] = amount.to_string().into();
                data["expires_at_us"] = expires.micros().into();
                live.auto.pending = Some(AutoRequest {
                    reference,
                    amount: amount.to_string(),
                    at_us: now.micros(),
                    expires_us: expires.micros(),
                });
                "wallet.auto_top_up_requested"
            }
            AutoStep::Expired => {
                data["reason"] = "expired".into();
                data["reference"] = reference_of(&live).into();
                live.auto.expire(now);
                "wallet.auto_top_up_failed"
            }
            AutoStep::Bound => {
                data["reason"] = "monthly_max".into();
                live.auto.told_bound = true;
                "wallet.auto_top_up_failed"
            }
        };
        let told = Op::Event(event(self, kind, Some(cell.id), &data));
        let kept = kept_auto(cell.id, &live.auto, now).ok()?;
        Some((cell, before, turn.commit(Urgency::Fresh, vec![told, kept])))
    }

    /// Takes the answer that the top-up which was asked for is not made: the next one waits.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]: no request of that reference is open, or the store.
    pub async fn decline_top_up(
        &self,
        cell: &Arc<AccountCell>,
        reference: &str,
        reason: &str,
    ) -> Result<(), ChangeError> {
        let _turn = self.changes.lock().await;
        let (commit, before) = {
            let mut live = cell.live.lock();
            let now = live.account.observe(self.now());
            if reference_of(&live).as_deref() != Some(reference) {
                return Err(unknown());
            }
            let before = live.auto.clone();
            live.auto.fail(now);
            let turn = self.journal.turn();
            let data = json!({
                "account_id": cell.id.to_string(), "reference": reference,
                "reason": "declined", "detail": reason,
            });
            let told = Op::Event(event(self, "wallet.auto_top_up_failed", Some(cell.id), &data));
            let kept = kept_auto(cell.id, &live.auto, now)?;
            (turn.commit(Urgency::Fresh, vec![told, kept]), before)
        };
        commit.await.map(drop).inspect_err(|_| cell.live.lock().auto = before).map_err(Into::into)
    }

    /// The top-up that was asked for and waits for its answer.
    pub fn top_up_asked(&self, cell: &AccountCell) -> Option<AutoRequest> {
        cell.live.lock().auto.pending.clone()
    }

    pub(crate) fn load_auto_top_ups(&self, loaded: &Loaded) -> Result<(), ReadError> {
        loaded.resources(KIND, |resource| {
            let Some(cell) = self.account(AccountId(resource.id)) else { return };
            match serde_json::from_str(&resource.body) {
                Ok(state) => cell.live.lock().auto = state,
                Err(error) => {
                    tracing::error!(account = %cell.id, %error, "automatic top-ups begin anew");
                }
            }
        })
    }
}

/// Answers a request with credit, in the commit of that credit.
pub(crate) fn answered(
    live: &mut Live,
    account: AccountId,
    reference: &str,
    amount: Nano,
    now: Timestamp,
) -> Result<Op, ChangeError> {
    if !live.auto.answer(reference, amount, now) {
        return Err(unknown());
    }
    kept_auto(account, &live.auto, now)
}

fn reference_of(live: &Live) -> Option<String> {
    live.auto.pending.as_ref().map(|pending| pending.reference.clone())
}

fn kept_auto(account: AccountId, state: &AutoState, at: Timestamp) -> Result<Op, ChangeError> {
    let body = serde_json::to_string(state)?;
    let (kind, id, account, expected) = (KIND, account.0, Some(account), Expected::Any);
    Ok(Op::Put(Put { kind, id, account, at, body, expected }))
}

fn unknown() -> ChangeError {
    ChangeError::invalid("reference", "no automatic top-up of this reference waits for an answer")
}

const KIND: &str = "auto_top_up";
