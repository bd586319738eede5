//! Long polling: whoever asks for events may wait for the next one.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::seed::on;
use crate::server::Weir;
use crate::support::{Mock, PATIENCE};
use crate::wire::{Answer, Line};

const CONFIG: &str = r#"
[upstreams.mock]
urls = ["http://UPSTREAM"]
[plans.free]
limits = { read = "1000/hour" }
[plans.pro]
limits = { read = "2000/hour" }
[[routes]]
match = "GET /*"
upstream = "mock"
"#;

fn start(mock: &Mock) -> (Weir, String) {
    let config = CONFIG.replace("UPSTREAM", &mock.address.to_string());
    let weir = Weir::start(&config, &[on("free"), on("free")]);
    let account = weir.admin("GET", "/admin/v1/accounts", "").json()["data"][0]["id"].clone();
    (weir, account.as_str().expect("an id").to_owned())
}

/// Asks for what comes after an event, and waits for it as long as is said.
fn events(weir: &Weir, key: usize, after: &str, wait: &str) -> Answer {
    let prefer = format!("prefer: wait={wait}");
    let target = format!("/weir/v1/events?after={after}");
    weir.line().call("GET", &target, &[&weir.bearer(key), &prefer], "")
}

/// Where events that come from now on begin.
fn latest(weir: &Weir, key: usize) -> String {
    let told = weir.call(key, "GET", "/weir/v1/events?after=latest", "").json();
    assert_eq!(told["data"], json!([]));
    told["next_cursor"].as_str().expect("a cursor").to_owned()
}

fn change_plan(weir: &Weir, account: &str, plan: &str) {
    let body = json!({ "plan": plan }).to_string();
    let changed = weir.admin("PATCH", &format!("/admin/v1/accounts/{account}"), &body);
    assert_eq!(changed.status, 200, "{}", changed.text());
}

#[test]
fn who_waits_gets_an_event_when_it_comes_and_nobody_elses() {
    let mock = Mock::start();
    let (weir, account) = start(&mock);
    let (own, others) = (latest(&weir, 0), latest(&weir, 1));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| (events(&weir, 0, &own, "60"), Instant::now()));
        let stranger = scope.spawn(|| events(&weir, 1, &others, "3"));
        // A change that comes before the question is answered at once, too.
        change_plan(&weir, &account, "pro");
        let began = Instant::now();
        let (answer, came) = waiting.join().expect("no panic");
        assert!(came.saturating_duration_since(began) < PATIENCE, "it waited for its whole time");
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.header("preference-applied"), Some("wait=60"), "{}", answer.head);
        assert_eq!(answer.header("x-poll-interval"), Some("0"), "{}", answer.head);
        let told = answer.json();
        assert_eq!(told["data"].as_array().map(Vec::len), Some(1), "{told}");
        assert_eq!(told["data"][0]["account_id"], account.as_str(), "{told}");
        let next = told["next_cursor"].as_str().expect("a cursor");
        assert_eq!(events(&weir, 0, next, "1").json()["data"], json!([]), "it is told once");
        assert_eq!(stranger.join().expect("no panic").json()["data"], json!([]));
    });
}

#[test]
fn without_an_event_the_answer_is_empty_after_as_long_as_was_asked() {
    let mock = Mock::start();
    let (weir, _) = start(&mock);
    let after = latest(&weir, 0);
    let began = Instant::now();
    let answer = events(&weir, 0, &after, "2");
    assert!(began.elapsed() >= Duration::from_secs(2), "it did not wait");
    let told = answer.json();
    assert_eq!((&told["data"], &told["next_cursor"]), (&json!([]), &json!(after)));
    assert_eq!(answer.header("preference-applied"), Some("wait=2"), "{}", answer.head);
    // Who may not wait is told when to come again; more than a minute is a minute.
    let plain = weir.call(0, "GET", &format!("/weir/v1/events?after={after}"), "");
    assert_eq!(plain.header("x-poll-interval"), Some("10"), "{}", plain.head);
    assert_eq!(plain.header("preference-applied"), None, "{}", plain.head);
    let full = weir.call(0, "GET", "/weir/v1/events?limit=1", "");
    assert_eq!(full.json()["data"].as_array().map(Vec::len), Some(1));
    assert_eq!(full.header("x-poll-interval"), Some("0"), "there is more: {}", full.head);
}

#[test]
fn a_drain_does_not_wait_for_who_waits() {
    let mock = Mock::start();
    let (mut weir, _) = start(&mock);
    let after = latest(&weir, 0);
    let mut line = Line::open(weir.data);
    let target = format!("/weir/v1/events?after={after}");
    let lines = [&*weir.bearer(0), "prefer: wait=60"];
    line.send(crate::wire::kept_request("GET", &target, &lines, "").as_bytes())
        .expect("it is sent");
    let began = Instant::now();
    weir.stop();
    assert!(began.elapsed() < Duration::from_secs(25), "the drain waited for its deadline");
    assert_eq!(line.answer().map(|answer| answer.status), Some(200));
}
