//! Where the limits of a call stand, told in headers.
//!
//! `X-RateLimit-*` tell the request limit nearest to exhaustion; `RateLimit` and `RateLimit-Policy`
//! (draft-ietf-httpapi-ratelimit-headers-11) tell all; `x-ratelimit-*-requests` and `-tokens` are
//! OpenAI's.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use weir_core::admit::LimitView;
use weir_core::limit::{Algorithm, Unit};
use weir_core::time::Timestamp;
use weir_wire::header;

/// Writes the limit headers of a call.
///
/// `refused` is the limit that refused it, which `X-RateLimit-*` then tell; `openai` adds OpenAI's
/// names.
pub fn write(
    headers: &mut HeaderMap,
    views: &[LimitView],
    refused: Option<&LimitView>,
    openai: bool,
    now: Timestamp,
) {
    headers.reserve(HEADERS_MAX);
    let nearest = refused.or_else(|| nearest(views, Unit::Requests));
    match nearest.and_then(|view| view.now.limit.map(|limit| (view, limit))) {
        Some((view, limit)) => {
            let remaining = told(view.unit, view.now.remaining.min(limit));
            headers.insert(&LIMIT, told(view.unit, limit).into());
            headers.insert(&REMAINING, remaining.into());
            headers.insert(&RESET, view.now.reset_at.max(now).secs_ceil().into());
            headers.insert(&WINDOW, view.now.window.secs_ceil().into());
        }
        None if views.iter().all(|view| view.now.limit.is_none() || view.shadow) => {
            headers.insert(&UNLIMITED, HeaderValue::from_static("true"));
        }
        None => {}
    }
    standard(headers, views, now);
    if openai {
        openai_names(headers, views, now);
    }
}

/// Of the limits in a unit, the one with the least left in proportion, then the longest until
/// reset. Concurrency and shadow limits do not count.
fn nearest(views: &[LimitView], unit: Unit) -> Option<&LimitView> {
    let counted = views.iter().filter(|view| {
        view.unit == unit && view.algorithm != Algorithm::Concurrency && !view.shadow
    });
    counted.filter(|view| view.now.limit.is_some()).min_by(|a, b| {
        let share = |view: &LimitView, other: &LimitView| {
            u128::from(view.now.remaining) * u128::from(other.now.limit.unwrap_or(1).max(1))
        };
        share(a, b).cmp(&share(b, a)).then(b.now.reset_at.cmp(&a.now.reset_at))
    })
}

fn standard(headers: &mut HeaderMap, views: &[LimitView], now: Timestamp) {
    let mut policy = String::with_capacity(views.len() * 40);
    let mut state = String::with_capacity(views.len() * 40);
    for view in views.iter().filter(|view| !view.shadow) {
        let Some(limit) = view.now.limit else { continue };
        if !policy.is_empty() {
            policy.push_str(", ");
            state.push_str(", ");
        }
        quote(&mut policy, view.name);
        quote(&mut state, view.name);
        policy.push_str(";q=");
        number(&mut policy, told(view.unit, limit));
        state.push_str(";r=");
        number(&mut state, told(view.unit, view.now.remaining));
        if view.algorithm == Algorithm::Concurrency {
            policy.push_str(";qu=\"concurrent-requests\"");
        } else {
            policy.push_str(";w=");
            number(&mut policy, seconds(view.now.window.secs_ceil().max(1)));
            state.push_str(";t=");
            number(&mut state, seconds(view.now.reset_at.since(now).secs_ceil()));
        }
        match view.unit {
            Unit::Requests => {}
            Unit::Tokens => policy.push_str(";weir-unit=\"tokens\""),
            Unit::Credits => policy.push_str(";weir-unit=\"micro-credits\""),
        }
    }
    if !policy.is_empty() {
        put(headers, &POLICY, policy);
        put(headers, &STATE, state);
    }
}

fn openai_names(headers: &mut HeaderMap, views: &[LimitView], now: Timestamp) {
    for (unit, names) in [(Unit::Requests, &OPENAI_REQUESTS), (Unit::Tokens, &OPENAI_TOKENS)] {
        let [limit, remaining, reset] = names;
        let Some(view) = nearest(views, unit) else { continue };
        headers.insert(limit, view.now.limit.unwrap_or(0).into());
        headers.insert(remaining, view.now.remaining.into());
        put(headers, reset, go_duration(view.now.reset_at.since(now).millis_ceil()));
    }
}

/// A duration as OpenAI writes it: `120ms`, `1s`, `6m0s`, `1h0m0s`.
fn go_duration(ms: i64) -> String {
    let s = ms / 1_000;
    match ms {
        ..1_000 => format!("{ms}ms"),
        1_000..60_000 => format!("{s}s"),
        60_000..3_600_000 => format!("{}m{}s", s / 60, s % 60),
        _ => format!("{}h{}m{}s", s / 3_600, s / 60 % 60, s % 60),
    }
}

/// An amount as structured fields can carry it: at most fifteen digits; money in millionths.
fn told(unit: Unit, amount: u64) -> u64 {
    match unit {
        Unit::Credits => amount / 1_000,
        Unit::Requests | Unit::Tokens => amount,
    }
    .min(999_999_999_999_999)
}

/// Writes a structured-field string (RFC 9651): ASCII, quotes and backslashes escaped.
fn quote(text: &mut String, name: &str) {
    text.push('"');
    if name.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\') {
        text.push_str(name);
    } else {
        for letter in name.chars() {
            match letter {
                '"' | '\\' => text.extend(['\\', letter]),
                ' '..='~' => text.push(letter),
                _ => text.push('?'),
            }
        }
    }
    text.push('"');
}

/// Writes a number: a call tells a dozen, and the formatting machinery costs more than the digits.
fn number(text: &mut String, value: u64) {
    if value >= 10 {
        number(text, value / 10);
    }
    text.push(char::from(b'0' + u8::try_from(value % 10).unwrap_or(0)));
}

fn seconds(signed: i64) -> u64 {
    u64::try_from(signed).unwrap_or(0)
}

fn put(headers: &mut HeaderMap, name: &'static HeaderName, value: String) {
    if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(value)) {
        headers.insert(name, value);
    }
}

pub(crate) fn insert(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}

static LIMIT: HeaderName = HeaderName::from_static(header::X_RATELIMIT_LIMIT);
static REMAINING: HeaderName = HeaderName::from_static(header::X_RATELIMIT_REMAINING);
static RESET: HeaderName = HeaderName::from_static(header::X_RATELIMIT_RESET);
static WINDOW: HeaderName = HeaderName::from_static(header::X_RATELIMIT_WINDOW);
static UNLIMITED: HeaderName = HeaderName::from_static(header::X_RATELIMIT_UNLIMITED);
static POLICY: HeaderName = HeaderName::from_static(header::RATELIMIT_POLICY);
static STATE: HeaderName = HeaderName::from_static(header::RATELIMIT);

static OPENAI_REQUESTS: [HeaderName; 3] = [
    HeaderName::from_static("x-ratelimit-limit-requests"),
    HeaderName::from_static("x-ratelimit-remaining-requests"),
    HeaderName::from_static("x-ratelimit-reset-requests"),
];
static OPENAI_TOKENS: [HeaderName; 3] = [
    HeaderName::from_static("x-ratelimit-limit-tokens"),
    HeaderName::from_static("x-ratelimit-remaining-tokens"),
    HeaderName::from_static("x-ratelimit-reset-tokens"),
];

/// Headers that one answer may get here, those of the wallet included.
const HEADERS_MAX: usize = 16;

#[cfg(test)]
mod tests;
