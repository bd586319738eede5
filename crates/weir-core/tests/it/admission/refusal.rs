//! Refusals: nothing changes, the longest wait is told, and it is true.

use weir_core::admit::Refusal;
use weir_core::limit::Rule;
use weir_core::time::Span;
use weir_core::window::Wait;

use super::house::*;
use crate::limits::secs;

/// Many limits at once; `route:POST /ai/chat` is the tightest.
fn many() -> Spec {
    let plan = [
        ("ai", per("5/minute")),
        ("ai.tokens", tokens("100/minute")),
        ("ai.credits", credits("1000/hour")),
        ("all", per("9/hour")),
        ("model:gpt-*", per("8/day")),
        ("concurrency", at_once(20)),
    ];
    let endpoint = vec![(CHAT, per("3/hour"))];
    Spec { endpoint, key: vec![("ai", per("7/hour"))], ..Spec::of(&plan) }
}

fn chat() -> Call {
    Call { model: Some("gpt-4o"), tokens: 10, worth: 50, ..call(CHAT) }
}

#[test]
fn a_refused_call_leaves_every_window_as_it_was() {
    let mut house = House::new(many());
    assert_eq!(house.drain(&chat(), secs(10)), 3);
    let before = house.all(secs(10));
    assert_eq!(before.len(), 8);
    let (name, _) = wait_of(house.admit(&chat(), secs(10)));
    assert_eq!(name, "route:POST /ai/chat");
    assert_eq!(house.all(secs(10)), before);
    let huge = Call { tokens: 101, ..chat() };
    assert!(matches!(house.admit(&huge, secs(10)), Err(Refusal::NeverFits(_, 101))));
    assert_eq!(house.all(secs(10)), before);
    house.account.suspended = true;
    assert_eq!(house.admit(&chat(), secs(10)).unwrap_err(), Refusal::Suspended);
    assert_eq!(house.all(secs(10)), before);
}

#[test]
fn a_large_request_that_is_refused_takes_nothing() {
    let mut house =
        House::new(Spec::of(&[("ai", per("9/hour")), ("ai.tokens", tokens("100/hour"))]));
    let _ = house.admit(&Call { tokens: 60, ..call(CHAT) }, secs(0)).unwrap();
    let large = Call { tokens: 41, ..call(CHAT) };
    for _ in 0..5 {
        assert_eq!(wait_of(house.admit(&large, secs(0))).0, "ai.tokens");
    }
    assert_eq!((house.used("ai", secs(0)), house.used("ai.tokens", secs(0))), (1, 60));
    assert!(house.admit(&Call { tokens: 40, ..call(CHAT) }, secs(0)).is_ok());
}

#[test]
fn the_longest_wait_is_told_and_waiting_exactly_that_passes() {
    let plan = [("ai", per("2/minute")), ("all", per("2/hour")), ("model:gpt-*", per("2/second"))];
    let mut house = House::new(Spec::of(&plan));
    assert_eq!(house.drain(&chat(), secs(100)), 2);
    let (name, wait) = wait_of(house.admit(&chat(), secs(130)));
    assert_eq!((name, wait), ("all", Span::from_secs(3_570)));
    let then = secs(130).plus(wait);
    let sooner = then.minus(Span::from_micros(1));
    assert_eq!(wait_of(house.admit(&chat(), sooner)).1, Span::from_micros(1));
    assert!(house.admit(&chat(), then).is_ok());
}

#[test]
fn a_wait_counts_down_and_never_slides_however_often_one_asks() {
    let mut house = House::new(Spec::of(&[("ai", per("2/hour"))]));
    assert_eq!(house.drain(&chat(), secs(0)), 2);
    for at in 0..100 {
        let (_, wait) = wait_of(house.admit(&chat(), secs(at * 36)));
        assert_eq!(wait, Span::from_secs(3_600 - at * 36));
    }
    assert_eq!(house.drain(&chat(), secs(3_600)), 2);
}

#[test]
fn a_peek_asks_only_the_request_limits_and_takes_nothing() {
    let mut house = House::new(Spec::of(&[("ai", per("1/hour")), ("ai.tokens", tokens("5/hour"))]));
    let before = house.all(secs(0));
    let huge = Call { tokens: 1_000, ..call(CHAT) };
    let ask = House::ask(&house.policy, &house.key_limits, &huge);
    assert_eq!(house.account.peek(&ask, secs(0)), Ok(()));
    assert_eq!(house.all(secs(0)), before);
    let _ = house.admit(&call(CHAT), secs(0)).unwrap();
    let ask = House::ask(&house.policy, &house.key_limits, &huge);
    assert!(matches!(house.account.peek(&ask, secs(0)), Err(Refusal::Limited(..))));
}

#[test]
fn a_shadow_limit_counts_and_reports_and_never_refuses() {
    let plan = [("ai", per("10/hour")), ("all", shadow(&per("3/hour")))];
    let mut house = House::new(Spec::of(&plan));
    for nth in 0..10 {
        let grant = house.admit(&chat(), secs(0)).unwrap();
        let reported: &[&str] = if nth < 3 { &[] } else { &["all"] };
        assert_eq!(&grant.shadowed[..], reported, "call {nth}");
    }
    assert_eq!(wait_of(house.admit(&chat(), secs(0))).0, "ai");
    assert_eq!(house.used("all", secs(0)), 10);
    assert!(house.all(secs(0))["all"].shadow);
}

#[test]
fn the_reserve_is_for_urgent_calls() {
    let reserve = with(&per("10/hour"), |terms| terms.reserve_ppm = 200_000);
    let mut house = House::new(Spec::of(&[("ai", reserve)]));
    assert_eq!(house.drain(&call(CHAT), secs(0)), 8);
    let urgent = Call { urgent: true, ..call(CHAT) };
    assert_eq!(house.drain(&urgent, secs(0)), 2);
    assert_eq!(wait_of(house.admit(&urgent, secs(0))).1, Span::from_secs(3_600));
}

#[test]
fn of_equal_waits_the_first_limit_is_told() {
    let plan = [("ai", per("1/hour")), ("ai.tokens", tokens("10/hour"))];
    let mut house = House::new(Spec { key: vec![("ai", per("1/hour"))], ..Spec::of(&plan) });
    let _running = house.admit(&chat(), secs(0)).unwrap();
    assert_eq!(wait_of(house.admit(&chat(), secs(60))), ("ai", Span::from_secs(3_540)));
}

#[test]
fn each_limit_that_counts_a_call_says_what_it_says_to_it_by_itself() {
    let plan = [("ai", Rule::unlimited()), ("all", per("2/hour")), ("ai.tokens", tokens("5/hour"))];
    let endpoint = vec![(CHAT, Rule::unlimited())];
    let mut house = House::new(Spec { endpoint, ..Spec::of(&plan) });
    let _running = house.admit(&call(CHAT), secs(0)).unwrap();
    let said = |house: &House, call: &Call| -> Vec<(&str, u64, Result<(), Wait>)> {
        let ask = House::ask(&house.policy, &house.key_limits, call);
        let weighed = house.account.weigh(&ask, secs(0));
        weighed.iter().map(|it| (it.view.name, it.amount, it.verdict)).collect()
    };
    let expected = [
        ("all", 1, Ok(())),
        ("ai.tokens", 10, Err(Wait::Never)),
        ("ai", 1, Ok(())),
        ("route:POST /ai/chat", 1, Ok(())),
    ];
    assert_eq!(said(&house, &chat()), expected);
    assert_eq!(said(&house, &call(READ)), [("all", 1, Ok(()))]);
    assert_eq!(said(&house, &call(TRAIN)), [("all", 3, Err(Wait::Never))]);
    let _running = house.admit(&call(READ), secs(0)).unwrap();
    let hour = Err(Wait::For(Span::from_secs(3_600)));
    assert_eq!(said(&house, &call(READ)), [("all", 1, hour)]);
}
