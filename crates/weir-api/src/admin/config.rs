//! The running configuration: shown, compared, read again.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;
use weir_wire::error::Code;

use crate::answer::Shown;
use crate::problem::Problem;
use crate::request::Body;
use crate::settings::{App, ConfigControl};

/// A configuration to compare with the one in force.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConfigText {
    /// The file's text, TOML.
    text: String,
}

/// Shows the configuration in force, without its secrets.
#[utoipa::path(get, path = "/config", tag = "config",
    responses((status = 200, description = "The configuration.", body = Object)))]
pub(crate) async fn show(State(app): State<App>, headers: HeaderMap) -> Result<Response, Problem> {
    let config = asked(&app, |config| Ok(config.show())).await?;
    Ok(Shown::plain(config).answer(&headers, app.engine.now()))
}

/// Shows what another configuration would change; changes nothing.
#[utoipa::path(post, path = "/config/diff", tag = "config", request_body = ConfigText,
    responses((status = 200, description = "The changes.", body = Object)))]
pub(crate) async fn diff(
    State(app): State<App>,
    Body(config): Body<ConfigText>,
) -> Result<Response, Problem> {
    let changes = asked(&app, move |control| control.diff(&config.text)).await?;
    Ok(Shown::plain(changes).changed(app.engine.now()))
}

/// Reads the configuration file again. A file that is wrong changes nothing.
#[utoipa::path(post, path = "/config/reload", tag = "config",
    responses((status = 200, description = "What has changed.", body = Object)))]
pub(crate) async fn reload(State(app): State<App>) -> Result<Response, Problem> {
    let changes = asked(&app, |config| config.reload()).await?;
    Ok(Shown::plain(changes).changed(app.engine.now()))
}

/// Asks on a thread that may block: files are read there.
async fn asked(
    app: &App,
    ask: impl FnOnce(&dyn ConfigControl) -> Result<Value, String> + Send + 'static,
) -> Result<Value, Problem> {
    let Some(config) = app.settings.config.as_ref().map(Arc::clone) else {
        return Err(Problem::not_found("configuration file: this process runs without one"));
    };
    match tokio::task::spawn_blocking(move || ask(&*config)).await {
        Ok(answer) => answer.map_err(|why| Problem::new(Code::InvalidRequest, why)),
        Err(why) => Err(Problem::internal(&why)),
    }
}
