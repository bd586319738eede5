//! Admin keys for the operator's people, by role. For owners alone.

use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use weir_core::id::AdminKeyId;
use weir_engine::operator::{AdminKeyEntry, Role};

use crate::answer::{KeptBody, Page, Paging, Shown};
use crate::problem::Problem;
use crate::request::{Body, Id, Query};
use crate::settings::App;
use crate::shape::check;
use crate::time::rfc3339;

/// A key of the admin API.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AdminKey)]
pub(crate) struct AdminKeyShape {
    /// Its id.
    id: String,
    /// What people call it.
    name: String,
    /// What its holder may do.
    role: RoleShape,
    /// Beginning and end of its secret.
    hint: String,
    /// When it was made.
    #[schema(format = DateTime)]
    created_at: String,
}

/// An admin key that was just made.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MadeAdminKey)]
pub(crate) struct MadeAdminKeyShape {
    /// The key.
    #[serde(flatten)]
    key: AdminKeyShape,
    /// Its secret, shown in this answer and never again; `null` where an `Idempotency-Key` is
    /// repeated.
    #[schema(required = true)]
    secret: Option<String>,
}

/// What the holder of an admin key may do.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[schema(as = Role)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RoleShape {
    /// Look at everything.
    Viewer,
    /// That, and change everything but admin keys and the configuration.
    Operator,
    /// Everything.
    Owner,
}

/// What a new admin key shall be.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = NewAdminKey)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewAdminKeyShape {
    /// What people call it: whose it is.
    #[schema(min_length = 1, max_length = 200)]
    name: String,
    /// What its holder may do.
    role: RoleShape,
}

/// Makes an admin key. Its secret is shown in this answer and never again.
#[utoipa::path(post, path = "/admin-keys", tag = "admin_keys", request_body = NewAdminKeyShape,
    responses((status = 201, description = "It is made.", body = MadeAdminKeyShape)))]
pub(crate) async fn create(
    State(app): State<App>,
    Body(new): Body<NewAdminKeyShape>,
) -> Result<Response, Problem> {
    check::name("name", &new.name)?;
    let role = match new.role {
        RoleShape::Viewer => Role::Viewer,
        RoleShape::Operator => Role::Operator,
        RoleShape::Owner => Role::Owner,
    };
    let (entry, secret) = app.engine.create_admin_key(new.name, role).await?;
    let made = |secret| MadeAdminKeyShape { key: AdminKeyShape::of(&entry), secret };
    let kept = serde_json::to_vec(&made(None)).map_err(|why| Problem::internal(&why))?;
    let location = format!("/admin/v1/admin-keys/{}", entry.id);
    let mut response = Shown::plain(made(Some(secret))).created(&location, app.engine.now());
    response.extensions_mut().insert(KeptBody(kept));
    Ok(response)
}

/// Lists the admin keys, oldest first; the owner's own of the configuration is not among them.
#[utoipa::path(get, path = "/admin-keys", tag = "admin_keys", params(Paging),
    responses((status = 200, description = "A page of them.", body = Page<AdminKeyShape>)))]
pub(crate) async fn list(
    State(app): State<App>,
    headers: HeaderMap,
    Query(paging): Query<Paging>,
) -> Result<Response, Problem> {
    let (limit, after) = paging.read::<AdminKeyId>()?;
    let keys = app.engine.admin_keys().into_iter();
    let keys = keys.filter(|key| after.is_none_or(|after| key.id > after)).take(limit + 1);
    let page = Page::of(keys.collect(), limit, |key| key.id.to_string());
    let page = page.map(|key| AdminKeyShape::of(&key));
    Ok(Shown::plain(page).answer(&headers, app.engine.now()))
}

/// Withdraws an admin key at once.
#[utoipa::path(delete, path = "/admin-keys/{id}", tag = "admin_keys",
    params(("id" = String, Path, description = "The key's id.")),
    responses((status = 204, description = "It is withdrawn.")))]
pub(crate) async fn revoke(
    State(app): State<App>,
    Id(id): Id<AdminKeyId>,
) -> Result<StatusCode, Problem> {
    app.engine.revoke_admin_key(id).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl AdminKeyShape {
    fn of(entry: &AdminKeyEntry) -> Self {
        Self {
            id: entry.id.to_string(),
            name: entry.record.name.clone(),
            role: match entry.record.role {
                Role::Viewer => RoleShape::Viewer,
                Role::Operator => RoleShape::Operator,
                Role::Owner => RoleShape::Owner,
            },
            hint: entry.record.hint.clone(),
            created_at: rfc3339(entry.created_at()),
        }
    }
}
