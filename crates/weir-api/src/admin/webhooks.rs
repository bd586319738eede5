//! Webhooks: the operator's own, and those of an account.

use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use weir_core::id::AccountId;

use crate::answer::{Page, Paging};
use crate::hooks;
use crate::problem::Problem;
use crate::request::{Body, Id, Query};
use crate::settings::App;
use crate::shape::webhook::{MadeWebhookShape, NewWebhookShape, WebhookShape};

/// Makes a webhook of the operator's own: it gets the events of all accounts.
#[utoipa::path(post, path = "/webhooks", tag = "webhooks", request_body = NewWebhookShape,
    responses((status = 201, description = "It is made. The secret is shown now and never again.",
               body = MadeWebhookShape)))]
pub(crate) async fn create(
    State(app): State<App>,
    Body(new): Body<NewWebhookShape>,
) -> Result<Response, Problem> {
    hooks::create(&app, None, new, "/admin/v1").await
}

/// Lists the operator's own webhooks, oldest first.
#[utoipa::path(get, path = "/webhooks", tag = "webhooks", params(Paging),
    responses((status = 200, description = "A page of them.", body = Page<WebhookShape>)))]
pub(crate) async fn list(
    State(app): State<App>,
    headers: HeaderMap,
    Query(paging): Query<Paging>,
) -> Result<Response, Problem> {
    hooks::list(&app, None, &paging, &headers)
}

/// Lists the webhooks of an account, oldest first.
#[utoipa::path(get, path = "/accounts/{id}/webhooks", tag = "webhooks",
    params(("id" = String, Path, description = "The account's id."), Paging),
    responses((status = 200, description = "A page of them.", body = Page<WebhookShape>)))]
pub(crate) async fn list_of_account(
    State(app): State<App>,
    Id(id): Id<AccountId>,
    headers: HeaderMap,
    Query(paging): Query<Paging>,
) -> Result<Response, Problem> {
    app.engine.account(id).ok_or_else(|| Problem::not_found("account"))?;
    hooks::list(&app, Some(id), &paging, &headers)
}
