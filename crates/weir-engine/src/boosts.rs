//! Boosts: limits that are raised from one time until another.

use std::sync::Arc;

use serde_json::{Value, json};
use weir_core::id::{AccountId, BoostId};
use weir_core::plan::Boost;
use weir_core::time::{Span, Timestamp};
use weir_store::op::{Delete, Event, Expected, Op, Put, Urgency};

use crate::boosting::Boosting;
use crate::cell::AccountCell;
use crate::change::ChangeError;
use crate::engine::Engine;
use crate::event::event;
use crate::record::{BoostRecord, kind};
use crate::trail::Change;

impl Engine {
    /// Raises a limit of an account; durable before it is returned. What was used stays used.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]: no such account or limit, times or amounts out of range, too many boosts,
    /// or the store.
    pub async fn create_boost(
        &self,
        account: AccountId,
        record: BoostRecord,
    ) -> Result<Boosting, ChangeError> {
        let _turn = self.changes.lock().await;
        let id = BoostId(self.next_id());
        self.create_boost_in_turn(id, account, record, Vec::new).await
    }

    /// The same within one's turn, with more that is to be in the same commit. `more` is asked in
    /// one's turn at the journal, so that it may tell events.
    pub(crate) async fn create_boost_in_turn(
        &self,
        id: BoostId,
        account: AccountId,
        mut record: BoostRecord,
        more: impl FnOnce() -> Vec<Op>,
    ) -> Result<Boosting, ChangeError> {
        let cell = self.account(account).ok_or(ChangeError::NotFound)?;
        let now = self.now();
        self.check_boost(&cell, &record, now)?;
        let begins_now = record.from_us <= now.micros();
        record.begun = begins_now;
        let boosting = Boosting { id, account, record };
        let boost = boosting.boost()?;
        let mut ops = vec![self.put_boost(&boosting)?];
        ops.extend(self.audit(Change {
            action: "boost.created",
            subject: id.to_string(),
            account: Some(account),
            before: Value::Null,
            after: serde_json::to_value(&boosting.record)?,
        }));
        let turn = self.journal.turn();
        ops.extend(more());
        if begins_now {
            ops.push(Op::Event(boosting.told(self, "boost.started")));
        }
        let commit = turn.commit(Urgency::Fresh, ops);
        commit.await?;
        self.install_boost(&cell, boosting.clone(), boost);
        Ok(boosting)
    }

    /// Ends a boost now.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]: no such boost, or the store.
    pub async fn delete_boost(&self, id: BoostId) -> Result<(), ChangeError> {
        let _turn = self.changes.lock().await;
        let boosting = self.boost_edges.find(id).ok_or(ChangeError::NotFound)?;
        let mut ops = vec![delete(id)];
        ops.extend(self.audit(Change {
            action: "boost.deleted",
            subject: id.to_string(),
            account: Some(boosting.account),
            before: serde_json::to_value(&boosting.record)?,
            after: Value::Null,
        }));
        let turn = self.journal.turn();
        if boosting.record.begun {
            ops.push(Op::Event(boosting.told(self, "boost.ended")));
        }
        let commit = turn.commit(Urgency::Fresh, ops);
        commit.await?;
        self.boost_edges.0.lock().retain(|_, known| known.id != id);
        if let Some(cell) = self.account(boosting.account) {
            let mut live = cell.live.lock();
            live.boosts.retain(|(boost, _)| boost.id != id);
            let now = live.account.observe(self.now());
            self.entitle(&mut live, &self.policy(), &cell.record.load().plan, now);
        }
        Ok(())
    }

    /// The boosts of an account that act or are to come, oldest first.
    pub fn boosts_of(&self, account: AccountId) -> Vec<Boosting> {
        let edges = self.boost_edges.0.lock();
        let mut boosts: Vec<Boosting> =
            edges.values().filter(|known| known.account == account).cloned().collect();
        drop(edges);
        boosts.sort_unstable_by_key(|boosting| boosting.id);
        boosts
    }

    /// The boost of that id, if it acts or is to come.
    pub fn boost(&self, id: BoostId) -> Option<Boosting> {
        self.boost_edges.find(id)
    }

    /// Tells of boosts that have begun or ended by now. Called each second.
    pub(crate) fn tell_boosts(&self) {
        let now = self.now();
        for mut boosting in self.boost_edges.take_due(now) {
            if self.account(boosting.account).is_none() {
                drop(self.journal.commit(Urgency::Settlement, vec![delete(boosting.id)]));
                continue;
            }
            let ended = boosting.record.until_us <= now.micros();
            let mut ops = Vec::with_capacity(3);
            let turn = self.journal.turn();
            if !boosting.record.begun {
                ops.push(Op::Event(boosting.told(self, "boost.started")));
                boosting.record.begun = true;
            }
            if ended {
                ops.push(Op::Event(boosting.told(self, "boost.ended")));
                ops.push(delete(boosting.id));
            } else {
                ops.extend(self.put_boost(&boosting));
            }
            // Should it fail, a restart finds the boost as it was and tells of it then.
            drop(turn.commit(Urgency::Settlement, ops));
            if !ended {
                self.boost_edges.put(boosting);
            }
        }
    }

    /// Puts a boost in force, or in wait of its time.
    pub(crate) fn install_boost(&self, cell: &Arc<AccountCell>, boosting: Boosting, boost: Boost) {
        let mut live = cell.live.lock();
        live.boosts.push((boost, boosting.record.clone()));
        let now = live.account.observe(self.now());
        self.entitle(&mut live, &self.policy(), &cell.record.load().plan, now);
        drop(live);
        self.boost_edges.put(boosting);
    }

    fn check_boost(
        &self,
        cell: &AccountCell,
        record: &BoostRecord,
        now: Timestamp,
    ) -> Result<(), ChangeError> {
        if record.until_us <= record.from_us.max(now.micros()) {
            let why = "it must lie in the future and after `from`";
            return Err(ChangeError::invalid("until", why));
        }
        let length = Timestamp::from_micros(record.until_us).since(now);
        if length > LENGTH_MAX {
            return Err(ChangeError::invalid("until", "it may lie at most 366 days ahead"));
        }
        if self.boosts_of(cell.id).len() >= BOOSTS_MAX {
            let why = format!("the account has {BOOSTS_MAX} boosts already, which is the most");
            return Err(ChangeError::Conflict(why));
        }
        let live = cell.live.lock();
        let listed = live.account.entitlement.listed();
        let policy = self.policy();
        let by_name = listed.iter().any(|applied| *record.limit == *applied.limit.name);
        let by_class = policy.routes().iter().any(|route| *route.class == *record.limit);
        let known = by_name || record.value.is_none() && (by_class || record.limit == "*");
        if !known {
            let mut names: Vec<_> = listed.iter().map(|applied| applied.limit.name).collect();
            names.dedup();
            let all = "a class or `*` can be multiplied";
            let why = match &*names {
                [] => format!("no limit of its own applies to the account; {all}"),
                names => format!("there is no such limit; there are: {} ({all})", names.join(", ")),
            };
            return Err(ChangeError::invalid("limit", why));
        }
        Ok(())
    }

    fn put_boost(&self, boosting: &Boosting) -> Result<Op, ChangeError> {
        Ok(Op::Put(Put {
            kind: kind::BOOST,
            id: boosting.id.0,
            account: Some(boosting.account),
            at: self.now(),
            body: serde_json::to_string(&boosting.record)?,
            expected: Expected::Any,
        }))
    }
}

impl Boosting {
    /// As the rules know it.
    fn boost(&self) -> Result<Boost, ChangeError> {
        let one = "it takes one of `multiplier` and `value`";
        self.record.boost(self.id).ok_or_else(|| ChangeError::invalid("multiplier", one))
    }

    fn told(&self, engine: &Engine, what: &str) -> Event {
        let data = json!({
            "account_id": self.account.to_string(), "boost_id": self.id.to_string(),
            "limit": self.record.limit, "multiplier_ppm": self.record.multiplier_ppm,
            "value": self.record.value, "reason": self.record.reason,
        });
        event(engine, what, Some(self.account), &data)
    }
}

fn delete(id: BoostId) -> Op {
    Op::Delete(Delete { kind: kind::BOOST, id: id.0, expected: None })
}

const LENGTH_MAX: Span = Span::from_secs(366 * 86_400);
const BOOSTS_MAX: usize = 100;
