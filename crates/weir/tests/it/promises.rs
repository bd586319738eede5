//! What the limits promise to whoever calls: waits that are true, slots that come free, changes
//! that act on the next call, numbers that agree.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::seed::on;
use crate::server::{JSON, Weir};
use crate::support::{Mock, eventually};
use crate::wire::{Answer, Line, kept_request};

const CONFIG: &str = r#"
[upstreams.mock]
urls = ["http://UPSTREAM"]
[plans.fixed.limits]
read = "2/3s"
[plans.calendar.limits]
read = { limit = 2, window = "3s", anchor = "calendar" }
[plans.sliding.limits]
read = { limit = 2, window = "3s", algorithm = "sliding-window" }
[plans.bucket.limits]
read = { limit = 2, window = "3s", algorithm = "token-bucket" }
[plans.tokens.limits]
ai = { limit = 40, window = "1s", unit = "tokens" }
[plans.one]
concurrency = 1
limits = { read = "1000/hour" }
[plans.free.limits]
read = ["4/hour", "10/day"]
write = "2/hour"
ai = { limit = 10000, window = "1h", unit = "tokens" }
all = { limit = 1, window = "1h", mode = "shadow" }
[plans.pro.limits]
read = "10/hour"
[[routes]]
match = "GET /*"
upstream = "mock"
price = "free"
[[routes]]
match = "PUT /*"
upstream = "mock"
price = "free"
limit = "9/hour"
[[routes]]
match = "POST /v1/chat/completions"
upstream = "mock"
class = "ai"
usage = "openai"
price = "free"
hold_output_tokens = 1
"#;

const CHAT: &str = r#"{"model":"m","messages":[{"role":"user","content":"Hi"}]}"#;

fn start(mock: &Mock, plan: &'static str) -> Weir {
    Weir::start(&CONFIG.replace("UPSTREAM", &mock.address.to_string()), &[on(plan)])
}

fn number(answer: &Answer, name: &str) -> u64 {
    let told = answer.header(name).and_then(|text| text.parse().ok());
    told.unwrap_or_else(|| panic!("no {name}: {}", answer.head))
}

/// Calls until it is refused; nobody else calls.
#[track_caller]
fn until_refused(call: impl Fn() -> Answer) -> (Instant, Answer) {
    for _ in 0..100 {
        let answer = call();
        if answer.status == 429 {
            return (Instant::now(), answer);
        }
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    panic!("a hundred calls passed");
}

/// Is refused, asks again and again, waits as long as it is told, and passes.
#[track_caller]
fn check_wait(what: &str, call: impl Fn() -> Answer) {
    let (mut heard, refused) = until_refused(&call);
    let mut wait = Duration::from_millis(number(&refused, "retry-after-ms"));
    let until = heard + wait;
    for _ in 0..5 {
        std::thread::sleep(Duration::from_millis(20));
        let asked = Instant::now();
        let again = call();
        if again.status == 200 {
            // The machine was so slow that the wait was over meanwhile.
            assert!(heard.elapsed() >= wait, "{what}: it passed before its time");
            return;
        }
        heard = Instant::now();
        wait = Duration::from_millis(number(&again, "retry-after-ms"));
        // It counts down: asking again moves nothing.
        assert!(asked + wait <= until + Duration::from_millis(2), "{what}: the wait slides");
        let secs = number(&again, "retry-after");
        assert!(Duration::from_secs(secs) >= wait && secs <= wait.as_secs() + 1, "{what}");
    }
    // The promise is what is waited for.
    std::thread::sleep((heard + wait).saturating_duration_since(Instant::now()));
    let passed = call();
    assert_eq!(passed.status, 200, "{what}: {}\n{}", passed.head, passed.text());
}

#[test]
fn waiting_as_long_as_told_lets_the_same_call_pass_by_every_algorithm() {
    let mock = Mock::start();
    for plan in ["fixed", "calendar", "sliding", "bucket"] {
        let weir = start(&mock, plan);
        check_wait(plan, || weir.call(0, "GET", "/x", ""));
    }
}

#[test]
fn tokens_above_the_limit_are_paid_by_the_windows_that_follow() {
    let mock = Mock::start();
    let weir = start(&mock, "tokens");
    let chat = || {
        let headers = [&*weir.bearer(0), JSON, "x-mock-tokens: 150"];
        weir.line().call("POST", "/v1/chat/completions", &headers, CHAT)
    };
    // 40 a second, and at least 150 are used by a call that was estimated at less than 40.
    let began = Instant::now();
    assert_eq!(chat().status, 200);
    let refused = chat();
    assert_eq!(refused.status, 429, "{}", refused.text());
    let wait = Duration::from_millis(number(&refused, "retry-after-ms"));
    let least = Duration::from_millis(2_900).saturating_sub(began.elapsed());
    assert!(wait >= least, "the debt of three windows is not waited for: {wait:?}");
    check_wait("debt", chat);
    let large = r#"{"model":"m","max_tokens":41,"messages":[{"role":"user","content":"Hi"}]}"#;
    let never = weir.call(0, "POST", "/v1/chat/completions", large);
    assert_eq!((never.status, never.code().as_str()), (400, "request_exceeds_limit"));
    assert_eq!(never.header("retry-after"), None, "{}", never.head);
}

/// Waits until a call holds the slot, without asking for it.
fn the_slot_is_taken(weir: &Weir) {
    eventually("the slot is taken", || {
        let told = weir.call(0, "GET", "/weir/v1/limits", "").json();
        let limits = told["limits"].as_array().expect("limits");
        limits.iter().any(|limit| limit["name"] == "concurrency" && limit["used"] == 1)
    });
}

#[test]
fn a_slot_is_free_however_its_call_ended() {
    let mock = Mock::start();
    let weir = start(&mock, "one");
    let get = |target: &str| weir.call(0, "GET", target, "");
    let free = |after: &str| {
        eventually(after, || {
            let answer = get("/x");
            assert!(matches!(answer.status, 200 | 429), "{}", answer.text());
            answer.status == 200
        });
    };
    // A client that goes away.
    let mut line = Line::open(weir.data);
    let hanging = kept_request("GET", "/hang?x-mock-hang=before-head", &[&weir.bearer(0)], "");
    line.send(hanging.as_bytes()).expect("it is sent");
    the_slot_is_taken(&weir);
    let refused = get("/x");
    assert_eq!(refused.code(), "concurrency_limit_exceeded");
    assert_eq!(refused.header("retry-after"), Some("1"), "{}", refused.head);
    drop(line);
    free("the client went away");
    for (target, status) in [("/x?x-mock-reset=1", 502), ("/x?x-mock-status=500", 500)] {
        assert_eq!(get(target).status, status, "{target}");
        free(target);
    }
    // An upstream that dies within its answer.
    let cut = get("/x?x-mock-break=after-head");
    assert!(cut.status == 502 || !cut.complete, "{}", cut.head);
    free("the upstream broke off");
}

#[test]
fn a_slot_is_free_when_its_upstream_takes_too_long_or_dies() {
    let mut mock = Mock::start();
    let patience = "\nresponse_timeout = \"1s\"\nstream_idle_timeout = \"1s\"\n[plans.fixed";
    let config = CONFIG.replace("UPSTREAM", &mock.address.to_string());
    let quick = config.replacen("\n[plans.fixed", patience, 1);
    let weir = Weir::start(&quick, &[on("one")]);
    let slot_is_free = |weir: &Weir, after: &str, status: &[u16]| {
        eventually(after, || {
            let answer = weir.call(0, "GET", "/x", "");
            assert!(answer.status == 429 || status.contains(&answer.status), "{}", answer.text());
            answer.status != 429
        });
    };
    let late = weir.call(0, "GET", "/x?x-mock-hang=before-head", "");
    assert_eq!((late.status, late.code().as_str()), (504, "upstream_timeout"), "{}", late.text());
    slot_is_free(&weir, "the upstream was too late", &[200]);
    let chat = CHAT.replacen('{', "{\"stream\":true,", 1);
    let headers = [&*weir.bearer(0), JSON, "x-mock-tokens: 9", "x-mock-hang: after-3"];
    let silent = weir.line().call("POST", "/v1/chat/completions", &headers, &chat);
    assert!(silent.status == 200 && !silent.complete, "{}", silent.head);
    slot_is_free(&weir, "the stream went silent", &[200]);

    // One that waits for long, and whose upstream dies meanwhile.
    let weir = Weir::start(&config, &[on("one")]);
    let mut line = weir.line();
    let hanging = kept_request("GET", "/dies?x-mock-hang=before-head", &[&weir.bearer(0)], "");
    line.send(hanging.as_bytes()).expect("it is sent");
    the_slot_is_taken(&weir);
    mock.child().kill().expect("it runs");
    let dead = line.answer().expect("an answer");
    assert_eq!(dead.status, 502, "{}", dead.text());
    slot_is_free(&weir, "the upstream died", &[502, 503]);
}

#[test]
fn a_streams_headers_say_what_the_limits_and_the_next_call_say() {
    let mock = Mock::start();
    let weir = start(&mock, "free");
    let limits = || weir.call(0, "GET", "/weir/v1/limits", "").json();
    let chat = CHAT.replacen('{', "{\"stream\":true,", 1);
    let bearer = weir.bearer(0);
    let slow = [&*bearer, JSON, "x-mock-tokens: 30", "x-mock-chunk-delay-ms: 30"];
    let mut line = weir.line();
    let request = kept_request("POST", "/v1/chat/completions", &slow, &chat);
    line.send(request.as_bytes()).expect("it is sent");
    // The head comes while the stream runs.
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(std::io::BufRead::read_line(line.reader(), &mut head).expect("a head"), 0);
    }
    let running = limits();
    let head = Answer { status: 200, head, ..Answer::default() };
    assert!(head.header("content-type").is_some_and(|it| it.starts_with("text/event-stream")));
    let tokens = |told: &Value| limit_of(told, "ai.tokens", "tokens")["remaining"].as_u64();
    check_agreement(&head, &running);
    assert_eq!(head.header("x-ratelimit-limit-tokens"), Some("10000"), "{}", head.head);
    assert_eq!(number(&head, "x-ratelimit-remaining-tokens"), tokens(&running).expect("a number"));
    while std::io::BufRead::read_line(line.reader(), &mut String::new()).expect("a line") > 2 {}
    // What was estimated gives way to what was used, and the next call starts from that.
    let mut settled = running.clone();
    eventually("the stream is settled", || {
        settled = limits();
        tokens(&settled) != tokens(&running)
    });
    let next = weir.call(0, "POST", "/v1/chat/completions", CHAT);
    assert_eq!(next.status, 200, "{}", next.text());
    check_agreement(&next, &limits());
}

/// The headers of the answer, against the limits as they were shown at the same time.
#[track_caller]
fn check_agreement(answer: &Answer, shown: &Value) {
    let policy = items(answer.header("ratelimit-policy").expect("both fields"));
    let state = items(answer.header("ratelimit").expect("both fields"));
    let names = |items: &[Item]| items.iter().map(|item| item.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&policy), names(&state), "{}", answer.head);
    assert!(!names(&state).contains(&"all.shadow".to_owned()), "{}", answer.head);
    for (policy, state) in policy.iter().zip(&state) {
        let unit = policy.text("weir-unit").unwrap_or("requests");
        let shown = limit_of(shown, &policy.name, unit);
        let what = format!("{}: {}\n{shown}", policy.name, answer.head);
        assert_eq!(Some(policy.number("q")), shown["limit"].as_u64(), "{what}");
        assert_eq!(Some(policy.number("w")), shown["window_s"].as_u64(), "{what}");
        assert_eq!(Some(state.number("r")), shown["remaining"].as_u64(), "{what}");
        assert!(state.number("t") <= policy.number("w"), "{what}");
    }
    let nearest = answer.header("x-ratelimit-remaining").map(|_| {
        let limit = number(answer, "x-ratelimit-limit");
        let left = number(answer, "x-ratelimit-remaining");
        policy.iter().zip(&state).any(|(p, s)| p.number("q") == limit && s.number("r") == left)
    });
    assert_ne!(nearest, Some(false), "{}", answer.head);
}

#[test]
fn another_plan_acts_on_the_next_call_and_keeps_what_was_used() {
    let mock = Mock::start();
    let weir = start(&mock, "free");
    let accounts = weir.admin("GET", "/admin/v1/accounts", "").json();
    let account = format!("/admin/v1/accounts/{}", accounts["data"][0]["id"].as_str().expect("id"));
    let get = || weir.call(0, "GET", "/x", "");
    let plan = |plan: &str| {
        let changed = weir.admin("PATCH", &account, &json!({ "plan": plan }).to_string());
        assert_eq!(changed.status, 200, "{}", changed.text());
    };
    for left in [9, 8, 7, 6] {
        assert_eq!(get().remaining("read"), Some(left));
    }
    assert_eq!(get().status, 429);
    plan("pro");
    let after = get();
    assert_eq!((after.status, after.remaining("read")), (200, Some(5)), "{}", after.head);
    plan("free");
    // Of the hour four were used when it was left, and one call was not counted by it.
    let after = get();
    assert_eq!((after.status, after.remaining("read")), (429, Some(5)), "{}", after.head);
    plan("pro");
    assert_eq!(get().remaining("read"), Some(4));
}

#[test]
fn a_granted_request_acts_on_the_next_call_is_decided_once_and_stays() {
    let mock = Mock::start();
    let mut weir = start(&mock, "free");
    for _ in 0..2 {
        assert_eq!(weir.call(0, "PUT", "/x", "{}").status, 200);
    }
    assert_eq!(weir.call(0, "PUT", "/x", "{}").status, 429);
    let wish = json!({"limit": "write", "expected_volume": "20 an hour", "use_case": "a migration",
        "timeline": "this week"});
    let asked = weir.call(0, "POST", "/weir/v1/limit-increases", &wish.to_string());
    assert_eq!(asked.status, 201, "{}", asked.text());
    let id = asked.json()["id"].as_str().expect("an id").to_owned();
    assert_eq!(asked.json()["plan"], "free");
    let pending = weir.admin("GET", "/admin/v1/limit-increases?status=pending", "").json();
    assert_eq!(pending["data"][0]["id"], id.as_str());
    let decide = |weir: &Weir, what: &str, body: &str| {
        weir.admin("POST", &format!("/admin/v1/limit-increases/{id}/{what}"), body)
    };
    let granted = decide(&weir, "approve", r#"{"limit":"5/hour"}"#);
    assert_eq!(granted.status, 200, "{}", granted.text());
    let next = weir.call(0, "PUT", "/x", "{}");
    assert_eq!((next.status, next.remaining("write")), (200, Some(2)), "{}", next.head);
    assert_eq!(decide(&weir, "approve", r#"{"limit":"50/hour"}"#).status, 409);
    assert_eq!(decide(&weir, "decline", r#"{"reason":"no"}"#).status, 409);
    let own = weir.call(0, "GET", "/weir/v1/limit-increases", "").json();
    assert_eq!(own["data"][0]["status"], "approved");
    let audit = weir.admin("GET", "/admin/v1/audit", "").text().to_owned();
    assert!(audit.contains("limit_increase.approved"), "{audit}");
    weir.kill_and_restart();
    assert_eq!(decide(&weir, "decline", r#"{"reason":"no"}"#).status, 409);
    let limits = weir.call(0, "GET", "/weir/v1/limits", "").json();
    assert_eq!(limit_of(&limits, "write", "requests")["limit"], 5);
}

fn limit_of<'a>(limits: &'a Value, name: &str, unit: &str) -> &'a Value {
    let all = limits["limits"].as_array().expect("limits");
    let found = all.iter().find(|limit| limit["name"] == name && limit["unit"] == unit);
    found.unwrap_or_else(|| panic!("no {name}: {limits}"))
}

/// RFC 3339 of so many seconds from now.
fn in_secs(secs: i64) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("now");
    let at = i64::try_from(now.as_millis()).expect("a time") + secs * 1_000;
    jiff::Timestamp::from_millisecond(at).expect("a time").to_string()
}

#[test]
fn a_boost_begins_and_ends_on_time_and_the_customer_sees_it() {
    let mock = Mock::start();
    let weir = start(&mock, "free");
    let accounts = weir.admin("GET", "/admin/v1/accounts", "").json();
    let id = accounts["data"][0]["id"].as_str().expect("an id");
    let write = || {
        let limits = weir.admin("GET", &format!("/admin/v1/accounts/{id}/limits"), "").json();
        let write = limit_of(&limits, "write", "requests").clone();
        (write["limit"].clone(), write["boosted"].clone())
    };
    assert_eq!(weir.call(0, "PUT", "/x", "{}").remaining("write"), Some(1));
    let boost = |boost: Value| {
        let target = format!("/admin/v1/accounts/{id}/boosts");
        let made = weir.admin("POST", &target, &boost.to_string());
        assert_eq!(made.status, 201, "{}", made.text());
    };
    // Values do not add up, the largest counts; multipliers act on it, one after the other.
    let until = in_secs(6);
    boost(json!({"limit": "write", "value": 10, "from": in_secs(2), "until": until}));
    boost(json!({"limit": "write", "value": 7, "from": in_secs(2), "until": until}));
    boost(json!({"limit": "write", "multiplier": 2, "from": in_secs(2), "until": until}));
    boost(json!({"limit": "*", "multiplier": 1.5, "from": in_secs(2), "until": until}));
    eventually("all of them act", || write() == (json!(30), json!(true)));
    let own = weir.call(0, "GET", "/weir/v1/limits", "").json();
    assert_eq!(limit_of(&own, "write", "requests")["boosted"], true);
    let boosted = weir.call(0, "PUT", "/x", "{}");
    assert_eq!((boosted.status, boosted.remaining("write")), (200, Some(28)), "{}", boosted.head);
    eventually("they are over", || write() == (json!(2), json!(false)));
    let after = weir.call(0, "PUT", "/x", "{}");
    assert_eq!((after.status, after.remaining("write")), (429, Some(0)), "{}", after.head);
    eventually("both ends are told", || {
        let events = weir.admin("GET", "/admin/v1/events", "").text().to_owned();
        let count = |kind: &str| events.matches(&format!("\"{kind}\"")).count();
        (count("boost.started"), count("boost.ended")) == (4, 4)
    });
}

#[test]
fn headers_limits_and_the_next_call_say_the_same_and_looking_costs_nothing() {
    let mock = Mock::start();
    let weir = start(&mock, "free");
    let limits = || weir.call(0, "GET", "/weir/v1/limits", "").json();
    for (method, target, body) in [
        ("GET", "/x", ""),
        ("GET", "/x?x-mock-status=304", ""),
        ("PUT", "/x", "{}"),
        ("POST", "/v1/chat/completions", CHAT),
        ("GET", "/x", ""),
        ("GET", "/nowhere/%2e%2e", ""),
        ("GET", "/x?x-mock-status=500", ""),
        ("GET", "/x", ""),
        ("PUT", "/x", "{}"),
        ("PUT", "/x", "{}"),
    ] {
        let answer = weir.call(0, method, target, body);
        let now = limits();
        assert_eq!(used(&now), used(&limits()), "looking was counted");
        if answer.status == 400 {
            assert_eq!(answer.header("ratelimit"), None, "{}", answer.head);
            continue;
        }
        check_agreement(&answer, &now);
    }
    // The shadow counted what passed, and refused nothing.
    let now = limits();
    let shadow = limit_of(&now, "all.shadow", "requests");
    assert_eq!((&shadow["shadow"], &shadow["limit"]), (&json!(true), &json!(1)));
    assert_eq!(shadow["used"], mock.stats()["requests"]);
}

fn used(limits: &Value) -> Vec<Value> {
    let all = limits["limits"].as_array().expect("limits");
    all.iter().map(|limit| json!([limit["name"], limit["used"]])).collect()
}

/// An item of a structured list (RFC 9651): a string with parameters that are integers or strings.
#[derive(Debug)]
struct Item {
    name: String,
    parameters: Vec<(String, Result<u64, String>)>,
}

impl Item {
    fn number(&self, key: &str) -> u64 {
        let found = self.parameters.iter().find(|(known, _)| known == key);
        let (_, value) = found.unwrap_or_else(|| panic!("no {key} in {self:?}"));
        *value.as_ref().expect("an integer")
    }

    fn text(&self, key: &str) -> Option<&str> {
        let (_, value) = self.parameters.iter().find(|(known, _)| known == key)?;
        Some(value.as_ref().expect_err("a string"))
    }
}

/// Parses a list strictly; whatever the grammar does not allow fails the test.
#[track_caller]
fn items(mut text: &str) -> Vec<Item> {
    let mut items = Vec::new();
    loop {
        let (name, rest) = string(text);
        let mut item = Item { name, parameters: Vec::new() };
        text = rest;
        while let Some(rest) = text.strip_prefix(';') {
            let end = rest.find('=').expect("a value");
            let key = &rest[..end];
            let sound =
                key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
            assert!(sound && key.starts_with(|c: char| c.is_ascii_lowercase()), "{key}");
            let value = &rest[end + 1..];
            let (value, rest) = if value.starts_with('"') {
                let (value, rest) = string(value);
                (Err(value), rest)
            } else {
                let end = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
                assert!((1..=15).contains(&end), "{value}");
                (Ok(value[..end].parse().expect("an integer")), &value[end..])
            };
            item.parameters.push((key.to_owned(), value));
            text = rest;
        }
        items.push(item);
        match text.strip_prefix(", ") {
            Some(rest) => text = rest,
            None => break,
        }
    }
    assert_eq!(text, "", "something stands behind the list");
    items
}

fn string(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut letters = text.strip_prefix('"').expect("a string").chars();
    loop {
        match letters.next().expect("an end of the string") {
            '"' => return (value, letters.as_str()),
            '\\' => value.push(letters.next().filter(|c| "\"\\".contains(*c)).expect("an escape")),
            letter @ ' '..='~' => value.push(letter),
            other => panic!("{other:?} in a string"),
        }
    }
}
