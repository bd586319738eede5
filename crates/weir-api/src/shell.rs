//! What surrounds every request of the control plane: its id, its errors, its bounds.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::header::{ALLOW, CACHE_CONTROL, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use weir_wire::error::Code;
use weir_wire::header as ours;

use crate::allowance::Standing;
use crate::problem::Problem;
use crate::settings::App;

/// The request's id, for whoever writes down what it did.
#[derive(Clone, Debug)]
pub(crate) struct RequestId(pub(crate) String);

/// Runs a request in a task of its own, so that a change is never cut in half by a client that
/// hangs up, and a panic costs one answer; writes errors as documents.
pub(crate) async fn surround(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let id = request_id(&request);
    request.extensions_mut().insert(RequestId(id.clone()));
    let standing = Standing::default();
    request.extensions_mut().insert(standing.clone());
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let mut response = match tokio::spawn(next.run(request)).await {
        Ok(response) => response,
        Err(error) => {
            tracing::error!(request_id = id, %error, path, "a handler of the API panicked");
            axum::response::IntoResponse::into_response(Problem::new(
                Code::InternalError,
                "The request failed on our side.",
            ))
        }
    };
    let problem = response
        .extensions_mut()
        .remove::<Problem>()
        .or_else(|| unworded(&response, &method, &path));
    if let Some(problem) = problem {
        let allow = response.headers_mut().remove(ALLOW);
        response = problem.render(&id, &app.settings.links);
        if let Some(allow) = allow {
            response.headers_mut().insert(ALLOW, allow);
        }
        if response.status() == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, BEARER);
        }
    }
    let headers = response.headers_mut();
    standing.write(headers, app.engine.now());
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert(HeaderName::from_static(ours::X_REQUEST_ID), id);
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if !headers.contains_key(CACHE_CONTROL) {
        let reads = method == Method::GET || method == Method::HEAD;
        let kept = if reads { "private, no-cache" } else { "no-store" };
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(kept));
    }
    response
}

/// Errors that the router answers by a status alone.
fn unworded(response: &Response, method: &Method, path: &str) -> Option<Problem> {
    match response.status() {
        StatusCode::NOT_FOUND => {
            Some(Problem::new(Code::RouteNotFound, format!("There is no `{path}` here.")))
        }
        StatusCode::METHOD_NOT_ALLOWED => Some(Problem::new(
            Code::MethodNotAllowed,
            format!("`{path}` does not support {method}."),
        )),
        _ => None,
    }
}

/// The client's id if it is a sane token, else a new one.
fn request_id(request: &Request) -> String {
    let sane = |value: &HeaderValue| {
        let text = value.to_str().ok()?;
        let sane = !text.is_empty()
            && text.len() <= 128
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(&byte));
        sane.then(|| text.to_owned())
    };
    request.headers().get(ours::X_REQUEST_ID).and_then(sane).unwrap_or_else(|| {
        let mut bytes = [0_u8; 12];
        // Without random bytes ids repeat, which harms nobody: they only find lines in a log.
        let _ = getrandom::fill(&mut bytes);
        format!("req_{}", hex::encode(bytes))
    })
}

const BEARER: HeaderValue = HeaderValue::from_static("Bearer");

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::Router;
    use axum::body::Body;
    use axum::middleware::from_fn_with_state;
    use axum::routing::get;
    use http_body_util::BodyExt;
    use tower::ServiceExt;
    use weir_core::id::PolicyNumber;
    use weir_core::names::LimitNames;
    use weir_core::policy::{Policy, PolicyParts};
    use weir_engine::clock::Clock;
    use weir_engine::engine::{Engine, EngineSettings};
    use weir_engine::secret::SecretDigest;
    use weir_wire::error::Links;

    use super::*;
    use crate::settings::ApiSettings;

    async fn broken() -> Response {
        String::from("no number").parse::<u16>().map(|_| Response::default()).unwrap()
    }

    #[tokio::test]
    async fn a_panic_costs_one_answer_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let policy = Policy::new(PolicyNumber(1), PolicyParts::default()).unwrap();
        let settings = EngineSettings { key_prefix: "weir".into(), currency: "USD".into() };
        let (names, clock) = (LimitNames::default(), Clock::running());
        let engine =
            Engine::boot(folder.path(), Default::default(), settings, policy, names, clock);
        let settings = ApiSettings {
            api_prefix: "/weir".into(),
            links: Links::default(),
            top_up_url: None,
            auth_headers: Vec::new(),
            stripe_secret: None,
            webhooks_allow_private: false,
            admin_key: SecretDigest::of(b"admin"),
            metrics: Arc::new(String::new),
            config: None,
            explainer: None,
        };
        let app = App::new(engine.unwrap(), Arc::new(settings));
        let router = Router::new()
            .route("/broken", get(broken))
            .layer(from_fn_with_state(app.clone(), surround))
            .with_state(app);
        let request = Request::get("/broken").body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let text = String::from_utf8(body.to_vec()).unwrap();
        assert!(text.contains("\"internal_error\"") && !text.contains("unwrap"), "{text}");
        let request = Request::get("/none").body(Body::empty()).unwrap();
        assert_eq!(router.oneshot(request).await.unwrap().status(), StatusCode::NOT_FOUND);
    }
}
