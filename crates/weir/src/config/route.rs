//! `[[routes]]`: which request goes where, as what, at what price.

use std::sync::Arc;

use http::HeaderName;
use toml::de::DeValue;
use weir_core::operation::RoutePattern;
use weir_core::policy::{
    CacheMode, OnDisconnect, OnExhausted, OnLowBalance, OnMissingUsage, RoutePrice, UsageSource,
};

use super::limit::{LimitFile, is_class, named_limits, read_rules};
use super::place::At;
use super::read::{Read, Reading, Section, Value, Want, kind};
use super::server::bounded;
use super::values::Bytes;
use super::words::closest;

/// What one `[[routes]]` says.
#[derive(Clone, Debug)]
pub(crate) struct RouteFile {
    /// Which requests it answers to.
    pub(crate) pattern: At<RoutePattern>,
    /// The name of its upstream.
    pub(crate) upstream: Option<At<String>>,
    /// The operation class, given or from the method.
    pub(crate) class: At<String>,
    /// The scope that a key needs.
    pub(crate) scope: Option<String>,
    /// Endpoint limits.
    pub(crate) limits: Vec<LimitFile>,
    /// How many requests a call counts as.
    pub(crate) weight: u64,
    /// Where the usage of a call is read.
    pub(crate) usage: At<UsageSource>,
    /// By what its calls are priced.
    pub(crate) price: Option<At<RoutePrice>>,
    /// Output tokens held at a time.
    pub(crate) hold_output_tokens: u64,
    /// The least bound to which a call may be lowered.
    pub(crate) min_output_tokens: u64,
    /// When the hold does not fit.
    pub(crate) on_low_balance: OnLowBalance,
    /// When the renewal of a hold does not fit.
    pub(crate) on_exhausted: OnExhausted,
    /// When the upstream reports no usage.
    pub(crate) on_missing_usage: OnMissingUsage,
    /// When the client of a stream hangs up.
    pub(crate) on_disconnect: OnDisconnect,
    /// Whether answers are kept.
    pub(crate) cache: CacheMode,
    /// The largest answer that is kept for replays, in bytes.
    pub(crate) idempotency_max_body_bytes: u64,
}

/// What `[models.NAME]` says.
#[derive(Clone, Debug)]
pub(crate) struct ModelFile {
    /// The upstream of its calls, instead of the route's.
    pub(crate) upstream: Option<At<String>>,
    /// The name of its price.
    pub(crate) price: Option<At<String>>,
    /// The most output tokens of one call.
    pub(crate) max_output_tokens: Option<u64>,
}

/// Reads every `[[routes]]`, in order.
pub(crate) fn read_routes(
    section: &mut Section<'_, '_>,
    reading: &mut Reading<'_>,
) -> Vec<RouteFile> {
    let Some(value) = section.value("routes") else { return Vec::new() };
    let DeValue::Array(items) = value.get_ref() else {
        let message = format!("expected a list of tables, found {}", kind(value.get_ref()));
        reading.object(value.span().into(), message, "write [[routes]], with two brackets");
        return Vec::new();
    };
    let mut routes = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let label = match item.get_ref() {
            DeValue::Table(table) => match table.get("match").map(|value| value.get_ref()) {
                Some(DeValue::String(text)) => format!("routes[{text}]"),
                _ => format!("routes[{index}]"),
            },
            _ => format!("routes[{index}]"),
        };
        routes.extend(reading.under(&label, |reading| {
            let mut section = Section::of(item, reading)?;
            let route = RouteFile::read(&mut section, reading);
            section.finish(reading);
            route
        }));
    }
    routes
}

impl RouteFile {
    fn read(section: &mut Section<'_, '_>, reading: &mut Reading<'_>) -> Option<Self> {
        let example = "match = \"POST /ai/chat\"";
        let pattern = section.need::<RoutePattern>("match", example, reading);
        let upstream = section.need("upstream", "upstream = \"NAME\"", reading);
        let class = section.get::<Class>("class", reading);
        let scope = section.get::<Scope>("scope", reading).map(|at| at.value.0);
        let limits = read_endpoint_limits(section, pattern.as_ref(), reading);
        let none = At { value: UsageSource::None, place: section.place() };
        let usage = section.get("usage", reading).unwrap_or(none);
        Some(Self {
            class: match (class, &pattern) {
                (Some(class), _) => class.map(|class| class.0),
                (None, Some(pattern)) => default_class(pattern),
                (None, None) => At { value: "read".to_owned(), place: section.place() },
            },
            upstream,
            scope,
            limits,
            weight: read_number(section, "weight", 1, reading),
            usage,
            price: section.get("price", reading),
            hold_output_tokens: read_number(section, "hold_output_tokens", 4096, reading),
            min_output_tokens: read_number(section, "min_output_tokens", 16, reading),
            on_low_balance: section.or("on_low_balance", OnLowBalance::Refuse, reading),
            on_exhausted: section.or("on_exhausted", OnExhausted::Stop, reading),
            on_missing_usage: section.or("on_missing_usage", OnMissingUsage::Estimate, reading),
            on_disconnect: section.or("on_disconnect", OnDisconnect::Stop, reading),
            cache: section.or("cache", CacheMode::Off, reading),
            idempotency_max_body_bytes: section
                .or("idempotency_max_body", Bytes(1_000_000), reading)
                .0,
            pattern: pattern?,
        })
    }
}

impl ModelFile {
    /// Reads `[models.NAME]`.
    pub(crate) fn read(section: &mut Section<'_, '_>, reading: &mut Reading<'_>) -> Self {
        let most = section.get("max_output_tokens", reading);
        Self {
            upstream: section.get("upstream", reading),
            price: section.get("price", reading),
            max_output_tokens: bounded(most, "max_output_tokens", 1_000_000_000, reading),
        }
    }
}

/// The class of a route that names none: read for methods that only read, else write.
fn default_class(pattern: &At<RoutePattern>) -> At<String> {
    let class = if pattern.value.only_reads() { "read" } else { "write" };
    At { value: class.to_owned(), place: pattern.place }
}

fn read_endpoint_limits(
    section: &mut Section<'_, '_>,
    pattern: Option<&At<RoutePattern>>,
    reading: &mut Reading<'_>,
) -> Vec<LimitFile> {
    let Some(value) = section.value("limit") else { return Vec::new() };
    reading.under("limit", |reading| {
        let rules = read_rules(value, reading);
        let Some(pattern) = pattern else { return Vec::new() };
        let key = At { value: "limit".to_owned(), place: value.span().into() };
        named_limits(&format!("route:{}", pattern.value), &key, None, rules, reading)
    })
}

fn read_number(
    section: &mut Section<'_, '_>,
    key: &'static str,
    default: u64,
    reading: &mut Reading<'_>,
) -> u64 {
    let found = section.get::<u64>(key, reading);
    bounded(found, key, 1_000_000_000, reading).unwrap_or(default)
}

struct Class(String);

impl Read for Class {
    fn read(value: &Value<'_>, reading: &mut Reading<'_>) -> Option<Self> {
        let what = "a class: small letters, digits, - and _";
        reading.parsed(value, &Want { what, example: "\"ai\"" }, |text| {
            let lower = text.to_ascii_lowercase();
            match is_class(text) {
                true => Ok(Self(text.to_owned())),
                false => Err(is_class(&lower).then_some(lower)),
            }
        })
    }
}

struct Scope(String);

impl Read for Scope {
    fn read(value: &Value<'_>, reading: &mut Reading<'_>) -> Option<Self> {
        let what = "a scope: 1 to 64 visible ASCII characters without comma and space";
        reading.parsed(value, &Want { what, example: "\"ai\"" }, |text| {
            let sound = |byte: u8| byte.is_ascii_graphic() && byte != b',';
            match (1..=64).contains(&text.len()) && text.bytes().all(sound) {
                true => Ok(Self(text.to_owned())),
                false => Err(None),
            }
        })
    }
}

impl Read for RoutePattern {
    fn read(value: &Value<'_>, reading: &mut Reading<'_>) -> Option<Self> {
        let place = value.span().into();
        let want = Want { what: "a route", example: "\"POST /ai/chat\"" };
        let text = reading.text(value, &want)?;
        match Self::parse(&text) {
            Ok(pattern) => Some(pattern),
            Err(error) => {
                let (methods, path) = text.split_once(' ').unwrap_or(("", ""));
                let upper = methods.to_ascii_uppercase();
                let hint = match upper != methods && path.starts_with('/') {
                    true => format!("did you mean \"{upper} {path}\"?"),
                    false => {
                        "write \"POST /ai/chat\", \"PUT,PATCH /files/*\" or \"* /*\"".to_owned()
                    }
                };
                reading.object(place, error.to_string(), hint);
                None
            }
        }
    }
}

impl Read for UsageSource {
    fn read(value: &Value<'_>, reading: &mut Reading<'_>) -> Option<Self> {
        let what = "where usage is read: openai, anthropic, json:/pointer, header:NAME, duration, bytes or none";
        reading.parsed(value, &Want { what, example: "\"openai\"" }, |text| match text {
            "none" => Ok(Self::None),
            "openai" => Ok(Self::OpenAi),
            "anthropic" => Ok(Self::Anthropic),
            "duration" => Ok(Self::Duration),
            "bytes" => Ok(Self::Bytes),
            _ => match text.split_once(':') {
                Some(("json", pointer)) => usage_pointer(pointer),
                Some(("header", name)) => name
                    .parse::<HeaderName>()
                    .map(|name| Self::Header(name.as_str().into()))
                    .map_err(|_| None),
                _ => Err(closest(text, USAGE_WORDS.into_iter()).map(str::to_owned)),
            },
        })
    }
}

/// A JSON pointer (RFC 6901): empty, or parts that each begin with `/`.
fn usage_pointer(pointer: &str) -> Result<UsageSource, Option<String>> {
    if !pointer.starts_with('/') {
        return Err((!pointer.is_empty()).then(|| format!("json:/{}", pointer.replace('.', "/"))));
    }
    let mut bytes = pointer.bytes().peekable();
    while let Some(byte) = bytes.next() {
        if byte == b'~' && !matches!(bytes.peek(), Some(b'0' | b'1')) {
            return Err(None);
        }
    }
    Ok(UsageSource::JsonPointer(pointer.into()))
}

impl Read for RoutePrice {
    fn read(value: &Value<'_>, reading: &mut Reading<'_>) -> Option<Self> {
        let text = String::read(value, reading)?;
        Some(match text.as_str() {
            "free" => Self::Free,
            "model" => Self::ByModel,
            name => Self::Named(Arc::from(name)),
        })
    }
}

impl Read for OnLowBalance {
    fn read(value: &Value<'_>, reading: &mut Reading<'_>) -> Option<Self> {
        reading.choice(value, &[("refuse", Self::Refuse), ("clamp", Self::Clamp)])
    }
}

impl Read for OnExhausted {
    fn read(value: &Value<'_>, reading: &mut Reading<'_>) -> Option<Self> {
        reading.choice(value, &[("stop", Self::Stop), ("finish", Self::Finish)])
    }
}

impl Read for OnMissingUsage {
    fn read(value: &Value<'_>, reading: &mut Reading<'_>) -> Option<Self> {
        let choices = [("estimate", Self::Estimate), ("hold", Self::Hold), ("free", Self::Free)];
        reading.choice(value, &choices)
    }
}

impl Read for OnDisconnect {
    fn read(value: &Value<'_>, reading: &mut Reading<'_>) -> Option<Self> {
        reading.choice(value, &[("stop", Self::Stop), ("drain", Self::Drain)])
    }
}

impl Read for CacheMode {
    fn read(value: &Value<'_>, reading: &mut Reading<'_>) -> Option<Self> {
        let choices = [("off", Self::Off), ("http", Self::Http), ("exact", Self::Exact)];
        reading.choice(value, &choices)
    }
}

const USAGE_WORDS: [&str; 5] = ["openai", "anthropic", "duration", "bytes", "none"];
