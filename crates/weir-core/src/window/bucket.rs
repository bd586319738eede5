//! Token bucket, as the generic cell rate algorithm in integers: `quota` units flow back evenly
//! over each window's length, up to the burst.
//!
//! Promise: in any stretch of time `L` at most `burst + quota * L / length` is used. With the
//! default burst, the quota, that is up to twice the quota in one window's length; a smaller burst
//! buys evenness. There are no edges.
//!
//! The state is the deficit of a full bucket in units times microseconds: a take adds
//! `amount * length`, each microsecond removes `quota`. Nothing is ever rounded, however many
//! units flow per microsecond. Debt is a deficit beyond the burst; it is paid by the flow and
//! never forgiven. What is taken can be given back until the bucket has been full since: from
//! then on it would add what has already flowed back.

use super::state::{Ask, BUSY_PERIODS, Blocked, NEVER, Seen, Taken, Window, blocked_until};
use crate::limit::Rule;

pub(super) fn seen(rule: &Rule, window: &Window, now: i64) -> Seen {
    let current = current(rule, window, now);
    let reset_at = match current.deficit {
        0 => now.saturating_add(rule.length),
        deficit => moment_of(rule, &current, deficit),
    };
    Seen { used: used(rule, &current), reset_at, length: rule.length }
}

#[inline]
pub(super) fn check(rule: &Rule, window: &Window, ask: Ask) -> Result<(), Blocked> {
    let current = current(rule, window, ask.now);
    let wanted = current.deficit + times_length(rule, ask.amount);
    let most = times_length(rule, ask.ceiling);
    if wanted <= most {
        return Ok(());
    }
    if ask.amount > ask.ceiling || rule.quota == 0 {
        return Err(NEVER);
    }
    Err(blocked_until(moment_of(rule, &current, wanted - most), ask.now))
}

#[inline]
pub(super) fn take(rule: &Rule, window: &mut Window, amount: u64, now: i64) -> i64 {
    let mut current = current(rule, window, now);
    if current.deficit == 0 {
        // One that was forgotten, as its limit was gone for a while, or came from another rule does
        // not count from one again: what was taken before would be given back to it.
        let next = match current.busy_period {
            NEW => u16::try_from(now & 0xffff).unwrap_or_default(),
            last => last.wrapping_add(1),
        };
        current.busy_period = if next == NEW { 1 } else { next };
    }
    current.deficit += times_length(rule, amount);
    *window = current.pack();
    current.period()
}

pub(super) fn give_back(rule: &Rule, window: &mut Window, taken: Taken, now: i64) {
    let mut current = current(rule, window, now);
    if current.period() == taken.period {
        current.deficit = current.deficit.saturating_sub(times_length(rule, taken.amount));
    }
    *window = current.pack();
}

/// The state at a moment.
#[derive(Clone, Copy)]
pub(super) struct Level {
    /// The moment: `now`, or later where the clock has gone backwards.
    at: i64,
    /// Units times microseconds, at most [`DEFICIT_MAX`] when packed.
    pub(super) deficit: u128,
    /// Number of the stretch in which the bucket has not been full.
    busy_period: u16,
}

impl Level {
    /// The level with a deficit of so many units, used under another rule: what was taken then is
    /// not given back.
    pub(super) fn with_units(rule: &Rule, units: u64, now: i64) -> Window {
        Self { at: now, deficit: times_length(rule, units), busy_period: NEW }.pack()
    }

    /// The same level held to a deficit.
    pub(super) fn held_to(self, most: u128) -> Window {
        Self { deficit: self.deficit.min(most), ..self }.pack()
    }

    fn period(self) -> i64 {
        BUSY_PERIODS + i64::from(self.busy_period)
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "both halves of a number of 112 bits")]
    fn pack(self) -> Window {
        let deficit = self.deficit.min(DEFICIT_MAX);
        let high = (deficit >> 64) as u64 | u64::from(self.busy_period) << 48;
        Window { at: self.at, count: deficit as u64, aside: high }
    }
}

/// The level at `now`.
#[inline]
pub(super) fn current(rule: &Rule, window: &Window, now: i64) -> Level {
    let deficit = u128::from(window.aside & HIGH_MASK) << 64 | u128::from(window.count);
    let busy_period = (window.aside >> 48) as u16;
    if now >= window.at {
        let flowed = u128::from(now.abs_diff(window.at)) * u128::from(rule.quota);
        return Level { at: now, deficit: deficit.saturating_sub(flowed), busy_period };
    }
    if window.at.abs_diff(now) <= rule.length.unsigned_abs() {
        return Level { at: window.at, deficit, busy_period };
    }
    Level { at: now, deficit: 0, busy_period }
}

/// Units missing from a full bucket, rounded up: a whole amount passes exactly if it fits beside it.
pub(super) fn used(rule: &Rule, current: &Level) -> u64 {
    let units = current.deficit.div_ceil(u128::from(rule.length.unsigned_abs()));
    u64::try_from(units).unwrap_or(u64::MAX)
}

/// When `deficit` will have flowed back.
fn moment_of(rule: &Rule, current: &Level, deficit: u128) -> i64 {
    let span = deficit.div_ceil(u128::from(rule.quota.max(1)));
    current.at.saturating_add(i64::try_from(span).unwrap_or(i64::MAX))
}

#[inline]
pub(super) fn times_length(rule: &Rule, amount: u64) -> u128 {
    u128::from(amount) * u128::from(rule.length.unsigned_abs())
}

/// The burst of the largest rule is 2^98: this leaves debt of 16,000 times that.
const DEFICIT_MAX: u128 = (1 << 112) - 1;
/// Number of the stretch of a bucket that is new or began under another rule; no other has it.
const NEW: u16 = 0;
const HIGH_MASK: u64 = (1 << 48) - 1;
