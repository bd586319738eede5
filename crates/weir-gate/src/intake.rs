//! Taking in a request's body: read where its members decide something, else passed on.

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, header};
use http_body::Body;
use http_body_util::{BodyExt, Limited};
use tokio::sync::Semaphore;
use weir_core::policy::{Policy, Route, RoutePrice, UsageSource};
use weir_core::price::Bound;
use weir_core::usage::{Meter, Usage};
use weir_wire::error::Code;

use crate::ask::{Ask, Endpoint, Unreadable, ask_multipart};
use crate::handler::RequestBody;
use crate::idempotency::Once;
use crate::out_body::{Fault, OutBody};
use crate::refuse::{Context, Failure};

/// How much of bodies may be read, one and all together.
#[derive(Debug)]
pub(crate) struct Intake {
    body_bytes_max: u64,
    /// What is left of the memory for bodies that are being read, in KiB.
    budget: Arc<Semaphore>,
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
        let budget = usize::try_from(buffered_bytes_max / 1_024).unwrap_or(usize::MAX);
        let budget = Arc::new(Semaphore::new(budget.min(Semaphore::MAX_PERMITS)));
        Self { body_bytes_max, budget }
    }

    /// Reads the body where its members decide something or it is asked for `whole`, else prepares
    /// to pass it on.
    pub(crate) async fn take(
        &self,
        parts: &Parts,
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
        let _share = self.buffer_share(&body, max, context).await?;
        let collected = Limited::new(body, limit).collect().await;
        let bytes = match collected {
            Ok(collected) => collected.to_bytes(),
            Err(error) => return Err(body_failure(context, Fault::of(&error), max)),
        };
        let ask = if reads {
            read_ask(parts, route, &bytes).map_err(|why| context.unreadable(&why))?
        } else {
            None
        };
        let body = OutBody::whole(bytes.clone());
        Ok(Taken { body, bytes: Some(bytes), ask, once: None })
    }

    /// Waits for a share of the memory that bodies may take while they are read.
    async fn buffer_share(
        &self,
        body: &RequestBody,
        max: u64,
        context: &Context<'_>,
    ) -> Result<tokio::sync::OwnedSemaphorePermit, Failure> {
        let size = body.size_hint().exact().unwrap_or(max.min(UNKNOWN_BODY_BYTES));
        let kib = u32::try_from(size.div_ceil(1_024).max(1)).unwrap_or(u32::MAX);
        if let Ok(share) = Arc::clone(&self.budget).try_acquire_many_owned(kib) {
            return Ok(share);
        }
        let waiting = Arc::clone(&self.budget).acquire_many_owned(kib);
        match tokio::time::timeout(BUFFER_WAIT, waiting).await {
            Ok(Ok(share)) => Ok(share),
            _ => Err(context
                .fail(Code::Overloaded, "Too many request bodies are being read at the moment.")
                .retry(weir_core::time::Span::SECOND)),
        }
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
    let produces = ask.endpoint.default_bound().is_some() || ask.endpoint == Endpoint::Other;
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

/// What a body of unknown length counts for while it is read.
const UNKNOWN_BODY_BYTES: u64 = 1 << 20;
/// How long a request waits for a share of the buffers.
const BUFFER_WAIT: std::time::Duration = std::time::Duration::from_secs(5);
