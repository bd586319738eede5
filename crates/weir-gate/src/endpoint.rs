//! Which of an upstream's addresses takes the next call: least in flight, failing ones aside.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// The addresses of one upstream, known to all cores.
#[derive(Debug)]
pub(crate) struct Endpoints {
    all: Vec<Arc<Endpoint>>,
    /// Where to begin to look, so that equals take turns.
    turn: AtomicUsize,
}

/// One address: how much it does and how well.
#[derive(Debug, Default)]
pub(crate) struct Endpoint {
    in_flight: AtomicUsize,
    health: Mutex<Health>,
}

/// One call on its way to an address; counted until dropped.
#[derive(Debug)]
pub(crate) struct Attempt {
    endpoint: Arc<Endpoint>,
    index: usize,
    /// It finds out whether the address is well again.
    probe: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Health {
    /// Failures since the last success.
    failures: u32,
    failed_at: Option<Instant>,
    ejected_until: Option<Instant>,
    /// The one call that finds out whether the address is well again.
    probing: bool,
}

/// How fit an address is for a call; the less, the better.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Fitness {
    Fit { in_flight: usize },
    Ejected { failed_at: Option<Instant> },
}

impl Endpoints {
    pub(crate) fn new(count: usize) -> Self {
        let all = (0..count).map(|_| Arc::default()).collect();
        Self { all, turn: AtomicUsize::new(0) }
    }

    /// Chooses an address that was not tried for this call; `None` when all were.
    ///
    /// Least in flight; an address that failed is left aside for a while and then gets one call to
    /// prove itself. When all others are aside, the one that failed first is tried again.
    pub(crate) fn pick(&self, tried: &[usize], now: Instant) -> Option<Attempt> {
        let count = self.all.len();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let (index, endpoint, fitness) = (0..count)
            .map(|step| turn.wrapping_add(step) % count)
            .filter(|index| !tried.contains(index))
            .filter_map(|index| self.all.get(index).map(|endpoint| (index, endpoint)))
            .map(|(index, endpoint)| (index, endpoint, endpoint.fitness(now)))
            .min_by_key(|(_, _, fitness)| *fitness)?;
        endpoint.in_flight.fetch_add(1, Ordering::Relaxed);
        let mut health = endpoint.health.lock();
        let probe = health.failures > 0 && matches!(fitness, Fitness::Fit { .. });
        health.probing |= probe;
        drop(health);
        Some(Attempt { endpoint: Arc::clone(endpoint), index, probe })
    }

    /// Calls in flight and whether the address is left aside, in order.
    pub(crate) fn state(&self, now: Instant) -> impl Iterator<Item = (usize, bool)> {
        self.all.iter().map(move |endpoint| {
            let ejected = matches!(endpoint.fitness(now), Fitness::Ejected { .. });
            (endpoint.in_flight.load(Ordering::Relaxed), ejected)
        })
    }
}

impl Endpoint {
    fn fitness(&self, now: Instant) -> Fitness {
        let health = *self.health.lock();
        let aside = health.probing || health.ejected_until.is_some_and(|until| now < until);
        if health.failures > 0 && aside {
            Fitness::Ejected { failed_at: health.failed_at }
        } else {
            Fitness::Fit { in_flight: self.in_flight.load(Ordering::Relaxed) }
        }
    }
}

impl Attempt {
    /// The position of the address.
    pub(crate) fn index(&self) -> usize {
        self.index
    }

    /// An answer began: the address is well.
    pub(crate) fn succeeded(&self) {
        let mut health = self.endpoint.health.lock();
        if health.failures > 0 {
            *health = Health::default();
        }
    }

    /// It could not be reached, or did not answer in time; whether it is left aside newly.
    pub(crate) fn failed(&self, now: Instant) -> bool {
        let mut health = self.endpoint.health.lock();
        health.failed_at = Some(now);
        // Calls that were under way together fail together: that is one failure.
        let counts =
            self.probe && health.probing || health.ejected_until.is_none_or(|until| now >= until);
        if counts {
            let aside = ASIDE_MIN.saturating_mul(1 << health.failures.min(5)).min(ASIDE_MAX);
            health.failures = health.failures.saturating_add(1);
            health.ejected_until = Some(now + aside);
            health.probing = false;
        }
        counts
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.endpoint.in_flight.fetch_sub(1, Ordering::Relaxed);
        if self.probe {
            // Who was cancelled has proven nothing: the next may try.
            self.endpoint.health.lock().probing = false;
        }
    }
}

const ASIDE_MIN: Duration = Duration::from_secs(1);
const ASIDE_MAX: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    fn after(begin: Instant, seconds: u64) -> Instant {
        begin + Duration::from_secs(seconds)
    }

    #[test]
    fn the_least_busy_is_picked_and_equals_take_turns() {
        let (all, now) = (Endpoints::new(3), Instant::now());
        let picks: Vec<_> = (0..6).map(|_| all.pick(&[], now).unwrap()).collect();
        assert!(all.state(now).all(|(in_flight, _)| in_flight == 2));
        let freed = picks.into_iter().find(|pick| pick.index() == 1).unwrap();
        assert!(all.state(now).all(|(in_flight, _)| in_flight <= 1));
        let others: Vec<_> = (0..2).map(|_| all.pick(&[], now).unwrap().index()).collect();
        assert!(!others.contains(&freed.index()));
    }

    #[test]
    fn a_failing_address_is_left_aside_for_longer_each_time() {
        let (all, begin) = (Endpoints::new(2), Instant::now());
        let mut at = 0;
        for aside in [1, 2, 4, 8, 16, 30, 30] {
            let failing = all.pick(&[1], after(begin, at)).unwrap();
            assert!(failing.failed(after(begin, at)));
            assert!(!failing.failed(after(begin, at)), "one failure counted twice");
            drop(failing);
            let early = after(begin, at + aside) - Duration::from_millis(1);
            assert_eq!(all.pick(&[], early).unwrap().index(), 1);
            assert_eq!(all.pick(&[], early).unwrap().index(), 1);
            at += aside;
        }
    }

    #[test]
    fn one_call_probes_an_address_and_its_success_brings_it_back() {
        let (all, begin) = (Endpoints::new(2), Instant::now());
        all.pick(&[1], begin).unwrap().failed(begin);
        let later = after(begin, 2);
        let busy = || all.pick(&[0], later).unwrap();
        let _busy = [busy(), busy(), busy()];
        let probe = all.pick(&[], later).unwrap();
        assert_eq!(probe.index(), 0);
        assert_eq!(all.pick(&[], later).unwrap().index(), 1, "a second probe");
        drop(probe); // cancelled
        let probe = all.pick(&[], later).unwrap();
        assert_eq!(probe.index(), 0);
        probe.succeeded();
        assert_eq!(all.pick(&[], later).unwrap().index(), 0);
    }

    #[test]
    fn when_all_fail_the_least_recent_failure_is_tried() {
        let (all, begin) = (Endpoints::new(3), Instant::now());
        for (millis, index) in [(1, 2), (2, 0), (3, 1)] {
            let others: Vec<_> = (0..3).filter(|other| *other != index).collect();
            let now = begin + Duration::from_millis(millis);
            all.pick(&others, now).unwrap().failed(now);
        }
        let soon = begin + Duration::from_millis(10);
        assert_eq!(all.pick(&[], soon).unwrap().index(), 2);
        assert_eq!(all.pick(&[2], soon).unwrap().index(), 0);
        assert!(all.pick(&[0, 1, 2], soon).is_none());
    }
}
