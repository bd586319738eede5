//! What the wallet promises under concurrency: no admission beyond it, no false refusal, each
//! charge by the prices it was admitted under, each payment once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use weir_core::ledger::EntryKind;
use weir_core::money::Nano;

use crate::limits::reached;
use crate::priced::Shop;
use crate::seed::paying;
use crate::server::{ADMIN_KEY, JSON, Weir};
use crate::support::{Mock, eventually};
use crate::wallet::config;
use crate::wire::Line;

fn account(weir: &Weir) -> String {
    let all = weir.admin("GET", "/admin/v1/accounts", "").json();
    format!("/admin/v1/accounts/{}", all["data"][0]["id"].as_str().expect("an account"))
}

fn wallet(weir: &Weir) -> Value {
    weir.call(0, "GET", "/weir/v1/wallet", "").json()
}

fn nano(text: &str) -> Nano {
    text.parse().expect("money")
}

#[test]
fn calls_by_tokens_over_256_connections_never_go_beyond_balance_and_credit_line() {
    let mock = Mock::start();
    let mut weir = Weir::start(&config(&mock), &[paying("payg", "2.00")]);
    let line =
        weir.admin("PATCH", &format!("{}/wallet", account(&weir)), r#"{"credit_line":"0.50"}"#);
    assert_eq!(line.status, 200, "{}", line.text());
    // Each holds 0.10 and uses all of it: 25 are covered.
    let chat =
        r#"{"model":"llama-3-8b","max_tokens":100,"messages":[{"role":"user","content":"Hi"}]}"#;
    let bearer = weir.bearer(0);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let call = || {
            let headers = [&*bearer, JSON, "x-mock-tokens: 100", "x-mock-delay-ms: 300"];
            let mut line = weir.line();
            [(); 2].map(|()| line.call("POST", "/ai/chat", &headers, chat).status)
        };
        let clients: Vec<_> = (0..256).map(|_| scope.spawn(call)).collect();
        clients.into_iter().flat_map(|client| client.join().expect("no panic")).collect()
    });
    let passed = statuses.iter().filter(|status| **status == 200).count();
    let refused = statuses.iter().filter(|status| **status == 402).count();
    assert_eq!((passed, refused), (25, 512 - 25));
    assert_eq!(reached(&mock, "/ai/chat"), 25);
    eventually("nothing is held", || wallet(&weir)["held"] == "0.00");
    assert_eq!(wallet(&weir)["balance"], "-0.50");
    let entries = weir.stop_and_read();
    assert!(entries.iter().all(|entry| entry.kind != EntryKind::Debt), "nothing became debt");
}

/// Streams of 200 tokens, each with a bound of 4,000, on a balance for ten of them: how many run to
/// their end, and how many are refused or stopped.
fn streams_at_once(at_once: usize) -> (usize, usize) {
    let mock = Mock::start();
    let mut weir = Weir::start(&config(&mock), &[paying("payg", "2.00")]);
    let bearer = weir.bearer(0);
    let body = r#"{"model":"llama-3-8b","stream":true,"max_tokens":4000,"messages":[{"role":"user","content":"Hi"}]}"#;
    let whole: usize = std::thread::scope(|scope| {
        let call = || {
            let knobs = [
                &*bearer,
                JSON,
                "x-mock-tokens: 200",
                "x-mock-usage: every-chunk",
                "x-mock-chunk-delay-ms: 2",
                "connection: close",
            ];
            let answer = weir.line().call("POST", "/ai/chat", &knobs, body);
            assert!(matches!(answer.status, 200 | 402), "{answer:?}");
            let text = answer.text();
            usize::from(answer.status == 200 && !text.contains("insufficient_credits"))
        };
        let clients: Vec<_> = (0..at_once).map(|_| scope.spawn(call)).collect();
        clients.into_iter().map(|client| client.join().expect("no panic")).sum()
    });
    eventually("nothing is held", || wallet(&weir)["held"] == "0.00");
    let entries = weir.stop_and_read();
    let balance = entries.last().map(|entry| entry.balance).expect("entries");
    assert!(!balance.is_negative(), "{balance}");
    (whole, at_once - whole)
}

#[test]
fn concurrent_streams_far_below_their_bound_are_not_falsely_refused() {
    let half = streams_at_once(5);
    println!("false refusals of streams at once: {} of 5 on a balance for 10", half.1);
    let all = streams_at_once(10);
    println!("false refusals of streams at once: {} of 10 on a balance for 10", all.1);
    assert_eq!((half, all), ((5, 0), (10, 0)));
}

#[test]
fn prices_reloaded_under_load_charge_each_call_by_the_policy_it_was_admitted_under() {
    let mock = Mock::start();
    let mut weir = Weir::start(&config(&mock), &[paying("payg", "100000")]);
    let stop = AtomicBool::new(false);
    let number = |weir: &Weir| {
        let shown = weir.admin("GET", "/admin/v1/config", "").json();
        shown["policy"].as_u64().expect("a number")
    };
    let mut prices = BTreeMap::from([(number(&weir), nano("0.01"))]);
    let text = std::fs::read_to_string(weir.config_path()).expect("the file");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut line = weir.line();
                while !stop.load(Ordering::Relaxed) {
                    let answer = line.call("PUT", "/clusters/a", &[&weir.bearer(0), JSON], "{}");
                    assert_eq!(answer.status, 200, "{}", answer.text());
                }
            });
        }
        for round in 1..=40 {
            let price = format!("0.{:03}", 10 + round);
            let fresh = weir.config_path().with_extension("fresh");
            let changed = text.replace("request = \"0.01\"", &format!("request = \"{price}\""));
            std::fs::write(&fresh, changed).expect("written");
            std::fs::rename(&fresh, weir.config_path()).expect("renamed");
            assert_eq!(weir.admin("POST", "/admin/v1/config/reload", "").status, 200);
            // The file is watched too: whichever was first, all numbers since then have this price.
            let last = *prices.keys().next_back().expect("one");
            prices.extend((last + 1..=number(&weir)).map(|number| (number, nano(&price))));
        }
        stop.store(true, Ordering::Relaxed);
    });
    let told = nano(wallet(&weir)["balance"].as_str().expect("money"));
    let entries = weir.stop_and_read();
    let charges: Vec<_> = entries.iter().filter(|entry| entry.kind == EntryKind::Charge).collect();
    let mut policies = std::collections::BTreeSet::new();
    let mut spent = Nano::ZERO;
    for entry in &charges {
        assert_eq!(-entry.amount, prices[&u64::from(entry.policy.0)], "{entry:?}");
        policies.insert(entry.policy.0);
        spent += prices[&u64::from(entry.policy.0)];
    }
    println!("{} charges under {} policies, {spent} in all", charges.len(), policies.len());
    assert!(policies.len() > 5, "the prices changed while calls were made: {policies:?}");
    assert_eq!(told, nano("100000") - spent);
}

/// HMAC-SHA-256 (RFC 2104), for keys of at most 64 bytes.
fn hmac(key: &[u8], message: &[u8]) -> String {
    let pad = |byte: u8| {
        let mut block = [byte; 64];
        block.iter_mut().zip(key).for_each(|(pad, key)| *pad ^= key);
        block
    };
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(message).finalize();
    hex::encode(Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize())
}

/// Tells an event as Stripe does; the status and the outcome.
fn tell(weir: &Weir, event: &Value) -> (u16, Value) {
    let body = event.to_string();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.expect("after 1970").as_secs();
    let signature = hmac(SECRET.as_bytes(), format!("{now}.{body}").as_bytes());
    let header = format!("stripe-signature: t={now},v1={signature}");
    let answer =
        Line::open(weir.admin).call("POST", "/admin/v1/payments/stripe", &[&header, JSON], &body);
    (answer.status, answer.json())
}

#[test]
fn stripe_payments_count_once_five_at_once_after_a_kill_and_with_the_refund_first() {
    let mock = Mock::start();
    let billing = format!("[billing]\nstripe_webhook_secret = \"{SECRET}\"\n{}", config(&mock));
    let mut weir = Weir::start(&billing, &[paying("payg", "1.00")]);
    let id = account(&weir).rsplit('/').next().expect("an id").to_owned();
    let paid = |event: &str, payment: &str| {
        json!({"id": event, "type": "payment_intent.succeeded", "data": {"object": {
            "id": payment, "object": "payment_intent", "amount": 2500, "amount_received": 2500,
            "currency": "usd", "metadata": {"weir_account": id}}}})
    };
    let first = paid("evt_1", "pi_1");
    std::thread::scope(|scope| {
        for _ in 0..5 {
            scope.spawn(|| assert_eq!(tell(&weir, &first).0, 200));
        }
    });
    assert_eq!(wallet(&weir)["balance"], "26.00");
    weir.kill_and_restart();
    assert_eq!(tell(&weir, &first).0, 200);
    assert_eq!(tell(&weir, &paid("evt_2", "pi_1")).0, 200, "another event of the same payment");
    assert_eq!(wallet(&weir)["balance"], "26.00");
    // What is refunded is told before what was paid.
    let refund = json!({"id": "evt_3", "type": "charge.refunded", "data": {"object": {
        "id": "ch_2", "object": "charge", "payment_intent": "pi_2", "amount": 2500,
        "amount_refunded": 1000, "currency": "usd", "metadata": {}}}});
    let (status, kept) = tell(&weir, &refund);
    assert_eq!((status, &kept["outcome"]), (200, &json!("kept")), "{kept}");
    weir.kill_and_restart();
    assert_eq!(tell(&weir, &paid("evt_4", "pi_2")).0, 200);
    assert_eq!(tell(&weir, &refund).0, 200);
    assert_eq!(wallet(&weir)["balance"], "41.00");
    let forged = Line::open(weir.admin).call(
        "POST",
        "/admin/v1/payments/stripe",
        &["stripe-signature: t=1,v1=00", JSON],
        &first.to_string(),
    );
    assert_eq!(forged.status, 400, "{}", forged.text());
    assert_eq!(weir.stop_and_read().last().map(|entry| entry.balance), Some(nano("41")));
}

#[test]
fn an_automatic_top_up_is_asked_for_once_and_its_answer_unblocks_after_a_kill() {
    let mock = Mock::start();
    let mut weir = Weir::start(&config(&mock), &[paying("payg", "0.02")]);
    let at = format!("{}/wallet", account(&weir));
    let rule = r#"{"auto_top_up":{"threshold":"0.01","amount":"1.00"}}"#;
    assert_eq!(weir.admin("PATCH", &at, rule).status, 200);
    let call = |weir: &Weir| weir.call(0, "PUT", "/clusters/a", "{}").status;
    assert_eq!((call(&weir), call(&weir), call(&weir)), (200, 200, 402));
    eventually("it is asked for", || wallet(&weir)["auto_top_up_pending"].is_object());
    let reference = wallet(&weir)["auto_top_up_pending"]["reference"].clone();
    weir.kill_and_restart();
    assert_eq!(wallet(&weir)["auto_top_up_pending"]["reference"], reference, "still that one");
    let body = json!({"amount": "1.00", "reference": reference}).to_string();
    let bearer = format!("authorization: Bearer {ADMIN_KEY}");
    let answer = |weir: &Weir| {
        let target = format!("{at}/top-ups");
        Line::open(weir.admin).call("POST", &target, &[&bearer, JSON], &body).status
    };
    assert_eq!(answer(&weir), 201);
    assert_eq!(call(&weir), 200, "unblocked at once");
    assert_eq!(answer(&weir), 400, "each reference once");
    assert_eq!(wallet(&weir)["balance"], "0.99");
}

const SECRET: &str = "whsec_only-for-this-test";

#[test]
fn a_bound_that_the_endpoint_does_not_know_is_none_to_hold_by() {
    let shop = Shop::open("0.05");
    for (path, foreign) in [
        ("/v1/chat/completions", "max_output_tokens"),
        ("/v1/responses", "max_tokens"),
        ("/v1/messages", "max_completion_tokens"),
    ] {
        // The upstream passes it over, and would produce whatever it likes.
        let body = format!(r#"{{"model":"m","{foreign}":1,"messages":[],"input":"Hi"}}"#);
        let refused = shop.weir.call(0, "POST", path, &body);
        assert_eq!(refused.status, 402, "{path}: {}", refused.text());
        let asked = refused.text().contains("must hold 0.10 USD");
        assert!(asked, "{path}: what the route holds: {}", refused.text());
        assert_eq!(reached(&shop.mock, path), 0);
    }
    assert_eq!(shop.available(), 50);
}

#[test]
fn a_text_that_is_made_to_look_like_a_picture_is_held_for_as_a_text() {
    let shop = Shop::open("0.05");
    for body in [
        r#"{"model":"m","prompt":"Hi","size":"1024x1024"}"#,
        r#"{"model":"m","input":"Hi","voice":"alloy"}"#,
        r#"{"model":"m","input":"Hi","dimensions":3}"#,
    ] {
        let refused = shop.weir.call(0, "POST", "/ai/write", body);
        assert_eq!(refused.status, 402, "{body}: {}", refused.text());
        assert!(refused.text().contains("must hold 0.10 USD"), "{body}: {}", refused.text());
    }
    assert_eq!(shop.available(), 50);
}
