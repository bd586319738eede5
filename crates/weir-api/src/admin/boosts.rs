//! Boosts: made, listed, ended.

use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use weir_core::id::{AccountId, BoostId};

use crate::answer::{Page, Paging, Shown};
use crate::problem::Problem;
use crate::request::{Body, Id, Query};
use crate::settings::App;
use crate::shape::boost::{BoostShape, NewBoostShape};

/// Raises a limit of an account from one time until another. What was used stays used.
#[utoipa::path(post, path = "/accounts/{id}/boosts", tag = "boosts", request_body = NewBoostShape,
    params(("id" = String, Path, description = "The account's id.")),
    responses((status = 201, description = "It is made.", body = BoostShape)))]
pub(crate) async fn create(
    State(app): State<App>,
    Id(id): Id<AccountId>,
    Body(new): Body<NewBoostShape>,
) -> Result<Response, Problem> {
    let now = app.engine.now();
    let boosting = app.engine.create_boost(id, new.record(now)?).await?;
    let now = app.engine.now();
    let location = format!("/admin/v1/boosts/{}", boosting.id);
    Ok(Shown::plain(BoostShape::of(&boosting, now)).created(&location, now))
}

/// Lists the boosts of an account that act or are to come, oldest first.
#[utoipa::path(get, path = "/accounts/{id}/boosts", tag = "boosts",
    params(("id" = String, Path, description = "The account's id."), Paging),
    responses((status = 200, description = "A page of them.", body = Page<BoostShape>)))]
pub(crate) async fn list(
    State(app): State<App>,
    Id(id): Id<AccountId>,
    headers: HeaderMap,
    Query(paging): Query<Paging>,
) -> Result<Response, Problem> {
    if app.engine.account(id).is_none() {
        return Err(Problem::not_found("account"));
    }
    let (limit, after) = paging.read::<BoostId>()?;
    let now = app.engine.now();
    let boosts = app.engine.boosts_of(id).into_iter();
    let boosts = boosts.filter(|boost| after.is_none_or(|after| boost.id > after)).take(limit + 1);
    let page = Page::of(boosts.collect(), limit, |boost| boost.id.to_string());
    Ok(Shown::plain(page.map(|boost| BoostShape::of(&boost, now))).answer(&headers, now))
}

/// Shows a boost that acts or is to come.
#[utoipa::path(get, path = "/boosts/{id}", tag = "boosts",
    params(("id" = String, Path, description = "The boost's id.")),
    responses((status = 200, description = "The boost.", body = BoostShape)))]
pub(crate) async fn show(
    State(app): State<App>,
    Id(id): Id<BoostId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let boosting = app.engine.boost(id).ok_or_else(|| Problem::not_found("boost"))?;
    let now = app.engine.now();
    Ok(Shown::plain(BoostShape::of(&boosting, now)).answer(&headers, now))
}

/// Ends a boost now.
#[utoipa::path(delete, path = "/boosts/{id}", tag = "boosts",
    params(("id" = String, Path, description = "The boost's id.")),
    responses((status = 204, description = "It is ended.")))]
pub(crate) async fn end(
    State(app): State<App>,
    Id(id): Id<BoostId>,
) -> Result<StatusCode, Problem> {
    app.engine.delete_boost(id).await?;
    Ok(StatusCode::NO_CONTENT)
}
