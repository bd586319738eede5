//! The wallet: calls go out as long as it covers them, and it pays for each of them once.

use weir_core::ledger::EntryKind;
use weir_core::money::Nano;

use crate::limits::{reached, storm};
use crate::seed::paying;
use crate::server::{JSON, Weir};
use crate::support::{Mock, eventually};

/// Routes of a fixed price and of one by tokens, in front of a mock.
pub(crate) fn config(mock: &Mock) -> String {
    PRICED.replace("UPSTREAM", &mock.address.to_string())
}

const PRICED: &str = r#"
[upstreams.mock]
urls = ["http://UPSTREAM"]
[plans.payg]
billing = "wallet"
[[routes]]
match = "POST /clusters/*"
upstream = "mock"
price = "call"
[[routes]]
match = "PUT /clusters/*"
upstream = "mock"
price = "call"
[[routes]]
match = "POST /ai/chat"
upstream = "mock"
class = "ai"
usage = "openai"
price = "model"
hold_output_tokens = 100
[[routes]]
match = "GET /clusters/*"
upstream = "mock"
price = "free"
[prices.call]
request = "0.01"
[prices."llama-3-8b"]
output_tokens = "1.00/1k"
"#;

/// What is available, as the headers of a free call tell.
pub(crate) fn available(weir: &Weir) -> String {
    let answer = weir.call(0, "GET", "/clusters/x", "");
    answer.header("x-wallet-available").unwrap_or_default().to_owned()
}

#[test]
fn a_wallet_pays_for_exactly_500_calls_from_64_connections() {
    let mock = Mock::start();
    let mut weir = Weir::start(&config(&mock), &[paying("payg", "5.00")]);
    let bearer = weir.bearer(0);
    let put = ("PUT", "/clusters/a", "{}");
    let [passed, refused] = storm(weir.data, &[&bearer, JSON], put, 900, [200, 402]);
    assert_eq!((passed, refused), (500, 400));
    assert_eq!(reached(&mock, "/clusters/a"), 500);
    assert_eq!(available(&weir), "0.00");
    let refused = weir.call(0, "PUT", "/clusters/a", "{}");
    assert_eq!((refused.status, refused.code().as_str()), (402, "insufficient_credits"));
    let told = refused.json();
    assert_eq!((&told["required"], &told["available"]), (&"0.01".into(), &"0.00".into()));
    assert_eq!(told["currency"], "USD");
    assert!(told["detail"].as_str().unwrap().contains("0.01 USD"), "{told}");
    let entries = weir.stop_and_read();
    let charges: Vec<_> = entries.iter().filter(|entry| entry.kind == EntryKind::Charge).collect();
    assert_eq!(charges.len(), 500);
    assert!(charges.iter().all(|entry| entry.amount == "-0.01".parse().expect("an amount")));
    assert_eq!(entries.last().map(|entry| entry.balance), Some(Nano::ZERO));
}

#[test]
fn a_wallet_plan_never_answers_429() {
    let mock = Mock::start();
    let weir = Weir::start(&config(&mock), &[paying("payg", "50")]);
    let bearer = weir.bearer(0);
    let put = ("PUT", "/clusters/a", "{}");
    assert_eq!(storm(weir.data, &[&bearer, JSON], put, 3_000, [200]), [3_000]);
    let answer = weir.call(0, "PUT", "/clusters/a", "{}");
    assert_eq!(answer.header("x-ratelimit-unlimited"), Some("true"), "{}", answer.head);
}

#[test]
fn calls_priced_by_tokens_are_admitted_only_as_far_as_their_holds_fit() {
    let mock = Mock::start();
    // Each call holds 0.10 for 100 tokens: of 64 at once, 20 fit; each then costs 0.05.
    let weir = Weir::start(&config(&mock), &[paying("payg", "2.00")]);
    let bearer = weir.bearer(0);
    let chat =
        r#"{"model":"llama-3-8b","max_tokens":100,"messages":[{"role":"user","content":"Hi"}]}"#;
    let slow = [&*bearer, JSON, "x-mock-tokens: 50", "x-mock-delay-ms: 3000"];
    let [passed, refused] = storm(weir.data, &slow, ("POST", "/ai/chat", chat), 64, [200, 402]);
    assert_eq!((passed, refused), (20, 44));
    assert_eq!(reached(&mock, "/ai/chat"), 20);
    eventually("nothing is held", || available(&weir) == "1.00");
    // What is left is spent to where the next hold no longer fits: 0.10 held, 0.05 paid.
    let quick = [&*bearer, JSON, "x-mock-tokens: 50"];
    let [passed, refused] = storm(weir.data, &quick, ("POST", "/ai/chat", chat), 300, [200, 402]);
    assert_eq!(passed + refused, 300);
    eventually("the rest does not cover a hold", || {
        let answer = weir.line().call("POST", "/ai/chat", &quick, chat);
        assert!(matches!(answer.status, 200 | 402), "{answer:?}");
        answer.status == 402
    });
    assert_eq!(available(&weir), "0.05");
    let reached = reached(&mock, "/ai/chat");
    assert_eq!(reached, 39, "1.95 paid, 0.05 each");
}

#[test]
fn a_call_that_the_running_ones_crowd_out_may_come_again() {
    let mock = Mock::start();
    let weir = Weir::start(&config(&mock), &[paying("payg", "0.10")]);
    let bearer = weir.bearer(0);
    let chat =
        r#"{"model":"llama-3-8b","max_tokens":100,"messages":[{"role":"user","content":"Hi"}]}"#;
    std::thread::scope(|scope| {
        let first = scope.spawn(|| {
            let knobs = [&*bearer, JSON, "x-mock-delay-ms: 2000", "x-mock-tokens: 10"];
            weir.line().call("POST", "/ai/chat", &knobs, chat).status
        });
        eventually("the first call is under way", || reached(&mock, "/ai/chat") == 1);
        let second = weir.call(0, "POST", "/ai/chat", chat);
        assert_eq!((second.status, second.code().as_str()), (402, "in_flight_budget_exhausted"));
        assert_eq!(second.header("retry-after"), Some("1"));
        assert_eq!(second.header("x-should-retry"), Some("true"));
        assert_eq!(first.join().expect("no panic"), 200);
    });
}
