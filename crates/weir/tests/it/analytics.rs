//! What an account used, over time and by every dimension, as its customer and its operator see it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::seed::paying;
use crate::server::{JSON, Weir};
use crate::support::{Mock, eventually};

const CONFIG: &str = r#"
[upstreams.mock]
urls = ["http://UPSTREAM"]
[plans.any]
billing = "wallet"
limits = { read = "8/hour", ai = "1000/hour" }
[prices.m]
output_tokens = "1.00/1k"
[[routes]]
match = "GET /clusters/*"
upstream = "mock"
price = "free"
[[routes]]
match = "POST /v1/chat/completions"
upstream = "mock"
class = "ai"
usage = "openai"
price = "m"
hold_output_tokens = 20
"#;

/// Requests, by the value of one dimension, of every interval together.
fn requests_by(usage: &Value, dimension: &str) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for row in usage["series"].as_array().expect("a series") {
        let value = row["group"][dimension].as_str().expect("a value of the dimension");
        *sums.entry(value.to_owned()).or_default() += row["requests"].as_u64().expect("a count");
    }
    sums
}

fn sums<const N: usize>(parts: [(&str, u64); N]) -> BTreeMap<String, u64> {
    parts.map(|(name, requests)| (name.to_owned(), requests)).into()
}

#[test]
fn usage_is_told_by_hour_and_day_and_by_every_dimension_and_adds_up() {
    let mock = Mock::start();
    let config = CONFIG.replace("UPSTREAM", &mock.address.to_string());
    let weir = Weir::start(&config, &[paying("any", "5.00")]);
    let account = weir.admin("GET", "/admin/v1/accounts", "").json()["data"][0]["id"].clone();
    let account = format!("/admin/v1/accounts/{}", account.as_str().expect("an id"));
    let first = weir.admin("GET", &format!("{account}/keys"), "").json()["data"][0]["id"].clone();
    let wish = r#"{"name":"second","type":"read_write"}"#;
    let second = weir.admin("POST", &format!("{account}/keys"), wish).json();
    let bearers = [
        weir.bearer(0),
        format!("authorization: Bearer {}", second["secret"].as_str().expect("a secret")),
    ];
    let get =
        |key: usize, target: &str| weir.line().call("GET", target, &[&bearers[key]], "").status;
    for (key, target, status) in [
        (0, "/clusters/a", 200),
        (0, "/clusters/b", 200),
        (0, "/clusters/a?x-mock-status=500", 500),
        (1, "/clusters/a", 200),
        (1, "/clusters/a", 200),
        (1, "/clusters/a", 200),
        (1, "/clusters/a", 200),
        (1, "/clusters/a", 200),
        (1, "/clusters/a", 429),
    ] {
        assert_eq!(get(key, target), status, "{target}");
    }
    let chat = r#"{"model":"m","max_tokens":20,"messages":[{"role":"user","content":"Hi"}]}"#;
    let mut answered = 0;
    for _ in 0..2 {
        let counts = ["x-mock-tokens: 10", "x-mock-input-tokens: 9", "x-mock-cached-tokens: 4"];
        let headers = [&[bearers[0].as_str(), JSON][..], &counts[..]].concat();
        let answer = weir.line().call("POST", "/v1/chat/completions", &headers, chat);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answered += answer.text().len();
    }

    let own = |query: &str| {
        let answer = weir.call(0, "GET", &format!("/weir/v1/usage?{query}"), "");
        assert_eq!(answer.status, 200, "{query}: {}", answer.text());
        answer.json()
    };
    eventually("all calls are in the usage", || own("")["totals"]["requests"] == 11);
    let (first, second) = (first.as_str().expect("an id"), second["id"].as_str().expect("an id"));
    let (read, ask) = ("GET /clusters/*", "POST /v1/chat/completions");
    for (dimension, expected) in [
        ("key", sums([(first, 5), (second, 6)])),
        ("route", sums([(read, 9), (ask, 2)])),
        ("class", sums([("read", 9), ("ai", 2)])),
        ("model", sums([("", 9), ("m", 2)])),
        ("status", sums([("200", 9), ("429", 1), ("500", 1)])),
    ] {
        for interval in ["hour", "day"] {
            let query = format!("interval={interval}&group_by={dimension}");
            let told = own(&query);
            assert_eq!(requests_by(&told, dimension), expected, "{query}");
            let totals = json!([
                told["totals"]["errors"],
                told["totals"]["limited"],
                told["totals"]["output_tokens"],
                told["totals"]["charged"]
            ]);
            assert_eq!(totals, json!([1, 1, 20, "0.02"]), "{query}");
            let input = (&told["totals"]["input_tokens"], &told["totals"]["cached_input_tokens"]);
            assert_eq!(input, (&json!(18), &json!(8)), "{query}");
            assert_eq!(told["totals"]["request_bytes"], 2 * chat.len(), "{query}");
            let seen = weir.admin("GET", &format!("{account}/usage?{query}"), "").json();
            assert_eq!(seen["totals"], told["totals"], "the operator sees the same");
        }
    }
    let by_class = own("interval=day&group_by=class");
    let ai = by_class["series"].as_array().expect("a series").iter();
    let ai = ai.filter(|row| row["group"]["class"] == "ai").map(|row| &row["response_bytes"]);
    assert_eq!(ai.map(|bytes| bytes.as_u64().expect("a count")).sum::<u64>(), answered as u64);
    assert_eq!(own("interval=day")["totals"], by_class["totals"], "with and without groups");
    let both = own("interval=day&group_by=key,class");
    let rows = both["series"].as_array().expect("a series");
    let ai: Vec<_> = rows.iter().filter(|row| row["group"]["class"] == "ai").collect();
    assert!(ai.iter().all(|row| row["group"]["key"] == first), "{both}");

    let told = weir.call(0, "GET", "/weir/v1/usage/summary", "").json();
    // Eleven calls within a minute, or divided by the turn of one.
    let peak = told["peak"]["requests"].as_u64().expect("a peak");
    assert!((6..=11).contains(&peak), "{told}");
    assert_eq!(told["average_requests_per_hour"], 11, "{told}");
    let top = &told["top"];
    assert_eq!(top["keys"][0], json!({"name": first, "requests": 5, "charged": "0.02"}));
    assert_eq!((&top["keys"][1]["name"], &top["keys"][1]["requests"]), (&json!(second), &json!(6)));
    assert_eq!((&top["models"][0]["name"], &top["routes"][0]["name"]), (&json!("m"), &json!(ask)));
    let limits = told["exhaustion"].as_array().expect("limits");
    let ends = |name: &str| {
        let found = limits.iter().find(|limit| limit["name"] == name);
        found.unwrap_or_else(|| panic!("no {name}: {told}"))["exhaustion_at"].clone()
    };
    assert!(ends("read").is_string() && ends("ai").is_null(), "{told}");
    // 4.98 lasts 249 hours at 0.02 an hour.
    assert_eq!((&told["burn_per_hour"], &told["runway_hours"]), (&json!("0.02"), &json!(249)));
}
