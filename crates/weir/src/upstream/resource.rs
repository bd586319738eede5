//! Plain REST resources for every other path, with ETag, Last-Modified and conditional requests.
//!
//! Everything exists until it is deleted. What is put or patched is kept, boundedly, until the
//! process ends or `/__mock/reset`.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{
    ALLOW, ETAG, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, LOCATION,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde_json::{Map, Value, json};

use crate::upstream::call::Call;
use crate::upstream::reply::{ErrorShape, Reply};
use crate::upstream::stats::locked;
use crate::upstream::text::hash;

/// Resources that were written, by path.
#[derive(Debug, Default)]
pub(crate) struct Store {
    written: Mutex<BTreeMap<String, Written>>,
}

/// A written resource.
#[derive(Clone, Debug)]
struct Written {
    /// None after DELETE.
    body: Option<Value>,
    /// Counts writes; the modification time follows it.
    version: u64,
}

impl Store {
    /// Forgets every write.
    pub(crate) fn clear(&self) {
        locked(&self.written).clear();
    }

    fn find(&self, path: &str) -> Option<Written> {
        locked(&self.written).get(path).cloned()
    }

    /// Keeps a write while there is room; beyond it, later writes are answered but not kept.
    fn keep(&self, path: &str, written: Written) {
        let mut kept = locked(&self.written);
        if kept.len() < RESOURCES_MAX || kept.contains_key(path) {
            kept.insert(path.to_owned(), written);
        }
    }
}

/// Answers any method on any path.
pub(crate) fn reply(store: &Store, call: &Call) -> Reply {
    let written = store.find(call.path());
    let version = written.as_ref().map_or(0, |written| written.version);
    let existing = match written {
        Some(written) => written.body,
        None => Some(Value::Null),
    };
    match call.method {
        Method::GET | Method::HEAD => existing.map_or_else(
            || not_found(call),
            |body| Tags::new(call, &body, version).answer(call, &shown(call, &body)),
        ),
        Method::PUT | Method::PATCH | Method::DELETE => write(store, call, existing, version),
        Method::POST => post(call),
        Method::OPTIONS => Reply::empty(StatusCode::NO_CONTENT)
            .with(ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE")),
        _ => ErrorShape::OpenAi.reply(StatusCode::METHOD_NOT_ALLOWED, "method not allowed"),
    }
}

fn write(store: &Store, call: &Call, existing: Option<Value>, version: u64) -> Reply {
    let current = existing.as_ref().map(|body| Tags::new(call, body, version).etag);
    if let Some(wanted) = text(&call.headers, &IF_MATCH)
        && !current.as_deref().is_some_and(|etag| lists(wanted, etag))
    {
        return ErrorShape::OpenAi.reply(StatusCode::PRECONDITION_FAILED, "the ETag is another");
    }
    let sent = sent(call);
    let body = match (&call.method, existing) {
        (&Method::DELETE, None) | (&Method::PATCH, None) => return not_found(call),
        (&Method::DELETE, Some(_)) => None,
        (&Method::PATCH, Some(Value::Object(mut members))) => {
            members.extend(sent.as_object().cloned().unwrap_or_default());
            Some(Value::Object(members))
        }
        _ => Some(sent),
    };
    let version = version + 1;
    if call.body.len() <= RESOURCE_BYTES_MAX {
        store.keep(call.path(), Written { body: body.clone(), version });
    }
    match body {
        None => Reply::empty(StatusCode::NO_CONTENT),
        Some(body) => {
            Tags::new(call, &body, version).tag(Reply::json(StatusCode::OK, shown(call, &body)))
        }
    }
}

/// A new item of a collection, or the run of an action; neither is kept.
fn post(call: &Call) -> Reply {
    let id = format!("{:016x}", call.fingerprint());
    let path = call.path().trim_end_matches('/');
    if path.ends_with("/execute") {
        return Reply::json(StatusCode::OK, shown(call, &sent(call)));
    }
    let mut body = shown_members(call, &sent(call));
    if path.ends_with("/training/jobs") {
        body.insert("id".to_owned(), Value::from(format!("job-{id}")));
        body.insert("object".to_owned(), Value::from("training.job"));
        body.insert("status".to_owned(), Value::from("queued"));
        body.insert("created_at".to_owned(), Value::from(MODIFIED_S));
    } else {
        body.insert("id".to_owned(), Value::from(id.as_str()));
    }
    let reply = Reply::json(StatusCode::CREATED, Value::Object(body).to_string());
    match HeaderValue::try_from(format!("{path}/{id}")) {
        Ok(location) => reply.with(LOCATION, location),
        Err(_) => reply,
    }
}

/// The body as JSON where it is JSON, else as text.
fn sent(call: &Call) -> Value {
    if call.body.is_empty() {
        return Value::Null;
    }
    serde_json::from_slice(&call.body)
        .unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&call.body)))
}

fn shown(call: &Call, body: &Value) -> Bytes {
    Bytes::from(Value::Object(shown_members(call, body)).to_string())
}

/// What an answer says: the request's method, path and query, and the resource's body.
fn shown_members(call: &Call, body: &Value) -> Map<String, Value> {
    // HEAD has the head of GET, down to the length of the body.
    let method = if call.method == Method::HEAD { "GET" } else { call.method.as_str() };
    let mut members = Map::new();
    members.insert("method".to_owned(), Value::from(method));
    members.insert("path".to_owned(), Value::from(call.path()));
    members.insert("query".to_owned(), json!(call.uri.query()));
    if !body.is_null() {
        members.insert("body".to_owned(), body.clone());
    }
    members
}

fn not_found(call: &Call) -> Reply {
    ErrorShape::OpenAi.reply(StatusCode::NOT_FOUND, &format!("{} is deleted", call.path()))
}

/// The validators of a resource.
#[derive(Debug)]
struct Tags {
    etag: String,
    modified: SystemTime,
}

impl Tags {
    fn new(call: &Call, body: &Value, version: u64) -> Self {
        let mark = hash(call.target().as_bytes()) ^ hash(body.to_string().as_bytes());
        Self {
            etag: format!("\"{mark:016x}-{version}\""),
            modified: UNIX_EPOCH + Duration::from_secs(MODIFIED_S + version),
        }
    }

    /// 304 where the client has it already (RFC 9110, section 13.2.2), else the resource.
    fn answer(&self, call: &Call, body: &Bytes) -> Reply {
        let fresh = match text(&call.headers, &IF_NONE_MATCH) {
            Some(known) => lists(known, &self.etag),
            None => text(&call.headers, &IF_MODIFIED_SINCE)
                .and_then(|since| httpdate::parse_http_date(since).ok())
                .is_some_and(|since| self.modified <= since),
        };
        if fresh {
            return self.tag(Reply::empty(StatusCode::NOT_MODIFIED));
        }
        self.tag(Reply::json(StatusCode::OK, body.clone()))
    }

    fn tag(&self, reply: Reply) -> Reply {
        let modified = httpdate::fmt_http_date(self.modified);
        let mut reply = reply;
        for (name, value) in [(ETAG, self.etag.as_str()), (LAST_MODIFIED, modified.as_str())] {
            if let Ok(value) = HeaderValue::from_str(value) {
                reply = reply.with(name, value);
            }
        }
        reply
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Whether a list of entity tags has this one, by weak comparison, or is `*`.
fn lists(list: &str, etag: &str) -> bool {
    list.split(',')
        .map(str::trim)
        .any(|known| known == "*" || known.trim_start_matches("W/") == etag)
}

const RESOURCES_MAX: usize = 4096;
const RESOURCE_BYTES_MAX: usize = 64 << 10;
/// 2025-06-15T15:06:40Z: when every resource was last modified before its first write.
const MODIFIED_S: u64 = 1_750_000_000;
