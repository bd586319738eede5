//! Every refusal that a customer can meet, provoked: it says what happened, which limit or balance
//! stands against it, when or how it goes on, and where to ask.

use std::collections::BTreeSet;
use std::net::TcpListener;

use serde_json::{Value, json};
use weir_wire::error::CATALOGUE;

use crate::limits::reached;
use crate::seed::{on, paying};
use crate::server::{JSON, Weir};
use crate::support::{Mock, eventually};
use crate::wire::{Answer, Line};

/// What no test can provoke from outside, and why.
const UNPROVOKED: [(&str, &str); 1] = [("internal_error", "it takes a bug")];

const SUPPORT: &str = "https://example.com/support";
const TOP_UP: &str = "https://example.com/top-up";
const CHAT: &str = r#"{"model":"llama-3-8b","max_tokens":100,"messages":[]}"#;

fn config(mock: &Mock) -> String {
    let dead = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    CONFIG.replace("MOCK", &mock.address.to_string()).replace("DEAD", &dead.to_string())
}

const CONFIG: &str = r#"
[billing]
top_up_url = "https://example.com/top-up"
[webhooks]
allow_private = true
[upstreams.mock]
urls = ["http://MOCK"]
[upstreams.hasty]
urls = ["http://MOCK"]
response_timeout = "200ms"
[upstreams.narrow]
urls = ["http://MOCK"]
max_in_flight = 1
[upstreams.dead]
urls = ["http://DEAD"]
[plans.payg]
billing = "wallet"
[plans.free]
limits = { read = "2/hour", ai = [{ limit = 50, window = "1m", unit = "tokens" }] }
[plans.one]
concurrency = 1
[[routes]]
match = "GET /clusters/*"
upstream = "mock"
price = "free"
[[routes]]
match = "POST /clusters/*"
upstream = "mock"
scope = "clusters"
price = "call"
[[routes]]
match = "POST /ai/chat"
upstream = "mock"
class = "ai"
usage = "openai"
price = "model"
[[routes]]
match = "POST /v1/messages"
upstream = "mock"
class = "ai"
usage = "anthropic"
price = "model"
[[routes]]
match = "GET /hasty/*"
upstream = "hasty"
price = "free"
[[routes]]
match = "GET /narrow/*"
upstream = "narrow"
price = "free"
[[routes]]
match = "GET /dead/*"
upstream = "dead"
price = "free"
[prices.call]
request = "0.01"
[prices."llama-3-8b"]
output_tokens = "1.00/1k"
[server]
public_url = "https://api.example.com"
support_url = "https://example.com/support"
body_timeout = "1s"
max_body = "64KB"
"#;

/// A server with an account on each plan, and what was refused so far.
struct House {
    weir: Weir,
    mock: Mock,
    refused: Vec<(String, Answer)>,
}

const PAYG: usize = 0;
const POOR: usize = 1;
const FREE: usize = 2;
const ONE: usize = 3;

impl House {
    fn start() -> Self {
        let mock = Mock::start();
        let wishes = [paying("payg", "10"), paying("payg", "0.15"), on("free"), on("one")];
        let weir = Weir::start(&config(&mock), &wishes);
        Self { weir, mock, refused: Vec::new() }
    }

    /// Notes an answer as the refusal that it must be.
    #[track_caller]
    fn note(&mut self, code: &str, answer: Answer) {
        assert_eq!(answer.code(), code, "{} {}", answer.status, answer.text());
        self.refused.push((code.to_owned(), answer));
    }

    fn account(&self, of: usize) -> String {
        let own = self.weir.call(of, "GET", "/weir/v1/key", "").json();
        own["account"]["id"].as_str().expect("an id").to_owned()
    }

    /// Another key of an account: its id and its header.
    fn key(&self, of: usize, more: &Value) -> (String, String) {
        let mut new = json!({"name": "another", "type": "read_write"});
        new.as_object_mut().expect("members").extend(more.as_object().expect("members").clone());
        let path = format!("/admin/v1/accounts/{}/keys", self.account(of));
        let made = self.weir.admin("POST", &path, &new.to_string());
        assert_eq!(made.status, 201, "{}", made.text());
        let made = made.json();
        let text = |name: &str| made[name].as_str().expect("a text").to_owned();
        (text("id"), format!("authorization: Bearer {}", text("secret")))
    }

    fn call(&self, header: &str, method: &str, target: &str, body: &str) -> Answer {
        self.weir.line().call(method, target, &[header, JSON], body)
    }

    /// A call that is under way while `meanwhile` runs.
    fn during<T>(
        &self,
        (key, headers): (usize, &[&str]),
        (method, target, body): (&str, &str, &str),
        meanwhile: impl FnOnce(&Self) -> T,
    ) -> T {
        let before = reached(&self.mock, target);
        let bearer = self.weir.bearer(key);
        let all = [&[&*bearer, JSON, "x-mock-delay-ms: 2000"], headers].concat();
        std::thread::scope(|scope| {
            scope.spawn(|| self.weir.line().call(method, target, &all, body));
            eventually("a call is under way", || reached(&self.mock, target) > before);
            meanwhile(self)
        })
    }
}

fn keys(house: &mut House) {
    let expired = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(1);
    let (_, expired) = house.key(PAYG, &json!({ "expires_at": expired.to_string() }));
    let (revoked_id, revoked) = house.key(PAYG, &json!({}));
    house.weir.admin("DELETE", &format!("/admin/v1/keys/{revoked_id}"), "");
    let (_, reader) = house.key(PAYG, &json!({"type": "read"}));
    let (_, scoped) = house.key(PAYG, &json!({"scopes": ["other"]}));
    let (_, choosy) = house.key(PAYG, &json!({"models": ["another"]}));
    let (_, elsewhere) = house.key(PAYG, &json!({"allowed_ips": ["10.0.0.0/8"]}));
    let (_, capped) = house.key(PAYG, &json!({"spend_cap": {"amount": "0.015"}}));
    assert_eq!(house.call(&capped, "POST", "/clusters/x", "{}").status, 201);
    let post = ("POST", "/clusters/x", "{}");
    for (code, header, (method, target, body)) in [
        ("missing_key", "x-none: 1", post),
        ("invalid_key", "authorization: Bearer weir_w_guess", post),
        ("revoked_key", &*revoked, post),
        ("key_type_forbidden", &*reader, post),
        ("insufficient_scope", &*scoped, post),
        ("model_forbidden", &*choosy, ("POST", "/ai/chat", CHAT)),
        ("address_forbidden", &*elsewhere, post),
        ("key_spend_cap_reached", &*capped, post),
        ("request_exceeds_limit", &*capped, ("POST", "/ai/chat", CHAT)),
        // The customer API says it, too.
        ("missing_key", "x-none: 1", ("GET", "/weir/v1/key", "")),
        ("invalid_key", "authorization: Bearer weir_w_guess", ("GET", "/weir/v1/key", "")),
        ("revoked_key", &*revoked, ("GET", "/weir/v1/key", "")),
        ("key_type_forbidden", &*reader, ("POST", "/weir/v1/webhooks", "{}")),
        ("insufficient_scope", &*scoped, ("GET", "/weir/v1/keys", "")),
        ("address_forbidden", &*elsewhere, ("GET", "/weir/v1/key", "")),
    ] {
        let answer = house.call(header, method, target, body);
        house.note(code, answer);
    }
    eventually("the key has expired", || {
        house.call(&expired, "GET", "/weir/v1/key", "").status == 401
    });
    for target in ["/weir/v1/key", "/clusters/x"] {
        let answer = house.call(&expired, "GET", target, "");
        house.note("expired_key", answer);
    }
    let account = format!("/admin/v1/accounts/{}", house.account(ONE));
    assert_eq!(house.weir.admin("PATCH", &account, "{\"status\":\"suspended\"}").status, 200);
    for (method, target) in [("GET", "/clusters/x"), ("POST", "/weir/v1/webhooks")] {
        let answer = house.weir.call(ONE, method, target, "{}");
        house.note("account_suspended", answer);
    }
    assert_eq!(house.weir.admin("PATCH", &account, "{\"status\":\"active\"}").status, 200);
    let viewer =
        house.weir.admin("POST", "/admin/v1/admin-keys", r#"{"name":"v","role":"viewer"}"#);
    let viewer = viewer.json()["secret"].as_str().expect("a secret").to_owned();
    let bearer = format!("authorization: Bearer {viewer}");
    let mut line = Line::open(house.weir.admin);
    let answer = line.call("POST", "/admin/v1/backup", &[&bearer, JSON], "");
    house.note("forbidden", answer);
}

fn requests(house: &mut House) {
    let [large, huge] =
        [70_000, 3_000_000].map(|size| format!("{{\"x\":\"{}\"}}", "x".repeat(size)));
    let unknown = CHAT.replace("llama-3-8b", "nobody");
    for (code, method, target, body) in [
        ("invalid_request", "POST", "/ai/chat", "{"),
        ("invalid_request", "GET", "/clusters/../x", ""),
        ("invalid_request", "POST", "/weir/v1/webhooks", "{\"ur\":1}"),
        ("model_not_found", "POST", "/ai/chat", &*unknown),
        ("route_not_found", "GET", "/nowhere", ""),
        ("route_not_found", "GET", "/weir/v1/nowhere", ""),
        ("not_found", "GET", "/weir/v1/webhooks/wh_1m824zbnk0000", ""),
        ("method_not_allowed", "DELETE", "/clusters/x", ""),
        ("method_not_allowed", "DELETE", "/weir/v1/wallet", ""),
        ("request_too_large", "POST", "/ai/chat", &*large),
        ("request_too_large", "POST", "/weir/v1/webhooks", &*huge),
        ("upstream_unreachable", "GET", "/dead/x", ""),
    ] {
        let answer = house.weir.call(PAYG, method, target, body);
        house.note(code, answer);
    }
    let bearer = house.weir.bearer(PAYG);
    let answer = house.weir.line().call("POST", "/weir/v1/webhooks", &[&bearer], "{}");
    house.note("unsupported_media_type", answer);
    let many = format!("x-many: {}", "y".repeat(200_000));
    let answer = house.weir.line().call("GET", "/clusters/x", &[&bearer, &many], "");
    house.note("headers_too_large", answer);
    for (code, target, knob) in [
        ("upstream_timeout", "/hasty/x", "x-mock-delay-ms: 2000"),
        ("upstream_broke", "/clusters/x", "x-mock-break: mid-event"),
    ] {
        let answer = house.weir.line().call("GET", target, &[&bearer, knob], "");
        house.note(code, answer);
    }
    for target in ["/ai/chat", "/weir/v1/webhooks"] {
        let mut line = house.weir.line();
        let head = format!(
            "POST {target} HTTP/1.1\r\nhost: weir\r\n{bearer}\r\n{JSON}\r\ncontent-length: 9\r\n\r\n{{"
        );
        line.send(head.as_bytes()).expect("it is sent");
        let answer = line.answer().expect("an answer");
        house.note("request_timeout", answer);
    }
}

fn limits_and_wallet(house: &mut House) {
    for _ in 0..2 {
        assert_eq!(house.weir.call(FREE, "GET", "/clusters/x", "").status, 200);
    }
    let answer = house.weir.call(FREE, "GET", "/clusters/x", "");
    house.note("rate_limit_exceeded", answer);
    for target in ["/ai/chat", "/v1/messages"] {
        let answer = house.weir.call(FREE, "POST", target, CHAT);
        if target == "/ai/chat" {
            house.note("request_exceeds_limit", answer);
        } else {
            assert_eq!(answer.status, 400, "{}", answer.text());
        }
    }
    let larger = CHAT.replace("100", "500");
    let answer = house.weir.call(POOR, "POST", "/ai/chat", &larger);
    house.note("insufficient_credits", answer);
    let chat = ("POST", "/ai/chat", CHAT);
    let second = |house: &House| house.weir.call(POOR, "POST", "/ai/chat", CHAT);
    let answer = house.during((POOR, &["x-mock-tokens: 1"]), chat, second);
    house.note("in_flight_budget_exhausted", answer);
    let get = ("GET", "/clusters/slow", "");
    let second = |house: &House| house.weir.call(ONE, "GET", "/clusters/x", "");
    let answer = house.during((ONE, &[]), get, second);
    house.note("concurrency_limit_exceeded", answer);
    let guess = ["authorization: Bearer weir_w_guess"];
    let mut last = Answer::none();
    eventually("an address that guesses is stopped", || {
        last = house.weir.line().call("GET", "/clusters/x", &guess, "");
        last.status == 429
    });
    house.note("rate_limit_exceeded", last);
    // More than one runs and 64 wait.
    let bearer = house.weir.bearer(PAYG);
    let refused = std::thread::scope(|scope| {
        let narrow = || {
            let headers = [&*bearer, "x-mock-delay-ms: 20"];
            house.weir.line().call("GET", "/narrow/x", &headers, "")
        };
        let calls: Vec<_> = (0..120).map(|_| scope.spawn(narrow)).collect();
        let answers = calls.into_iter().map(|call| call.join().expect("no panic"));
        answers.filter(|answer| answer.status == 503).last()
    });
    house.note("overloaded", refused.expect("one that no place was left for"));
}

fn repetitions(house: &mut House) {
    let chat = ("POST", "/ai/chat", CHAT);
    let (once, bearer) = ("idempotency-key: once", house.weir.bearer(PAYG));
    let headers = [&*bearer, JSON, once];
    let again = |house: &House| house.weir.line().call("POST", "/ai/chat", &headers, CHAT);
    let answer = house.during((PAYG, &[once]), chat, again);
    house.note("idempotency_in_progress", answer);
    let other = CHAT.replace("100", "10");
    let answer = house.weir.line().call("POST", "/ai/chat", &headers, &other);
    house.note("idempotency_mismatch", answer);
    let hook = json!({"url": "https://example.com/hook"}).to_string();
    let made = house.weir.call(PAYG, "POST", "/weir/v1/webhooks", &hook);
    let id = made.json()["id"].as_str().expect("an id").to_owned();
    let target = format!("/weir/v1/webhooks/{id}");
    let stale = [&*bearer, JSON, "if-match: \"99\""];
    let answer = house.weir.line().call("PATCH", &target, &stale, "{\"description\":\"x\"}");
    house.note("precondition_failed", answer);
    let off = house.weir.call(PAYG, "PATCH", &target, "{\"status\":\"disabled\"}");
    assert_eq!(off.status, 200, "{}", off.text());
    let answer = house.weir.call(PAYG, "POST", &format!("{target}/test"), "{}");
    house.note("conflict", answer);
}

/// The disk takes no more: priced calls are refused, and so are changes.
fn full_disk(house: &mut House) {
    house.weir.stop();
    house.weir.serve_again_with_files_of(DISK_KIB);
    eventually("nothing more can be written", || {
        (0..10).any(|_| house.weir.call(PAYG, "POST", "/clusters/x", "{}").status == 503)
    });
    let answer = house.weir.call(PAYG, "POST", "/clusters/x", "{}");
    house.note("store_unavailable", answer);
    let hook = json!({"url": "https://example.com/hook"}).to_string();
    let answer = house.weir.call(PAYG, "POST", "/weir/v1/webhooks", &hook);
    house.note("store_unavailable", answer);
}

/// What every refusal must have.
#[track_caller]
fn check(code: &str, answer: &Answer, weir: &Weir) {
    let entry = CATALOGUE.iter().find(|entry| entry.name == code).expect("in the catalogue");
    let told = answer.json();
    let case = format!("{code}: {}{}", answer.head, answer.text());
    assert_eq!((answer.status, &told["status"]), (entry.status, &entry.status.into()), "{case}");
    assert_eq!(told["title"], entry.title, "{case}");
    // OpenAI's SDKs and readers of problem details find the same.
    let detail = told["detail"].as_str().expect("a detail");
    let error = json!({"code": code, "type": entry.kind, "message": detail,
                       "param": told["error"]["param"]});
    assert_eq!(told["error"], error, "{case}");
    let media = answer.header("content-type");
    assert!(matches!(media, Some("application/json" | "application/problem+json")), "{case}");
    // What happened is a sentence about this case, what to do one about all of them.
    assert!(detail.ends_with('.') && detail.len() > 20 && detail != entry.title, "{case}");
    assert!(!told["help"].as_str().unwrap_or_default().is_empty(), "{case}");
    assert_eq!(told["support_url"], SUPPORT, "{case}");
    assert!(answer.header("x-request-id").is_some(), "{case}");
    assert_eq!(told["request_id"].as_str(), answer.header("x-request-id"), "{case}");
    if entry.status == 401 {
        assert!(answer.header("www-authenticate").is_some(), "{case}");
    }
    if entry.status == 405 {
        assert!(answer.header("allow").is_some(), "{case}");
    }
    let others = ["in_flight_budget_exhausted", "idempotency_in_progress"];
    let waits = matches!(entry.status, 429 | 503) || others.contains(&code);
    let wait = answer.header("retry-after").map(|wait| wait.parse::<u64>().expect("seconds"));
    assert_eq!(wait.is_some(), waits, "{case}");
    assert_eq!(told["retry_after_s"].as_u64(), wait, "{case}");
    if waits {
        assert!(wait >= Some(1) && answer.header("retry-after-ms").is_some(), "{case}");
    }
    if entry.status == 402 {
        let cap = code == "key_spend_cap_reached";
        assert!(answer.header("x-should-retry").is_some(), "{case}");
        assert!(cap || told["required"].is_string() && told["available"].is_string(), "{case}");
        assert!(cap || told["top_up_url"] == TOP_UP, "{case}");
        assert!(!cap || told["limit"]["limit"].is_string(), "{case}");
    }
    // The address of somebody who guesses has no limit with a name.
    let guesses = detail.contains("unknown API keys");
    if (entry.status == 429 || code == "request_exceeds_limit") && !guesses {
        let limit = &told["limit"];
        let money = limit["unit"] == "credits";
        let figure = if money { limit["limit"].is_string() } else { limit["limit"].is_u64() };
        assert!(limit["name"].is_string() && figure, "{case}");
        assert!(!money || detail.contains(" USD"), "{case}");
        assert_eq!(told["violated-policies"], json!([limit["name"]]), "{case}");
        assert!(limit["reset_at"].is_string(), "{case}");
    }
    page(code, told["type"].as_str().unwrap_or_default(), weir);
}

/// The page behind `type` is there, and so is the section of the docs.
#[track_caller]
fn page(code: &str, link: &str, weir: &Weir) {
    let path = link.strip_prefix("https://api.example.com").expect("public_url");
    let page = weir.line().call("GET", path, &[], "");
    assert_eq!(page.status, 200, "{link}: {}", page.text());
    assert!(page.text().contains(code), "{link}: {}", page.text());
    let docs = include_str!("../../../../docs/errors.md");
    assert!(docs.contains(&format!("\n## {code}\n")), "{code}");
}

#[test]
fn every_refusal_says_what_happened_what_stands_against_it_and_how_it_goes_on() {
    let mut house = House::start();
    keys(&mut house);
    requests(&mut house);
    limits_and_wallet(&mut house);
    repetitions(&mut house);
    full_disk(&mut house);
    let House { weir, refused, .. } = &house;
    for (code, answer) in refused {
        check(code, answer, weir);
    }
    let mut met: BTreeSet<&str> = refused.iter().map(|(code, _)| &**code).collect();
    for (code, why) in UNPROVOKED {
        assert!(met.insert(code), "{code} was provoked, though {why}");
    }
    let all: BTreeSet<&str> = CATALOGUE.iter().map(|entry| entry.name).collect();
    assert_eq!(met, all, "each code is provoked, or named with why it cannot be");
}

#[test]
fn on_anthropics_routes_the_message_says_it_all() {
    let house = House::start();
    let larger = CHAT.replace("100", "500");
    let refused = house.weir.call(POOR, "POST", "/v1/messages", &larger);
    let told = refused.json();
    assert_eq!((refused.status, &told["type"]), (402, &"error".into()), "{told}");
    assert_eq!(told["error"]["type"], "billing_error");
    assert_eq!(told["request_id"].as_str(), refused.header("x-request-id"));
    let message = told["error"]["message"].as_str().expect("a message");
    for part in ["0.15 is available", "0.35 is missing", "Top up the wallet", TOP_UP, SUPPORT] {
        assert!(message.contains(part), "{part}: {message}");
    }
    let refused = house.weir.call(FREE, "POST", "/v1/messages", CHAT).json();
    let message = refused["error"]["message"].as_str().expect("a message");
    for part in ["`ai.tokens`", "smaller", SUPPORT] {
        assert!(message.contains(part), "{part}: {message}");
    }
    assert!(!message.contains(TOP_UP), "{message}");
}

/// Room for the start, but not for long.
const DISK_KIB: u32 = 512;
