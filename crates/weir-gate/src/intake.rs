//! Taking in a request's body: read where its members decide something, else passed on.

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, header};
use http_body::Body;
use http_body_util::{BodyExt, Limited};
use tokio::time::Instant;
use weir_core::id::AccountId;
use weir_core::policy::{Policy, Route, RoutePrice, UsageSource};
use weir_core::price::Bound;
use weir_core::usage::{Meter, Usage};
use weir_wire::error::Code;

use crate::ask::{Ask, Endpoint, Unreadable, ask_multipart};
use crate::buffer::Budget;
use crate::handler::RequestBody;
use crate::idempotency::Once;
use crate::idle_body::is_too_slow;
use crate::out_body::{Fault, OutBody};
use crate::refuse::{Context, Failure};

/// How much of bodies may be read, one and all together.
#[derive(Debug)]
pub(crate) struct Intake {
    body_bytes_max: u64,
    budget: Arc<Budget>,
}

/// A request body as far as it was read.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) body: OutBody,
    /// The bytes, if they were read.
    pub(crate) bytes: Option<Bytes>,
    pub(crate) ask: Option<Ask>,
    /// The idempotency key under which the call is to be made.
    pub(crate) once: Option<Once>,
}

/// How large a call may become.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// What is held for.
    pub(crate) bound: Bound,
    /// The most output tokens per choice that will be forwarded, if there is a bound at all.
    pub(crate) output_max: Option<u64>,
}

impl Intake {
    pub(crate) fn new(body_bytes_max: u64, buffered_bytes_max: u64) -> Self {
        Self { body_bytes_max, budget: Budget::new(buffered_bytes_max) }
    }

    /// Reads the body where its members decide something or it is asked for `whole`, else prepares
    /// to pass it on.
    pub(crate) async fn take(
        &self,
        (parts, owner): (&Parts, AccountId),
        route: &Route,
        context: &Context<'_>,
        body: RequestBody,
        whole: bool,
    ) -> Result<Taken, Failure> {
        let max = self.body_bytes_max;
        let too_large = || body_failure(context, Fault::TooLarge, max);
        if body.size_hint().lower() > max {
            return Err(too_large());
        }
        if body.is_end_stream() {
            let body = OutBody::whole(Bytes::new());
            return without_body(route, context, body);
        }
        let limit = usize::try_from(max).unwrap_or(usize::MAX);
        let reads = reads_body(route);
        if !reads && !whole {
            return Ok(Taken {
                body: OutBody::passed(body, limit),
                bytes: None,
                ask: None,
                once: None,
            });
        }
        let bytes = self.collect(owner, context, Limited::new(body, limit)).await?;
        let ask = if reads {
            read_ask(parts, route, &bytes).map_err(|why| context.unreadable(&why))?
        } else {
            None
        };
        let body = OutBody::whole(bytes.clone());
        Ok(Taken { body, bytes: Some(bytes), ask, once: None })
    }

    /// Reads a body to its end. Memory is taken as it comes: what is only announced costs nobody
    /// anything.
    async fn collect(
        &self,
        owner: AccountId,
        context: &Context<'_>,
        mut body: Limited<RequestBody>,
    ) -> Result<Bytes, Failure> {
        let crowded = || {
            context
                .fail(Code::Overloaded, "Too many request bodies are being read at the moment.")
                .retry(weir_core::time::Span::SECOND)
        };
        let expected = body.size_hint().exact().unwrap_or(u64::MAX);
        let mut share = self.budget.share(owner, expected);
        let began = Instant::now();
        let mut pieces = Vec::new();
        let mut len = 0;
        while let Some(frame) = body.frame().await {
            let frame = frame
                .map_err(|error| body_failure(context, Fault::of(&error), self.body_bytes_max))?;
            let Ok(data) = frame.into_data() else { continue };
            len += data.len() as u64;
            if is_too_slow(len, began.elapsed().saturating_sub(UNHURRIED)) {
                return Err(body_failure(context, Fault::Late, self.body_bytes_max));
            }
            share.cover(len).await.ok_or_else(crowded)?;
            pieces.push(data);
        }
        Ok(match pieces.pop() {
            Some(only) if pieces.is_empty() => only,
            last => pieces.into_iter().chain(last).collect::<Vec<_>>().concat().into(),
        })
    }
}

/// How large the call may become, by its body, its model and its route.
pub(crate) fn size(policy: &Policy, route: &Route, ask: Option<&Ask>) -> Size {
    let Some(ask) = ask else {
        return Size { bound: Bound::text(0, 0), output_max: None };
    };
    let model_max = ask
        .model
        .as_deref()
        .and_then(|model| policy.model(model))
        .and_then(|terms| terms.max_output_tokens);
    let asked = ask.bound().map(|bound| bound.tokens);
    let most = match (asked, model_max) {
        (Some(asked), Some(most)) => Some(asked.min(most)),
        (Some(asked), None) => Some(asked),
        (None, _) => None,
    };
    // By its members alone a body is not believed to have no output: `size` beside a prompt may be
    // there to make it look like a picture.
    let produces = ask.endpoint.default_bound().is_some() || ask.guessed;
    let step = route.hold_output_tokens;
    let output = match (produces, most) {
        (false, _) => 0,
        (true, None) => model_max.map_or(step, |max| max.min(step)),
        (true, Some(most)) if ask.stream => most.min(step),
        (true, Some(most)) => most,
    };
    let images = if ask.endpoint == Endpoint::Images { ask.answers() } else { 0 };
    let bound = Bound {
        input: ask.input_tokens,
        output,
        choices: ask.answers(),
        audio: ask.endpoint == Endpoint::Audio,
        other: Usage::NONE.with(Meter::Request, 1).with(Meter::Image, images),
    };
    Size { bound, output_max: most.or(model_max) }
}

pub(crate) fn without_body(
    route: &Route,
    context: &Context<'_>,
    body: OutBody,
) -> Result<Taken, Failure> {
    if route.price == RoutePrice::ByModel && route.usage != UsageSource::None {
        return Err(context.unknown_model(""));
    }
    Ok(Taken { body, bytes: None, ask: None, once: None })
}

/// Whether the body decides something: the price, or what the answer will use.
pub(crate) fn reads_body(route: &Route) -> bool {
    route.price == RoutePrice::ByModel
        || matches!(route.usage, UsageSource::OpenAi | UsageSource::Anthropic)
}

pub(crate) fn read_ask(
    parts: &Parts,
    route: &Route,
    bytes: &Bytes,
) -> Result<Option<Ask>, Unreadable> {
    let endpoint = match route.usage {
        UsageSource::Anthropic => Some(Endpoint::Messages),
        _ => Endpoint::of_path(parts.uri.path()),
    };
    let media = parts.headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let ask = if media.len() >= 10 && media[..10].eq_ignore_ascii_case(b"multipart/") {
        ask_multipart(media, bytes, endpoint)?
    } else {
        Ask::read(bytes, endpoint)?
    };
    if route.price != RoutePrice::Free {
        ask.unambiguous().map_err(Unreadable::from)?;
    }
    Ok(Some(ask))
}

/// What a client is told whose body could not be read to its end.
pub(crate) fn body_failure(context: &Context<'_>, fault: Fault, max: u64) -> Failure {
    let (code, detail) = match fault {
        Fault::TooLarge => (Code::RequestTooLarge, format!("The body is larger than {max} bytes.")),
        Fault::Late => (Code::RequestTimeout, "The body did not arrive in time.".to_owned()),
        Fault::Broken => (Code::InvalidRequest, "The body broke off or is malformed.".to_owned()),
    };
    context.fail(code, detail)
}

/// A body that is read may take this long before it must come at a certain pace.
const UNHURRIED: std::time::Duration = std::time::Duration::from_secs(30);
