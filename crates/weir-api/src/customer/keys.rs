//! A customer's own keys. A key may make others only if the scope `accounts` is named in it, and
//! never one that may do more than itself.

use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use weir_core::id::KeyId;
use weir_core::key::{Key, KeyType, Urgency};
use weir_core::limit::Terms;
use weir_core::names::LimitNames;
use weir_core::time::Timestamp;
use weir_engine::cell::{KeyCell, KeyState};
use weir_engine::keys::NewKey;
use weir_engine::own::key_limit;
use weir_wire::error::Code;

use crate::admin::{keys_page, overlap, shown_once};
use crate::answer::{Page, Paging};
use crate::auth::Caller;
use crate::problem::Problem;
use crate::request::{Body, Id, Query};
use crate::settings::App;
use crate::shape::key::{KeyShape, MadeKeyShape, NewKeyShape, Rotation};

/// Makes a key of the account that may do no more than the one that asks: what is left out is as
/// with that one. Its secret is shown in this answer and never again.
#[utoipa::path(post, path = "/keys", tag = "keys", request_body = NewKeyShape,
    responses((status = 201, description = "It is made.", body = MadeKeyShape),
              (status = 403, description = "insufficient_scope, forbidden")))]
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    Body(new): Body<NewKeyShape>,
) -> Result<Response, Problem> {
    may_manage(&caller)?;
    let mut wanted = new.wanted(app.engine.now())?;
    weakened(&mut wanted, &caller.key.state.load())?;
    within_plan(&app, &caller.account().record.load().plan, &wanted)?;
    if app.engine.keys_of(caller.account()).len() >= KEYS_MAX {
        let detail = format!("The account has {KEYS_MAX} keys already, which is the most.");
        return Err(Problem::new(Code::Conflict, detail));
    }
    let made = app.engine.create_key(caller.account().id, wanted).await?;
    Ok(shown_once(&app, made, &format!("{}/v1/keys", app.settings.api_prefix)))
}

/// Lists the account's keys, oldest first, withdrawn ones included.
#[utoipa::path(get, path = "/keys", tag = "keys", params(Paging),
    responses((status = 200, description = "A page of them.", body = Page<KeyShape>),
              (status = 403, description = "insufficient_scope, forbidden")))]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    Query(paging): Query<Paging>,
) -> Result<Response, Problem> {
    may_manage(&caller)?;
    keys_page(&app, caller.account(), &paging, &headers)
}

/// Makes a key that takes the place of another of the account, which stays valid for the overlap.
#[utoipa::path(post, path = "/keys/{id}/rotate", tag = "keys", request_body = Rotation,
    params(("id" = String, Path, description = "The old key's id.")),
    responses((status = 201, description = "The new key.", body = MadeKeyShape),
              (status = 403, description = "insufficient_scope, forbidden")))]
pub(crate) async fn rotate(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<KeyId>,
    Body(rotation): Body<Rotation>,
) -> Result<Response, Problem> {
    may_manage(&caller)?;
    let key = own_key(&app, &caller, id)?;
    let overlap = overlap(&rotation)?;
    let mine = caller.key.state.load_full();
    // A new key begins with nothing used, which would lift its own bounds.
    if !mine.own.is_empty() {
        return Err(bounded());
    }
    // Its new secret would be in the hands of whoever holds this key.
    is_no_stronger(&key.state.load().key, &mine.key)?;
    let made = app.engine.rotate_key(id, overlap).await?;
    Ok(shown_once(&app, made, &format!("{}/v1/keys", app.settings.api_prefix)))
}

/// Withdraws a key of the account at once.
#[utoipa::path(delete, path = "/keys/{id}", tag = "keys",
    params(("id" = String, Path, description = "The key's id.")),
    responses((status = 204, description = "It is withdrawn."),
              (status = 403, description = "insufficient_scope, forbidden")))]
pub(crate) async fn revoke(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<KeyId>,
) -> Result<StatusCode, Problem> {
    may_manage(&caller)?;
    own_key(&app, &caller, id)?;
    app.engine.revoke_key(id, None).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The scope must be named: a key that may do everything by default may not do this.
fn may_manage(caller: &Caller) -> Result<(), Problem> {
    let state = caller.key.state.load();
    let named = state.key.scopes.as_deref().unwrap_or_default();
    if named.iter().any(|scope| &**scope == SCOPE) {
        return Ok(());
    }
    let detail = format!("Keys are managed by a key whose scopes name `{SCOPE}`.");
    Err(Problem::new(Code::InsufficientScope, detail))
}

fn own_key(app: &App, caller: &Caller, id: KeyId) -> Result<std::sync::Arc<KeyCell>, Problem> {
    let key = app.engine.key(id).filter(|key| key.account.id == caller.account().id);
    key.ok_or_else(|| Problem::not_found("key"))
}

/// Gives a new key what the maker has where it says nothing, and refuses what the maker has not.
fn weakened(wanted: &mut NewKey, maker: &KeyState) -> Result<(), Problem> {
    if wanted.secret_sha256.is_some() {
        let why = "only the operator imports keys";
        return Err(Problem::invalid("secret_sha256", why));
    }
    // Many keys with a bound each would be no bound any more.
    if !maker.own.is_empty() {
        return Err(bounded());
    }
    let record = &maker.record;
    inherit("scopes", &mut wanted.scopes, record.scopes.as_ref())?;
    inherit("models", &mut wanted.models, record.models.as_ref())?;
    inherit("allowed_ips", &mut wanted.allowed_ips, record.allowed_ips.as_ref())?;
    let ends = maker.key.expires_at.into_iter().chain(maker.key.revoked_at).min();
    let expires_at = wanted.expires_at.or(ends);
    if let (Some(wanted), Some(ends)) = (expires_at, ends)
        && wanted > ends
    {
        return Err(stronger("expires_at", "it lasts longer than this key"));
    }
    wanted.expires_at = expires_at;
    let kind = KeyType::by_name(&wanted.kind);
    if !kind.is_some_and(|kind| is_kind_of(kind, maker.key.kind)) {
        return Err(stronger("type", "it may do more than this key"));
    }
    let urgency = wanted.urgency.clone().unwrap_or_else(|| "normal".to_owned());
    if rank(&urgency) > maker.key.urgency.max(Urgency::Normal) {
        return Err(stronger("urgency", "it is more urgent than this key"));
    }
    if maker.key.urgency == Urgency::Low {
        wanted.urgency = Some("low".to_owned());
    }
    Ok(())
}

/// A key's own limit takes the place of the one that the plan has for keys of its type, so that it
/// may only be a lower one.
fn within_plan(app: &App, plan: &str, wanted: &NewKey) -> Result<(), Problem> {
    let policy = app.engine.policy();
    let kind = KeyType::by_name(&wanted.kind);
    let plans = policy.plan(plan).zip(kind).and_then(|(plan, kind)| plan.key_limits.get(&kind));
    for bound in plans.into_iter().flatten() {
        let name = bound.name.strip_prefix("key:").unwrap_or(bound.name);
        let Some(value) = wanted.limits.get(name) else { continue };
        let own = key_limit(name, value, &policy, &mut LimitNames::default());
        let own = own.map_err(|wrong| Problem::invalid(&format!("limits.{name}"), &wrong.why))?;
        if !is_within(own.rule.terms(), bound.rule.terms()) {
            let why = format!("the plan has a lower `{name}` for such keys, or another kind of it");
            return Err(stronger("limits", &why));
        }
    }
    Ok(())
}

fn is_within(own: &Terms, bound: &Terms) -> bool {
    let Some(most) = bound.quota else { return true };
    own.quota.is_some_and(|quota| quota <= most)
        && Terms { quota: bound.quota, ..own.clone() } == *bound
}

/// A list that bounds the maker bounds what it makes.
fn inherit(
    member: &str,
    wanted: &mut Option<Vec<String>>,
    of_maker: Option<&Vec<String>>,
) -> Result<(), Problem> {
    let Some(of_maker) = of_maker else { return Ok(()) };
    match wanted {
        None => *wanted = Some(of_maker.clone()),
        Some(wanted) => {
            if let Some(more) = wanted.iter().find(|one| !of_maker.contains(one)) {
                return Err(stronger(member, &format!("this key has no `{more}`")));
            }
        }
    }
    Ok(())
}

/// Whether a key that exists may do nothing that another may not.
fn is_no_stronger(key: &Key, than: &Key) -> Result<(), Problem> {
    fn within<T: PartialEq>(one: Option<&[T]>, bounds: Option<&[T]>) -> bool {
        match (one, bounds) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(one), Some(bounds)) => one.iter().all(|item| bounds.contains(item)),
        }
    }
    let end = |key: &Key| key.expires_at.unwrap_or(Timestamp::MAX);
    let weaker = within(key.scopes.as_deref(), than.scopes.as_deref())
        && within(key.models.as_deref(), than.models.as_deref())
        && within(key.allowed_ips.as_deref(), than.allowed_ips.as_deref())
        && is_kind_of(key.kind, than.kind)
        && key.urgency <= than.urgency
        && end(key) <= end(than);
    if weaker {
        return Ok(());
    }
    let detail = "That key may do more than the one that asks, so it cannot be rotated by it.";
    Err(Problem::new(Code::Forbidden, detail))
}

fn is_kind_of(kind: KeyType, maker: KeyType) -> bool {
    match maker {
        KeyType::Read => kind == KeyType::Read,
        // Within the maker's scopes a service key may do less than a read_write key.
        KeyType::ReadWrite => true,
        KeyType::Service => kind == KeyType::Service,
    }
}

fn rank(urgency: &str) -> Urgency {
    match urgency {
        "low" => Urgency::Low,
        "normal" => Urgency::Normal,
        "high" => Urgency::High,
        _ => Urgency::Critical,
    }
}

fn bounded() -> Problem {
    let detail = "This key has limits of its own, so it cannot make keys.";
    Problem::new(Code::Forbidden, detail)
}

fn stronger(member: &str, why: &str) -> Problem {
    let detail = format!("A key cannot make a stronger one: `{member}`: {why}.");
    Problem::new(Code::Forbidden, detail).param(member)
}

const SCOPE: &str = "accounts";
const KEYS_MAX: usize = 1_000;
