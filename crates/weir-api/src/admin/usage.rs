//! Usage of one account and of all together.

use axum::extract::State;
use axum::response::Response;
use http::header::VARY;
use http::{HeaderMap, HeaderValue};
use weir_core::id::AccountId;

use crate::answer::Shown;
use crate::problem::Problem;
use crate::request::{Id, Query};
use crate::settings::App;
use crate::shape::summary::{SummaryShape, summary};
use crate::shape::usage::{UsageQuery, UsageShape, columns};
use crate::table::Format;

/// Shows the usage of all accounts together.
#[utoipa::path(get, path = "/usage", tag = "usage", params(UsageQuery),
    responses((status = 200, description = "Usage over time.", content(
        (UsageShape = "application/json"), (String = "text/csv"), (String = "application/jsonl")))))]
pub(crate) async fn of_all(
    State(app): State<App>,
    headers: HeaderMap,
    Query(query): Query<UsageQuery>,
) -> Result<Response, Problem> {
    answered(&app, None, &query, &headers).await
}

/// Shows the usage of an account.
#[utoipa::path(get, path = "/accounts/{id}/usage", tag = "usage",
    params(("id" = String, Path, description = "The account's id."), UsageQuery),
    responses((status = 200, description = "Usage over time.", content(
        (UsageShape = "application/json"), (String = "text/csv"), (String = "application/jsonl")))))]
pub(crate) async fn of_account(
    State(app): State<App>,
    Id(id): Id<AccountId>,
    headers: HeaderMap,
    Query(query): Query<UsageQuery>,
) -> Result<Response, Problem> {
    if app.engine.account(id).is_none() {
        return Err(Problem::not_found("account"));
    }
    answered(&app, Some(id), &query, &headers).await
}

/// Shows the last day of an account, and how long its limits and credit last at this rate.
#[utoipa::path(get, path = "/accounts/{id}/usage/summary", tag = "usage",
    params(("id" = String, Path, description = "The account's id.")),
    responses((status = 200, description = "The summary.", body = SummaryShape)))]
pub(crate) async fn in_short(
    State(app): State<App>,
    Id(id): Id<AccountId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let cell = app.engine.account(id).ok_or_else(|| Problem::not_found("account"))?;
    let summary = summary(&app.engine, &cell).await?;
    Ok(Shown::plain(summary).answer(&headers, app.engine.now()))
}

/// The usage of an account, or of all: with totals as JSON, else row by row.
pub(crate) async fn answered(
    app: &App,
    account: Option<AccountId>,
    query: &UsageQuery,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let now = app.engine.now();
    let wanted = query.wanted(account, now)?;
    let rows = app.engine.usage(wanted.clone()).await?;
    let usage = query.answer(&wanted, &rows);
    match Format::chosen(query.format, headers) {
        Format::Json => {
            let mut answer = Shown::plain(usage).answer(headers, now);
            answer.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
            Ok(answer)
        }
        format => Ok(format.answer(&columns(&wanted, query.histogram), &usage.rows()?)),
    }
}
