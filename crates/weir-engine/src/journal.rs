//! The one order of all that becomes durable.

use parking_lot::{Mutex, MutexGuard};
use weir_core::id::{AccountId, Seq};
use weir_core::ledger::Entry;
use weir_core::policy::Policy;
use weir_store::commit::Commit;
use weir_store::op::{Op, Urgency};
use weir_store::store::Store;

use crate::tally::{Counted, Sums, add, recount, uncount};

/// Gives entries their positions and hands them to the store in that order.
#[derive(Debug)]
pub(crate) struct Journal {
    store: Store,
    next: Mutex<Next>,
}

#[derive(Debug)]
struct Next {
    seq: u64,
    /// Usage of charged calls up to `seq`: a crash can rebuild it from the ledger.
    sums: Sums,
}

/// One's turn to write: positions given out in it are committed in it, so that they ascend in the
/// order of commit. Whoever changes an account takes its turn under the account's lock: entries
/// then stand in the ledger in the order in which the balance changed.
pub(crate) struct Turn<'a> {
    store: &'a Store,
    next: MutexGuard<'a, Next>,
}

impl Journal {
    pub(crate) fn new(store: Store, last: Seq) -> Self {
        Self { store, next: Mutex::new(Next { seq: last.0 + 1, sums: Sums::new() }) }
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Waits for one's turn: nanoseconds, never the disk.
    pub(crate) fn turn(&self) -> Turn<'_> {
        Turn { store: &self.store, next: self.next.lock() }
    }

    /// The last position given out, and the usage of all charged calls since this was asked last.
    pub(crate) fn take_sums(&self) -> (Seq, Sums) {
        let mut next = self.next.lock();
        (Seq(next.seq - 1), std::mem::take(&mut next.sums))
    }

    /// Says that an account was read anew: what is posted from now on builds on what is stored.
    /// To be called under the account's lock.
    pub(crate) fn mended(&self, account: AccountId) {
        let next = self.next.lock();
        self.store.mended(account, Seq(next.seq));
    }

    /// Commits what needs no position.
    pub(crate) fn commit(&self, urgency: Urgency, ops: Vec<Op>) -> Commit {
        self.store.commit(urgency, ops)
    }
}

impl Turn<'_> {
    /// The next position.
    pub(crate) fn seq(&mut self) -> Seq {
        let seq = Seq(self.next.seq);
        self.next.seq += 1;
        seq
    }

    /// Counts a charged call.
    pub(crate) fn count(&mut self, call: &Counted<'_>) {
        add(&mut self.next.sums, call);
    }

    /// Counts a charge that the ledger has and the roll-ups lack.
    pub(crate) fn recount(&mut self, policy: &Policy, entry: &Entry) {
        recount(&mut self.next.sums, policy, entry);
    }

    /// Takes back the price of a call that was counted with that status, and whose answer was
    /// withheld.
    pub(crate) fn uncount(&mut self, policy: &Policy, entry: &Entry, status: u16) {
        uncount(&mut self.next.sums, policy, entry, status);
    }

    /// Queues the batch and ends the turn.
    pub(crate) fn commit(self, urgency: Urgency, ops: Vec<Op>) -> Commit {
        self.store.commit(urgency, ops)
    }
}
