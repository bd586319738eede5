//! The counted state of a limit: look, check, take, give back, settle.
//!
//! A [`Window`] means something only together with its [`Rule`]; when the rule changes,
//! [`Rule::carry_over`] translates it. Everything here follows the `now` it is given. Should that
//! go backwards by up to a window's length, the window stays in force until its known end; by
//! more, it is taken to be over: a clock that is wrong neither lengthens a wait by more than one
//! window nor opens a limit more than once. Amounts saturate, times saturate, nothing panics.

mod bucket;
mod carry;
mod concurrency;
mod fixed;
mod sliding;

use crate::limit::{Algorithm, Rule, UNLIMITED};
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
    at: i64,
    count: u64,
    aside: u64,
}

impl Window {
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
    period: i64,
    amount: u64,
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
    /// How much of the capacity only urgent calls may use.
    pub reserved: u64,
    /// When the next window begins; of sliding windows and buckets, when all of it is free again if
    /// nothing more is used. Of a window not begun: one window from now.
    pub reset_at: Timestamp,
    /// Length of the window: of a calendar window its real length, of concurrency zero.
    pub window: Span,
}

impl Snapshot {
    /// What a call may still use now: [`Self::remaining`], without the reserve if it is not urgent.
    pub const fn remaining_for(&self, urgent: bool) -> u64 {
        if urgent { self.remaining } else { self.remaining.saturating_sub(self.reserved) }
    }
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

impl Rule {
    /// What the limit looks like now. Changes nothing.
    pub fn snapshot(&self, window: &Window, now: Timestamp) -> Snapshot {
        let now = now.micros();
        let seen = match self.algorithm() {
            Algorithm::FixedWindow => fixed::seen(self, window, now),
            Algorithm::SlidingWindow => sliding::seen(self, window, now),
            Algorithm::TokenBucket => bucket::seen(self, window, now),
            Algorithm::Concurrency => concurrency::seen(window, now),
        };
        let remaining = match self.quota {
            UNLIMITED => u64::MAX,
            _ => self.capacity.saturating_sub(seen.used),
        };
        Snapshot {
            limit: self.quota(),
            used: seen.used,
            remaining,
            reserved: self.capacity - self.ordinary,
            reset_at: Timestamp::from_micros(seen.reset_at),
            window: Span::from_micros(seen.length),
        }
    }

    /// Whether `amount` more may be used now; `urgent` calls may use the reserve too. Changes
    /// nothing. An `amount` of nothing passes unless there is debt.
    ///
    /// # Errors
    ///
    /// [`Blocked`] with the least time after which the same check passes if nobody else uses the
    /// limit. The rule's mode plays no part: who asks decides what a shadow's refusal means.
    #[inline]
    pub fn check(
        &self,
        window: &Window,
        amount: u64,
        urgent: bool,
        now: Timestamp,
    ) -> Result<(), Blocked> {
        let ask = Ask { amount, ceiling: self.ceiling(urgent), now: now.micros() };
        match self.algorithm() {
            _ if self.quota == UNLIMITED => Ok(()),
            Algorithm::FixedWindow => fixed::check(self, window, ask),
            Algorithm::SlidingWindow => sliding::check(self, window, ask),
            Algorithm::TokenBucket => bucket::check(self, window, ask),
            Algorithm::Concurrency => concurrency::check(window, ask),
        }
    }

    /// Counts `amount`, without asking: [`Self::check`] comes first.
    #[inline]
    pub fn take(&self, window: &mut Window, amount: u64, now: Timestamp) -> Taken {
        if amount == 0 {
            return Taken { period: NO_PERIOD, amount };
        }
        let period = match self.algorithm() {
            Algorithm::FixedWindow => fixed::take(self, window, amount, now.micros()),
            Algorithm::SlidingWindow => sliding::take(self, window, amount, now.micros()),
            Algorithm::TokenBucket => bucket::take(self, window, amount, now.micros()),
            Algorithm::Concurrency => concurrency::take(window, amount),
        };
        Taken { period, amount }
    }

    /// Takes back what was counted, from the window it was counted in; no effect if that is over.
    pub fn give_back(&self, window: &mut Window, taken: Taken, now: Timestamp) {
        let now = now.micros();
        match self.algorithm() {
            Algorithm::FixedWindow => fixed::give_back(self, window, taken, now),
            Algorithm::SlidingWindow => sliding::give_back(self, window, taken, now),
            Algorithm::TokenBucket => bucket::give_back(self, window, taken, now),
            Algorithm::Concurrency => concurrency::give_back(window, taken),
        }
    }

    /// Corrects an estimate to the truth. What was too much is given back to the window it came
    /// from; what was too little counts now, above the limit if need be: that is debt, which
    /// following windows pay. A concurrency slot is not an estimate: it stays taken.
    pub fn settle(&self, window: &mut Window, taken: Taken, actual: u64, now: Timestamp) {
        if self.algorithm() == Algorithm::Concurrency {
            return;
        }
        if actual > taken.amount {
            let _more = self.take(window, actual - taken.amount, now);
        } else if actual < taken.amount {
            self.give_back(window, Taken { amount: taken.amount - actual, ..taken }, now);
        }
    }

    /// The window under this rule of what was counted under `old`. Call it whenever the rule of a
    /// window changes: plan, reload, boost begun or ended. What was used stays used, up to what
    /// this rule allows: lawful use above a lowered quota becomes no debt, debt stays debt. Where
    /// the length stays the same windows keep their bounds and takes can still be given back.
    /// Concurrency counts what runs, the others what was used: between these nothing carries over.
    #[must_use]
    pub fn carry_over(&self, old: &Self, window: &Window, now: Timestamp) -> Window {
        carry::over(self, old, window, now.micros())
    }
}

/// What is asked of a window.
#[derive(Clone, Copy)]
struct Ask {
    amount: u64,
    /// Most that may be in use afterwards.
    ceiling: u64,
    now: i64,
}

/// What an algorithm knows of a window now.
struct Seen {
    used: u64,
    reset_at: i64,
    length: i64,
}

/// A refusal until `end`, which is later than `now`.
fn blocked_until(end: i64, now: i64) -> Blocked {
    Blocked { wait: Wait::For(Span::from_micros(end.saturating_sub(now).max(1))) }
}

const NEVER: Blocked = Blocked { wait: Wait::Never };

/// Periods that are no start of a window: takes of nothing, concurrency, busy periods of buckets.
const NO_PERIOD: i64 = i64::MIN;
const RUNNING: i64 = i64::MIN + 1;
const BUSY_PERIODS: i64 = i64::MIN + 0x1_0000;
