//! `Idempotency-Key` on the API's own POSTs: a repeated request takes effect once.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, ETAG, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use weir_core::id::AccountId;
use weir_core::time::Span;
use weir_engine::idempotency::{Claim, Claimed, Kept};
use weir_wire::error::Code;
use weir_wire::header as ours;

use crate::answer::KeptBody;
use crate::auth::identify;
use crate::once::KeptWithEffect;
use crate::permit;
use crate::problem::Problem;
use crate::request::read_body;
use crate::settings::App;

/// Gives the first answer again to the operator's POST with a known `Idempotency-Key`.
pub(crate) async fn once(State(app): State<App>, request: Request, next: Next) -> Response {
    if !is_repeatable(&request) {
        return next.run(request).await;
    }
    // Account 0 does not exist: it stands for the operator.
    match answer_once(&app, AccountId(0), request, next).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    }
}

/// The same for customers, each account with keys of its own.
pub(crate) async fn once_each(State(app): State<App>, request: Request, next: Next) -> Response {
    if !is_repeatable(&request) {
        return next.run(request).await;
    }
    let (mut parts, body) = request.into_parts();
    let caller = match identify(&mut parts, &app) {
        Ok(caller) => caller,
        Err(problem) => return problem.into_response(),
    };
    let request = Request::from_parts(parts, body);
    let Some(caller) = caller else { return next.run(request).await };
    match answer_once(&app, caller.account().id, request, next).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    }
}

fn is_repeatable(request: &Request) -> bool {
    request.method() == Method::POST
        && request.headers().contains_key(ours::IDEMPOTENCY_KEY)
        && permit::is_repeatable(request.uri().path())
}

async fn answer_once(
    app: &App,
    owner: AccountId,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let key = idempotency_key(request.headers())?;
    let (parts, body) = request.into_parts();
    let bytes = read_body(Request::new(body)).await?;
    let mut digest = Sha256::new();
    for part in [parts.method.as_str(), parts.uri.path(), parts.uri.query().unwrap_or_default()] {
        digest.update(part);
        digest.update([0]);
    }
    digest.update(&bytes);
    let claim = match app.engine.claim(owner, &key, &digest.finalize()).await? {
        Claimed::Fresh(claim) => claim,
        Claimed::Done(kept) => return Ok(again(kept)),
        Claimed::Running => {
            let detail = "A request with this Idempotency-Key is still running.";
            return Err(Problem::new(Code::IdempotencyInProgress, detail).retry(Span::SECOND));
        }
        Claimed::Mismatch => {
            let detail = "This Idempotency-Key was used for another request.";
            return Err(Problem::new(Code::IdempotencyMismatch, detail));
        }
    };
    let mut request = Request::from_parts(parts, bytes.into());
    request.extensions_mut().insert(claim.clone());
    let response = next.run(request).await;
    Ok(keep(app, claim, response).await)
}

/// Keeps a success, unless its effect kept it already; whatever failed has changed nothing and may
/// be tried again.
async fn keep(app: &App, claim: Claim, response: Response) -> Response {
    if response.extensions().get::<KeptWithEffect>().is_some() {
        return response;
    }
    if !response.status().is_success() {
        if let Err(error) = app.engine.release(claim).await {
            tracing::warn!(%error, "an idempotency key could not be freed");
        }
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let bytes = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return Problem::internal(&error).into_response(),
    };
    let kept_body = match parts.extensions.remove::<KeptBody>() {
        Some(instead) => instead.0,
        None => bytes.to_vec(),
    };
    let mut headers = Map::new();
    for name in [CONTENT_TYPE, LOCATION, ETAG] {
        if let Some(value) = parts.headers.get(&name).and_then(|value| value.to_str().ok()) {
            headers.insert(name.to_string(), Value::from(value));
        }
    }
    let kept = Kept { status: parts.status.as_u16(), headers, body: Some(kept_body) };
    if let Err(error) = app.engine.keep_answer(claim, kept).await {
        tracing::warn!(%error, "an answer could not be kept under its idempotency key");
    }
    Response::from_parts(parts, bytes.into())
}

fn again(kept: Kept) -> Response {
    let mut response = Response::new(kept.body.unwrap_or_default().into());
    *response.status_mut() = StatusCode::from_u16(kept.status).unwrap_or(StatusCode::OK);
    for (name, value) in &kept.headers {
        let name = HeaderName::try_from(name.as_str());
        let value = HeaderValue::from_str(value.as_str().unwrap_or_default());
        if let (Ok(name), Ok(value)) = (name, value) {
            response.headers_mut().insert(name, value);
        }
    }
    let replayed = HeaderName::from_static(ours::IDEMPOTENCY_REPLAYED);
    response.headers_mut().insert(replayed, HeaderValue::from_static("true"));
    response
}

/// The key, a quoted string (draft-ietf-httpapi-idempotency-key-header-07) or bare as with Stripe.
fn idempotency_key(headers: &HeaderMap) -> Result<String, Problem> {
    let mut values = headers.get_all(ours::IDEMPOTENCY_KEY).iter();
    let text = values.next().and_then(|value| value.to_str().ok()).unwrap_or_default().trim();
    let bare = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    if values.next().is_some() || !(1..=KEY_MAX).contains(&bare.len()) || bare.contains('"') {
        let why = format!("it must be one string of 1 to {KEY_MAX} visible ASCII characters");
        return Err(Problem::invalid("Idempotency-Key", why));
    }
    Ok(format!("api:{bare}"))
}

const KEY_MAX: usize = 255;
