//! One try: a message posted, and what became of it.

use std::error::Error as _;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use weir_core::time::{Span, Timestamp};
use weir_engine::outbox::Event;
use weir_engine::webhook::Webhook;

use crate::hook::connect::GuardedClient;
use crate::hook::guard::check_url;
use crate::hook::message;
use crate::hook::sign::Signed;
use crate::time::parse_http_date;

/// What became of one try.
#[derive(Debug, Default)]
pub(crate) struct Tried {
    /// The status that the receiver answered.
    pub(crate) status: Option<u16>,
    /// Why it failed; `None`: it was taken.
    pub(crate) error: Option<String>,
    /// How long the receiver asks to be left alone.
    pub(crate) retry_after: Option<Span>,
    /// Trying again is of no use.
    pub(crate) hopeless: bool,
}

impl Tried {
    /// A try that failed for that reason.
    pub(crate) fn failed(why: impl Into<String>) -> Self {
        Self { error: Some(why.into()), ..Self::default() }
    }
}

/// Posts an event to a webhook. Redirects are not followed; only 2xx is success.
pub(crate) async fn post(
    client: &GuardedClient,
    webhook: &Webhook,
    event: &Event,
    now: Timestamp,
    allow_private: bool,
) -> Tried {
    let request = match request(webhook, event, now, allow_private) {
        Ok(request) => request,
        Err(why) => return Tried::failed(why),
    };
    let answer = tokio::time::timeout(TIMEOUT, client.request(request)).await;
    let response = match answer {
        Err(_) => return Tried::failed(format!("no answer within {} s", TIMEOUT.as_secs())),
        Ok(Err(error)) => return Tried::failed(reason(&error)),
        Ok(Ok(response)) => response,
    };
    let status = response.status();
    let retry_after = retry_after(response.headers(), now);
    read_to_the_end(response.into_body()).await;
    let error = (!status.is_success()).then(|| refusal(status));
    Tried { status: Some(status.as_u16()), error, retry_after, hopeless: false }
}

fn request(
    webhook: &Webhook,
    event: &Event,
    now: Timestamp,
    allow_private: bool,
) -> Result<Request<Full<Bytes>>, String> {
    // The rule may have become stricter since the URL was set.
    let uri = check_url(&webhook.record.url, allow_private).map_err(|why| format!("url: {why}"))?;
    let body = message::body(event);
    let id = event.id.to_string();
    let timestamp = (now.micros() / 1_000_000).to_string();
    let signed = Signed { id: &id, timestamp: &timestamp, body: body.as_bytes() };
    let signatures: Result<Vec<String>, _> =
        webhook.secrets(now).map(|secret| signed.sign(secret.expose())).collect();
    let signatures = signatures.map_err(|why| why.to_string())?.join(" ");
    Request::post(uri)
        .header(CONTENT_TYPE, "application/json")
        .header(USER_AGENT, concat!("weir-webhooks/", env!("CARGO_PKG_VERSION")))
        .header("webhook-id", &id)
        .header("webhook-timestamp", &timestamp)
        .header("webhook-signature", signatures)
        .body(Full::from(body))
        .map_err(|why| why.to_string())
}

/// Lets the connection be used again where the answer is short; what it says is nobody's business.
async fn read_to_the_end(body: Incoming) {
    let read = Limited::new(body, ANSWER_BYTES_MAX).collect();
    let _ = tokio::time::timeout(ANSWER_TIMEOUT, read).await;
}

fn refusal(status: StatusCode) -> String {
    if status.is_redirection() {
        return format!("answered {status}; redirects are not followed");
    }
    format!("answered {status}")
}

/// The innermost cause: what the outer ones say is that something failed.
fn reason(error: &hyper_util::client::legacy::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    if let Some(source) = error.source() {
        cause = source;
    }
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string().chars().take(REASON_CHARS_MAX).collect()
}

fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Span> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let seconds = match text.parse::<i64>() {
        Ok(seconds) => seconds,
        Err(_) => parse_http_date(text)? - now.micros() / 1_000_000,
    };
    (seconds > 0).then(|| Span::from_secs(seconds.min(86_400)))
}

const TIMEOUT: Duration = Duration::from_secs(15);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
const ANSWER_BYTES_MAX: usize = 16 * 1_024;
const REASON_CHARS_MAX: usize = 200;
