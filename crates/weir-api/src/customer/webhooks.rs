//! Webhooks: an account's own.

use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;

use crate::answer::{Page, Paging};
use crate::auth::{Caller, WEBHOOKS};
use crate::hooks;
use crate::problem::Problem;
use crate::request::{Body, Query};
use crate::settings::App;
use crate::shape::webhook::{MadeWebhookShape, NewWebhookShape, WebhookShape};

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
    caller.needs_scope(WEBHOOKS)?;
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
