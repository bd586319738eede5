//! Durable holds.

use weir_core::time::Span;
use weir_engine::change::ChangeError;
use weir_engine::open_hold::HoldStatus;

use crate::support::{START, account, admit, boot, call, key, nano, pass, wait};

#[test]
fn a_hold_outlives_restarts_and_ends_exactly_once() {
    let dir = tempfile::tempdir().unwrap();
    let engine = boot(dir.path(), START, None);
    let cell = account(&engine, "payg", "10");
    let made = wait(engine.create_hold(&cell, nano("6"), Span::from_secs(3_600), "job 1")).unwrap();
    let other = wait(engine.create_hold(&cell, nano("3"), Span::from_secs(60), "job 2")).unwrap();
    let short = wait(engine.create_hold(&cell, nano("1.5"), Span::from_secs(60), "job 3"));
    assert!(matches!(short, Err(ChangeError::Credits(_))));
    let id = cell.id;
    drop((engine, cell));
    // The clock of the machine is set back, to the beginning of time.
    let engine = boot(dir.path(), START, None);
    let cell = engine.account(id).unwrap();
    let view = engine.wallet_of(&cell);
    assert_eq!((view.balance, view.held, view.available), (nano("10"), nano("9"), nano("1")));
    let settled = wait(engine.settle_hold(made.id, nano("4"))).unwrap();
    let again = wait(engine.settle_hold(made.id, nano("5"))).unwrap();
    assert_eq!(settled.record, again.record, "the first result");
    assert!(matches!(wait(engine.void_hold(made.id)), Err(ChangeError::Conflict(_))));
    pass(&engine, 59);
    wait(engine.expire_holds()).unwrap();
    assert_eq!(engine.held_durably(id), nano("3"));
    pass(&engine, 2);
    wait(engine.expire_holds()).unwrap();
    assert!(matches!(wait(engine.settle_hold(other.id, nano("1"))), Err(ChangeError::Conflict(_))));
    drop((engine, cell));
    let engine = boot(dir.path(), START, None);
    let cell = engine.account(id).unwrap();
    let view = engine.wallet_of(&cell);
    assert_eq!((view.balance, view.held), (nano("6"), nano("0")));
    let again = wait(engine.settle_hold(made.id, nano("5"))).unwrap();
    assert_eq!(settled.record, again.record);
    let all = wait(engine.holds_of(id, None, 10)).unwrap();
    let statuses: Vec<_> = all.iter().map(|hold| hold.record.status).collect();
    assert_eq!(statuses, [HoldStatus::Settled, HoldStatus::Expired]);
    engine.close();
    weir_engine::audit::verify(dir.path()).unwrap();
}

#[test]
fn a_clock_that_jumped_ahead_while_the_process_was_down_ends_no_hold_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let engine = boot(dir.path(), START, None);
    let cell = account(&engine, "payg", "10");
    let made = wait(engine.create_hold(&cell, nano("6"), Span::from_secs(600), "job")).unwrap();
    drop((engine, cell));
    let engine = boot(dir.path(), START.plus(Span::from_secs(30 * 86_400)), None);
    wait(engine.expire_holds()).unwrap();
    wait(engine.settle_hold(made.id, nano("6"))).unwrap();
}

#[test]
fn what_a_hold_reserves_no_call_gets() {
    let dir = tempfile::tempdir().unwrap();
    let engine = boot(dir.path(), START, None);
    let cell = account(&engine, "payg", "10");
    let key = key(&engine, &cell);
    let made = wait(engine.create_hold(&cell, nano("8"), Span::from_secs(600), "job")).unwrap();
    assert!(matches!(admit(&engine, &key, 3), weir_engine::call::Admission::Refused(_)));
    call(&engine, &key, 2);
    wait(engine.void_hold(made.id)).unwrap();
    wait(engine.void_hold(made.id)).unwrap();
    call(&engine, &key, 8);
    // Work that cost more than was held is charged in full, as debt where nothing is left.
    assert_eq!(engine.wallet_of(&cell).balance, nano("0"));
}
