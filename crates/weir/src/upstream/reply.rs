//! An answer before it is paced, broken and counted.

use std::fmt::{self, Debug};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::{Value, json};

/// Status, headers and content of an answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) content: Content,
}

/// The body of an answer.
pub(crate) enum Content {
    /// All of it, with its length in the head.
    Whole(Bytes),
    /// Chunk by chunk, made as it is sent; the length is known only where given.
    Chunks { left: Option<u64>, chunks: Box<dyn Iterator<Item = Bytes> + Send> },
}

impl Reply {
    /// A JSON document.
    pub(crate) fn json(status: StatusCode, text: impl Into<Bytes>) -> Self {
        let content = Content::Whole(text.into());
        Self { status, headers: HeaderMap::new(), content }
            .with(CONTENT_TYPE, HeaderValue::from_static("application/json"))
    }

    /// No content at all.
    pub(crate) fn empty(status: StatusCode) -> Self {
        Self { status, headers: HeaderMap::new(), content: Content::Whole(Bytes::new()) }
    }

    /// A stream of server-sent events; each chunk is one event.
    pub(crate) fn events(events: impl Iterator<Item = String> + Send + 'static) -> Self {
        let chunks = Box::new(events.map(Bytes::from));
        let content = Content::Chunks { left: None, chunks };
        Self { status: StatusCode::OK, headers: HeaderMap::new(), content }
            .with(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"))
            .with(CACHE_CONTROL, HeaderValue::from_static("no-cache"))
    }

    /// Bytes of a length known in advance, chunk by chunk.
    pub(crate) fn bytes(length: u64, chunks: impl Iterator<Item = Bytes> + Send + 'static) -> Self {
        let content = Content::Chunks { left: Some(length), chunks: Box::new(chunks) };
        Self { status: StatusCode::OK, headers: HeaderMap::new(), content }
            .with(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"))
    }

    /// The same with one more header, which replaces one of the same name.
    pub(crate) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }
}

impl Content {
    /// The length, where it is known in advance.
    pub(crate) fn length(&self) -> Option<u64> {
        match self {
            Self::Whole(bytes) => Some(bytes.len() as u64),
            Self::Chunks { left, .. } => *left,
        }
    }
}

impl Debug for Content {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Content({:?})", self.length())
    }
}

/// The vendor whose error document a client of the path expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorShape {
    /// `{"error":{message,type,param,code}}`.
    OpenAi,
    /// `{"type":"error","error":{type,message}}`.
    Anthropic,
}

impl ErrorShape {
    /// An error document.
    pub(crate) fn reply(self, status: StatusCode, message: &str) -> Reply {
        let kind = kind(status);
        let body: Value = match self {
            Self::OpenAi => {
                json!({"error": {"message": message, "type": kind, "param": null, "code": kind}})
            }
            Self::Anthropic => {
                json!({"type": "error", "error": {"type": kind, "message": message}})
            }
        };
        Reply::json(status, body.to_string())
    }
}

fn kind(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 | 529 => "overloaded_error",
        code if code < 500 => "invalid_request_error",
        _ => "api_error",
    }
}
