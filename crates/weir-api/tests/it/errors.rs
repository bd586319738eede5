//! Every error is one document, whoever raises it.

use axum::body::Body;
use http::Request;
use serde_json::{Value, json};
use weir_wire::error::CATALOGUE;

use crate::support::{ADMIN_KEY, Api, call, send};

fn post(path: &str, kind: Option<&str>, body: impl Into<Body>) -> Request<Body> {
    let mut request = Request::builder().method("POST").uri(path);
    request = request.header("authorization", format!("Bearer {ADMIN_KEY}"));
    if let Some(kind) = kind {
        request = request.header("content-type", kind);
    }
    request.body(body.into()).unwrap()
}

#[tokio::test]
async fn what_the_router_refuses_is_worded_like_all_else() {
    let api = Api::start();
    api.get("/nothing").await.expect_error(404, "route_not_found");
    let wrong = api.admin("PUT", "/accounts", json!({})).await;
    let wrong = wrong.expect_error(405, "method_not_allowed");
    assert_eq!(wrong.header("allow"), "POST,GET,HEAD");
    let nothing = call(&api.customer, "GET", "/weir/v1/nothing", &[], Value::Null).await;
    nothing.expect_error(404, "route_not_found");
    api.get("/accounts/none").await.expect_error(404, "not_found");
    api.get("/keys/acct_0000000000001").await.expect_error(404, "not_found");
}

#[tokio::test]
async fn bodies_that_cannot_be_read_are_told_so() {
    let api = Api::start();
    let path = "/admin/v1/accounts";
    let json = Some("application/json");
    let none = send(&api.admin, post(path, None, "{}")).await;
    none.expect_error(415, "unsupported_media_type");
    let form = send(&api.admin, post(path, Some("text/plain"), "{}")).await;
    form.expect_error(415, "unsupported_media_type");
    let fine = r#"{"name":"A","plan":"free"}"#;
    let charset = Some("application/json; charset=utf-8");
    send(&api.admin, post(path, charset, fine)).await.expect(201);
    for wrong in ["", "{", "[]", "null", "\u{0}", r#"{"name":"A","name":"B","plan":"free"}"#] {
        let refused = send(&api.admin, post(path, json, wrong)).await;
        refused.expect_error(400, "invalid_request");
    }
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    send(&api.admin, post(path, json, deep)).await.expect_error(400, "invalid_request");
    let large = format!(r#"{{"name":"{}"}}"#, "x".repeat(1 << 20));
    let refused = send(&api.admin, post(path, json, large)).await;
    refused.expect_error(413, "request_too_large");
}

#[tokio::test]
async fn every_answer_has_the_requests_id() {
    let api = Api::start();
    let mine = [("x-request-id", "trace-7")];
    let answer = api.admin_with("GET", "/accounts", &mine, Value::Null).await.expect(200);
    assert_eq!(answer.header("x-request-id"), "trace-7");
    let odd = [("x-request-id", "a b")];
    let answer = api.admin_with("GET", "/accounts", &odd, Value::Null).await;
    assert!(answer.header("x-request-id").starts_with("req_"));
    let first = call(&api.admin, "GET", "/healthz", &[], Value::Null).await;
    let second = call(&api.admin, "GET", "/healthz", &[], Value::Null).await;
    assert_ne!(first.header("x-request-id"), second.header("x-request-id"));
}

#[tokio::test]
async fn health_and_metrics_need_no_key() {
    let api = Api::start();
    for path in ["/healthz", "/readyz"] {
        let answer = call(&api.admin, "GET", path, &[], Value::Null).await.expect(200);
        assert_eq!(answer.header("content-type"), "application/json");
    }
    let ready = call(&api.admin, "GET", "/readyz", &[], Value::Null).await;
    assert_eq!(ready.body, json!({"status": "ready", "reasons": []}));
    let metrics = call(&api.admin, "GET", "/metrics", &[], Value::Null).await.expect(200);
    assert_eq!(metrics.text, "weir_build_info 1\n");
    call(&api.customer, "GET", "/weir/healthz", &[], Value::Null).await.expect(200);
    let locked = call(&api.admin, "GET", "/admin/v1/accounts", &[], Value::Null).await;
    locked.expect_error(401, "missing_key");
}

#[tokio::test]
async fn every_code_has_a_page_for_people_and_programs() {
    let api = Api::start();
    for entry in CATALOGUE {
        let path = format!("/weir/errors/{}", entry.name);
        let html = [("accept", "text/html,application/xhtml+xml")];
        let page = call(&api.customer, "GET", &path, &html, Value::Null).await.expect(200);
        assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
        assert!(
            page.text.contains(entry.name) && page.text.contains("https://example.com/support")
        );
        let text = call(&api.customer, "GET", &path, &[], Value::Null).await.expect(200);
        assert_eq!(text.header("content-type"), "text/plain; charset=utf-8");
        assert!(text.text.contains(entry.help) && text.text.contains(entry.title));
    }
    let unknown = call(&api.customer, "GET", "/weir/errors/none", &[], Value::Null).await;
    unknown.expect_error(404, "not_found");
}

/// RFC 9110, section 13.2.1.
#[tokio::test]
async fn what_is_wrong_with_a_request_is_told_before_its_preconditions() {
    let api = Api::start();
    let path = format!("/accounts/{}", api.account("free").await);
    let tag = [("if-match", "nonsense")];
    let wrong = api.admin_with("PATCH", &path, &tag, json!({"nme": "x"})).await;
    wrong.expect_error(400, "invalid_request");
    let right = api.admin_with("PATCH", &path, &tag, json!({"name": "x"})).await;
    right.expect_error(412, "precondition_failed");
    assert_eq!(api.get(&path).await.expect(200).body["name"], "Acme");
}

/// Readers of JSON take an array for the members of a struct in their order.
#[tokio::test]
async fn an_array_is_no_object() {
    let api = Api::start();
    let made = api.admin("POST", "/accounts", json!(["Acme", "free"])).await;
    made.expect_error(400, "invalid_request");
    let event = json!([["1.0", "id", "source", "type", "acme"]]);
    let taken = api.admin("POST", "/usage-events", event).await.expect(200);
    assert_eq!(taken.body["data"][0]["status"], "refused");
    assert_eq!(api.get("/accounts").await.expect(200).body["data"], json!([]));
}
