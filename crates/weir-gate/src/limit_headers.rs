//! Where the limits of a call stand, told in headers.
//!
//! `X-RateLimit-*` tell the request limit nearest to exhaustion; `RateLimit` and `RateLimit-Policy`
//! (draft-ietf-httpapi-ratelimit-headers-11) tell all; `x-ratelimit-*-requests` and `-tokens` are
//! OpenAI's.

use std::fmt::Write;

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
    let mut text = String::with_capacity(96);
    let nearest = refused.or_else(|| nearest(views, Unit::Requests));
    match nearest.and_then(|view| view.now.limit.map(|limit| (view, limit))) {
        Some((view, limit)) => {
            let window = view.now.window.secs_ceil();
            put(headers, header::X_RATELIMIT_LIMIT, &mut text, limit);
            put(headers, header::X_RATELIMIT_REMAINING, &mut text, view.now.remaining.min(limit));
            put(
                headers,
                header::X_RATELIMIT_RESET,
                &mut text,
                view.now.reset_at.max(now).secs_ceil(),
            );
            put(headers, header::X_RATELIMIT_WINDOW, &mut text, window);
        }
        None if views.iter().all(|view| view.now.limit.is_none()) => {
            insert(headers, header::X_RATELIMIT_UNLIMITED, "true");
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
    let mut policy = String::with_capacity(views.len() * 32);
    let mut state = String::with_capacity(views.len() * 32);
    for view in views.iter().filter(|view| !view.shadow) {
        let Some(limit) = view.now.limit else { continue };
        let separator = if policy.is_empty() { "" } else { ", " };
        let (limit, remaining) = (told(view.unit, limit), told(view.unit, view.now.remaining));
        let name = Quoted(view.name);
        let reset = view.now.reset_at.since(now).secs_ceil();
        // Writing to a String cannot fail.
        let _ = write!(policy, "{separator}{name};q={limit}");
        let _ = if view.algorithm == Algorithm::Concurrency {
            policy.push_str(";qu=\"concurrent-requests\"");
            write!(state, "{separator}{name};r={remaining}")
        } else {
            let _ = write!(policy, ";w={}", view.now.window.secs_ceil().max(1));
            write!(state, "{separator}{name};r={remaining};t={reset}")
        };
        match view.unit {
            Unit::Requests => {}
            Unit::Tokens => policy.push_str(";weir-unit=\"tokens\""),
            Unit::Credits => policy.push_str(";weir-unit=\"micro-credits\""),
        }
    }
    if !policy.is_empty() {
        insert(headers, header::RATELIMIT_POLICY, &policy);
        insert(headers, header::RATELIMIT, &state);
    }
}

fn openai_names(headers: &mut HeaderMap, views: &[LimitView], now: Timestamp) {
    for (unit, names) in [(Unit::Requests, &OPENAI_REQUESTS), (Unit::Tokens, &OPENAI_TOKENS)] {
        let [limit, remaining, reset] = *names;
        let Some(view) = nearest(views, unit) else { continue };
        let mut text = String::with_capacity(16);
        put(headers, limit, &mut text, view.now.limit.unwrap_or(0));
        put(headers, remaining, &mut text, view.now.remaining);
        insert(headers, reset, &go_duration(view.now.reset_at.since(now).millis_ceil()));
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

/// A structured-field string (RFC 9651): ASCII, quotes and backslashes escaped.
struct Quoted<'a>(&'a str);

impl std::fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_char('"')?;
        for letter in self.0.chars() {
            match letter {
                '"' | '\\' => write!(f, "\\{letter}")?,
                ' '..='~' => f.write_char(letter)?,
                _ => f.write_char('?')?,
            }
        }
        f.write_char('"')
    }
}

fn put(
    headers: &mut HeaderMap,
    name: &'static str,
    text: &mut String,
    value: impl std::fmt::Display,
) {
    text.clear();
    let _ = write!(text, "{value}"); // writing to a String cannot fail
    insert(headers, name, text);
}

pub(crate) fn insert(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}

const OPENAI_REQUESTS: [&str; 3] =
    ["x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"];
const OPENAI_TOKENS: [&str; 3] =
    ["x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"];
