//! What a customer used.

use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;

use crate::admin::usage_answered;
use crate::answer::Shown;
use crate::auth::Caller;
use crate::problem::Problem;
use crate::request::Query;
use crate::settings::App;
use crate::shape::summary::{self, SummaryShape};
use crate::shape::usage::{UsageQuery, UsageShape};

/// Shows the usage of the account.
#[utoipa::path(get, path = "/usage", tag = "usage", params(UsageQuery),
    responses((status = 200, description = "Usage over time.", content(
        (UsageShape = "application/json"), (String = "text/csv"), (String = "application/jsonl")))))]
pub(crate) async fn usage(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    Query(query): Query<UsageQuery>,
) -> Result<Response, Problem> {
    usage_answered(&app, Some(caller.account().id), &query, &headers).await
}

/// Shows the last day of the account, and how long its limits and credit last at this rate.
#[utoipa::path(get, path = "/usage/summary", tag = "usage",
    responses((status = 200, description = "The summary.", body = SummaryShape)))]
pub(crate) async fn summary(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let summary = summary::summary(&app.engine, caller.account()).await?;
    Ok(Shown::plain(summary).answer(&headers, app.engine.now()))
}
