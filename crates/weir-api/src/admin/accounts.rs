//! Accounts: made, shown, changed, closed.

use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use utoipa::IntoParams;
use weir_core::id::AccountId;
use weir_engine::accounts::NewAccount;
use weir_engine::record::AccountRecord;

use crate::answer::{Page, Paging, Shown};
use crate::problem::Problem;
use crate::request::{Body, Change, Id, IfMatch, Query};
use crate::settings::App;
use crate::shape::account::{
    AccountChange, AccountShape, AccountStatus, ContractShape, NewAccountShape,
};
use crate::shape::check;
use crate::shape::limit::{LimitShape, LimitsShape};

/// Which accounts.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct AccountsWanted {
    /// How many at most; 50 if left out.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Only the one with this id of the operator's own.
    external_id: Option<String>,
    /// Only those on this plan.
    plan: Option<String>,
    /// Only those of this status.
    #[param(inline)]
    status: Option<AccountStatus>,
}

/// Makes an account.
#[utoipa::path(post, path = "/accounts", tag = "accounts", request_body = NewAccountShape,
    responses((status = 201, description = "It is made.", body = AccountShape)))]
pub(crate) async fn create(
    State(app): State<App>,
    Body(new): Body<NewAccountShape>,
) -> Result<Response, Problem> {
    check::name("name", &new.name)?;
    if let Some(external) = &new.external_id {
        check::name("external_id", external)?;
    }
    if let Some(email) = &new.email {
        check::email(email)?;
    }
    check::metadata(&new.metadata)?;
    let account = NewAccount {
        name: new.name,
        plan: new.plan,
        external_id: new.external_id,
        email: new.email,
        metadata: new.metadata,
    };
    let cell = app.engine.create_account(account).await?;
    let location = format!("/admin/v1/accounts/{}", cell.id);
    Ok(AccountShape::shown(&cell).created(&location, app.engine.now()))
}

/// Lists accounts, oldest first.
#[utoipa::path(get, path = "/accounts", tag = "accounts", params(AccountsWanted),
    responses((status = 200, description = "A page of them.", body = Page<AccountShape>)))]
pub(crate) async fn list(
    State(app): State<App>,
    headers: HeaderMap,
    Query(wanted): Query<AccountsWanted>,
) -> Result<Response, Problem> {
    let paging = Paging { limit: wanted.limit, cursor: wanted.cursor };
    let (limit, after) = paging.read::<AccountId>()?;
    let suspended = wanted.status.map(|status| status == AccountStatus::Suspended);
    let cells = app.engine.accounts_after(after, limit + 1, |record| {
        wanted.external_id.as_ref().is_none_or(|id| record.external_id.as_ref() == Some(id))
            && wanted.plan.as_ref().is_none_or(|plan| *plan == record.plan)
            && suspended.is_none_or(|suspended| suspended == record.suspended)
    });
    let page = Page::of(cells, limit, |cell| cell.id.to_string());
    let page = page.map(|cell| AccountShape::shown(&cell).body);
    Ok(Shown::plain(page).answer(&headers, app.engine.now()))
}

/// Shows an account.
#[utoipa::path(get, path = "/accounts/{id}", tag = "accounts",
    params(("id" = String, Path, description = "The account's id.")),
    responses((status = 200, description = "The account.", body = AccountShape)))]
pub(crate) async fn show(
    State(app): State<App>,
    Id(id): Id<AccountId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let cell = app.engine.account(id).ok_or_else(|| Problem::not_found("account"))?;
    Ok(AccountShape::shown(&cell).answer(&headers, app.engine.now()))
}

/// Changes an account; the next call sees it. What was used of limits stays used.
#[utoipa::path(patch, path = "/accounts/{id}", tag = "accounts", request_body = AccountChange,
    params(("id" = String, Path, description = "The account's id."),
           ("If-Match" = Option<String>, Header, description = "Only if it still has this ETag.")),
    responses((status = 200, description = "The account as it is now.", body = AccountShape)))]
pub(crate) async fn change(
    State(app): State<App>,
    Id(id): Id<AccountId>,
    IfMatch(revision): IfMatch,
    Body(change): Body<AccountChange>,
) -> Result<Response, Problem> {
    checked(&change)?;
    let mut change = change;
    let contract = std::mem::take(&mut change.contract).try_map(ContractShape::kept)?;
    let apply = |record: &mut AccountRecord| {
        contract.apply(&mut record.contract);
        apply(change, record);
        Ok(())
    };
    let cell = app.engine.change_account(id, revision, apply).await?;
    Ok(AccountShape::shown(&cell).changed(app.engine.now()))
}

/// Closes an account: its keys are invalid at once, its ledger stays.
#[utoipa::path(delete, path = "/accounts/{id}", tag = "accounts",
    params(("id" = String, Path, description = "The account's id."),
           ("If-Match" = Option<String>, Header, description = "Only if it still has this ETag.")),
    responses((status = 204, description = "It is closed.")))]
pub(crate) async fn close(
    State(app): State<App>,
    Id(id): Id<AccountId>,
    IfMatch(revision): IfMatch,
) -> Result<StatusCode, Problem> {
    app.engine.delete_account(id, revision).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Shows where an account's limits stand.
#[utoipa::path(get, path = "/accounts/{id}/limits", tag = "accounts",
    params(("id" = String, Path, description = "The account's id.")),
    responses((status = 200, description = "Its limits.", body = LimitsShape)))]
pub(crate) async fn limits(
    State(app): State<App>,
    Id(id): Id<AccountId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let cell = app.engine.account(id).ok_or_else(|| Problem::not_found("account"))?;
    let views = app.engine.limits_of(&cell, None);
    let limits = LimitsShape { limits: views.iter().map(LimitShape::of).collect() };
    Ok(Shown::plain(limits).answer(&headers, app.engine.now()))
}

fn checked(change: &AccountChange) -> Result<(), Problem> {
    if let Some(name) = &change.name {
        check::name("name", name)?;
    }
    if let Change::To(external) = &change.external_id {
        check::name("external_id", external)?;
    }
    if let Change::To(email) = &change.email {
        check::email(email)?;
    }
    if let Some(metadata) = &change.metadata {
        check::metadata(metadata)?;
    }
    check::members("limits", change.limits.as_ref().map_or(0, |limits| limits.len()))
}

fn apply(change: AccountChange, record: &mut AccountRecord) {
    if let Some(name) = change.name {
        record.name = name;
    }
    if let Some(plan) = change.plan {
        record.plan = plan;
    }
    if let Some(status) = change.status {
        record.suspended = status == AccountStatus::Suspended;
    }
    change.external_id.apply(&mut record.external_id);
    change.email.apply(&mut record.email);
    if let Some(metadata) = change.metadata {
        record.metadata = metadata;
    }
    for (name, value) in change.limits.into_iter().flatten() {
        if value.is_null() {
            record.limits.remove(&name);
        } else {
            record.limits.insert(name, value);
        }
    }
}
