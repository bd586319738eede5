//! Keys: made, imported, shown, changed, rotated, withdrawn.

use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use weir_core::id::{AccountId, KeyId};
use weir_core::time::{Span, Timestamp};
use weir_engine::cell::AccountCell;
use weir_engine::keys::MadeKey;
use weir_engine::record::KeyRecord;

use crate::answer::{KeptBody, Page, Paging, Shown};
use crate::problem::Problem;
use crate::request::{Body, Change, Id, IfMatch, Query};
use crate::settings::App;
use crate::shape::check;
use crate::shape::key::{
    KeyChange, KeyShape, MadeKeyShape, NewKeyShape, Rotation, SpendCapShape, future,
};
use crate::time::parse_span;

/// Makes a key of an account. Its secret is shown in this answer and never again.
#[utoipa::path(post, path = "/accounts/{id}/keys", tag = "keys", request_body = NewKeyShape,
    params(("id" = String, Path, description = "The account's id.")),
    responses((status = 201, description = "It is made.", body = MadeKeyShape)))]
pub(crate) async fn create(
    State(app): State<App>,
    Id(id): Id<AccountId>,
    Body(new): Body<NewKeyShape>,
) -> Result<Response, Problem> {
    let wanted = new.wanted(app.engine.now())?;
    let made = app.engine.create_key(id, wanted).await?;
    Ok(shown_once(&app, made, "/admin/v1/keys"))
}

/// Lists the keys of an account, oldest first, withdrawn ones included.
#[utoipa::path(get, path = "/accounts/{id}/keys", tag = "keys",
    params(("id" = String, Path, description = "The account's id."), Paging),
    responses((status = 200, description = "A page of them.", body = Page<KeyShape>)))]
pub(crate) async fn list(
    State(app): State<App>,
    Id(id): Id<AccountId>,
    headers: HeaderMap,
    Query(paging): Query<Paging>,
) -> Result<Response, Problem> {
    let cell = app.engine.account(id).ok_or_else(|| Problem::not_found("account"))?;
    page(&app, &cell, &paging, &headers)
}

/// A page of an account's keys.
pub(crate) fn page(
    app: &App,
    cell: &AccountCell,
    paging: &Paging,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let (limit, after) = paging.read::<KeyId>()?;
    let now = app.engine.now();
    let keys = app.engine.keys_of(cell).into_iter();
    let keys = keys.filter(|key| after.is_none_or(|after| key.id > after)).take(limit + 1);
    let page = Page::of(keys.collect(), limit, |key| key.id.to_string());
    let page = page.map(|key| KeyShape::shown(&key, now).body);
    Ok(Shown::plain(page).answer(headers, now))
}

/// Shows a key, without its secret.
#[utoipa::path(get, path = "/keys/{id}", tag = "keys",
    params(("id" = String, Path, description = "The key's id.")),
    responses((status = 200, description = "The key.", body = KeyShape)))]
pub(crate) async fn show(
    State(app): State<App>,
    Id(id): Id<KeyId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let key = app.engine.key(id).ok_or_else(|| Problem::not_found("key"))?;
    let now = app.engine.now();
    Ok(KeyShape::shown(&key, now).answer(&headers, now))
}

/// Changes what a key may do; the next call sees it.
#[utoipa::path(patch, path = "/keys/{id}", tag = "keys", request_body = KeyChange,
    params(("id" = String, Path, description = "The key's id."),
           ("If-Match" = Option<String>, Header, description = "Only if it still has this ETag.")),
    responses((status = 200, description = "The key as it is now.", body = KeyShape)))]
pub(crate) async fn change(
    State(app): State<App>,
    Id(id): Id<KeyId>,
    IfMatch(revision): IfMatch,
    Body(change): Body<KeyChange>,
) -> Result<Response, Problem> {
    let now = app.engine.now();
    checked(&change)?;
    let expires_at = change.expires_at.clone().try_map(|at| future(&at, now))?;
    let apply = |record: &mut KeyRecord| {
        apply(change, expires_at, record);
        Ok(())
    };
    let key = app.engine.change_key(id, revision, apply).await?;
    Ok(KeyShape::shown(&key, now).changed(now))
}

/// Makes a key that takes the place of another, which stays valid for the overlap.
#[utoipa::path(post, path = "/keys/{id}/rotate", tag = "keys", request_body = Rotation,
    params(("id" = String, Path, description = "The old key's id.")),
    responses((status = 201, description = "The new key.", body = MadeKeyShape)))]
pub(crate) async fn rotate(
    State(app): State<App>,
    Id(id): Id<KeyId>,
    Body(rotation): Body<Rotation>,
) -> Result<Response, Problem> {
    let overlap = overlap(&rotation)?;
    let made = app.engine.rotate_key(id, overlap).await?;
    Ok(shown_once(&app, made, "/admin/v1/keys"))
}

/// Withdraws a key at once.
#[utoipa::path(delete, path = "/keys/{id}", tag = "keys",
    params(("id" = String, Path, description = "The key's id."),
           ("If-Match" = Option<String>, Header, description = "Only if it still has this ETag.")),
    responses((status = 204, description = "It is withdrawn.")))]
pub(crate) async fn revoke(
    State(app): State<App>,
    Id(id): Id<KeyId>,
    IfMatch(revision): IfMatch,
) -> Result<StatusCode, Problem> {
    app.engine.revoke_key(id, revision).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The one answer that has the secret in it; what is kept for a repetition has not.
pub(crate) fn shown_once(app: &App, made: MadeKey, base: &str) -> Response {
    let now = app.engine.now();
    let answer = |secret| {
        let shown = KeyShape::shown(&made.key, now);
        let body = MadeKeyShape { key: shown.body, secret };
        Shown { body, revision: shown.revision, changed_at: shown.changed_at }
    };
    let location = format!("{base}/{}", made.key.id);
    let kept = serde_json::to_vec(&answer(None).body).unwrap_or_default();
    let mut response = answer(made.secret).created(&location, now);
    response.extensions_mut().insert(KeptBody(kept));
    response
}

/// How long the old key stays valid.
pub(crate) fn overlap(rotation: &Rotation) -> Result<Span, Problem> {
    let overlap = parse_span(&rotation.overlap).map_err(|why| Problem::invalid("overlap", why))?;
    if overlap > OVERLAP_MAX {
        return Err(Problem::invalid("overlap", "it may be at most \"90d\""));
    }
    Ok(overlap)
}

fn checked(change: &KeyChange) -> Result<(), Problem> {
    if let Some(name) = &change.name {
        check::name("name", name)?;
    }
    let lists = [("scopes", &change.scopes), ("models", &change.models)];
    for (member, list) in lists.into_iter().chain([("allowed_ips", &change.allowed_ips)]) {
        if let Change::To(list) = list {
            check::list(member, Some(list))?;
        }
    }
    check::members("limits", change.limits.as_ref().map_or(0, |limits| limits.len()))
}

fn apply(change: KeyChange, expires_at: Change<Timestamp>, record: &mut KeyRecord) {
    if let Some(name) = change.name {
        record.name = name;
    }
    change.scopes.apply(&mut record.scopes);
    change.models.apply(&mut record.models);
    change.allowed_ips.apply(&mut record.allowed_ips);
    change.urgency.apply(&mut record.urgency);
    match change.spend_cap {
        Change::Absent => {}
        Change::Null => record.spend_cap = None,
        Change::To(cap) => record.spend_cap = Some(SpendCapShape::record(cap)),
    }
    match expires_at {
        Change::Absent => {}
        Change::Null => record.expires_at_us = None,
        Change::To(at) => record.expires_at_us = Some(at.micros()),
    }
    for (name, value) in change.limits.into_iter().flatten() {
        if value.is_null() {
            record.limits.remove(&name);
        } else {
            record.limits.insert(name, value);
        }
    }
}

const OVERLAP_MAX: Span = Span::from_secs(90 * 86_400);
