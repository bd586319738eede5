//! `GET calls`: every call as it ends, as server-sent events.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http::header;
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Duration, timeout};
use weir_engine::watch::Ended;

use crate::settings::App;
use crate::time::rfc3339;

/// Every call as it ends, from now on, as server-sent events.
#[utoipa::path(get, path = "/calls", tag = "operations", responses(
    (status = 200, description = "One event for each call; `missed` where the reader was too slow",
     content_type = "text/event-stream", body = String)
))]
pub(crate) async fn watch(State(app): State<App>) -> Response {
    let calls = app.engine.watch();
    let events = stream::unfold(calls, |mut calls| async move {
        let event = match timeout(QUIET, calls.recv()).await {
            Ok(Ok(ended)) => told(&ended),
            Ok(Err(RecvError::Lagged(missed))) => format!("event: missed\ndata: {missed}\n\n"),
            Ok(Err(RecvError::Closed)) => return None,
            // A comment now and then shows both ends that the other is there.
            Err(_) => ":\n\n".to_owned(),
        };
        Some((Ok::<_, Infallible>(Bytes::from(event)), calls))
    });
    let head = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    (head, Body::from_stream(events)).into_response()
}

fn told(ended: &Arc<Ended>) -> String {
    let data = json!({
        "at": rfc3339(ended.at), "account_id": ended.account.to_string(),
        "key_id": ended.key.to_string(), "route": ended.route, "class": ended.class,
        "model": ended.model, "status": ended.status, "limited": ended.limited,
        "input_tokens": ended.input_tokens, "output_tokens": ended.output_tokens,
        "charged": ended.charged.to_string(), "latency_ms": ended.latency_ms,
    });
    format!("data: {data}\n\n")
}

const QUIET: Duration = Duration::from_secs(15);
