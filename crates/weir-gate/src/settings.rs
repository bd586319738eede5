//! What the two ends of the data plane may be told: plain values with the contract's defaults.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Uri};
use weir_core::key::AddressBlock;
use weir_wire::error::Links;

use crate::cors::Cors;

/// How connections are spread over the processor's cores.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum RuntimeKind {
    /// One single-threaded runtime and one listener per core: the least work per call.
    #[default]
    PerCore,
    /// One runtime for all cores: busy HTTP/2 connections are shared out better.
    Shared,
}

/// The front: where it listens and what it bears.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// The address; port 0 lets the system choose, see `Serving::addr`.
    pub listen: SocketAddr,
    /// How the cores share the work.
    pub runtime: RuntimeKind,
    /// Number of threads; `None`: one per core that the process may use.
    pub threads: Option<usize>,
    /// Open connections at most; above it new ones wait unaccepted.
    pub connections_max: usize,
    /// Bounds of a request head.
    pub head: HeadLimits,
    /// How long a client may be silent.
    pub timeouts: ClientTimeouts,
    /// Bounds of HTTP/2 connections.
    pub h2: H2Limits,
    /// Certificate and key; `None`: plain text.
    pub tls: Option<Arc<rustls::ServerConfig>>,
}

/// How calls are taken in and answered.
#[derive(Clone, Debug)]
pub struct GateSettings {
    /// Headers that may hold a key; the first one present counts, none reaches an upstream.
    pub auth_headers: Vec<HeaderName>,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<AddressBlock>,
    /// The most bytes of a request body.
    pub body_bytes_max: u64,
    /// The most bytes of request bodies that are read at the same time in order to price them.
    pub buffered_bytes_max: u64,
    /// Where Weir's own pages begin: `/weir`.
    pub api_prefix: String,
    /// What refusals tell of the operator.
    pub told: Arc<Told>,
    /// Whose web pages may call from a browser; `None`: nobody's.
    pub cors: Option<Cors>,
    /// By route: how many bytes of an answer's body are kept under an idempotency key.
    pub kept_bytes_max: Vec<u64>,
}

/// What refusals tell of the operator.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Where error pages and support are found.
    pub links: Links,
    /// Where wallets are topped up.
    pub top_up_url: Option<String>,
    /// The currency of all money, ISO 4217.
    pub currency: String,
}

/// Bounds of a request head.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct HeadLimits {
    /// Header lines at most.
    pub headers_max: usize,
    /// Bytes of request line and headers at most; at least 8192.
    pub bytes_max: usize,
}

/// How long a client may be silent before its connection is closed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ClientTimeouts {
    /// From the first byte of a head (or from the connection) to its last.
    pub head: Duration,
    /// Between the end of an answer and the next request.
    pub idle: Duration,
    /// Between two pieces of a request body.
    pub body_idle: Duration,
    /// For the client to take any byte of an answer.
    pub send: Duration,
}

/// Bounds of HTTP/2 connections.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct H2Limits {
    /// Streams open at the same time in one connection.
    pub streams_max: u32,
    /// Streams that the client reset before they were taken up.
    pub pending_resets_max: usize,
    /// Streams that were reset because of the client's errors.
    pub local_resets_max: usize,
    /// Between two pings on a connection with open streams; a missing answer for as long closes it.
    pub ping_interval: Duration,
}

/// One named upstream.
#[derive(Clone, Debug)]
pub struct UpstreamSettings {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Where it is: `http` or `https`, an authority, and a base path; at least one.
    pub urls: Vec<Uri>,
    /// Headers set on every call, whatever the client sent.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// To a usable connection, including TLS.
    pub connect_timeout: Duration,
    /// From sending the call to the head of the answer.
    pub response_timeout: Duration,
    /// Between two pieces of the answer's body.
    pub stream_idle_timeout: Duration,
    /// Calls at the same time; `None`: no bound. Held by the priority queue, not here.
    pub max_in_flight: Option<usize>,
    /// How long an unused connection is kept.
    pub pool_idle_timeout: Duration,
    /// Whom to trust behind `https`; `None`: the system's roots, else Mozilla's.
    pub tls: Option<Arc<rustls::ClientConfig>>,
}

impl ServerSettings {
    /// The defaults, listening at this address.
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            runtime: RuntimeKind::default(),
            threads: None,
            connections_max: 16_384,
            head: HeadLimits::default(),
            timeouts: ClientTimeouts::default(),
            h2: H2Limits::default(),
            tls: None,
        }
    }
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self { headers_max: 100, bytes_max: 64 * 1024 }
    }
}

impl Default for ClientTimeouts {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(15),
            idle: Duration::from_secs(75),
            body_idle: Duration::from_secs(30),
            send: Duration::from_secs(60),
        }
    }
}

impl Default for H2Limits {
    fn default() -> Self {
        Self {
            streams_max: 128,
            pending_resets_max: 20,
            local_resets_max: 1024,
            ping_interval: Duration::from_secs(20),
        }
    }
}

impl UpstreamSettings {
    /// Whether these are the same settings; another TLS configuration is another one.
    pub fn is_same(&self, other: &Self) -> bool {
        let same_tls = match (&self.tls, &other.tls) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            _ => false,
        };
        same_tls
            && self.name == other.name
            && self.urls == other.urls
            && self.headers == other.headers
            && self.connect_timeout == other.connect_timeout
            && self.response_timeout == other.response_timeout
            && self.stream_idle_timeout == other.stream_idle_timeout
            && self.max_in_flight == other.max_in_flight
            && self.pool_idle_timeout == other.pool_idle_timeout
    }

    /// The defaults for an upstream of this name at these addresses.
    pub fn new(name: &str, urls: Vec<Uri>) -> Self {
        Self {
            name: name.into(),
            urls,
            headers: Vec::new(),
            connect_timeout: Duration::from_secs(2),
            response_timeout: Duration::from_secs(120),
            stream_idle_timeout: Duration::from_secs(60),
            max_in_flight: None,
            pool_idle_timeout: Duration::from_secs(60),
            tls: None,
        }
    }
}
