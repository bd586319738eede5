//! Concurrency: counts what runs; a slot is free when it is given back, whenever that is.
//!
//! Promise: never more than the quota at once, whatever the clock does.

use super::state::{Ask, Blocked, NEVER, RUNNING, Seen, Taken, Wait, Window};
use crate::time::Span;

pub(super) fn seen(window: &Window, now: i64) -> Seen {
    Seen { used: window.count, reset_at: now.saturating_add(RETRY.micros()), length: 0 }
}

pub(super) fn check(window: &Window, ask: Ask) -> Result<(), Blocked> {
    if ask.amount > ask.ceiling {
        return Err(NEVER);
    }
    if window.count.saturating_add(ask.amount) > ask.ceiling {
        return Err(Blocked { wait: Wait::For(RETRY) });
    }
    Ok(())
}

pub(super) fn take(window: &mut Window, amount: u64) -> i64 {
    window.count = window.count.saturating_add(amount);
    RUNNING
}

pub(super) fn give_back(window: &mut Window, taken: Taken) {
    if taken.period == RUNNING {
        window.count = window.count.saturating_sub(taken.amount);
    }
}

/// Nobody knows when a slot will be free: clients are asked to come back after this.
const RETRY: Span = Span::SECOND;
