//! From told facts to deliveries: who gets what, how far each delivery is.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use weir_core::id::{EventId, WebhookId};
use weir_core::time::Timestamp;
use weir_store::error::{CommitError, ReadError};
pub use weir_store::op::{Delivery, DeliveryState, Event};
use weir_store::op::{Expected, Op, Put, Urgency};
use weir_store::read::Reader;

use crate::change::ChangeError;
use crate::engine::Engine;
use crate::event::event;
use crate::event_type::WEBHOOK_TEST;
use crate::webhook::Webhook;

/// What one step of [`Engine::fan_out`] came to.
#[derive(Debug)]
pub struct FannedOut {
    /// The webhooks that something new waits for.
    pub to: Vec<WebhookId>,
    /// Whether there may be more to do at once.
    pub more: bool,
}

/// Which events are to be delivered again.
#[derive(Clone, Copy, Debug)]
pub struct Replay {
    /// From when on.
    pub since: Timestamp,
    /// Up to when.
    pub until: Timestamp,
    /// Only what was given up.
    pub failed_only: bool,
}

#[derive(Debug, Deserialize, Serialize)]
struct CursorRow {
    after: u64,
}

impl Engine {
    /// Tells the last event whenever newer ones have become durable.
    pub fn watch_events(&self) -> watch::Receiver<EventId> {
        self.journal.store().watch_events()
    }

    /// Ends every wait for events: the process is about to stop.
    pub fn end_waits(&self) {
        self.ending.send_replace(true);
    }

    /// Resolves when the process is about to stop.
    pub async fn ending(&self) {
        let mut ending = self.ending.subscribe();
        // The sender lives as long as the engine.
        let _gone = ending.wait_for(|ending| *ending).await;
    }

    /// Makes deliveries of the next events, for all webhooks that want them and for those that
    /// `also` names. The deliveries and how far this came are one commit: an event becomes a
    /// delivery exactly once, whenever the process dies.
    ///
    /// # Errors
    ///
    /// [`ChangeError`] where the store fails; nothing was done then.
    pub async fn fan_out(
        &self,
        also: &(dyn Fn(&Event) -> Vec<WebhookId> + Sync),
    ) -> Result<FannedOut, ChangeError> {
        let mut after = self.outbox.lock().await;
        let from = *after;
        let events = self.read_store(move |reader| reader.events(None, from, EVENTS_MAX)).await?;
        let Some(last) = events.last().map(|event| event.id) else {
            return Ok(FannedOut { to: Vec::new(), more: false });
        };
        let now = self.now();
        let mut ops = Vec::new();
        let mut to = Vec::new();
        for event in &events {
            let mut wanting = also(event);
            let owners = [None, event.account];
            let owners = &owners[..1 + usize::from(event.account.is_some())];
            for webhook in owners.iter().flat_map(|owner| self.webhooks_of(*owner)) {
                // Ids are drawn in order of time: what happened before it was made is not sent.
                if webhook.wants(event) && event.id.0 > webhook.id.0 {
                    wanting.push(webhook.id);
                }
            }
            for webhook in wanting {
                ops.push(Op::Deliver(Delivery::new(webhook, event.id, now)));
                to.push(webhook);
            }
        }
        let body = serde_json::to_string(&CursorRow { after: last.0 })?;
        let (at, expected) = (now, Expected::Any);
        ops.push(Op::Put(Put { kind: KIND, id: ID, account: None, at, body, expected }));
        self.journal.commit(Urgency::Fresh, ops).await?;
        *after = last;
        to.sort_unstable();
        to.dedup();
        Ok(FannedOut { to, more: events.len() == EVENTS_MAX })
    }

    /// The webhooks that something waits for, each with the time of its next try.
    ///
    /// # Errors
    ///
    /// [`ChangeError::Unreadable`]; so with all that only read.
    pub async fn webhooks_due(&self) -> Result<Vec<(WebhookId, Timestamp)>, ChangeError> {
        self.read_store(|reader| reader.webhooks_due()).await
    }

    /// What waits for a webhook, the next to be tried first.
    ///
    /// # Errors
    ///
    /// [`ChangeError::Unreadable`].
    pub async fn deliveries_pending(
        &self,
        webhook: WebhookId,
        limit: usize,
    ) -> Result<Vec<Delivery>, ChangeError> {
        self.read_store(move |reader| reader.deliveries_pending(webhook, limit)).await
    }

    /// The deliveries of a webhook of events before one (or the last ones), newest first, with
    /// the types of their events.
    ///
    /// # Errors
    ///
    /// [`ChangeError::Unreadable`].
    pub async fn deliveries_of(
        &self,
        webhook: WebhookId,
        before: Option<EventId>,
        limit: usize,
    ) -> Result<Vec<(Delivery, Option<Event>)>, ChangeError> {
        self.read_store(move |reader| {
            let deliveries = reader.deliveries(webhook, before, limit)?;
            let with_event = |delivery: Delivery| {
                let event = reader.event(delivery.event)?;
                Ok((delivery, event))
            };
            deliveries.into_iter().map(with_event).collect()
        })
        .await
    }

    /// Waits until there are webhooks to be looked at: see [`Engine::take_nudged`].
    pub async fn nudged(&self) {
        self.webhooks.nudged().await;
    }

    /// The webhooks that something was put aside for by hand since this was asked last.
    pub fn take_nudged(&self) -> BTreeSet<WebhookId> {
        self.webhooks.take_nudged()
    }

    /// One event.
    ///
    /// # Errors
    ///
    /// [`ChangeError::Unreadable`].
    pub async fn told(&self, id: EventId) -> Result<Option<Event>, ChangeError> {
        self.read_store(move |reader| reader.event(id)).await
    }

    /// Notes how far deliveries are; durable before it returns.
    ///
    /// # Errors
    ///
    /// [`ChangeError::Store`].
    pub async fn note_deliveries(&self, deliveries: &[Delivery]) -> Result<(), ChangeError> {
        let ops = deliveries.iter().cloned().map(Op::Deliver).collect();
        self.journal.commit(Urgency::Settlement, ops).await?;
        Ok(())
    }

    /// Delivers one event to a webhook again, whatever became of it before.
    ///
    /// # Errors
    ///
    /// [`ChangeError::NotFound`] if its owner may not see such an event, or the store.
    pub async fn replay_event(&self, webhook: &Webhook, id: EventId) -> Result<(), ChangeError> {
        let event = self.told(id).await?.filter(|event| webhook.sees(event));
        let event = event.ok_or(ChangeError::NotFound)?;
        self.note_deliveries(&[Delivery::new(webhook.id, event.id, self.now())]).await?;
        self.webhooks.nudge(webhook.id);
        Ok(())
    }

    /// Delivers the events of a time to a webhook again; says how many. At most 10,000 in one
    /// call.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]: more than that, or the store.
    pub async fn replay_range(
        &self,
        webhook: &Webhook,
        replay: Replay,
    ) -> Result<usize, ChangeError> {
        let after = EventId(self.id_at(replay.since).saturating_sub(1));
        let account = webhook.account;
        let events =
            self.read_store(move |reader| reader.events(account, after, EVENTS_READ_MAX)).await?;
        if events.len() == EVENTS_READ_MAX && events.last().is_some_and(|e| e.at < replay.until) {
            let why = format!("it covers more than {EVENTS_READ_MAX} events; take a shorter time");
            return Err(ChangeError::invalid("until", why));
        }
        let chosen = events.into_iter().filter(|event| {
            event.at >= replay.since && event.at <= replay.until && webhook.wants(event)
        });
        let mut ids: Vec<EventId> = chosen.map(|event| event.id).collect();
        if replay.failed_only {
            let to = webhook.id;
            ids = self
                .read_store(move |reader| {
                    let mut failed = Vec::new();
                    for id in ids {
                        let delivery = reader.delivery(to, id)?;
                        if delivery.is_some_and(|it| it.state == DeliveryState::Failed) {
                            failed.push(id);
                        }
                    }
                    Ok(failed)
                })
                .await?;
        }
        let now = self.now();
        let deliveries: Vec<Delivery> =
            ids.into_iter().map(|id| Delivery::new(webhook.id, id, now)).collect();
        self.note_deliveries(&deliveries).await?;
        self.webhooks.nudge(webhook.id);
        Ok(deliveries.len())
    }

    /// Tells one webhook, and no other, an event that means nothing: to see that it works.
    ///
    /// # Errors
    ///
    /// [`ChangeError::Store`].
    pub async fn test_webhook(&self, webhook: &Webhook) -> Result<EventId, ChangeError> {
        let data = serde_json::json!({
            "webhook_id": webhook.id.to_string(),
            "message": "This is a test. It means that messages reach you.",
        });
        let turn = self.journal.turn();
        let event = event(self, WEBHOOK_TEST, webhook.account, &data);
        let id = event.id;
        let deliver = Op::Deliver(Delivery::new(webhook.id, id, self.now()));
        let commit = turn.commit(Urgency::Fresh, vec![Op::Event(event), deliver]);
        commit.await?;
        self.webhooks.nudge(webhook.id);
        Ok(id)
    }
}

impl Engine {
    /// Reads the store on a thread that may block.
    async fn read_store<T: Send + 'static>(
        &self,
        ask: impl FnOnce(Reader) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ChangeError> {
        let reader = self.journal.store().reader();
        match tokio::task::spawn_blocking(move || ask(reader)).await {
            Ok(answer) => answer.map_err(ChangeError::Unreadable),
            Err(_) => Err(ChangeError::Store(CommitError::Closed)),
        }
    }

    /// Takes up where the last process stopped.
    pub(crate) fn load_outbox(&self, body: &str) {
        if let Ok(row) = serde_json::from_str::<CursorRow>(body)
            && let Ok(mut after) = self.outbox.try_lock()
        {
            *after = EventId(row.after);
        }
    }
}

/// The kind of resource in the store.
pub(crate) const KIND: &str = "outbox";
const ID: u64 = 1;

/// What one step of the fan-out reads.
const EVENTS_MAX: usize = 128;
/// What one replay reads.
const EVENTS_READ_MAX: usize = 10_000;
