//! The one place that turns failures of the control plane into answers.

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::{Map, Value};
use weir_core::key::KeyInvalid;
use weir_core::time::Span;
use weir_engine::change::ChangeError;
use weir_engine::engine::Unidentified;
use weir_wire::error::{Code, ErrorDocument, Links};
use weir_wire::header as ours;

use crate::time::rfc3339;

/// A failure on its way out. The shell writes the document: it knows the request's id.
#[derive(Clone, Debug)]
pub(crate) struct Problem(Box<Facts>);

#[derive(Clone, Debug)]
struct Facts {
    code: Code,
    detail: String,
    param: Option<String>,
    facts: Map<String, Value>,
    headers: HeaderMap,
}

impl Problem {
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        let (facts, headers) = (Map::new(), HeaderMap::new());
        Self(Box::new(Facts { code, detail: detail.into(), param: None, facts, headers }))
    }

    /// A member, parameter or header that makes no sense.
    pub(crate) fn invalid(param: &str, why: impl std::fmt::Display) -> Self {
        Self::new(Code::InvalidRequest, format!("`{param}`: {why}.")).param(param)
    }

    pub(crate) fn not_found(what: &str) -> Self {
        Self::new(Code::NotFound, format!("There is no such {what}."))
    }

    /// A failure of ours: the log gets the reason, the client does not.
    pub(crate) fn internal(reason: &dyn std::fmt::Display) -> Self {
        tracing::error!(%reason, "a request to the API failed");
        Self::new(Code::InternalError, "The request failed on our side.")
    }

    #[must_use]
    pub(crate) fn param(mut self, param: &str) -> Self {
        self.0.param = Some(param.to_owned());
        self
    }

    /// The same of a parameter that has another name here.
    #[must_use]
    pub(crate) fn renamed(mut self, param: &str) -> Self {
        if let Some(was) = self.0.param.replace(param.to_owned()) {
            self.0.detail = self.0.detail.replace(&format!("`{was}`"), &format!("`{param}`"));
        }
        self
    }

    #[must_use]
    pub(crate) fn fact(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.facts.insert(name.to_owned(), value.into());
        self
    }

    #[must_use]
    pub(crate) fn header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.0.headers.insert(name, value);
        }
        self
    }

    /// Says when the same request may pass.
    #[must_use]
    pub(crate) fn retry(self, wait: Span) -> Self {
        let secs = wait.secs_ceil().max(1);
        let millis = wait.millis_ceil().max(1);
        self.fact("retry_after_s", secs)
            .header(http::header::RETRY_AFTER, &secs.to_string())
            .header(HeaderName::from_static(ours::RETRY_AFTER_MS), &millis.to_string())
    }

    /// Code, sentence and parameter, where it is told among other things.
    pub(crate) fn told(&self) -> (&'static str, String, Option<String>) {
        (self.0.code.name(), self.0.detail.clone(), self.0.param.clone())
    }

    /// The answer in full.
    pub(crate) fn render(self, request_id: &str, links: &Links) -> Response {
        let Facts { code, detail, param, facts, headers } = *self.0;
        let mut document = ErrorDocument::new(code, detail, request_id, links);
        document.facts = facts;
        if let Some(param) = &param {
            document = document.with_param(param);
        }
        let status = StatusCode::from_u16(document.status);
        let body = serde_json::to_vec(&document).unwrap_or_default();
        let mut response = Response::new(body.into());
        *response.status_mut() = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        *response.headers_mut() = headers;
        response.headers_mut().insert(http::header::CONTENT_TYPE, PROBLEM_JSON);
        response
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = StatusCode::INTERNAL_SERVER_ERROR.into_response();
        *response.status_mut() =
            StatusCode::from_u16(self.0.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        response.extensions_mut().insert(self);
        response
    }
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::NotFound => Self::not_found("resource"),
            ChangeError::Invalid { member, why } => Self::invalid(&member, why),
            ChangeError::Conflict(why) => Self::new(Code::Conflict, sentence(&why)),
            ChangeError::Stale => {
                Self::new(Code::PreconditionFailed, "The resource has changed meanwhile.")
            }
            ChangeError::Store(why) => {
                tracing::error!(%why, "a change could not be made durable");
                let detail = "The change cannot be recorded at the moment; nothing was changed.";
                Self::new(Code::StoreUnavailable, detail).retry(Span::from_secs(5))
            }
            ChangeError::Credits(short) => {
                Self::new(Code::InsufficientCredits, sentence(&short.to_string()))
                    .fact("required", short.asked.to_string())
                    .fact("available", short.available.to_string())
                    .fact("held", short.held.to_string())
            }
            ChangeError::NoRandomness => Self::internal(&error),
            ChangeError::Unreadable(why) => Self::internal(&why),
            ChangeError::Unwritable(why) => Self::internal(&why),
        }
    }
}

impl From<Unidentified> for Problem {
    fn from(why: Unidentified) -> Self {
        match why {
            Unidentified::Unknown => Self::new(Code::InvalidKey, "This API key is not known."),
            Unidentified::TooMany(wait) => {
                let detail = "Too many keys that do not exist were sent from this address.";
                Self::new(Code::RateLimitExceeded, detail).retry(wait)
            }
        }
    }
}

impl From<KeyInvalid> for Problem {
    fn from(invalid: KeyInvalid) -> Self {
        match invalid {
            KeyInvalid::Expired { at } => {
                Self::new(Code::ExpiredKey, format!("This key expired at {}.", rfc3339(at)))
            }
            KeyInvalid::Revoked { at } => {
                Self::new(Code::RevokedKey, format!("This key was revoked at {}.", rfc3339(at)))
            }
        }
    }
}

/// A message of lower levels as a sentence.
pub(crate) fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
    let end = if text.ends_with(['.', '!', '?']) { "" } else { "." };
    format!("{first}{}{end}", letters.as_str())
}

const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");
