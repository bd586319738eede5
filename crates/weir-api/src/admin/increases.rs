//! Requests for higher limits: listed, granted, declined.

use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use weir_core::id::{AccountId, IncreaseId};

use crate::answer::{Page, Paging, Shown};
use crate::problem::Problem;
use crate::request::{Body, Id, Query};
use crate::settings::App;
use crate::shape::check;
use crate::shape::increase::{Approval, Decline, IncreaseShape, IncreasesWanted};

/// Lists the requests of all accounts, oldest first.
#[utoipa::path(get, path = "/limit-increases", tag = "limit_increases", params(IncreasesWanted),
    responses((status = 200, description = "A page of them.", body = Page<IncreaseShape>)))]
pub(crate) async fn list(
    State(app): State<App>,
    headers: HeaderMap,
    Query(wanted): Query<IncreasesWanted>,
) -> Result<Response, Problem> {
    page(&app, None, wanted, &headers).await
}

/// Shows a request.
#[utoipa::path(get, path = "/limit-increases/{id}", tag = "limit_increases",
    params(("id" = String, Path, description = "The request's id.")),
    responses((status = 200, description = "The request.", body = IncreaseShape)))]
pub(crate) async fn show(
    State(app): State<App>,
    Id(id): Id<IncreaseId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let increase = app.engine.increase(id).await?;
    Ok(IncreaseShape::shown(&increase).answer(&headers, app.engine.now()))
}

/// Grants a request: at once and for good, or by a boost where it names an end.
#[utoipa::path(post, path = "/limit-increases/{id}/approve", tag = "limit_increases",
    request_body = Approval,
    params(("id" = String, Path, description = "The request's id.")),
    responses((status = 200, description = "The request as it is now.", body = IncreaseShape)))]
pub(crate) async fn approve(
    State(app): State<App>,
    Id(id): Id<IncreaseId>,
    Body(approval): Body<Approval>,
) -> Result<Response, Problem> {
    let increase = app.engine.approve_increase(id, approval.limit).await?;
    Ok(IncreaseShape::shown(&increase).changed(app.engine.now()))
}

/// Declines a request.
#[utoipa::path(post, path = "/limit-increases/{id}/decline", tag = "limit_increases",
    request_body = Decline,
    params(("id" = String, Path, description = "The request's id.")),
    responses((status = 200, description = "The request as it is now.", body = IncreaseShape)))]
pub(crate) async fn decline(
    State(app): State<App>,
    Id(id): Id<IncreaseId>,
    Body(decline): Body<Decline>,
) -> Result<Response, Problem> {
    check::text("reason", &decline.reason)?;
    if decline.reason.trim().is_empty() {
        return Err(Problem::invalid("reason", "it must say why"));
    }
    let increase = app.engine.decline_increase(id, decline.reason).await?;
    Ok(IncreaseShape::shown(&increase).changed(app.engine.now()))
}

/// A page of the requests of an account, or of all.
pub(crate) async fn page(
    app: &App,
    account: Option<AccountId>,
    wanted: IncreasesWanted,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let paging = Paging { limit: wanted.limit, cursor: wanted.cursor };
    let (limit, after) = paging.read::<IncreaseId>()?;
    let status = wanted.status.map(|status| status.engine());
    let increases = app.engine.increases(account, status, after, limit + 1).await?;
    let page = Page::of(increases, limit, |increase| increase.id.to_string());
    let page = page.map(|increase| IncreaseShape::shown(&increase).body);
    Ok(Shown::plain(page).answer(headers, app.engine.now()))
}
