//! Calls in flight: slots are freed whatever happens meanwhile, estimates become the truth.

use weir_core::admit::Grant;
use weir_core::time::Span;

use super::house::*;
use crate::limits::secs;

#[test]
fn concurrency_slots_come_back_by_settling_and_by_giving_back() {
    let mut house = House::new(Spec::of(&[("concurrency", at_once(2))]));
    for _ in 0..50 {
        let first = house.admit(&call(CHAT), secs(0)).unwrap();
        let second = house.admit(&call(READ), secs(0)).unwrap();
        assert_eq!(wait_of(house.admit(&call(CHAT), secs(0))), ("concurrency", Span::SECOND));
        house.settle(&first, &call(CHAT), (0, 0), secs(0));
        house.void(second, &call(READ), secs(0));
    }
    assert_eq!(house.used("concurrency", secs(0)), 0);
}

#[test]
fn a_slot_never_leaks_across_changes_of_the_plan() {
    let limited = || Spec::of(&[("concurrency", at_once(3)), ("ai", per("100/hour"))]);
    let without = || Spec::of(&[("ai", per("100/hour"))]);
    let mut house = House::new(limited());
    let running: Vec<Grant> = (0..3).map(|_| house.admit(&call(CHAT), secs(0)).unwrap()).collect();
    let mut running = running.into_iter();
    house.change(Spec::of(&[("concurrency", at_once(1))]), secs(1));
    assert_eq!(house.used("concurrency", secs(1)), 3);
    house.settle(&running.next().unwrap(), &call(CHAT), (0, 0), secs(1));
    house.change(without(), secs(2));
    house.settle(&running.next().unwrap(), &call(CHAT), (0, 0), secs(2));
    house.void(running.next().unwrap(), &call(CHAT), secs(2));
    house.change(limited(), secs(3));
    assert_eq!(house.used("concurrency", secs(3)), 0);
    assert_eq!(house.drain(&call(CHAT), secs(3)), 3);
}

#[test]
fn a_call_admitted_while_nothing_limited_it_frees_nothing_later() {
    let mut house = House::new(Spec::of(&[]));
    let early = house.admit(&call(CHAT), secs(0)).unwrap();
    house.change(Spec::of(&[("concurrency", at_once(1)), ("ai", per("9/hour"))]), secs(0));
    let _running = house.admit(&call(CHAT), secs(0)).unwrap();
    house.void(early, &call(CHAT), secs(0));
    assert_eq!(house.used("concurrency", secs(0)), 1);
    assert_eq!(house.used("ai", secs(0)), 1);
}

#[test]
fn what_is_given_back_goes_to_the_window_it_came_from() {
    let mut house = House::new(Spec::of(&[("ai", per("5/minute")), ("all", per("50/hour"))]));
    let grant = house.admit(&call(CHAT), secs(0)).unwrap();
    let _next = house.admit(&call(CHAT), secs(61)).unwrap();
    house.void(grant, &call(CHAT), secs(62));
    assert_eq!(house.used("ai", secs(62)), 1);
    assert_eq!(house.used("all", secs(62)), 1);
}

#[test]
fn a_route_limit_is_given_back_though_a_reload_took_the_class_limit_away() {
    let endpoint = vec![(CHAT, per("10/hour"))];
    let limited = Spec { endpoint, ..Spec::of(&[("ai", per("50/hour"))]) };
    let mut house = House::new(limited.clone());
    let grant = house.admit(&call(CHAT), secs(0)).unwrap();
    house.change(Spec::of(&[]), secs(1));
    house.void(grant, &call(CHAT), secs(1));
    house.change(limited, secs(2));
    assert_eq!(house.used("ai", secs(2)), 0);
    assert_eq!(house.used("route:POST /ai/chat", secs(2)), 0);
}

#[test]
fn tokens_are_taken_as_estimated_and_settled_to_the_truth() {
    let mut house =
        House::new(Spec::of(&[("ai.tokens", tokens("100/hour")), ("ai", per("9/hour"))]));
    let less = Call { tokens: 60, ..call(CHAT) };
    let grant = house.admit(&less, secs(0)).unwrap();
    house.settle(&grant, &less, (15, 0), secs(5));
    assert_eq!((house.used("ai.tokens", secs(5)), house.used("ai", secs(5))), (15, 1));
    let grant = house.admit(&less, secs(5)).unwrap();
    house.settle(&grant, &less, (250, 0), secs(5));
    assert_eq!(house.used("ai.tokens", secs(5)), 265);
}

#[test]
fn what_was_used_above_a_token_limit_is_paid_by_the_windows_after() {
    let mut house = House::new(Spec::of(&[("ai.tokens", tokens("100/hour"))]));
    let estimate = Call { tokens: 10, ..call(CHAT) };
    let grant = house.admit(&estimate, secs(0)).unwrap();
    house.settle(&grant, &estimate, (330, 0), secs(5));
    // 330 are used: the windows from 1 h and 2 h on begin with 230 and 130, the one from 3 h with 30.
    let (name, wait) = wait_of(house.admit(&estimate, secs(5)));
    assert_eq!((name, wait), ("ai.tokens", Span::from_secs(3 * 3_600 - 5)));
    assert!(house.admit(&estimate, secs(3 * 3_600)).is_ok());
    assert_eq!(house.used("ai.tokens", secs(3 * 3_600)), 40);
}
