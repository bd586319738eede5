//! Webhooks, as customers and the operator find them alike: each those within their reach.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode};

use crate::answer::{Page, Paging};
use crate::auth::Found;
use crate::hooks;
use crate::problem::Problem;
use crate::request::{Body, IfMatch, Query};
use crate::settings::App;
use crate::shape::webhook::{
    DeliveryShape, MadeWebhookShape, ReplayShape, Replayed, SecretRotation, Tested, WebhookChange,
    WebhookShape,
};

/// Shows a webhook, without its secret.
#[utoipa::path(get, path = "/webhooks/{id}", tag = "webhooks",
    params(("id" = String, Path, description = "The webhook's id.")),
    responses((status = 200, description = "The webhook.", body = WebhookShape)))]
pub(crate) async fn show(
    State(app): State<App>,
    Found(webhook): Found,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let now = app.engine.now();
    Ok(WebhookShape::shown(&webhook, now).answer(&headers, now))
}

/// Changes a webhook, or switches it on again.
#[utoipa::path(patch, path = "/webhooks/{id}", tag = "webhooks", request_body = WebhookChange,
    params(("id" = String, Path, description = "The webhook's id."),
           ("If-Match" = Option<String>, Header, description = "Only if it still has this ETag.")),
    responses((status = 200, description = "The webhook as it is now.", body = WebhookShape)))]
pub(crate) async fn change(
    State(app): State<App>,
    Found(webhook): Found,
    IfMatch(revision): IfMatch,
    Body(change): Body<WebhookChange>,
) -> Result<Response, Problem> {
    hooks::change(&app, &webhook, revision, change).await
}

/// Removes a webhook. What waits for it is not delivered.
#[utoipa::path(delete, path = "/webhooks/{id}", tag = "webhooks",
    params(("id" = String, Path, description = "The webhook's id."),
           ("If-Match" = Option<String>, Header, description = "Only if it still has this ETag.")),
    responses((status = 204, description = "It is removed.")))]
pub(crate) async fn remove(
    State(app): State<App>,
    Found(webhook): Found,
    IfMatch(revision): IfMatch,
) -> Result<StatusCode, Problem> {
    app.engine.delete_webhook(webhook.id, revision).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Gives a webhook a new secret. For the overlap messages carry two signatures.
#[utoipa::path(post, path = "/webhooks/{id}/rotate-secret", tag = "webhooks",
    request_body = SecretRotation, params(("id" = String, Path, description = "The webhook's id.")),
    responses((status = 200, description = "The new secret is shown now and never again.",
               body = MadeWebhookShape)))]
pub(crate) async fn rotate(
    State(app): State<App>,
    Found(webhook): Found,
    Body(rotation): Body<SecretRotation>,
) -> Result<Response, Problem> {
    hooks::rotate(&app, &webhook, &rotation).await
}

/// Sends a test to a webhook, and to no other.
#[utoipa::path(post, path = "/webhooks/{id}/test", tag = "webhooks",
    params(("id" = String, Path, description = "The webhook's id.")),
    responses((status = 202, description = "It is on its way.", body = Tested)))]
pub(crate) async fn test(
    State(app): State<App>,
    Found(webhook): Found,
) -> Result<(StatusCode, Json<Tested>), Problem> {
    Ok((StatusCode::ACCEPTED, Json(hooks::test(&app, &webhook).await?)))
}

/// Delivers one event, or those of a time, again.
#[utoipa::path(post, path = "/webhooks/{id}/replay", tag = "webhooks",
    request_body = ReplayShape, params(("id" = String, Path, description = "The webhook's id.")),
    responses((status = 202, description = "They are on their way.", body = Replayed)))]
pub(crate) async fn replay(
    State(app): State<App>,
    Found(webhook): Found,
    Body(asked): Body<ReplayShape>,
) -> Result<(StatusCode, Json<Replayed>), Problem> {
    Ok((StatusCode::ACCEPTED, Json(hooks::replay(&app, &webhook, &asked).await?)))
}

/// Lists what was delivered to a webhook, what waits and what failed, the newest events first.
#[utoipa::path(get, path = "/webhooks/{id}/deliveries", tag = "webhooks",
    params(("id" = String, Path, description = "The webhook's id."), Paging),
    responses((status = 200, description = "A page of them.", body = Page<DeliveryShape>)))]
pub(crate) async fn deliveries(
    State(app): State<App>,
    Found(webhook): Found,
    headers: HeaderMap,
    Query(paging): Query<Paging>,
) -> Result<Response, Problem> {
    hooks::deliveries(&app, &webhook, &paging, &headers).await
}
