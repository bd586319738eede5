//! Where the limits of a call stand, told in headers.
//!
//! `X-RateLimit-*` tell the request limit nearest to exhaustion; `RateLimit` and `RateLimit-Policy`
//! (draft-ietf-httpapi-ratelimit-headers-11) tell all; `x-ratelimit-*-requests` and `-tokens` are
//! OpenAI's.

mod text;

mod policy;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use smallvec::SmallVec;
use weir_core::admit::LimitView;
use weir_core::limit::{Algorithm, Unit};
use weir_core::time::Timestamp;
use weir_wire::header;

use text::{begin_item, number, seconds, told};

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
    let mut lines = Lines::with_room_for(views.len());
    let nearest_requests = nearest(views, Unit::Requests);
    let told_of = refused.or(nearest_requests);
    match told_of.and_then(|view| view.now.limit.map(|limit| (view, limit))) {
        Some((view, limit)) => {
            let remaining = told(view.unit, view.now.remaining.min(limit));
            lines.figure(&LIMIT, told(view.unit, limit));
            lines.figure(&REMAINING, remaining);
            lines.figure(&RESET, seconds(view.now.reset_at.max(now).secs_ceil()));
            lines.figure(&WINDOW, seconds(view.now.window.secs_ceil()));
        }
        None if views.iter().all(|view| view.now.limit.is_none() || view.shadow) => {
            headers.insert(&UNLIMITED, HeaderValue::from_static("true"));
        }
        None => {}
    }
    let policy = policy::policy(views);
    if policy.is_some() {
        state(&mut lines, views, now);
    }
    if openai {
        openai_names(&mut lines, nearest_requests, &OPENAI_REQUESTS, now);
        openai_names(&mut lines, nearest(views, Unit::Tokens), &OPENAI_TOKENS, now);
    }
    lines.write(headers);
    if let Some(policy) = policy {
        headers.insert(&POLICY, policy);
    }
}

/// Values on their way into headers, one behind the other in one piece of memory: a call has a
/// dozen, and they live and end together.
struct Lines {
    text: Vec<u8>,
    /// Each with where its value ends.
    names: SmallVec<[(&'static HeaderName, usize); HEADERS_MAX]>,
}

impl Lines {
    fn with_room_for(limits: usize) -> Self {
        let bytes = LINE_BYTES * (limits + 1);
        Self { text: Vec::with_capacity(bytes), names: SmallVec::new() }
    }

    fn figure(&mut self, name: &'static HeaderName, value: u64) {
        number(&mut self.text, value);
        self.end(name);
    }

    /// What was written since the last end is the value of this header.
    fn end(&mut self, name: &'static HeaderName) {
        self.names.push((name, self.text.len()));
    }

    fn write(self, headers: &mut HeaderMap) {
        headers.reserve(self.names.len() + WALLET_HEADERS);
        let text = Bytes::from(self.text);
        let mut start = 0;
        for (name, end) in self.names {
            if let Ok(value) = HeaderValue::from_maybe_shared(text.slice(start..end)) {
                headers.insert(name, value);
            }
            start = end;
        }
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

/// Where each limit stands that is finite and enforced.
fn state(lines: &mut Lines, views: &[LimitView], now: Timestamp) {
    let text = &mut lines.text;
    let told_of = views.iter().filter(|view| !view.shadow && view.now.limit.is_some());
    for (index, view) in told_of.enumerate() {
        begin_item(text, index, view.name);
        text.extend_from_slice(b";r=");
        number(text, told(view.unit, view.now.remaining));
        if view.algorithm != Algorithm::Concurrency {
            text.extend_from_slice(b";t=");
            number(text, seconds(view.now.reset_at.since(now).secs_ceil()));
        }
    }
    lines.end(&STATE);
}

fn openai_names(
    lines: &mut Lines,
    nearest: Option<&LimitView>,
    [limit, remaining, reset]: &'static [HeaderName; 3],
    now: Timestamp,
) {
    let Some(view) = nearest else { return };
    lines.figure(limit, view.now.limit.unwrap_or(0));
    lines.figure(remaining, view.now.remaining);
    go_duration(&mut lines.text, view.now.reset_at.since(now).millis_ceil());
    lines.end(reset);
}

/// A duration as OpenAI writes it: `120ms`, `1s`, `6m0s`, `1h0m0s`.
fn go_duration(text: &mut Vec<u8>, ms: i64) {
    let mut part = |value: i64, unit: &[u8]| {
        number(text, seconds(value));
        text.extend_from_slice(unit);
    };
    let s = ms / 1_000;
    if ms < 1_000 {
        return part(ms, b"ms");
    }
    if ms >= 3_600_000 {
        part(s / 3_600, b"h");
    }
    if ms >= 60_000 {
        part(s / 60 % 60, b"m");
    }
    part(s % 60, b"s");
}

pub(crate) fn insert(headers: &mut HeaderMap, name: &'static HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
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

/// Headers that one answer may get here.
const HEADERS_MAX: usize = 12;
/// Headers that tell of the wallet.
const WALLET_HEADERS: usize = 3;
/// Room for what is told of one limit.
const LINE_BYTES: usize = 64;

#[cfg(test)]
mod tests;
