//! Faults that tests inject. A store that nobody gave a [`Faults`] never looks here.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;

/// Test-only: makes a store meet a failing or a small disk.
#[derive(Debug, Default)]
pub struct Faults {
    fail_sync: AtomicBool,
    disk_pages: AtomicU32,
    disk_looks: AtomicU64,
    full_groups: AtomicU32,
    full_now: AtomicBool,
    /// Whether each batch is a transaction of its own.
    apart: AtomicBool,
    batches: AtomicU64,
    crash: Mutex<Option<(u64, Crash)>>,
    crashed: AtomicBool,
}

/// How the process of a test dies at a batch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Crash {
    /// Nothing of the batch is stored.
    Before,
    /// It is stored, and nobody hears of it.
    Unheard,
    /// It is stored and told; nothing follows.
    Told,
}

impl Faults {
    /// The next transaction fails as if its fsync had.
    pub fn fail_next_sync(&self) {
        self.fail_sync.store(true, Ordering::SeqCst);
    }

    /// The disk has room for so many pages of 4 KiB, ballast included; 0 is no bound.
    pub fn set_disk_pages(&self, pages: u32) {
        self.disk_pages.store(pages, Ordering::SeqCst);
    }

    /// How often the writer has looked how much room the disk has: before each transaction, and
    /// before each try whether a full disk has room again.
    pub fn disk_looks(&self) -> u64 {
        self.disk_looks.load(Ordering::SeqCst)
    }

    /// The next groups of batches find no space, ballast or not; then there is space again.
    pub fn fill_next_groups(&self, groups: u32) {
        self.full_groups.store(groups, Ordering::SeqCst);
    }

    /// From now on each batch is a transaction of its own and is counted, and what is written
    /// behind is written only when asked for: the same history makes the same store.
    pub fn step_by_step(&self) {
        self.apart.store(true, Ordering::SeqCst);
    }

    /// How many batches were begun step by step.
    pub fn batches(&self) -> u64 {
        self.batches.load(Ordering::SeqCst)
    }

    /// The process dies at the batch of that number, from 1: nothing is written any more.
    pub fn crash_at(&self, batch: u64, crash: Crash) {
        self.step_by_step();
        *self.crash.lock() = Some((batch, crash));
    }

    /// Whether the process is dead: who sees this gets no further answer of it.
    pub fn has_crashed(&self) -> bool {
        self.crashed.load(Ordering::SeqCst)
    }

    pub(crate) fn is_apart(&self) -> bool {
        self.apart.load(Ordering::SeqCst)
    }

    /// Whether the process dies at the batch that begins now.
    pub(crate) fn begin_batch(&self) -> Option<Crash> {
        if !self.is_apart() {
            return None;
        }
        let number = self.batches.fetch_add(1, Ordering::SeqCst) + 1;
        let crash = self.crash.lock().filter(|(at, _)| *at == number).map(|(_, crash)| crash);
        self.crashed.fetch_or(crash.is_some(), Ordering::SeqCst);
        crash
    }

    pub(crate) fn begin_group(&self) {
        let left = |left: u32| left.checked_sub(1);
        let full = self.full_groups.fetch_update(Ordering::SeqCst, Ordering::SeqCst, left).is_ok();
        self.full_now.store(full, Ordering::SeqCst);
    }

    pub(crate) fn is_full(&self) -> bool {
        self.full_now.load(Ordering::SeqCst)
    }

    pub(crate) fn take_failed_sync(&self) -> bool {
        self.fail_sync.swap(false, Ordering::SeqCst)
    }

    /// How many pages are left to the database; `None` if the disk is not simulated.
    pub(crate) fn pages_left(&self, ballast_bytes: u64) -> Option<u32> {
        self.disk_looks.fetch_add(1, Ordering::SeqCst);
        match self.disk_pages.load(Ordering::SeqCst) {
            0 => None,
            pages => {
                let ballast = u32::try_from(ballast_bytes.div_ceil(4096)).unwrap_or(u32::MAX);
                Some(pages.saturating_sub(ballast).max(1))
            }
        }
    }
}
