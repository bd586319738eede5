//! Places for tries: how many may be in the air, and who waits for one.
//!
//! Receivers that work and receivers that failed last have places apart. A try that takes long
//! gives its place back while it is still in the air, so that receivers which begin to hang hold
//! up others for a second and not until their time is up.

use std::collections::{HashSet, VecDeque};

use weir_core::id::WebhookId;

/// Among whom a try counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Lane {
    /// Receivers that work, as far as is known.
    Fast,
    /// Receivers that failed last.
    Slow,
    /// What began among the fast ones and has taken long already.
    Late,
}

/// Places, and webhooks that are due while all are taken.
#[derive(Debug, Default)]
pub(crate) struct Places {
    fast: usize,
    slow: usize,
    late: usize,
    waiting_fast: Queue,
    waiting_slow: Queue,
}

/// Webhooks in the order in which they came, each once.
#[derive(Debug, Default)]
struct Queue {
    order: VecDeque<WebhookId>,
    known: HashSet<WebhookId>,
}

impl Places {
    /// Takes a place, if there is one; else the webhook waits for it.
    pub(crate) fn take(&mut self, failed_last: bool, webhook: WebhookId) -> Option<Lane> {
        let lane = if failed_last { Lane::Slow } else { Lane::Fast };
        if self.left(lane) == 0 {
            let waiting = if failed_last { &mut self.waiting_slow } else { &mut self.waiting_fast };
            waiting.push(webhook);
            return None;
        }
        *self.count(lane) += 1;
        Some(lane)
    }

    /// A try is over.
    pub(crate) fn give_back(&mut self, lane: Lane) {
        let count = self.count(lane);
        *count = count.saturating_sub(1);
    }

    /// A try takes long: where it counts from now on.
    pub(crate) fn outlast(&mut self, lane: Lane) -> Lane {
        if lane != Lane::Fast {
            return lane;
        }
        self.give_back(Lane::Fast);
        self.late += 1;
        Lane::Late
    }

    /// As many of those that wait as there are places for, the longest waiting first; they wait no
    /// more.
    pub(crate) fn ready(&mut self) -> Vec<WebhookId> {
        let (fast, slow) = (self.left(Lane::Fast), self.left(Lane::Slow));
        let mut ready = self.waiting_fast.pop(fast);
        ready.extend(self.waiting_slow.pop(slow));
        ready
    }

    fn left(&self, lane: Lane) -> usize {
        match lane {
            Lane::Slow => SLOW_MAX.saturating_sub(self.slow),
            Lane::Fast | Lane::Late if self.late >= LATE_MAX => 0,
            Lane::Fast | Lane::Late => FAST_MAX.saturating_sub(self.fast),
        }
    }

    fn count(&mut self, lane: Lane) -> &mut usize {
        match lane {
            Lane::Fast => &mut self.fast,
            Lane::Slow => &mut self.slow,
            Lane::Late => &mut self.late,
        }
    }
}

impl Queue {
    fn push(&mut self, webhook: WebhookId) {
        if self.known.insert(webhook) {
            self.order.push_back(webhook);
        }
    }

    fn pop(&mut self, most: usize) -> Vec<WebhookId> {
        let popped: Vec<_> = self.order.drain(..most.min(self.order.len())).collect();
        for webhook in &popped {
            self.known.remove(webhook);
        }
        popped
    }
}

/// Tries in the air to receivers that work, and to those that do not.
const FAST_MAX: usize = 64;
const SLOW_MAX: usize = 64;
/// Tries that have taken long: above it none begins among the fast ones, so that connections stay
/// bounded.
const LATE_MAX: usize = 384;

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(number: usize) -> WebhookId {
        WebhookId(number as u64)
    }

    #[test]
    fn what_takes_long_makes_room_for_others_and_all_in_all_stays_bounded() {
        let mut places = Places::default();
        let mut flying = 0;
        for _ in 0..6 {
            for number in 0..FAST_MAX {
                assert_eq!(places.take(false, hook(number)), Some(Lane::Fast));
                flying += 1;
            }
            assert_eq!(places.take(false, hook(1_000)), None);
            for _ in 0..FAST_MAX {
                assert_eq!(places.outlast(Lane::Fast), Lane::Late);
            }
        }
        assert_eq!(flying, LATE_MAX);
        assert_eq!(places.take(false, hook(1_001)), None);
        // Those that failed have places of their own all the while.
        assert_eq!(places.take(true, hook(1_002)), Some(Lane::Slow));
        assert_eq!(places.outlast(Lane::Slow), Lane::Slow);
        assert!(places.ready().is_empty());
        places.give_back(Lane::Late);
        assert_eq!(places.ready(), [hook(1_000), hook(1_001)]);
    }

    #[test]
    fn who_waits_waits_once_and_in_turn() {
        let mut places = Places::default();
        for number in 0..SLOW_MAX {
            assert_eq!(places.take(true, hook(number)), Some(Lane::Slow));
        }
        for number in [102, 101, 102, 103] {
            assert_eq!(places.take(true, hook(number)), None);
        }
        places.give_back(Lane::Slow);
        assert_eq!(places.ready(), [hook(102)]);
        assert_eq!(places.take(true, hook(102)), Some(Lane::Slow));
        assert!(places.ready().is_empty());
        places.give_back(Lane::Slow);
        places.give_back(Lane::Slow);
        assert_eq!(places.ready(), [hook(101), hook(103)]);
    }
}
