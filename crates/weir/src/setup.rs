//! From settings to what the data plane and the customer API run on.

use std::sync::Arc;

use weir_api::hook::deliver::DeliveryCounts;
use weir_api::settings::ApiSettings;
use weir_core::time::Span;
use weir_engine::engine::Engine;
use weir_engine::secret::SecretDigest;
use weir_gate::gate::Setup;
use weir_gate::meters::GateMeters;
use weir_gate::out_body::OutBody;
use weir_gate::pipeline::Shared;
use weir_gate::settings::{GateSettings, Told, UpstreamSettings};
use weir_gate::upstream::Upstreams;
use weir_wire::error::Links;

use crate::config::server::ServerSettings;
use crate::config::services::{AuthSettings, BillingSettings, StoreSettings};
use crate::config::settings::Settings;
use crate::metrics::exposition;
use crate::side::ApiSide;

/// What a configuration says beside the policy, as it is in force.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) server: ServerSettings,
    pub(crate) store: StoreSettings,
    pub(crate) billing: BillingSettings,
    pub(crate) auth: AuthSettings,
    pub(crate) upstreams: Vec<UpstreamSettings>,
    /// The largest answer kept for replays, by route.
    kept_bytes_max: Vec<u64>,
}

/// What a setup is made from beside the settings: the same for the life of the node.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) engine: Arc<Engine>,
    pub(crate) meters: Arc<GateMeters>,
    pub(crate) deliveries: Arc<DeliveryCounts>,
    pub(crate) admin_key: SecretDigest,
    /// Whether webhooks may go to private and loopback addresses.
    pub(crate) webhooks_allow_private: bool,
}

impl Kept {
    /// What settings say beside their policy.
    pub(crate) fn of(settings: &Settings) -> Self {
        Self {
            server: settings.server.clone(),
            store: settings.store.clone(),
            billing: settings.billing.clone(),
            auth: settings.auth.clone(),
            upstreams: settings.upstreams.clone(),
            kept_bytes_max: settings
                .routes
                .iter()
                .map(|route| route.idempotency_max_body_bytes)
                .collect(),
        }
    }

    /// Tells the engine what it goes by beside the policy.
    pub(crate) fn instruct(&self, engine: &Engine) {
        engine.allow_failed_keys(self.auth.failed_keys_per_minute);
        let micros = i64::try_from(self.store.audit_retention.as_micros()).unwrap_or(i64::MAX);
        engine.keep_audit(Span::from_micros(micros));
        engine.keep_usage(self.store.usage_retention);
    }

    fn links(&self) -> Links {
        let public_url = self.server.public_url.as_deref().unwrap_or_default();
        Links {
            base: format!("{public_url}{}", self.server.api_prefix),
            support_url: self.server.support_url.clone(),
        }
    }
}

impl Parts {
    /// What the control plane is told.
    pub(crate) fn api(&self, kept: &Kept) -> ApiSettings {
        ApiSettings {
            api_prefix: kept.server.api_prefix.clone(),
            links: kept.links(),
            top_up_url: kept.billing.top_up_url.clone(),
            auth_headers: kept.auth.headers.clone(),
            admin_key: self.admin_key,
            metrics: exposition(&self.engine, &self.meters, &self.deliveries),
            webhooks_allow_private: self.webhooks_allow_private,
            stripe_secret: kept
                .billing
                .stripe_webhook_secret
                .as_ref()
                .map(|secret| secret.expose().to_owned()),
            config: None,
            explainer: None,
        }
    }

    /// What the data plane runs on.
    pub(crate) fn setup(&self, kept: &Kept, upstreams: Upstreams<OutBody>) -> Setup {
        let api = Arc::new(self.api(kept));
        let router = weir_api::customer::router(Arc::clone(&self.engine), api);
        let side = ApiSide::new(router);
        let settings = GateSettings {
            cors: kept.server.cors.clone(),
            auth_headers: kept.auth.headers.clone(),
            trusted_proxies: kept.server.trusted_proxies.clone(),
            body_bytes_max: kept.server.max_body_bytes,
            buffered_bytes_max: BUFFERED_BYTES_MAX,
            api_prefix: kept.server.api_prefix.clone(),
            told: Arc::new(Told {
                links: kept.links(),
                top_up_url: kept.billing.top_up_url.clone(),
                currency: kept.billing.currency.clone(),
            }),
            kept_bytes_max: kept.kept_bytes_max.clone(),
        };
        let shared = Shared::new(settings, Arc::new(side), Arc::clone(&self.meters));
        Setup { shared: Arc::new(shared), upstreams }
    }
}

/// What request bodies that are read in order to price them may take together.
const BUFFERED_BYTES_MAX: u64 = 256 << 20;
