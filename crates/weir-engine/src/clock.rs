//! The one file that reads a clock.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use weir_core::time::{Span, Timestamp};

/// Tells the time: the wall's at start, and from then on as long as a monotonic clock has run.
///
/// A step of the wall clock (NTP, an operator) therefore neither opens nor freezes a window. A
/// manual clock stands still until it is moved.
#[derive(Debug)]
pub struct Clock(Source);

#[derive(Debug)]
enum Source {
    Running { origin: Instant, wall: Timestamp },
    Manual(AtomicI64),
}

impl Clock {
    /// The machine's clock.
    pub fn running() -> Self {
        Self(Source::Running { origin: instant(), wall: wall() })
    }

    /// A clock for tests that is moved by hand.
    pub fn manual(now: Timestamp) -> Self {
        Self(Source::Manual(AtomicI64::new(now.micros())))
    }

    /// What time it is.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::Running { origin, wall } => {
                let passed = instant().duration_since(*origin).as_micros();
                wall.plus(Span::from_micros(i64::try_from(passed).unwrap_or(i64::MAX)))
            }
            Source::Manual(now) => Timestamp::from_micros(now.load(Ordering::Acquire)),
        }
    }

    /// Moves a manual clock; a running one takes no orders.
    pub fn set(&self, to: Timestamp) {
        if let Source::Manual(now) = &self.0 {
            now.store(to.micros(), Ordering::Release);
        }
    }
}

/// A point on the monotonic clock, to measure how long something took.
#[expect(clippy::disallowed_methods, reason = "this is the one clock file")]
pub fn instant() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "this is the one clock file")]
fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
