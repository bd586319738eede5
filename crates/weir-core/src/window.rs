//! The counted state of a limit: look, check, take, give back, settle.
//!
//! A [`Window`] means something only together with its [`Rule`]; when the rule changes,
//! [`Rule::carry_over`] translates it. Everything here follows the `now` it is given. Should that
//! go backwards by up to a window's length, the window stays in force until its known end; by
//! more, it is taken to be over: a clock that is wrong neither lengthens a wait by more than one
//! window nor opens a limit more than once. Amounts saturate, times saturate, nothing panics.

mod state;

mod bucket;
mod concurrency;
mod fixed;
mod sliding;

mod carry;

use self::state::{Ask, NO_PERIOD};
pub use self::state::{Blocked, Snapshot, Taken, Wait, Window};
use crate::limit::{Algorithm, Rule, UNLIMITED};
use crate::time::{Span, Timestamp};

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

    /// Takes back all that an estimate was settled to, from the window that the estimate was counted
    /// in; no effect if that is over. A concurrency slot came free when its call was settled.
    pub fn unsettle(&self, window: &mut Window, taken: Taken, actual: u64, now: Timestamp) {
        if self.algorithm() != Algorithm::Concurrency {
            self.give_back(window, Taken { amount: actual, ..taken }, now);
        }
    }

    /// A window that was counted up to `from`, taken up at `to`, which is earlier: the clock was set
    /// back while nothing ran. It has as long to go as it had then; one that follows the calendar
    /// counts in the present window of the calendar.
    #[must_use]
    pub fn rebase(&self, window: &Window, from: Timestamp, to: Timestamp) -> Window {
        if let Some((zone, cycle)) = self.calendar() {
            let then = fixed::current(self, window, from.micros());
            let at = if then.count == 0 { 0 } else { cycle.start_at(zone, to).micros() };
            return Window { at, ..then };
        }
        match (self.algorithm(), window == &Window::default()) {
            (Algorithm::Concurrency, _) | (_, true) => *window,
            _ => Window { at: window.at.saturating_sub(from.since(to).micros()), ..*window },
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
