//! What a request may ask the mock to do, by `x-mock-NAME` headers or query members.
//!
//! | knob | value | effect |
//! |---|---|---|
//! | `x-mock-delay-ms` | milliseconds | wait before the response head |
//! | `x-mock-first-delay-ms` | milliseconds | wait between the head and the first chunk of the body |
//! | `x-mock-chunk-delay-ms` | milliseconds | wait before each later chunk |
//! | `x-mock-tokens` | tokens | real output, whatever bound the request sets |
//! | `x-mock-input-tokens` | tokens | reported input instead of the counted one |
//! | `x-mock-cached-tokens` | tokens | reported cached part of the input |
//! | `x-mock-usage` | a [`UsageMode`] | how usage is reported |
//! | `x-mock-usage-json` | anything | reported as usage, in place of any figures |
//! | `x-mock-status` | 200 to 599 | answer with this status; from 400 with an error document |
//! | `x-mock-header` | `name: value` | one more response header, replacing a default one; repeatable |
//! | `x-mock-break` | `after-head`, `after-N-chunks`, `mid-event` | close the connection there |
//! | `x-mock-hang` | `before-head`, `after-N` | stop there until the client goes away |
//! | `x-mock-reset` | empty or `1` | close by TCP reset: at `x-mock-break`, else before the head |
//!
//! A knob that is unknown or has a bad value is an error, so that a typo in a test shows.

use std::sync::Arc;
use std::time::Duration;

use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};

/// Everything that one request asks of the mock; the default is plain good behaviour.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Knobs {
    pub(crate) delay: Duration,
    pub(crate) first_delay: Duration,
    pub(crate) chunk_delay: Duration,
    pub(crate) tokens: Option<u64>,
    pub(crate) input_tokens: Option<u64>,
    pub(crate) cached_tokens: Option<u64>,
    pub(crate) usage: UsageMode,
    pub(crate) usage_json: Option<Arc<str>>,
    pub(crate) status: Option<StatusCode>,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) cut: Option<Cut>,
    pub(crate) hang: Option<Hang>,
    pub(crate) reset: bool,
}

/// How usage is reported: truthfully, or in one of the ways real upstreams get it wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum UsageMode {
    /// `exact`: as produced.
    #[default]
    Exact,
    /// `none`: not at all, even where it was asked for.
    Missing,
    /// `negative`: every count negated (and at most -1).
    Negative,
    /// `huge`: every count is the largest signed 64-bit integer.
    Huge,
    /// `string`: every count in quotes.
    Quoted,
    /// `float`: every count with a half added.
    Float,
    /// `double`: reported twice, as a duplicate member or a second event.
    Double,
    /// `cached-gt-input`: the cached part exceeds the input by 100.
    CachedAboveInput,
    /// `every-chunk`: with every chunk of a stream, cumulative.
    EveryChunk,
}

/// Where the connection is closed in mid-answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// After so many chunks of the body; 0: right after the head.
    After(u64),
    /// In the middle of a body, or of a stream's second event.
    MidEvent,
}

/// Where the answer stops without an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hang {
    /// Before the response head.
    BeforeHead,
    /// After so many chunks of the body; 0: right after the head.
    After(u64),
}

impl Knobs {
    /// Reads the knobs of a request; a header wins over a query member of the same name.
    ///
    /// # Errors
    ///
    /// A sentence that names the knob which is unknown or has a bad value.
    pub(crate) fn read(headers: &HeaderMap, query: Option<&str>) -> Result<Self, String> {
        let mut knobs = Self::default();
        for pair in query.unwrap_or_default().split('&') {
            if let Some(pair) = pair.strip_prefix(PREFIX) {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                let value = percent_decoded(value).ok_or_else(|| bad(name, value))?;
                knobs.set(name, &value)?;
            }
        }
        for (name, value) in headers {
            if let Some(name) = name.as_str().strip_prefix(PREFIX) {
                let value = value.to_str().map_err(|_| bad(name, "(not ASCII)"))?;
                knobs.set(name, value)?;
            }
        }
        Ok(knobs)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let refused = || bad(name, value);
        match name {
            "delay-ms" => self.delay = millis(value).ok_or_else(refused)?,
            "first-delay-ms" => self.first_delay = millis(value).ok_or_else(refused)?,
            "chunk-delay-ms" => self.chunk_delay = millis(value).ok_or_else(refused)?,
            "tokens" => self.tokens = Some(tokens(value).ok_or_else(refused)?),
            "input-tokens" => self.input_tokens = Some(tokens(value).ok_or_else(refused)?),
            "cached-tokens" => self.cached_tokens = Some(tokens(value).ok_or_else(refused)?),
            "usage" => self.usage = UsageMode::parse(value).ok_or_else(refused)?,
            "usage-json" => self.usage_json = Some(value.into()),
            "status" => self.status = Some(status(value).ok_or_else(refused)?),
            "header" => self.headers.push(header(value).ok_or_else(refused)?),
            "break" => self.cut = Some(Cut::parse(value).ok_or_else(refused)?),
            "hang" => self.hang = Some(Hang::parse(value).ok_or_else(refused)?),
            "reset" => self.reset = matches!(value, "" | "1" | "true"),
            _ => return Err(format!("there is no knob {PREFIX}{name}")),
        }
        Ok(())
    }
}

impl UsageMode {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "exact" => Self::Exact,
            "none" => Self::Missing,
            "negative" => Self::Negative,
            "huge" => Self::Huge,
            "string" => Self::Quoted,
            "float" => Self::Float,
            "double" => Self::Double,
            "cached-gt-input" => Self::CachedAboveInput,
            "every-chunk" => Self::EveryChunk,
            _ => return None,
        })
    }
}

impl Cut {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "after-head" => Some(Self::After(0)),
            "mid-event" => Some(Self::MidEvent),
            _ => after(text).map(Self::After),
        }
    }
}

impl Hang {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "before-head" => Some(Self::BeforeHead),
            "after-head" => Some(Self::After(0)),
            _ => after(text).map(Self::After),
        }
    }
}

/// `after-N` and `after-N-chunks`.
fn after(text: &str) -> Option<u64> {
    let count = text.strip_prefix("after-")?;
    count.strip_suffix("-chunks").unwrap_or(count).parse().ok()
}

fn millis(text: &str) -> Option<Duration> {
    let millis = text.parse().ok()?;
    (millis <= DELAY_MS_MAX).then(|| Duration::from_millis(millis))
}

fn tokens(text: &str) -> Option<u64> {
    text.parse().ok().filter(|&tokens| tokens <= TOKENS_MAX)
}

fn status(text: &str) -> Option<StatusCode> {
    let status: StatusCode = text.parse().ok()?;
    (200..600).contains(&status.as_u16()).then_some(status)
}

fn header(text: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = text.split_once(':')?;
    Some((name.trim().parse().ok()?, value.trim().parse().ok()?))
}

fn bad(name: &str, value: &str) -> String {
    format!("{PREFIX}{name} cannot be `{value}`")
}

fn percent_decoded(text: &str) -> Option<String> {
    if !text.contains('%') {
        return Some(text.replace('+', " "));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            b'+' => b' ',
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

const PREFIX: &str = "x-mock-";
const DELAY_MS_MAX: u64 = 3_600_000;
const TOKENS_MAX: u64 = 10_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(query: &str, expected: Result<Knobs, &str>) {
        let read = Knobs::read(&HeaderMap::new(), Some(query));
        assert_eq!(read, expected.map_err(str::to_owned));
    }

    #[test]
    fn a_plain_request_has_default_knobs() {
        check("page=2&sort=x", Ok(Knobs::default()));
    }

    #[test]
    fn knobs_are_read_from_the_query_and_decoded() {
        let cut = Some(Cut::After(3));
        check("x-mock-break=after-3-chunks", Ok(Knobs { cut, ..Knobs::default() }));
        let headers = vec![(http::header::AGE, HeaderValue::from_static("4 s"))];
        check("a&x-mock-header=age%3a+4%20s", Ok(Knobs { headers, ..Knobs::default() }));
    }

    #[test]
    fn a_header_wins_over_the_query() {
        let mut headers = HeaderMap::new();
        headers.insert("x-mock-tokens", HeaderValue::from_static("7"));
        let knobs = Knobs::read(&headers, Some("x-mock-tokens=5"));
        assert_eq!(knobs.map(|knobs| knobs.tokens), Ok(Some(7)));
    }

    #[test]
    fn an_unknown_knob_or_a_bad_value_is_named() {
        check("x-mock-dely-ms=5", Err("there is no knob x-mock-dely-ms"));
        check("x-mock-hang=after-x", Err("x-mock-hang cannot be `after-x`"));
        check("x-mock-status=199", Err("x-mock-status cannot be `199`"));
        check("x-mock-usage=%zz", Err("x-mock-usage cannot be `%zz`"));
    }
}
