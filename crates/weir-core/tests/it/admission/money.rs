//! The wallet in the same decision, and a key's spend cap.

use weir_core::admit::{Refusal, Shortage};
use weir_core::ledger::{Category, Terms};
use weir_core::money::Nano;
use weir_core::time::Span;

use super::house::*;
use crate::limits::secs;

fn funded(spec: Spec, nano: i64) -> House {
    let mut house = House::new(spec);
    let terms = Terms { category: Category::Paid, priority: 50, expires_at: None };
    let mut seq = 0;
    let credit = house.account.wallet.top_up(Nano::new(nano), terms, secs(0), &mut || {
        seq += 1;
        weir_core::id::Seq(seq)
    });
    assert!(credit.is_ok());
    house
}

fn paid(nano: i64) -> Call {
    Call { worth: nano, hold: Some(nano), ..call(CHAT) }
}

#[test]
fn a_wallet_that_does_not_cover_a_call_leaves_its_limits_alone() {
    let mut house = funded(Spec::of(&[("ai", per("9/hour"))]), 100);
    let _running = house.admit(&paid(60), secs(0)).unwrap();
    let short = Shortage { required: Nano::new(50), available: Nano::new(40), held: Nano::new(60) };
    assert_eq!(house.admit(&paid(50), secs(0)).unwrap_err(), Refusal::Credits(short));
    assert_eq!(house.used("ai", secs(0)), 1);
    assert_eq!(house.account.wallet.held(), Nano::new(60));
}

#[test]
fn a_limit_that_refuses_leaves_the_wallet_alone() {
    let mut house = funded(Spec::of(&[("ai", per("1/hour"))]), 100);
    let _running = house.admit(&paid(10), secs(0)).unwrap();
    assert_eq!(wait_of(house.admit(&paid(10), secs(0))).0, "ai");
    assert_eq!(house.account.wallet.held(), Nano::new(10));
}

#[test]
fn payment_is_asked_for_first_where_waiting_does_not_help() {
    let mut house = funded(Spec::of(&[("ai", per("1/hour"))]), 100);
    let _running = house.admit(&paid(10), secs(0)).unwrap();
    // Neither the limit nor the wallet lets it pass: waiting would not make the wallet cover it.
    assert!(matches!(house.admit(&paid(101), secs(0)), Err(Refusal::Credits(_))));
    // The wallet would once the running call has ended: the limit's wait is what counts.
    assert_eq!(wait_of(house.admit(&paid(95), secs(0))).0, "ai");
    assert_eq!(wait_of(house.admit(&paid(100), secs(0))).0, "ai");
}

#[test]
fn a_given_back_call_frees_its_hold() {
    let mut house = funded(Spec::of(&[("ai", per("9/hour"))]), 100);
    let grant = house.admit(&paid(100), secs(0)).unwrap();
    house.void(grant, &paid(100), secs(0));
    assert_eq!(house.account.wallet.held(), Nano::ZERO);
    assert_eq!(house.used("ai", secs(0)), 0);
}

#[test]
fn a_spend_cap_refuses_as_such_and_settles_to_what_was_charged() {
    let spec = Spec { key: vec![("spend", credits("100/day"))], ..Spec::of(&[]) };
    let mut house = funded(spec, 1_000);
    let grant = house.admit(&paid(80), secs(0)).unwrap();
    let refused = house.admit(&paid(30), secs(0));
    assert!(matches!(&refused, Err(Refusal::SpendCap(..))), "{refused:?}");
    assert_eq!(wait_of(refused).1, Span::from_secs(86_400));
    house.settle(&grant, &paid(80), (0, 5), secs(1));
    assert_eq!(house.used("key:spend", secs(1)), 5);
    assert!(house.admit(&paid(95), secs(1)).is_ok());
}

#[test]
fn a_call_that_is_not_charged_after_all_counts_for_no_limit_in_money() {
    let plan = [("ai", per("9/hour")), ("all.tokens", tokens("99/hour"))];
    let spec = Spec { key: vec![("spend", credits("100/day"))], ..Spec::of(&plan) };
    let mut house = funded(spec, 1_000);
    let call = Call { tokens: 20, ..paid(30) };
    let used = |house: &House, at| {
        ["ai", "all.tokens", "key:spend"].map(|name| house.used(name, secs(at)))
    };
    // Below and above what it was taken for at first.
    for (nth, charged) in (1..).zip([10, 50]) {
        let grant = house.admit(&call, secs(0)).unwrap();
        house.settle(&grant, &call, (7, charged), secs(1));
        house.unspend(&grant, charged, secs(2));
        assert_eq!(used(&house, 2), [nth, 7 * nth, 0], "the upstream was called, nothing spent");
    }
    // Of a day that is over nothing is taken from the next.
    let grant = house.admit(&call, secs(86_300)).unwrap();
    house.settle(&grant, &call, (7, 30), secs(86_300));
    let next = house.admit(&call, secs(2 * 86_400)).unwrap();
    house.settle(&next, &call, (7, 30), secs(2 * 86_400));
    house.unspend(&grant, 30, secs(2 * 86_400));
    assert_eq!(house.used("key:spend", secs(2 * 86_400)), 30);
}
