//! Contracts through the binary: commitments, own prices, a credit line.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use weir_core::price::{Commitment, Period};
use weir_core::time::{Span, Timestamp};

use crate::seed::paying;
use crate::server::Weir;
use crate::support::{Mock, PATIENCE, within};

const CONFIG: &str = r#"
[upstreams.mock]
urls = ["http://UPSTREAM"]
[plans.payg]
billing = "wallet"
[[routes]]
match = "PUT /clusters/*"
upstream = "mock"
price = "call"
[prices.call]
request = "0.01"
"#;

fn start(credit: &'static str) -> (Mock, Weir, String) {
    let mock = Mock::start();
    let config = CONFIG.replace("UPSTREAM", &mock.address.to_string());
    let weir = Weir::start(&config, &[paying("payg", credit)]);
    let all = weir.admin("GET", "/admin/v1/accounts", "").json();
    let at = format!("/admin/v1/accounts/{}", all["data"][0]["id"].as_str().expect("an account"));
    (mock, weir, at)
}

#[track_caller]
fn contract(weir: &Weir, at: &str, terms: &Value) {
    let changed = weir.admin("PATCH", at, &json!({ "contract": terms }).to_string());
    assert_eq!(changed.status, 200, "{}", changed.text());
}

fn now() -> Timestamp {
    let passed = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    Timestamp::from_micros(i64::try_from(passed.as_micros()).expect("before the end of time"))
}

fn rfc3339(at: Timestamp) -> String {
    jiff::Timestamp::from_microsecond(at.micros()).expect("a time").to_string()
}

#[test]
fn a_month_that_ends_while_the_process_is_down_is_settled_once_at_the_next_start() {
    let (_mock, mut weir, at) = start("100000");
    let from = Period::Month.start(now());
    let until = now().plus(Span::from_secs(6));
    let monthly = "1000".parse().expect("money");
    let period = Commitment { monthly, since: from, until: Some(until) }.period().expect("runs");
    let terms = json!({"commitment": "1000", "from": rfc3339(from), "until": rfc3339(until)});
    contract(&weir, &at, &terms);
    assert_eq!(weir.call(0, "PUT", "/clusters/a", "{}").header("x-weir-charge"), Some("0.01"));
    let shown = weir.call(0, "GET", "/weir/v1/wallet", "").json()["commitment"].clone();
    let cent = "0.01".parse().expect("money");
    let short = period.amount - cent;
    let expected = json!({
        "amount": period.amount.to_string(), "spent": "0.01", "short": short.to_string(),
        "from": rfc3339(from), "until": rfc3339(until),
    });
    assert_eq!(shown, expected);
    weir.process.kill_now();
    within(Duration::from_secs(60), "the period is over", || now() > until);
    weir.kill_and_restart();
    let entries = |weir: &Weir| weir.admin("GET", &format!("{at}/wallet/entries"), "").json();
    within(PATIENCE, "it is settled", || {
        entries(&weir)["data"][0]["kind"] == "charge"
            && entries(&weir)["data"][0]["call"]["route"] == "commitment"
    });
    let booked = entries(&weir)["data"][0].clone();
    assert_eq!(booked["amount"], format!("-{short}"), "{booked}");
    assert_eq!(booked["reference"], format!("commitment:{}", &rfc3339(from)[..7]));
    let note = booked["note"].as_str().expect("a reason").to_owned();
    assert!(note.starts_with("0.01 was charged in "), "{note}");
    weir.kill_and_restart();
    // A second call: what is settled each second had its turn.
    assert_eq!(weir.call(0, "PUT", "/clusters/a", "{}").status, 200);
    let month = entries(&weir)["data"][0]["at"].as_str().expect("a time")[..7].to_owned();
    let statement = weir.admin("GET", &format!("{at}/statements/{month}"), "").json();
    let lines = statement["lines"].as_array().expect("lines").clone();
    let of_commitment: Vec<_> = lines.iter().filter(|line| line["price"] == "commitment").collect();
    assert_eq!(of_commitment.len(), 1, "{statement}");
    assert_eq!(of_commitment[0]["charges"], 1, "{statement}");
    assert_eq!(of_commitment[0]["amount"], short.to_string(), "{statement}");
    assert_eq!(weir.call(0, "GET", "/weir/v1/wallet", "").json()["commitment"], Value::Null);
    let left = "99999.98".parse::<weir_core::money::Nano>().expect("money") - short;
    assert_eq!(weir.stop_and_read().last().map(|entry| entry.balance), Some(left));
}

#[test]
fn own_prices_and_a_credit_line_hold_while_the_contract_is_in_force() {
    let (mock, weir, at) = start("0.02");
    let call = || weir.call(0, "PUT", "/clusters/a", "{}");
    contract(&weir, &at, &json!({"prices": {"call": {"request": "0.02"}}, "credit_line": "0.05"}));
    let first = call();
    assert_eq!(first.header("x-weir-charge"), Some("0.02"), "its own price, not the list's");
    assert_eq!(first.header("x-wallet-available"), Some("0.05"), "balance 0 and the credit line");
    assert_eq!(call().header("x-wallet-available"), Some("0.03"));
    assert_eq!(call().header("x-wallet-available"), Some("0.01"));
    let reached = mock.stats()["requests"].clone();
    let refused = call();
    assert_eq!((refused.status, refused.code().as_str()), (402, "insufficient_credits"));
    assert_eq!(mock.stats()["requests"], reached, "it did not reach the upstream");
    let wallet = weir.call(0, "GET", "/weir/v1/wallet", "").json();
    assert_eq!((&wallet["balance"], &wallet["credit_line"]), (&json!("-0.04"), &json!("0.05")));
    contract(&weir, &at, &Value::Null);
    let wallet = weir.call(0, "GET", "/weir/v1/wallet", "").json();
    assert_eq!((&wallet["available"], &wallet["credit_line"]), (&json!("-0.04"), &json!("0.00")));
    let body = json!({"amount": "0.05"}).to_string();
    assert_eq!(weir.admin("POST", &format!("{at}/wallet/top-ups"), &body).status, 201);
    assert_eq!(call().header("x-weir-charge"), Some("0.01"), "the list price again");
}
