//! `governor`, keyed, on its concurrent map, with the same quick hasher and a monotonic clock.

use std::hash::BuildHasherDefault;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::MonotonicClock;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};

use crate::contender::Contender;
use crate::sharded::Quick;

type Hash = BuildHasherDefault<Quick>;

/// `governor` with one rule for all keys.
pub(crate) struct Governed(RateLimiter<u64, DashMapStateStore<u64, Hash>, MonotonicClock>);

impl Governed {
    /// A cell each nanosecond: as good as never refused.
    pub(crate) fn new() -> Option<Self> {
        let quota = Quota::with_period(Duration::from_nanos(1))?.allow_burst(NonZeroU32::MAX);
        let store = DashMapStateStore::with_hasher(Hash::default());
        Some(Self(RateLimiter::new(quota, store, MonotonicClock)))
    }
}

impl Contender for Governed {
    fn decide(&self, key: u32) -> bool {
        self.0.check_key(&u64::from(key)).is_ok()
    }
}
