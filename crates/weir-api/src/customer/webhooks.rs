//! Webhooks and events: an account's own.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use weir_core::id::WebhookId;

use crate::answer::{Page, Paging};
use crate::auth::Caller;
use crate::hooks::{self, Reach};
use crate::problem::Problem;
use crate::request::{Body, Id, IfMatch, Query};
use crate::settings::App;
use crate::shape::webhook::{
    DeliveryShape, MadeWebhookShape, NewWebhookShape, ReplayShape, Replayed, SecretRotation,
    Tested, WebhookChange, WebhookShape,
};

/// Makes a webhook: events of the account are posted there, signed.
#[utoipa::path(post, path = "/webhooks", tag = "webhooks", request_body = NewWebhookShape,
    responses((status = 201, description = "It is made. The secret is shown now and never again.",
               body = MadeWebhookShape),
              (status = 403, description = "insufficient_scope")))]
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    Body(new): Body<NewWebhookShape>,
) -> Result<Response, Problem> {
    caller.needs_scope(SCOPE)?;
    let base = format!("{}/v1", app.settings.api_prefix);
    hooks::create(&app, Some(caller.account().id), new, &base).await
}

/// Lists the webhooks of the account, oldest first.
#[utoipa::path(get, path = "/webhooks", tag = "webhooks", params(Paging),
    responses((status = 200, description = "A page of them.", body = Page<WebhookShape>)))]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    Query(paging): Query<Paging>,
) -> Result<Response, Problem> {
    hooks::list(&app, Some(caller.account().id), &paging, &headers)
}

/// Shows a webhook, without its secret.
#[utoipa::path(get, path = "/webhooks/{id}", tag = "webhooks",
    params(("id" = String, Path, description = "The webhook's id.")),
    responses((status = 200, description = "The webhook.", body = WebhookShape)))]
pub(crate) async fn show(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<WebhookId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let webhook = reach(&caller).find(&app, id)?;
    let now = app.engine.now();
    Ok(WebhookShape::shown(&webhook, now).answer(&headers, now))
}

/// Changes a webhook, or switches it on again.
#[utoipa::path(patch, path = "/webhooks/{id}", tag = "webhooks", request_body = WebhookChange,
    params(("id" = String, Path, description = "The webhook's id."),
           ("If-Match" = Option<String>, Header, description = "Only if it still has this ETag.")),
    responses((status = 200, description = "The webhook as it is now.", body = WebhookShape),
              (status = 403, description = "insufficient_scope")))]
pub(crate) async fn change(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<WebhookId>,
    IfMatch(revision): IfMatch,
    Body(change): Body<WebhookChange>,
) -> Result<Response, Problem> {
    caller.needs_scope(SCOPE)?;
    let webhook = reach(&caller).find(&app, id)?;
    hooks::change(&app, &webhook, revision, change).await
}

/// Removes a webhook. What waits for it is not delivered.
#[utoipa::path(delete, path = "/webhooks/{id}", tag = "webhooks",
    params(("id" = String, Path, description = "The webhook's id."),
           ("If-Match" = Option<String>, Header, description = "Only if it still has this ETag.")),
    responses((status = 204, description = "It is removed."),
              (status = 403, description = "insufficient_scope")))]
pub(crate) async fn remove(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<WebhookId>,
    IfMatch(revision): IfMatch,
) -> Result<StatusCode, Problem> {
    caller.needs_scope(SCOPE)?;
    let webhook = reach(&caller).find(&app, id)?;
    app.engine.delete_webhook(webhook.id, revision).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Gives a webhook a new secret. For the overlap messages carry two signatures.
#[utoipa::path(post, path = "/webhooks/{id}/rotate-secret", tag = "webhooks",
    request_body = SecretRotation, params(("id" = String, Path, description = "The webhook's id.")),
    responses((status = 200, description = "The new secret is shown now and never again.",
               body = MadeWebhookShape),
              (status = 403, description = "insufficient_scope")))]
pub(crate) async fn rotate(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<WebhookId>,
    Body(rotation): Body<SecretRotation>,
) -> Result<Response, Problem> {
    caller.needs_scope(SCOPE)?;
    let webhook = reach(&caller).find(&app, id)?;
    hooks::rotate(&app, &webhook, &rotation).await
}

/// Sends a test to a webhook, and to no other.
#[utoipa::path(post, path = "/webhooks/{id}/test", tag = "webhooks",
    params(("id" = String, Path, description = "The webhook's id.")),
    responses((status = 202, description = "It is on its way.", body = Tested),
              (status = 403, description = "insufficient_scope")))]
pub(crate) async fn test(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<WebhookId>,
) -> Result<(StatusCode, Json<Tested>), Problem> {
    caller.needs_scope(SCOPE)?;
    let webhook = reach(&caller).find(&app, id)?;
    Ok((StatusCode::ACCEPTED, Json(hooks::test(&app, &webhook).await?)))
}

/// Delivers one event, or those of a time, again.
#[utoipa::path(post, path = "/webhooks/{id}/replay", tag = "webhooks",
    request_body = ReplayShape, params(("id" = String, Path, description = "The webhook's id.")),
    responses((status = 202, description = "They are on their way.", body = Replayed),
              (status = 403, description = "insufficient_scope")))]
pub(crate) async fn replay(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<WebhookId>,
    Body(asked): Body<ReplayShape>,
) -> Result<(StatusCode, Json<Replayed>), Problem> {
    caller.needs_scope(SCOPE)?;
    let webhook = reach(&caller).find(&app, id)?;
    Ok((StatusCode::ACCEPTED, Json(hooks::replay(&app, &webhook, &asked).await?)))
}

/// Lists what was delivered to a webhook, what waits and what failed, the newest events first.
#[utoipa::path(get, path = "/webhooks/{id}/deliveries", tag = "webhooks",
    params(("id" = String, Path, description = "The webhook's id."), Paging),
    responses((status = 200, description = "A page of them.", body = Page<DeliveryShape>)))]
pub(crate) async fn deliveries(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<WebhookId>,
    headers: HeaderMap,
    Query(paging): Query<Paging>,
) -> Result<Response, Problem> {
    let webhook = reach(&caller).find(&app, id)?;
    hooks::deliveries(&app, &webhook, &paging, &headers).await
}

fn reach(caller: &Caller) -> Reach {
    Reach::Account(caller.account().id)
}

const SCOPE: &str = "webhooks";
