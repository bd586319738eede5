//! Webhooks, their deliveries and events, as both APIs write and read them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use weir_core::time::Timestamp;
use weir_engine::outbox::{Delivery, Event};
use weir_engine::webhook::{Webhook, WebhookStatus};

use crate::answer::Shown;
use crate::time::rfc3339;

/// A receiver of events.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Webhook)]
pub(crate) struct WebhookShape {
    /// Its id.
    pub(crate) id: String,
    /// Whose events it gets; `null`: the operator's, which gets all.
    #[schema(required = true)]
    pub(crate) account_id: Option<String>,
    /// Where events are posted to.
    pub(crate) url: String,
    /// Which types it gets; empty: all.
    pub(crate) events: Vec<String>,
    /// What people call it.
    pub(crate) description: String,
    /// `enabled`; `disabled` by hand; `gone`: the receiver answered 410; `failing`: it took
    /// nothing for three days.
    pub(crate) status: &'static str,
    /// Until when messages are signed with the secret before the last rotation, too.
    #[schema(required = true, format = DateTime)]
    pub(crate) previous_secret_until: Option<String>,
    /// When it was made.
    #[schema(format = DateTime)]
    pub(crate) created_at: String,
    /// When it was last changed.
    #[schema(format = DateTime)]
    pub(crate) updated_at: String,
}

/// A webhook with its secret: in the answer that makes or rotates it, and never again.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MadeWebhook)]
pub(crate) struct MadeWebhookShape {
    /// The webhook.
    #[serde(flatten)]
    pub(crate) webhook: WebhookShape,
    /// What messages are signed with.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=")]
    pub(crate) secret: Option<String>,
}

/// What a new webhook shall be.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = NewWebhook)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewWebhookShape {
    /// Where events are posted to: https, at a public address.
    #[schema(max_length = 2048)]
    pub(crate) url: String,
    /// Which types it gets, such as `wallet.low` or `wallet.*`; empty: all.
    #[serde(default)]
    #[schema(max_items = 64)]
    pub(crate) events: Vec<String>,
    /// What people call it.
    #[serde(default)]
    #[schema(max_length = 1000)]
    pub(crate) description: String,
}

/// What shall change of a webhook; members that are left out stay.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = WebhookChange)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct WebhookChange {
    /// Where events are posted to.
    #[schema(max_length = 2048)]
    pub(crate) url: Option<String>,
    /// Which types it gets; empty: all.
    #[schema(max_items = 64)]
    pub(crate) events: Option<Vec<String>>,
    /// What people call it.
    #[schema(max_length = 1000)]
    pub(crate) description: Option<String>,
    /// Whether it gets anything.
    pub(crate) status: Option<WantedStatus>,
}

/// Whether a webhook gets anything.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum WantedStatus {
    /// It does.
    Enabled,
    /// It does not.
    Disabled,
}

/// How a secret is rotated.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SecretRotation {
    /// How long messages are signed with the old secret, too: at most `"30d"`, `"24h"` if left out.
    pub(crate) overlap: Option<String>,
}

/// Which events are delivered again: one, or those of a time.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ReplayShape {
    /// One event.
    pub(crate) event_id: Option<String>,
    /// From when on.
    #[schema(format = DateTime)]
    pub(crate) since: Option<String>,
    /// Up to when; now if left out.
    #[schema(format = DateTime)]
    pub(crate) until: Option<String>,
    /// Only what was given up.
    pub(crate) failed_only: bool,
}

/// How many events are delivered again.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Replayed {
    /// How many.
    pub(crate) queued: usize,
}

/// A test that is on its way.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Tested {
    /// The id of its event.
    pub(crate) event_id: String,
}

/// How far the delivery of an event is.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Delivery)]
pub(crate) struct DeliveryShape {
    /// The event: the `webhook-id` of the message.
    pub(crate) event_id: String,
    /// Its type; `null` when it is no longer kept.
    #[schema(required = true)]
    pub(crate) r#type: Option<String>,
    /// `pending`, `delivered` or `failed`.
    pub(crate) state: &'static str,
    /// How often it was tried.
    pub(crate) attempts: u32,
    /// When it was tried last.
    #[schema(required = true, format = DateTime)]
    pub(crate) last_attempt_at: Option<String>,
    /// What the receiver answered then.
    #[schema(required = true)]
    pub(crate) last_status: Option<u16>,
    /// Why that failed.
    #[schema(required = true)]
    pub(crate) last_error: Option<String>,
    /// How long that took.
    #[schema(required = true)]
    pub(crate) latency_ms: Option<u32>,
    /// When it is tried next.
    #[schema(required = true, format = DateTime)]
    pub(crate) next_attempt_at: Option<String>,
}

impl WebhookShape {
    /// A webhook as it stands.
    pub(crate) fn shown(webhook: &Webhook, now: Timestamp) -> Shown<Self> {
        let record = &webhook.record;
        let time = |micros| rfc3339(Timestamp::from_micros(micros));
        let previous = record.previous.as_ref().map(|previous| previous.until_us);
        let body = Self {
            id: webhook.id.to_string(),
            account_id: webhook.account.map(|account| account.to_string()),
            url: record.url.clone(),
            events: record.events.clone(),
            description: record.description.clone(),
            status: record.status.name(),
            previous_secret_until: previous.filter(|until| *until > now.micros()).map(time),
            created_at: time(record.created_at_us),
            updated_at: time(record.updated_at_us),
        };
        let changed_at = Some(Timestamp::from_micros(record.updated_at_us));
        Shown { body, revision: Some(record.revision), changed_at }
    }
}

impl WantedStatus {
    pub(crate) fn status(self) -> WebhookStatus {
        match self {
            Self::Enabled => WebhookStatus::Enabled,
            Self::Disabled => WebhookStatus::Disabled,
        }
    }
}

impl DeliveryShape {
    /// A delivery and, where it is still kept, its event.
    pub(crate) fn of(delivery: &Delivery, event: Option<&Event>) -> Self {
        let pending = delivery.state == weir_engine::outbox::DeliveryState::Pending;
        Self {
            event_id: delivery.event.to_string(),
            r#type: event.map(|event| event.kind.to_string()),
            state: delivery.state.name(),
            attempts: delivery.attempts,
            last_attempt_at: delivery.last_at.map(rfc3339),
            last_status: delivery.last_status,
            last_error: delivery.last_error.as_deref().map(str::to_owned),
            latency_ms: delivery.last_ms,
            next_attempt_at: pending.then(|| rfc3339(delivery.next_at)),
        }
    }
}
