//! `Idempotency-Key` on priced calls: one call to the upstream, one charge, the same answer again.

use std::io::BufRead;
use std::sync::Barrier;
use std::time::Duration;

use crate::limits::reached;
use crate::priced::{PRICED, Shop, chat, read_events, read_rest};
use crate::seed::paying;
use crate::server::Weir;
use crate::support::{Mock, within};
use crate::wire::Answer;

const CHAT: &str = "/v1/chat/completions";

fn call(shop: &Shop, key: &str, path: &str, knobs: &[&str], body: &str) -> Answer {
    let bearer = shop.weir.bearer(0);
    let key = format!("idempotency-key: {key}");
    let mut headers = vec![bearer.as_str(), &key, "connection: close"];
    headers.extend(knobs);
    shop.weir.line().call("POST", path, &headers, body)
}

fn replayed(answer: &Answer) -> bool {
    answer.header("idempotency-replayed") == Some("true")
}

#[test]
fn the_same_key_from_50_connections_is_one_call_and_one_charge() {
    let mut shop = Shop::open("5.00");
    let start = Barrier::new(50);
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..50)
            .map(|_| {
                scope.spawn(|| {
                    start.wait();
                    call(&shop, "k1", CHAT, &["x-mock-delay-ms: 300"], &chat(false, 50))
                })
            })
            .collect();
        callers.into_iter().map(|caller| caller.join().expect("a caller")).collect()
    });
    let made: Vec<_> = answers.iter().filter(|answer| answer.status == 200).collect();
    assert!(!made.is_empty());
    assert_eq!(made.iter().filter(|answer| !replayed(answer)).count(), 1);
    for refused in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!((refused.status, refused.code().as_str()), (409, "idempotency_in_progress"));
        assert_eq!(refused.header("retry-after"), Some("1"));
    }
    assert_eq!(reached(&shop.mock, CHAT), 1);
    let again = call(&shop, "k1", CHAT, &[], &chat(false, 50));
    assert!(again.status == 200 && replayed(&again), "{}", again.head);
    assert_eq!((again.text(), again.header("x-weir-charge")), (made[0].text(), Some("0.02")));
    assert_eq!(shop.available(), 5_000 - 20);
    assert_eq!(shop.charges().len(), 1);
}

#[test]
fn another_body_under_the_same_key_is_refused() {
    let shop = Shop::open("5.00");
    assert_eq!(call(&shop, "\"k\"", CHAT, &[], &chat(false, 50)).status, 200);
    assert!(replayed(&call(&shop, "k", CHAT, &[], &chat(false, 50))), "quotes are no part of it");
    let other = call(&shop, "k", CHAT, &[], &chat(false, 51));
    assert_eq!((other.status, other.code().as_str()), (422, "idempotency_mismatch"));
    let long = call(&shop, &"k".repeat(256), CHAT, &[], &chat(false, 51));
    assert_eq!((long.status, long.code().as_str()), (400, "invalid_request"));
}

#[test]
fn a_stream_is_given_again_as_it_was_also_after_a_crash() {
    let mut shop = Shop::open("5.00");
    for (path, end) in [(CHAT, "data: [DONE]"), ("/v1/messages", "message_stop")] {
        let first = call(&shop, path, path, &["x-weir-usage: 1"], &chat(true, 50));
        assert!(first.text().contains(end) && first.text().contains(r#""cost":0.02"#));
        shop.weir.kill_and_restart();
        let again = call(&shop, path, path, &["x-weir-usage: 1"], &chat(true, 50));
        assert!(replayed(&again), "{}", again.head);
        assert_eq!(again.text(), first.text());
        assert_eq!(again.header("content-type"), first.header("content-type"));
    }
    assert_eq!(shop.available(), 5_000 - 40);
}

#[test]
fn a_refusal_or_a_failure_frees_the_key() {
    let shop = Shop::open("0.06");
    assert_eq!(call(&shop, "k", CHAT, &[], &chat(false, 100)).status, 402);
    assert_eq!(call(&shop, "k", CHAT, &["x-mock-status: 500"], &chat(false, 50)).status, 500);
    assert_eq!(call(&shop, "k", CHAT, &["x-mock-hang: before-head"], &chat(false, 50)).status, 504);
    let made = call(&shop, "k", CHAT, &[], &chat(false, 50));
    assert!(made.status == 200 && !replayed(&made), "{}", made.head);
    assert_eq!(shop.available(), 40);
    // With nothing left for another call, the answer is given all the same.
    assert!(replayed(&call(&shop, "k", CHAT, &[], &chat(false, 50))));
}

#[test]
fn a_client_that_left_gets_the_answer_that_it_paid_for() {
    let shop = Shop::open("5.00");
    let headers = ["idempotency-key: k", "x-mock-delay-ms: 300"];
    let line = shop.begin(CHAT, &headers, &chat(false, 50));
    within(Duration::from_secs(5), "it is sent", || reached(&shop.mock, CHAT) == 1);
    drop(line);
    within(Duration::from_secs(5), "it is charged", || shop.available() == 5_000 - 20);
    assert!(replayed(&call(&shop, "k", CHAT, &[], &chat(false, 50))));
    assert_eq!(reached(&shop.mock, CHAT), 1);
}

#[test]
fn a_call_that_died_with_the_process_is_made_again_and_its_stream_was_charged() {
    let mut shop = Shop::open("5.00");
    let slow = ["idempotency-key: k", "x-mock-tokens: 200", "x-mock-chunk-delay-ms: 20"];
    let mut line = shop.begin(CHAT, &slow, &chat(true, 400));
    drop(read_events(&mut line, 80));
    assert_eq!(call(&shop, "k", CHAT, &[], &chat(true, 400)).code(), "idempotency_in_progress");
    shop.weir.kill_and_restart();
    let charged = 5_000 - shop.available();
    assert!((5..=200).contains(&charged), "{charged} of what it produced is charged");
    let again = call(&shop, "k", CHAT, &[], &chat(true, 400));
    assert!(again.status == 200 && !replayed(&again), "{}", again.head);
    assert_eq!(shop.available(), 5_000 - charged - 20);
    drop(read_rest(&mut line));
}

#[test]
fn an_answer_too_large_to_keep_is_charged_once_and_not_made_again() {
    let shop = Shop::open("5000.00");
    let knobs = ["x-mock-tokens: 300000"];
    let made = call(&shop, "k", CHAT, &knobs, &chat(false, 1_000_000));
    assert!(made.status == 200 && made.body.len() > 1_000_000);
    let again = call(&shop, "k", CHAT, &knobs, &chat(false, 1_000_000));
    assert_eq!((again.status, again.code().as_str()), (409, "conflict"));
    assert_eq!(reached(&shop.mock, CHAT), 1);
}

#[test]
fn a_call_that_is_no_longer_charged_when_its_body_is_here_takes_no_key() {
    let mock = Mock::start();
    let config = format!("{PRICED}\n[plans.gratis]\nbilling = \"none\"\n");
    let config = config.replace("UPSTREAM", &mock.address.to_string());
    let weir = Weir::start(&config, &[paying("payg", "5.00")]);
    let shop = Shop { weir, mock };
    let listed = shop.weir.admin("GET", "/admin/v1/accounts", "").json();
    let target = format!("/admin/v1/accounts/{}", listed["data"][0]["id"].as_str().expect("an id"));

    let body = chat(false, 50);
    let (bearer, length) = (shop.weir.bearer(0), body.len());
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: weir\r\n{bearer}\r\nidempotency-key: k\r\n\
         expect: 100-continue\r\ncontent-length: {length}\r\n\r\n"
    );
    let mut line = shop.weir.line();
    line.send(head.as_bytes()).expect("it is sent");
    let mut waited = String::new();
    line.reader().read_line(&mut waited).expect("an interim answer");
    assert!(waited.starts_with("HTTP/1.1 100"), "its body is waited for: {waited}");
    line.reader().read_line(&mut waited).expect("its end");
    assert_eq!(shop.weir.admin("PATCH", &target, r#"{"plan":"gratis"}"#).status, 200);
    line.send(body.as_bytes()).expect("it is sent");
    assert_eq!(line.answer().map(|answer| answer.status), Some(200));

    assert_eq!(shop.weir.admin("PATCH", &target, r#"{"plan":"payg"}"#).status, 200);
    let made = call(&shop, "k", CHAT, &[], &body);
    assert!(made.status == 200 && !replayed(&made), "{}{}", made.head, made.text());
    assert!(replayed(&call(&shop, "k", CHAT, &[], &body)));
    assert_eq!(shop.available(), 5_000 - 20);
}
