//! Requests of a customer for higher limits.

use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;

use crate::admin::increases_page;
use crate::answer::Page;
use crate::auth::Caller;
use crate::problem::Problem;
use crate::request::{Body, Query};
use crate::settings::App;
use crate::shape::increase::{IncreaseShape, IncreasesWanted, NewIncreaseShape};

/// Asks for a higher limit, for good or, with `until`, for some time.
#[utoipa::path(post, path = "/limit-increases", tag = "limit_increases",
    request_body = NewIncreaseShape,
    responses((status = 201, description = "It is noted.", body = IncreaseShape),
              (status = 403, description = "insufficient_scope")))]
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    Body(new): Body<NewIncreaseShape>,
) -> Result<Response, Problem> {
    caller.needs_scope(SCOPE)?;
    let wanted = new.wanted()?;
    let increase = app.engine.request_increase(caller.account(), wanted).await?;
    let location = format!("{}/v1/limit-increases", app.settings.api_prefix);
    Ok(IncreaseShape::shown(&increase).created(&location, app.engine.now()))
}

/// Lists the account's requests, oldest first.
#[utoipa::path(get, path = "/limit-increases", tag = "limit_increases", params(IncreasesWanted),
    responses((status = 200, description = "A page of them.", body = Page<IncreaseShape>)))]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    Query(wanted): Query<IncreasesWanted>,
) -> Result<Response, Problem> {
    increases_page(&app, Some(caller.account().id), wanted, &headers).await
}

const SCOPE: &str = "accounts";
