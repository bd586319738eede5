//! Who asks: the operator by the admin key, a customer by a key of theirs.

use std::sync::Arc;

use axum::extract::{FromRequestParts, OptionalFromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{Extensions, HeaderMap, HeaderName, Method};
use subtle::ConstantTimeEq;
use weir_core::id::WebhookId;
use weir_core::key::{Key, KeyType};
use weir_engine::cell::{AccountCell, KeyCell};
use weir_engine::engine::Unidentified;
use weir_engine::operator::Role;
use weir_engine::secret::SecretDigest;
use weir_engine::trail::{Actor, acting};
use weir_engine::webhook::Webhook;
use weir_wire::error::Code;

use crate::allowance::{self, Standing};
use crate::hooks::Reach;
use crate::permit::role_needed;
use crate::problem::Problem;
use crate::request::Id;
use crate::settings::{App, ClientAddress};
use crate::shell::RequestId;

/// A customer who is known by a valid key.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) key: Arc<KeyCell>,
    request_id: String,
}

/// Stands in a request whose admin key was looked at.
#[derive(Clone, Copy, Debug)]
struct Operator;

impl Caller {
    /// Whose key it is. Everything that a customer sees or does is of this account.
    pub(crate) fn account(&self) -> &Arc<AccountCell> {
        &self.key.account
    }

    /// As whom changes are written down.
    fn actor(&self) -> Actor {
        Actor { name: self.key.id.to_string(), request_id: self.request_id.clone() }
    }
}

/// Lets nothing of the admin API pass without an admin key whose role allows it.
pub(crate) async fn admin_only(
    State(app): State<App>,
    mut request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path();
    // A payment provider has no admin key: it signs what it sends.
    if !path.starts_with("/admin/") || path == "/admin/v1/payments/stripe" {
        return next.run(request).await;
    }
    let allowed = check_admin(&app, request.headers())
        .and_then(|(name, role)| check_role(role, request.method(), path).map(|()| name));
    match allowed {
        Ok(name) => {
            let request_id = request_id(request.extensions());
            request.extensions_mut().insert(Operator);
            acting(Actor { name, request_id }, next.run(request)).await
        }
        Err(problem) => problem.into_response(),
    }
}

/// Writes down as a customer's whatever their request changes.
pub(crate) async fn as_caller(State(app): State<App>, request: Request, next: Next) -> Response {
    if request.method().is_safe() {
        return next.run(request).await;
    }
    let (mut parts, body) = request.into_parts();
    let caller = match identify(&mut parts, &app) {
        Ok(caller) => caller,
        Err(problem) => return problem.into_response(),
    };
    let answer = next.run(Request::from_parts(parts, body));
    match caller {
        Some(caller) => acting(caller.actor(), answer).await,
        None => answer.await,
    }
}

fn check_admin(app: &App, headers: &HeaderMap) -> Result<(String, Role), Problem> {
    let Some(secret) = secret(headers, &[AUTHORIZATION]) else {
        let detail = "No admin key was sent. Send it as `Authorization: Bearer <admin key>`.";
        return Err(Problem::new(Code::MissingKey, detail));
    };
    let sent = SecretDigest::of(secret.as_bytes());
    // Digests of random secrets could be compared in any way; this one leaves nothing to discuss.
    if bool::from(sent.0.ct_eq(&app.settings.admin_key.0)) {
        return Ok((OWNER.to_owned(), Role::Owner));
    }
    if let Some(known) = app.engine.admin_key(&sent) {
        return Ok((known.id.to_string(), known.record.role));
    }
    let detail = if app.engine.identify(secret).is_some() {
        "This is a customer's key. The admin API takes admin keys only."
    } else {
        "This is not an admin key."
    };
    Err(Problem::new(Code::InvalidKey, detail))
}

fn check_role(role: Role, method: &Method, path: &str) -> Result<(), Problem> {
    let (needed, name) = role_needed(method, path);
    if role >= needed {
        return Ok(());
    }
    let detail = format!("This takes an admin key of the role `{name}`.");
    Err(Problem::new(Code::Forbidden, detail))
}

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let missing = || {
            let detail = "No API key was sent. Send yours as `Authorization: Bearer <key>`.";
            Problem::new(Code::MissingKey, detail)
        };
        identify(parts, app)?.ok_or_else(missing)
    }
}

impl Caller {
    /// A key that is bound to scopes, as service keys always are, needs this one.
    pub(crate) fn needs_scope(&self, scope: &str) -> Result<(), Problem> {
        let state = self.key.state.load();
        let scopes = state.key.scopes.as_deref();
        if scopes.is_none_or(|scopes| scopes.iter().any(|named| &**named == scope)) {
            return Ok(());
        }
        let detail = format!("This key lacks the scope `{scope}`.");
        Err(Problem::new(Code::InsufficientScope, detail))
    }
}

/// The webhook in the path, which whoever asks may see and, where something is to change, change:
/// a customer one of their own, the operator any.
#[derive(Debug)]
pub(crate) struct Found(pub(crate) Arc<Webhook>);

impl FromRequestParts<App> for Found {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let reach = match parts.extensions.get::<Operator>() {
            Some(Operator) => Reach::All,
            None => {
                let caller = <Caller as FromRequestParts<App>>::from_request_parts(parts, app);
                let caller = caller.await?;
                if !parts.method.is_safe() {
                    caller.needs_scope(WEBHOOKS)?;
                }
                Reach::Account(caller.account().id)
            }
        };
        let Id(id) = Id::<WebhookId>::from_request_parts(parts, app).await?;
        reach.find(app, id).map(Self)
    }
}

impl OptionalFromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Option<Self>, Problem> {
        identify(parts, app)
    }
}

/// The customer of a request, if it names one; a key that is named must be valid.
pub(crate) fn identify(parts: &mut Parts, app: &App) -> Result<Option<Caller>, Problem> {
    if let Some(known) = parts.extensions.get::<Caller>() {
        return Ok(Some(known.clone()));
    }
    let Some(secret) = secret(&parts.headers, &app.settings.auth_headers) else {
        return Ok(None);
    };
    let address = parts.extensions.get::<ClientAddress>().map(|address| address.0);
    let key = match address {
        Some(address) => app.engine.identify_from(secret, address)?,
        None => app.engine.identify(secret).ok_or(Unidentified::Unknown)?,
    };
    let now = app.engine.now();
    let state = key.state.load();
    state.key.check_valid(now)?;
    if state.key.allowed_ips.is_some() {
        let forbidden = address.is_none_or(|address| !is_allowed(&state.key, address));
        if forbidden {
            let detail = "This key may not be used from this address.";
            return Err(Problem::new(Code::AddressForbidden, detail));
        }
    }
    if state.key.kind == KeyType::Read && !parts.method.is_safe() {
        let detail = format!("This is a read key, and {} is not a reading method.", parts.method);
        return Err(Problem::new(Code::KeyTypeForbidden, detail));
    }
    if key.account.record.load().suspended && !parts.method.is_safe() {
        let detail = "The account of this key is suspended.";
        return Err(Problem::new(Code::AccountSuspended, detail));
    }
    drop(state);
    let (standing, outcome) = app.allowances.take(key.id, now);
    if let Some(noted) = parts.extensions.get::<Standing>() {
        noted.note(standing);
    }
    if let Err(wait) = outcome {
        let detail = "This key asks too often. These requests are free and have a limit of their \
                      own, apart from the plan.";
        return Err(Problem::new(Code::RateLimitExceeded, detail)
            .fact("violated-policies", vec![allowance::NAME])
            .fact("limit", allowance::told(&standing))
            .retry(wait));
    }
    let caller = Caller { key, request_id: request_id(&parts.extensions) };
    parts.extensions.insert(caller.clone());
    Ok(Some(caller))
}

fn is_allowed(key: &Key, address: std::net::IpAddr) -> bool {
    let blocks = key.allowed_ips.as_deref();
    blocks.is_none_or(|blocks| blocks.iter().any(|block| block.contains(address)))
}

fn request_id(extensions: &Extensions) -> String {
    extensions.get::<RequestId>().map(|id| id.0.clone()).unwrap_or_default()
}

/// The secret in the first of `names` that is present; `Bearer ` before it is optional.
fn secret<'a>(headers: &'a HeaderMap, names: &[HeaderName]) -> Option<&'a str> {
    let value = names.iter().find_map(|name| headers.get(name))?;
    let text = value.to_str().unwrap_or_default().trim();
    let scheme = text.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("bearer "));
    Some(scheme.map_or(text, |_| text[7..].trim_start()))
}

/// The scope of a key that may change webhooks.
pub(crate) const WEBHOOKS: &str = "webhooks";
/// The operator's own key, in the list of changes.
const OWNER: &str = "admin";
