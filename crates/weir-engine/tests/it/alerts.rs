//! Alerts of a wallet.

use weir_core::ledger::{Category, EntryKind, Terms};
use weir_core::time::Span;
use weir_engine::call::Admission;
use weir_engine::credit::NewCredit;

use crate::support::{
    START, account, admit, boot, call, events, key, kinds, nano, pass, top_up, wait,
};

#[test]
fn a_balance_that_swings_around_a_threshold_alternates() {
    let dir = tempfile::tempdir().unwrap();
    let engine = boot(dir.path(), START, None);
    let cell = account(&engine, "payg", "6");
    let key = key(&engine, &cell);
    for _ in 0..5 {
        call(&engine, &key, 2);
        top_up(&engine, &cell, "2");
    }
    let told = kinds(&engine, &cell, "wallet.");
    let levels: Vec<_> = told.iter().filter(|kind| *kind != "wallet.topped_up").collect();
    assert_eq!(levels.len(), 10, "{levels:?}");
    for pair in levels.chunks(2) {
        assert_eq!(pair, ["wallet.low", "wallet.recovered"]);
    }
    // Within the hysteresis nothing is told: 5 is left, and 5.05 is not enough to leave it.
    call(&engine, &key, 1);
    for _ in 0..20 {
        let tiny = NewCredit::paid(nano("0.05"), "t");
        wait(engine.post_credit(&cell, &tiny)).unwrap();
        let back = NewCredit { kind: EntryKind::Adjustment, ..NewCredit::paid(nano("-0.05"), "t") };
        wait(engine.post_credit(&cell, &back)).unwrap();
    }
    assert_eq!(kinds(&engine, &cell, "wallet.low").len(), 6);
    assert_eq!(kinds(&engine, &cell, "wallet.recovered").len(), 5);
}

#[test]
fn an_alert_is_told_in_the_commit_that_caused_it_and_not_again_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let engine = boot(dir.path(), START, None);
    let cell = account(&engine, "payg", "20");
    let key = key(&engine, &cell);
    call(&engine, &key, 16);
    call(&engine, &key, 4);
    assert_eq!(kinds(&engine, &cell, "wallet.low").len(), 1, "both thresholds in one");
    assert_eq!(kinds(&engine, &cell, "wallet.depleted").len(), 1);
    assert!(matches!(admit(&engine, &key, 1), Admission::Refused(_)));
    let before = events(&engine, &cell).len();
    drop(key);
    let id = cell.id;
    drop((engine, cell));
    let engine = boot(dir.path(), START, None);
    let cell = engine.account(id).unwrap();
    let key = engine.keys_of(&cell).remove(0);
    assert!(matches!(admit(&engine, &key, 1), Admission::Refused(_)));
    assert_eq!(events(&engine, &cell).len(), before);
    top_up(&engine, &cell, "100");
    assert_eq!(kinds(&engine, &cell, "wallet.recovered").len(), 1);
}

#[test]
fn a_new_threshold_tells_nothing_of_what_was_already_so() {
    let dir = tempfile::tempdir().unwrap();
    let engine = boot(dir.path(), START, None);
    let cell = account(&engine, "payg", "20");
    let key = key(&engine, &cell);
    let own = |record: &mut weir_engine::record::AccountRecord| {
        record.alerts = Some(vec!["30".into(), "10".into()]);
        Ok(())
    };
    wait(engine.change_account(cell.id, None, own)).unwrap();
    call(&engine, &key, 5);
    assert!(kinds(&engine, &cell, "wallet.low").is_empty());
    call(&engine, &key, 6);
    assert_eq!(kinds(&engine, &cell, "wallet.low").len(), 1);
    let wrong = |record: &mut weir_engine::record::AccountRecord| {
        record.alerts = Some(vec!["5 apples".into()]);
        Ok(())
    };
    assert!(wait(engine.change_account(cell.id, None, wrong)).is_err());
}

#[test]
fn credit_that_is_about_to_expire_is_told_once_each_time() {
    let dir = tempfile::tempdir().unwrap();
    let engine = boot(dir.path(), START, None);
    let cell = account(&engine, "payg", "0");
    let expires_at = Some(START.plus(Span::from_secs(40 * 86_400)));
    let terms = Terms { category: Category::Promo, priority: 50, expires_at };
    let grant = NewCredit { terms, kind: EntryKind::Grant, ..NewCredit::paid(nano("3"), "promo") };
    wait(engine.post_credit(&cell, &grant)).unwrap();
    for day in 0..40 {
        engine.sweep();
        engine.sweep();
        // What was queued before is durable once this is.
        wait(engine.change_account(cell.id, None, |_| Ok(()))).unwrap();
        pass(&engine, 86_400);
        let told = kinds(&engine, &cell, "grant.").len();
        let expected = usize::from(day >= 10) + usize::from(day >= 33) + usize::from(day >= 39);
        assert_eq!(told, expected, "on day {day}");
    }
    engine.sweep();
    assert_eq!(engine.wallet_of(&cell).balance, nano("0"));
}

#[test]
fn how_fast_credit_is_spent_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let engine = boot(dir.path(), START, None);
    let cell = account(&engine, "payg", "100");
    let key = key(&engine, &cell);
    for _ in 0..10 {
        call(&engine, &key, 2);
        pass(&engine, 3_600);
    }
    engine.write_behind();
    let spending = engine.alerts_of(&cell).1;
    assert_eq!(spending.per_hour, Some(nano("2")));
    assert_eq!(spending.runway, Some(Span::from_secs(40 * 3_600)));
    let (id, now) = (cell.id, engine.now());
    drop(key);
    drop((engine, cell));
    let engine = boot(dir.path(), now, None);
    let spending = engine.alerts_of(&engine.account(id).unwrap()).1;
    assert_eq!(spending.per_hour, Some(nano("2")));
}
