//! Clients that go away, upstreams that break off, credit that ends: what is charged, and when
//! what was held is free again.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::priced::{Shop, chat, flags_of, output_of, read_events, read_rest};
use crate::support::within;

/// Where a client hangs up.
#[derive(Clone, Copy, Debug)]
enum At {
    /// Before anything came back.
    Once,
    /// After so many events.
    Event(usize),
}

/// One way for a call to come to a bad end, and what it may cost in thousandths.
struct Case {
    name: &'static str,
    path: &'static str,
    body: &'static str,
    knobs: &'static [&'static str],
    at: At,
    spent: RangeInclusive<i64>,
    /// Whether the upstream is told to stop.
    cancelled: bool,
}

const CHAT: &str = "/v1/chat/completions";
const STREAM: &str =
    r#"{"model":"m","stream":true,"max_tokens":50,"messages":[{"role":"user","content":"Hi"}]}"#;
const WHOLE: &str = r#"{"model":"m","max_tokens":50,"messages":[{"role":"user","content":"Hi"}]}"#;
const RESPONSE: &str = r#"{"model":"m","stream":true,"max_output_tokens":50,"input":"Hi"}"#;
const SLOW: &[&str] = &["x-mock-tokens: 50", "x-mock-chunk-delay-ms: 40"];
const SLOW_EACH: &[&str] =
    &["x-mock-tokens: 50", "x-mock-chunk-delay-ms: 40", "x-mock-usage: every-chunk"];

const CASES: &[Case] = &[
    Case {
        name: "before the first byte of a stream",
        path: CHAT,
        body: STREAM,
        knobs: &["x-mock-tokens: 50", "x-mock-delay-ms: 700"],
        at: At::Once,
        spent: 0..=0,
        cancelled: true,
    },
    Case {
        name: "chunk 0",
        path: CHAT,
        body: STREAM,
        knobs: &["x-mock-tokens: 50", "x-mock-first-delay-ms: 700"],
        at: At::Once,
        spent: 0..=0,
        cancelled: true,
    },
    Case {
        name: "chunk 1",
        path: CHAT,
        body: STREAM,
        knobs: SLOW,
        at: At::Event(1),
        spent: 0..=8,
        cancelled: true,
    },
    Case {
        name: "chunk 10",
        path: CHAT,
        body: STREAM,
        knobs: SLOW,
        at: At::Event(10),
        spent: 7..=28,
        cancelled: true,
    },
    Case {
        name: "chunk 10 with usage so far",
        path: CHAT,
        body: STREAM,
        knobs: SLOW_EACH,
        at: At::Event(10),
        spent: 9..=20,
        cancelled: true,
    },
    Case {
        name: "a whole answer runs to its end",
        path: CHAT,
        body: WHOLE,
        knobs: &["x-mock-tokens: 50", "x-mock-delay-ms: 300"],
        at: At::Once,
        spent: 50..=50,
        cancelled: false,
    },
    Case {
        name: "a drained stream runs to its end",
        path: "/drain/v1/chat/completions",
        body: STREAM,
        knobs: &["x-mock-tokens: 50", "x-mock-chunk-delay-ms: 10"],
        at: At::Event(3),
        spent: 50..=50,
        cancelled: false,
    },
    Case {
        name: "a drained stream without usage is estimated whole",
        path: "/drain/v1/chat/completions",
        body: STREAM,
        knobs: &["x-mock-tokens: 50", "x-mock-chunk-delay-ms: 10", "x-mock-usage: none"],
        at: At::Event(3),
        spent: 40..=80,
        cancelled: false,
    },
    Case {
        name: "nobody gets output for nothing by going away",
        path: "/free/v1/chat/completions",
        body: STREAM,
        knobs: SLOW,
        at: At::Event(10),
        spent: 7..=28,
        cancelled: true,
    },
    Case {
        name: "a hang-up is charged by what was produced, not by the hold",
        path: "/hold/v1/chat/completions",
        body: STREAM,
        knobs: SLOW,
        at: At::Event(10),
        spent: 7..=28,
        cancelled: true,
    },
    Case {
        name: "responses, event 10",
        path: "/v1/responses",
        body: RESPONSE,
        knobs: SLOW,
        at: At::Event(10),
        spent: 3..=20,
        cancelled: true,
    },
    Case {
        name: "messages, event 10",
        path: "/v1/messages",
        body: STREAM,
        knobs: SLOW,
        at: At::Event(10),
        spent: 5..=24,
        cancelled: true,
    },
];

#[test]
fn a_client_that_hangs_up_pays_for_what_was_produced_and_its_hold_goes() {
    let shop = Shop::open("5.00");
    for case in CASES {
        let (before, cancelled) = (shop.available(), shop.cancelled());
        let mut line = shop.begin(case.path, case.knobs, case.body);
        match case.at {
            At::Once => {
                within(Duration::from_secs(5), case.name, || {
                    shop.mock.stats()["open"].as_u64() > Some(0)
                });
            }
            At::Event(count) => drop(read_events(&mut line, count)),
        }
        drop(line);
        let patience = Duration::from_millis(if case.cancelled { 1_000 } else { 3_000 });
        let mut spent = 0;
        let gone = || {
            spent = before - shop.available();
            shop.mock.stats()["open"].as_u64() == Some(0) && case.spent.contains(&spent)
        };
        // What is held is at least 50, so that within these bounds nothing is held any more.
        within(patience, case.name, gone);
        let told = shop.cancelled() - cancelled;
        assert_eq!(told, u64::from(case.cancelled), "{}: the upstream is told", case.name);
    }
}

/// One way for an upstream to fail, and what it may cost in thousandths.
struct Failing {
    name: &'static str,
    path: &'static str,
    body: &'static str,
    knobs: &'static [&'static str],
    status: u16,
    spent: RangeInclusive<i64>,
    flags: &'static [&'static str],
}

const FAILING: &[Failing] = &[
    Failing {
        name: "a refusal of the upstream is free",
        path: CHAT,
        body: WHOLE,
        knobs: &["x-mock-status: 400"],
        status: 400,
        spent: 0..=0,
        flags: &[],
    },
    Failing {
        name: "an error of the upstream is free, for streams too",
        path: CHAT,
        body: STREAM,
        knobs: &["x-mock-status: 500"],
        status: 500,
        spent: 0..=0,
        flags: &[],
    },
    Failing {
        name: "no answer in time settles like a hang-up",
        path: CHAT,
        body: WHOLE,
        knobs: &["x-mock-hang: before-head"],
        status: 504,
        spent: 0..=0,
        flags: &["estimated", "upstream_broke"],
    },
    Failing {
        name: "a whole body that breaks",
        path: CHAT,
        body: WHOLE,
        knobs: &["x-mock-tokens: 50", "x-mock-break: mid-event"],
        status: 502,
        spent: 10..=70,
        flags: &["estimated", "upstream_broke"],
    },
    Failing {
        name: "a stream that breaks after 10 chunks",
        path: CHAT,
        body: STREAM,
        knobs: &["x-mock-tokens: 50", "x-mock-break: after-10-chunks"],
        status: 200,
        spent: 7..=20,
        flags: &["estimated", "upstream_broke"],
    },
    Failing {
        name: "a stream that breaks inside an event",
        path: CHAT,
        body: STREAM,
        knobs: &["x-mock-tokens: 50", "x-mock-break: mid-event"],
        status: 200,
        spent: 0..=3,
        flags: &["estimated", "upstream_broke"],
    },
    Failing {
        name: "a stream that goes silent",
        path: CHAT,
        body: STREAM,
        knobs: &["x-mock-tokens: 50", "x-mock-hang: after-10"],
        status: 200,
        spent: 7..=20,
        flags: &["estimated", "upstream_broke"],
    },
    Failing {
        name: "messages that break",
        path: "/v1/messages",
        body: STREAM,
        knobs: &["x-mock-tokens: 50", "x-mock-break: after-12-chunks"],
        status: 200,
        spent: 5..=24,
        flags: &["estimated", "upstream_broke"],
    },
    Failing {
        name: "responses that go silent",
        path: "/v1/responses",
        body: RESPONSE,
        knobs: &["x-mock-tokens: 50", "x-mock-hang: after-14"],
        status: 200,
        spent: 5..=24,
        flags: &["estimated", "upstream_broke"],
    },
];

#[test]
fn what_an_upstream_produced_before_it_failed_is_charged_and_flagged() {
    for case in FAILING {
        let mut shop = Shop::open("5.00");
        let bearer = shop.weir.bearer(0);
        let mut headers = vec![bearer.as_str(), "content-type: application/json"];
        headers.extend(case.knobs);
        let answer = shop.weir.line().call("POST", case.path, &headers, case.body);
        assert_eq!(answer.status, case.status, "{}: {answer:?}", case.name);
        if case.status == 200 {
            assert!(!answer.complete, "{}: nobody takes it for the whole", case.name);
            assert!(!answer.text().contains("[DONE]"), "{}", case.name);
        }
        let spent = 5_000 - shop.available();
        assert!(case.spent.contains(&spent), "{}: {spent} was spent", case.name);
        let charges = shop.charges();
        match case.flags {
            [] => assert!(charges.is_empty(), "{}: {charges:?}", case.name),
            flags => assert_eq!(flags_of(&charges[0]), flags, "{}", case.name),
        }
    }
}

#[test]
fn a_stream_whose_credit_ends_is_stopped_with_a_well_formed_error_and_charged() {
    let mut shop = Shop::open("0.30");
    let knobs = ["x-mock-tokens: 2000", "x-mock-chunk-delay-ms: 1", "connection: close"];
    let mut line = shop.begin(CHAT, &knobs, &chat(true, 4_000));
    let text = read_rest(&mut line);
    assert!(text.contains(r#""code":"insufficient_credits""#), "{text}");
    assert!(text.contains("data: [DONE]\n\n"), "as OpenAI's clients expect the end");
    let spent = 300 - shop.available();
    assert!((290..=302).contains(&spent), "{spent} of 300 is spent");
    within(Duration::from_secs(1), "the upstream is told", || shop.cancelled() == 1);
    let charges = shop.charges();
    assert_eq!(flags_of(&charges[0])[..2], ["estimated", "credit_exhausted"]);
}

#[test]
fn a_stream_that_may_finish_takes_on_debt_that_blocks_the_next_call() {
    let mut shop = Shop::open("0.30");
    let body = chat(true, 4_000);
    let knobs = ["x-mock-tokens: 1000", "connection: close"];
    let mut line = shop.begin("/finish/v1/chat/completions", &knobs, &body);
    let text = read_rest(&mut line);
    assert!(text.contains("data: [DONE]\n\n") && !text.contains("insufficient"), "{text}");
    assert_eq!(shop.available(), 300 - 1_000);
    let refused = shop.weir.call(0, "POST", "/finish/v1/chat/completions", &body);
    assert_eq!((refused.status, refused.code().as_str()), (402, "insufficient_credits"));
    let charges = shop.charges();
    assert_eq!(charges.len(), 2, "what was covered, and the debt: {charges:?}");
    assert_eq!(output_of(&charges[0]), 1_000);
}

#[test]
fn a_bound_that_does_not_fit_is_lowered_where_the_route_says_so() {
    let shop = Shop::open("0.08");
    let path = "/clamp/v1/chat/completions";
    for bound in ["max_tokens", "max_completion_tokens"] {
        let body = format!(r#"{{"model":"m","{bound}":100,"messages":[]}}"#);
        let refused = shop.weir.call(0, "POST", CHAT, &body);
        assert_eq!(refused.status, 402, "{}", refused.text());
        assert_eq!(refused.json()["affordable_output_tokens"], 80);
        let bearer = shop.weir.bearer(0);
        let headers = [bearer.as_str(), "x-mock-status: 429"];
        let answer = shop.weir.line().call("POST", path, &headers, &body);
        assert_eq!(answer.header("x-weir-max-output-tokens"), Some("80"), "{}", answer.head);
        let sent = shop.mock.stats()["last_request"]["body"].clone();
        assert_eq!(sent, format!(r#"{{"model":"m","{bound}":80,"messages":[]}}"#));
    }
}

#[test]
fn several_answers_are_held_for_and_a_missing_bound_holds_what_the_route_says() {
    let shop = Shop::open("0.35");
    let n = |n: u64, bound: &str| {
        let body = format!(r#"{{"model":"m","n":{n}{bound},"messages":[]}}"#);
        shop.weir.call(0, "POST", CHAT, &body)
    };
    let refused = n(4, r#","max_tokens":100"#);
    assert_eq!((refused.status, refused.json()["required"].as_str()), (402, Some("0.40")));
    let refused = n(4, "");
    assert_eq!((refused.status, refused.json()["required"].as_str()), (402, Some("0.40")));
    assert_eq!(n(3, "").status, 200);
    let forwarded = shop.mock.stats()["last_request"]["body"].clone();
    assert_eq!(forwarded, r#"{"model":"m","n":3,"messages":[]}"#);
    assert_eq!(shop.available(), 350 - 60, "three answers of 20 tokens");
}

#[test]
fn a_usage_chunk_that_weir_asked_for_is_seen_only_by_weir() {
    let shop = Shop::open("5.00");
    let bearer = shop.weir.bearer(0);
    let call = |headers: &[&str], body: &str| {
        let mut all = vec![bearer.as_str(), "connection: close"];
        all.extend(headers);
        shop.weir.line().call("POST", CHAT, &all, body)
    };
    let usages = |answer: &crate::wire::Answer| {
        answer.events().iter().filter(|event| event["usage"].is_object()).count()
    };
    let hidden = call(&[], STREAM);
    assert_eq!(usages(&hidden), 0, "{}", hidden.text());
    let sent = shop.mock.stats()["last_request"]["body"].clone();
    assert!(sent.as_str().is_some_and(|body| body.contains(r#""include_usage":true"#)), "{sent}");
    let asked = STREAM
        .replace(r#""stream":true"#, r#""stream":true,"stream_options":{"include_usage":true}"#);
    assert_eq!(usages(&call(&[], &asked)), 1);
    let told = call(&["x-weir-usage: 1"], STREAM);
    let costs: Vec<_> =
        told.events().iter().filter_map(|event| event["usage"]["cost"].as_f64()).collect();
    assert_eq!(costs, [0.02], "{}", told.text());
    assert_eq!(shop.available(), 5_000 - 60);
}

#[test]
fn streams_with_a_far_too_large_bound_spend_a_balance_of_ten_calls_to_its_end() {
    let mut shop = Shop::open("2.00");
    let body = chat(true, 4_000);
    let (mut whole, mut refused) = (0, 0);
    for _ in 0..10 {
        let knobs = ["x-mock-tokens: 200", "x-mock-usage: every-chunk", "connection: close"];
        let text = read_rest(&mut shop.begin(CHAT, &knobs, &body));
        whole += usize::from(text.contains("[DONE]") && !text.contains("insufficient"));
        refused += usize::from(text.starts_with("HTTP/1.1 402"));
    }
    println!("false refusals: {refused} of 10 streams; {whole} ran to their end");
    assert_eq!((whole, refused), (10, 0));
    assert_eq!(shop.available(), 0);
    assert_eq!(shop.charges().len(), 10);
}
