//! Upstreams that report nonsense: no lie becomes credit or ruin, and each is told in the ledger.

use std::ops::RangeInclusive;

use crate::priced::{Shop, flags_of, output_of};

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
