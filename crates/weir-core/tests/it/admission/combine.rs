//! Which limits count a call: class, endpoint, model, all, the key's; own values and boosts.

use weir_core::account::Owner;
use weir_core::limit::{Algorithm, Rule};
use weir_core::plan::Billing;
use weir_core::plan::BoostEffect::{MultiplierPpm, Value};

use super::house::*;
use crate::limits::secs;

#[track_caller]
fn check(spec: Spec, call: &Call, passes: u64) {
    assert_eq!(House::new(spec).drain(call, secs(1_000)), passes);
}

fn tiered(ai: &str, multiplier_ppm: u64) -> Spec {
    let endpoint = vec![(CHAT, per("10/hour"))];
    Spec { endpoint, multiplier_ppm, ..Spec::of(&[("ai", per(ai)), ("read", per("5/hour"))]) }
}

#[test]
fn class_and_endpoint_are_both_counted_and_the_tighter_refuses() {
    check(tiered("50/hour", 1_000_000), &call(CHAT), 10);
    check(tiered("50/hour", 3_000_000), &call(CHAT), 30);
    check(tiered("50/hour", 500_000), &call(CHAT), 5);
    check(tiered("7/hour", 1_000_000), &call(CHAT), 7);
    check(tiered("50/hour", 1_000_000), &call(READ), 5);
}

#[test]
fn a_class_that_is_unlimited_or_left_out_has_no_endpoint_limits() {
    let mut unlimited = House::new(tiered("unlimited", 1_000_000));
    for _ in 0..1_000 {
        assert!(unlimited.admit(&call(CHAT), secs(0)).is_ok());
    }
    let views = unlimited.all(secs(0));
    assert_eq!(views["ai"].now.limit, None);
    assert!(!views.contains_key("route:POST /ai/chat"));
    let mut left_out = House::new(Spec { plan: Vec::new(), ..tiered("1/hour", 1_000_000) });
    for _ in 0..1_000 {
        assert!(left_out.admit(&call(CHAT), secs(0)).is_ok());
    }
}

#[test]
fn a_call_counts_as_much_as_its_route_weighs() {
    check(Spec::of(&[("training", per("10/hour"))]), &call(TRAIN), 3);
    let mut house = House::new(Spec::of(&[("all", per("10/hour"))]));
    let _ = house.admit(&call(TRAIN), secs(0)).unwrap();
    assert_eq!(house.drain(&call(READ), secs(0)), 7);
}

#[test]
fn a_model_limit_counts_only_its_models_on_every_route() {
    let mut house = House::new(Spec::of(&[("model:gpt-*", per("4/hour"))]));
    let gpt = Call { model: Some("gpt-4o"), ..call(CHAT) };
    assert!(house.admit(&Call { model: Some("gpt-5"), ..call(TRAIN) }, secs(0)).is_ok());
    assert_eq!(house.drain(&gpt, secs(0)), 1);
    assert!(house.admit(&Call { model: Some("llama"), ..call(CHAT) }, secs(0)).is_ok());
    assert!(house.admit(&call(CHAT), secs(0)).is_ok());
}

#[test]
fn an_own_value_takes_the_place_of_the_plans_and_joins_what_the_plan_lacks() {
    let own = |name, rule| Spec { own: vec![(name, per(rule))], ..tiered("50/hour", 1_000_000) };
    check(own("ai", "3/hour"), &call(CHAT), 3);
    check(own("all", "2/hour"), &call(READ), 2);
    check(own("route:POST /ai/chat", "20/hour"), &call(CHAT), 20);
    let both = vec![("ai", per("unlimited")), ("route:POST /ai/chat", per("4/hour"))];
    check(Spec { own: both, ..tiered("50/hour", 1_000_000) }, &call(CHAT), 4);
}

#[test]
fn a_keys_own_limits_count_beside_the_accounts() {
    let spec = Spec { key: vec![("ai", per("3/hour"))], ..tiered("5/hour", 1_000_000) };
    let mut house = House::new(spec);
    assert_eq!(house.drain(&call(CHAT), secs(0)), 3);
    let refused = house.admit(&call(CHAT), secs(0));
    assert_eq!(wait_of(refused).0, "key:ai");
    assert_eq!(house.all(secs(0))["key:ai"].owner, Owner::Key(KEY));
    assert_eq!(house.used("ai", secs(0)), 3);
}

#[test]
fn a_keys_own_limit_takes_the_place_of_the_plans_for_keys_and_joins_its_others() {
    let each = |own: &[(&'static str, Rule)]| Spec {
        each_key: vec![("ai", per("3/hour"))],
        key: own.to_vec(),
        ..Spec::of(&[])
    };
    check(each(&[]), &call(CHAT), 3);
    check(each(&[("ai", per("5/hour"))]), &call(CHAT), 5);
    check(each(&[("all", per("7/hour"))]), &call(CHAT), 3);
    check(each(&[("all", per("7/hour"))]), &call(READ), 7);
}

#[test]
fn a_keys_limit_of_models_counts_its_models_only() {
    let spec = || Spec { key: vec![("model:gpt-*", per("2/hour"))], ..Spec::of(&[]) };
    check(spec(), &Call { model: Some("gpt-4o"), ..call(CHAT) }, 2);
    let mut house = House::new(spec());
    for model in [Some("llama"), None].into_iter().cycle().take(10) {
        assert!(house.admit(&Call { model, ..call(CHAT) }, secs(0)).is_ok());
    }
}

#[test]
fn a_boost_to_what_a_limit_is_anyway_is_none() {
    for (value, boosted) in [(10, false), (11, true)] {
        let boosts = vec![boost("ai", Value(value), 0, 9_999)];
        let house = House::new(Spec { boosts, ..Spec::of(&[("ai", per("10/hour"))]) });
        assert_eq!(house.all(secs(0))["ai"].boosted, boosted);
    }
}

#[test]
fn calls_are_paid_from_the_wallet_where_the_plan_says_so() {
    for (billing, charged) in [(Billing::Wallet, true), (Billing::None, false)] {
        let house = House::new(Spec { billing: Some(billing), ..Spec::of(&[]) });
        assert_eq!(house.account.entitlement.is_charged(), charged);
    }
}

#[test]
fn a_boost_of_a_class_lifts_all_limits_of_that_class() {
    let boosts = vec![boost("ai", MultiplierPpm(2_000_000), 0, 9_999)];
    let spec = Spec { boosts, ..Spec::of(&[("ai.tokens", tokens("10/hour"))]) };
    check(spec, &Call { tokens: 10, ..call(CHAT) }, 2);
}

#[test]
fn boosts_stack_the_largest_value_first_then_every_multiplier() {
    let boosted = |boosts| Spec { boosts, ..Spec::of(&[("ai", per("10/hour"))]) };
    let twice = MultiplierPpm(2_000_000);
    check(boosted(vec![boost("ai", twice, 0, 9_999)]), &call(CHAT), 20);
    check(
        boosted(vec![boost("*", twice, 0, 9_999), boost("ai", twice, 0, 9_999)]),
        &call(CHAT),
        40,
    );
    let values = vec![
        boost("ai", Value(15), 0, 9_999),
        boost("ai", Value(12), 0, 9_999),
        boost("ai", twice, 0, 9_999),
    ];
    check(boosted(values), &call(CHAT), 30);
    check(boosted(vec![boost("ai", Value(4), 0, 9_999)]), &call(CHAT), 10);
    check(boosted(vec![boost("read", twice, 0, 9_999)]), &call(CHAT), 10);
}

#[test]
fn a_boost_of_a_class_lifts_its_endpoint_limits_too() {
    let spec = tiered("50/hour", 1_000_000);
    let boosts = vec![boost("ai", MultiplierPpm(2_000_000), 0, 9_999)];
    check(Spec { boosts, ..spec }, &call(CHAT), 20);
}

#[test]
fn a_boost_begins_and_ends_on_time_and_what_was_used_stays_used() {
    let boosts = vec![boost("ai", MultiplierPpm(2_000_000), 100, 200)];
    let mut house = House::new(Spec { boosts, ..Spec::of(&[("ai", per("10/hour"))]) });
    assert_eq!(house.account.entitlement.valid_until(), secs(100));
    assert_eq!(house.drain(&call(CHAT), secs(99)), 10);
    house.refresh(secs(100));
    assert_eq!(house.account.entitlement.valid_until(), secs(200));
    assert!(house.all(secs(100))["ai"].boosted);
    assert_eq!(house.drain(&call(CHAT), secs(100)), 10);
    house.refresh(secs(200));
    assert!(!house.all(secs(200))["ai"].boosted);
    assert_eq!(house.drain(&call(CHAT), secs(200)), 0);
    // What the boost allowed is no debt of the next window.
    assert_eq!(house.drain(&call(CHAT), secs(99 + 3_600)), 10);
}

#[test]
fn a_plan_change_keeps_what_was_used_even_by_way_of_a_plan_without_the_limit() {
    let ai = |rule: &Rule| Spec::of(&[("ai", rule.clone())]);
    for algorithm in [Algorithm::FixedWindow, Algorithm::SlidingWindow, Algorithm::TokenBucket] {
        let small = with(&per("50/hour"), |terms| terms.algorithm = algorithm);
        let large = with(&per("100/hour"), |terms| terms.algorithm = algorithm);
        let bucket = with(&per("100/hour"), |terms| terms.algorithm = Algorithm::TokenBucket);
        let mut house = House::new(ai(&small));
        for _ in 0..30 {
            let _ = house.admit(&call(CHAT), secs(10)).unwrap();
        }
        house.change(ai(&large), secs(10));
        assert_eq!(house.used("ai", secs(10)), 30, "{algorithm:?}");
        house.change(Spec::of(&[]), secs(11));
        assert!(house.admit(&call(CHAT), secs(11)).is_ok());
        house.change(ai(&bucket), secs(12));
        assert_eq!(house.used("ai", secs(12)), 30, "{algorithm:?}");
        assert_eq!(house.drain(&call(CHAT), secs(12)), 70, "{algorithm:?}");
    }
}

#[test]
fn the_accounts_time_never_goes_back() {
    let mut house = House::new(Spec::of(&[("ai", per("10/hour"))]));
    assert_eq!(house.account.observe(secs(500)), secs(500));
    for earlier in [secs(499), secs(0), secs(-1_000_000)] {
        assert_eq!(house.account.observe(earlier), secs(500));
    }
    let _ = house.admit(&call(CHAT), secs(0)).unwrap();
    assert_eq!(house.all(secs(500))["ai"].now.reset_at, secs(4_100));
}
