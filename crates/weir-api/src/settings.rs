//! What the control plane is told at start.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Response};
use weir_engine::engine::Engine;
use weir_engine::rehearse::{Explained, Question};
use weir_engine::secret::SecretDigest;
use weir_wire::error::Links;

use crate::allowance::Allowances;

/// What the control plane is told at start.
#[derive(Clone)]
pub struct ApiSettings {
    /// Where Weir's own pages begin on the data plane's listener: `/weir`.
    pub api_prefix: String,
    /// Where error pages and support are found.
    pub links: Links,
    /// Where wallets are topped up.
    pub top_up_url: Option<String>,
    /// Headers that may hold a customer's key; the first one present counts.
    pub auth_headers: Vec<HeaderName>,
    /// Whether webhooks may go to private addresses and by plain HTTP.
    pub webhooks_allow_private: bool,
    /// Digest of the operator's own key: the owner's.
    pub admin_key: SecretDigest,
    /// What payment events in Stripe's shape are signed with; `None`: none are taken.
    pub stripe_secret: Option<String>,
    /// The metrics as Prometheus text.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// The running configuration, where the process has one.
    pub config: Option<Arc<dyn ConfigControl>>,
    /// Who says what would become of a call, where the process has a data plane.
    pub explainer: Option<Arc<dyn Explainer>>,
}

/// Says what would become of a call: the data plane, as the API asks it. Changes nothing.
pub trait Explainer: Send + Sync {
    /// What would become of a call now, and why. Of one that passes: the headers that Weir adds to
    /// the upstream's answer; of one that is refused: the answer.
    fn explain(&self, question: &Question) -> Explained<Result<HeaderMap, Response<Bytes>>>;
}

/// The running configuration as the API shows and changes it. All functions may block.
pub trait ConfigControl: Send + Sync {
    /// The configuration in force, with its secrets left out.
    fn show(&self) -> serde_json::Value;

    /// What a new file's text would change.
    ///
    /// # Errors
    ///
    /// The file's errors as text, with their places.
    fn diff(&self, text: &str) -> Result<serde_json::Value, String>;

    /// Reads the file again and puts it in force.
    ///
    /// # Errors
    ///
    /// Why the old one stays, as text.
    fn reload(&self) -> Result<serde_json::Value, String>;
}

/// Where a request comes from, behind trusted proxies: put into the request's extensions by
/// whoever serves the customer API. Keys that are bound to addresses are refused without it.
#[derive(Clone, Copy, Debug)]
pub struct ClientAddress(pub IpAddr);

/// What every handler may use.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) engine: Arc<Engine>,
    pub(crate) settings: Arc<ApiSettings>,
    pub(crate) allowances: Arc<Allowances>,
}

impl App {
    pub(crate) fn new(engine: Arc<Engine>, settings: Arc<ApiSettings>) -> Self {
        Self { engine, settings, allowances: Arc::default() }
    }
}

impl fmt::Debug for ApiSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiSettings")
            .field("api_prefix", &self.api_prefix)
            .field("links", &self.links)
            .field("auth_headers", &self.auth_headers)
            .finish_non_exhaustive()
    }
}
