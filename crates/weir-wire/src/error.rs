//! The one document that every refusal and error is told in.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Stable name of what went wrong: `error.code`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[expect(missing_docs, reason = "the catalogue below says what each means")]
pub enum Code {
    InvalidRequest,
    RequestExceedsLimit,
    MissingKey,
    InvalidKey,
    ExpiredKey,
    RevokedKey,
    InsufficientCredits,
    InFlightBudgetExhausted,
    KeySpendCapReached,
    KeyTypeForbidden,
    InsufficientScope,
    ModelForbidden,
    AddressForbidden,
    AccountSuspended,
    RouteNotFound,
    ModelNotFound,
    NotFound,
    MethodNotAllowed,
    RequestTimeout,
    Conflict,
    IdempotencyInProgress,
    PreconditionFailed,
    RequestTooLarge,
    UnsupportedMediaType,
    IdempotencyMismatch,
    RateLimitExceeded,
    ConcurrencyLimitExceeded,
    HeadersTooLarge,
    InternalError,
    UpstreamUnreachable,
    UpstreamBroke,
    Overloaded,
    StoreUnavailable,
    UpstreamTimeout,
    Forbidden,
}

/// One line of the catalogue.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The code.
    pub code: Code,
    /// Its written form.
    pub name: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// `error.type`, in OpenAI's words.
    pub kind: &'static str,
    /// What it is, in a few words.
    pub title: &'static str,
    /// What to do.
    pub help: &'static str,
}

macro_rules! catalogue {
    ($($code:ident $name:literal $status:literal $kind:literal $title:literal $help:literal)*) => {
        /// Every code, in the order of [`Code`].
        pub const CATALOGUE: &[Entry] = &[
            $(Entry { code: Code::$code, name: $name, status: $status, kind: $kind,
                      title: $title, help: $help },)*
        ];
    };
}

catalogue! {
    InvalidRequest "invalid_request" 400 "invalid_request_error" "The request is not valid"
        "Correct the request as the detail says; sending it again unchanged gives the same answer."
    RequestExceedsLimit "request_exceeds_limit" 400 "invalid_request_error" "The request can never fit a limit"
        "Make the request smaller (a lower output bound, a shorter prompt), or ask for a higher limit."
    MissingKey "missing_key" 401 "authentication_error" "No API key was sent"
        "Send your key as `Authorization: Bearer <key>`."
    InvalidKey "invalid_key" 401 "authentication_error" "The API key is not known"
        "Check that the whole key was copied; keys are shown once, when they are made."
    ExpiredKey "expired_key" 401 "authentication_error" "The API key has expired"
        "Use another key, or ask for a new one."
    RevokedKey "revoked_key" 401 "authentication_error" "The API key was revoked"
        "Use another key, or ask for a new one."
    InsufficientCredits "insufficient_credits" 402 "insufficient_quota" "The balance does not cover the call"
        "Top up the wallet, or make the call smaller: a lower output bound is held for less."
    InFlightBudgetExhausted "in_flight_budget_exhausted" 402 "insufficient_quota" "Running calls hold the rest of the balance"
        "Try again when running calls have ended: what they do not use is freed. Or top up the wallet."
    KeySpendCapReached "key_spend_cap_reached" 402 "insufficient_quota" "The key has spent what it may"
        "Wait until the key's spending period begins anew, or raise the key's spend cap."
    KeyTypeForbidden "key_type_forbidden" 403 "permission_error" "A read key may not write"
        "Use a key of type read_write for methods other than GET and HEAD."
    InsufficientScope "insufficient_scope" 403 "permission_error" "The key lacks the scope of this route"
        "Use a key that has the scope named in the detail."
    ModelForbidden "model_forbidden" 403 "permission_error" "The key may not use this model"
        "Use one of the key's models, or a key without a list of models."
    AddressForbidden "address_forbidden" 403 "permission_error" "The key may not be used from this address"
        "Call from an address in the key's list, or have the list changed."
    AccountSuspended "account_suspended" 403 "permission_error" "The account is suspended"
        "Contact support to have the account opened again."
    RouteNotFound "route_not_found" 404 "not_found_error" "There is no such route"
        "Check the path: it matches by case and whole segments."
    ModelNotFound "model_not_found" 404 "not_found_error" "The model is not offered"
        "See which models you can use: GET models of the customer API (/weir/v1/models)."
    NotFound "not_found" 404 "not_found_error" "There is no such resource"
        "Check the id; a resource of another account is not visible either."
    MethodNotAllowed "method_not_allowed" 405 "invalid_request_error" "The path does not support this method"
        "Use one of the methods in the Allow header."
    RequestTimeout "request_timeout" 408 "invalid_request_error" "The request did not arrive in time"
        "Send the whole request without long pauses."
    Conflict "conflict" 409 "invalid_request_error" "The request contradicts the present state"
        "Read the resource again and decide anew."
    IdempotencyInProgress "idempotency_in_progress" 409 "invalid_request_error" "A call with this Idempotency-Key is still running"
        "Wait for it and repeat the request: the answer is then given again."
    PreconditionFailed "precondition_failed" 412 "invalid_request_error" "The resource has changed"
        "Read it again and repeat the change with its new ETag."
    RequestTooLarge "request_too_large" 413 "invalid_request_error" "The request body is too large"
        "Send a smaller body; the detail says how large it may be."
    UnsupportedMediaType "unsupported_media_type" 415 "invalid_request_error" "The body is not JSON"
        "Send `Content-Type: application/json`."
    IdempotencyMismatch "idempotency_mismatch" 422 "invalid_request_error" "The Idempotency-Key was used for another request"
        "Use a new Idempotency-Key for a new request."
    RateLimitExceeded "rate_limit_exceeded" 429 "rate_limit_error" "A rate limit is used up"
        "Wait for the time in Retry-After, then repeat the same call; or ask for a higher limit."
    ConcurrencyLimitExceeded "concurrency_limit_exceeded" 429 "rate_limit_error" "Too many calls are in flight"
        "Wait until one of your running calls has ended, then repeat the call."
    HeadersTooLarge "headers_too_large" 431 "invalid_request_error" "The request headers are too large"
        "Send fewer or shorter headers."
    InternalError "internal_error" 500 "server_error" "Something failed on our side"
        "Repeat the call; if it fails again, contact support with the request id."
    UpstreamUnreachable "upstream_unreachable" 502 "server_error" "The service behind the gateway cannot be reached"
        "Repeat the call after a moment; nothing was charged."
    UpstreamBroke "upstream_broke" 502 "server_error" "The service behind the gateway broke off its answer"
        "Repeat the call."
    Overloaded "overloaded" 503 "server_error" "The service is at its capacity"
        "Repeat the call after the time in Retry-After."
    StoreUnavailable "store_unavailable" 503 "server_error" "Charges cannot be recorded at the moment"
        "Repeat the call after the time in Retry-After; nothing was charged."
    UpstreamTimeout "upstream_timeout" 504 "server_error" "The service behind the gateway did not answer in time"
        "Repeat the call; where it can run long, use streaming."
    Forbidden "forbidden" 403 "permission_error" "The key may not do this"
        "Use a key that has the permission named in the detail."
}

impl Code {
    /// The line of the catalogue.
    pub fn entry(self) -> &'static Entry {
        let found = CATALOGUE.iter().find(|entry| entry.code == self);
        found.unwrap_or(&CATALOGUE[0])
    }

    /// Its written form.
    pub fn name(self) -> &'static str {
        self.entry().name
    }

    /// The HTTP status.
    pub fn status(self) -> u16 {
        self.entry().status
    }

    /// The code of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        CATALOGUE.iter().find(|entry| entry.name == name).map(|entry| entry.code)
    }
}

/// Problem details (RFC 9457) and OpenAI's error envelope in one.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ErrorDocument {
    /// A page that says what the code means and what to do.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it is, in a few words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened in this case.
    pub detail: String,
    /// The request's id.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub request_id: String,
    /// Facts of this case: `limit`, `retry_after_s`, `required`, `available`, …
    #[serde(flatten)]
    pub facts: Map<String, Value>,
    /// What to do.
    pub help: String,
    /// Where to ask.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub support_url: Option<String>,
    /// OpenAI's envelope.
    pub error: Envelope,
}

/// OpenAI's error envelope.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Envelope {
    /// What happened, in a sentence.
    pub message: String,
    /// The family of the error.
    #[serde(rename = "type")]
    pub kind: String,
    /// The stable code.
    pub code: String,
    /// The member of the request that is wrong.
    pub param: Option<String>,
}

/// Anthropic's error document.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct AnthropicError {
    /// Always `error`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What went wrong.
    pub error: AnthropicDetail,
    /// The request's id.
    pub request_id: String,
}

/// The inner part of Anthropic's error document.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct AnthropicDetail {
    /// The family of the error.
    #[serde(rename = "type")]
    pub kind: String,
    /// What happened, in a sentence.
    pub message: String,
}

/// Where error pages and support are found.
#[derive(Clone, Debug, Default)]
pub struct Links {
    /// What the `type` URI begins with: `public_url` + `api_prefix`, or the prefix alone.
    pub base: String,
    /// The operator's support page.
    pub support_url: Option<String>,
}

impl ErrorDocument {
    /// The document for a code; `detail` says what happened in this case.
    pub fn new(code: Code, detail: impl Into<String>, request_id: &str, links: &Links) -> Self {
        let entry = code.entry();
        let detail = detail.into();
        Self {
            kind: format!("{}/errors/{}", links.base, entry.name),
            title: entry.title.to_owned(),
            status: entry.status,
            request_id: request_id.to_owned(),
            facts: Map::new(),
            help: entry.help.to_owned(),
            support_url: links.support_url.clone(),
            error: Envelope {
                message: detail.clone(),
                kind: entry.kind.to_owned(),
                code: entry.name.to_owned(),
                param: None,
            },
            detail,
        }
    }

    /// Adds a fact of this case.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.facts.insert(name.to_owned(), value.into());
        self
    }

    /// Names the member of the request that is wrong.
    #[must_use]
    pub fn with_param(mut self, param: &str) -> Self {
        self.error.param = Some(param.to_owned());
        self
    }

    /// The same in Anthropic's shape, whose top-level `type` leaves no room for problem details:
    /// what to do and where to ask stand in the message.
    pub fn to_anthropic(&self) -> AnthropicError {
        let kind = match self.status {
            401 => "authentication_error",
            402 => "billing_error",
            403 => "permission_error",
            404 => "not_found_error",
            413 => "request_too_large",
            429 => "rate_limit_error",
            503 => "overloaded_error",
            500.. => "api_error",
            _ => "invalid_request_error",
        };
        let mut message = format!("{} {}", self.error.message, self.help);
        if let Some(Value::String(url)) = self.facts.get("top_up_url") {
            message.push_str(&format!(" Credit: {url}"));
        }
        if let Some(url) = &self.support_url {
            message.push_str(&format!(" Questions: {url}"));
        }
        AnthropicError {
            kind: "error".to_owned(),
            error: AnthropicDetail { kind: kind.to_owned(), message },
            request_id: self.request_id.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_own_line_and_name() {
        for (index, entry) in CATALOGUE.iter().enumerate() {
            assert_eq!(entry.code.entry().name, entry.name);
            assert!(CATALOGUE[..index].iter().all(|other| other.name != entry.name));
            assert!(entry.help.ends_with('.'));
        }
    }

    /// `docs/errors.md` is written by this test where `WEIR_BLESS` is set, and compared elsewhere.
    #[test]
    fn the_documented_catalogue_is_the_catalogue() {
        let mut page = String::from(PAGE_HEAD);
        let mut by_status: Vec<&Entry> = CATALOGUE.iter().collect();
        by_status.sort_by_key(|entry| entry.status);
        for entry in by_status {
            let Entry { name, status, kind, title, help, .. } = entry;
            page.push_str(&format!(
                "\n## {name}\n\n{title}. Status {status}, `error.type` `{kind}`.\n\n{help}\n"
            ));
        }
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/errors.md");
        if std::env::var_os("WEIR_BLESS").is_some() {
            std::fs::write(path, &page).expect("the page can be written");
        }
        let documented = std::fs::read_to_string(path).expect("the page is there");
        assert_eq!(documented, page, "run this test with WEIR_BLESS=1 and commit docs/errors.md");
    }

    const PAGE_HEAD: &str = "\
# Errors

Every refusal and error of Weir has a stable code: `error.code`, and the end of the document's `type`, whose page Weir
itself serves under `/weir/errors/CODE`. Branch on the code, never on the text. Every document has `detail` (what
happened in this case), `help` (what to do), `request_id` (what to quote to support) and, where it says when to go on,
`retry_after_s` beside the `Retry-After` header. On routes with `usage = \"anthropic\"` the document has Anthropic's
shape, and its message says all that; the code's meaning is the same.

This page is generated from the catalogue in `crates/weir-wire/src/error.rs`.
";
}
