//! Limits: each algorithm against a naive model, its promise, and its waits.

mod carry;
mod edge;
mod model;
mod oracle;
mod prop;
mod terms;
mod zone;

use weir_core::limit::{Algorithm, Anchor, Period, Rule, Terms};
use weir_core::time::{Span, Timestamp};
use weir_core::window::{Blocked, Taken, Wait, Window};

pub(crate) const ALGORITHMS: [Algorithm; 3] =
    [Algorithm::FixedWindow, Algorithm::SlidingWindow, Algorithm::TokenBucket];

/// A rule with a window of so many microseconds.
pub(crate) fn rule(algorithm: Algorithm, quota: u64, length: i64) -> Rule {
    let period = Period::Span(Span::from_micros(length));
    Rule::new(Terms { algorithm, ..Terms::new(Some(quota), period) }).unwrap()
}

pub(crate) fn calendar(quota: u64, period: Period, anchor: Anchor) -> Rule {
    Rule::new(Terms { anchor, ..Terms::new(Some(quota), period) }).unwrap()
}

pub(crate) fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

pub(crate) fn secs(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

pub(crate) fn wait_s(secs: i64) -> Result<(), Blocked> {
    Err(Blocked { wait: Wait::For(Span::from_secs(secs)) })
}

/// Check, then take if it passes.
pub(crate) fn pass(
    rule: &Rule,
    window: &mut Window,
    amount: u64,
    now: Timestamp,
) -> Result<Taken, Blocked> {
    rule.check(window, amount, true, now).map(|()| rule.take(window, amount, now))
}

/// How much passes in single units at one moment.
pub(crate) fn drain(rule: &Rule, window: &mut Window, now: Timestamp) -> u64 {
    let mut passed = 0;
    while pass(rule, window, 1, now).is_ok() {
        passed += 1;
    }
    passed
}

/// The returned wait passes and a microsecond less does not.
#[track_caller]
pub(crate) fn wait_is_true(
    rule: &Rule,
    window: &Window,
    amount: u64,
    urgent: bool,
    now: Timestamp,
) {
    let Err(Blocked { wait: Wait::For(wait) }) = rule.check(window, amount, urgent, now) else {
        return;
    };
    assert!(wait > Span::ZERO);
    let then = now.plus(wait);
    // Debt of more than seventy thousand years outlasts the calendar.
    if then.micros() > 1 << 61 || wait.micros() > 1 << 61 {
        return;
    }
    let context = format!("{rule:?} {window:?} {amount} at {now:?} wait {wait:?}");
    assert_eq!(rule.check(window, amount, urgent, then), Ok(()), "waited, refused: {context}");
    let sooner = then.minus(Span::from_micros(1));
    let rest = Err(Blocked { wait: Wait::For(Span::from_micros(1)) });
    assert_eq!(rule.check(window, amount, urgent, sooner), rest, "too long: {context}");
}
