//! What becomes of a window when its rule changes.

use weir_core::calendar::Zone;
use weir_core::limit::{Algorithm, Anchor, Period, Rule};
use weir_core::window::Window;

use super::{ALGORITHMS, at, calendar, drain, pass, rule, secs, wait_s};

const HOUR: i64 = 3_600_000_000;

#[test]
fn an_upgrade_and_a_downgrade_keep_what_was_used() {
    for algorithm in ALGORITHMS {
        let (small, large) = (rule(algorithm, 50, HOUR), rule(algorithm, 100, HOUR));
        let mut window = Window::default();
        let _ = pass(&small, &mut window, 30, secs(1_000)).unwrap();
        let window = large.carry_over(&small, &window, secs(1_000));
        assert_eq!(large.snapshot(&window, secs(1_000)).remaining, 70, "{algorithm:?}");
        let window = small.carry_over(&large, &window, secs(1_000));
        assert_eq!(small.snapshot(&window, secs(1_000)).remaining, 20, "{algorithm:?}");
    }
}

#[test]
fn lawful_use_above_a_lowered_quota_is_no_debt_and_debt_stays_debt() {
    for algorithm in ALGORITHMS {
        let (small, large) = (rule(algorithm, 10, HOUR), rule(algorithm, 100, HOUR));
        let mut window = Window::default();
        let taken = pass(&large, &mut window, 100, secs(0)).unwrap();
        let lawful = small.carry_over(&large, &window, secs(0));
        let free = if algorithm == Algorithm::SlidingWindow { 7_200 } else { 3_600 };
        assert_eq!(small.check(&lawful, 10, true, secs(0)), wait_s(free), "{algorithm:?}");
        large.settle(&mut window, taken, 105, secs(0));
        let indebted = small.carry_over(&large, &window, secs(0));
        let free = if algorithm == Algorithm::TokenBucket { 5_400 } else { free + 3_600 };
        assert_eq!(small.check(&indebted, 10, true, secs(0)), wait_s(free), "{algorithm:?}");
    }
}

#[test]
fn a_fixed_window_remembers_across_a_boost_what_was_used_before_it() {
    let (plain, boosted) =
        (rule(Algorithm::FixedWindow, 100, HOUR), rule(Algorithm::FixedWindow, 200, HOUR));
    let mut window = Window::default();
    let mut passed = drain(&boosted, &mut window, secs(0));
    for minute in 1..30 {
        window = plain.carry_over(&boosted, &window, secs(60 * minute));
        passed += drain(&plain, &mut window, secs(60 * minute));
        window = boosted.carry_over(&plain, &window, secs(60 * minute));
        passed += drain(&boosted, &mut window, secs(60 * minute));
    }
    assert_eq!(passed, 200);
}

#[test]
fn a_take_can_be_given_back_after_the_quota_changed() {
    for algorithm in ALGORITHMS {
        let (small, large) = (rule(algorithm, 50, HOUR), rule(algorithm, 100, HOUR));
        let mut window = Window::default();
        let taken = pass(&small, &mut window, 30, secs(1_000)).unwrap();
        let mut window = large.carry_over(&small, &window, secs(1_000));
        large.give_back(&mut window, taken, secs(1_000));
        assert_eq!(large.snapshot(&window, secs(1_000)).used, 0, "{algorithm:?}");
    }
}

#[test]
fn what_a_bucket_of_another_length_took_is_not_given_back() {
    let (short, long) =
        (rule(Algorithm::TokenBucket, 50, HOUR), rule(Algorithm::TokenBucket, 50, 2 * HOUR));
    // Whatever number the stretch has in which it was taken: it comes from these moments.
    for micros in [0, 1, 2, 65_535, 65_536, 65_537] {
        let mut window = Window::default();
        let taken = pass(&short, &mut window, 30, at(micros)).unwrap();
        let mut window = long.carry_over(&short, &window, at(micros));
        long.give_back(&mut window, taken, at(micros));
        assert_eq!(long.snapshot(&window, at(micros)).used, 30, "{micros}");
    }
}

#[test]
fn what_was_used_survives_a_change_of_algorithm_window_and_anchor() {
    let mut rules: Vec<Rule> = vec![
        calendar(100, Period::DAY, Anchor::Calendar(Zone::UTC)),
        calendar(100, Period::MONTH, Anchor::Calendar(Zone::new("x", 7_200, &[]).unwrap())),
        calendar(100, Period::MONTH, Anchor::FirstRequest),
        Rule::unlimited(),
    ];
    rules.extend(ALGORITHMS.map(|algorithm| rule(algorithm, 100, HOUR)));
    rules.extend(ALGORITHMS.map(|algorithm| rule(algorithm, 100, 7 * HOUR)));
    let now = secs(1_800_000_000);
    for old in &rules {
        for new in &rules {
            let mut window = Window::default();
            let _ = pass(old, &mut window, 40, now).unwrap();
            let carried = new.carry_over(old, &window, now);
            let seen = new.snapshot(&carried, now);
            assert_eq!(seen.used, 40, "{old:?} to {new:?}");
            assert!(seen.reset_at > now);
            let unused = new.carry_over(old, &Window::default(), now);
            assert_eq!(new.snapshot(&unused, now).used, 0);
        }
    }
}

#[test]
fn slots_and_use_are_not_taken_for_one_another() {
    let (slots, more) =
        (rule(Algorithm::Concurrency, 5, HOUR), rule(Algorithm::Concurrency, 9, HOUR));
    for algorithm in ALGORITHMS {
        let rule = rule(algorithm, 5, HOUR);
        let mut running = Window::default();
        let slot = pass(&slots, &mut running, 3, secs(9)).unwrap();
        assert_eq!(more.snapshot(&more.carry_over(&slots, &running, secs(9)), secs(9)).used, 3);
        let mut window = rule.carry_over(&slots, &running, secs(9));
        assert_eq!(rule.snapshot(&window, secs(9)).used, 0);
        let used = pass(&rule, &mut window, 2, secs(9)).unwrap();
        rule.give_back(&mut window, slot, secs(9));
        assert_eq!(rule.snapshot(&window, secs(9)).used, 2);
        slots.give_back(&mut running, used, secs(9));
        assert_eq!(slots.snapshot(&running, secs(9)).used, 3);
    }
}

/// Use under a quota of nothing is debt altogether, and moves as such.
#[test]
fn debt_without_lawful_use_is_not_forgiven() {
    let (nothing, ten) =
        (rule(Algorithm::FixedWindow, 0, HOUR), rule(Algorithm::SlidingWindow, 10, HOUR));
    let mut window = Window::default();
    let _ = nothing.take(&mut window, 15, secs(1_000));
    let window = ten.carry_over(&nothing, &window, secs(1_000));
    assert_eq!(ten.snapshot(&window, secs(1_000)).used, 15);
}

/// A clock that was set back by exactly a window leaves it in force, under a new rule too.
#[test]
fn a_clock_that_is_set_back_does_not_carry_a_window_away() {
    let (ten, twenty) =
        (rule(Algorithm::FixedWindow, 10, HOUR), rule(Algorithm::FixedWindow, 20, HOUR));
    let mut window = Window::default();
    let _ = ten.take(&mut window, 5, secs(10_000));
    let window = twenty.carry_over(&ten, &window, secs(6_400));
    assert_eq!(twenty.snapshot(&window, secs(6_400)).used, 5);
    assert_eq!(twenty.snapshot(&window, secs(6_400)).reset_at, secs(13_600));
}
