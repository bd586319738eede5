//! Whether the store takes commits, readable at any time for the price of one load.

use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::watch;

/// Whether the store takes commits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StoreHealth {
    /// Everything is taken.
    Ok,
    /// The disk is full: settlements are tried, new work is refused. It heals by itself.
    Full,
    /// A write failed in a way after which no later success can be believed. Nothing is
    /// acknowledged until the process restarts.
    Fenced,
}

#[derive(Debug)]
pub(crate) struct Health {
    state: AtomicU8,
    watch: watch::Sender<StoreHealth>,
}

impl Health {
    pub(crate) fn new() -> Self {
        Self { state: AtomicU8::new(OK), watch: watch::Sender::new(StoreHealth::Ok) }
    }

    pub(crate) fn get(&self) -> StoreHealth {
        match self.state.load(Ordering::Acquire) {
            OK => StoreHealth::Ok,
            FULL => StoreHealth::Full,
            _ => StoreHealth::Fenced,
        }
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<StoreHealth> {
        self.watch.subscribe()
    }

    /// Moves between `Ok` and `Full`; a fence stays.
    pub(crate) fn set_full(&self, full: bool) {
        let (from, to) = if full { (OK, FULL) } else { (FULL, OK) };
        if self.state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            if full {
                tracing::error!("the disk of the store is full: only settlements are written");
            } else {
                tracing::info!("the store has space again");
            }
            self.watch.send_modify(|seen| *seen = self.get());
        }
    }

    /// For the rest of the process's life.
    pub(crate) fn fence(&self, why: &dyn std::fmt::Display) {
        if self.state.swap(FENCED, Ordering::AcqRel) != FENCED {
            tracing::error!(reason = %why, "the store is fenced until the process restarts");
            self.watch.send_modify(|seen| *seen = StoreHealth::Fenced);
        }
    }
}

const OK: u8 = 0;
const FULL: u8 = 1;
const FENCED: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fence_is_never_lifted() {
        let health = Health::new();
        let watch = health.subscribe();
        health.set_full(true);
        assert_eq!(health.get(), StoreHealth::Full);
        health.fence(&"test");
        health.set_full(true);
        health.set_full(false);
        assert_eq!(health.get(), StoreHealth::Fenced);
        assert_eq!(*watch.borrow(), StoreHealth::Fenced);
    }
}
