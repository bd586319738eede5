//! What a customer sees of their own: key, limits, wallet, prices.

use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use serde::Serialize;
use utoipa::ToSchema;

use crate::admin::entries_page;
use crate::answer::{Page, Paging, Shown};
use crate::auth::Caller;
use crate::problem::Problem;
use crate::request::Query;
use crate::settings::App;
use crate::shape::account::AccountStatus;
use crate::shape::key::KeyShape;
use crate::shape::limit::{LimitShape, LimitsShape};
use crate::shape::price::{self, ModelShape, PriceShape};
use crate::shape::wallet::{EntryShape, WalletShape};

/// A key as its holder sees it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OwnKey)]
pub(crate) struct OwnKeyShape {
    /// The key.
    #[serde(flatten)]
    key: KeyShape,
    /// Whose it is.
    account: OwnAccountShape,
}

/// An account as its keys see it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OwnAccount)]
pub(crate) struct OwnAccountShape {
    /// Its id.
    id: String,
    /// What people call it.
    name: String,
    /// The name of its plan.
    plan: String,
    /// Whether its calls are let through.
    status: AccountStatus,
}

/// Shows the key that asks.
#[utoipa::path(get, path = "/key", tag = "key",
    responses((status = 200, description = "The key.", body = OwnKeyShape)))]
pub(crate) async fn key(State(app): State<App>, caller: Caller, headers: HeaderMap) -> Response {
    let now = app.engine.now();
    let record = caller.account().record.load();
    let account = OwnAccountShape {
        id: caller.account().id.to_string(),
        name: record.name.clone(),
        plan: record.plan.clone(),
        status: AccountStatus::of(record.suspended),
    };
    let key = KeyShape::shown(&caller.key, now).body;
    Shown::plain(OwnKeyShape { key, account }).answer(&headers, now)
}

/// Shows where all limits stand that count calls of this key.
#[utoipa::path(get, path = "/limits", tag = "limits",
    responses((status = 200, description = "The limits.", body = LimitsShape)))]
pub(crate) async fn limits(State(app): State<App>, caller: Caller, headers: HeaderMap) -> Response {
    let views = app.engine.limits_of(caller.account(), Some(&caller.key));
    let limits = LimitsShape { limits: views.iter().map(LimitShape::of).collect() };
    Shown::plain(limits).answer(&headers, app.engine.now())
}

/// Shows the wallet of the account.
#[utoipa::path(get, path = "/wallet", tag = "wallet",
    responses((status = 200, description = "The wallet.", body = WalletShape)))]
pub(crate) async fn wallet(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let wallet = WalletShape::of(&app.engine, caller.account()).await?;
    Ok(Shown::plain(wallet).answer(&headers, app.engine.now()))
}

/// Lists the entries of the wallet, newest first.
#[utoipa::path(get, path = "/wallet/entries", tag = "wallet", params(Paging),
    responses((status = 200, description = "A page of them.", body = Page<EntryShape>)))]
pub(crate) async fn entries(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    Query(paging): Query<Paging>,
) -> Result<Response, Problem> {
    let page = entries_page(&app, caller.account().id, &paging).await?;
    Ok(Shown::plain(page).answer(&headers, app.engine.now()))
}

/// Lists the caller's own prices; without a key, list prices.
#[utoipa::path(get, path = "/prices", tag = "prices", security((), ("bearer" = [])),
    responses((status = 200, description = "All prices.", body = Page<PriceShape>)))]
pub(crate) async fn prices(
    State(app): State<App>,
    caller: Option<Caller>,
    headers: HeaderMap,
) -> Response {
    let now = app.engine.now();
    let contract = caller.and_then(|caller| app.engine.contract_of(caller.account()));
    let policy = app.engine.policy();
    let data = price::prices(&policy, contract.as_deref(), app.engine.currency(), now);
    Shown::plain(Page { data, next_cursor: None }).answer(&headers, now)
}

/// Lists the models that the caller may use; without a key, all.
#[utoipa::path(get, path = "/models", tag = "prices", security((), ("bearer" = [])),
    responses((status = 200, description = "All models.", body = Page<ModelShape>)))]
pub(crate) async fn models(
    State(app): State<App>,
    caller: Option<Caller>,
    headers: HeaderMap,
) -> Response {
    let now = app.engine.now();
    let contract = caller.as_ref().and_then(|caller| app.engine.contract_of(caller.account()));
    let mut data = price::models(&app.engine.policy(), contract.as_deref(), now);
    if let Some(caller) = &caller {
        let state = caller.key.state.load();
        data.retain(|model| state.key.check_model(&model.id).is_ok());
    }
    Shown::plain(Page { data, next_cursor: None }).answer(&headers, now)
}
