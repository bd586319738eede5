//! What happens to a request, in order. The only file that knows the order.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use futures_util::future::{BoxFuture, Either};
use http::request::Parts;
use http::{HeaderValue, Method, Request};
use tokio::sync::oneshot;
use weir_core::key::Urgency;
use weir_core::operation::{Lookup, RouteIndex};
use weir_core::policy::{OnDisconnect, Policy, Route, RoutePrice, UsageSource};
use weir_core::price::Bound;
use weir_core::time::Span;
use weir_engine::call::{Admission, Wanted};
use weir_engine::cell::{KeyCell, KeyState};
use weir_engine::clock::instant;
use weir_engine::engine::Engine;
use weir_wire::error::Code;
use weir_wire::header as ours;

use crate::answer::{Answer, AnswerBody};
use crate::carried::Carried;
use crate::cors;
use crate::duty::{Detached, Duty, Facts, chain};
use crate::handler::{Peer, RequestBody};
use crate::idempotency::{Once, answer_again, key_of};
use crate::identify::{client_address, request_id, secret};
use crate::intake::{Intake, Size, Taken, size};
use crate::job::{Job, Standing};
use crate::lane::Lane;
use crate::meters::{Ended, GateMeters};
use crate::names;
use crate::out_body::OutBody;
use crate::outbound::{Outbound, edit};
use crate::priority;
use crate::refuse::{Asked, Context, Dialect, Failure};
use crate::settings::GateSettings;
use crate::tally::{Pointer, Shape};
use crate::upstream::{Upstream, Upstreams};
use crate::waiting::{Overloaded, Seat};

/// Whoever answers what lies under the API's prefix.
pub trait Side: Send + Sync + 'static {
    /// Answers a request for one of Weir's own pages.
    fn call(
        &self,
        request: Request<RequestBody>,
        address: std::net::IpAddr,
    ) -> BoxFuture<'static, Answer>;
}

/// What one core does with requests under one configuration.
pub(crate) struct Pipeline {
    pub(crate) engine: Arc<Engine>,
    pub(crate) upstreams: Upstreams<OutBody>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) detached: Arc<AtomicUsize>,
    pub(crate) lane: Arc<Lane>,
}

/// What all cores share under one configuration.
pub struct Shared {
    /// How calls are taken in and answered.
    pub settings: GateSettings,
    /// Whoever answers what lies under the API's prefix.
    pub side: Arc<dyn Side>,
    intake: Intake,
    meters: Arc<GateMeters>,
}

/// What is known of a request for its counters and its line in the log.
struct Seen {
    meters: Arc<GateMeters>,
    arrived: Instant,
    key: Option<Arc<KeyCell>>,
    route: Option<(Arc<Policy>, RouteIndex)>,
    ended: Ended,
    status: u16,
}

/// A request that is on its way through the pipeline.
pub(crate) struct Incoming<'a> {
    pub(crate) parts: &'a mut Parts,
    pub(crate) request_id: &'a str,
    pub(crate) arrived: Instant,
    pub(crate) address: std::net::IpAddr,
    pub(crate) key: &'a Arc<KeyCell>,
    pub(crate) state: &'a Arc<KeyState>,
}

impl Shared {
    /// Puts together what all cores share.
    pub fn new(settings: GateSettings, side: Arc<dyn Side>, meters: Arc<GateMeters>) -> Self {
        let intake = Intake::new(settings.body_bytes_max, settings.buffered_bytes_max);
        Self { settings, side, intake, meters }
    }
}

impl Pipeline {
    /// Answers a request. The two ways are apart so that calls without CORS carry no room for it.
    pub(crate) fn answer(
        self: Arc<Self>,
        request: Request<RequestBody>,
        peer: Peer,
    ) -> impl Future<Output = Answer> + Send + 'static {
        if self.shared.settings.cors.is_some() {
            Either::Left(Box::pin(self.respond_across_origins(request, peer)))
        } else {
            Either::Right(self.respond(request, peer))
        }
    }

    async fn respond_across_origins(
        self: Arc<Self>,
        request: Request<RequestBody>,
        peer: Peer,
    ) -> Answer {
        let Some(cors) = &self.shared.settings.cors else {
            return self.respond(request, peer).await;
        };
        let origin = cors.allowed(request.headers());
        let (parts, body) = request.into_parts();
        if let Some(preflight) = cors.preflight(&parts) {
            return preflight.map(AnswerBody::whole);
        }
        let request = Request::from_parts(parts, body);
        let mut answer = Arc::clone(&self).respond(request, peer).await;
        if let Some(origin) = origin {
            cors::allow(answer.headers_mut(), origin);
        }
        answer
    }

    /// A block within a function: an `async fn` would have two places for what it is given.
    fn respond(
        self: Arc<Self>,
        request: Request<RequestBody>,
        peer: Peer,
    ) -> impl Future<Output = Answer> + Send + 'static {
        let settings = &self.shared.settings;
        let path = request.uri().path();
        if path.strip_prefix(settings.api_prefix.as_str()).is_some_and(is_whole_segment) {
            let peer_ip = peer.addr.ip();
            let address = client_address(peer_ip, request.headers(), &settings.trusted_proxies);
            return Either::Left(self.shared.side.call(request, address));
        }
        let arrived = instant();
        let (mut parts, body) = request.into_parts();
        let request_id = request_id(&parts.headers);
        // The headers go to the upstream; what the log tells of them is taken before.
        let trace = parts.headers.get(&names::TRACEPARENT).cloned();
        let mut seen = Seen::new(&self.shared.meters, arrived);
        Either::Right(async move {
            let outcome = self.authenticate(&mut parts, body, &request_id, peer, &mut seen).await;
            let mut answer = match outcome {
                Ok(answer) => {
                    seen.end(answer.status().as_u16(), Ended::answered(answer.status().as_u16()));
                    answer
                }
                Err((failure, dialect)) => {
                    let (code, status) = (failure.code(), failure.status());
                    self.shared.meters.refused(code);
                    seen.end(status, Ended::refused(code, status));
                    let context = self.context(&request_id, dialect);
                    failure.into_response(&context).map(AnswerBody::whole)
                }
            };
            if let Ok(id) = HeaderValue::from_str(&request_id) {
                answer.headers_mut().insert(&names::X_REQUEST_ID, id);
            }
            seen.log(trace.as_ref(), &request_id);
            answer
        })
    }

    /// Counts a request whose head could not be served.
    pub(crate) fn count_refused_head(&self, failure: &Failure) {
        self.shared.meters.refused(failure.code());
        self.shared.meters.unrouted("", Ended::refused(failure.code(), failure.status()));
    }

    pub(crate) fn context<'a>(&'a self, request_id: &'a str, dialect: Dialect) -> Context<'a> {
        Context { request_id, dialect, told: &self.shared.settings.told }
    }

    /// Key, then route.
    async fn authenticate(
        &self,
        parts: &mut Parts,
        body: RequestBody,
        request_id: &str,
        peer: Peer,
        seen: &mut Seen,
    ) -> Result<Answer, (Failure, Dialect)> {
        let settings = &self.shared.settings;
        let policy = self.engine.policy();
        let lookup = policy.find_route(parts.method.as_str(), parts.uri.path());
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
            Some(secret) => self.engine.identify_from(secret, address),
        };
        let key = key.map_err(|unidentified| (context.unidentified(unidentified), dialect))?;
        let arrived = seen.arrived;
        seen.key = Some(Arc::clone(&key));
        let state = key.state.load_full();
        if let Err(invalid) = state.key.check_valid(self.engine.now()) {
            return Err((context.invalid_key(invalid), dialect));
        }
        let mut incoming =
            Incoming { parts, request_id, arrived, address, key: &key, state: &state };
        let (method, path) = (&incoming.parts.method, incoming.parts.uri.path());
        let failure = match lookup {
            Lookup::Found(index) => {
                seen.route = Some((Arc::clone(&policy), index));
                return self
                    .route(&mut incoming, policy, index, body)
                    .await
                    .map_err(|f| (f, dialect));
            }
            Lookup::OtherMethods(methods) => context.other_methods(method, &methods),
            Lookup::NotFound => context.no_route(method, path),
        };
        Err((self.without_route(failure, &incoming), dialect))
    }

    /// Permission, then body, then limits and wallet, then upstream; again if the policy changed.
    async fn route(
        &self,
        incoming: &mut Incoming<'_>,
        mut policy: Arc<Policy>,
        mut index: RouteIndex,
        body: RequestBody,
    ) -> Result<Answer, Failure> {
        let mut body = Some(body);
        let mut taken = None;
        while let Some(route) = policy.route(index) {
            let dialect = dialect_of(route);
            let context = self.context(incoming.request_id, dialect);
            let said = priority::of(&incoming.parts.headers, incoming.state.key.urgency);
            let mut wanted = Wanted {
                policy: &policy,
                index,
                key: incoming.key,
                state: incoming.state,
                model: None,
                urgent: said.urgency == Urgency::Critical,
                request_id: incoming.request_id,
                bound: Bound::text(0, 0),
                output_max: None,
                stream: false,
            };
            self.permit(incoming, route, &context, &wanted)?;
            if let Some(body) = body.take() {
                if let Err(refused) = self.engine.peek(&wanted) {
                    return Err(self.refuse_call(&refused, &wanted, &context, incoming));
                }
                let read = self.take(incoming, route, &wanted, &context, body).await;
                taken =
                    Some(read.map_err(|failure| self.unsent(failure, &wanted, dialect, incoming))?);
            }
            let Some(read) = taken.take() else { break };
            let model = read.ask.as_ref().and_then(|ask| ask.model.clone());
            wanted.model = model.as_deref();
            self.permit_model(incoming, route, &context, &wanted)?;
            if let Some(once) = &read.once
                && let Some(again) = self.made_before(once, &wanted, &context, incoming).await?
            {
                return Ok(again);
            }
            let Size { bound, output_max } = size(&policy, route, read.ask.as_ref());
            wanted.bound = bound;
            wanted.output_max = output_max;
            wanted.stream = read.ask.as_ref().is_some_and(|ask| ask.stream);
            let upstream = self.upstream_of(&wanted, route, &context)?;
            let seat = self.seat(upstream, incoming, &wanted, &context, said.urgency).await?;
            let began = instant();
            let admission = self.engine.admit(&wanted);
            self.engine.meters().decisions.observe(instant().duration_since(began));
            match admission {
                Admission::Granted(ticket) => {
                    let duty = Duty::new(ticket, Detached::new(&self.detached), seat);
                    let made = (duty, upstream);
                    return self.send(incoming, &wanted, route, read, made, said).await;
                }
                Admission::Refused(refused) => {
                    return Err(self.refuse_call(&refused, &wanted, &context, incoming));
                }
                Admission::Stale => {}
            }
            taken = Some(read);
            policy = self.engine.policy();
            let parts = &incoming.parts;
            let found = policy.find_route(parts.method.as_str(), parts.uri.path());
            let Lookup::Found(again) = found else { break };
            index = again;
        }
        let context = self.context(incoming.request_id, Dialect::Problem);
        let failure = context.fail(Code::RouteNotFound, "There is no such route any more.");
        Err(self.without_route(failure, incoming))
    }

    /// Takes the body in; of a priced call with an idempotency key all of it, to know it again.
    async fn take(
        &self,
        incoming: &Incoming<'_>,
        route: &Route,
        wanted: &Wanted<'_>,
        context: &Context<'_>,
        body: RequestBody,
    ) -> Result<Taken, Failure> {
        let key = key_of(&incoming.parts.headers);
        let priced = !matches!(key, Ok(None))
            && route.price != RoutePrice::Free
            && self.engine.standing(wanted).1.is_some();
        let intake = &self.shared.intake;
        let asked = (&*incoming.parts, incoming.key.account.id);
        if !priced {
            return intake.take(asked, route, context, body, false).await;
        }
        let key = key
            .map_err(|why| context.fail(Code::InvalidRequest, why).param(ours::IDEMPOTENCY_KEY))?;
        let mut taken = intake.take(asked, route, context, body, true).await?;
        let body = taken.bytes.as_deref().unwrap_or_default();
        let kept = &self.shared.settings.kept_bytes_max;
        let kept = kept.get(usize::from(wanted.index.0)).copied().unwrap_or(KEPT_BYTES_MAX);
        let kept = usize::try_from(kept).unwrap_or(usize::MAX);
        taken.once = key.map(|key| Once::new(key, incoming.parts, body, kept));
        Ok(taken)
    }

    /// The answer of a call that was made before under the same idempotency key.
    async fn made_before(
        &self,
        once: &Once,
        wanted: &Wanted<'_>,
        context: &Context<'_>,
        incoming: &Incoming<'_>,
    ) -> Result<Option<Answer>, Failure> {
        let owner = wanted.key.account.id;
        let before = self.engine.claimed_before(owner, &once.key, &once.fingerprint).await;
        let unsent = |failure| self.unsent(failure, wanted, context.dialect, incoming);
        let before = before.map_err(|error| {
            tracing::warn!(error = %chain(&error), "an idempotency key cannot be looked up");
            let detail = "The Idempotency-Key cannot be looked up at the moment.";
            unsent(context.fail(Code::StoreUnavailable, detail).retry(Span::from_secs(5)))
        })?;
        let Some(before) = before else { return Ok(None) };
        let mut answer = answer_again(before, context).map_err(unsent)?;
        let status = answer.status().as_u16();
        self.engine.count_unsent(wanted, status, false, millis(incoming.arrived));
        let (views, available, at) = self.engine.standing(wanted);
        let standing = Standing { views: &views, at, available, charge: None };
        standing.write(answer.headers_mut(), context.dialect, None);
        Ok(Some(answer))
    }

    fn permit_model(
        &self,
        incoming: &Incoming<'_>,
        route: &Route,
        context: &Context<'_>,
        wanted: &Wanted<'_>,
    ) -> Result<(), Failure> {
        let Some(model) = wanted.model else { return Ok(()) };
        let key = &incoming.state.key;
        key.check_model(model).map_err(|forbids| {
            let failure = context.forbidden(forbids, key, &asked(incoming, route, model));
            self.unsent(failure, wanted, context.dialect, incoming)
        })
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

    /// Who does the work: the model's upstream, else the route's.
    fn upstream_of(
        &self,
        wanted: &Wanted<'_>,
        route: &Route,
        context: &Context<'_>,
    ) -> Result<&Arc<Upstream<OutBody>>, Failure> {
        let terms = wanted.model.and_then(|model| wanted.policy.model(model));
        let name = terms.and_then(|terms| terms.upstream.as_ref()).unwrap_or(&route.upstream);
        self.upstreams.by_name(name).ok_or_else(|| {
            tracing::error!(upstream = %name, "a route names an upstream that is not configured");
            context.fail(Code::UpstreamUnreachable, "The upstream is not configured.")
        })
    }

    /// A place among the calls of an upstream that bears only so many; waits for it, if need be.
    async fn seat(
        &self,
        upstream: &Upstream<OutBody>,
        incoming: &Incoming<'_>,
        wanted: &Wanted<'_>,
        context: &Context<'_>,
        urgency: Urgency,
    ) -> Result<Option<Seat>, Failure> {
        let Some(room) = upstream.room() else { return Ok(None) };
        room.enter(incoming.key.account.id, urgency).await.map(Some).map_err(|Overloaded| {
            let detail = "The service has as many calls as it bears, and the queue for it is full.";
            let failure = context.fail(Code::Overloaded, detail).retry(Span::SECOND);
            self.unsent(failure, wanted, context.dialect, incoming)
        })
    }

    /// Calls the upstream. Charged calls and streams run on whatever becomes of their client.
    async fn send(
        &self,
        incoming: &mut Incoming<'_>,
        wanted: &Wanted<'_>,
        route: &Route,
        read: Taken,
        made: (Duty, &Arc<Upstream<OutBody>>),
        said: priority::Said,
    ) -> Result<Answer, Failure> {
        let streams = read.ask.as_ref().is_some_and(|ask| ask.stream);
        let (job, request) = self.job(incoming, wanted, route, read, made)?;
        let stops = streams && route.on_disconnect == OnDisconnect::Stop;
        let (_alive, gone) = stops.then(oneshot::channel).unzip();
        let outcome = if job.duty.is_charged() || streams {
            Carried::new(job.run(request, gone)).await.unwrap_or_else(|_| {
                let context = self.context(incoming.request_id, dialect_of(route));
                Err(context.fail(Code::InternalError, "The call failed inside the gateway."))
            })
        } else {
            // Boxed: what is awaited here is moved into place once for each room around it.
            Box::pin(job.run(request, None)).await
        };
        let mut answer = outcome?;
        if said.told {
            priority::echo(answer.headers_mut(), said.urgency);
        }
        Ok(answer)
    }

    /// The call as it is to be made, and the request for its upstream.
    fn job(
        &self,
        incoming: &mut Incoming<'_>,
        wanted: &Wanted<'_>,
        route: &Route,
        read: Taken,
        (duty, upstream): (Duty, &Arc<Upstream<OutBody>>),
    ) -> Result<(Box<Job>, Request<OutBody>), Failure> {
        let settings = &self.shared.settings;
        let context = self.context(incoming.request_id, dialect_of(route));
        let bound = duty.forwarded_bound();
        let (body, hide_usage) = edit(route, read.body, read.bytes, read.ask.as_ref(), bound)
            .map_err(|why| context.unreadable(&why.into()))?;
        let shape = shape_of(&route.usage);
        let reads_answer = matches!(shape, Shape::OpenAi | Shape::Anthropic | Shape::Json(_));
        let tell_cost = incoming.parts.headers.get(&names::X_WEIR_USAGE).is_some_and(|v| v == "1");
        let outbound = Outbound {
            parts: &mut *incoming.parts,
            request_id: incoming.request_id,
            address: incoming.address,
            auth_headers: &settings.auth_headers,
            reads_answer,
        };
        let body_fate = body.fate();
        body.tell(&duty.mark);
        let request = outbound.request(body);
        let usage_header = match &route.usage {
            UsageSource::Header(name) => Some(name.clone()),
            _ => None,
        };
        let facts = Facts {
            meters: Arc::clone(&self.shared.meters),
            lane: Arc::clone(&self.lane),
            request_id: incoming.request_id.to_owned(),
            dialect: context.dialect,
            told: Arc::clone(&settings.told),
            arrived: incoming.arrived,
            shape,
            usage_header,
            input_tokens: wanted.bound.input,
            hide_usage,
            tell_cost: tell_cost && duty.is_charged(),
            on_disconnect: route.on_disconnect,
            on_exhausted: route.on_exhausted,
            head_only: incoming.parts.method == Method::HEAD,
            body_fate,
            body_bytes_max: settings.body_bytes_max,
            once: read.once,
        };
        Ok((Box::new(Job { facts, duty, upstream: Arc::clone(upstream) }), request))
    }
}

impl Seen {
    fn new(meters: &Arc<GateMeters>, arrived: Instant) -> Self {
        let meters = Arc::clone(meters);
        Self { meters, arrived, key: None, route: None, ended: Ended::Gone, status: 499 }
    }

    fn end(&mut self, status: u16, ended: Ended) {
        self.status = status;
        self.ended = ended;
        self.meters.first_byte.observe(instant().duration_since(self.arrived));
    }

    fn log(&self, trace: Option<&HeaderValue>, request_id: &str) {
        if !tracing::enabled!(tracing::Level::DEBUG) {
            return;
        }
        let account = self.key.as_ref().map(|key| (key.id, &key.account));
        let route = self.route.as_ref().and_then(|(policy, index)| policy.route(*index));
        tracing::debug!(
            request_id,
            key_id = account.map(|(key, _)| tracing::field::display(key)),
            account_id = account.map(|(_, account)| tracing::field::display(account.id)),
            plan = account.map(|(_, account)| account.record.load().plan.clone()),
            class = route.map(|route| &*route.class),
            route = route.map(|route| route.pattern.as_str()),
            upstream = route.map(|route| &*route.upstream),
            decision = self.ended.word(),
            status = self.status,
            latency_ms = millis(self.arrived),
            traceparent = trace.and_then(|value| value.to_str().ok()),
            "answered"
        );
    }
}

/// A request is counted when it is answered, and also when its client went away before.
impl Drop for Seen {
    fn drop(&mut self) {
        let record = self.key.as_ref().map(|key| key.account.record.load());
        let plan = record.as_ref().map_or("", |record| record.plan.as_str());
        match &self.route {
            Some((policy, index)) => self.meters.routed(policy, *index, plan, self.ended),
            None => self.meters.unrouted(plan, self.ended),
        }
    }
}

fn asked<'a>(incoming: &'a Incoming<'_>, route: &'a Route, model: &'a str) -> Asked<'a> {
    let (method, address) = (incoming.parts.method.as_str(), incoming.address);
    Asked { method, scope: route.scope.as_deref(), model, address }
}

pub(crate) fn dialect_of(route: &Route) -> Dialect {
    match route.usage {
        UsageSource::OpenAi => Dialect::OpenAi,
        UsageSource::Anthropic => Dialect::Anthropic,
        _ => Dialect::Problem,
    }
}

fn shape_of(usage: &UsageSource) -> Shape {
    match usage {
        UsageSource::None => Shape::None,
        UsageSource::OpenAi => Shape::OpenAi,
        UsageSource::Anthropic => Shape::Anthropic,
        UsageSource::JsonPointer(pointer) => {
            pointer.parse::<Pointer>().map_or(Shape::None, Shape::Json)
        }
        UsageSource::Header(_) => Shape::Header,
        UsageSource::Duration => Shape::Duration,
        UsageSource::Bytes => Shape::Bytes,
    }
}

fn is_whole_segment(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with('/')
}

pub(crate) fn millis(since: Instant) -> u64 {
    u64::try_from(instant().duration_since(since).as_millis()).unwrap_or(u64::MAX)
}

/// How many bytes of an answer are kept under an idempotency key where no route tells.
const KEPT_BYTES_MAX: u64 = 1_000_000;
