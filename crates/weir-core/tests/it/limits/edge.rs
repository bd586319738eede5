//! What each algorithm promises at a window's edge, with debt, and with a wrong clock.

use weir_core::calendar::Zone;
use weir_core::limit::{Algorithm, Anchor, InvalidRule, Period, Rule, Terms, Unit};
use weir_core::time::Span;
use weir_core::window::{Blocked, Wait, Window};

use super::{ALGORITHMS, at, calendar, drain, pass, rule, secs, wait_s};

const HOUR: i64 = 3_600_000_000;

#[test]
fn a_fixed_window_lets_twice_the_quota_pass_across_its_edge_and_no_more() {
    let rule = rule(Algorithm::FixedWindow, 100, HOUR);
    let mut window = Window::default();
    assert!(pass(&rule, &mut window, 1, secs(10_000)).is_ok());
    assert_eq!(drain(&rule, &mut window, at(10_000_000_000 + HOUR - 1)), 99);
    assert_eq!(drain(&rule, &mut window, at(10_000_000_000 + HOUR)), 100);
    assert_eq!(drain(&rule, &mut window, at(10_000_000_000 + 2 * HOUR - 1)), 0);
}

#[test]
fn a_sliding_window_lets_no_burst_pass_across_an_edge() {
    let rule = rule(Algorithm::SlidingWindow, 100, HOUR);
    let mut window = Window::default();
    assert!(pass(&rule, &mut window, 1, secs(0)).is_ok());
    assert_eq!(drain(&rule, &mut window, at(HOUR - 1)), 99);
    assert_eq!(drain(&rule, &mut window, at(HOUR)), 0);
    assert_eq!(drain(&rule, &mut window, at(HOUR + HOUR / 4)), 25);
}

/// The worst that a greedy caller gets through in any stretch, against the stated bound.
#[test]
fn sliding_windows_and_buckets_keep_their_bound_in_every_stretch() {
    let length = 1_000_000;
    for algorithm in [Algorithm::SlidingWindow, Algorithm::TokenBucket] {
        let rule = rule(algorithm, 40, length);
        for phase in 0..40_i64 {
            let mut window = Window::default();
            let mut log: Vec<(i64, u64)> = Vec::new();
            assert!(pass(&rule, &mut window, 1, at(0)).is_ok());
            let mut seed = phase.unsigned_abs() + 1;
            let mut now = length - phase * length / 40;
            while now < 6 * length {
                log.push((now, drain(&rule, &mut window, at(now))));
                seed = seed
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                now += i64::try_from(seed >> 45).unwrap();
            }
            for (index, (from, _)) in log.iter().enumerate() {
                let mut sum = 0;
                for (until, passed) in
                    log[index..].iter().take_while(|(until, _)| until - from <= length)
                {
                    sum += i128::from(*passed);
                    let bound = i128::from(40 * (length + until - from));
                    assert!(
                        sum * i128::from(length) <= bound,
                        "{algorithm:?} {from} {until} {sum}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_bucket_lets_its_burst_pass_and_then_its_flow() {
    let terms = Terms {
        algorithm: Algorithm::TokenBucket,
        burst: Some(10),
        ..Terms::new(Some(60), Period::MINUTE)
    };
    let rule = Rule::new(terms).unwrap();
    let mut window = Window::default();
    assert_eq!(drain(&rule, &mut window, secs(100)), 10);
    assert_eq!(rule.check(&window, 1, true, secs(100)), wait_s(1));
    assert_eq!(rule.check(&window, 11, true, secs(100)), Err(Blocked { wait: Wait::Never }));
    assert_eq!(drain(&rule, &mut window, secs(107)), 7);
    let seen = rule.snapshot(&window, secs(107));
    assert_eq!(
        (seen.limit, seen.used, seen.remaining, seen.reset_at),
        (Some(60), 10, 0, secs(117))
    );
}

#[test]
fn debt_is_paid_by_the_windows_that_follow() {
    for algorithm in ALGORITHMS {
        let rule = rule(algorithm, 100, 60_000_000);
        let mut window = Window::default();
        let taken = pass(&rule, &mut window, 100, secs(1_000)).unwrap();
        rule.settle(&mut window, taken, 350, secs(1_000));
        assert_eq!(rule.snapshot(&window, secs(1_000)).used, 350, "{algorithm:?}");
        let wait = match algorithm {
            Algorithm::FixedWindow => 180, // 250, 150, 50, then 50 of 100 are free
            Algorithm::SlidingWindow => 240, // 50 beside an older 100, which must fade
            _ => 180,                      // 300 units at 100 a minute
        };
        assert_eq!(rule.check(&window, 50, true, secs(1_000)), wait_s(wait), "{algorithm:?}");
        let used = rule.snapshot(&window, secs(1_060)).used;
        assert_eq!(used, if algorithm == Algorithm::SlidingWindow { 350 } else { 250 });
    }
}

#[test]
fn what_is_given_back_returns_to_its_own_window_only() {
    for algorithm in ALGORITHMS {
        let rule = rule(algorithm, 10, 60_000_000);
        let mut window = Window::default();
        let taken = pass(&rule, &mut window, 4, secs(1_000)).unwrap();
        rule.give_back(&mut window, taken, secs(1_000));
        assert_eq!(rule.snapshot(&window, secs(1_000)).used, 0);
        assert_eq!(rule.snapshot(&window, secs(1_000)).reset_at, secs(1_060), "as if never begun");
        let old = pass(&rule, &mut window, 4, secs(1_000)).unwrap();
        let _new = pass(&rule, &mut window, 10, secs(1_200)).unwrap();
        rule.give_back(&mut window, old, secs(1_200));
        assert_eq!(rule.snapshot(&window, secs(1_200)).used, 10, "{algorithm:?}");
        rule.settle(&mut window, old, 7, secs(1_200));
        assert_eq!(
            rule.snapshot(&window, secs(1_200)).used,
            13,
            "an overrun counts when it is known"
        );
    }
}

#[test]
fn a_bucket_that_was_full_in_between_takes_nothing_back() {
    let rule = rule(Algorithm::TokenBucket, 60, 60_000_000);
    let mut window = Window::default();
    let old = pass(&rule, &mut window, 5, secs(0)).unwrap();
    let new = pass(&rule, &mut window, 5, secs(5)).unwrap();
    rule.give_back(&mut window, old, secs(5));
    assert_eq!(rule.snapshot(&window, secs(5)).used, 5);
    rule.give_back(&mut window, new, secs(5));
    assert_eq!(rule.snapshot(&window, secs(5)).used, 0);
}

#[test]
fn slots_are_freed_by_giving_back_and_by_nothing_else() {
    let rule = rule(Algorithm::Concurrency, 2, HOUR);
    let mut window = Window::default();
    let first = pass(&rule, &mut window, 1, secs(5)).unwrap();
    let _second = pass(&rule, &mut window, 1, secs(6)).unwrap();
    assert_eq!(rule.check(&window, 1, true, secs(1_000_000)), wait_s(1));
    assert_eq!(rule.check(&window, 3, true, secs(6)), Err(Blocked { wait: Wait::Never }));
    rule.settle(&mut window, first, 0, secs(7));
    assert_eq!(rule.snapshot(&window, secs(7)).remaining, 0);
    rule.give_back(&mut window, first, secs(0));
    assert_eq!(rule.snapshot(&window, secs(7)).remaining, 1);
}

#[test]
fn the_reserve_is_for_urgent_calls() {
    for algorithm in [ALGORITHMS.as_slice(), &[Algorithm::Concurrency]].concat() {
        let rule = rule(algorithm, 10, 60_000_000);
        let rule = Rule::new(Terms { reserve_ppm: 250_000, ..rule.terms().clone() }).unwrap();
        let mut window = Window::default();
        let passed = (0..20).filter(|_| {
            let fits = rule.check(&window, 1, false, secs(9)).is_ok();
            if fits {
                let _ = rule.take(&mut window, 1, secs(9));
            }
            fits
        });
        assert_eq!(passed.count(), 8, "a quarter of ten, rounded down, is kept");
        let seen = rule.snapshot(&window, secs(9));
        assert_eq!(seen.remaining, 2);
        assert_eq!(rule.check(&window, 9, false, secs(9)), Err(Blocked { wait: Wait::Never }));
        assert_eq!(drain(&rule, &mut window, secs(9)), 2);
    }
}

#[test]
fn a_clock_that_steps_back_neither_freezes_nor_keeps_a_limit_open() {
    let day = 86_400;
    for algorithm in ALGORITHMS {
        let rule = rule(algorithm, 10, HOUR);
        let start = 1_800_000_000;
        for back in [1, 60, 3_600, 3_601, 30 * day, start] {
            let mut window = Window::default();
            assert_eq!(drain(&rule, &mut window, secs(start)), 10);
            let now = start - back;
            let opened = drain(&rule, &mut window, secs(now));
            assert_eq!(opened, if back > 3_600 { 10 } else { 0 }, "{algorithm:?} {back}");
            assert_eq!(drain(&rule, &mut window, secs(now)), 0, "opened once at most");
            let Err(Blocked { wait: Wait::For(wait) }) = rule.check(&window, 1, true, secs(now))
            else {
                panic!()
            };
            assert!(
                wait <= Span::from_secs(back.min(3_600) + 2 * 3_600),
                "{algorithm:?} {back} {wait:?}"
            );
            assert!(rule.check(&window, 1, true, secs(now).plus(wait)).is_ok());
        }
    }
}

#[test]
fn calendar_windows_end_with_the_calendar() {
    let rule = calendar(10, Period::MONTH, Anchor::Calendar(Zone::UTC));
    let mut window = Window::default();
    let (noon_of_30_january, february, march) =
        (secs(1_801_310_400), secs(1_801_440_000), secs(1_803_859_200));
    assert_eq!(drain(&rule, &mut window, noon_of_30_january), 10);
    let seen = rule.snapshot(&window, noon_of_30_january);
    assert_eq!((seen.reset_at, seen.window), (february, Span::from_secs(31 * 86_400)));
    let seen = rule.snapshot(&window, february);
    assert_eq!((seen.used, seen.reset_at, seen.window), (0, march, Span::from_secs(28 * 86_400)));
    assert_eq!(drain(&rule, &mut window, february.minus(Span::from_micros(1))), 0);
    assert_eq!(drain(&rule, &mut window, february), 10);
}

#[test]
fn an_unlimited_rule_refuses_nothing_and_still_counts() {
    let rule = Rule::unlimited();
    let mut window = Window::default();
    assert!(pass(&rule, &mut window, u64::MAX, secs(5)).is_ok());
    assert!(pass(&rule, &mut window, u64::MAX, secs(5)).is_ok());
    let seen = rule.snapshot(&window, secs(5));
    assert_eq!((seen.limit, seen.used, seen.remaining), (None, u64::MAX, u64::MAX));
}

#[test]
fn a_limit_of_nothing_refuses_for_good() {
    for algorithm in ALGORITHMS {
        let rule = rule(algorithm, 0, HOUR);
        assert_eq!(
            rule.check(&Window::default(), 1, true, secs(5)),
            Err(Blocked { wait: Wait::Never })
        );
        let mut window = Window::default();
        let _ = rule.take(&mut window, 5, secs(5));
        assert_eq!(
            rule.check(&window, 0, true, secs(5)),
            Err(Blocked { wait: Wait::Never }),
            "{algorithm:?}"
        );
        assert_eq!(rule.snapshot(&window, secs(5)).remaining, 0);
    }
}

#[test]
fn terms_that_do_not_go_together_are_refused() {
    let terms = Terms::new(Some(10), Period::HOUR);
    let check = |terms: Terms, error| assert_eq!(Rule::new(terms), Err(error));
    let algorithm = Algorithm::SlidingWindow;
    let anchor = Anchor::Calendar(Zone::UTC);
    check(
        Terms { quota: Some((1 << 53) + 1), ..terms.clone() },
        InvalidRule::QuotaTooLarge((1 << 53) + 1),
    );
    check(Terms { period: Period::Months(0), ..terms.clone() }, InvalidRule::PeriodOutOfRange);
    check(
        Terms { period: Period::Span(Span::ZERO), ..terms.clone() },
        InvalidRule::PeriodOutOfRange,
    );
    check(
        Terms { burst: Some(5), ..terms.clone() },
        InvalidRule::BurstNeedsBucket(Algorithm::FixedWindow),
    );
    let bucket = Terms { algorithm: Algorithm::TokenBucket, ..terms.clone() };
    check(Terms { burst: Some(0), ..bucket }, InvalidRule::BurstOutOfRange);
    check(Terms { reserve_ppm: 1_000_001, ..terms.clone() }, InvalidRule::ReserveOutOfRange);
    check(
        Terms { algorithm, anchor: anchor.clone(), ..terms.clone() },
        InvalidRule::CalendarNeedsFixedWindow(algorithm),
    );
    let odd = [
        Period::Span(Span::from_secs(7)),
        Period::Span(Span::from_secs(2 * 86_400)),
        Period::Months(5),
    ];
    for period in odd {
        check(
            Terms { period, anchor: anchor.clone(), ..terms.clone() },
            InvalidRule::NoCalendarCycle,
        );
    }
}

#[test]
fn multipliers_and_boosts_change_the_quota_and_nothing_else() {
    let terms = Terms {
        algorithm: Algorithm::TokenBucket,
        burst: Some(10),
        unit: Unit::Tokens,
        ..Terms::new(Some(60), Period::MINUTE)
    };
    let rule = Rule::new(terms.clone()).unwrap();
    assert_eq!(
        rule.scaled(2_500_000).terms(),
        &Terms { quota: Some(150), burst: Some(25), ..terms.clone() }
    );
    assert_eq!(rule.scaled(1).quota(), Some(1), "never from something to nothing");
    assert_eq!(rule.scaled(0).quota(), Some(0));
    assert_eq!(rule.with_quota(Some(1 << 40)).scaled(u64::MAX).quota(), Some(Rule::QUOTA_MAX));
    assert_eq!(rule.with_quota(Some(7)).terms(), &Terms { quota: Some(7), ..terms });
    assert_eq!(rule.with_quota(None).quota(), None);
    assert_eq!(Rule::unlimited().scaled(500_000), Rule::unlimited());
}

#[test]
fn a_calendar_window_that_is_taken_up_earlier_counts_in_the_present_one() {
    let day = calendar(10, Period::DAY, Anchor::Calendar(Zone::UTC));
    let noon = |nth: i64| secs(nth * 86_400 + 43_200);
    for back_s in [3_600, 13 * 3_600, 30 * 86_400] {
        let mut window = Window::default();
        assert_eq!(drain(&day, &mut window, noon(100)), 10);
        let to = noon(100).minus(Span::from_secs(back_s));
        let mut moved = day.rebase(&window, noon(100), to);
        assert_eq!(drain(&day, &mut moved, to), 0, "{back_s}");
        let midnight = day.snapshot(&moved, to).reset_at;
        assert!(midnight.since(to) <= Span::from_secs(86_400), "{back_s}");
        assert_eq!(drain(&day, &mut moved, midnight), 10, "{back_s}");
        // One that was over by then stays over.
        let mut old = day.rebase(&window, noon(102), to);
        assert_eq!(drain(&day, &mut old, to), 10, "{back_s}");
    }
}

/// Units times microseconds of a month need more than 64 bits.
#[test]
fn a_large_bucket_of_a_month_counts_every_unit() {
    let (now, quota, used) = (secs(1_000_000), 10_000_000_000, 9_000_000_001);
    let terms = Terms::new(Some(quota), Period::Span(Span::from_secs(2_592_000)));
    let rule = Rule::new(Terms { algorithm: Algorithm::TokenBucket, ..terms }).unwrap();
    let mut window = Window::default();
    let taken = rule.take(&mut window, used, now);
    assert_eq!(rule.snapshot(&window, now).used, used);
    assert!(rule.check(&window, quota - used, false, now).is_ok());
    assert!(rule.check(&window, quota - used + 1, false, now).is_err());
    rule.give_back(&mut window, taken, now);
    assert_eq!(rule.snapshot(&window, now).used, 0);
}

/// When a sliding window says that all of it is free again: neither sooner nor later.
#[test]
fn a_sliding_window_tells_when_all_of_it_is_free_again() {
    let rule = rule(Algorithm::SlidingWindow, 100, HOUR);
    let check = |used: &[(i64, u64)], now: i64, reset_at: i64| {
        let mut window = Window::default();
        for (micros, amount) in used {
            let _ = rule.take(&mut window, *amount, at(*micros));
        }
        let told = rule.snapshot(&window, at(now)).reset_at;
        assert_eq!(told, at(reset_at), "{used:?} at {now}");
        if !used.is_empty() {
            assert_eq!(rule.snapshot(&window, told).used, 0, "{used:?}");
            let sooner = told.minus(Span::from_micros(1));
            assert!(rule.snapshot(&window, sooner).used > 0, "{used:?}");
        }
    };
    check(&[], 7, 7 + HOUR);
    // What is in the newer cell counts in full until its end, and fades in the one after.
    check(&[(0, 1)], 0, 2 * HOUR);
    check(&[(0, 100)], HOUR - 1, 2 * HOUR);
    // Nothing but what fades.
    check(&[(0, 100)], HOUR, 2 * HOUR);
    check(&[(0, 100)], HOUR + HOUR / 2, 2 * HOUR);
    // Both.
    check(&[(0, 100), (HOUR, 1)], HOUR, 3 * HOUR);
    // Debt: each cell pays a quota of it.
    check(&[(0, 101)], 0, 3 * HOUR);
    check(&[(0, 200)], 0, 3 * HOUR);
    check(&[(0, 201)], 0, 4 * HOUR);
}

/// A deficit that no number can hold is held to the largest: it never becomes a small one.
#[test]
fn debt_beyond_every_number_stays_debt() {
    let rule = rule(Algorithm::TokenBucket, 1, Rule::PERIOD_MAX.micros());
    let mut window = Window::default();
    for _ in 0..20 {
        let _ = rule.take(&mut window, u64::MAX, secs(1_000));
        let seen = rule.snapshot(&window, secs(1_000));
        assert_eq!((seen.used, seen.remaining), (u64::MAX, 0));
    }
}
