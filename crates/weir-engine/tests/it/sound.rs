//! A wallet that got ahead of its ledger.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Map;
use weir_core::account::Owner;
use weir_core::admit::SPEND_CAP;
use weir_core::money::Nano;
use weir_core::usage::{Meter, Usage};
use weir_engine::audit::verify;
use weir_engine::call::{Admission, Why};
use weir_engine::cell::{AccountCell, KeyCell};
use weir_engine::credit::NewCredit;
use weir_engine::engine::Engine;
use weir_engine::idempotency::Kept;
use weir_engine::keys::NewKey;
use weir_engine::record::SpendCapRecord;
use weir_engine::ticket::{Keep, Outcome, Settled, Ticket};
use weir_engine::usage::{Dimension, Interval, UsageWanted};
use weir_store::fault::Faults;

use crate::support::{
    START, account, admit, boot, call, copy, granted, key, nano, pass, settle, wait,
};

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

/// A key that may spend so much, ever.
fn capped(engine: &Engine, cell: &AccountCell, amount: &str) -> Arc<KeyCell> {
    let spend_cap = Some(SpendCapRecord { amount: amount.into(), period: None });
    let kind = "read_write".into();
    let new = NewKey { name: "capped".into(), kind, spend_cap, ..NewKey::default() };
    wait(engine.create_key(cell.id, new)).unwrap().key
}

/// What the spend cap of a key counts.
fn spent(key: &KeyCell, settled: &Settled) -> u64 {
    let owner = Owner::Key(key.id);
    let view = settled.views.iter().find(|view| view.owner == owner && view.name == SPEND_CAP);
    view.unwrap().now.used
}

/// Settles a call whose answer waits for its charge.
fn settle_awaited(ticket: Ticket, output: u64) -> Settled {
    let reported = Some(Usage::NONE.with(Meter::OutputTokens, output));
    let outcome = Outcome { reported, withheld: true, status: 200, ..Outcome::default() };
    ticket.settle(&outcome).unwrap()
}

#[test]
fn a_charge_whose_answer_is_withheld_counts_for_no_spend_cap_and_no_total() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Arc::new(Faults::default());
    let engine = boot(dir.path(), START, Some(Arc::clone(&faults)));
    let cell = account(&engine, "payg", "15");
    let key = capped(&engine, &cell, "100");
    call(&engine, &key, 3);
    // The second is charged beyond its hold, and beyond the wallet: a charge and a debt.
    let (within, beyond) = (granted(&engine, &key, 5), granted(&engine, &key, 5));
    faults.fill_next_groups(1);
    let (within, beyond) = (settle_awaited(within, 4), settle_awaited(beyond, 10));
    assert!(within.commit.unwrap().wait().is_err());
    assert!(beyond.commit.unwrap().wait().is_err());
    assert_eq!(engine.meters().charged(), nano("3"), "what is not stored is not charged");
    assert_eq!((engine.meters().withheld(), engine.debt_total()), (nano("14"), Nano::ZERO));
    healed(&engine);
    engine.write_behind();
    let settled = settle_awaited(granted(&engine, &key, 1), 1);
    assert_eq!(spent(&key, &settled), 4_000_000_000);
    settled.commit.unwrap().wait().unwrap();
    assert_eq!(engine.meters().charged(), nano("4"));
    check_balance(&engine, &cell, "11");
    check_usage(&engine, &cell, 4);
    engine.close();
    drop(engine);
    let engine = boot(dir.path(), START, None);
    let (cell, key) = (engine.account(cell.id).unwrap(), engine.key(key.id).unwrap());
    let settled = settle_awaited(granted(&engine, &key, 1), 1);
    assert_eq!(spent(&key, &settled), 5_000_000_000);
    settled.commit.unwrap().wait().unwrap();
    check_balance(&engine, &cell, "10");
    check_usage(&engine, &cell, 5);
}

#[test]
fn after_a_fence_cap_and_usage_are_as_the_ledger_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Arc::new(Faults::default());
    let engine = boot(dir.path(), START, Some(Arc::clone(&faults)));
    let cell = account(&engine, "payg", "100");
    let key = capped(&engine, &cell, "100");
    call(&engine, &key, 3);
    let lost: Vec<_> = (0..8).map(|_| granted(&engine, &key, 5)).collect();
    faults.fail_next_sync();
    let lost: Vec<_> = lost.into_iter().map(|ticket| settle_awaited(ticket, 5)).collect();
    for settled in lost {
        assert!(settled.commit.unwrap().wait().is_err());
    }
    assert_eq!((engine.meters().charged(), engine.meters().withheld()), (nano("3"), nano("40")));
    engine.close();
    drop(engine);
    let engine = boot(dir.path(), START, None);
    let (cell, key) = (engine.account(cell.id).unwrap(), engine.key(key.id).unwrap());
    check_usage(&engine, &cell, 1);
    let settled = settle_awaited(granted(&engine, &key, 1), 1);
    assert_eq!(spent(&key, &settled), 4_000_000_000);
    settled.commit.unwrap().wait().unwrap();
    check_balance(&engine, &cell, "96");
    check_usage(&engine, &cell, 2);
}

#[test]
fn an_account_that_is_read_anew_spends_no_faster_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Arc::new(Faults::default());
    let engine = boot(dir.path(), START, Some(Arc::clone(&faults)));
    let cell = account(&engine, "payg", "100");
    let key = key(&engine, &cell);
    // No snapshot of its wallet yet: it is read from its first entry on.
    call(&engine, &key, 6);
    let lost = granted(&engine, &key, 12);
    faults.fill_next_groups(1);
    assert!(settle(lost, 12).commit.unwrap().wait().is_err());
    healed(&engine);
    engine.write_behind();
    pass(&engine, 6 * 3_600);
    assert_eq!(engine.alerts_of(&cell).1.per_hour, Some(nano("3")), "18 in six hours");
    engine.close();
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
