//! Automatic top-ups: asked for once, answered once, never beyond the month's bound.

use std::sync::Arc;

use serde_json::json;
use weir_engine::call::Admission;
use weir_engine::cell::AccountCell;
use weir_engine::credit::NewCredit;
use weir_engine::engine::Engine;
use weir_engine::payments::{PaymentEvent, PaymentFact};

use crate::support::{START, account, admit, boot, call, events, key, kinds, nano, pass, wait};

const REQUESTED: &str = "wallet.auto_top_up_requested";
const FAILED: &str = "wallet.auto_top_up_failed";

fn ruled(engine: &Engine, credit: &str, monthly_max: Option<&str>) -> Arc<AccountCell> {
    let cell = account(engine, "payg", credit);
    wait(engine.change_account(cell.id, None, |record| {
        let rule = json!({"threshold": "5", "amount": "20", "monthly_max": monthly_max});
        record.auto_top_up = Some(rule);
        Ok(())
    }))
    .unwrap();
    cell
}

fn count(engine: &Engine, cell: &AccountCell, kind: &str) -> usize {
    kinds(engine, cell, kind).len()
}

fn answer(engine: &Engine, cell: &Arc<AccountCell>, reference: &str) -> bool {
    let credit = NewCredit::paid(nano("20"), reference);
    let credit = NewCredit { answers: Some(reference.to_owned()), ..credit };
    wait(engine.post_credit(cell, &credit)).is_ok()
}

#[test]
fn credit_that_runs_low_is_asked_for_once_and_its_answer_unblocks_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let engine = boot(dir.path(), START, None);
    let cell = ruled(&engine, "10", None);
    let (id, key) = (cell.id, key(&engine, &cell));
    call(&engine, &key, 4);
    engine.write_behind();
    assert_eq!(count(&engine, &cell, REQUESTED), 0, "6 is above the threshold");
    call(&engine, &key, 6);
    for _ in 0..3 {
        engine.write_behind();
        engine.sweep();
    }
    assert_eq!(count(&engine, &cell, REQUESTED), 1);
    let told = events(&engine, &cell).into_iter().find(|event| &*event.kind == REQUESTED).unwrap();
    let told: serde_json::Value = serde_json::from_str(&told.body).unwrap();
    let reference = told["reference"].as_str().unwrap().to_owned();
    assert_eq!((&told["amount"], &told["available"]), (&json!("20.00"), &json!("0.00")));
    drop((engine, cell, key));
    let engine = boot(dir.path(), START, None);
    let cell = engine.account(id).unwrap();
    let key = engine.keys_of(&cell).remove(0);
    engine.sweep();
    assert_eq!(count(&engine, &cell, REQUESTED), 1, "in flight after a restart too");
    assert_eq!(engine.top_up_asked(&cell).unwrap().reference, reference);
    assert!(!answer(&engine, &cell, "atu_unknown"));
    assert!(!matches!(admit(&engine, &key, 5), Admission::Granted(_)));
    assert!(answer(&engine, &cell, &reference));
    assert!(matches!(admit(&engine, &key, 5), Admission::Granted(_)));
    assert!(!answer(&engine, &cell, &reference), "each once");
    assert_eq!(engine.wallet_of(&cell).balance, nano("20"));
    assert_eq!(engine.top_up_asked(&cell), None);
    engine.close();
}

#[test]
fn a_declined_request_waits_and_the_next_one_comes_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let engine = boot(dir.path(), START, None);
    let cell = ruled(&engine, "5", None);
    engine.sweep();
    let reference = engine.top_up_asked(&cell).unwrap().reference;
    assert!(wait(engine.decline_top_up(&cell, "other", "no")).is_err());
    wait(engine.decline_top_up(&cell, &reference, "card_declined")).unwrap();
    assert!(wait(engine.decline_top_up(&cell, &reference, "again")).is_err());
    assert!(!answer(&engine, &cell, &reference), "what is declined is over");
    assert_eq!(count(&engine, &cell, FAILED), 1);
    pass(&engine, 3_599);
    engine.sweep();
    assert_eq!(count(&engine, &cell, REQUESTED), 1);
    pass(&engine, 1);
    engine.sweep();
    assert_eq!(count(&engine, &cell, REQUESTED), 2);
    assert_ne!(engine.top_up_asked(&cell).unwrap().reference, reference);
}

#[test]
fn a_request_that_nobody_answers_ends_and_a_late_answer_still_counts_once() {
    let dir = tempfile::tempdir().unwrap();
    let engine = boot(dir.path(), START, None);
    let cell = ruled(&engine, "5", None);
    engine.sweep();
    let reference = engine.top_up_asked(&cell).unwrap().reference;
    pass(&engine, 3_600);
    engine.sweep();
    assert_eq!((count(&engine, &cell, FAILED), engine.top_up_asked(&cell)), (1, None));
    assert!(answer(&engine, &cell, &reference));
    assert!(!answer(&engine, &cell, &reference));
    assert_eq!(engine.wallet_of(&cell).balance, nano("25"));
}

#[test]
fn a_month_has_its_bound_also_for_payments_that_answer() {
    let dir = tempfile::tempdir().unwrap();
    let engine = boot(dir.path(), START, None);
    let cell = ruled(&engine, "5", Some("30"));
    let key = key(&engine, &cell);
    engine.sweep();
    let reference = engine.top_up_asked(&cell).unwrap().reference;
    let what = PaymentFact::Paid {
        account: cell.id.to_string(),
        amount: nano("20"),
        answers: Some(reference),
    };
    let (id, payment) = ("evt".to_owned(), "pi".to_owned());
    wait(engine.take_payment(&PaymentEvent { source: "stripe", id, payment, what })).unwrap();
    assert_eq!(engine.top_up_asked(&cell), None);
    call(&engine, &key, 25);
    for _ in 0..3 {
        engine.sweep();
    }
    assert_eq!((count(&engine, &cell, REQUESTED), count(&engine, &cell, FAILED)), (1, 1));
    pass(&engine, 31 * 86_400);
    engine.sweep();
    assert!(engine.top_up_asked(&cell).is_some(), "a new month");
}
