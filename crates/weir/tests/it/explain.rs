//! `weir explain` and `POST explain`: what is explained is what the call then gets, and nothing is
//! changed by asking.

use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::seed::{ANY_KEY, KeyWish, Wish, on, paying};
use crate::server::{ADMIN_KEY, Weir};
use crate::support::{Mock, eventually};
use crate::wire::Answer;

const CONFIG: &str = r#"
[upstreams.mock]
urls = ["http://UPSTREAM"]

[plans.pro]
billing = "none"
endpoint_multiplier = 5
key_limits = { read = { read = "2/hour" } }
[plans.pro.limits]
read = "4/hour"
ai = ["3/hour", { limit = 5000, window = "1m", unit = "tokens" }]
"model:gpt-*" = "1/hour"
all = { limit = 1, window = "1h", mode = "shadow" }
training = "unlimited"

[plans.payg]
billing = "wallet"
limits = {}

[prices."llama-3-8b"]
output_tokens = "1000/1M"
request = "0"
[prices."gpt-4"]
output_tokens = "1/1M"

[[routes]]
match = "GET /things/*"
upstream = "mock"
limit = "1/hour"
price = "free"
[[routes]]
match = "POST /ai/chat"
upstream = "mock"
class = "ai"
scope = "ai"
usage = "openai"
price = "model"
hold_output_tokens = 64
[[routes]]
match = "POST /clamped/chat/completions"
upstream = "mock"
class = "ai"
usage = "openai"
price = "model"
on_low_balance = "clamp"
[[routes]]
match = "POST /training/jobs"
upstream = "mock"
class = "training"
limit = "1/hour"
price = "free"
"#;

fn wishes() -> [Wish; 5] {
    let read = KeyWish { kind: "read", ..ANY_KEY };
    let bound = KeyWish { allowed_ips: Some(&["10.0.0.0/8"]), ..ANY_KEY };
    let models = KeyWish { models: Some(&["gpt-*"]), limits: &[("all", "2/hour")], ..ANY_KEY };
    let wishes = [on("pro"), on("pro"), on("pro"), on("pro"), paying("payg", "0.10")];
    let [plain, second, third, fourth, paid] = wishes;
    [plain, second.with(read), third.with(bound), fourth.with(models), paid]
}

fn start(mock: &Mock) -> Weir {
    Weir::start(&CONFIG.replace("UPSTREAM", &mock.address.to_string()), &wishes())
}

#[track_caller]
fn explain(weir: &Weir, question: &Value) -> Value {
    let answer = weir.admin("POST", "/admin/v1/explain", &question.to_string());
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn chat(model: &str, max: u64) -> String {
    json!({"model": model, "max_tokens": max, "messages": [{"role": "user", "content": "Hi"}]})
        .to_string()
}

/// A header's value without what goes on with the clock between two requests.
fn timeless(name: &str, value: &str) -> String {
    match name {
        "ratelimit" => {
            let parts = value.split(';').map(|part| match part.split_once("t=") {
                Some(("", rest)) => {
                    rest.trim_start_matches(|digit: char| digit.is_ascii_digit()).to_owned()
                }
                _ => part.to_owned(),
            });
            parts.collect::<Vec<_>>().join(";")
        }
        _ => value.to_owned(),
    }
}

/// Headers that are the clock's, the connection's or the request's own.
const OTHERS: [&str; 9] = [
    "x-ratelimit-reset",
    "x-ratelimit-reset-requests",
    "x-ratelimit-reset-tokens",
    "retry-after",
    "retry-after-ms",
    "date",
    "content-length",
    "x-request-id",
    // After settlement, where the call passes.
    "x-wallet-available",
];

/// Headers that say something else when a call has been settled.
const AFTERWARDS: [&str; 2] = ["ratelimit", "x-ratelimit-remaining-tokens"];

#[track_caller]
fn agree(explained: &Value, answer: &Answer, what: &str) {
    let head = format!("{what}\n{}\n{explained:#}", answer.head);
    for (name, value) in explained["headers"].as_object().expect("headers") {
        // What a call has used is known when it has ended; it is explained as it begins.
        let settled = explained["passes"] == true && explained["size"]["output_tokens"] != 0;
        if OTHERS.contains(&name.as_str()) || settled && AFTERWARDS.contains(&name.as_str()) {
            assert!(answer.header(name).is_some(), "{name}: {head}");
            continue;
        }
        let got = answer.header(name).map(|value| timeless(name, value));
        let told = timeless(name, value.as_str().expect("a text"));
        assert_eq!(got, Some(told), "{name}: {head}");
    }
    if explained["passes"] == true {
        return;
    }
    assert_eq!(explained["status"], answer.status, "{head}");
    let (told, got) = (&explained["body"], answer.json());
    for member in ["type", "title", "status", "error", "violated-policies", "required", "held"] {
        let same = member != "error" || told["retry_after_s"].is_null();
        assert!(!same || told[member] == got[member], "{member}: {head}\n{got:#}");
    }
    let (told, got) = (&told["limit"], &got["limit"]);
    for member in ["name", "per", "unit", "limit", "remaining", "window_s"] {
        assert_eq!(told[member], got[member], "limit.{member}: {head}");
    }
}

#[test]
fn what_is_explained_is_what_the_call_then_gets() {
    let mock = Mock::start();
    let weir = start(&mock);
    let calls = [
        (0, "GET", "/things/a", String::new()),
        (0, "GET", "/things/a", String::new()),
        (0, "GET", "/nowhere", String::new()),
        (0, "DELETE", "/things/a", String::new()),
        (0, "GET", "/things/%2e%2e/a", String::new()),
        (0, "POST", "/training/jobs", "{}".to_owned()),
        (0, "POST", "/ai/chat", "{".to_owned()),
        (0, "POST", "/ai/chat", "{}".to_owned()),
        (0, "POST", "/ai/chat", String::new()),
        (0, "POST", "/ai/chat", r#"{"model":"a","model":"b"}"#.to_owned()),
        (0, "POST", "/ai/chat", chat("gpt-4", 6_000)),
        (0, "POST", "/ai/chat", chat("gpt-4", 10)),
        (0, "POST", "/ai/chat", chat("gpt-4", 10)),
        (0, "POST", "/ai/chat", chat("llama-3-8b", 10)),
        (0, "POST", "/ai/chat", chat("llama-3-8b", 4_990)),
        (0, "POST", "/ai/chat", chat("llama-3-8b", 10)),
        (0, "POST", "/ai/chat", chat("llama-3-8b", 10)),
        (0, "GET", "/things/b", String::new()),
        (1, "GET", "/things/a", String::new()),
        (1, "POST", "/ai/chat", chat("gpt-4", 10)),
        (1, "GET", "/things/a", String::new()),
        (2, "GET", "/things/a", String::new()),
        (3, "POST", "/ai/chat", chat("llama-3-8b", 10)),
        (3, "POST", "/ai/chat", chat("gpt-4", 10)),
        (3, "GET", "/things/a", String::new()),
        (3, "GET", "/things/a", String::new()),
        (4, "POST", "/ai/chat", chat("llama-3-8b", 50)),
        (4, "POST", "/ai/chat", chat("llama-3-8b", 500)),
        (4, "POST", "/ai/chat", chat("unknown", 5)),
        (4, "POST", "/clamped/chat/completions", chat("llama-3-8b", 90_000)),
        (4, "GET", "/things/a", String::new()),
    ];
    let mut refusals = 0;
    for (key, method, path, body) in calls {
        let mut question = json!({
            "secret": weir.keys[key], "method": method, "path": path, "address": "127.0.0.1",
        });
        if !body.is_empty() {
            question["body"] = body.as_str().into();
        }
        let explained = explain(&weir, &question);
        let sent = mock.stats()["requests"].as_u64().expect("a count");
        let answer = weir.call(key, method, path, &body);
        let reached = mock.stats()["requests"].as_u64().expect("a count") > sent;
        assert_eq!(explained["passes"], reached, "{method} {path} {body}\n{explained:#}");
        agree(&explained, &answer, &format!("{key} {method} {path} {body}"));
        refusals += u32::from(explained["passes"] == false);
    }
    assert!((12..=25).contains(&refusals), "{refusals} of the calls were refused");
}

#[test]
fn limits_are_told_with_where_they_come_from_and_what_they_say() {
    let mock = Mock::start();
    let weir = start(&mock);
    let accounts = weir.admin("GET", "/admin/v1/accounts", "").json();
    let id = accounts["data"][0]["id"].as_str().expect("an id").to_owned();
    let own = json!({"limits": {"model:gpt-*": "7/hour"}});
    let changed = weir.admin("PATCH", &format!("/admin/v1/accounts/{id}"), &own.to_string());
    assert_eq!(changed.status, 200, "{}", changed.text());
    let boost = json!({"limit": "ai", "multiplier": 2, "until": "2100-01-01T00:00:00Z"});
    let far = weir.admin("POST", &format!("/admin/v1/accounts/{id}/boosts"), &boost.to_string());
    assert_eq!(far.status, 400, "a boost of many years: {}", far.text());
    let until = jiff_in_an_hour();
    let boost = json!({"limit": "ai", "multiplier": 2, "until": until});
    let made = weir.admin("POST", &format!("/admin/v1/accounts/{id}/boosts"), &boost.to_string());
    assert_eq!(made.status, 201, "{}", made.text());
    let made = made.json();
    let question = json!({
        "account": id, "method": "POST", "path": "/ai/chat", "model": "gpt-4",
        "input_tokens": 100, "output_tokens": 50,
    });
    let explained = explain(&weir, &question);
    let limit = |name: &str, unit: &str| {
        let all = explained["limits"].as_array().expect("limits");
        let found = all.iter().find(|limit| limit["name"] == name && limit["unit"] == unit);
        found.unwrap_or_else(|| panic!("{name}: {explained:#}")).clone()
    };
    let ai = limit("ai", "requests");
    assert_eq!(
        (&ai["source"], &ai["configured"], &ai["limit"]),
        (&json!("plan"), &json!(3), &json!(6))
    );
    assert_eq!(ai["boosts"], json!([{"id": made["id"], "multiplier": 2, "value": null}]));
    let model = limit("model:gpt-*", "requests");
    assert_eq!((&model["source"], &model["configured"]), (&json!("account"), &json!(7)));
    assert_eq!(limit("ai.tokens", "tokens")["takes"], 150);
    assert_eq!(explained["size"]["output_from"], "request");
    assert_eq!(explained["price"]["worst_cost"], "0.00005");
    assert_eq!(explained["price"]["charged"], false);
    assert_eq!(explained["wallet"], Value::Null);
    let thing = explain(&weir, &json!({"account": id, "method": "GET", "path": "/things/a"}));
    let route = &thing["limits"].as_array().expect("limits")[2];
    assert_eq!(
        (&route["source"], &route["configured"], &route["endpoint_multiplier"], &route["limit"]),
        (&json!("route"), &json!(1), &json!(5), &json!(5)),
        "{thing:#}"
    );
    let job = explain(&weir, &json!({"account": id, "method": "POST", "path": "/training/jobs"}));
    assert_eq!(job["left_out"], json!(["route:POST /training/jobs"]), "{job:#}");
}

fn jiff_in_an_hour() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("now");
    let at = i64::try_from(now.as_secs()).expect("a time") + 3_600;
    jiff::Timestamp::from_second(at).expect("a time").to_string()
}

/// Everything that a call would leave a trace in.
fn traces(weir: &Weir) -> Vec<String> {
    let accounts = weir.admin("GET", "/admin/v1/accounts", "").json();
    let mut traces = Vec::new();
    for account in accounts["data"].as_array().expect("accounts") {
        let id = account["id"].as_str().expect("an id");
        for page in ["keys", "wallet", "wallet/entries", "holds", "boosts"] {
            let answer = weir.admin("GET", &format!("/admin/v1/accounts/{id}/{page}"), "");
            traces.push(format!("{page}: {} {}", answer.status, answer.text()));
        }
        // Of windows that were not begun the end moves with the clock.
        let limits = weir.admin("GET", &format!("/admin/v1/accounts/{id}/limits"), "").json();
        let limits = limits["limits"].as_array().expect("limits").iter();
        traces.extend(limits.map(|limit| format!("{}: {}", limit["name"], limit["used"])));
    }
    for page in ["audit", "events"] {
        traces.push(weir.admin("GET", &format!("/admin/v1/{page}"), "").text().to_owned());
    }
    let metrics = weir.admin("GET", "/metrics", "");
    let of_calls = metrics.text().lines().filter(|line| {
        let names =
            ["weir_requests", "weir_refusals", "weir_decision", "weir_holds", "weir_tokens"];
        names.iter().any(|name| line.starts_with(name))
    });
    traces.extend(of_calls.map(str::to_owned));
    traces
}

/// Requests and refusals by limits of each account, as they are rolled up.
fn usage(weir: &Weir) -> Vec<(u64, u64)> {
    let accounts = weir.admin("GET", "/admin/v1/accounts", "").json();
    let of = |account: &Value| {
        let id = account["id"].as_str().expect("an id");
        let target = format!("/admin/v1/accounts/{id}/usage?interval=hour");
        let totals = weir.admin("GET", &target, "").json()["totals"].clone();
        let number = |name: &str| totals[name].as_u64().expect("a number");
        (number("requests"), number("limited"))
    };
    accounts["data"].as_array().expect("accounts").iter().map(of).collect()
}

#[test]
fn asking_changes_nothing() {
    let mock = Mock::start();
    let weir = start(&mock);
    // Used up, so that refusals are asked for, too: they would tell of a limit that is exceeded.
    for _ in 0..4 {
        assert_eq!(weir.call(0, "GET", "/things/a", "").status, 200);
    }
    let chats = weir.call(4, "POST", "/ai/chat", &chat("llama-3-8b", 2));
    assert_eq!(chats.status, 200, "{}", chats.text());
    let before = traces(&weir);
    let sent = mock.stats()["requests"].clone();
    for key in &weir.keys {
        for (method, path, body) in [
            ("GET", "/things/a", String::new()),
            ("POST", "/ai/chat", chat("llama-3-8b", 20)),
            ("POST", "/ai/chat", chat("llama-3-8b", 99_999)),
            ("POST", "/training/jobs", String::new()),
        ] {
            for _ in 0..3 {
                let question = json!({"secret": key, "method": method, "path": path,
                    "address": "10.0.0.1", "body": body});
                explain(&weir, &question);
            }
        }
    }
    for _ in 0..40 {
        let unknown = json!({"secret": "weir_rw_none", "method": "GET", "path": "/things/a"});
        assert_eq!(explain(&weir, &unknown)["code"], "invalid_key");
    }
    assert!(traces(&weir) == before, "something was changed: {:#?}", traces(&weir));
    assert_eq!(mock.stats()["requests"], sent);
    // Roll-ups come a second later, in their order: what a last call tells comes after all else.
    assert_eq!(weir.call(4, "GET", "/things/a", "").status, 200);
    let counted = [(4, 0), (0, 0), (0, 0), (0, 0), (2, 0)];
    eventually("the last call is rolled up", || usage(&weir)[4].0 == 2);
    assert_eq!(usage(&weir), counted);
    // Nor does it use up what an address may guess.
    let guess = weir.line().call("GET", "/things/a", &["authorization: Bearer none"], "");
    assert_eq!(guess.status, 401);
}

#[test]
fn operators_may_ask_whoever_may_look_and_customers_may_not() {
    let mock = Mock::start();
    let weir = start(&mock);
    let made = weir.admin("POST", "/admin/v1/admin-keys", r#"{"name":"eve","role":"viewer"}"#);
    assert_eq!(made.status, 201, "{}", made.text());
    let viewer = made.json()["secret"].as_str().expect("a secret").to_owned();
    let ask = |bearer: &str, body: &Value| {
        let bearer = format!("authorization: Bearer {bearer}");
        let headers = [bearer.as_str(), "content-type: application/json"];
        let mut line = crate::wire::Line::open(weir.admin);
        line.call("POST", "/admin/v1/explain", &headers, &body.to_string())
    };
    let question = json!({"secret": weir.keys[0], "method": "GET", "path": "/things/a"});
    assert_eq!(ask(&viewer, &question).status, 200);
    assert_eq!(ask(&weir.keys[0], &question).status, 401);
    let own = weir.call(0, "POST", "/weir/v1/explain", &question.to_string());
    assert_eq!(own.status, 404);
    for (wrong, param) in [
        (json!({"method": "GET", "path": "/a"}), "account"),
        (json!({"account": "acct_0", "method": "GET", "path": "/a"}), "account"),
        (json!({"key": "key_0", "method": "GET", "path": "/a"}), "key"),
        (json!({"secret": weir.keys[2], "method": "GET", "path": "/a"}), "address"),
        (
            json!({"secret": weir.keys[0], "method": "GET", "path": "/a", "model": "m", "body": {}}),
            "model",
        ),
    ] {
        let refused = ask(ADMIN_KEY, &wrong);
        assert_eq!(refused.status, 400, "{wrong}");
        assert_eq!(refused.json()["error"]["param"], param, "{}", refused.text());
    }
    let shown = ask(ADMIN_KEY, &question);
    assert!(!shown.text().contains(&weir.keys[0]), "{}", shown.text());
}

fn weir_explain(weir: &Weir, arguments: &[&str], input: &str) -> Output {
    use std::io::Write;
    let mut child = Command::new(env!("CARGO_BIN_EXE_weir"))
        .arg("explain")
        .args(arguments)
        .env("WEIR_ADMIN_URL", format!("http://{}", weir.admin))
        .env("WEIR_ADMIN_KEY", ADMIN_KEY)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    // A command that refuses its arguments does not read.
    let _unread = child.stdin.take().expect("stdin is piped").write_all(input.as_bytes());
    child.wait_with_output().expect("it ends")
}

#[test]
fn the_command_explains_to_people_and_to_programs() {
    let mock = Mock::start();
    let weir = start(&mock);
    for _ in 0..3 {
        assert_eq!(weir.call(0, "POST", "/ai/chat", &chat("llama-3-8b", 5)).status, 200);
    }
    let arguments = ["--key", "-", "POST", "/ai/chat", "--model", "gpt-4", "--output-tokens", "50"];
    let told = weir_explain(&weir, &arguments, &weir.keys[0]);
    let text = String::from_utf8(told.stdout).expect("text");
    assert_eq!(told.status.code(), Some(0), "{}", String::from_utf8_lossy(&told.stderr));
    for wanted in [
        "call    POST /ai/chat\n",
        "(read_write) of acct_",
        "route   POST /ai/chat, class ai, scope ai, priced by the model",
        "3 of 3 requests per 3600 s",
        "passes in 3",
        "plan 3\n",
        "result  429 rate_limit_exceeded: The limit `ai` of 3 requests per hour is used up",
        "        retry-after: 3",
    ] {
        assert!(text.contains(wanted), "{wanted:?} is not in\n{text}");
    }
    assert!(!text.contains(&weir.keys[0]), "{text}");
    let told = weir_explain(&weir, &[&arguments[..], &["--json"]].concat(), &weir.keys[0]);
    let json: Value = serde_json::from_slice(&told.stdout).expect("JSON");
    assert_eq!((&json["status"], &json["passes"]), (&json!(429), &json!(false)));
    let named = weir_explain(&weir, &["--key", &weir.keys[0], "GET", "/x"], "");
    let told = String::from_utf8_lossy(&named.stderr).into_owned();
    assert!(!named.status.success() && told.contains("can be seen by everyone"), "{told}");
}
