//! Requests of customers for higher limits, and what the operator decides about them.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use weir_core::id::{AccountId, BoostId, IncreaseId};
use weir_core::limit::{InvalidRule, Rule, Terms, Unit};
use weir_core::money::Nano;
use weir_core::time::Timestamp;
use weir_store::op::{Event, Expected, Op, Put, Urgency};
use weir_store::read::Resource;

use crate::cell::AccountCell;
use crate::change::ChangeError;
use crate::engine::Engine;
use crate::event::event;
use crate::own::written;
use crate::record::{AccountRecord, BoostRecord};
use crate::trail::{Change, actor};

/// A request as it is kept.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct IncreaseRecord {
    /// The account's plan when it asked.
    pub plan: String,
    /// The limit's name.
    pub limit: String,
    /// How much the customer expects to need.
    pub expected_volume: Value,
    /// What for.
    pub use_case: String,
    /// From when on.
    pub timeline: String,
    /// Until when, in microseconds since the Unix epoch, where it is needed for some time only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_us: Option<i64>,
    /// What became of it.
    pub status: IncreaseStatus,
    /// What was granted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granted: Option<Value>,
    /// Why it was declined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The boost that grants it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boost_id: Option<String>,
    /// Who decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<String>,
    /// When, in microseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_at_us: Option<i64>,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum IncreaseStatus {
    /// Nothing yet.
    Pending,
    /// It was granted.
    Approved,
    /// It was not.
    Declined,
}

/// A request with its place.
#[derive(Clone, Debug)]
pub struct Increase {
    /// Its id.
    pub id: IncreaseId,
    /// Who asks.
    pub account: AccountId,
    /// How often it was changed, plus one.
    pub revision: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// The request.
    pub record: IncreaseRecord,
}

/// What a customer asks for.
#[derive(Clone, Debug)]
pub struct NewIncrease {
    /// The limit's name.
    pub limit: String,
    /// How much the customer expects to need.
    pub expected_volume: Value,
    /// What for.
    pub use_case: String,
    /// From when on.
    pub timeline: String,
    /// Until when, if for some time only.
    pub until: Option<Timestamp>,
}

impl Engine {
    /// Takes a request down; durable before it is returned.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]: no such limit, a time in the past, too many requests open, or the store.
    pub async fn request_increase(
        &self,
        cell: &AccountCell,
        new: NewIncrease,
    ) -> Result<Increase, ChangeError> {
        let _turn = self.changes.lock().await;
        let now = self.now();
        self.listed_rule(cell, &new.limit)?;
        if new.until.is_some_and(|until| until <= now) {
            return Err(ChangeError::invalid("until", "it must lie in the future"));
        }
        let pending = Some(IncreaseStatus::Pending);
        if self.increases(Some(cell.id), pending, None, PENDING_MAX).await?.len() >= PENDING_MAX {
            let why = format!("{PENDING_MAX} requests wait already, which is the most");
            return Err(ChangeError::Conflict(why));
        }
        let record = IncreaseRecord {
            plan: cell.record.load().plan.clone(),
            limit: new.limit,
            expected_volume: new.expected_volume,
            use_case: new.use_case,
            timeline: new.timeline,
            until_us: new.until.map(Timestamp::micros),
            status: IncreaseStatus::Pending,
            granted: None,
            reason: None,
            boost_id: None,
            decided_by: None,
            decided_at_us: None,
        };
        let id = IncreaseId(self.next_id());
        let (created_at, updated_at) = (now, now);
        let increase =
            Increase { id, account: cell.id, revision: 1, created_at, updated_at, record };
        let mut ops = vec![increase.put(now)?];
        let turn = self.journal.turn();
        ops.push(Op::Event(increase.told(self, "limit_increase.requested")));
        let commit = turn.commit(Urgency::Fresh, ops);
        commit.await?;
        Ok(increase)
    }

    /// Grants a request, in one commit with what it changes: the account's own value for the
    /// limit, or a boost where the request names an end. The next call sees it.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]: no such request or one that was decided before, a value that is no limit,
    /// or the store.
    pub async fn approve_increase(
        &self,
        id: IncreaseId,
        granted: Value,
    ) -> Result<Increase, ChangeError> {
        let _turn = self.changes.lock().await;
        let mut increase = self.pending_increase(id).await?;
        let cell = self.account(increase.account).ok_or(ChangeError::NotFound)?;
        let now = self.now();
        let rule = self.listed_rule(&cell, &increase.record.limit)?;
        let value = limit_value(&granted, &rule)?;
        self.decide(&mut increase, IncreaseStatus::Approved, now);
        increase.record.granted = Some(granted);
        let limit = increase.record.limit.clone();
        match increase.record.until_us {
            None => {
                let set = |record: &mut AccountRecord| {
                    record.limits.insert(limit, value);
                    Ok(())
                };
                let mut ops = self.decided_ops(&increase, "limit_increase.approved", now)?;
                let more = || {
                    ops.push(Op::Event(increase.told(self, "limit_increase.approved")));
                    ops
                };
                self.change_account_in_turn(increase.account, None, set, more).await?;
            }
            Some(until_us) => {
                let id = BoostId(self.next_id());
                increase.record.boost_id = Some(id.to_string());
                let boost = BoostRecord {
                    limit,
                    multiplier_ppm: None,
                    value: Some(quota_of(&value, &rule)?),
                    from_us: now.micros(),
                    until_us,
                    reason: format!("granted request {}", increase.id),
                    begun: false,
                };
                let mut ops = self.decided_ops(&increase, "limit_increase.approved", now)?;
                let more = || {
                    ops.push(Op::Event(increase.told(self, "limit_increase.approved")));
                    ops
                };
                self.create_boost_in_turn(id, increase.account, boost, more).await?;
            }
        }
        Ok(increase)
    }

    /// Declines a request.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]: no such request or one that was decided before, or the store.
    pub async fn decline_increase(
        &self,
        id: IncreaseId,
        reason: String,
    ) -> Result<Increase, ChangeError> {
        let _turn = self.changes.lock().await;
        let mut increase = self.pending_increase(id).await?;
        let now = self.now();
        self.decide(&mut increase, IncreaseStatus::Declined, now);
        increase.record.reason = Some(reason);
        let mut ops = self.decided_ops(&increase, "limit_increase.declined", now)?;
        let turn = self.journal.turn();
        ops.push(Op::Event(increase.told(self, "limit_increase.declined")));
        let commit = turn.commit(Urgency::Fresh, ops);
        commit.await?;
        Ok(increase)
    }

    /// One request.
    ///
    /// # Errors
    ///
    /// [`ChangeError`] where there is none, or the store fails.
    pub async fn increase(&self, id: IncreaseId) -> Result<Increase, ChangeError> {
        let found = self.read(move |reader| reader.resource(KIND, id.0)).await?;
        found.as_ref().map(Increase::read).transpose()?.ok_or(ChangeError::NotFound)
    }

    /// Requests (of one account, or all; of one status, or all) after an id, oldest first.
    ///
    /// # Errors
    ///
    /// [`ChangeError`] where the store fails.
    pub async fn increases(
        &self,
        account: Option<AccountId>,
        status: Option<IncreaseStatus>,
        mut after: Option<IncreaseId>,
        limit: usize,
    ) -> Result<Vec<Increase>, ChangeError> {
        let mut found = Vec::new();
        loop {
            let from = after.map(|after| after.0);
            let rows = self.read(move |reader| reader.resources(KIND, account, from, STEP)).await?;
            let last = rows.last().map(|row| IncreaseId(row.id));
            let full = rows.len() == STEP;
            for row in &rows {
                let increase = Increase::read(row)?;
                if status.is_none_or(|status| status == increase.record.status) {
                    found.push(increase);
                }
                if found.len() >= limit {
                    return Ok(found);
                }
            }
            if !full {
                return Ok(found);
            }
            after = last;
        }
    }

    async fn pending_increase(&self, id: IncreaseId) -> Result<Increase, ChangeError> {
        let increase = self.increase(id).await?;
        if increase.record.status != IncreaseStatus::Pending {
            return Err(ChangeError::Conflict("the request was decided before".to_owned()));
        }
        Ok(increase)
    }

    fn decide(&self, increase: &mut Increase, status: IncreaseStatus, now: Timestamp) {
        increase.record.status = status;
        increase.record.decided_by = actor().map(|actor| actor.name);
        increase.record.decided_at_us = Some(now.micros());
        increase.revision += 1;
        increase.updated_at = now;
    }

    fn decided_ops(
        &self,
        increase: &Increase,
        action: &str,
        now: Timestamp,
    ) -> Result<Vec<Op>, ChangeError> {
        let mut ops = vec![increase.put(now)?];
        ops.extend(self.audit(Change {
            action,
            subject: increase.id.to_string(),
            account: Some(increase.account),
            before: json!({"status": "pending"}),
            after: serde_json::to_value(&increase.record)?,
        }));
        Ok(ops)
    }

    /// The rule that the account's limit of that name has now.
    fn listed_rule(&self, cell: &AccountCell, name: &str) -> Result<Rule, ChangeError> {
        let live = cell.live.lock();
        let listed = live.account.entitlement.listed();
        if let Some(applied) = listed.iter().find(|applied| applied.limit.name == name) {
            return Ok(applied.limit.rule.clone());
        }
        let names: Vec<_> = listed.iter().map(|applied| applied.limit.name).collect();
        let why = match &*names {
            [] => "nothing limits the account".to_owned(),
            names => format!("there is no such limit; there are: {}", names.join(", ")),
        };
        Err(ChangeError::invalid("limit", why))
    }
}

impl Increase {
    fn read(row: &Resource) -> Result<Self, ChangeError> {
        Ok(Self {
            id: IncreaseId(row.id),
            account: row.account.unwrap_or_default(),
            revision: row.revision,
            created_at: row.created_at,
            updated_at: row.updated_at,
            record: serde_json::from_str(&row.body)?,
        })
    }

    fn put(&self, at: Timestamp) -> Result<Op, ChangeError> {
        Ok(Op::Put(Put {
            kind: KIND,
            id: self.id.0,
            account: Some(self.account),
            at,
            body: serde_json::to_string(&self.record)?,
            expected: Expected::Any,
        }))
    }

    fn told(&self, engine: &Engine, what: &str) -> Event {
        let data = json!({
            "account_id": self.account.to_string(), "increase_id": self.id.to_string(),
            "limit": self.record.limit, "plan": self.record.plan, "status": self.record.status,
            "granted": self.record.granted, "reason": self.record.reason,
        });
        event(engine, what, Some(self.account), &data)
    }
}

/// What was granted as a limit of the account's own: a bare number (in credits: an amount) keeps
/// all else of the limit: window, algorithm, anchor, reserve, mode. A burst grows with the limit.
fn limit_value(granted: &Value, rule: &Rule) -> Result<Value, ChangeError> {
    let amount = match granted {
        Value::Number(number) => number.as_u64(),
        Value::String(text) if rule.unit() == Unit::Credits => {
            let nano = text.parse::<Nano>().ok();
            nano.and_then(|nano| u64::try_from(nano.get()).ok())
        }
        _ => None,
    };
    let in_unit = granted.is_string() == (rule.unit() == Unit::Credits);
    let Some(amount) = amount.filter(|_| in_unit) else { return Ok(granted.clone()) };
    let terms = rule.terms();
    let grown = |burst: u64| match terms.quota.filter(|quota| *quota > 0) {
        Some(quota) => {
            let grown = u128::from(burst) * u128::from(amount) / u128::from(quota);
            u64::try_from(grown).unwrap_or(u64::MAX).clamp(1, Rule::QUOTA_MAX)
        }
        None => burst,
    };
    let burst = terms.burst.map(grown);
    let rule = Rule::new(Terms { quota: Some(amount), burst, ..terms.clone() });
    let why = |why: InvalidRule| ChangeError::invalid("limit", format!("{why}; {}", why.hint()));
    Ok(written(&rule.map_err(why)?))
}

/// The number in a limit's value: what a boost sets.
fn quota_of(value: &Value, rule: &Rule) -> Result<u64, ChangeError> {
    let amount = match value {
        Value::Object(long) => long.get("limit").cloned().unwrap_or_default(),
        other => other.clone(),
    };
    let number = match &amount {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => {
            let amount = text.split_once('/').map_or(&**text, |(amount, _)| amount).trim();
            if rule.unit() == Unit::Credits {
                amount.parse::<Nano>().ok().and_then(|nano| u64::try_from(nano.get()).ok())
            } else {
                amount.parse().ok()
            }
        }
        _ => None,
    };
    let why = "it must be a finite limit such as 2000 or \"2000/hour\"";
    number.filter(|number| *number > 0).ok_or_else(|| ChangeError::invalid("limit", why))
}

const KIND: &str = "increase";
const PENDING_MAX: usize = 20;
const STEP: usize = 500;
