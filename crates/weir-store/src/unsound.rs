//! Accounts of which an entry was not stored: nothing that builds on it may be.
//!
//! Entries chain: each carries the balance after it. When one is refused, those that its account
//! posted on top of it would leave a hole in the books. So they are refused too, until whoever
//! posts has read anew what is stored and says from which position on it builds on that.

use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use weir_core::id::AccountId;
use weir_core::ledger::{Entry, EntryKind};

use crate::op::{Batch, Op, Prepared, Urgency};
use crate::record::read_id;

/// Ranges of positions that are refused, by account.
#[derive(Debug, Default)]
pub(crate) struct Unsound {
    /// How many accounts are waiting to be read anew: the price of asking is this one load.
    open: AtomicUsize,
    ranges: Mutex<Vec<Range>>,
    lost: Mutex<Vec<Lost>>,
}

/// A charge that was not stored: it is posted again or given up once its account is read anew.
#[derive(Clone, Debug)]
pub struct Lost {
    /// Who was to pay.
    pub account: AccountId,
    /// What was to be posted: a charge, with its debt.
    pub entries: Vec<Entry>,
    /// What was to become durable with it: the end of a checkpoint, of an idempotency key.
    pub beside: Vec<Op>,
    /// The status of the call's answer, if that is withheld: then nothing is to be charged.
    pub withheld: Option<u16>,
}

/// Positions of one account that are refused.
#[derive(Clone, Copy, Debug)]
struct Range {
    account: i64,
    /// The entry that was not stored.
    from: i64,
    /// The first entry that is taken again; `None` until the account was read anew.
    until: Option<i64>,
}

impl Range {
    fn has(&self, account: i64, seq: i64) -> bool {
        self.account == account && self.from <= seq && self.until.is_none_or(|until| seq < until)
    }
}

impl Unsound {
    /// Whether any account waits to be read anew.
    pub(crate) fn any(&self) -> bool {
        self.open.load(Ordering::Acquire) > 0
    }

    /// Whether an account waits to be read anew.
    pub(crate) fn has(&self, account: i64) -> bool {
        self.any() && self.since(account).is_some()
    }

    /// Accounts that wait to be read anew.
    pub(crate) fn accounts(&self) -> Vec<i64> {
        if !self.any() {
            return Vec::new();
        }
        let ranges = self.ranges.lock();
        ranges.iter().filter(|range| range.until.is_none()).map(|range| range.account).collect()
    }

    /// The first entry of an account that was not stored.
    pub(crate) fn since(&self, account: i64) -> Option<i64> {
        let ranges = self.ranges.lock();
        let open = |range: &&Range| range.account == account && range.until.is_none();
        ranges.iter().find(open).map(|range| range.from)
    }

    /// Notes entries that are not stored.
    pub(crate) fn note(&self, entries: impl Iterator<Item = (i64, i64)>) {
        for (account, seq) in entries {
            let mut ranges = self.ranges.lock();
            if ranges.iter().any(|range| range.has(account, seq)) {
                continue;
            }
            ranges.push(Range { account, from: seq, until: None });
            self.open.fetch_add(1, Ordering::AcqRel);
            drop(ranges);
            tracing::error!(account, seq, "an entry was not stored: its account is read anew");
        }
    }

    /// Notes what a batch posts as not stored, and keeps it if it charges a call.
    pub(crate) fn lose(&self, batch: &Batch) {
        if batch.entries.is_none() {
            return;
        }
        self.note(entries_of(batch));
        let Some(lost) = Lost::of(batch) else { return };
        let mut all = self.lost.lock();
        if all.len() < LOST_MAX {
            all.push(lost);
        } else {
            let (account, amount) = (lost.account, lost.entries.first().map(|entry| entry.amount));
            tracing::error!(%account, ?amount, "a charge that was not stored is lost: too many");
        }
    }

    /// Hands over the charges of an account that were not stored, in their order.
    pub(crate) fn take_lost(&self, account: AccountId) -> Vec<Lost> {
        let mut all = self.lost.lock();
        let (mut taken, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut *all).into_iter().partition(|lost| lost.account == account);
        *all = others;
        taken.sort_by_key(|lost| lost.entries.first().map(|entry| entry.seq));
        taken
    }

    /// Whether a batch builds on an entry that is not stored.
    pub(crate) fn refuses(&self, batch: &Batch) -> bool {
        if batch.entries.is_none() {
            return false;
        }
        let ranges = self.ranges.lock();
        !ranges.is_empty()
            && entries_of(batch)
                .any(|(account, seq)| ranges.iter().any(|range| range.has(account, seq)))
    }

    /// Takes entries of an account again from position `until` on. `decided`: ranges that end
    /// before it concern nothing any more.
    pub(crate) fn mend(&self, account: i64, until: i64, decided: i64) {
        let mut ranges = self.ranges.lock();
        for range in ranges.iter_mut() {
            if range.account == account && range.until.is_none() {
                range.until = Some(until);
                self.open.fetch_sub(1, Ordering::AcqRel);
            }
        }
        ranges.retain(|range| range.until.is_none_or(|until| until > decided));
    }
}

impl Lost {
    /// The charge in a batch; `None` if it is anything else, of which whoever asked was told.
    fn of(batch: &Batch) -> Option<Self> {
        let withheld = match batch.urgency {
            Urgency::Settlement => None,
            Urgency::Answer(status) => Some(status),
            Urgency::Fresh => return None,
        };
        let (mut entries, mut beside) = (Vec::new(), Vec::new());
        for op in &batch.ops {
            match op {
                Prepared::Append(row) => entries.push(row.entry()?),
                Prepared::Other(op @ (Op::Answer(_) | Op::Release(_) | Op::DropCheckpoint(_))) => {
                    beside.push(op.clone());
                }
                // What it told is told anew, as the balance is then.
                Prepared::Other(Op::Event(_)) => {}
                Prepared::Other(_) => return None,
            }
        }
        let of_call = |entry: &Entry| {
            entry.call.is_some() && matches!(entry.kind, EntryKind::Charge | EntryKind::Debt)
        };
        let account = AccountId(read_id(entries_of(batch).next()?.0)?);
        entries.iter().all(of_call).then_some(Self { account, entries, beside, withheld })
    }
}

/// More charges than can be under way when a disk becomes full.
const LOST_MAX: usize = 100_000;

/// Account and position of each entry of a batch.
pub(crate) fn entries_of(batch: &Batch) -> impl Iterator<Item = (i64, i64)> {
    batch.ops.iter().filter_map(|op| match op {
        Prepared::Append(row) => Some((row.account, row.seq)),
        Prepared::Other(_) => None,
    })
}
