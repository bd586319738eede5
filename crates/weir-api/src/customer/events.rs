//! What happened to a customer's account.

use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;

use crate::auth::Caller;
use crate::follow;
use crate::problem::Problem;
use crate::request::Query;
use crate::settings::App;
use crate::shape::record::{EventsShape, EventsWanted};

/// Lists the account's events, oldest first; kept for 30 days.
#[utoipa::path(get, path = "/events", tag = "events",
    params(EventsWanted,
        ("Prefer" = Option<String>, Header,
         description = "`wait=N`: where there is nothing yet, wait for up to N (60) seconds.")),
    responses((status = 200, description = "The events.", body = EventsShape)))]
pub(crate) async fn events(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    Query(wanted): Query<EventsWanted>,
) -> Result<Response, Problem> {
    follow::events(&app, Some(caller.account().id), wanted, &headers).await
}
