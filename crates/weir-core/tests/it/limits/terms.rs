//! What the terms of a rule say: names, lengths, and quotas of nothing and without end.

use weir_core::calendar::Zone;
use weir_core::limit::{Algorithm, Anchor, Period, Rule, Terms, Unit};
use weir_core::time::Span;
use weir_core::window::{Blocked, Wait, Window};

use super::{calendar, drain, rule, secs};

const HOUR: i64 = 3_600_000_000;

#[test]
fn every_name_reads_back() {
    let units =
        [(Unit::Requests, "requests"), (Unit::Tokens, "tokens"), (Unit::Credits, "credits")];
    for (unit, name) in units {
        assert_eq!((unit.name(), Unit::by_name(name)), (name, Some(unit)));
    }
    let algorithms = [
        (Algorithm::FixedWindow, "fixed-window"),
        (Algorithm::SlidingWindow, "sliding-window"),
        (Algorithm::TokenBucket, "token-bucket"),
        (Algorithm::Concurrency, "concurrency"),
    ];
    for (algorithm, name) in algorithms {
        assert_eq!((algorithm.name(), Algorithm::by_name(name)), (name, Some(algorithm)));
    }
    assert_eq!((Unit::by_name("request"), Algorithm::by_name("")), (None, None));
}

#[test]
fn a_month_counts_as_thirty_days_and_what_runs_at_once_has_no_window() {
    assert_eq!(Period::Months(3).nominal(), Span::from_secs(90 * 86_400));
    assert_eq!(rule(Algorithm::SlidingWindow, 5, HOUR).window(), Span::from_secs(3_600));
    assert_eq!(rule(Algorithm::Concurrency, 5, HOUR).window(), Span::ZERO);
}

#[test]
fn a_burst_neither_opens_a_limit_of_nothing_nor_bounds_one_without_end() {
    let terms = Terms {
        algorithm: Algorithm::TokenBucket,
        burst: Some(5),
        ..Terms::new(Some(0), Period::HOUR)
    };
    let nothing = Rule::new(terms.clone()).unwrap();
    let mut window = Window::default();
    assert_eq!(drain(&nothing, &mut window, secs(9)), 0);
    let never = Err(Blocked { wait: Wait::Never });
    assert_eq!(nothing.check(&window, 1, true, secs(9)), never);
    let endless = Rule::new(Terms { quota: None, ..terms }).unwrap();
    assert_eq!(endless.snapshot(&window, secs(9)).remaining, u64::MAX);
    assert_eq!(rule(Algorithm::FixedWindow, 0, HOUR).scaled(1_500_000).quota(), Some(0));
}

#[test]
fn a_calendar_window_that_is_shorter_than_most_ends_when_it_ends() {
    let rule = calendar(10, Period::MONTH, Anchor::Calendar(Zone::UTC));
    let mut window = Window::default();
    let (february, march) = (secs(1_801_440_000), secs(1_803_859_200));
    assert_eq!(drain(&rule, &mut window, february), 10);
    assert_eq!(drain(&rule, &mut window, march.minus(Span::from_micros(1))), 0);
    assert_eq!(drain(&rule, &mut window, march), 10);
}
