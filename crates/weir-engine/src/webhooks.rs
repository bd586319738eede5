//! Webhooks: made, changed, switched off, removed.

use std::sync::Arc;

use weir_core::id::{AccountId, WebhookId};
use weir_core::time::Span;
use weir_store::op::{Delete, Expected, Op, Put, Urgency};

use crate::change::ChangeError;
use crate::engine::Engine;
use crate::event::event;
use crate::trail::Change;
use crate::webhook::{PreviousSecret, SigningSecret, Webhook, WebhookRecord, WebhookStatus};

/// What a new webhook shall be. Whether its URL may be posted to is checked by whoever posts.
#[derive(Clone, Debug, Default)]
pub struct NewWebhook {
    /// Whose; `None`: the operator's.
    pub account: Option<AccountId>,
    /// Where to.
    pub url: String,
    /// Which types; empty: all.
    pub events: Vec<String>,
    /// What people call it.
    pub description: String,
}

impl Engine {
    /// The webhook of that id.
    pub fn webhook(&self, id: WebhookId) -> Option<Arc<Webhook>> {
        self.webhooks.by_id(id)
    }

    /// The webhooks of an account, or the operator's own, oldest first.
    pub fn webhooks_of(&self, owner: Option<AccountId>) -> Vec<Arc<Webhook>> {
        self.webhooks.of(owner)
    }

    /// Makes a webhook; durable before it is returned. It gets what happens from now on.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]: an unknown account or type, too many webhooks, or the store.
    pub async fn create_webhook(&self, new: NewWebhook) -> Result<Arc<Webhook>, ChangeError> {
        let _turn = self.changes.lock().await;
        if let Some(account) = new.account {
            self.account(account).ok_or(ChangeError::NotFound)?;
        }
        if self.webhooks.of(new.account).len() >= WEBHOOKS_MAX {
            let why = format!("there are {WEBHOOKS_MAX} webhooks already, which is the most");
            return Err(ChangeError::Conflict(why));
        }
        let now = self.now().micros();
        let record = WebhookRecord {
            url: new.url,
            events: new.events,
            description: new.description,
            secret: SigningSecret::draw()?,
            previous: None,
            status: WebhookStatus::Enabled,
            created_at_us: now,
            updated_at_us: now,
            revision: 1,
        };
        record.check()?;
        let id = WebhookId(self.next_id());
        let webhook = Webhook { id, account: new.account, record };
        let mut ops = vec![self.put_webhook(&webhook)?];
        ops.extend(self.written_down("webhook.created", id, None, Some(&webhook))?);
        self.journal.commit(Urgency::Fresh, ops).await?;
        Ok(self.webhooks.put(webhook))
    }

    /// Changes a webhook. `change` gets the record and may refuse.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]: no such webhook, another revision than expected, a wrong member, the store.
    pub async fn change_webhook(
        &self,
        id: WebhookId,
        revision: Option<u64>,
        change: impl FnOnce(&mut WebhookRecord) -> Result<(), ChangeError>,
    ) -> Result<Arc<Webhook>, ChangeError> {
        self.rewrite_webhook("webhook.changed", id, revision, change).await
    }

    async fn rewrite_webhook(
        &self,
        action: &str,
        id: WebhookId,
        revision: Option<u64>,
        change: impl FnOnce(&mut WebhookRecord) -> Result<(), ChangeError>,
    ) -> Result<Arc<Webhook>, ChangeError> {
        let _turn = self.changes.lock().await;
        let before = self.webhook(id).ok_or(ChangeError::NotFound)?;
        if revision.is_some_and(|revision| revision != before.record.revision) {
            return Err(ChangeError::Stale);
        }
        let mut webhook = Webhook::clone(&before);
        change(&mut webhook.record)?;
        webhook.record.check()?;
        webhook.record.revision += 1;
        webhook.record.updated_at_us = self.now().micros();
        let mut ops = vec![self.put_webhook(&webhook)?];
        ops.extend(self.written_down(action, id, Some(&before), Some(&webhook))?);
        self.journal.commit(Urgency::Fresh, ops).await?;
        Ok(self.webhooks.put(webhook))
    }

    /// Gives a webhook a new secret. For `overlap` messages are signed with the old one as well.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]: no such webhook, no randomness, or the store.
    pub async fn rotate_webhook_secret(
        &self,
        id: WebhookId,
        overlap: Span,
    ) -> Result<Arc<Webhook>, ChangeError> {
        let fresh = SigningSecret::draw()?;
        let until_us = self.now().plus(overlap).micros();
        let rotate = |record: &mut WebhookRecord| {
            let secret = std::mem::replace(&mut record.secret, fresh);
            record.previous = Some(PreviousSecret { secret, until_us });
            Ok(())
        };
        self.rewrite_webhook("webhook.secret_rotated", id, None, rotate).await
    }

    /// Switches a webhook off because of its receiver, and tells `webhook.disabled`. One that is
    /// gone or off already stays as it is.
    ///
    /// # Errors
    ///
    /// [`ChangeError::Store`].
    pub async fn disable_webhook(
        &self,
        id: WebhookId,
        why: WebhookStatus,
    ) -> Result<(), ChangeError> {
        let _turn = self.changes.lock().await;
        let Some(before) = self.webhook(id) else { return Ok(()) };
        if before.record.status != WebhookStatus::Enabled {
            return Ok(());
        }
        let mut webhook = Webhook::clone(&before);
        webhook.record.status = why;
        webhook.record.revision += 1;
        webhook.record.updated_at_us = self.now().micros();
        let data = serde_json::json!({
            "webhook_id": id.to_string(), "url": webhook.record.url, "reason": why.name(),
        });
        let mut ops = vec![self.put_webhook(&webhook)?];
        let turn = self.journal.turn();
        ops.push(Op::Event(event(self, "webhook.disabled", webhook.account, &data)));
        let commit = turn.commit(Urgency::Settlement, ops);
        commit.await?;
        self.webhooks.put(webhook);
        Ok(())
    }

    /// Removes a webhook. What waits for it is not delivered any more.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]: no such webhook, or the store.
    pub async fn delete_webhook(
        &self,
        id: WebhookId,
        revision: Option<u64>,
    ) -> Result<(), ChangeError> {
        let _turn = self.changes.lock().await;
        let webhook = self.webhook(id).ok_or(ChangeError::NotFound)?;
        if revision.is_some_and(|revision| revision != webhook.record.revision) {
            return Err(ChangeError::Stale);
        }
        let mut ops = vec![delete_webhook(id)];
        ops.extend(self.written_down("webhook.deleted", id, Some(&webhook), None)?);
        self.journal.commit(Urgency::Fresh, ops).await?;
        self.webhooks.remove(id);
        self.webhooks.nudge(id);
        Ok(())
    }

    fn written_down(
        &self,
        action: &str,
        id: WebhookId,
        before: Option<&Webhook>,
        after: Option<&Webhook>,
    ) -> Result<Option<Op>, ChangeError> {
        let record = |webhook: &Webhook| serde_json::to_value(&webhook.record);
        Ok(self.audit(Change {
            action,
            subject: id.to_string(),
            account: before.or(after).and_then(|webhook| webhook.account),
            before: before.map(record).transpose()?.unwrap_or_default(),
            after: after.map(record).transpose()?.unwrap_or_default(),
        }))
    }

    fn put_webhook(&self, webhook: &Webhook) -> Result<Op, ChangeError> {
        Ok(Op::Put(Put {
            kind: KIND,
            id: webhook.id.0,
            account: webhook.account,
            at: self.now(),
            body: serde_json::to_string(&webhook.record)?,
            expected: Expected::Any,
        }))
    }
}

/// Removes a webhook with its account.
pub(crate) fn delete_webhook(id: WebhookId) -> Op {
    Op::Delete(Delete { kind: KIND, id: id.0, expected: None })
}

/// The kind of resource in the store.
pub(crate) const KIND: &str = "webhook";

/// What one owner may have: each event is one delivery for each of them.
const WEBHOOKS_MAX: usize = 20;
