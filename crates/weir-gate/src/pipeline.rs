//! What happens to a request, in order. The only file that knows the order.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, header};
use http_body::Body;
use http_body_util::{BodyExt, Limited};
use tokio::sync::{Semaphore, oneshot};
use weir_core::key::Urgency;
use weir_core::operation::{Lookup, RouteIndex};
use weir_core::policy::{Policy, Route, RoutePrice, UsageSource};
use weir_core::price::Bound;
use weir_core::usage::{Meter, Usage};
use weir_engine::call::{Admission, Wanted};
use weir_engine::cell::{KeyCell, KeyState};
use weir_engine::clock::instant;
use weir_engine::engine::Engine;
use weir_wire::error::Code;
use weir_wire::header as ours;

use crate::answer::{Answer, AnswerBody};
use crate::ask::{Ask, Change, Endpoint, ask_multipart, rewrite};
use crate::handler::{BoxError, Handler, Peer, Refuser, RequestBody};
use crate::head::{HeadRefusal, strip_client_headers};
use crate::identify::{client_address, request_id, secret};
use crate::job::{Duty, Facts, Job};
use crate::out_body::OutBody;
use crate::priority;
use crate::refuse::{Asked, Context, Dialect, Failure};
use crate::settings::GateSettings;
use crate::tally::{Pointer, Shape};
use crate::upstream::Upstreams;

/// Whoever answers what lies under the API's prefix.
pub trait Side: Send + Sync + 'static {
    /// Answers a request for one of Weir's own pages.
    fn call(&self, request: Request<RequestBody>, peer: Peer) -> BoxFuture<'static, Answer>;
}

/// The data plane of one core.
pub struct Gate {
    engine: Arc<Engine>,
    upstreams: Upstreams<OutBody>,
    shared: Arc<Shared>,
    detached: Arc<AtomicUsize>,
}

/// What the data plane of all cores shares.
pub struct Shared {
    /// How calls are taken in and answered.
    pub settings: GateSettings,
    /// Whoever answers what lies under the API's prefix.
    pub side: Arc<dyn Side>,
    /// What is left of the bytes that may be read in order to price them, in KiB.
    budget: Arc<Semaphore>,
}

/// A request that is on its way through the pipeline.
struct Incoming<'a> {
    parts: &'a Parts,
    request_id: &'a str,
    arrived: Instant,
    address: std::net::IpAddr,
    key: &'a Arc<KeyCell>,
    state: &'a Arc<KeyState>,
}

/// A request body as far as it was read.
struct Taken {
    body: OutBody,
    /// The bytes, if they were read.
    bytes: Option<Bytes>,
    ask: Option<Ask>,
}

impl Shared {
    /// Puts together what all cores share.
    pub fn new(settings: GateSettings, side: Arc<dyn Side>) -> Self {
        let budget = usize::try_from(settings.buffered_bytes_max / 1_024).unwrap_or(usize::MAX);
        let budget = Arc::new(Semaphore::new(budget.min(Semaphore::MAX_PERMITS)));
        Self { settings, side, budget }
    }
}

impl Gate {
    /// The data plane of one core.
    pub fn new(engine: Arc<Engine>, upstreams: Upstreams<OutBody>, shared: Arc<Shared>) -> Self {
        Self { engine, upstreams, shared, detached: Arc::default() }
    }

    async fn answer(self: Arc<Self>, request: Request<RequestBody>, peer: Peer) -> Answer {
        let settings = &self.shared.settings;
        let path = request.uri().path();
        if path.strip_prefix(settings.api_prefix.as_str()).is_some_and(is_whole_segment) {
            return self.shared.side.call(request, peer).await;
        }
        let arrived = instant();
        let (parts, body) = request.into_parts();
        let request_id = request_id(&parts.headers);
        let mut answer = match self.authenticate(&parts, body, &request_id, arrived, peer).await {
            Ok(answer) => answer,
            Err((failure, dialect)) => {
                failure.into_response(&self.context(&request_id, dialect)).map(AnswerBody::whole)
            }
        };
        if let Ok(id) = HeaderValue::from_str(&request_id) {
            answer.headers_mut().insert(HeaderName::from_static(ours::X_REQUEST_ID), id);
        }
        answer
    }

    fn context<'a>(&'a self, request_id: &'a str, dialect: Dialect) -> Context<'a> {
        let settings = &self.shared.settings;
        let top_up_url = settings.top_up_url.as_deref();
        Context { request_id, dialect, links: &settings.links, top_up_url }
    }

    /// Key, then route.
    async fn authenticate(
        &self,
        parts: &Parts,
        body: RequestBody,
        request_id: &str,
        arrived: Instant,
        peer: Peer,
    ) -> Result<Answer, (Failure, Dialect)> {
        let settings = &self.shared.settings;
        let policy = self.engine.policy();
        let (method, path) = (parts.method.as_str(), parts.uri.path());
        let lookup = policy.find_route(method, path);
        let dialect = match &lookup {
            Lookup::Found(index) => policy.route(*index).map(dialect_of).unwrap_or_default(),
            _ => Dialect::Problem,
        };
        let context = self.context(request_id, dialect);
        let address = client_address(peer.addr.ip(), &parts.headers, &settings.trusted_proxies);
        let key = match secret(&parts.headers, &settings.auth_headers) {
            None => {
                let detail = "The request has no API key.";
                return Err((context.fail(Code::MissingKey, detail), dialect));
            }
            Some(secret) => self.engine.identify(secret),
        };
        let Some(key) = key else {
            let detail = "The API key is not known, or was not copied whole.";
            return Err((context.fail(Code::InvalidKey, detail), dialect));
        };
        let state = key.state.load_full();
        if let Err(invalid) = state.key.check_valid(self.engine.now()) {
            return Err((context.invalid_key(invalid), dialect));
        }
        let incoming = Incoming { parts, request_id, arrived, address, key: &key, state: &state };
        let failure = match lookup {
            Lookup::Found(index) => {
                return self.route(&incoming, policy, index, body).await.map_err(|f| (f, dialect));
            }
            Lookup::OtherMethods(methods) => context
                .fail(
                    Code::MethodNotAllowed,
                    format!("{method} is not supported here; {} is.", methods.join(", ")),
                )
                .header("allow", &methods.join(", ")),
            Lookup::NotFound => {
                context.fail(Code::RouteNotFound, format!("There is no route {method} {path}."))
            }
        };
        Err((self.without_route(failure, &incoming), dialect))
    }

    /// An answer to a valid key that no route gave: its general limits still stand in the headers.
    fn without_route(&self, failure: Failure, incoming: &Incoming<'_>) -> Failure {
        let views = self.engine.limits_of(&incoming.key.account, Some(incoming.key));
        let class = if weir_core::operation::is_safe(incoming.parts.method.as_str()) {
            "read"
        } else {
            "write"
        };
        let general = views.into_iter().filter(|view| {
            let name = view.name.strip_prefix("key:").unwrap_or(view.name);
            let stem = name.split('.').next().unwrap_or_default();
            stem == class || stem == "all" || stem == "concurrency"
        });
        let general: Vec<_> = general.collect();
        failure.limits(&general, Dialect::Problem, self.engine.now())
    }

    /// Permission, then body, then limits and wallet, then upstream; again if the policy changed.
    async fn route(
        &self,
        incoming: &Incoming<'_>,
        mut policy: Arc<Policy>,
        mut index: RouteIndex,
        body: RequestBody,
    ) -> Result<Answer, Failure> {
        let mut body = Some(body);
        let mut taken = None;
        loop {
            let Some(route) = policy.route(index) else { break };
            let dialect = dialect_of(route);
            let context = self.context(incoming.request_id, dialect);
            let urgency = priority::of(&incoming.parts.headers, incoming.state.key.urgency);
            let mut wanted = Wanted {
                policy: &policy,
                index,
                key: incoming.key,
                state: incoming.state,
                model: None,
                urgent: urgency == Urgency::Critical,
                request_id: incoming.request_id,
                bound: Bound::text(0, 0),
                output_max: None,
            };
            self.permit(incoming, route, &context, &wanted)?;
            if let Some(body) = body.take() {
                if let Err(refused) = self.engine.peek(&wanted) {
                    self.engine.count_unsent(&wanted, 429, true, millis(incoming.arrived));
                    return Err(context.refused(&refused, ""));
                }
                let read = self.take_body(incoming, route, &context, body).await;
                taken = Some(read.map_err(|failure| self.unsent(failure, &wanted, dialect, incoming))?);
            }
            let Some(read) = taken.take() else { break };
            let model = read.ask.as_ref().and_then(|ask| ask.model.clone());
            wanted.model = model.as_deref();
            if let Some(model) = &model
                && let Err(forbids) = incoming.state.key.check_model(model)
            {
                let failure = context.forbidden(forbids, &incoming.state.key, &asked(incoming, route, model));
                return Err(self.unsent(failure, &wanted, dialect, incoming));
            }
            self.size(&mut wanted, route, read.ask.as_ref());
            match self.engine.admit(&wanted) {
                Admission::Granted(ticket) => {
                    let duty = Duty::new(ticket);
                    return self.send(incoming, &wanted, route, read, duty, urgency).await;
                }
                Admission::Refused(refused) => {
                    let failure = context.refused(&refused, model.as_deref().unwrap_or_default());
                    let limited = matches!(failure.status(), 402 | 429);
                    let latency = millis(incoming.arrived);
                    self.engine.count_unsent(&wanted, failure.status(), limited, latency);
                    return Err(failure);
                }
                Admission::Stale => {}
            }
            taken = Some(read);
            policy = self.engine.policy();
            let found = policy.find_route(incoming.parts.method.as_str(), incoming.parts.uri.path());
            let Lookup::Found(again) = found else { break };
            index = again;
        }
        let context = self.context(incoming.request_id, Dialect::Problem);
        let failure = context.fail(Code::RouteNotFound, "There is no such route any more.");
        Err(self.without_route(failure, incoming))
    }

    fn permit(
        &self,
        incoming: &Incoming<'_>,
        route: &Route,
        context: &Context<'_>,
        wanted: &Wanted<'_>,
    ) -> Result<(), Failure> {
        let method = incoming.parts.method.as_str();
        let key = &incoming.state.key;
        key.check_request(method, route.scope.as_deref(), incoming.address).map_err(|forbids| {
            let failure = context.forbidden(forbids, key, &asked(incoming, route, ""));
            self.unsent(failure, wanted, context.dialect, incoming)
        })
    }

    /// A failure before admission, counted, with where the limits stand.
    fn unsent(
        &self,
        failure: Failure,
        wanted: &Wanted<'_>,
        dialect: Dialect,
        incoming: &Incoming<'_>,
    ) -> Failure {
        self.engine.count_unsent(wanted, failure.status(), false, millis(incoming.arrived));
        let (views, available, at) = self.engine.standing(wanted);
        let failure = failure.limits(&views, dialect, at);
        match available {
            Some(available) => failure.header(ours::X_WALLET_AVAILABLE, &available.to_string()),
            None => failure,
        }
    }

    /// Reads the body where its members decide something, else prepares to pass it on.
    async fn take_body(
        &self,
        incoming: &Incoming<'_>,
        route: &Route,
        context: &Context<'_>,
        body: RequestBody,
    ) -> Result<Taken, Failure> {
        let max = self.shared.settings.body_bytes_max;
        let too_large = || {
            let detail = format!("The body is larger than {max} bytes.");
            context.fail(Code::RequestTooLarge, detail)
        };
        if body.size_hint().lower() > max {
            return Err(too_large());
        }
        if body.is_end_stream() {
            let body = OutBody::whole(Bytes::new());
            return self.without_body(route, context, body);
        }
        let limit = usize::try_from(max).unwrap_or(usize::MAX);
        if !reads_body(route) {
            return Ok(Taken { body: OutBody::passed(body, limit), bytes: None, ask: None });
        }
        let _share = self.buffer_share(&body, max, context).await?;
        let collected = Limited::new(body, limit).collect().await;
        let bytes = match collected {
            Ok(collected) => collected.to_bytes(),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => return Err(too_large()),
            Err(error) => return Err(body_failure(context, &error)),
        };
        let ask = read_ask(incoming.parts, route, &bytes).map_err(|why| context.unreadable(&why))?;
        let body = OutBody::whole(bytes.clone());
        Ok(Taken { body, bytes: Some(bytes), ask })
    }

    fn without_body(
        &self,
        route: &Route,
        context: &Context<'_>,
        body: OutBody,
    ) -> Result<Taken, Failure> {
        if route.price == RoutePrice::ByModel && route.usage != UsageSource::None {
            return Err(context.unknown_model(""));
        }
        Ok(Taken { body, bytes: None, ask: None })
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
        let waiting = Arc::clone(&self.shared.budget).acquire_many_owned(kib);
        match tokio::time::timeout(BUFFER_WAIT, waiting).await {
            Ok(Ok(share)) => Ok(share),
            _ => Err(context
                .fail(Code::Overloaded, "Too many request bodies are being read at the moment.")
                .retry(weir_core::time::Span::SECOND)),
        }
    }

    /// How large the call may become, by its body, its model and its route.
    fn size(&self, wanted: &mut Wanted<'_>, route: &Route, ask: Option<&Ask>) {
        let Some(ask) = ask else {
            wanted.bound = Bound { other: Usage::NONE.with(Meter::Request, 1), ..Bound::text(0, 0) };
            return;
        };
        let model_max = ask
            .model
            .as_deref()
            .and_then(|model| wanted.policy.model(model))
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
        wanted.output_max = most.or(model_max);
        let images = if ask.endpoint == Endpoint::Images { ask.answers() } else { 0 };
        wanted.bound = Bound {
            input: ask.input_tokens,
            output,
            choices: ask.answers(),
            audio: ask.endpoint == Endpoint::Audio,
            other: Usage::NONE.with(Meter::Request, 1).with(Meter::Image, images),
        };
    }

    async fn send(
        &self,
        incoming: &Incoming<'_>,
        wanted: &Wanted<'_>,
        route: &Route,
        read: Taken,
        duty: Duty,
        urgency: Urgency,
    ) -> Result<Answer, Failure> {
        let settings = &self.shared.settings;
        let context = self.context(incoming.request_id, dialect_of(route));
        let (body, hide_usage) = self.edit(route, read.body, read.bytes, read.ask.as_ref(), &duty)
            .map_err(|why| context.unreadable(&why))?;
        let terms = wanted.model.and_then(|model| wanted.policy.model(model));
        let upstream = terms.and_then(|terms| terms.upstream.as_ref()).unwrap_or(&route.upstream);
        let Some(upstream) = self.upstreams.by_name(upstream) else {
            tracing::error!(%upstream, "a route names an upstream that is not configured");
            return Err(context.fail(Code::UpstreamUnreachable, "The upstream is not configured."));
        };
        let shape = shape_of(&route.usage);
        let reads_answer = matches!(shape, Shape::OpenAi | Shape::Anthropic | Shape::Json(_));
        let request = self.request_out(incoming, body, reads_answer);
        let streams = read.ask.as_ref().is_some_and(|ask| ask.stream);
        let charged = duty.is_charged();
        let tell_cost = incoming.parts.headers.get(ours::X_WEIR_USAGE).is_some_and(|v| v == "1");
        let usage_header = match &route.usage {
            UsageSource::Header(name) => Some(name.clone()),
            _ => None,
        };
        let facts = Facts {
            request_id: incoming.request_id.to_owned(),
            dialect: context.dialect,
            links: Arc::new(settings.links.clone()),
            top_up_url: settings.top_up_url.clone(),
            arrived: incoming.arrived,
            shape,
            usage_header,
            input_tokens: wanted.bound.input,
            hide_usage,
            tell_cost: tell_cost && charged,
            on_disconnect: route.on_disconnect,
            on_exhausted: route.on_exhausted,
            head_only: incoming.parts.method == Method::HEAD,
        };
        let job = Job { facts, duty, upstream: Arc::clone(upstream) };
        let (alive, gone) = oneshot::channel();
        let outcome = if charged || streams {
            let detached = Detached::new(&self.detached);
            let task = tokio::spawn(async move {
                let _detached = detached;
                job.run(request, gone, streams).await
            });
            task.await.unwrap_or_else(|_| {
                Err(context.fail(Code::InternalError, "The call failed inside the gateway."))
            })
        } else {
            job.run(request, gone, false).await
        };
        drop(alive);
        let mut answer = outcome?;
        if incoming.parts.headers.contains_key(ours::PRIORITY)
            || incoming.parts.headers.contains_key(ours::X_PRIORITY)
        {
            priority::echo(answer.headers_mut(), urgency);
        }
        Ok(answer)
    }

    /// The body as it is forwarded, and whether Weir asked for the usage chunk itself.
    fn edit(
        &self,
        route: &Route,
        body: OutBody,
        bytes: Option<Bytes>,
        ask: Option<&Ask>,
        duty: &Duty,
    ) -> Result<(OutBody, bool), crate::ask::Unreadable> {
        let (Some(bytes), Some(ask)) = (bytes, ask) else { return Ok((body, false)) };
        let wants_usage = route.usage == UsageSource::OpenAi
            && ask.stream
            && matches!(ask.endpoint, Endpoint::Chat | Endpoint::Completions);
        let include_usage = wants_usage && ask.include_usage != Some(true);
        let change = Change { include_usage, output_bound: duty.forwarded_bound() };
        if !change.include_usage && change.output_bound.is_none() {
            return Ok((body, false));
        }
        let edited = rewrite(&bytes, ask, change)?;
        Ok((OutBody::whole(edited), include_usage))
    }

    fn request_out(
        &self,
        incoming: &Incoming<'_>,
        body: OutBody,
        reads_answer: bool,
    ) -> Request<OutBody> {
        let mut headers = incoming.parts.headers.clone();
        strip_client_headers(&mut headers);
        for name in &self.shared.settings.auth_headers {
            headers.remove(name);
        }
        if let Some(length) = body.size_hint().exact() {
            let has_body = length > 0 || headers.contains_key(header::CONTENT_LENGTH);
            headers.remove(header::CONTENT_LENGTH);
            if has_body {
                headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
            }
        }
        if reads_answer {
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        insert(&mut headers, HeaderName::from_static("x-forwarded-for"), &incoming.address.to_string());
        insert(&mut headers, HeaderName::from_static(ours::X_REQUEST_ID), incoming.request_id);
        let mut request = Request::new(body);
        *request.method_mut() = incoming.parts.method.clone();
        *request.uri_mut() = incoming.parts.uri.clone();
        *request.headers_mut() = headers;
        request
    }
}

impl Refuser for Gate {
    fn refuse(&self, refusal: HeadRefusal, _peer: &Peer) -> Response<Bytes> {
        let request_id = request_id(&HeaderMap::new());
        let context = self.context(&request_id, Dialect::Problem);
        context.head(refusal).into_response(&context)
    }
}

impl Handler for Gate {
    type Body = AnswerBody;

    fn call(
        self: Arc<Self>,
        request: Request<RequestBody>,
        peer: Peer,
    ) -> impl Future<Output = Answer> + Send + 'static {
        self.answer(request, peer)
    }

    fn detached(&self) -> usize {
        self.detached.load(Ordering::Relaxed)
    }
}

/// One piece of work that goes on whatever becomes of its connection.
struct Detached(Arc<AtomicUsize>);

impl Detached {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Detached {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn asked<'a>(incoming: &'a Incoming<'_>, route: &'a Route, model: &'a str) -> Asked<'a> {
    let (method, address) = (incoming.parts.method.as_str(), incoming.address);
    Asked { method, scope: route.scope.as_deref(), model, address }
}

fn dialect_of(route: &Route) -> Dialect {
    match route.usage {
        UsageSource::OpenAi => Dialect::OpenAi,
        UsageSource::Anthropic => Dialect::Anthropic,
        _ => Dialect::Problem,
    }
}

/// Whether the body decides something: the price, or what the answer will use.
fn reads_body(route: &Route) -> bool {
    route.price == RoutePrice::ByModel
        || matches!(route.usage, UsageSource::OpenAi | UsageSource::Anthropic)
}

fn read_ask(
    parts: &Parts,
    route: &Route,
    bytes: &Bytes,
) -> Result<Option<Ask>, crate::ask::Unreadable> {
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
        ask.unambiguous().map_err(crate::ask::Unreadable::from)?;
    }
    Ok(Some(ask))
}

fn shape_of(usage: &UsageSource) -> Shape {
    match usage {
        UsageSource::None => Shape::None,
        UsageSource::OpenAi => Shape::OpenAi,
        UsageSource::Anthropic => Shape::Anthropic,
        UsageSource::JsonPointer(pointer) => pointer.parse::<Pointer>().map_or(Shape::None, Shape::Json),
        UsageSource::Header(_) => Shape::Header,
        UsageSource::Duration => Shape::Duration,
        UsageSource::Bytes => Shape::Bytes,
    }
}

fn body_failure(context: &Context<'_>, error: &BoxError) -> Failure {
    let text = crate::job::chain(&**error);
    if text.contains("arrived") {
        return context.fail(Code::RequestTimeout, "The body did not arrive in time.");
    }
    context.fail(Code::InvalidRequest, format!("The body could not be read: {text}."))
}

fn is_whole_segment(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with('/')
}

fn millis(since: Instant) -> u64 {
    u64::try_from(instant().duration_since(since).as_millis()).unwrap_or(u64::MAX)
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// What a body of unknown length counts for while it is read.
const UNKNOWN_BODY_BYTES: u64 = 1 << 20;
/// How long a request waits for a share of the buffers.
const BUFFER_WAIT: std::time::Duration = std::time::Duration::from_secs(5);
