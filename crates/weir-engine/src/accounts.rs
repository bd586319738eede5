//! Accounts: made, changed, closed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use serde_json::{Map, Value};
use weir_core::account::Account;
use weir_core::admit::LimitView;
use weir_core::alert::{Alerts, Threshold, TooManyThresholds};
use weir_core::entitlement::Entitlement;
use weir_core::id::{AccountId, Seq};
use weir_core::money::Nano;
use weir_core::plan::Limit;
use weir_core::policy::Policy;
use weir_store::op::{Delete, Expected, Op, Put, Urgency};

use crate::alarm::AlarmLevels;
use crate::cell::{AccountCell, KeyCell, Live, Totals};
use crate::change::ChangeError;
use crate::commitments::{commitment, since_us};
use crate::contracts;
use crate::engine::{Engine, settle_line};
use crate::event::event;
use crate::levels::Levels;
use crate::own::account_limit;
use crate::record::{AccountRecord, kind};
use crate::trail::Change;
use crate::webhooks::delete_webhook;

/// What a new account shall be.
#[derive(Clone, Debug, Default)]
pub struct NewAccount {
    /// What people call it.
    pub name: String,
    /// The name of its plan.
    pub plan: String,
    /// The operator's own id for it.
    pub external_id: Option<String>,
    /// Where notices go.
    pub email: Option<String>,
    /// Whatever the operator wants to keep with it.
    pub metadata: Map<String, Value>,
}

impl Engine {
    /// Makes an account; durable before it is returned.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]: an unknown plan, an external id in use, or the store.
    pub async fn create_account(&self, new: NewAccount) -> Result<Arc<AccountCell>, ChangeError> {
        let _turn = self.changes.lock().await;
        self.check_external_id(new.external_id.as_deref(), None)?;
        let now = self.now().micros();
        let record = AccountRecord {
            name: new.name,
            plan: new.plan,
            suspended: false,
            external_id: new.external_id,
            email: new.email,
            metadata: new.metadata,
            limits: BTreeMap::new(),
            contract: None,
            commitment_since_us: None,
            credit_line: None,
            alerts: None,
            auto_top_up: None,
            created_at_us: now,
            updated_at_us: now,
            revision: 1,
        };
        let id = AccountId(self.next_id());
        let cell = self.account_cell(id, record)?;
        self.put_account(&cell, &cell.record.load(), None, Vec::new).await?;
        self.list(&cell);
        Ok(cell)
    }

    /// Shows an account under its id, and under the operator's own.
    pub(crate) fn list(&self, cell: &Arc<AccountCell>) {
        self.accounts.pin().insert(cell.id, Arc::clone(cell));
        if let Some(external) = &cell.record.load().external_id {
            self.external_ids.pin().insert(external.as_str().into(), cell.id);
        }
    }

    /// An external id is of one account: to be asked in one's turn.
    fn check_external_id(
        &self,
        external: Option<&str>,
        whose: Option<AccountId>,
    ) -> Result<(), ChangeError> {
        let Some(external) = external else { return Ok(()) };
        match self.account_by_external_id(external) {
            Some(other) if Some(other.id) != whose => {
                let why = format!("an account with external_id `{external}` exists");
                Err(ChangeError::Conflict(why))
            }
            _ => Ok(()),
        }
    }

    /// Changes an account. `change` gets the record and may refuse. The next call sees it.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]: no such account, another revision than expected, a wrong member, the store.
    pub async fn change_account(
        &self,
        id: AccountId,
        revision: Option<u64>,
        change: impl FnOnce(&mut AccountRecord) -> Result<(), ChangeError>,
    ) -> Result<Arc<AccountCell>, ChangeError> {
        let _turn = self.changes.lock().await;
        self.change_account_in_turn(id, revision, change, Vec::new).await
    }

    /// The same within one's turn, with more that is to be in the same commit. `more` is asked in
    /// one's turn at the journal, so that it may tell events.
    pub(crate) async fn change_account_in_turn(
        &self,
        id: AccountId,
        revision: Option<u64>,
        change: impl FnOnce(&mut AccountRecord) -> Result<(), ChangeError>,
        more: impl FnOnce() -> Vec<Op>,
    ) -> Result<Arc<AccountCell>, ChangeError> {
        let cell = self.account(id).ok_or(ChangeError::NotFound)?;
        self.settle_commitment(&cell).await?;
        let before = cell.record.load_full();
        if revision.is_some_and(|revision| revision != before.revision) {
            return Err(ChangeError::Stale);
        }
        let mut record = AccountRecord::clone(&before);
        change(&mut record)?;
        self.check_external_id(record.external_id.as_deref(), Some(id))?;
        record.revision += 1;
        record.updated_at_us = self.now().micros();
        let policy = self.policy();
        if policy.plan(&record.plan).is_none() {
            return Err(unknown_plan(&policy, &record.plan));
        }
        let own = self.own_limits(&record, &policy)?;
        let credit_line = credit_line(&record)?;
        let alerts = own_alerts(&record)?;
        let terms = record.contract.as_ref().map(contracts::read).transpose()?;
        let running = cell.live.lock().commitment;
        record.commitment_since_us = since_us(running.as_ref(), terms.as_ref(), self.now());
        let moved = (before.plan != record.plan).then_some(&before.plan);
        self.put_account(&cell, &record, moved, more).await?;
        let mut live = cell.live.lock();
        live.own = own;
        live.levels.own = alerts;
        live.account.suspended = record.suspended;
        live.lines = (credit_line, terms.as_ref().and_then(|terms| terms.credit_line));
        live.commitment = commitment(&record, terms.as_ref());
        live.contract = terms.map(|terms| Arc::new(terms.contract));
        let now = live.account.observe(self.now());
        settle_line(&mut live, now);
        self.entitle(&mut live, &policy, &record.plan, now);
        cell.record.store(Arc::new(record));
        drop(live);
        if before.external_id != cell.record.load().external_id {
            self.unlist(before.external_id.as_deref());
        }
        self.list(&cell);
        self.touch(&cell);
        Ok(cell)
    }

    fn unlist(&self, external: Option<&str>) {
        if let Some(external) = external {
            self.external_ids.pin().remove(external);
        }
    }

    /// Closes an account: its keys are gone at once, its ledger stays.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]: no such account, or the store.
    pub async fn delete_account(
        &self,
        id: AccountId,
        revision: Option<u64>,
    ) -> Result<(), ChangeError> {
        let _turn = self.changes.lock().await;
        let cell = self.account(id).ok_or(ChangeError::NotFound)?;
        if revision.is_some_and(|revision| revision != cell.record.load().revision) {
            return Err(ChangeError::Stale);
        }
        let keys: Vec<Arc<KeyCell>> = cell.live.lock().keys.clone();
        let mut ops: Vec<Op> = keys.iter().map(|key| delete(kind::KEY, key.id.0)).collect();
        let webhooks = self.webhooks_of(Some(id));
        ops.extend(webhooks.iter().map(|webhook| delete_webhook(webhook.id)));
        ops.extend(self.boosts_of(id).iter().map(|boosting| delete(kind::BOOST, boosting.id.0)));
        ops.push(delete(kind::ACCOUNT, id.0));
        ops.extend(self.audit(Change {
            action: "account.closed",
            subject: id.to_string(),
            account: Some(id),
            before: serde_json::to_value(&*cell.record.load_full())?,
            after: Value::Null,
        }));
        self.journal.commit(Urgency::Fresh, ops).await?;
        self.boost_edges.forget(id);
        for webhook in &webhooks {
            self.webhooks.remove(webhook.id);
        }
        for key in &keys {
            self.keys.pin().remove(&key.state.load().digest);
            self.key_ids.pin().remove(&key.id);
        }
        self.accounts.pin().remove(&id);
        self.unlist(cell.record.load().external_id.as_deref());
        let mut live = cell.live.lock();
        live.gone = true;
        live.keys.clear();
        drop(live);
        Ok(())
    }

    /// Every account, by id.
    pub fn all_accounts(&self) -> Vec<Arc<AccountCell>> {
        let mut all: Vec<_> = self.accounts.pin().values().map(Arc::clone).collect();
        all.sort_unstable_by_key(|cell| cell.id);
        all
    }

    /// The account of that id, or of that id of the operator's own.
    pub fn account_named(&self, name: &str) -> Option<Arc<AccountCell>> {
        let by_id = name.parse::<AccountId>().ok().and_then(|id| self.account(id));
        by_id.or_else(|| self.account_by_external_id(name))
    }

    /// The account with that id of the operator's own.
    pub fn account_by_external_id(&self, external: &str) -> Option<Arc<AccountCell>> {
        let id = *self.external_ids.pin().get(external)?;
        self.account(id)
    }

    /// The keys of an account, oldest first.
    pub fn keys_of(&self, account: &AccountCell) -> Vec<Arc<KeyCell>> {
        let mut keys = account.live.lock().keys.clone();
        keys.sort_unstable_by_key(|key| key.id);
        keys
    }

    /// Where all limits of an account (and, if given, of one of its keys) stand.
    pub fn limits_of(&self, cell: &AccountCell, key: Option<&KeyCell>) -> Vec<LimitView> {
        use weir_core::account::Owner;
        let clock = self.now();
        let mut live = cell.live.lock();
        self.refresh(cell, &mut live, clock);
        let now = live.account.observe(clock);
        let account = &live.account;
        let of_account = account.entitlement.listed().iter();
        let mut views: Vec<LimitView> =
            of_account.map(|applied| account.view(Owner::Account, applied, now)).collect();
        if let Some(key) = key {
            let state = key.state.load();
            let of_key = state.limits.iter();
            views.extend(of_key.map(|applied| account.view(Owner::Key(key.id), applied, now)));
        }
        views
    }

    /// An account in memory, with nothing used.
    ///
    /// # Errors
    ///
    /// [`ChangeError::Invalid`] where the record makes no sense under the present policy.
    pub(crate) fn account_cell(
        &self,
        id: AccountId,
        record: AccountRecord,
    ) -> Result<Arc<AccountCell>, ChangeError> {
        let policy = self.policy();
        let plan = policy.plan(&record.plan).ok_or_else(|| unknown_plan(&policy, &record.plan))?;
        let own = self.own_limits(&record, &policy)?;
        let now = self.now();
        let entitlement = Arc::new(Entitlement::new(&policy, Arc::clone(plan), &own, &[], now));
        let mut account = Account::new(id, entitlement);
        account.suspended = record.suspended;
        let terms = record.contract.as_ref().map(contracts::read).transpose()?;
        let mut live = Live {
            lines: (credit_line(&record)?, terms.as_ref().and_then(|terms| terms.credit_line)),
            account,
            policy: policy.number(),
            own,
            boosts: Vec::new(),
            commitment: commitment(&record, terms.as_ref()),
            spent: None,
            contract: terms.map(|terms| Arc::new(terms.contract)),
            totals: Totals::default(),
            last_entry: Seq(0),
            keys: Vec::new(),
            levels: Levels { own: own_alerts(&record)?, ..Levels::default() },
            stranded: Vec::new(),
            auto: Default::default(),
            gone: false,
            alarms: AlarmLevels::default(),
        };
        settle_line(&mut live, now);
        self.settle_levels(&mut live, now, true);
        let record = ArcSwap::from_pointee(record);
        Ok(Arc::new(AccountCell {
            id,
            record,
            live: Mutex::new(live),
            dirty: AtomicBool::new(false),
        }))
    }

    fn own_limits(
        &self,
        record: &AccountRecord,
        policy: &Policy,
    ) -> Result<Vec<Limit>, ChangeError> {
        let mut names = self.names.lock();
        let limits = record.limits.iter().map(|(name, value)| {
            account_limit(name, value, policy, &mut names)
                .map_err(|why| ChangeError::invalid(&format!("limits.{name}"), why.why))
        });
        limits.collect()
    }

    async fn put_account(
        &self,
        cell: &AccountCell,
        record: &AccountRecord,
        moved_from: Option<&String>,
        more: impl FnOnce() -> Vec<Op>,
    ) -> Result<(), ChangeError> {
        let put = Put {
            kind: kind::ACCOUNT,
            id: cell.id.0,
            account: Some(cell.id),
            at: self.now(),
            body: serde_json::to_string(record)?,
            expected: Expected::Any,
        };
        let mut ops = vec![Op::Put(put)];
        let known = cell.record.load_full();
        let (action, before) = match record.revision {
            1 => ("account.created", Value::Null),
            _ => ("account.changed", serde_json::to_value(&*known)?),
        };
        ops.extend(self.audit(Change {
            action,
            subject: cell.id.to_string(),
            account: Some(cell.id),
            before,
            after: serde_json::to_value(record)?,
        }));
        let turn = self.journal.turn();
        ops.extend(more());
        if let Some(from) = moved_from {
            let data = serde_json::json!({
                "account_id": cell.id.to_string(), "from": from, "to": record.plan,
            });
            ops.push(Op::Event(event(self, "account.plan_changed", Some(cell.id), &data)));
        }
        let commit = turn.commit(Urgency::Fresh, ops);
        commit.await?;
        Ok(())
    }
}

fn credit_line(record: &AccountRecord) -> Result<Nano, ChangeError> {
    match &record.credit_line {
        None => Ok(Nano::ZERO),
        Some(text) => {
            let line: Nano =
                text.parse().map_err(|why| ChangeError::invalid("credit_line", why))?;
            if line.is_negative() || line > Nano::BOUND {
                let why = "it must be between 0 and 1000000000";
                return Err(ChangeError::invalid("credit_line", why));
            }
            Ok(line)
        }
    }
}

fn own_alerts(record: &AccountRecord) -> Result<Option<Vec<Threshold>>, ChangeError> {
    let Some(texts) = &record.alerts else { return Ok(None) };
    if texts.len() > Alerts::THRESHOLDS_MAX {
        return Err(ChangeError::invalid("alerts", TooManyThresholds));
    }
    let parse = |text: &String| {
        text.parse().map_err(|why| ChangeError::invalid("alerts", format!("`{text}` is {why}")))
    };
    texts.iter().map(parse).collect::<Result<_, _>>().map(Some)
}

fn unknown_plan(policy: &Policy, plan: &str) -> ChangeError {
    let names: Vec<&str> = policy.plans().map(|plan| &*plan.name).collect();
    let why = format!("there is no plan `{plan}`; there are: {}", names.join(", "));
    ChangeError::invalid("plan", why)
}

fn delete(kind: &'static str, id: u64) -> Op {
    Op::Delete(Delete { kind, id, expected: None })
}
