//! Sliding windows of two cells: the newer counts in full, the older fades out evenly.
//!
//! Cells are as long as the window and follow one another from the first take. At `elapsed` into
//! the newer cell, `used = newer + older * (length - elapsed) / length`, compared exactly, in
//! integers. Promise: in any stretch of time `L` up to a window's length at most
//! `quota * (1 + L / length)` is used. The error is the second part: a cell's use is taken to be
//! spread evenly, so use that was bunched late in the older cell fades too soon. Where use is even
//! the error is nothing, and no burst across an edge exceeds the quota, as it can in fixed windows.
//!
//! Use above the quota in one cell is debt: it moves into the next cell in full, so that each cell
//! pays at most one quota of it. `used` never jumps at a cell's edge and never rises by itself.

use super::state::{Ask, Blocked, NEVER, Seen, Taken, Window, blocked_until};
use crate::limit::Rule;

pub(super) fn seen(rule: &Rule, window: &Window, now: i64) -> Seen {
    let current = current(rule, window, now);
    let reset_at = match current.count {
        0 if current.aside == 0 => now.saturating_add(rule.length),
        newer if rule.quota == 0 || newer <= rule.quota => {
            rule.start_after(current.at, 1 + u64::from(newer > 0))
        }
        newer => rule.start_after(current.at, newer.div_ceil(rule.quota).saturating_add(1)),
    };
    Seen { used: used(rule, &current, now), reset_at, length: rule.length }
}

#[inline]
pub(super) fn check(rule: &Rule, window: &Window, ask: Ask) -> Result<(), Blocked> {
    let current = current(rule, window, ask.now);
    let newer = current.count.saturating_add(ask.amount);
    if newer <= ask.ceiling {
        let room = ask.ceiling - newer;
        if current.aside <= room || faded(rule, &current, ask.now) <= whole(rule, room) {
            return Ok(());
        }
    }
    Err(blocked(rule, &current, ask))
}

#[cold]
fn blocked(rule: &Rule, current: &Window, ask: Ask) -> Blocked {
    if ask.amount > ask.ceiling || rule.quota == 0 {
        return NEVER;
    }
    // The first cell in which debt alone leaves room, then the moment when the older has faded enough.
    let over = current.count.saturating_sub(ask.ceiling - ask.amount);
    let nth = over.div_ceil(rule.quota);
    let then = after_cells(rule, current, nth);
    let room = ask.ceiling.saturating_sub(then.count).saturating_sub(ask.amount);
    let share = whole(rule, room).checked_div(u128::from(then.aside)).unwrap_or(u128::MAX);
    let left = i64::try_from(share).unwrap_or(i64::MAX).min(rule.length);
    blocked_until(then.at.saturating_add(rule.length - left), ask.now)
}

#[inline]
pub(super) fn take(rule: &Rule, window: &mut Window, amount: u64, now: i64) -> i64 {
    if !rule.surely_within(window.at, now) {
        *window = rolled(rule, window, now);
    }
    if window.count == 0 && window.aside == 0 {
        window.at = now;
    }
    window.count = window.count.saturating_add(amount);
    window.at
}

pub(super) fn give_back(rule: &Rule, window: &mut Window, taken: Taken, now: i64) {
    let mut current = current(rule, window, now);
    if current.at == taken.period {
        current.count = current.count.saturating_sub(taken.amount);
    } else if current.at.checked_sub(rule.length) == Some(taken.period) {
        current.aside = current.aside.saturating_sub(taken.amount);
    }
    *window = current;
}

/// What counts at `now`, rounded up: a whole amount passes exactly if it fits beside it.
pub(super) fn used(rule: &Rule, current: &Window, now: i64) -> u64 {
    let older = faded(rule, current, now).div_ceil(u128::from(rule.length.unsigned_abs()));
    current.count.saturating_add(u64::try_from(older).unwrap_or(u64::MAX))
}

/// The cells as they are at `now`.
#[inline]
pub(super) fn current(rule: &Rule, window: &Window, now: i64) -> Window {
    if rule.surely_within(window.at, now) { *window } else { rolled(rule, window, now) }
}

fn rolled(rule: &Rule, window: &Window, now: i64) -> Window {
    if now < window.at {
        let step_back = window.at.saturating_sub(now);
        return if step_back <= rule.length { *window } else { Window::default() };
    }
    let then = after_cells(rule, window, window.at.abs_diff(now) / rule.length.unsigned_abs());
    if then.count == 0 && then.aside == 0 { Window::default() } else { then }
}

/// The cells after `nth` cells' time in which nothing is used.
fn after_cells(rule: &Rule, window: &Window, nth: u64) -> Window {
    let Some(before) = nth.checked_sub(1) else { return *window };
    let last = window.count.saturating_sub(rule.quota.saturating_mul(before));
    let aside = last.min(rule.quota);
    Window { at: rule.start_after(window.at, nth), count: last - aside, aside }
}

/// What is left of the older cell, times the length.
fn faded(rule: &Rule, current: &Window, now: i64) -> u128 {
    let elapsed = now.saturating_sub(current.at).clamp(0, rule.length);
    u128::from(current.aside) * u128::from((rule.length - elapsed).unsigned_abs())
}

fn whole(rule: &Rule, amount: u64) -> u128 {
    u128::from(amount) * u128::from(rule.length.unsigned_abs())
}
