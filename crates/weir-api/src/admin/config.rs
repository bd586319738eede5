//! The configuration: as it is in force, what another would change, read again.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use weir_wire::error::Code;

use crate::problem::Problem;
use crate::request::read_body;
use crate::settings::{App, ConfigControl};

/// The configuration in force, without its secrets.
#[utoipa::path(get, path = "/config", tag = "operations", responses(
    (status = 200, description = "The configuration in force", body = Object),
    (status = 409, description = "conflict")
))]
pub(crate) async fn show(State(app): State<App>) -> Result<Response, Problem> {
    asked(&app, |config| Ok(config.show())).await
}

/// What a configuration file, sent as the body, would change. Changes nothing.
#[utoipa::path(post, path = "/config/diff", tag = "operations",
    request_body(content = String, content_type = "application/toml"),
    responses((status = 200, description = "What would change", body = Object)))]
pub(crate) async fn diff(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let body = read_body(request).await?;
    let text = String::from_utf8(body.to_vec())
        .map_err(|_| Problem::new(Code::InvalidRequest, "The body is not UTF-8 text."))?;
    asked(&app, move |config| config.diff(&text)).await
}

/// Reads the configuration file again and puts it in force: all of it, or nothing.
#[utoipa::path(post, path = "/config/reload", tag = "operations", responses(
    (status = 200, description = "What changed", body = Object),
    (status = 400, description = "invalid_request")
))]
pub(crate) async fn reload(State(app): State<App>) -> Result<Response, Problem> {
    asked(&app, |config| config.reload()).await
}

async fn asked(
    app: &App,
    ask: impl FnOnce(&Arc<dyn ConfigControl>) -> Result<Value, String> + Send + 'static,
) -> Result<Response, Problem> {
    let config = app.settings.config.clone();
    let Some(config) = config else {
        return Err(Problem::new(
            Code::Conflict,
            "This process runs without a configuration file.",
        ));
    };
    let answer = tokio::task::spawn_blocking(move || ask(&config)).await;
    match answer.map_err(|error| Problem::internal(&error))? {
        Ok(value) => Ok(axum::Json(value).into_response()),
        Err(why) => Err(Problem::new(Code::InvalidRequest, why)),
    }
}
