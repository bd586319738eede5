//! Webhooks in memory: who is told of events, and where.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use weir_core::id::{AccountId, WebhookId};
use weir_core::time::Timestamp;
use weir_store::op::Event;

use crate::change::ChangeError;
use crate::event_type::{EVENT_TYPES, WEBHOOK_TEST, is_known_filter};

/// A receiver of events.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// Its id.
    pub id: WebhookId,
    /// Whose events it gets; `None`: it is the operator's and gets all.
    pub account: Option<AccountId>,
    /// What is kept of it.
    pub record: WebhookRecord,
}

/// A webhook as it is kept.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct WebhookRecord {
    /// Where events are posted to.
    pub url: String,
    /// Which types it gets: `wallet.low`, `wallet.*`; empty: all.
    #[serde(default)]
    pub events: Vec<String>,
    /// What people call it.
    #[serde(default)]
    pub description: String,
    /// What messages are signed with.
    pub secret: SigningSecret,
    /// What they are signed with beside it for a while after a rotation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<PreviousSecret>,
    /// Whether it gets anything.
    pub status: WebhookStatus,
    /// When it was made, in microseconds since the Unix epoch.
    pub created_at_us: i64,
    /// When it was last changed, in microseconds since the Unix epoch.
    pub updated_at_us: i64,
    /// How often it was changed, plus one.
    pub revision: u64,
}

/// Whether a webhook gets anything.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WebhookStatus {
    /// It does.
    Enabled,
    /// It was switched off by hand.
    Disabled,
    /// Its receiver answered 410 Gone.
    Gone,
    /// Its receiver took nothing for as long as a message is tried.
    Failing,
}

/// The key of signatures, as receivers are given it: `whsec_` and base64. Never shown in logs.
#[derive(Clone, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct SigningSecret(String);

/// A secret that was rotated out and still signs.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PreviousSecret {
    /// The secret.
    pub secret: SigningSecret,
    /// Until when it signs, in microseconds since the Unix epoch.
    pub until_us: i64,
}

/// All webhooks, by id and by owner.
#[derive(Debug, Default)]
pub(crate) struct Webhooks {
    directory: RwLock<Directory>,
    /// Those that the deliverer is to look at now.
    nudged: Mutex<BTreeSet<WebhookId>>,
    bell: Notify,
}

#[derive(Debug, Default)]
struct Directory {
    by_id: BTreeMap<WebhookId, Arc<Webhook>>,
    by_owner: BTreeSet<(Option<AccountId>, WebhookId)>,
}

impl SigningSecret {
    /// Draws a secret of 256 random bits.
    ///
    /// # Errors
    ///
    /// [`ChangeError::NoRandomness`] when the system has none to give.
    pub fn draw() -> Result<Self, ChangeError> {
        let mut bytes = [0_u8; 32];
        getrandom::fill(&mut bytes).map_err(|_| ChangeError::NoRandomness)?;
        Ok(Self(format!("whsec_{}", BASE64.encode(bytes))))
    }

    /// The secret as receivers are given it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningSecret(…)")
    }
}

impl WebhookStatus {
    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
            Self::Gone => "gone",
            Self::Failing => "failing",
        }
    }
}

impl Webhook {
    /// Whether it gets this event: it is on, the event's type is asked for, and it is the
    /// owner's to see. A test goes to the webhook it was made for and to no other.
    pub fn wants(&self, event: &Event) -> bool {
        self.record.status == WebhookStatus::Enabled
            && &*event.kind != WEBHOOK_TEST
            && self.sees(event)
            && self.record.asks_for(&event.kind)
    }

    /// Whether its owner may see this event.
    pub fn sees(&self, event: &Event) -> bool {
        self.account.is_none() || self.account == event.account
    }

    /// What messages are signed with now: the present secret first.
    pub fn secrets(&self, now: Timestamp) -> impl Iterator<Item = &SigningSecret> {
        let previous = self.record.previous.as_ref();
        let previous = previous.filter(|previous| now.micros() < previous.until_us);
        std::iter::once(&self.record.secret).chain(previous.map(|previous| &previous.secret))
    }
}

impl WebhookRecord {
    fn asks_for(&self, kind: &str) -> bool {
        self.events.is_empty()
            || self.events.iter().any(|wanted| match wanted.strip_suffix('*') {
                Some(start) => kind.starts_with(start),
                None => wanted == kind,
            })
    }

    pub(crate) fn check(&self) -> Result<(), ChangeError> {
        for wanted in &self.events {
            if !is_known_filter(wanted) {
                let types = EVENT_TYPES.join(", ");
                let why = format!(
                    "there is no type `{wanted}`; it must be one of {types}, or a group such as \
                     `wallet.*`"
                );
                return Err(ChangeError::invalid("events", why));
            }
        }
        Ok(())
    }
}

impl Webhooks {
    pub(crate) fn put(&self, webhook: Webhook) -> Arc<Webhook> {
        let webhook = Arc::new(webhook);
        let mut directory = self.directory.write();
        directory.by_owner.insert((webhook.account, webhook.id));
        directory.by_id.insert(webhook.id, Arc::clone(&webhook));
        webhook
    }

    pub(crate) fn remove(&self, id: WebhookId) {
        let mut directory = self.directory.write();
        if let Some(webhook) = directory.by_id.remove(&id) {
            directory.by_owner.remove(&(webhook.account, id));
        }
    }

    /// Tells the deliverer that something waits for this webhook.
    pub(crate) fn nudge(&self, id: WebhookId) {
        self.nudged.lock().insert(id);
        self.bell.notify_one();
    }

    pub(crate) async fn nudged(&self) {
        self.bell.notified().await;
    }

    pub(crate) fn take_nudged(&self) -> BTreeSet<WebhookId> {
        std::mem::take(&mut *self.nudged.lock())
    }

    pub(crate) fn by_id(&self, id: WebhookId) -> Option<Arc<Webhook>> {
        self.directory.read().by_id.get(&id).map(Arc::clone)
    }

    pub(crate) fn of(&self, owner: Option<AccountId>) -> Vec<Arc<Webhook>> {
        let directory = self.directory.read();
        let range = (owner, WebhookId(0))..=(owner, WebhookId(u64::MAX));
        let ids = directory.by_owner.range(range);
        ids.filter_map(|(_, id)| directory.by_id.get(id)).map(Arc::clone).collect()
    }
}
