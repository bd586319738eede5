//! What happened: events, and who changed what.

use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use serde::Deserialize;
use utoipa::IntoParams;
use weir_core::id::AccountId;

use crate::answer::{Page, Paging, Shown};
use crate::follow;
use crate::problem::Problem;
use crate::request::Query;
use crate::settings::App;
use crate::shape::record::{AuditShape, EventsShape, EventsWanted};

/// Which changes.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct AuditWanted {
    /// How many at most; 50 if left out.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Only those that concern this account.
    account_id: Option<String>,
}

/// Lists events of all accounts, oldest first; kept for 30 days.
#[utoipa::path(get, path = "/events", tag = "events",
    params(EventsWanted,
        ("Prefer" = Option<String>, Header,
         description = "`wait=N`: where there is nothing yet, wait for up to N (60) seconds.")),
    responses((status = 200, description = "The events.", body = EventsShape)))]
pub(crate) async fn events(
    State(app): State<App>,
    headers: HeaderMap,
    Query(wanted): Query<EventsWanted>,
) -> Result<Response, Problem> {
    follow::events(&app, None, wanted, &headers).await
}

/// Lists who changed what through the APIs, newest first.
#[utoipa::path(get, path = "/audit", tag = "audit", params(AuditWanted),
    responses((status = 200, description = "A page of it.", body = Page<AuditShape>)))]
pub(crate) async fn audit(
    State(app): State<App>,
    headers: HeaderMap,
    Query(wanted): Query<AuditWanted>,
) -> Result<Response, Problem> {
    let account = wanted.account_id.as_deref().map(str::parse::<AccountId>).transpose();
    let account =
        account.map_err(|_| Problem::invalid("account_id", "it must be an account's id"))?;
    let paging = Paging { limit: wanted.limit, cursor: wanted.cursor };
    let (limit, before) = paging.read::<u64>()?;
    let changes = app.engine.audited(account, before, limit + 1).await?;
    let page = Page::of(changes, limit, |change| change.id.to_string());
    let page = page.map(|change| AuditShape::of(&change));
    Ok(Shown::plain(page).answer(&headers, app.engine.now()))
}
