//! A wallet that got ahead of its ledger.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Map;
use weir_core::money::Nano;
use weir_core::usage::{Meter, Usage};
use weir_engine::audit::verify;
use weir_engine::call::{Admission, Why};
use weir_engine::cell::AccountCell;
use weir_engine::credit::NewCredit;
use weir_engine::engine::Engine;
use weir_engine::idempotency::Kept;
use weir_engine::ticket::{Keep, Outcome};
use weir_engine::usage::{Dimension, Interval, UsageWanted};
use weir_store::fault::Faults;

use crate::support::{START, account, admit, boot, call, copy, granted, key, nano, settle, wait};

#[track_caller]
fn check_balance(
    engine: &weir_engine::engine::Engine,
    cell: &weir_engine::cell::AccountCell,
    expected: &str,
) {
    let view = engine.wallet_of(cell);
    assert_eq!((view.balance, view.held), (nano(expected), nano("0")));
}

/// Waits until there is space again, as the store finds out by itself.
fn healed(engine: &weir_engine::engine::Engine) {
    for _ in 0..500 {
        if engine.health() == weir_store::health::StoreHealth::Ok {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("the store does not heal");
}

#[test]
fn a_charge_that_nobody_awaits_and_that_is_not_stored_is_posted_again_once() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Arc::new(Faults::default());
    let engine = boot(dir.path(), START, Some(Arc::clone(&faults)));
    let cell = account(&engine, "payg", "100");
    let key = key(&engine, &cell);
    call(&engine, &key, 10);
    let running = granted(&engine, &key, 5);
    engine.write_behind();
    let (lost, follower) = (granted(&engine, &key, 10), granted(&engine, &key, 1));
    faults.fill_next_groups(1);
    drop(settle(lost, 10).commit);
    // Whatever follows is not stored either.
    let follower = settle(follower, 1).commit.unwrap().wait();
    assert!(follower.is_err());
    let refused = admit(&engine, &key, 1);
    assert!(matches!(refused, Admission::Refused(refused) if matches!(refused.why, Why::Store(_))));
    assert!(wait(engine.post_credit(&cell, &NewCredit::paid(nano("1"), "t"))).is_err());
    healed(&engine);
    engine.write_behind();
    let view = engine.wallet_of(&cell);
    assert_eq!((view.balance, view.held), (nano("79"), nano("5")), "what runs is still held");
    engine.write_behind();
    settle(running, 5).commit.unwrap().wait().unwrap();
    call(&engine, &key, 2);
    check_balance(&engine, &cell, "72");
    check_usage(&engine, &cell, 5);
    engine.close();
    assert_eq!(verify(dir.path()).unwrap().balance, 72_000_000_000);
    drop(engine);
    let engine = boot(dir.path(), START, None);
    let cell = engine.account(cell.id).unwrap();
    check_balance(&engine, &cell, "72");
    check_usage(&engine, &cell, 5);
}

#[test]
fn a_charge_whose_answer_is_withheld_is_given_up_and_its_idempotency_key_is_free_again() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Arc::new(Faults::default());
    let engine = boot(dir.path(), START, Some(Arc::clone(&faults)));
    let cell = account(&engine, "payg", "100");
    let key = key(&engine, &cell);
    call(&engine, &key, 10);
    let (mut withheld, mut partly) = (granted(&engine, &key, 20), granted(&engine, &key, 40));
    assert!(wait(withheld.claim("a", b"first")).unwrap().is_none());
    withheld.keep(Keep::new(|_| Kept { status: 200, headers: Map::new(), body: None }));
    withheld.checkpointed();
    partly.checkpointed();
    faults.fill_next_groups(1);
    let reported = Some(Usage::NONE.with(Meter::OutputTokens, 20));
    let outcome = Outcome { reported, status: 201, withheld: true, ..Outcome::default() };
    let refused = withheld.settle(&outcome).unwrap().commit.unwrap();
    let also = settle(partly, 40).commit.unwrap();
    assert!(refused.wait().is_err() && also.wait().is_err());
    healed(&engine);
    engine.write_behind();
    check_balance(&engine, &cell, "50");
    check_usage(&engine, &cell, 3);
    // What its client got is what it is counted as.
    let counted = by_status(&engine, &cell);
    assert_eq!(counted[&503], (Nano::ZERO, 1), "{counted:?}");
    assert_eq!(counted.get(&201).copied().unwrap_or_default(), (Nano::ZERO, 0), "{counted:?}");
    assert_eq!(engine.meters().withheld(), nano("20"));
    // The retry is a call of its own, and the only one that is charged.
    let mut again = granted(&engine, &key, 20);
    assert!(wait(again.claim("a", b"first")).unwrap().is_none(), "the key is free");
    settle(again, 20).commit.unwrap().wait().unwrap();
    check_balance(&engine, &cell, "30");
    check_usage(&engine, &cell, 4);
    engine.close();
    drop(engine);
    let engine = boot(dir.path(), START, None);
    let cell = engine.account(cell.id).unwrap();
    check_balance(&engine, &cell, "30");
    check_usage(&engine, &cell, 4);
}

#[test]
fn charges_that_are_refused_again_and_again_are_charged_once_in_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Arc::new(Faults::default());
    let engine = boot(dir.path(), START, Some(Arc::clone(&faults)));
    let cell = account(&engine, "payg", "4");
    let key = key(&engine, &cell);
    // The second is charged beyond what it holds: a charge and a debt.
    let (one, two) = (granted(&engine, &key, 2), granted(&engine, &key, 2));
    faults.fill_next_groups(1);
    drop(settle(one, 2).commit);
    drop(settle(two, 5).commit);
    for _ in 0..3 {
        healed(&engine);
        faults.fill_next_groups(1);
        engine.write_behind();
    }
    healed(&engine);
    engine.write_behind();
    check_usage(&engine, &cell, 2);
    check_balance(&engine, &cell, "-3");
    let charges = engine.store_reader().entries(cell.id, None, 10).unwrap();
    assert_eq!(charges.len(), 4, "a top-up, two charges, a debt: {charges:?}");
    engine.close();
    verify(dir.path()).unwrap();
}

#[test]
fn a_crash_before_a_charge_is_posted_again_leaves_usage_as_the_ledger_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Arc::new(Faults::default());
    let engine = boot(dir.path(), START, Some(Arc::clone(&faults)));
    let cell = account(&engine, "payg", "100");
    let key = key(&engine, &cell);
    call(&engine, &key, 7);
    let (lost, hold) = (granted(&engine, &key, 10), wait(hold(&engine, &cell)));
    faults.fill_next_groups(1_000);
    assert!(settle(lost, 10).commit.unwrap().wait().is_err());
    engine.write_behind();
    engine.flush_behind();
    let crashed = tempfile::tempdir().unwrap();
    copy(dir.path(), crashed.path());
    faults.fill_next_groups(0);
    healed(&engine);
    engine.write_behind();
    wait(engine.settle_hold(hold, nano("3"))).unwrap();
    check_balance(&engine, &cell, "80");
    check_usage(&engine, &cell, 2);
    let after = boot(crashed.path(), START, None);
    check_usage(&after, &after.account(cell.id).unwrap(), 1);
    engine.flush_behind();
    let again = tempfile::tempdir().unwrap();
    copy(dir.path(), again.path());
    let after = boot(again.path(), START, None);
    check_usage(&after, &after.account(cell.id).unwrap(), 2);
}

async fn hold(engine: &Engine, cell: &Arc<AccountCell>) -> weir_core::id::HoldId {
    let span = weir_core::time::Span::from_secs(3_600);
    engine.create_hold(cell, nano("5"), span, "job").await.unwrap().id
}

/// Sees that what usage says was charged is what the ledger says, to the last unit.
#[track_caller]
fn check_usage(engine: &Engine, cell: &AccountCell, requests: u64) {
    let mut seen = ((Nano::ZERO, 0), Nano::ZERO);
    for _ in 0..500 {
        engine.write_behind();
        engine.flush_behind();
        seen = (usage(engine, cell), charged(engine, cell));
        if seen.0 == (seen.1, requests) && seen.1 > Nano::ZERO {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("usage says {:?}, the ledger {:?} in {requests} calls", seen.0, seen.1);
}

fn charged(engine: &Engine, cell: &AccountCell) -> Nano {
    let entries = engine.store_reader().entries(cell.id, None, 1_000).unwrap();
    let charges = entries.iter().filter(|entry| entry.call.is_some() || entry.amount < Nano::ZERO);
    -charges.map(|entry| entry.amount).sum::<Nano>()
}

fn usage(engine: &Engine, cell: &AccountCell) -> (Nano, u64) {
    let wanted = UsageWanted {
        account: Some(cell.id),
        from: START,
        to: START.plus(weir_core::time::Span::from_secs(60)),
        interval: Interval::Minute,
        group_by: Vec::new(),
    };
    let rows = wait(engine.usage(wanted)).unwrap();
    let sums = rows.iter().map(|row| (row.sums.charged(), row.sums.requests()));
    sums.fold((Nano::ZERO, 0), |(charged, calls), one| (charged + one.0, calls + one.1))
}

/// What usage says was charged, and in how many calls, by the status that clients got.
fn by_status(engine: &Engine, cell: &AccountCell) -> BTreeMap<u16, (Nano, u64)> {
    let wanted = UsageWanted {
        account: Some(cell.id),
        from: START,
        to: START.plus(weir_core::time::Span::from_secs(60)),
        interval: Interval::Minute,
        group_by: vec![Dimension::Status],
    };
    let mut found: BTreeMap<u16, (Nano, u64)> = BTreeMap::new();
    for row in wait(engine.usage(wanted)).unwrap() {
        let status = row.group[0].parse().unwrap();
        let (charged, requests) = found.entry(status).or_default();
        (*charged, *requests) = (*charged + row.sums.charged(), *requests + row.sums.requests());
    }
    found
}

#[test]
fn credit_that_is_not_stored_can_never_be_spent() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Arc::new(Faults::default());
    let engine = boot(dir.path(), START, Some(Arc::clone(&faults)));
    let cell = account(&engine, "payg", "10");
    let key = key(&engine, &cell);
    faults.fill_next_groups(1);
    assert!(wait(engine.post_credit(&cell, &NewCredit::paid(nano("50"), "t"))).is_err());
    assert!(!matches!(admit(&engine, &key, 20), Admission::Granted(_)));
    healed(&engine);
    engine.write_behind();
    check_balance(&engine, &cell, "10");
    assert!(!matches!(admit(&engine, &key, 20), Admission::Granted(_)));
    call(&engine, &key, 10);
    engine.close();
    verify(dir.path()).unwrap();
}
