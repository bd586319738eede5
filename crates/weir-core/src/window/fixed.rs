//! Fixed windows: one count, from nothing at each window's start.
//!
//! Promise: at most the quota in each window. Across an edge up to twice the quota may be used in
//! a short time: all of one window at its end, all of the next at its start. From the first
//! request, a window begins with the first take after the one before is over, so two full bursts
//! lie at least one window apart unless the first was late in its window; by the calendar, windows
//! begin and end with the zone's clocks, however long their day or month is.
//!
//! Use above the quota (settled estimates) is debt: the next window begins at once with it, and
//! the one after that with what exceeds its quota still.

use super::state::{Ask, Blocked, NEVER, Seen, Taken, Window, blocked_until};
use crate::limit::Rule;
use crate::time::Timestamp;

pub(super) fn seen(rule: &Rule, window: &Window, now: i64) -> Seen {
    let current = current(rule, window, now);
    let start = if current.count == 0 { start_for(rule, now) } else { current.at };
    let reset_at = rule.start_after(start, 1);
    Seen { used: current.count, reset_at, length: reset_at.saturating_sub(start) }
}

#[inline]
pub(super) fn check(rule: &Rule, window: &Window, ask: Ask) -> Result<(), Blocked> {
    let current = current(rule, window, ask.now);
    if current.count.saturating_add(ask.amount) <= ask.ceiling {
        return Ok(());
    }
    Err(blocked(rule, &current, ask))
}

#[cold]
fn blocked(rule: &Rule, current: &Window, ask: Ask) -> Blocked {
    if ask.amount > ask.ceiling || rule.quota == 0 {
        return NEVER;
    }
    let debt = debt(rule, current);
    let over = debt.saturating_sub(ask.ceiling - ask.amount);
    let nth = over.div_ceil(rule.quota).saturating_add(1);
    blocked_until(rule.start_after(current.at, nth), ask.now)
}

#[inline]
pub(super) fn take(rule: &Rule, window: &mut Window, amount: u64, now: i64) -> i64 {
    // Changed where it stands: a copy that goes back at once stalls the processor.
    if !rule.surely_within(window.at, now) {
        *window = rolled(rule, window, now);
    }
    if window.count == 0 {
        *window = Window { at: start_for(rule, now), count: 0, aside: 0 };
    }
    window.count = window.count.saturating_add(amount);
    window.aside = window.aside.max(rule.quota);
    window.at
}

pub(super) fn give_back(rule: &Rule, window: &mut Window, taken: Taken, now: i64) {
    let mut current = current(rule, window, now);
    if current.at == taken.period {
        current.count = current.count.saturating_sub(taken.amount);
    }
    *window = current;
}

/// What the next window will begin with if nothing more is used.
pub(super) fn debt(rule: &Rule, current: &Window) -> u64 {
    current.count.saturating_sub(rule.quota.max(current.aside))
}

/// Where a window that begins with a take at `now` starts.
pub(super) fn start_for(rule: &Rule, now: i64) -> i64 {
    match rule.calendar() {
        Some((zone, cycle)) => cycle.start_at(zone, Timestamp::from_micros(now)).micros(),
        None => now,
    }
}

/// The window as it is at `now`: itself, the one that its debt made of it, or none.
#[inline]
pub(super) fn current(rule: &Rule, window: &Window, now: i64) -> Window {
    if rule.surely_within(window.at, now) { *window } else { rolled(rule, window, now) }
}

fn rolled(rule: &Rule, window: &Window, now: i64) -> Window {
    if window.count == 0 {
        return Window::default();
    }
    if now < window.at {
        let step_back = window.at.saturating_sub(now);
        return if step_back <= rule.length { *window } else { Window::default() };
    }
    let (at, passed) = match rule.calendar() {
        None => {
            let passed = window.at.abs_diff(now) / rule.length.unsigned_abs();
            (rule.start_after(window.at, passed), passed)
        }
        Some((zone, cycle)) => {
            let start = cycle.start_at(zone, Timestamp::from_micros(now));
            let began = Timestamp::from_micros(window.at);
            if start <= began {
                return *window;
            }
            (start.micros(), cycle.windows_between(zone, began, start))
        }
    };
    let paid = rule.quota.saturating_mul(passed.saturating_sub(1));
    match debt(rule, window).saturating_sub(paid) {
        0 => Window::default(),
        count => Window { at, count, aside: rule.quota },
    }
}
