//! `Idempotency-Key` on priced calls: one charge however often the call is repeated, and the same
//! answer again.
//!
//! Source: draft-ietf-httpapi-idempotency-key-header-07. The value is a quoted string there; bare
//! values, as most clients send them, are taken too.

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use serde_json::{Map, Value};
use weir_core::money::Nano;
use weir_core::time::Span;
use weir_engine::idempotency::{Claimed, Kept, fingerprint};
use weir_wire::error::Code;
use weir_wire::header as ours;

use crate::answer::{Answer, AnswerBody};
use crate::names;
use crate::refuse::{Context, Failure};
use crate::tally::rewrite_usage_cost;

/// A call that is to be made once.
#[derive(Clone, Debug)]
pub(crate) struct Once {
    pub(crate) key: Box<str>,
    pub(crate) fingerprint: Box<[u8]>,
    /// How many bytes of its answer's body are kept at most.
    pub(crate) body_bytes_max: usize,
}

/// The key of a request, if it has one.
///
/// # Errors
///
/// A sentence about a key that cannot be kept.
pub(crate) fn key_of(headers: &HeaderMap) -> Result<Option<&str>, &'static str> {
    let mut values = headers.get_all(&names::IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err("The Idempotency-Key is given more than once.");
    }
    let text = value.to_str().map_err(|_| WRONG_KEY)?.trim();
    let bare = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    if bare.is_empty() || bare.len() > KEY_BYTES_MAX {
        return Err(WRONG_KEY);
    }
    Ok(Some(bare))
}

impl Once {
    /// What tells this call from others under the same key.
    pub(crate) fn new(key: &str, parts: &Parts, body: &[u8], body_bytes_max: usize) -> Self {
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
        let parts = [parts.method.as_str().as_bytes(), target.as_bytes(), body];
        Self { key: key.into(), fingerprint: fingerprint(&parts), body_bytes_max }
    }
}

/// What a repeated call is answered, if it is not to be made.
pub(crate) fn answer_again(claimed: Claimed, context: &Context<'_>) -> Result<Answer, Failure> {
    match claimed {
        Claimed::Done(Kept { status, headers, body: Some(body) }) => {
            let mut answer = Response::new(AnswerBody::whole(body));
            *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
            for (name, value) in headers {
                let name = HeaderName::try_from(name);
                let value = value.as_str().map(HeaderValue::from_str);
                if let (Ok(name), Some(Ok(value))) = (name, value) {
                    answer.headers_mut().insert(name, value);
                }
            }
            let replayed = HeaderName::from_static(ours::IDEMPOTENCY_REPLAYED);
            answer.headers_mut().insert(replayed, HeaderValue::from_static("true"));
            Ok(answer)
        }
        Claimed::Done(_) => {
            let detail = "The call with this Idempotency-Key was made and charged; its answer was \
                          too large to be kept.";
            Err(context.fail(Code::Conflict, detail))
        }
        Claimed::Mismatch => {
            let detail = "The Idempotency-Key was used for a call with another method, path or \
                          body.";
            Err(context.fail(Code::IdempotencyMismatch, detail))
        }
        Claimed::Running | Claimed::Fresh(_) => {
            let detail = "The call with this Idempotency-Key is still running.";
            Err(context.fail(Code::IdempotencyInProgress, detail).retry(Span::SECOND))
        }
    }
}

/// An answer on its way to the client, as it is kept to be given again.
#[derive(Debug)]
pub(crate) struct Recording {
    status: StatusCode,
    headers: Map<String, Value>,
    pieces: Vec<Bytes>,
    len: usize,
    len_max: usize,
}

impl Recording {
    /// Begins with the head as the upstream gave it.
    pub(crate) fn new(status: StatusCode, headers: &HeaderMap, len_max: usize) -> Self {
        let told = headers.iter().filter(|(name, _)| **name != http::header::CONTENT_LENGTH);
        let told = told.filter_map(|(name, value)| {
            Some((name.as_str().to_owned(), Value::from(value.to_str().ok()?)))
        });
        Self { status, headers: told.collect(), pieces: Vec::new(), len: 0, len_max }
    }

    /// Takes the next bytes; beyond the bound none are kept.
    pub(crate) fn push(&mut self, piece: &Bytes) {
        self.len = self.len.saturating_add(piece.len());
        if self.len > self.len_max {
            self.pieces = Vec::new();
        } else {
            self.pieces.push(piece.clone());
        }
    }

    /// The whole, as of its end; with the cost in its last usage if the client wants to see it.
    pub(crate) fn finish(mut self, cost: Option<Nano>, charge_told: Option<Nano>) -> Kept {
        if let Some(charge) = charge_told {
            self.headers.insert(ours::X_WEIR_CHARGE.to_owned(), charge.to_string().into());
        }
        let body = (self.len <= self.len_max).then(|| {
            let cost = cost.map(|cost| cost.to_string());
            let mut body = Vec::with_capacity(self.len + 32);
            for piece in &self.pieces {
                match &cost {
                    Some(cost) => body.extend_from_slice(&rewrite_usage_cost(piece, cost)),
                    None => body.extend_from_slice(piece),
                }
            }
            body
        });
        Kept { status: self.status.as_u16(), headers: self.headers, body }
    }
}

const WRONG_KEY: &str = "The Idempotency-Key must be 1 to 255 visible ASCII characters.";
const KEY_BYTES_MAX: usize = 255;
