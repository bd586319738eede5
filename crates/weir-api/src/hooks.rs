//! What customers and the operator do with webhooks and events, each with their own.

use std::sync::Arc;

use axum::response::Response;
use http::HeaderMap;
use weir_core::id::{AccountId, EventId, WebhookId};
use weir_core::time::Span;
use weir_engine::outbox::Replay;
use weir_engine::webhook::{Webhook, WebhookRecord, WebhookStatus};
use weir_engine::webhooks::NewWebhook;
use weir_wire::error::Code;

use crate::answer::{KeptBody, Page, Paging, Shown};
use crate::hook::guard::check_url;
use crate::problem::Problem;
use crate::settings::App;
use crate::shape::check;
use crate::shape::webhook::{
    DeliveryShape, MadeWebhookShape, NewWebhookShape, ReplayShape, Replayed, SecretRotation,
    Tested, WebhookChange, WebhookShape,
};
use crate::time::{parse_rfc3339, parse_span};

/// Whose webhooks and events somebody may see.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reach {
    /// One account's.
    Account(AccountId),
    /// All: the operator's.
    All,
}

impl Reach {
    /// A webhook within reach; another one is as unknown as one that is not there.
    pub(crate) fn find(self, app: &App, id: WebhookId) -> Result<Arc<Webhook>, Problem> {
        let found = app.engine.webhook(id);
        found
            .filter(|webhook| match self {
                Self::Account(account) => webhook.account == Some(account),
                Self::All => true,
            })
            .ok_or_else(|| Problem::not_found("webhook"))
    }
}

/// Makes a webhook of an account or, without one, of the operator.
pub(crate) async fn create(
    app: &App,
    account: Option<AccountId>,
    new: NewWebhookShape,
    base: &str,
) -> Result<Response, Problem> {
    checked(app, Some(&new.url), Some(&new.events), Some(&new.description))?;
    let NewWebhookShape { url, events, description } = new;
    let made = app.engine.create_webhook(NewWebhook { account, url, events, description }).await?;
    Ok(shown_once(app, &made, |shown, now| {
        shown.created(&format!("{base}/webhooks/{}", made.id), now)
    }))
}

/// Lists the webhooks of an account or of the operator, oldest first.
pub(crate) fn list(
    app: &App,
    owner: Option<AccountId>,
    paging: &Paging,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let (limit, after) = paging.read::<WebhookId>()?;
    let now = app.engine.now();
    let all = app.engine.webhooks_of(owner).into_iter();
    let some = all.filter(|webhook| after.is_none_or(|after| webhook.id > after)).take(limit + 1);
    let page = Page::of(some.collect(), limit, |webhook| webhook.id.to_string());
    let page = page.map(|webhook| WebhookShape::shown(&webhook, now).body);
    Ok(Shown::plain(page).answer(headers, now))
}

/// Changes a webhook.
pub(crate) async fn change(
    app: &App,
    webhook: &Webhook,
    revision: Option<u64>,
    change: WebhookChange,
) -> Result<Response, Problem> {
    let description = change.description.as_deref();
    checked(app, change.url.as_deref(), change.events.as_deref(), description)?;
    let apply = |record: &mut WebhookRecord| {
        if let Some(url) = change.url {
            record.url = url;
        }
        if let Some(events) = change.events {
            record.events = events;
        }
        if let Some(description) = change.description {
            record.description = description;
        }
        if let Some(status) = change.status {
            record.status = status.status();
        }
        Ok(())
    };
    let changed = app.engine.change_webhook(webhook.id, revision, apply).await?;
    let now = app.engine.now();
    Ok(WebhookShape::shown(&changed, now).changed(now))
}

/// Gives a webhook a new secret.
pub(crate) async fn rotate(
    app: &App,
    webhook: &Webhook,
    rotation: &SecretRotation,
) -> Result<Response, Problem> {
    let overlap = rotation.overlap.as_deref().unwrap_or("24h");
    let overlap = parse_span(overlap).map_err(|why| Problem::invalid("overlap", why))?;
    if overlap > OVERLAP_MAX {
        return Err(Problem::invalid("overlap", "it may be at most \"30d\""));
    }
    let rotated = app.engine.rotate_webhook_secret(webhook.id, overlap).await?;
    Ok(shown_once(app, &rotated, Shown::changed))
}

/// Lists deliveries, the newest events first.
pub(crate) async fn deliveries(
    app: &App,
    webhook: &Webhook,
    paging: &Paging,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let (limit, before) = paging.read::<EventId>()?;
    let found = app.engine.deliveries_of(webhook.id, before, limit + 1).await?;
    let page = Page::of(found, limit, |(delivery, _)| delivery.event.to_string());
    let page = page.map(|(delivery, event)| DeliveryShape::of(&delivery, event.as_ref()));
    Ok(Shown::plain(page).answer(headers, app.engine.now()))
}

/// Delivers one event or those of a time again.
pub(crate) async fn replay(
    app: &App,
    webhook: &Webhook,
    asked: &ReplayShape,
) -> Result<Replayed, Problem> {
    must_be_on(webhook)?;
    let time =
        |member: &str, text: &str| parse_rfc3339(text).map_err(|why| Problem::invalid(member, why));
    match (&asked.event_id, &asked.since) {
        (Some(id), None) if asked.until.is_none() && !asked.failed_only => {
            let id = id.parse().map_err(|_| Problem::not_found("event"))?;
            app.engine.replay_event(webhook, id).await?;
            Ok(Replayed { queued: 1 })
        }
        (None, Some(since)) => {
            let since = time("since", since)?;
            let until = asked.until.as_deref().map(|until| time("until", until)).transpose()?;
            let until = until.unwrap_or_else(|| app.engine.now());
            let replay = Replay { since, until, failed_only: asked.failed_only };
            Ok(Replayed { queued: app.engine.replay_range(webhook, replay).await? })
        }
        _ => {
            let why = "name either one event, or a time with since, until and failed_only";
            Err(Problem::invalid("event_id", why))
        }
    }
}

/// Sends a test.
pub(crate) async fn test(app: &App, webhook: &Webhook) -> Result<Tested, Problem> {
    must_be_on(webhook)?;
    let event_id = app.engine.test_webhook(webhook).await?.to_string();
    Ok(Tested { event_id })
}

fn checked(
    app: &App,
    url: Option<&str>,
    events: Option<&[String]>,
    description: Option<&str>,
) -> Result<(), Problem> {
    if let Some(url) = url {
        check_url(url, app.settings.webhooks_allow_private)
            .map_err(|why| Problem::invalid("url", why))?;
    }
    if events.is_some_and(|events| events.len() > EVENTS_MAX) {
        return Err(Problem::invalid("events", format!("it may have at most {EVENTS_MAX} items")));
    }
    description.map_or(Ok(()), |text| check::text("description", text))
}

fn must_be_on(webhook: &Webhook) -> Result<(), Problem> {
    if webhook.record.status == WebhookStatus::Enabled {
        return Ok(());
    }
    let detail = "The webhook is switched off. Switch it on first: `{\"status\":\"enabled\"}`.";
    Err(Problem::new(Code::Conflict, detail))
}

/// The one answer that has the secret in it; what is kept for a repetition has not.
fn shown_once(
    app: &App,
    webhook: &Webhook,
    answer: impl FnOnce(Shown<MadeWebhookShape>, weir_core::time::Timestamp) -> Response,
) -> Response {
    let now = app.engine.now();
    let shown = WebhookShape::shown(webhook, now);
    let kept = serde_json::to_vec(&shown.body).unwrap_or_default();
    let secret = Some(webhook.record.secret.expose().to_owned());
    let body = MadeWebhookShape { webhook: shown.body, secret };
    let made = Shown { body, revision: shown.revision, changed_at: shown.changed_at };
    let mut response = answer(made, now);
    response.extensions_mut().insert(KeptBody(kept));
    response
}

const EVENTS_MAX: usize = 64;
const OVERLAP_MAX: Span = Span::from_secs(30 * 86_400);
