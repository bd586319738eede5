//! `[upstreams.NAME]`: who does the work.

use std::path::PathBuf;

use http::{HeaderName, HeaderValue, Uri};
use weir_gate::settings::UpstreamSettings;

use super::place::At;
use super::read::{Read, Reading, Section, Value};
use super::server::{bounded, origin_and_path};
use super::services::read_file;
use super::values::Url;

/// Reads `[upstreams.NAME]`.
pub(crate) fn read_upstream(
    name: &str,
    section: &mut Section<'_, '_>,
    reading: &mut Reading<'_>,
) -> UpstreamSettings {
    let mut upstream = UpstreamSettings::new(name, read_urls(section, reading));
    upstream.headers = read_headers(section, reading);
    let timeouts = [
        ("connect_timeout", &mut upstream.connect_timeout),
        ("response_timeout", &mut upstream.response_timeout),
        ("stream_idle_timeout", &mut upstream.stream_idle_timeout),
    ];
    for (key, timeout) in timeouts {
        *timeout = section.or(key, *timeout, reading);
    }
    let in_flight = section.get::<u64>("max_in_flight", reading);
    upstream.max_in_flight = bounded(in_flight, "max_in_flight", 1_000_000, reading);
    upstream
}

fn read_urls(section: &mut Section<'_, '_>, reading: &mut Reading<'_>) -> Vec<Uri> {
    let example = "urls = [\"http://127.0.0.1:9000\"]";
    let noted = reading.noted();
    let Some(urls) = section.need::<Vec<At<Url>>>("urls", example, reading) else {
        return Vec::new();
    };
    if urls.value.is_empty() && reading.noted() == noted {
        let message = "an upstream needs at least one URL";
        reading.under("urls", |reading| {
            reading.object(urls.place, message, format!("write {example}"));
        });
    }
    let mut known: Vec<Uri> = Vec::new();
    for url in &urls.value {
        let text = origin_and_path(url, "urls", reading);
        let Some(uri) = text.and_then(|text| text.parse().ok()) else { continue };
        if known.contains(&uri) {
            reading.object(url.place, "the same URL stands here twice", None);
        }
        known.push(uri);
    }
    known
}

fn read_headers(
    section: &mut Section<'_, '_>,
    reading: &mut Reading<'_>,
) -> Vec<(HeaderName, HeaderValue)> {
    let headers = section.named("headers", reading, |name, value, reading| {
        let (field, text) = match name.value.strip_suffix("_file") {
            Some(field) => {
                let path = PathBuf::read(value, reading);
                let path = path.map(|path| At { value: path, place: value.span().into() });
                (field, path.and_then(|path| read_file(&path, reading)))
            }
            None => (name.value.as_str(), String::read(value, reading)),
        };
        let field = read_field(field, name, reading);
        let text = text.and_then(|text| read_field_value(&text, value, reading));
        Some((field?, text?))
    });
    headers.into_iter().map(|named| named.value).collect()
}

fn read_field(field: &str, name: &At<String>, reading: &mut Reading<'_>) -> Option<HeaderName> {
    let Ok(field) = HeaderName::from_bytes(field.as_bytes()) else {
        reading.object(name.place, "not the name of a header", None);
        return None;
    };
    if RESERVED.contains(&field.as_str()) {
        let hint = "Weir writes this field itself";
        reading.object(name.place, format!("`{field}` cannot be set"), hint);
        return None;
    }
    Some(field)
}

fn read_field_value(
    text: &str,
    value: &Value<'_>,
    reading: &mut Reading<'_>,
) -> Option<HeaderValue> {
    let Ok(mut field) = HeaderValue::from_str(text) else {
        let hint = "visible ASCII characters and spaces, on one line";
        reading.object(value.span().into(), "not the value of a header", hint);
        return None;
    };
    field.set_sensitive(true);
    Some(field)
}

/// Fields that frame the message or belong to the connection (RFC 9110 section 7.6.1).
const RESERVED: [&str; 9] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-request-id",
];
