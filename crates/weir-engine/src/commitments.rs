//! Minimum spending: what the charges of a month fall short of a contract's commitment is charged
//! once, when the month is over.
//!
//! How far a commitment is settled is kept with the account, in the commit of what was charged:
//! whenever the process dies, a month is settled once.

use std::sync::Arc;

use weir_core::id::Seq;
use weir_core::ledger::{Call, Entry, EntryKind, Flags};
use weir_core::money::Nano;
use weir_core::price::{Commitment, Committed, Period};
use weir_core::time::Timestamp;
use weir_core::usage::Usage;
use weir_store::commit::Commit;
use weir_store::error::ReadError;
use weir_store::health::StoreHealth;
use weir_store::op::{Expected, Op, Put, Urgency};
use weir_store::read::Reader;

use crate::cell::{AccountCell, Spent};
use crate::change::ChangeError;
use crate::contracts::Terms;
use crate::engine::Engine;
use crate::record::{AccountRecord, kind};

/// Where an account stands towards its commitment.
#[derive(Clone, Copy, Debug)]
pub struct CommitmentView {
    /// The running period and its minimum.
    pub period: Committed,
    /// What was charged in it so far.
    pub spent: Nano,
}

impl Engine {
    /// Charges what ended periods fell short, of all accounts. Called each second.
    pub async fn book_commitments(&self) {
        if self.health() != StoreHealth::Ok {
            return;
        }
        let with_contract = |cell: &Arc<AccountCell>| cell.record.load().contract.is_some();
        let cells: Vec<_> = self
            .accounts
            .pin()
            .values()
            .filter(|cell| with_contract(cell))
            .map(Arc::clone)
            .collect();
        for cell in cells {
            if self.due(&cell).is_none() {
                continue;
            }
            let _turn = self.changes.lock().await;
            if let Err(error) = self.settle_commitment(&cell).await {
                tracing::warn!(account = %cell.id, %error, "a commitment could not be settled yet");
            }
        }
    }

    /// Where an account stands towards its commitment; `None` without one.
    ///
    /// # Errors
    ///
    /// [`ChangeError`] where the store fails.
    pub async fn commitment_of(
        &self,
        cell: &Arc<AccountCell>,
    ) -> Result<Option<CommitmentView>, ChangeError> {
        let running = {
            let mut live = cell.live.lock();
            let now = live.account.observe(self.now());
            let commitment = live.commitment.filter(|_| live.account.entitlement.is_charged());
            commitment.and_then(|it| it.period()).filter(|period| period.from <= now)
        };
        let Some(period) = running else { return Ok(None) };
        Ok(Some(CommitmentView { period, spent: self.spent_in(cell, &period).await? }))
    }

    /// Settles all periods of an account that have ended. For one who has the turn to change things.
    pub(crate) async fn settle_commitment(
        &self,
        cell: &Arc<AccountCell>,
    ) -> Result<(), ChangeError> {
        while let Some(period) = self.due(cell) {
            self.sound(cell)?;
            // What was posted before the period ended is durable, and seen, after this.
            self.journal.commit(Urgency::Settlement, Vec::new()).await?;
            let spent = self.spent_in(cell, &period).await?;
            let mut record = AccountRecord::clone(&cell.record.load());
            record.commitment_since_us = Some(period.until.micros());
            self.post_shortfall(cell, &period, spent, &record)?.await?;
            if let Some(commitment) = &mut cell.live.lock().commitment {
                commitment.since = period.until;
            }
            cell.record.store(Arc::new(record));
            self.touch(cell);
        }
        Ok(())
    }

    /// The first period that has ended and is not settled.
    fn due(&self, cell: &AccountCell) -> Option<Committed> {
        let mut live = cell.live.lock();
        let period = live.commitment?.period()?;
        let now = live.account.observe(self.now());
        (period.until <= now).then_some(period)
    }

    fn post_shortfall(
        &self,
        cell: &Arc<AccountCell>,
        period: &Committed,
        spent: Nano,
        record: &AccountRecord,
    ) -> Result<Commit, ChangeError> {
        let mut ops = vec![Op::Put(Put {
            kind: kind::ACCOUNT,
            id: cell.id.0,
            account: Some(cell.id),
            at: self.now(),
            body: serde_json::to_string(record)?,
            expected: Expected::Any,
        })];
        let mut live = cell.live.lock();
        self.sound(cell)?;
        let now = live.account.observe(self.now());
        let short = (period.amount - spent).or_zero();
        let mut turn = self.journal.turn();
        if short > Nano::ZERO && live.account.entitlement.is_charged() {
            let policy = self.policy();
            let (reference, note) = words(period, spent);
            let settlement = live.account.wallet.charge(short, now, &mut || turn.seq());
            for posting in settlement.postings {
                if posting.kind == EntryKind::Debt {
                    self.count_debt(-posting.amount);
                }
                live.last_entry = posting.seq;
                let call = Some(Box::new(shortfall()));
                let entry =
                    posting.into_entry(cell.id, &reference, policy.number(), Some(&note), call);
                turn.recount(&policy, &entry);
                ops.push(Op::Append(entry));
            }
            self.read_levels(&mut live, cell.id, now, &mut ops);
        }
        Ok(turn.commit(Urgency::Fresh, ops))
    }

    /// What the ledger has charged in a period. What was added up before is not read again.
    async fn spent_in(
        &self,
        cell: &Arc<AccountCell>,
        period: &Committed,
    ) -> Result<Nano, ChangeError> {
        let known = cell.live.lock().spent.filter(|spent| spent.period == *period);
        let known = known.unwrap_or(Spent { period: *period, up_to: Seq(0), amount: Nano::ZERO });
        let account = cell.id;
        let spent = self.read(move |reader| add_up(&reader, account, known)).await?;
        cell.live.lock().spent = Some(spent);
        Ok(spent.amount)
    }
}

/// From when on a changed account's commitment is to be settled, in microseconds since the Unix
/// epoch. One that goes on goes on from where it is; a new one begins with its contract, at the
/// earliest with the present month.
pub(crate) fn since_us(
    running: Option<&Commitment>,
    terms: Option<&Terms>,
    now: Timestamp,
) -> Option<i64> {
    let terms = terms.filter(|terms| terms.commitment.is_some())?;
    let from = terms.contract.from;
    let running = running.filter(|it| it.until.is_none_or(|until| until > now));
    let since = match running {
        Some(running) => running.since.max(from),
        None if from > Timestamp::from_micros(0) => from.max(Period::Month.start(now)),
        None => now,
    };
    Some(since.micros())
}

/// The commitment of an account as it is kept.
pub(crate) fn commitment(record: &AccountRecord, terms: Option<&Terms>) -> Option<Commitment> {
    let terms = terms?;
    let since = Timestamp::from_micros(record.commitment_since_us.unwrap_or(record.updated_at_us));
    let Terms { contract, commitment, .. } = terms;
    Some(Commitment {
        monthly: (*commitment)?,
        since: since.max(contract.from),
        until: contract.until,
    })
}

fn add_up(
    reader: &Reader,
    account: weir_core::id::AccountId,
    known: Spent,
) -> Result<Spent, ReadError> {
    let mut spent = known;
    let mut before: Option<Seq> = None;
    loop {
        let page = reader.entries(account, before, PAGE)?;
        let Some(last) = page.last() else { return Ok(spent) };
        before = Some(last.seq);
        for entry in &page {
            if entry.seq <= known.up_to || entry.at < spent.period.from {
                return Ok(spent);
            }
            spent.up_to = spent.up_to.max(entry.seq);
            if entry.at < spent.period.until && is_spending(entry) {
                spent.amount = spent.amount.saturating_sub(entry.amount);
            }
        }
    }
}

/// Whether an entry counts towards a commitment: what another period fell short does not.
fn is_spending(entry: &Entry) -> bool {
    let of_commitment = entry.call.as_deref().is_some_and(|call| &*call.route == NAME);
    matches!(entry.kind, EntryKind::Charge | EntryKind::Debt) && !of_commitment
}

/// What stands in the place of a call. No route has this name.
fn shortfall() -> Call {
    Call {
        key: None,
        route: NAME.into(),
        model: Box::default(),
        price: NAME.into(),
        usage: Usage::NONE,
        pico: 0,
        held: Nano::ZERO,
        flags: Flags::default(),
    }
}

/// The reference and the reason of a shortfall.
fn words(period: &Committed, spent: Nano) -> (String, String) {
    let (month, amount) = (period.month(), period.amount);
    let share = if period.is_part() { " for a part of the month" } else { "" };
    let note = format!("{spent} was charged in {month} of a commitment of {amount}{share}");
    (format!("{NAME}:{month}"), note)
}

const NAME: &str = "commitment";
const PAGE: usize = 2_000;
