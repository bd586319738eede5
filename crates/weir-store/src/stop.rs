//! Telling a thread that works at intervals to hurry, or to stop.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// Between a thread that works at intervals and its owner.
#[derive(Debug, Default)]
pub(crate) struct Stop {
    state: Mutex<State>,
    wake: Condvar,
    rounds: Condvar,
}

#[derive(Debug, Default)]
struct State {
    stopped: bool,
    /// Rounds that were asked for, and rounds that were ended.
    asked: u64,
    ended: u64,
}

impl Stop {
    /// Sleeps for an interval, or until hurried or stopped; whether it was stopped.
    pub(crate) fn wait(&self, interval: Duration) -> bool {
        let mut state = self.state.lock();
        if !state.stopped && state.asked == state.ended {
            // Waking too early means one round too many, which harms nobody.
            let _ = self.wake.wait_for(&mut state, interval);
        }
        state.stopped
    }

    /// What is asked for by now, to be handed to [`Stop::end_round`] when it is done.
    pub(crate) fn begin_round(&self) -> u64 {
        self.state.lock().asked
    }

    pub(crate) fn end_round(&self, round: u64) {
        let mut state = self.state.lock();
        state.ended = state.ended.max(round);
        self.rounds.notify_all();
    }

    /// Asks for a whole round and waits for it; returns at once if the thread is stopped.
    pub(crate) fn round(&self) {
        let mut state = self.state.lock();
        state.asked += 1;
        let asked = state.asked;
        self.wake.notify_all();
        while state.ended < asked && !state.stopped {
            self.rounds.wait(&mut state);
        }
    }

    pub(crate) fn stop(&self) {
        self.state.lock().stopped = true;
        self.wake.notify_all();
        self.rounds.notify_all();
    }
}
