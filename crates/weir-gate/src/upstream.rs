//! The back of the data plane: calls to named upstreams, each sent at most once.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderValue, Request, Response, Uri, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use smallvec::SmallVec;
use tokio::time::{Instant, timeout};

use crate::dial::{DialError, Target, tls_config};
use crate::endpoint::{Attempt, Endpoints};
use crate::handler::BoxError;
use crate::idle_body::{IdleBody, IdleBodyError, is_too_slow};
use crate::pool::{Lease, Pool};
use crate::sent_mark::SentMark;
use crate::settings::UpstreamSettings;
use crate::waiting::WaitingRoom;

/// All upstreams, as one core sees them: connections of its own, health shared with the others.
#[derive(Debug)]
pub struct Upstreams<B> {
    plans: Arc<BTreeMap<Arc<str>, Arc<Plan>>>,
    upstreams: BTreeMap<Arc<str>, Arc<Upstream<B>>>,
}

/// One named upstream.
#[derive(Debug)]
pub struct Upstream<B> {
    plan: Arc<Plan>,
    pools: Vec<Arc<Pool<B>>>,
}

/// What is the same on all cores.
#[derive(Debug)]
struct Plan {
    settings: UpstreamSettings,
    addresses: Vec<Address>,
    endpoints: Endpoints,
    /// Where calls wait that are more than it bears.
    room: Option<Arc<WaitingRoom>>,
    /// Whether the configuration in force lacks it.
    leaving: AtomicBool,
}

#[derive(Debug)]
struct Address {
    scheme: Scheme,
    host: HeaderValue,
    /// Without a slash at its end.
    base: Box<str>,
    target: Target,
}

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// No address could be connected to; nothing was sent.
    #[error("upstream {upstream} cannot be reached")]
    Unreachable {
        /// Its name.
        upstream: Arc<str>,
        /// The last failure.
        #[source]
        source: DialError,
    },
    /// Connections broke before anything was sent, again and again.
    #[error("connections to upstream {upstream} break before they can be used")]
    NotSent {
        /// Its name.
        upstream: Arc<str>,
        /// The last failure.
        #[source]
        source: hyper::Error,
    },
    /// The head of the answer did not come in time; the call may have had effects.
    #[error("upstream {upstream} did not answer within {} ms", waited.as_millis())]
    Timeout {
        /// Its name.
        upstream: Arc<str>,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The client's own body came too slowly: nothing that the upstream is to blame for.
    #[error("the client's body for upstream {upstream} comes too slowly")]
    Upload {
        /// Its name.
        upstream: Arc<str>,
    },
    /// The connection broke, or the answer is no HTTP; the call may have had effects.
    #[error("upstream {upstream} broke off before its answer began")]
    Broke {
        /// Its name.
        upstream: Arc<str>,
        /// What broke.
        #[source]
        source: hyper::Error,
    },
    /// The path together with the upstream's base is no target; nothing was sent.
    #[error("the target for upstream {upstream} is not valid")]
    Target {
        /// Its name.
        upstream: Arc<str>,
        /// What is wrong with it.
        #[source]
        source: http::Error,
    },
}

/// Why an upstream's settings are wrong.
#[derive(Debug, thiserror::Error)]
pub enum InvalidUpstream {
    /// No address at all.
    #[error("upstream {0} has no url")]
    NoUrl(Arc<str>),
    /// An address that nothing can be sent to.
    #[error("url {url} of upstream {upstream} {why}")]
    Url {
        /// The upstream's name.
        upstream: Arc<str>,
        /// The address.
        url: Uri,
        /// What is wrong with it.
        why: &'static str,
    },
    /// TLS is not to be had.
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
}

/// How one address of an upstream is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AddressState {
    /// The address.
    pub url: Uri,
    /// Calls in flight, on all cores.
    pub in_flight: usize,
    /// Left aside after failures.
    pub ejected: bool,
}

impl UpstreamError {
    /// Whether anything of the call may have reached the upstream.
    pub fn was_sent(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::NotSent { .. } | Self::Target { .. } => false,
            Self::Timeout { .. } | Self::Upload { .. } | Self::Broke { .. } => true,
        }
    }
}

impl<B> Upstreams<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    /// Checks the settings and prepares; connects to nothing.
    ///
    /// # Errors
    ///
    /// [`InvalidUpstream`], the first found.
    pub fn new(settings: Vec<UpstreamSettings>) -> Result<Self, InvalidUpstream> {
        let mut tls = None;
        let mut plans = BTreeMap::new();
        for settings in settings {
            let name = Arc::clone(&settings.name);
            plans.insert(name, Arc::new(Plan::new(settings, &mut tls)?));
        }
        Ok(Self::of(Arc::new(plans)))
    }

    /// The same upstreams for another core: connections belong to the runtime that opened them.
    pub fn for_another_core(&self) -> Self {
        Self::of(Arc::clone(&self.plans))
    }

    /// The same for a core that has connections already: those of upstreams that are in both stay.
    pub fn for_core_after(&self, before: &Self) -> Self {
        let upstreams = self.plans.iter().map(|(name, plan)| {
            let kept = before.upstreams.get(name).filter(|kept| Arc::ptr_eq(&kept.plan, plan));
            let upstream = kept.map_or_else(|| Arc::new(Upstream::new(plan)), Arc::clone);
            (Arc::clone(name), upstream)
        });
        Self { plans: Arc::clone(&self.plans), upstreams: upstreams.collect() }
    }

    /// These upstreams by other settings. One whose settings are the same keeps its health and its
    /// connections; one that is gone stays, for calls that were admitted before, until this is
    /// called again.
    ///
    /// # Errors
    ///
    /// [`InvalidUpstream`], the first found.
    pub fn renewed(&self, settings: Vec<UpstreamSettings>) -> Result<Self, InvalidUpstream> {
        let mut tls = None;
        let mut plans = BTreeMap::new();
        for settings in settings {
            let name = Arc::clone(&settings.name);
            let same = self.plans.get(&name).filter(|plan| plan.settings.is_same(&settings));
            let plan = match same {
                Some(plan) => Arc::clone(plan),
                None => Arc::new(Plan::new(settings, &mut tls)?),
            };
            plan.leaving.store(false, Ordering::Relaxed);
            plans.insert(name, plan);
        }
        for (name, plan) in self.plans.iter() {
            if !plans.contains_key(name) && !plan.leaving.swap(true, Ordering::Relaxed) {
                plans.insert(Arc::clone(name), Arc::clone(plan));
            }
        }
        Ok(Self::of(Arc::new(plans)))
    }

    /// The upstream of that name.
    pub fn by_name(&self, name: &str) -> Option<&Arc<Upstream<B>>> {
        self.upstreams.get(name)
    }

    fn of(plans: Arc<BTreeMap<Arc<str>, Arc<Plan>>>) -> Self {
        let upstreams = plans
            .iter()
            .map(|(name, plan)| (Arc::clone(name), Arc::new(Upstream::new(plan))))
            .collect();
        Self { plans, upstreams }
    }
}

impl<B> Upstream<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    fn new(plan: &Arc<Plan>) -> Self {
        let settings = &plan.settings;
        let pools = plan.addresses.iter().map(|address| {
            let target = address.target.clone();
            Pool::new(target, settings.connect_timeout, settings.pool_idle_timeout)
        });
        Self { pools: pools.collect(), plan: Arc::clone(plan) }
    }

    /// Its settings.
    pub fn settings(&self) -> &UpstreamSettings {
        &self.plan.settings
    }

    /// Where calls wait that are more than it bears, if that is bounded; one room for all cores.
    pub fn room(&self) -> Option<&Arc<WaitingRoom>> {
        self.plan.room.as_ref()
    }

    /// How its addresses are.
    pub fn addresses(&self) -> Vec<AddressState> {
        let urls = self.plan.settings.urls.iter();
        urls.zip(self.plan.endpoints.state(Instant::now()))
            .map(|(url, (in_flight, ejected))| AddressState {
                url: url.clone(),
                in_flight,
                ejected,
            })
            .collect()
    }

    /// Sends a call and waits for the head of its answer.
    ///
    /// The target is the address's base path and the request's path and query; `Host` and the
    /// configured headers are set. A call is sent again, to another address or over another
    /// connection, only when provably nothing of it was sent. `mark` is set as long as something
    /// may have been. An address is left aside (1 s, doubling to 30 s) when it cannot be connected
    /// to or does not answer in time; what it answers, be it 5xx, says nothing about it.
    ///
    /// # Errors
    ///
    /// [`UpstreamError`]; the call has ended.
    pub fn send(
        &self,
        mut request: Request<B>,
        mark: &SentMark,
    ) -> impl Future<Output = Result<Response<UpstreamBody<B>>, UpstreamError>> {
        let path = request.uri().path_and_query().cloned();
        let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
        for (name, value) in &self.plan.settings.headers {
            request.headers_mut().insert(name, value.clone());
        }
        let mut request = Some(request);
        // A block, which has one place for the request where a function would have two.
        async move {
            let mut tried = SmallVec::<[usize; ADDRESSES_TRIED_MAX]>::new();
            let mut last = None;
            while tried.len() < ADDRESSES_TRIED_MAX
                && let Some(attempt) = self.plan.endpoints.pick(&tried, Instant::now())
            {
                tried.push(attempt.index());
                match self.try_address(attempt, &mut request, &path, mark).await {
                    Err(error) if request.is_some() => last = Some(error),
                    done => return done,
                }
            }
            // An upstream has at least one address, so one was tried.
            Err(last.unwrap_or_else(|| self.unreachable(DialError::Timeout(Duration::ZERO))))
        }
    }

    /// Takes the request out of its place; after an error it is there again if nothing of it was
    /// sent.
    async fn try_address(
        &self,
        attempt: Attempt,
        place: &mut Option<Request<B>>,
        path: &PathAndQuery,
        mark: &SentMark,
    ) -> Result<Response<UpstreamBody<B>>, UpstreamError> {
        let index = attempt.index();
        let (Some(address), Some(pool)) = (self.plan.addresses.get(index), self.pools.get(index))
        else {
            return Err(self.unreachable(DialError::Timeout(Duration::ZERO)));
        };
        let mut fresh = false;
        loop {
            let mut lease = match pool.lease(fresh).await {
                Ok(lease) => lease,
                Err(source) => {
                    self.note_failure(&attempt, &source);
                    return Err(self.unreachable(source));
                }
            };
            let Some(mut request) = place.take() else {
                return Err(self.unreachable(DialError::Timeout(Duration::ZERO)));
            };
            address
                .aim(&mut request, path, lease.is_h2())
                .map_err(|source| UpstreamError::Target { upstream: self.name(), source })?;
            mark.set(true);
            let mut error = match self.patiently(lease.send(request), mark).await {
                Ok(Ok(response)) => {
                    attempt.succeeded();
                    return Ok(self.receive(response, attempt, pool, lease));
                }
                Ok(Err(error)) => error,
                Err(late) => {
                    if matches!(late, UpstreamError::Timeout { .. }) {
                        self.note_failure(&attempt, &late);
                    }
                    return Err(late);
                }
            };
            let back = error.take_message();
            let source = error.into_error();
            let Some(back) = back else {
                return Err(UpstreamError::Broke { upstream: self.name(), source });
            };
            mark.set(false);
            *place = Some(back);
            if !lease.reused {
                let error = UpstreamError::NotSent { upstream: self.name(), source };
                self.note_failure(&attempt, &error);
                return Err(error);
            }
            fresh = true;
        }
    }

    /// Waits for the head of an answer as long as settings allow. While the client's own body is on
    /// its way, the upstream is not late: its time runs from there.
    async fn patiently<T>(
        &self,
        sending: impl Future<Output = T>,
        mark: &SentMark,
    ) -> Result<T, UpstreamError> {
        let waited = self.plan.settings.response_timeout;
        let mut sending = pin!(sending);
        loop {
            let (was_uploading, before) = mark.upload();
            if let Ok(sent) = timeout(waited, sending.as_mut()).await {
                return Ok(sent);
            }
            let (uploading, uploaded) = mark.upload();
            if !was_uploading {
                return Err(UpstreamError::Timeout { upstream: self.name(), waited });
            }
            if uploading && is_too_slow(uploaded - before, waited) {
                return Err(UpstreamError::Upload { upstream: self.name() });
            }
        }
    }

    fn receive(
        &self,
        response: Response<Incoming>,
        attempt: Attempt,
        pool: &Arc<Pool<B>>,
        lease: Lease<B>,
    ) -> Response<UpstreamBody<B>> {
        response.map(|body| {
            let body = IdleBody::new(body, self.plan.settings.stream_idle_timeout);
            let lent = Lent { lease, pool: Arc::clone(pool), _attempt: attempt };
            let mut body = UpstreamBody { body, lent: Some(lent) };
            if body.body.is_end_stream() {
                body.end();
            }
            body
        })
    }

    fn note_failure(&self, attempt: &Attempt, error: &(dyn std::error::Error + 'static)) {
        if attempt.failed(Instant::now()) {
            let url = self.plan.settings.urls.get(attempt.index()).map(tracing::field::display);
            tracing::warn!(upstream = %self.plan.settings.name, url, error, "address left aside");
        }
    }

    fn unreachable(&self, source: DialError) -> UpstreamError {
        UpstreamError::Unreachable { upstream: self.name(), source }
    }

    fn name(&self) -> Arc<str> {
        Arc::clone(&self.plan.settings.name)
    }
}

impl Plan {
    fn new(
        settings: UpstreamSettings,
        tls: &mut Option<Arc<rustls::ClientConfig>>,
    ) -> Result<Self, InvalidUpstream> {
        if settings.urls.is_empty() {
            return Err(InvalidUpstream::NoUrl(settings.name));
        }
        let mut addresses = Vec::new();
        for url in &settings.urls {
            let fail = |why| InvalidUpstream::Url {
                upstream: settings.name.clone(),
                url: url.clone(),
                why,
            };
            let mut address = Address::parse(url).map_err(fail)?;
            if address.scheme == Scheme::HTTPS {
                let config = match (&settings.tls, &*tls) {
                    (Some(own), _) => Arc::clone(own),
                    (None, Some(common)) => Arc::clone(common),
                    (None, None) => {
                        let common = tls_config().map_err(InvalidUpstream::Tls)?;
                        Arc::clone(tls.insert(common))
                    }
                };
                address.target.tls = Some(config);
            }
            addresses.push(address);
        }
        let endpoints = Endpoints::new(addresses.len());
        let room = settings.max_in_flight.map(WaitingRoom::new);
        let leaving = AtomicBool::new(false);
        Ok(Self { settings, addresses, endpoints, room, leaving })
    }
}

impl Address {
    fn parse(url: &Uri) -> Result<Self, &'static str> {
        let scheme = match url.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS => scheme.clone(),
            _ => return Err("begins neither with http:// nor with https://"),
        };
        let authority = url.authority().ok_or("names no host")?;
        if authority.as_str().contains('@') {
            return Err("has credentials; set an authorization header instead");
        }
        if url.query().is_some() {
            return Err("has a query; only a base path may follow the host");
        }
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| "names no host")?;
        let port = authority.port_u16().unwrap_or(if scheme == Scheme::HTTPS { 443 } else { 80 });
        let target = Target { host: authority.host().into(), port, tls: None };
        let base = url.path().trim_end_matches('/').into();
        Ok(Self { scheme, host, base, target })
    }

    /// Points a request at this address.
    fn aim<B>(
        &self,
        request: &mut Request<B>,
        path: &PathAndQuery,
        is_h2: bool,
    ) -> Result<(), http::Error> {
        let path = if self.base.is_empty() {
            path.clone()
        } else {
            PathAndQuery::try_from(format!("{}{path}", self.base))?
        };
        if is_h2 {
            let uri = Uri::builder().scheme(self.scheme.clone()).authority(self.host.as_bytes());
            *request.uri_mut() = uri.path_and_query(path).build()?;
            *request.version_mut() = Version::HTTP_2;
            request.headers_mut().remove(HOST);
        } else {
            *request.uri_mut() = Uri::from(path);
            *request.version_mut() = Version::HTTP_11;
            request.headers_mut().insert(HOST, self.host.clone());
        }
        Ok(())
    }
}

/// The body of an upstream's answer.
///
/// Its end gives the connection back; dropped before, the connection (or the HTTP/2 stream) ends,
/// which tells the upstream to stop.
#[derive(Debug)]
pub struct UpstreamBody<B> {
    body: IdleBody<Incoming>,
    lent: Option<Lent<B>>,
}

struct Lent<B> {
    lease: Lease<B>,
    pool: Arc<Pool<B>>,
    _attempt: Attempt,
}

impl<B> fmt::Debug for Lent<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lent")
    }
}

impl<B> UpstreamBody<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    fn end(&mut self) {
        if let Some(Lent { lease, pool, .. }) = self.lent.take() {
            pool.put(lease);
        }
    }
}

impl<B> Body for UpstreamBody<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = IdleBodyError<hyper::Error>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(_)) if !self.body.is_end_stream() => {}
            Some(Ok(_)) | None => self.end(),
            Some(Err(_)) => self.lent = None,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Addresses that one call is tried at.
const ADDRESSES_TRIED_MAX: usize = 3;
