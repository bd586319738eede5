//! Billing through the binary: tiers at their boundaries, own prices, what customers see, work that
//! ends later, refunds and statements, and repeats after a kill.

use serde_json::{Value, json};

use crate::seed::paying;
use crate::server::{ADMIN_KEY, JSON, Weir};
use crate::support::Mock;
use crate::wire::{Answer, Line};

const TIERS: &str = r#"
[server]
support_url = "https://example.com/support"
[billing]
top_up_url = "https://example.com/top-up"
[upstreams.mock]
urls = ["http://UPSTREAM"]
[plans.payg]
billing = "wallet"
[[routes]]
match = "POST /grad/v1/chat/completions"
upstream = "mock"
usage = "openai"
price = "grad"
[[routes]]
match = "POST /vol/v1/chat/completions"
upstream = "mock"
usage = "openai"
price = "vol"
[[routes]]
match = "PUT /clusters/*"
upstream = "mock"
price = "call"
[prices.call]
request = "0.01"
[prices.gpu]
second = "0.0005"
[prices.grad.output_tokens]
per = "1k"
mode = "graduated"
tiers = [{ up_to = "1k", amount = "1.00" }, { amount = "0.50" }]
[prices.vol.output_tokens]
per = "1k"
mode = "volume"
tiers = [{ up_to = "1k", amount = "1.00" }, { amount = "0.50" }]
"#;

fn start(mock: &Mock, credit: &'static str) -> Weir {
    Weir::start(&TIERS.replace("UPSTREAM", &mock.address.to_string()), &[paying("payg", credit)])
}

/// What a call that produces so many tokens is charged.
#[track_caller]
fn charge(weir: &Weir, target: &str, tokens: u64) -> String {
    let body = format!(
        r#"{{"model":"m","max_tokens":{tokens},"messages":[{{"role":"user","content":"Hi"}}]}}"#
    );
    let produced = format!("x-mock-tokens: {tokens}");
    let answer = weir.line().call("POST", target, &[&weir.bearer(0), JSON, &produced], &body);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.header("x-weir-charge").expect("a charge").to_owned()
}

fn account(weir: &Weir) -> String {
    let all = weir.admin("GET", "/admin/v1/accounts", "").json();
    format!("/admin/v1/accounts/{}", all["data"][0]["id"].as_str().expect("an account"))
}

#[track_caller]
fn post(weir: &Weir, target: &str, body: &Value, status: u16) -> Value {
    let answer = weir.admin("POST", target, &body.to_string());
    assert_eq!(answer.status, status, "{}", answer.text());
    answer.json()
}

fn once(weir: &Weir, target: &str, key: &str, body: &Value) -> Answer {
    once_on(Line::open(weir.admin), target, key, body)
}

fn once_on(mut line: Line, target: &str, key: &str, body: &Value) -> Answer {
    let bearer = format!("authorization: Bearer {ADMIN_KEY}");
    let key = format!("idempotency-key: {key}");
    line.call("POST", target, &[&bearer, JSON, &key], &body.to_string())
}

#[test]
fn volume_and_graduated_tiers_are_right_at_their_boundaries_also_after_a_restart() {
    let mock = Mock::start();
    let mut weir = start(&mock, "100");
    let grad = "/grad/v1/chat/completions";
    let vol = "/vol/v1/chat/completions";
    assert_eq!(charge(&weir, grad, 999), "0.999");
    assert_eq!(charge(&weir, grad, 1), "0.001", "the last of its tier");
    weir.kill_and_restart();
    assert_eq!(charge(&weir, grad, 1), "0.0005", "the first of the next");
    assert_eq!(charge(&weir, vol, 900), "0.90");
    assert_eq!(charge(&weir, vol, 200), "0.10", "1,100 cost no less than 1,000 did");
    assert_eq!(charge(&weir, vol, 700), "0.00", "all 1,800 at 0.50; nothing is given back");
    assert_eq!(charge(&weir, vol, 200), "0.00", "2,000 at 0.50 are what was paid");
    assert_eq!(charge(&weir, vol, 2), "0.001");
    assert_eq!(weir.stop_and_read().last().map(|entry| entry.balance), "97.9985".parse().ok());
}

#[test]
fn customers_see_their_balance_their_prices_and_whom_to_ask() {
    let mock = Mock::start();
    let weir = start(&mock, "1.00");
    let account = account(&weir);
    let held = json!({"amount": "0.30", "expires_in": "1h", "reference": "job"});
    post(&weir, &format!("{account}/holds"), &held, 201);
    let put = weir.call(0, "PUT", "/clusters/a", "{}");
    assert_eq!(put.header("x-wallet-available"), Some("0.69"));
    let wallet = weir.call(0, "GET", "/weir/v1/wallet", "").json();
    let seen = (&wallet["balance"], &wallet["held"], &wallet["available"]);
    assert_eq!(seen, (&json!("0.99"), &json!("0.30"), &json!("0.69")));
    let operators = weir.admin("GET", &format!("{account}/wallet"), "").json();
    assert_eq!(operators["available"], "0.69");
    let terms = json!({"contract": {"multiplier": "0.5"}}).to_string();
    let changed = weir.admin("PATCH", &account, &terms);
    assert_eq!(changed.status, 200, "{}", changed.text());
    let prices = weir.call(0, "GET", "/weir/v1/prices", "").json();
    let prices = prices["data"].as_array().expect("a list").clone();
    let call = prices.iter().find(|price| price["name"] == "call").expect("the price");
    assert_eq!(call["rates"]["request"]["tiers"][0]["amount"], "0.005", "their own price");
    let list = weir.line().call("GET", "/weir/v1/prices", &[], "").json();
    assert!(list.to_string().contains("\"0.01\""), "the list price: {list}");
    assert_eq!(weir.call(0, "PUT", "/clusters/a", "{}").header("x-weir-charge"), Some("0.005"));
    let large = r#"{"model":"m","max_tokens":8000,"messages":[{"role":"user","content":"Hi"}]}"#;
    let refused = weir.call(0, "POST", "/grad/v1/chat/completions", large);
    assert_eq!((refused.status, refused.code().as_str()), (402, "insufficient_credits"));
    let told = refused.json();
    assert_eq!(told["support_url"], "https://example.com/support");
    assert_eq!(told["top_up_url"], "https://example.com/top-up");
    let page = told["type"].as_str().expect("a page");
    let page = weir.line().call("GET", page, &[], "");
    assert_eq!(page.status, 200);
    assert!(page.text().contains("https://example.com/support"), "{}", page.text());
}

#[test]
fn work_that_ends_later_refunds_and_statements_add_up_to_the_ledger() {
    let mock = Mock::start();
    let mut weir = start(&mock, "10.00");
    let at = account(&weir);
    let hold = json!({"amount": "2.00", "expires_in": "1h", "reference": "job-1"});
    let hold = post(&weir, &format!("{at}/holds"), &hold, 201);
    let hold = format!("/admin/v1/holds/{}", hold["id"].as_str().expect("an id"));
    weir.kill_and_restart();
    let settled = post(&weir, &format!("{hold}/settle"), &json!({"amount": "1.25"}), 200);
    let again = post(&weir, &format!("{hold}/settle"), &json!({"amount": "1.25"}), 200);
    assert_eq!(settled, again);
    assert_eq!(weir.admin("POST", &format!("{hold}/void"), "{}").status, 409);
    let event = json!({
        "specversion": "1.0", "type": "gpu", "source": "s", "id": "e-1",
        "subject": at.rsplit('/').next(), "data": {"price": "gpu", "usage": {"second": 3600}},
    });
    let batch = json!([event, event]);
    let taken = post(&weir, "/admin/v1/usage-events", &batch, 200);
    assert_eq!(taken["data"][0]["charge"], "1.80");
    assert_eq!(taken["data"][1]["status"], "known");
    weir.kill_and_restart();
    let taken = post(&weir, "/admin/v1/usage-events", &batch, 200);
    assert_eq!(taken["data"][0]["status"], "known");
    let back = json!({"entry_id": settled["entry_id"], "amount": "0.25", "reason": "late"});
    post(&weir, &format!("{at}/wallet/refunds"), &back, 201);
    let entries = weir.admin("GET", &format!("{at}/wallet/entries"), "").json();
    let month = entries["data"][0]["at"].as_str().expect("a time")[..7].to_owned();
    let statement = weir.admin("GET", &format!("{at}/statements/{month}"), "").json();
    assert_eq!(statement["closing"], "7.20", "{statement}");
    assert_eq!(statement["sums"]["charge"], "-3.05");
    assert_eq!(statement["sums"]["refund"], "0.25");
    let csv = weir.admin("GET", &format!("{at}/statements/{month}?format=csv"), "");
    assert!(csv.text().contains("closing"), "{}", csv.text());
    assert_eq!(weir.stop_and_read().last().map(|entry| entry.balance), "7.20".parse().ok());
}

#[test]
fn a_money_moving_post_repeated_after_a_kill_takes_effect_once() {
    let mock = Mock::start();
    let mut weir = start(&mock, "1.00");
    let at = account(&weir);
    let target = format!("{at}/wallet/top-ups");
    let rounds = std::env::var("WEIR_CRASH_ROUNDS").ok().and_then(|text| text.parse().ok());
    let rounds = rounds.unwrap_or(5_u64);
    for round in 0..rounds {
        let (key, body) = (format!("k{round}"), json!({"amount": "1"}));
        std::thread::scope(|scope| {
            let (weir, target, key, body) = (&weir, &target, &key, &body);
            let line = Line::open(weir.admin);
            let asked = scope.spawn(move || once_on(line, target, key, body).status);
            // It dies before, in, or after the request.
            std::thread::sleep(std::time::Duration::from_micros(700 * round));
            weir.process.kill_now();
            let status = asked.join().expect("no panic");
            assert!(matches!(status, 0 | 201), "{status}");
        });
        weir.kill_and_restart();
        let answer = once(&weir, &target, &key, &body);
        assert_eq!(answer.status, 201, "{}", answer.text());
        let again = once(&weir, &target, &key, &body);
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
        assert_eq!(again.text(), answer.text());
    }
    let total = i64::try_from(rounds).expect("few") + 1;
    let wallet = weir.admin("GET", &format!("{at}/wallet"), "").json();
    assert_eq!(wallet["balance"], format!("{total}.00"));
}
