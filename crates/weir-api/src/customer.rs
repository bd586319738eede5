//! The customer API: `/weir/v1`, by the customer's own key, on the data plane's listener.

mod events;
mod increases;
mod keys;
mod own;
mod pages;
mod usage;
mod webhooks;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use utoipa::OpenApi;
use utoipa::openapi::OpenApi as Document;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use weir_engine::engine::Engine;

use crate::settings::{ApiSettings, App};
use crate::{admin, auth, document, repeat, shell, webhooks as found};

/// Everything below the API's prefix on the data plane's listener.
pub fn router(engine: Arc<Engine>, settings: Arc<ApiSettings>) -> Router {
    let prefix = settings.api_prefix.clone();
    let app = App::new(engine, settings);
    let (routes, document) = routes(&prefix).split_for_parts();
    let routes = routes
        .route(&format!("{prefix}/v1/openapi.json"), document::served(document))
        .route(&format!("{prefix}/healthz"), get(admin::healthz))
        .route(&format!("{prefix}/errors/{{code}}"), get(pages::error_page))
        .route_layer(from_fn_with_state(app.clone(), auth::as_caller))
        .layer(from_fn_with_state(app.clone(), repeat::once_each))
        .layer(from_fn_with_state(app.clone(), shell::surround));
    routes.with_state(app)
}

/// What the customer API can do below this prefix, OpenAPI 3.1.
pub fn openapi(prefix: &str) -> Document {
    routes(prefix).split_for_parts().1
}

fn routes(prefix: &str) -> OpenApiRouter<App> {
    let mut router = OpenApiRouter::with_openapi(Described::openapi()).nest(
        &format!("{prefix}/v1"),
        OpenApiRouter::new()
            .routes(routes!(webhooks::create, webhooks::list))
            .routes(routes!(found::show, found::change, found::remove))
            .routes(routes!(found::rotate))
            .routes(routes!(found::test))
            .routes(routes!(found::replay))
            .routes(routes!(found::deliveries))
            .routes(routes!(own::key))
            .routes(routes!(own::limits))
            .routes(routes!(own::wallet))
            .routes(routes!(own::entries))
            .routes(routes!(own::prices))
            .routes(routes!(own::models))
            .routes(routes!(usage::usage))
            .routes(routes!(usage::summary))
            .routes(routes!(increases::create, increases::list))
            .routes(routes!(events::events))
            .routes(routes!(keys::create, keys::list))
            .routes(routes!(keys::rotate))
            .routes(routes!(keys::revoke)),
    );
    document::complete(router.get_openapi_mut());
    router
}

#[derive(OpenApi)]
#[openapi(info(
    title = "Weir customer API",
    description = "What a key may do, has used and has left. Costs nothing and does not count \
                   against the plan. Money is a decimal string, times are RFC 3339 in UTC.",
    license(name = "Apache-2.0", identifier = "Apache-2.0"),
))]
struct Described;
