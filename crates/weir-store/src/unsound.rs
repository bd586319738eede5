//! Accounts of which an entry was not stored: nothing that builds on it may be.
//!
//! Entries chain: each carries the balance after it. When one is refused, those that its account
//! posted on top of it would leave a hole in the books. So they are refused too, until whoever
//! posts has read anew what is stored and says from which position on it builds on that.

use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::op::{Batch, Prepared};

/// Ranges of positions that are refused, by account.
#[derive(Debug, Default)]
pub(crate) struct Unsound {
    /// How many accounts are waiting to be read anew: the price of asking is this one load.
    open: AtomicUsize,
    ranges: Mutex<Vec<Range>>,
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

/// Account and position of each entry of a batch.
pub(crate) fn entries_of(batch: &Batch) -> impl Iterator<Item = (i64, i64)> {
    batch.ops.iter().filter_map(|op| match op {
        Prepared::Append(row) => Some((row.account, row.seq)),
        Prepared::Other(_) => None,
    })
}
