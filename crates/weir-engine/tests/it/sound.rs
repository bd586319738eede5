//! A wallet that got ahead of its ledger.

use std::sync::Arc;

use weir_engine::audit::verify;
use weir_engine::call::{Admission, Why};
use weir_engine::credit::NewCredit;
use weir_store::fault::Faults;

use crate::support::{START, account, admit, boot, call, granted, key, nano, settle, wait};

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
fn a_charge_that_nobody_awaits_and_that_is_not_stored_is_taken_back() {
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
    assert_eq!((view.balance, view.held), (nano("90"), nano("5")), "what runs is still held");
    settle(running, 5).commit.unwrap().wait().unwrap();
    call(&engine, &key, 2);
    check_balance(&engine, &cell, "83");
    engine.close();
    assert_eq!(verify(dir.path()).unwrap().balance, 83_000_000_000);
    drop(engine);
    let engine = boot(dir.path(), START, None);
    check_balance(&engine, &engine.account(cell.id).unwrap(), "83");
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
