//! Events and audited changes as the APIs show them.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use weir_engine::outbox::Event;
use weir_engine::trail::Audited;

use crate::hook::message::data;
use crate::time::rfc3339;

/// A fact that was told.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Event)]
pub(crate) struct EventShape {
    /// Its id, ascending in time; the same that webhooks carry.
    pub(crate) id: String,
    /// What it tells, such as `wallet.low`.
    #[serde(rename = "type")]
    kind: String,
    /// When it happened.
    #[schema(format = DateTime)]
    timestamp: String,
    /// Whom it concerns.
    #[schema(required = true)]
    account_id: Option<String>,
    /// The facts.
    #[schema(value_type = Object)]
    data: Value,
}

/// Which events.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct EventsWanted {
    /// Only those after this id: `next_cursor` of the answer before; `latest`: none yet, but the
    /// cursor after which all that is told from now on will be.
    pub(crate) after: Option<String>,
    /// How many at most; 50 if left out.
    #[param(minimum = 1, maximum = 200)]
    pub(crate) limit: Option<u32>,
}

/// A page of events. `next_cursor` says where to read on, also where there is nothing yet.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Events)]
pub(crate) struct EventsShape {
    /// The events, oldest first.
    pub(crate) data: Vec<EventShape>,
    /// What to ask `after` next; `null` before the first event.
    #[schema(required = true)]
    pub(crate) next_cursor: Option<String>,
}

/// A change that was made.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditedChange)]
pub(crate) struct AuditShape {
    /// Its id, ascending in time.
    pub(crate) id: String,
    /// When.
    #[schema(format = DateTime)]
    at: String,
    /// By whom: `admin` is the owner's own key, else the id of an admin key or of a customer's.
    actor: String,
    /// In which request.
    request_id: String,
    /// What was done, such as `key.rotated`.
    action: String,
    /// The id of what was changed.
    subject: String,
    /// Whom it concerns.
    #[schema(required = true)]
    account_id: Option<String>,
    /// The members that changed, as they were; `null` where something was made.
    #[schema(required = true, value_type = Option<Object>)]
    before: Value,
    /// The members that changed, as they are; `null` where something was removed.
    #[schema(required = true, value_type = Option<Object>)]
    after: Value,
}

impl EventShape {
    /// An event as it was told.
    pub(crate) fn of(event: &Event) -> Self {
        Self {
            id: event.id.to_string(),
            kind: event.kind.to_string(),
            timestamp: rfc3339(event.at),
            account_id: event.account.map(|account| account.to_string()),
            data: data(event),
        }
    }
}

impl AuditShape {
    /// A change as it was noted.
    pub(crate) fn of(change: &Audited) -> Self {
        let record = &change.record;
        Self {
            id: change.id.to_string(),
            at: rfc3339(change.at),
            actor: record.actor.name.clone(),
            request_id: record.actor.request_id.clone(),
            action: record.action.clone(),
            subject: record.subject.clone(),
            account_id: change.account.map(|account| account.to_string()),
            before: record.before.clone(),
            after: record.after.clone(),
        }
    }
}
