//! Durable holds: made, settled once, voided, expired; there again after a restart.

use std::sync::Arc;

use weir_core::id::{AccountId, HoldId, Seq};
use weir_core::ledger::EntryKind;
use weir_core::money::Nano;
use weir_core::time::{Span, Timestamp};
use weir_store::commit::Commit;
use weir_store::load::Loaded;
use weir_store::op::{Expected, Op, Put, Urgency};
use weir_store::read::Resource;

use crate::cell::AccountCell;
use crate::change::ChangeError;
use crate::engine::Engine;
use crate::idempotency::Answering;
use crate::open_hold::{HoldRecord, HoldStatus, OpenHold};
use crate::trail::Change;

/// A hold with its names.
#[derive(Clone, Debug)]
pub struct HoldView {
    /// Its id.
    pub id: HoldId,
    /// Whose credit it reserves.
    pub account: AccountId,
    /// What is kept of it.
    pub record: HoldRecord,
}

/// Credit to be reserved.
#[derive(Clone, Copy, Debug)]
pub struct NewHold<'a> {
    /// How much.
    pub amount: Nano,
    /// After which time it ends by itself.
    pub expires_in: Span,
    /// What it is for, in the operator's words.
    pub reference: &'a str,
}

impl Engine {
    /// Reserves credit for work that ends later; durable before it is returned.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]: an amount or a time out of range, too little credit, the store.
    pub async fn create_hold(
        &self,
        cell: &Arc<AccountCell>,
        amount: Nano,
        expires_in: Span,
        reference: &str,
    ) -> Result<HoldView, ChangeError> {
        let new = NewHold { amount, expires_in, reference };
        self.create_hold_answering(cell, new, None).await
    }

    /// As [`Engine::create_hold`]; the answer is kept in the same commit.
    ///
    /// # Errors
    ///
    /// As [`Engine::create_hold`].
    pub async fn create_hold_answering(
        &self,
        cell: &Arc<AccountCell>,
        new: NewHold<'_>,
        answering: Option<Answering<HoldView>>,
    ) -> Result<HoldView, ChangeError> {
        let NewHold { amount, expires_in, reference } = new;
        if amount <= Nano::ZERO || amount > Nano::BOUND {
            let why = "it must be above zero and at most 1000000000";
            return Err(ChangeError::invalid("amount", why));
        }
        if expires_in < Span::SECOND || expires_in > LONGEST {
            return Err(ChangeError::invalid("expires_in", "it must be from 1s to 366d"));
        }
        let _turn = self.changes.lock().await;
        if self.count_holds(cell.id) >= HOLDS_MAX {
            let why = format!("the account has {HOLDS_MAX} open holds; settle or void some");
            return Err(ChangeError::Conflict(why));
        }
        self.sound(cell)?;
        let id = HoldId(self.next_id());
        let (hold, now) = {
            let mut live = cell.live.lock();
            self.refresh(cell, &mut live, self.now());
            let now = live.account.observe(self.now());
            let held = live.account.wallet.hold(amount, now);
            (held.map_err(ChangeError::Credits)?, now)
        };
        let deadline = now.plus(expires_in);
        let record = HoldRecord {
            amount: amount.to_string(),
            reference: reference.to_owned(),
            status: HoldStatus::Open,
            created_at_us: now.micros(),
            expires_at_us: deadline.micros(),
            ended_at_us: None,
            charge: None,
            entry: None,
        };
        let view = HoldView { id, account: cell.id, record: record.clone() };
        let stored = match put(id, cell.id, &record, now) {
            Ok(put) => {
                let mut ops = vec![put];
                ops.extend(self.audit(changed("hold.created", id, cell.id, None, &record)));
                ops.extend(answering.map(|answering| answering.of(&view)));
                self.journal.commit(Urgency::Fresh, ops).await.map_err(Into::into)
            }
            Err(error) => Err(error),
        };
        if let Err(error) = stored {
            cell.live.lock().account.wallet.release(hold);
            return Err(error);
        }
        let open = OpenHold { cell: Arc::clone(cell), hold, record, deadline };
        self.open_holds.0.lock().insert(id, open);
        Ok(view)
    }

    /// Charges what the work of a hold really cost, once: who asks again gets the first result.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]: no such hold, one that was voided or has expired, a negative amount, the
    /// store.
    pub async fn settle_hold(&self, id: HoldId, amount: Nano) -> Result<HoldView, ChangeError> {
        if amount.is_negative() || amount > Nano::BOUND {
            let why = "it must be from 0 to 1000000000";
            return Err(ChangeError::invalid("amount", why));
        }
        let _turn = self.changes.lock().await;
        let taken = self.open_holds.0.lock().remove(&id);
        let Some(open) = taken else { return self.ended(id, HoldStatus::Settled).await };
        if let Err(error) = self.sound(&open.cell) {
            self.open_holds.0.lock().insert(id, open);
            return Err(error);
        }
        let OpenHold { cell, hold, record, deadline } = open;
        let (held, made) = (hold.amount(), hold.at());
        let posted = self.post_settlement(&cell, id, hold, &record, amount);
        let outcome = match posted {
            Ok((commit, ended)) => commit.await.map(|_| ended).map_err(ChangeError::from),
            Err(error) => Err(error),
        };
        self.touch(&cell);
        match outcome {
            Ok(ended) => Ok(HoldView { id, account: cell.id, record: ended }),
            Err(error) => {
                // Nothing of it is stored: the hold goes on, and the books are read anew.
                let hold = cell.live.lock().account.wallet.restore_hold(held, made);
                let open = OpenHold { cell, hold, record, deadline };
                self.open_holds.0.lock().insert(id, open);
                Err(error)
            }
        }
    }

    fn post_settlement(
        &self,
        cell: &Arc<AccountCell>,
        id: HoldId,
        hold: weir_core::wallet::Hold,
        record: &HoldRecord,
        amount: Nano,
    ) -> Result<(Commit, HoldRecord), ChangeError> {
        let mut live = cell.live.lock();
        let now = live.account.observe(self.now());
        let mut turn = self.journal.turn();
        let settlement = live.account.wallet.settle(hold, amount, now, &mut || turn.seq());
        let policy = self.policy.load();
        let mut ops = Vec::with_capacity(3);
        let mut first = None;
        for posting in settlement.postings {
            if posting.kind == EntryKind::Debt {
                self.count_debt(-posting.amount);
            }
            first = first.or(Some(posting.seq));
            live.last_entry = posting.seq;
            live.levels.burn.record(-posting.amount, now);
            let note = Some(record.reference.as_str()).filter(|text| !text.is_empty());
            let number = policy.number();
            let entry = posting.into_entry(cell.id, &id.to_string(), number, note, None);
            turn.recount(&policy, &entry);
            ops.push(Op::Append(entry));
        }
        let ended = HoldRecord {
            status: HoldStatus::Settled,
            ended_at_us: Some(now.micros()),
            charge: Some((amount - settlement.unposted).to_string()),
            entry: first.map(|Seq(seq)| seq),
            ..record.clone()
        };
        ops.push(put(id, cell.id, &ended, now)?);
        ops.extend(self.audit(changed("hold.settled", id, cell.id, Some(record), &ended)));
        self.read_levels(&mut live, cell.id, now, &mut ops);
        Ok((turn.commit(Urgency::Settlement, ops), ended))
    }

    /// Gives back what a hold reserves. Who asks again gets the same answer.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]: no such hold, one that was settled or has expired, the store.
    pub async fn void_hold(&self, id: HoldId) -> Result<HoldView, ChangeError> {
        let _turn = self.changes.lock().await;
        let taken = self.open_holds.0.lock().remove(&id);
        let Some(open) = taken else { return self.ended(id, HoldStatus::Voided).await };
        self.end_hold(id, open, HoldStatus::Voided).await
    }

    /// Ends holds whose time has run out. Called each second.
    ///
    /// # Errors
    ///
    /// [`ChangeError`] where the store fails; what did not end is tried again.
    pub async fn expire_holds(&self) -> Result<(), ChangeError> {
        let _turn = self.changes.lock().await;
        let now = self.now();
        let due: Vec<HoldId> = {
            let open = self.open_holds.0.lock();
            open.iter().filter(|(_, open)| open.deadline <= now).map(|(id, _)| *id).collect()
        };
        for id in due {
            let taken = self.open_holds.0.lock().remove(&id);
            if let Some(open) = taken {
                self.end_hold(id, open, HoldStatus::Expired).await?;
            }
        }
        Ok(())
    }

    async fn end_hold(
        &self,
        id: HoldId,
        open: OpenHold,
        status: HoldStatus,
    ) -> Result<HoldView, ChangeError> {
        let now = open.cell.live.lock().account.observe(self.now());
        let record = HoldRecord { status, ended_at_us: Some(now.micros()), ..open.record.clone() };
        let stored = match put(id, open.cell.id, &record, now) {
            Ok(put) => {
                let mut ops = vec![put];
                // Nobody voids a hold that expires: it is not written down.
                let before = Some(&open.record);
                ops.extend(self.audit(changed("hold.voided", id, open.cell.id, before, &record)));
                let commit = self.journal.commit(Urgency::Settlement, ops);
                commit.await.map(drop).map_err(ChangeError::from)
            }
            Err(error) => Err(error),
        };
        if let Err(error) = stored {
            self.open_holds.0.lock().insert(id, open);
            return Err(error);
        }
        open.cell.live.lock().account.wallet.release(open.hold);
        Ok(HoldView { id, account: open.cell.id, record })
    }

    /// The durable holds of an account after an id (or from the first), at most `limit`.
    ///
    /// # Errors
    ///
    /// [`ChangeError::Unreadable`] where the store fails.
    pub async fn holds_of(
        &self,
        account: AccountId,
        after: Option<HoldId>,
        limit: usize,
    ) -> Result<Vec<HoldView>, ChangeError> {
        let after = after.map(|HoldId(id)| id);
        let ask = move |reader: weir_store::read::Reader| {
            reader.resources(KIND, Some(account), after, limit)
        };
        self.read(ask).await?.iter().map(view).collect()
    }

    /// What durable holds of an account reserve; the rest of what is held belongs to calls.
    pub fn held_durably(&self, account: AccountId) -> Nano {
        let open = self.open_holds.0.lock();
        let own = open.values().filter(|open| open.cell.id == account);
        own.fold(Nano::ZERO, |sum, open| sum.saturating_add(open.hold.amount()))
    }

    fn count_holds(&self, account: AccountId) -> usize {
        let open = self.open_holds.0.lock();
        open.values().filter(|open| open.cell.id == account).count()
    }

    /// How a hold that is not open ended; an error unless it is as it was asked for.
    async fn ended(&self, id: HoldId, asked: HoldStatus) -> Result<HoldView, ChangeError> {
        let found = self.read(move |reader| reader.resource(KIND, id.0)).await?;
        let view = view(&found.ok_or(ChangeError::NotFound)?)?;
        match view.record.status {
            status if status == asked => Ok(view),
            status => {
                let why = format!("the hold is {} already", status.name());
                Err(ChangeError::Conflict(why))
            }
        }
    }

    /// Takes up the open holds of the last process, in the order in which they were made. Those
    /// whose time ran out meanwhile, or by a clock that jumped, get a little more: whoever was
    /// about to settle them still can.
    pub(crate) fn load_holds(&self, loaded: &Loaded) -> Result<(), weir_store::error::ReadError> {
        let mut records = Vec::new();
        loaded.resources(KIND, |resource| records.push(resource))?;
        let grace = self.now().plus(GRACE);
        for resource in records {
            self.skip_ids(resource.id);
            let Some(cell) = resource.account.and_then(|account| self.account(account)) else {
                continue;
            };
            let Ok(record) = serde_json::from_str::<HoldRecord>(&resource.body) else {
                tracing::error!(hold = resource.id, "a hold in the store makes no sense");
                continue;
            };
            let amount = record.amount.parse::<Nano>();
            let (HoldStatus::Open, Ok(amount)) = (record.status, amount) else { continue };
            let made = Timestamp::from_micros(record.created_at_us);
            let hold = cell.live.lock().account.wallet.restore_hold(amount, made);
            let deadline = Timestamp::from_micros(record.expires_at_us).max(grace);
            let open = OpenHold { cell, hold, record, deadline };
            self.open_holds.0.lock().insert(HoldId(resource.id), open);
        }
        Ok(())
    }
}

fn changed(
    action: &'static str,
    id: HoldId,
    account: AccountId,
    before: Option<&HoldRecord>,
    after: &HoldRecord,
) -> Change<'static> {
    // A record of texts and numbers always becomes JSON.
    let value = |record: &HoldRecord| serde_json::to_value(record).unwrap_or_default();
    let before = before.map(value).unwrap_or_default();
    Change { action, subject: id.to_string(), account: Some(account), before, after: value(after) }
}

fn put(
    id: HoldId,
    account: AccountId,
    record: &HoldRecord,
    at: Timestamp,
) -> Result<Op, ChangeError> {
    let body = serde_json::to_string(record)?;
    let (kind, account, expected) = (KIND, Some(account), Expected::Any);
    Ok(Op::Put(Put { kind, id: id.0, account, at, body, expected }))
}

fn view(resource: &Resource) -> Result<HoldView, ChangeError> {
    let record = serde_json::from_str(&resource.body)?;
    Ok(HoldView { id: HoldId(resource.id), account: resource.account.unwrap_or_default(), record })
}

const KIND: &str = "hold";
const HOLDS_MAX: usize = 10_000;
const LONGEST: Span = Span::from_secs(366 * 86_400);
const GRACE: Span = Span::from_secs(60);
