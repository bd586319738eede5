//! The one order of all that becomes durable.

use parking_lot::{Mutex, MutexGuard};
use weir_core::id::Seq;
use weir_store::commit::Commit;
use weir_store::op::{Op, Urgency};
use weir_store::store::Store;

/// Gives entries their positions and hands them to the store in that order.
#[derive(Debug)]
pub(crate) struct Journal {
    store: Store,
    next: Mutex<u64>,
}

/// One's turn to write: positions given out in it are committed in it, so that they ascend in the
/// order of commit. Whoever changes an account takes its turn under the account's lock: entries
/// then stand in the ledger in the order in which the balance changed.
pub(crate) struct Turn<'a> {
    store: &'a Store,
    next: MutexGuard<'a, u64>,
}

impl Journal {
    pub(crate) fn new(store: Store, last: Seq) -> Self {
        Self { store, next: Mutex::new(last.0 + 1) }
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Waits for one's turn: nanoseconds, never the disk.
    pub(crate) fn turn(&self) -> Turn<'_> {
        Turn { store: &self.store, next: self.next.lock() }
    }

    /// The last position given out.
    pub(crate) fn last(&self) -> Seq {
        Seq(self.next.lock().saturating_sub(1))
    }

    /// Commits what needs no position.
    pub(crate) fn commit(&self, urgency: Urgency, ops: Vec<Op>) -> Commit {
        self.store.commit(urgency, ops)
    }
}

impl Turn<'_> {
    /// The next position.
    pub(crate) fn seq(&mut self) -> Seq {
        let seq = Seq(*self.next);
        *self.next += 1;
        seq
    }

    /// Queues the batch and ends the turn.
    pub(crate) fn commit(self, urgency: Urgency, ops: Vec<Op>) -> Commit {
        self.store.commit(urgency, ops)
    }
}
