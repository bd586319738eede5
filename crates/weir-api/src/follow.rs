//! Events one after another, waiting for the next where the client wants to.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue};
use weir_core::id::{AccountId, EventId};

use crate::answer::{Paging, Shown};
use crate::problem::Problem;
use crate::settings::App;
use crate::shape::record::{EventShape, EventsShape, EventsWanted};

/// The events (of one account, or all) after the one that is named. With `Prefer: wait=N` an
/// answer without events is held back until there is one, at most N and 60 seconds (RFC 7240).
/// `X-Poll-Interval` tells after how many seconds to ask again.
pub(crate) async fn events(
    app: &App,
    account: Option<AccountId>,
    wanted: EventsWanted,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let wait = wait(headers);
    if wanted.after.as_deref() == Some(LATEST) {
        let next_cursor = Some(app.engine.event_horizon().to_string());
        let shown = Shown::plain(EventsShape { data: Vec::new(), next_cursor });
        return Ok(shown.answer(headers, app.engine.now()));
    }
    let paging = Paging { limit: wanted.limit, cursor: wanted.after };
    let (limit, after) = paging.read::<EventId>().map_err(|problem| problem.renamed("after"))?;
    let from = after.unwrap_or_default();
    let mut news = app.engine.watch_events();
    let read = async {
        loop {
            news.mark_unchanged();
            let events = app.engine.events_after(account, from, limit).await?;
            if !events.is_empty() {
                return Ok::<_, Problem>(events);
            }
            tokio::select! {
                // The store is closed, or about to be.
                () = app.engine.ending() => return Ok(events),
                news = news.changed() => if news.is_err() { return Ok(events) },
            }
            // Many events at once wake everybody once.
            tokio::time::sleep(TOGETHER).await;
        }
    };
    let events = match wait {
        None => app.engine.events_after(account, from, limit).await?,
        Some(wait) => match tokio::time::timeout(wait, read).await {
            Ok(events) => events?,
            Err(_) => Vec::new(),
        },
    };
    let next_cursor = events.last().map(|event| event.id).or(after).map(|id| id.to_string());
    // Who may wait, or has not seen everything, need not pause.
    let pause_s = if wait.is_some() || events.len() >= limit { 0 } else { POLL_INTERVAL_S };
    let data = events.iter().map(EventShape::of).collect();
    let shown = Shown::plain(EventsShape { data, next_cursor });
    let mut response = shown.answer(headers, app.engine.now()).into_response();
    response.headers_mut().insert(X_POLL_INTERVAL, HeaderValue::from(pause_s));
    if let Some(wait) = wait
        && let Ok(applied) = HeaderValue::from_str(&format!("wait={}", wait.as_secs()))
    {
        response.headers_mut().insert(PREFERENCE_APPLIED, applied);
    }
    Ok(response)
}

/// How long the client wants to wait at most.
fn wait(headers: &HeaderMap) -> Option<Duration> {
    let preferences = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    let mut preferences = preferences.flat_map(|value| value.split([',', ';']));
    let wait = preferences.find_map(|preference| {
        let (name, value) = preference.split_once('=')?;
        let is_wait = name.trim().eq_ignore_ascii_case("wait");
        is_wait.then(|| value.trim().trim_matches('"').parse::<u64>().ok())?
    })?;
    (wait > 0).then(|| Duration::from_secs(wait.min(WAIT_S_MAX)))
}

const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");
/// As GitHub's events API has it.
const X_POLL_INTERVAL: HeaderName = HeaderName::from_static("x-poll-interval");
/// For clients that come without `Prefer: wait`: events are told late rather than often.
const POLL_INTERVAL_S: u64 = 10;
/// In the place of a cursor: nothing that was told before.
const LATEST: &str = "latest";
const WAIT_S_MAX: u64 = 60;
const TOGETHER: Duration = Duration::from_millis(20);
