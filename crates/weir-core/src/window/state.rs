//! What is counted, what is told of it, and what the algorithms share.

use crate::time::{Span, Timestamp};

/// What one account, key or route has used of one limit. The default has never been used.
///
/// | algorithm | `at` | `count` | `aside` |
/// |---|---|---|---|
/// | fixed window | its start | used | the largest use that makes no debt |
/// | sliding window | start of the newer cell | used in it | used in the older |
/// | token bucket | last change | deficit, low 64 bits | busy period (16 bits), deficit, high 48 bits |
/// | concurrency | 0 | running | 0 |
///
/// Invariant: what counts nothing is as good as never used; its window begins with the next take.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Window {
    pub(super) at: i64,
    pub(super) count: u64,
    pub(super) aside: u64,
}

impl Window {
    /// One that has never been used.
    pub(crate) const UNUSED: Self = Self { at: 0, count: 0, aside: 0 };

    /// The state as numbers, for the store.
    pub const fn to_bits(self) -> [u64; 3] {
        [self.at.cast_unsigned(), self.count, self.aside]
    }

    /// The state from what [`Self::to_bits`] gave. Every value is safe to use.
    pub const fn from_bits(bits: [u64; 3]) -> Self {
        Self { at: bits[0].cast_signed(), count: bits[1], aside: bits[2] }
    }
}

/// What a take counted, and in which window: the claim to give it back or to settle it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use = "what is taken is settled or given back"]
pub struct Taken {
    pub(super) period: i64,
    pub(super) amount: u64,
}

impl Taken {
    /// How much was counted.
    pub const fn amount(&self) -> u64 {
        self.amount
    }
}

/// A limit seen at one moment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Snapshot {
    /// Units per window; `None` is unlimited.
    pub limit: Option<u64>,
    /// What counts now, debt included: may exceed the limit.
    pub used: u64,
    /// What may still be used now, the reserve included; all of `u64` without a limit. At most the
    /// limit, of a token bucket at most its burst.
    pub remaining: u64,
    /// When the next window begins; of sliding windows and buckets, when all of it is free again if
    /// nothing more is used. Of a window not begun: one window from now.
    pub reset_at: Timestamp,
    /// Length of the window: of a calendar window its real length, of concurrency zero.
    pub window: Span,
}

/// When what was refused would pass.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wait {
    /// After this time, above zero and to the microsecond, if nobody else uses the limit.
    /// Of concurrency: one second, a guess.
    For(Span),
    /// Never: it asks for more than the limit (or what such calls may use of it) can hold.
    Never,
}

/// A refusal by one limit. Nothing was changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Blocked {
    /// How long to wait.
    pub wait: Wait,
}

/// What is asked of a window.
#[derive(Clone, Copy)]
pub(super) struct Ask {
    pub(super) amount: u64,
    /// Most that may be in use afterwards.
    pub(super) ceiling: u64,
    pub(super) now: i64,
}

/// What an algorithm knows of a window now.
pub(super) struct Seen {
    pub(super) used: u64,
    pub(super) reset_at: i64,
    pub(super) length: i64,
}

/// A refusal until `end`, which is later than `now`.
pub(super) fn blocked_until(end: i64, now: i64) -> Blocked {
    Blocked { wait: Wait::For(Span::from_micros(end.saturating_sub(now).max(1))) }
}

pub(super) const NEVER: Blocked = Blocked { wait: Wait::Never };

/// Periods that are no start of a window: takes of nothing, concurrency, busy periods of buckets.
pub(super) const NO_PERIOD: i64 = i64::MIN;
pub(super) const RUNNING: i64 = i64::MIN + 1;
pub(super) const BUSY_PERIODS: i64 = i64::MIN + 0x1_0000;
