//! Payments, refunds, statements.

use weir_core::id::{AccountId, Seq};
use weir_core::ledger::EntryKind;
use weir_core::price::Period;
use weir_core::time::Span;
use weir_engine::credit::{NewCredit, Posted};
use weir_engine::engine::Engine;
use weir_engine::holds::{HoldView, NewHold};
use weir_engine::idempotency::{Answering, Claimed, Kept};
use weir_engine::payments::{PaymentEvent, PaymentFact, Taken};
use weir_engine::refunds::NewRefund;

use crate::support::{START, account, boot, call, key, nano, top_up, wait};

fn paid(id: &str, payment: &str, account: &str) -> PaymentEvent {
    let what = PaymentFact::Paid { account: account.into(), amount: nano("20"), answers: None };
    PaymentEvent { source: "stripe", id: id.into(), payment: payment.into(), what }
}

fn told(id: &str, payment: &str, what: PaymentFact) -> PaymentEvent {
    PaymentEvent { source: "stripe", id: id.into(), payment: payment.into(), what }
}

fn disputed(dispute: &str, amount: &str) -> PaymentFact {
    PaymentFact::Disputed { dispute: dispute.into(), amount: nano(amount) }
}

#[test]
fn the_same_payment_five_times_at_once_and_after_a_restart_is_one_top_up() {
    let dir = tempfile::tempdir().unwrap();
    let engine = boot(dir.path(), START, None);
    let cell = account(&engine, "payg", "0");
    let id = cell.id;
    let event = paid("evt_1", "pi_1", &id.to_string());
    let posted = wait(async {
        let tries = (0..5).map(|_| {
            let (engine, event) = (engine.clone(), event.clone());
            tokio::spawn(async move { engine.take_payment(&event).await })
        });
        let mut posted = 0;
        for one in tries.collect::<Vec<_>>() {
            posted += usize::from(matches!(one.await.unwrap().unwrap(), Taken::Posted(_)));
        }
        posted
    });
    assert_eq!(posted, 1);
    drop((engine, cell));
    let engine = boot(dir.path(), START, None);
    assert!(matches!(wait(engine.take_payment(&event)).unwrap(), Taken::Before));
    let other = paid("evt_2", "pi_1", &id.to_string());
    assert!(matches!(wait(engine.take_payment(&other)).unwrap(), Taken::Before), "same payment");
    let cell = engine.account(id).unwrap();
    assert_eq!(engine.wallet_of(&cell).balance, nano("20"));
}

#[test]
fn refunds_and_disputes_take_back_what_was_paid_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let engine = boot(dir.path(), START, None);
    let cell = account(&engine, "payg", "0");
    let key = key(&engine, &cell);
    wait(engine.take_payment(&paid("e1", "pi", &cell.id.to_string()))).unwrap();
    call(&engine, &key, 15);
    let take = |id: &str, what| wait(engine.take_payment(&told(id, "pi", what))).unwrap();
    assert!(matches!(take("e2", PaymentFact::RefundedTo(nano("4"))), Taken::Posted(_)));
    assert!(matches!(take("e2", PaymentFact::RefundedTo(nano("4"))), Taken::Before));
    assert!(matches!(take("e3", PaymentFact::RefundedTo(nano("6"))), Taken::Posted(_)));
    assert_eq!(engine.wallet_of(&cell).balance, nano("-1"));
    assert!(matches!(take("e4", disputed("d", "20")), Taken::Posted(_)));
    assert_eq!(engine.wallet_of(&cell).balance, nano("-15"));
    assert!(matches!(take("e5", disputed("d", "20")), Taken::Before));
    let foreign = told("e6", "pi_other", disputed("d2", "1"));
    assert!(matches!(wait(engine.take_payment(&foreign)).unwrap(), Taken::Kept));
    assert!(wait(engine.take_payment(&paid("e7", "pi7", "nobody"))).is_err());
    engine.close();
    weir_engine::audit::verify(dir.path()).unwrap();
}

#[test]
fn what_is_told_before_its_payment_is_taken_back_when_that_comes() {
    let dir = tempfile::tempdir().unwrap();
    let engine = boot(dir.path(), START, None);
    let cell = account(&engine, "payg", "0");
    let id = cell.id;
    let take =
        |engine: &Engine, id: &str, what| wait(engine.take_payment(&told(id, "pi", what))).unwrap();
    assert!(matches!(take(&engine, "e1", PaymentFact::RefundedTo(nano("4"))), Taken::Kept));
    assert!(matches!(take(&engine, "e2", disputed("d", "5")), Taken::Kept));
    assert!(matches!(take(&engine, "e2", disputed("d", "5")), Taken::Kept), "told again");
    drop((engine, cell));
    let engine = boot(dir.path(), START, None);
    let posted = wait(engine.take_payment(&paid("e3", "pi", &id.to_string()))).unwrap();
    assert!(matches!(posted, Taken::Posted(posted) if posted.balance == nano("11")));
    let cell = engine.account(id).unwrap();
    let entries = engine.store_reader().entries(id, None, 10).unwrap();
    let kinds: Vec<_> = entries.iter().map(|entry| (entry.kind, entry.amount)).collect();
    let expected = [(EntryKind::Adjustment, nano("-9")), (EntryKind::TopUp, nano("20"))];
    assert_eq!(kinds, expected);
    // All of it is known by now, whatever is told again.
    for (event, what) in [("e1", PaymentFact::RefundedTo(nano("4"))), ("e2", disputed("d", "5"))] {
        assert!(matches!(take(&engine, event, what), Taken::Before));
    }
    assert!(matches!(wait(engine.take_payment(&paid("e3", "pi", "x"))).unwrap(), Taken::Before));
    assert_eq!(engine.wallet_of(&cell).balance, nano("11"));
    assert_eq!(engine.wallet_of(&cell).available, nano("11"));
    engine.close();
    weir_engine::audit::verify(dir.path()).unwrap();
}

#[test]
fn refunds_and_disputes_add_up_in_any_order_and_a_dispute_that_is_won_gives_back() {
    let facts = || {
        [
            PaymentFact::RefundedTo(nano("3")),
            disputed("d1", "5"),
            PaymentFact::RefundedTo(nano("7")),
            disputed("d2", "4"),
            PaymentFact::DisputeWon { dispute: "d1".into() },
        ]
    };
    let dir = tempfile::tempdir().unwrap();
    let engine = boot(dir.path(), START, None);
    // Every rotation and its reverse, the payment told at every place.
    for round in 0..60_usize {
        let cell = account(&engine, "payg", "0");
        let mut order: Vec<_> = facts().into_iter().collect();
        order.rotate_left(round % 5);
        if round / 5 % 2 == 1 {
            order.reverse();
        }
        let payment = format!("pi_{round}");
        let amount = nano("20");
        order.insert(
            round / 10,
            PaymentFact::Paid { account: cell.id.to_string(), amount, answers: None },
        );
        for (nth, what) in order.into_iter().enumerate() {
            let event = told(&format!("e{round}.{nth}"), &payment, what);
            wait(engine.take_payment(&event)).unwrap();
        }
        assert_eq!(engine.wallet_of(&cell).balance, nano("9"), "round {round}");
    }
    let cell = account(&engine, "payg", "0");
    let take = |id: &str, what| wait(engine.take_payment(&told(id, "pi", what))).unwrap();
    wait(engine.take_payment(&paid("a", "pi", &cell.id.to_string()))).unwrap();
    take("b", PaymentFact::RefundedTo(nano("12")));
    take("c", disputed("d", "20"));
    assert_eq!(engine.wallet_of(&cell).balance, nano("0"), "never more than was paid");
    take("d", PaymentFact::DisputeWon { dispute: "d".into() });
    assert_eq!(engine.wallet_of(&cell).balance, nano("8"));
    engine.close();
    weir_engine::audit::verify(dir.path()).unwrap();
}

#[test]
fn what_is_told_of_a_payment_that_never_comes_is_forgotten_in_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let engine = boot(dir.path(), START, None);
    let cell = account(&engine, "payg", "0");
    wait(engine.take_payment(&told("e", "pi", disputed("d", "5")))).unwrap();
    let count = |engine: &Engine| {
        let reader = engine.store_reader();
        reader.resources("payment_early", None, None, 10).unwrap().len()
    };
    crate::support::pass(&engine, 89 * 86_400);
    engine.sweep();
    assert_eq!(count(&engine), 1);
    crate::support::pass(&engine, 2 * 86_400);
    engine.sweep();
    // Whatever is committed now comes behind what the sweep committed.
    top_up(&engine, &cell, "1");
    assert_eq!(count(&engine), 0);
}

#[test]
fn an_effect_and_its_answer_are_one_commit() {
    let dir = tempfile::tempdir().unwrap();
    let engine = boot(dir.path(), START, None);
    let cell = account(&engine, "payg", "10");
    let id = cell.id;
    let key = key(&engine, &cell);
    call(&engine, &key, 6);
    let charge = cell.last_entry();
    let claim = |engine: &Engine, key: &str| wait(engine.claim(AccountId(0), key, b"f")).unwrap();
    let kept = |status| Kept { status, headers: Default::default(), body: None };
    let fresh = |claimed| match claimed {
        Claimed::Fresh(claim) => claim,
        other => panic!("{other:?}"),
    };
    let one = Answering::new(fresh(claim(&engine, "one")), move |_: &Posted| kept(201));
    wait(engine.post_credit_answering(&cell, &NewCredit::paid(nano("5"), "t"), Some(one))).unwrap();
    let two = Answering::new(fresh(claim(&engine, "two")), move |_: &Posted| kept(202));
    let refund = NewRefund { charge, amount: Some(nano("1")), reason: "r" };
    wait(engine.refund_answering(&cell, refund, Some(two))).unwrap();
    let three = Answering::new(fresh(claim(&engine, "three")), move |_: &HoldView| kept(203));
    let hold = NewHold { amount: nano("2"), expires_in: Span::from_secs(60), reference: "r" };
    wait(engine.create_hold_answering(&cell, hold, Some(three))).unwrap();
    // The process dies before anybody could keep an answer behind the effect.
    drop((engine, cell, key));
    let engine = boot(dir.path(), START, None);
    for (key, status) in [("one", 201), ("two", 202), ("three", 203)] {
        let Claimed::Done(found) = claim(&engine, key) else { panic!("{key} takes effect twice") };
        assert_eq!(found, kept(status));
    }
    let view = engine.wallet_of(&engine.account(id).unwrap());
    assert_eq!((view.balance, view.held), (nano("10"), nano("2")));
}

#[test]
fn a_charge_is_refunded_at_most_once_in_parts_or_whole() {
    let dir = tempfile::tempdir().unwrap();
    let engine = boot(dir.path(), START, None);
    let cell = account(&engine, "payg", "10");
    let key = key(&engine, &cell);
    call(&engine, &key, 6);
    let charge = cell.last_entry();
    wait(engine.refund(&cell, charge, Some(nano("2")), "sorry")).unwrap();
    assert!(wait(engine.refund(&cell, charge, Some(nano("4.1")), "too much")).is_err());
    let rest = wait(engine.refund(&cell, charge, None, "all of it")).unwrap();
    assert_eq!((rest.balance, rest.available), (nano("10"), nano("10")));
    assert!(wait(engine.refund(&cell, charge, None, "again")).is_err());
    assert!(wait(engine.refund(&cell, Seq(1), None, "a top-up")).is_err());
    let other = account(&engine, "payg", "1");
    assert!(wait(engine.refund(&other, charge, None, "not theirs")).is_err());
    call(&engine, &key, 10);
    engine.close();
    weir_engine::audit::verify(dir.path()).unwrap();
}

#[test]
fn a_statement_equals_the_ledger_of_its_month() {
    let dir = tempfile::tempdir().unwrap();
    let engine = boot(dir.path(), START, None);
    let cell = account(&engine, "payg", "100");
    let key = key(&engine, &cell);
    call(&engine, &key, 6);
    let (start, end) = (Period::Month.start(START), Period::Month.end(START));
    engine.clock().set(end);
    call(&engine, &key, 7);
    call(&engine, &key, 8);
    top_up(&engine, &cell, "5");
    let april = (end, Period::Month.end(end));
    engine.clock().set(april.1);
    call(&engine, &key, 1);
    let statement = wait(engine.statement(cell.id, april.0, april.1)).unwrap();
    assert_eq!((statement.opening, statement.closing), (nano("94"), nano("84")));
    assert_eq!(statement.entries, 3);
    assert_eq!(statement.by_kind[&EntryKind::Charge], nano("-15"));
    assert_eq!(statement.lines.len(), 1);
    let line = statement.lines.values().next().unwrap();
    assert_eq!((line.charges, line.amount), (2, nano("15")));
    let sum = statement.by_kind.values().copied().sum::<weir_core::money::Nano>();
    assert_eq!(statement.opening + sum, statement.closing);
    let march = wait(engine.statement(cell.id, start, end)).unwrap();
    assert_eq!((march.opening, march.closing), (nano("0"), nano("94")));
}

#[test]
fn many_tiny_charges_add_up_exactly() {
    let dir = tempfile::tempdir().unwrap();
    let policy = crate::support::policy(&[("m", "0.0000132")], &[]);
    let engine = crate::support::boot_with(dir.path(), START, None, policy);
    let cell = account(&engine, "payg", "100");
    let key = key(&engine, &cell);
    let count = std::env::var("WEIR_TINY_CHARGES").ok().and_then(|text| text.parse().ok());
    let count: i64 = count.unwrap_or(20_000);
    for index in 0..count {
        let commit = crate::support::settle(crate::support::granted(&engine, &key, 1), 1).commit;
        if index % 4_000 == 3_999 {
            commit.unwrap().wait().unwrap();
        }
    }
    let spent = nano("100") - engine.wallet_of(&cell).balance;
    assert_eq!(spent.get(), 13_200 * count);
    engine.close();
    assert_eq!(
        weir_engine::audit::verify(dir.path()).unwrap().entries,
        u64::try_from(count).unwrap() + 1
    );
}

#[test]
fn a_contract_prices_the_next_call_while_it_is_in_force() {
    let dir = tempfile::tempdir().unwrap();
    let engine = boot(dir.path(), START, None);
    let cell = account(&engine, "payg", "100");
    let key = key(&engine, &cell);
    let put = |contract: serde_json::Value| {
        wait(engine.change_account(cell.id, None, |record| {
            record.contract = Some(contract);
            Ok(())
        }))
    };
    let end = START.plus(weir_core::time::Span::from_secs(3_600)).micros();
    let begun = crate::support::granted(&engine, &key, 10);
    let tiers = serde_json::json!({"tiers": [{"up_to": "5", "amount": "0.5"}, {"amount": "0.1"}]});
    put(serde_json::json!({
        "prices": {"m": {"output_tokens": tiers}}, "until_us": end, "credit_line": "7",
    }))
    .unwrap();
    assert_eq!(engine.wallet_of(&cell).credit_line, nano("7"));
    crate::support::settle(begun, 10).commit.unwrap().wait().unwrap();
    assert_eq!(engine.wallet_of(&cell).balance, nano("90"), "by the price of its admission");
    // The 10 before count towards the tiers.
    call(&engine, &key, 10);
    assert_eq!(engine.wallet_of(&cell).balance, nano("89"));
    put(serde_json::json!({"multiplier": "0.5", "until_us": end})).unwrap();
    call(&engine, &key, 10);
    assert_eq!(engine.wallet_of(&cell).balance, nano("84"));
    let id = cell.id;
    drop((engine, cell, key));
    let engine = boot(dir.path(), START, None);
    let cell = engine.account(id).unwrap();
    let key = engine.keys_of(&cell).remove(0);
    call(&engine, &key, 10);
    assert_eq!(engine.wallet_of(&cell).balance, nano("79"), "after a restart");
    crate::support::pass(&engine, 3_600);
    call(&engine, &key, 10);
    assert_eq!(engine.wallet_of(&cell).balance, nano("69"), "the contract is over");
}

#[test]
fn a_contract_that_makes_no_sense_is_refused_by_its_member() {
    let dir = tempfile::tempdir().unwrap();
    let engine = boot(dir.path(), START, None);
    let cell = account(&engine, "payg", "1");
    let check = |contract: serde_json::Value, member: &str| {
        let change = wait(engine.change_account(cell.id, None, |record| {
            record.contract = Some(contract);
            Ok(())
        }));
        let error = change.unwrap_err().to_string();
        assert!(error.contains(member), "{error}");
    };
    check(serde_json::json!({"prizes": {}}), "prizes");
    check(serde_json::json!({"multiplier": "-1"}), "contract.multiplier");
    check(serde_json::json!({"multiplier": "0.9999999"}), "contract.multiplier");
    check(serde_json::json!({"prices": {"m": {"tokens": "1"}}}), "contract.prices.m.tokens");
    check(serde_json::json!({"prices": {"m": {"request": 1}}}), "contract.prices.m.request");
    check(serde_json::json!({"from_us": 5, "until_us": 5}), "contract.until");
    check(serde_json::json!({"credit_line": "-1"}), "contract.credit_line");
}
