//! What runs the process by: health, readiness, metrics. These need no key.

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use serde_json::json;

use crate::settings::App;

/// `/healthz`, `/readyz`, `/metrics`.
pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
}

/// The process serves.
pub(crate) async fn healthz() -> Response {
    axum::Json(json!({"status": "ok"})).into_response()
}

/// Whether priced calls can be served, and if not, why.
async fn readyz(State(app): State<App>) -> Response {
    match app.engine.store_trouble() {
        None => axum::Json(json!({"status": "ready", "reasons": []})).into_response(),
        Some(why) => {
            let reasons = [json!({"part": "store", "why": why})];
            let body = json!({"status": "not_ready", "reasons": reasons});
            (StatusCode::SERVICE_UNAVAILABLE, axum::Json(body)).into_response()
        }
    }
}

async fn metrics(State(app): State<App>) -> Response {
    let text = (app.settings.metrics)();
    ([(CONTENT_TYPE, OPEN_METRICS)], text).into_response()
}

const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
