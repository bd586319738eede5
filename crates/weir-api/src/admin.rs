//! The admin API: `/admin/v1`, for the operator alone.

mod accounts;
mod backup;
mod boosts;
mod calls;
mod config;
mod explain;
mod holds;
mod increases;
mod keys;
mod ledger;
mod operations;
mod operators;
mod payments;
mod records;
mod refunds;
mod usage;
mod usage_events;
mod wallet;
mod webhooks;

pub(crate) use self::increases::page as increases_page;
pub(crate) use self::keys::{overlap, page as keys_page, shown_once};
pub(crate) use self::operations::healthz;
pub(crate) use self::usage::answered as usage_answered;
pub(crate) use self::wallet::entries_page;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use utoipa::OpenApi;
use utoipa::openapi::OpenApi as Document;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use weir_engine::engine::Engine;

use crate::settings::{ApiSettings, App};
use crate::{auth, document, repeat, shell, webhooks as found};

/// Everything on the admin listener.
pub fn router(engine: Arc<Engine>, settings: Arc<ApiSettings>) -> Router {
    let app = App::new(engine, settings);
    let (routes, document) = routes().split_for_parts();
    let routes = routes
        .route("/admin/v1/openapi.json", document::served(document))
        .merge(operations::routes())
        .layer(from_fn_with_state(app.clone(), repeat::once))
        .layer(from_fn_with_state(app.clone(), auth::admin_only))
        .layer(from_fn_with_state(app.clone(), shell::surround));
    routes.with_state(app)
}

/// What the admin API can do, OpenAPI 3.1.
pub fn openapi() -> Document {
    routes().split_for_parts().1
}

fn routes() -> OpenApiRouter<App> {
    let mut router = OpenApiRouter::with_openapi(Described::openapi()).nest(
        "/admin/v1",
        OpenApiRouter::new()
            .routes(routes!(webhooks::create, webhooks::list))
            .routes(routes!(found::show, found::change, found::remove))
            .routes(routes!(found::rotate))
            .routes(routes!(found::test))
            .routes(routes!(found::replay))
            .routes(routes!(found::deliveries))
            .routes(routes!(webhooks::list_of_account))
            .routes(routes!(accounts::create, accounts::list))
            .routes(routes!(accounts::show, accounts::change, accounts::close))
            .routes(routes!(accounts::limits))
            .routes(routes!(keys::create, keys::list))
            .routes(routes!(keys::show, keys::change, keys::revoke))
            .routes(routes!(keys::rotate))
            .routes(routes!(wallet::show, wallet::change))
            .routes(routes!(wallet::top_up))
            .routes(routes!(wallet::decline_top_up))
            .routes(routes!(wallet::adjust))
            .routes(routes!(wallet::entries))
            .routes(routes!(refunds::refund))
            .routes(routes!(refunds::statement))
            .routes(routes!(holds::create, holds::list))
            .routes(routes!(holds::settle))
            .routes(routes!(holds::void))
            .routes(routes!(payments::stripe))
            .routes(routes!(usage_events::take))
            .routes(routes!(usage::of_all))
            .routes(routes!(usage::of_account))
            .routes(routes!(usage::in_short))
            .routes(routes!(boosts::create, boosts::list))
            .routes(routes!(boosts::show, boosts::end))
            .routes(routes!(increases::list))
            .routes(routes!(increases::show))
            .routes(routes!(increases::approve))
            .routes(routes!(increases::decline))
            .routes(routes!(records::events))
            .routes(routes!(records::audit))
            .routes(routes!(operators::create, operators::list))
            .routes(routes!(operators::revoke))
            .routes(routes!(config::show))
            .routes(routes!(config::diff))
            .routes(routes!(config::reload))
            .routes(routes!(explain::explain))
            .routes(routes!(calls::watch))
            .routes(routes!(ledger::verify))
            .routes(routes!(backup::backup)),
    );
    document::complete(router.get_openapi_mut());
    router
}

#[derive(OpenApi)]
#[openapi(info(
    title = "Weir admin API",
    description = "Accounts, keys, wallets and limits, for the operator. Money is a decimal \
                   string, times are RFC 3339 in UTC. Unknown members are errors.",
    license(name = "Apache-2.0", identifier = "Apache-2.0"),
))]
struct Described;
