//! Minimum spending: each month is settled once.

use std::sync::Arc;

use serde_json::{Value, json};
use weir_core::ledger::{Entry, EntryKind};
use weir_core::time::{Span, Timestamp};
use weir_engine::audit::verify;
use weir_engine::cell::AccountCell;
use weir_engine::engine::Engine;
use weir_store::fault::Faults;

use crate::support::{START, account, boot, call, key, nano, pass, wait};

const DAY: i64 = 86_400;

fn contract(engine: &Engine, cell: &AccountCell, contract: Option<Value>) {
    let change = |record: &mut weir_engine::record::AccountRecord| {
        record.contract = contract;
        Ok(())
    };
    wait(engine.change_account(cell.id, None, change)).unwrap();
}

/// What fell short, oldest first: kind, amount, reference.
fn shortfalls(engine: &Engine, cell: &AccountCell) -> Vec<(EntryKind, String, String)> {
    let entries = engine.store_reader().entries(cell.id, None, 100).unwrap();
    let short = |entry: &&Entry| entry.reference.starts_with("commitment:");
    let told = |entry: &Entry| (entry.kind, entry.amount.to_string(), entry.reference.to_string());
    entries.iter().filter(short).map(told).rev().collect()
}

#[track_caller]
fn check(engine: &Engine, cell: &Arc<AccountCell>, expected: &[(EntryKind, &str, &str)]) {
    wait(engine.book_commitments());
    wait(engine.book_commitments());
    let found = shortfalls(engine, cell);
    let found: Vec<_> = found.iter().map(|(kind, amount, of)| (*kind, &**amount, &**of)).collect();
    assert_eq!(found, expected);
}

#[test]
fn what_a_month_falls_short_is_charged_once_also_across_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let engine = boot(dir.path(), START, None);
    let cell = account(&engine, "payg", "100");
    let key = key(&engine, &cell);
    contract(&engine, &cell, Some(json!({ "commitment": "31" })));
    call(&engine, &key, 12);
    let view = wait(engine.commitment_of(&cell)).unwrap().unwrap();
    assert_eq!((view.period.amount, view.spent), (nano("31"), nano("12")));
    call(&engine, &key, 3);
    assert_eq!(wait(engine.commitment_of(&cell)).unwrap().unwrap().spent, nano("15"));
    pass(&engine, 31 * DAY - 1);
    check(&engine, &cell, &[]);
    pass(&engine, 1);
    // A call of the new month changes nothing for the old one.
    call(&engine, &key, 50);
    check(&engine, &cell, &[(EntryKind::Charge, "-16.00", "commitment:2026-03")]);
    assert_eq!(wait(engine.commitment_of(&cell)).unwrap().unwrap().spent, nano("50"));
    let note = engine.store_reader().entries(cell.id, None, 1).unwrap()[0].note.clone();
    assert_eq!(note.unwrap().as_ref(), "15.00 was charged in 2026-03 of a commitment of 31.00");
    engine.close();
    drop(engine);
    // Down in May and June: April was fulfilled, two months are owed.
    let engine = boot(dir.path(), START.plus(Span::from_secs((31 + 30 + 31 + 30) * DAY)), None);
    let cell = engine.account(cell.id).unwrap();
    let all = [
        (EntryKind::Charge, "-16.00", "commitment:2026-03"),
        (EntryKind::Charge, "-19.00", "commitment:2026-05"),
        (EntryKind::Debt, "-12.00", "commitment:2026-05"),
        (EntryKind::Debt, "-31.00", "commitment:2026-06"),
    ];
    check(&engine, &cell, &all);
    let july = Timestamp::from_secs(START.micros() / 1_000_000 + 122 * DAY);
    let statement = wait(engine.statement(cell.id, july, july.plus(Span::from_secs(DAY)))).unwrap();
    let line = &statement.lines[&("commitment".into(), "".into())];
    assert_eq!(line.amount, nano("62"));
    assert_eq!(statement.closing, nano("-43"));
    engine.close();
    drop(engine);
    let engine = boot(dir.path(), START.plus(Span::from_secs(123 * DAY)), None);
    check(&engine, &engine.account(cell.id).unwrap(), &all);
    engine.close();
    verify(dir.path()).unwrap();
}

#[test]
fn a_commitment_that_cannot_be_stored_is_charged_once_in_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Arc::new(Faults::default());
    let engine = boot(dir.path(), START, Some(Arc::clone(&faults)));
    let cell = account(&engine, "payg", "100");
    contract(&engine, &cell, Some(json!({ "commitment": "31" })));
    pass(&engine, 31 * DAY);
    faults.fill_next_groups(2);
    for _ in 0..500 {
        wait(engine.book_commitments());
        engine.write_behind();
        if !shortfalls(&engine, &cell).is_empty() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    check(&engine, &cell, &[(EntryKind::Charge, "-31.00", "commitment:2026-03")]);
    assert_eq!(engine.wallet_of(&cell).balance, nano("69"));
    engine.close();
    verify(dir.path()).unwrap();
}

#[test]
fn a_part_of_a_month_is_its_share_and_a_change_holds_for_the_running_month() {
    let dir = tempfile::tempdir().unwrap();
    let engine = boot(dir.path(), START, None);
    let at = |days: i64| START.plus(Span::from_secs(days * DAY)).micros();
    let [begins, grows, ends, free, late] =
        std::array::from_fn(|_| account(&engine, "payg", "1000"));
    let none = account(&engine, "free", "0");
    contract(&engine, &none, Some(json!({ "commitment": "31" })));
    contract(&engine, &grows, Some(json!({ "commitment": "31" })));
    contract(&engine, &ends, Some(json!({ "commitment": "31", "until_us": at(11) })));
    contract(&engine, &free, Some(json!({ "commitment": "31" })));
    pass(&engine, 10 * DAY);
    contract(&engine, &begins, Some(json!({ "commitment": "31" })));
    contract(&engine, &late, Some(json!({ "commitment": "31", "from_us": at(-40) })));
    contract(&engine, &grows, Some(json!({ "commitment": "62" })));
    // Taken away before the month is over: nothing is owed of it.
    contract(&engine, &free, None);
    pass(&engine, 2 * DAY);
    check(&engine, &ends, &[(EntryKind::Charge, "-11.00", "commitment:2026-03")]);
    pass(&engine, 19 * DAY);
    // A change after the end of the month comes too late for it.
    contract(&engine, &grows, None);
    check(&engine, &grows, &[(EntryKind::Charge, "-62.00", "commitment:2026-03")]);
    check(&engine, &begins, &[(EntryKind::Charge, "-21.00", "commitment:2026-03")]);
    check(&engine, &late, &[(EntryKind::Charge, "-31.00", "commitment:2026-03")]);
    check(&engine, &ends, &[(EntryKind::Charge, "-11.00", "commitment:2026-03")]);
    check(&engine, &free, &[]);
    check(&engine, &none, &[]);
    // A contract after a pause owes nothing for the pause.
    pass(&engine, 15 * DAY);
    contract(&engine, &ends, Some(json!({ "commitment": "30" })));
    pass(&engine, 15 * DAY);
    let last = (EntryKind::Charge, "-15.00", "commitment:2026-04");
    check(&engine, &ends, &[(EntryKind::Charge, "-11.00", "commitment:2026-03"), last]);
}
