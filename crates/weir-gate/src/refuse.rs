//! The one place that turns refusals and failures into answers.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use weir_core::account::Owner;
use weir_core::admit::{LimitView, Refusal, Shortage};
use weir_core::key::{Key, KeyForbids, KeyInvalid};
use weir_core::limit::{Algorithm, Unit};
use weir_core::money::Nano;
use weir_core::time::{Span, Timestamp};
use weir_engine::call::{Refused, Why};
use weir_engine::engine::Unidentified;
use weir_wire::error::{Code, ErrorDocument};
use weir_wire::header as ours;

use crate::ask::Unreadable;
use crate::head::HeadRefusal;
use crate::limit_headers;
use crate::settings::Told;

/// In whose words an error is told.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Dialect {
    /// Problem details, with OpenAI's envelope inside.
    #[default]
    Problem,
    /// The same as `application/json`, as OpenAI's SDKs expect it.
    OpenAi,
    /// Anthropic's alone.
    Anthropic,
}

/// What is known of a request that is refused.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Its id.
    pub request_id: &'a str,
    /// In whose words its error is told.
    pub dialect: Dialect,
    /// What it is told of the operator.
    pub told: &'a Told,
}

/// An error on its way out: the document, and headers beside it.
#[derive(Debug)]
pub struct Failure {
    code: Code,
    document: Box<ErrorDocument>,
    headers: Box<HeaderMap>,
}

impl<'a> Context<'a> {
    /// An error with this detail.
    pub fn fail(&self, code: Code, detail: impl Into<String>) -> Failure {
        let document = ErrorDocument::new(code, detail, self.request_id, &self.told.links);
        Failure { code, document: Box::new(document), headers: Box::default() }
    }

    /// A request head that cannot be served.
    pub fn head(&self, refusal: HeadRefusal) -> Failure {
        let code = match refusal.status() {
            StatusCode::METHOD_NOT_ALLOWED => Code::MethodNotAllowed,
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE | StatusCode::URI_TOO_LONG => {
                Code::HeadersTooLarge
            }
            _ => Code::InvalidRequest,
        };
        let mut failure = self.fail(code, sentence(&refusal.to_string()));
        failure.document.status = refusal.status().as_u16();
        match code {
            // RFC 9110 section 15.5.6: a 405 says what is served, here anywhere at all.
            Code::MethodNotAllowed => failure.header("allow", METHODS),
            _ => failure,
        }
    }

    /// A path that is known, but only with other methods.
    pub fn other_methods(&self, method: &Method, known: &[Box<str>]) -> Failure {
        let known = known.join(", ");
        let detail = format!("{method} is not supported here; {known} is.");
        self.fail(Code::MethodNotAllowed, detail).header("allow", &known)
    }

    /// A path that no route has.
    pub fn no_route(&self, method: &Method, path: &str) -> Failure {
        self.fail(Code::RouteNotFound, format!("There is no route {method} {path}."))
    }

    /// A key that does not exist.
    pub fn unidentified(&self, why: Unidentified) -> Failure {
        match why {
            Unidentified::Unknown => {
                let detail = "The API key is not known, or was not copied whole.";
                self.fail(Code::InvalidKey, detail)
            }
            Unidentified::TooMany(wait) => {
                let detail = "Too many unknown API keys came from this address; keys that exist \
                              go on working.";
                self.fail(Code::RateLimitExceeded, detail).retry(wait)
            }
        }
    }

    /// A key that is not valid now.
    pub fn invalid_key(&self, invalid: KeyInvalid) -> Failure {
        match invalid {
            KeyInvalid::Expired { at } => {
                self.fail(Code::ExpiredKey, format!("This key expired at {}.", rfc3339(at)))
            }
            KeyInvalid::Revoked { at } => {
                self.fail(Code::RevokedKey, format!("This key was revoked at {}.", rfc3339(at)))
            }
        }
    }

    /// A key that may not make this call.
    pub fn forbidden(&self, forbids: KeyForbids, key: &Key, asked: &Asked<'_>) -> Failure {
        match forbids {
            KeyForbids::Method => self.fail(
                Code::KeyTypeForbidden,
                format!("This is a read key, and {} is not a reading method.", asked.method),
            ),
            KeyForbids::Scope => {
                let has = match &key.scopes {
                    Some(scopes) => format!("it has: {}", scopes.join(", ")),
                    None => "it has none".to_owned(),
                };
                let wanted = match asked.scope {
                    Some(scope) => format!("This route needs the scope `{scope}`"),
                    None => "Service keys may use only routes with a scope of theirs".to_owned(),
                };
                self.fail(Code::InsufficientScope, format!("{wanted}, which the key lacks; {has}."))
            }
            KeyForbids::Model => self
                .fail(
                    Code::ModelForbidden,
                    format!("This key may not use the model `{}`.", asked.model),
                )
                .param("model"),
            KeyForbids::Address => self.fail(
                Code::AddressForbidden,
                format!("This key may not be used from {}.", asked.address),
            ),
        }
    }

    /// A body that cannot be read.
    pub fn unreadable(&self, why: &Unreadable) -> Failure {
        let failure = self.fail(Code::InvalidRequest, sentence(&why.to_string()));
        match why.param() {
            Some(param) => failure.param(param),
            None => failure,
        }
    }

    /// A call that the rules, the wallet or the store refuse.
    pub fn refused(&self, refused: &Refused, model: &str) -> Failure {
        let failure = match &refused.why {
            Why::Rules(Refusal::Suspended) => {
                self.fail(Code::AccountSuspended, "The account of this key is suspended.")
            }
            Why::Rules(Refusal::Limited(view, wait)) => self.limited(view, *wait),
            Why::Rules(Refusal::SpendCap(view, _)) => self.spend_cap(view),
            Why::Rules(Refusal::NeverFits(view, amount)) => self.never_fits(view, *amount),
            Why::Rules(Refusal::Credits(shortage)) => self.short(shortage, None),
            Why::Credits(shortage, affordable) => self.short(shortage, *affordable),
            Why::UnknownModel => self.unknown_model(model),
            Why::Store(health) => {
                tracing::warn!(?health, "a priced call was refused: charges cannot be recorded");
                self.fail(
                    Code::StoreUnavailable,
                    "Charges cannot be recorded at the moment, so that priced calls are refused.",
                )
                .retry(Span::from_secs(5))
            }
        };
        let limit = match &refused.why {
            Why::Rules(Refusal::Limited(view, _)) => Some(view),
            _ => None,
        };
        failure.standing(refused, limit, self.dialect == Dialect::OpenAi)
    }

    /// A model that is not for sale.
    pub fn unknown_model(&self, model: &str) -> Failure {
        if model.is_empty() {
            let detail = "The body names no model, and this route is priced by the model.";
            return self.fail(Code::InvalidRequest, detail).param("model");
        }
        self.fail(Code::ModelNotFound, format!("There is no model `{model}` here.")).param("model")
    }

    fn limited(&self, view: &LimitView, wait: Span) -> Failure {
        if view.algorithm == Algorithm::Concurrency {
            let limit = view.now.limit.unwrap_or(0);
            return self
                .fail(
                    Code::ConcurrencyLimitExceeded,
                    format!(
                        "{} calls are in flight, and the limit `{}` is {limit}.",
                        view.now.used, view.name
                    ),
                )
                .limit(view)
                .retry(wait);
        }
        let detail = format!(
            "The limit `{}` of {} per {} is used up{}; the same call passes in {}.",
            view.name,
            self.amount(view, view.now.limit.unwrap_or(0)),
            per(view.now.window),
            if matches!(view.owner, Owner::Key(_)) { " for this key" } else { "" },
            words(Span::from_secs(wait.secs_ceil().max(1))),
        );
        self.fail(Code::RateLimitExceeded, detail).limit(view).retry(wait)
    }

    /// So much of what a limit counts, in words.
    fn amount(&self, view: &LimitView, amount: u64) -> String {
        match view.unit {
            Unit::Credits => format!("{} {}", money(amount), self.told.currency),
            Unit::Requests | Unit::Tokens => format!("{amount} {}", view.unit.name()),
        }
    }

    fn spend_cap(&self, view: &LimitView) -> Failure {
        let cap = money(view.now.limit.unwrap_or(0));
        let left = money(view.now.remaining);
        let currency = &self.told.currency;
        self.fail(
            Code::KeySpendCapReached,
            format!("This key may spend {cap} {currency} in its period; {left} is left, less than the call may cost."),
        )
        .limit(view)
        .header(ours::X_SHOULD_RETRY, "false")
    }

    fn never_fits(&self, view: &LimitView, amount: u64) -> Failure {
        let detail = format!(
            "The call may use {}, more than the limit `{}` of {} can ever give at once.",
            self.amount(view, amount),
            view.name,
            self.amount(view, view.now.limit.unwrap_or(0))
        );
        self.fail(Code::RequestExceedsLimit, detail).limit(view)
    }

    fn short(&self, shortage: &Shortage, affordable: Option<u64>) -> Failure {
        let Shortage { required, available, held } = *shortage;
        let in_flight = required <= available.saturating_add(held);
        let currency = &self.told.currency;
        let (code, detail) = if in_flight {
            let detail = format!(
                "The call must hold {required} {currency}; {available} is available while running calls hold {held}."
            );
            (Code::InFlightBudgetExhausted, detail)
        } else {
            let missing = required.saturating_sub(available);
            let detail = format!(
                "The call must hold {required} {currency}, and {available} is available: {missing} is missing."
            );
            (Code::InsufficientCredits, detail)
        };
        let mut failure = self
            .fail(code, detail)
            .fact("required", required.to_string())
            .fact("available", available.to_string())
            .fact("held", held.to_string())
            .fact("currency", currency.as_str())
            .fact("affordable_output_tokens", affordable);
        if let Some(url) = &self.told.top_up_url {
            failure = failure.fact("top_up_url", url.as_str());
        }
        if in_flight {
            return failure.retry(Span::SECOND).header(ours::X_SHOULD_RETRY, "true");
        }
        failure.header(ours::X_SHOULD_RETRY, "false")
    }
}

/// What was asked, for the words of a refusal.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The method.
    pub method: &'a str,
    /// The scope of the route.
    pub scope: Option<&'a str>,
    /// The model.
    pub model: &'a str,
    /// Where the request came from.
    pub address: std::net::IpAddr,
}

impl Failure {
    /// Its code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// Its status.
    pub fn status(&self) -> u16 {
        self.document.status
    }

    /// Names the member of the body that is wrong.
    #[must_use]
    pub fn param(mut self, param: &str) -> Self {
        self.document.error.param = Some(param.to_owned());
        self
    }

    /// Adds a fact to the document.
    #[must_use]
    pub fn fact(mut self, name: &str, value: impl Into<serde_json::Value>) -> Self {
        self.document.facts.insert(name.to_owned(), value.into());
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(HeaderName::from_static(name), value);
        }
        self
    }

    /// Says after what time the same call passes; never less than a second, and not by itself
    /// where that is long (the official SDKs would sleep or hammer).
    #[must_use]
    pub fn retry(self, wait: Span) -> Self {
        let secs = wait.secs_ceil().max(1);
        let ms = wait.millis_ceil().max(1);
        let mut failure = self.fact("retry_after_s", secs);
        failure.headers.insert(header::RETRY_AFTER, HeaderValue::from(secs));
        failure
            .headers
            .insert(HeaderName::from_static(ours::RETRY_AFTER_MS), HeaderValue::from(ms));
        if secs > LONG_WAIT_S { failure.header(ours::X_SHOULD_RETRY, "false") } else { failure }
    }

    fn limit(self, view: &LimitView) -> Self {
        let per = match view.owner {
            Owner::Account => "account",
            Owner::Key(_) => "key",
        };
        let told = |amount: u64| match view.unit {
            Unit::Credits => serde_json::Value::from(money(amount)),
            Unit::Requests | Unit::Tokens => serde_json::Value::from(amount),
        };
        self.fact("violated-policies", vec![view.name]).fact(
            "limit",
            serde_json::json!({
                "name": view.name, "per": per, "unit": view.unit.name(),
                "limit": view.now.limit.map(told), "remaining": told(view.now.remaining),
                "window_s": view.now.window.secs_ceil(), "reset_at": rfc3339(view.now.reset_at),
            }),
        )
    }

    /// Tells where the limits stand.
    #[must_use]
    pub fn limits(mut self, views: &[LimitView], dialect: Dialect, at: Timestamp) -> Self {
        limit_headers::write(&mut self.headers, views, None, dialect == Dialect::OpenAi, at);
        self
    }

    /// Tells what the wallet has, on plans that are charged.
    #[must_use]
    pub fn wallet(self, available: Option<Nano>) -> Self {
        match available {
            Some(available) => self.header(ours::X_WALLET_AVAILABLE, &available.to_string()),
            None => self,
        }
    }

    fn standing(mut self, refused: &Refused, limit: Option<&LimitView>, openai: bool) -> Self {
        limit_headers::write(&mut self.headers, &refused.views, limit, openai, refused.at);
        self.wallet(refused.available)
    }

    /// The answer.
    pub fn into_response(self, context: &Context<'_>) -> Response<Bytes> {
        let (media, body) = match context.dialect {
            Dialect::Anthropic => {
                ("application/json", serde_json::to_vec(&self.document.to_anthropic()))
            }
            Dialect::OpenAi => ("application/json", serde_json::to_vec(&self.document)),
            Dialect::Problem => ("application/problem+json", serde_json::to_vec(&self.document)),
        };
        // A document of strings and numbers always serializes.
        let mut response = Response::new(Bytes::from(body.unwrap_or_default()));
        *response.status_mut() =
            StatusCode::from_u16(self.document.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        *response.headers_mut() = *self.headers;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
        if self.document.status == 401 {
            let challenge = HeaderValue::from_static("Bearer realm=\"api\"");
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        if let Ok(id) = HeaderValue::from_str(context.request_id) {
            headers.insert(HeaderName::from_static(ours::X_REQUEST_ID), id);
        }
        response
    }

    /// The same as a last event of a stream that is already running.
    pub fn into_event(self, dialect: Dialect) -> Bytes {
        let text = match dialect {
            Dialect::Anthropic => serde_json::to_string(&self.document.to_anthropic())
                .map(|json| format!("event: error\ndata: {json}\n\n")),
            Dialect::OpenAi | Dialect::Problem => {
                serde_json::to_string(&self.document).map(|json| format!("data: {json}\n\n"))
            }
        };
        text.unwrap_or_default().into()
    }
}

/// A window in words, after "per": `hour`, `90 seconds`.
fn per(window: Span) -> String {
    let words = words(window);
    words.strip_prefix("1 ").map_or(words.clone(), str::to_owned)
}

/// A length of time in words: `1 hour`, `90 seconds`.
fn words(span: Span) -> String {
    let secs = span.secs_ceil();
    let (count, unit) = match secs {
        s if s > 0 && s % 86_400 == 0 => (s / 86_400, "day"),
        s if s > 0 && s % 3_600 == 0 => (s / 3_600, "hour"),
        s if s > 0 && s % 60 == 0 => (s / 60, "minute"),
        s => (s, "second"),
    };
    if count == 1 { format!("1 {unit}") } else { format!("{count} {unit}s") }
}

/// A message of ours as a sentence.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str())
}

fn money(nano: u64) -> String {
    Nano::new(i64::try_from(nano).unwrap_or(i64::MAX)).to_string()
}

/// A time as RFC 3339 in UTC, to the second.
pub fn rfc3339(at: Timestamp) -> String {
    jiff::Timestamp::from_second(at.secs_ceil()).map(|at| at.to_string()).unwrap_or_default()
}

/// From this wait on, clients are told not to try again by themselves: the official SDKs sleep for
/// however long they are told, or hammer.
const LONG_WAIT_S: i64 = 60;
/// What may be asked of paths at all: anything but CONNECT and TRACE.
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
