//! What becomes of a window when its rule changes.

use super::state::Window;
use super::{bucket, fixed, sliding};
use crate::limit::{Algorithm, Rule};

pub(super) fn over(new: &Rule, old: &Rule, window: &Window, now: i64) -> Window {
    let same_length = new.length == old.length;
    match (old.algorithm(), new.algorithm()) {
        (Algorithm::Concurrency, Algorithm::Concurrency) => *window,
        (Algorithm::SlidingWindow, Algorithm::SlidingWindow) if same_length => {
            cells(new, old, window, now)
        }
        (Algorithm::TokenBucket, Algorithm::TokenBucket) if same_length => {
            level(new, old, window, now)
        }
        (Algorithm::Concurrency, _) | (_, Algorithm::Concurrency) => Window::default(),
        _ => begin(new, standing(old, window, now), now),
    }
}

/// What any algorithm but concurrency can say of what was used.
struct Standing {
    since: i64,
    /// Used within what was allowed.
    lawful: u64,
    debt: u64,
}

fn standing(old: &Rule, window: &Window, now: i64) -> Standing {
    let (since, used, debt) = match old.algorithm() {
        Algorithm::SlidingWindow => {
            let current = sliding::current(old, window, now);
            let used = sliding::used(old, &current, now);
            (current.at, used, current.count.saturating_sub(old.quota))
        }
        Algorithm::TokenBucket => {
            let used = bucket::used(old, &bucket::current(old, window, now));
            (now, used, used.saturating_sub(old.capacity))
        }
        Algorithm::FixedWindow | Algorithm::Concurrency => {
            let current = fixed::current(old, window, now);
            (current.at, current.count, fixed::debt(old, &current))
        }
    };
    Standing { since, lawful: used - debt, debt }
}

fn begin(new: &Rule, standing: Standing, now: i64) -> Window {
    let Standing { since, lawful, debt } = standing;
    if lawful == 0 && debt == 0 {
        return Window::default();
    }
    let held = lawful.min(new.capacity).saturating_add(debt);
    match new.algorithm() {
        Algorithm::TokenBucket => bucket::Level::with_units(new, held, now),
        Algorithm::SlidingWindow => {
            Window { at: newest_start(new, since, now), count: held, aside: 0 }
        }
        Algorithm::FixedWindow | Algorithm::Concurrency => {
            let at = match new.calendar() {
                Some(_) => fixed::start_for(new, now),
                None => newest_start(new, since, now),
            };
            Window { at, count: lawful.saturating_add(debt), aside: lawful }
        }
    }
}

/// The last start at or before `now` of windows that follow one another from `since`.
fn newest_start(new: &Rule, since: i64, now: i64) -> i64 {
    if now < since {
        return since;
    }
    new.start_after(since, since.abs_diff(now) / new.length.unsigned_abs())
}

/// Sliding windows of one length keep their cells; what was lawful is held to the new quota.
fn cells(new: &Rule, old: &Rule, window: &Window, now: i64) -> Window {
    let current = sliding::current(old, window, now);
    let lawful = current.count.min(old.quota);
    let debt = current.count - lawful;
    Window {
        at: current.at,
        count: lawful.min(new.quota).saturating_add(debt),
        aside: current.aside.min(new.quota),
    }
}

/// Buckets of one length keep their level to the microsecond; what was lawful is held to the new burst.
fn level(new: &Rule, old: &Rule, window: &Window, now: i64) -> Window {
    let current = bucket::current(old, window, now);
    let debt = current.deficit.saturating_sub(bucket::times_length(old, old.capacity));
    current.held_to(bucket::times_length(new, new.capacity).saturating_add(debt))
}
