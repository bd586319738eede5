//! Upstreams that report nonsense: no lie becomes credit or ruin, and each is told in the ledger.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::ops::RangeInclusive;

use weir_core::usage::Meter;

use crate::priced::{PRICED, Shop, flags_of, output_of};
use crate::seed::paying;
use crate::server::Weir;
use crate::support::Mock;

/// What an upstream says of 50 tokens of output, and what of it may be charged.
struct Lie {
    usage: &'static str,
    spent: RangeInclusive<i64>,
    flags: &'static [&'static str],
}

const LIES: &[Lie] = &[
    Lie { usage: "exact", spent: 50..=50, flags: &[] },
    Lie { usage: "negative", spent: 40..=80, flags: &["estimated", "implausible_usage"] },
    Lie { usage: "huge", spent: 40..=80, flags: &["estimated", "implausible_usage"] },
    Lie { usage: "string", spent: 50..=50, flags: &["implausible_usage"] },
    Lie { usage: "float", spent: 51..=51, flags: &["implausible_usage"] },
    Lie { usage: "none", spent: 40..=80, flags: &["estimated"] },
    Lie { usage: "double", spent: 50..=50, flags: &[] },
    Lie { usage: "every-chunk", spent: 50..=50, flags: &[] },
];

const SHAPES: &[(&str, &str)] = &[
    ("/v1/chat/completions", r#"{"model":"m","max_tokens":100,"messages":[]}"#),
    ("/v1/chat/completions", r#"{"model":"m","stream":true,"max_tokens":100,"messages":[]}"#),
    ("/v1/responses", r#"{"model":"m","max_output_tokens":100,"input":"Hi"}"#),
    ("/v1/responses", r#"{"model":"m","stream":true,"max_output_tokens":100,"input":"Hi"}"#),
    ("/v1/messages", r#"{"model":"m","max_tokens":100,"messages":[]}"#),
    ("/v1/messages", r#"{"model":"m","stream":true,"max_tokens":100,"messages":[]}"#),
];

#[test]
fn a_lie_about_usage_is_charged_soberly_and_flagged_in_every_shape() {
    let mut shop = Shop::open("50.00");
    let mut told = Vec::new();
    for (path, body) in SHAPES {
        for lie in LIES {
            let before = shop.available();
            let bearer = shop.weir.bearer(0);
            let usage = format!("x-mock-usage: {}", lie.usage);
            let headers = [&bearer, "x-mock-tokens: 50", &usage, "connection: close"];
            let answer = shop.weir.line().call("POST", path, &headers, body);
            let name = format!("{} of {path} {body}", lie.usage);
            assert_eq!((answer.status, answer.complete), (200, true), "{name}");
            let spent = before - shop.available();
            assert!(lie.spent.contains(&spent), "{name}: {spent} was spent");
            told.push((name, lie));
        }
    }
    let charges = shop.charges();
    assert_eq!(charges.len(), told.len());
    for (charge, (name, lie)) in charges.iter().zip(&told) {
        let flags = flags_of(charge);
        // In a stream, what comes after the last report is counted beside it.
        let known = flags.iter().filter(|flag| **flag != "above_hold");
        assert_eq!(known.collect::<Vec<_>>(), lie.flags.iter().collect::<Vec<_>>(), "{name}");
    }
}

#[test]
fn more_cached_input_than_input_is_no_credit() {
    let mut shop = Shop::open("5.00");
    for (path, body) in SHAPES {
        let bearer = shop.weir.bearer(0);
        let headers = [&bearer, "x-mock-usage: cached-gt-input", "x-mock-tokens: 50"];
        assert_eq!(shop.weir.line().call("POST", path, &headers, body).status, 200);
    }
    let charges = shop.charges();
    assert!(charges.iter().all(|charge| output_of(charge) == 50), "{charges:?}");
    // Anthropic reports cached input apart, so that it cannot exceed anything.
    assert!(charges[..4].iter().all(|charge| flags_of(charge) == ["implausible_usage"]));
}

/// An upstream that gives every call the same answer; it ends with the test process.
fn parrot(answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // A small request comes in one piece.
            let _read = stream.read(&mut [0; 16_384]);
            let length = answer.len();
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
                 connection: close\r\n\r\n"
            );
            let _written = stream.write_all(format!("{head}{answer}").as_bytes());
        }
    });
    address
}

#[test]
fn input_that_nobody_reports_is_charged_by_the_estimate() {
    let answer = r#"{"choices":[{"index":0,"message":{"content":"Hello"}}],"usage":{"completion_tokens":20,"output_tokens":20}}"#;
    let config = PRICED.replace("UPSTREAM", &parrot(answer).to_string()).replace(
        "output_tokens = \"1.00/1k\"",
        "input_tokens = \"1.00/1k\"\noutput_tokens = \"1.00/1k\"",
    );
    let weir = Weir::start(&config, &[paying("payg", "5")]);
    let mut shop = Shop { weir, mock: Mock::start() };
    let text = "four".repeat(25);
    let body = format!(
        r#"{{"model":"m","max_tokens":100,"messages":[{{"role":"user","content":"{text}"}}]}}"#
    );
    for path in ["/v1/chat/completions", "/v1/messages"] {
        assert_eq!(shop.weir.call(0, "POST", path, &body).status, 200);
    }
    for charge in shop.charges() {
        let input = charge.call.as_ref().map(|call| call.usage.of(Meter::InputTokens));
        assert!(input >= Some(25), "{charge:?}");
        assert_eq!((output_of(&charge), flags_of(&charge)), (20, vec!["estimated"]));
    }
}
