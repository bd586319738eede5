//! Admin keys and their roles.

use serde_json::{Value, json};

use crate::support::{Answer, Api, call};

async fn with(api: &Api, secret: &str, method: &str, path: &str, body: Value) -> Answer {
    let bearer = format!("Bearer {secret}");
    let headers = [("authorization", &*bearer)];
    call(&api.admin, method, &format!("/admin/v1{path}"), &headers, body).await
}

async fn admin_key(api: &Api, role: &str) -> (String, String) {
    let new = json!({"name": role, "role": role});
    let made = api.admin("POST", "/admin-keys", new).await.expect(201);
    let text = |name: &str| made.body[name].as_str().unwrap().to_owned();
    (text("id"), text("secret"))
}

#[tokio::test]
async fn each_role_may_do_its_own_and_no_more_also_after_a_restart() {
    let api = Api::start();
    let account = api.account("free").await;
    let (_, viewer) = admin_key(&api, "viewer").await;
    let (operator_id, operator) = admin_key(&api, "operator").await;
    let (_, owner) = admin_key(&api, "owner").await;
    let api = api.restart();
    let path = format!("/accounts/{account}");
    let change = || json!({"name": "Changed"});
    let new = || json!({"name": "n", "role": "viewer"});

    with(&api, &viewer, "GET", &path, Value::Null).await.expect(200);
    with(&api, &viewer, "GET", "/audit", Value::Null).await.expect(200);
    let refused = with(&api, &viewer, "PATCH", &path, change()).await;
    refused.expect_error(403, "forbidden");
    let refused = with(&api, &viewer, "DELETE", &path, Value::Null).await;
    refused.expect_error(403, "forbidden");
    let refused = with(&api, &viewer, "GET", "/admin-keys", Value::Null).await;
    refused.expect_error(403, "forbidden");

    with(&api, &operator, "PATCH", &path, change()).await.expect(200);
    with(&api, &operator, "POST", "/admin-keys", new()).await.expect_error(403, "forbidden");
    let refused = with(&api, &operator, "POST", "/config/reload", Value::Null).await;
    refused.expect_error(403, "forbidden");
    let audit = api.get("/audit?limit=1").await.expect(200);
    assert_eq!(audit.body["data"][0]["actor"], operator_id.as_str());

    with(&api, &owner, "POST", "/admin-keys", new()).await.expect(201);
    let list = with(&api, &owner, "GET", "/admin-keys", Value::Null).await.expect(200);
    assert_eq!(list.body["data"].as_array().unwrap().len(), 4);
    for secret in [&viewer, &operator, &owner] {
        assert!(!list.text.contains(secret.as_str()));
    }
    let path = format!("/admin-keys/{operator_id}");
    with(&api, &owner, "DELETE", &path, Value::Null).await.expect(204);
    let gone = with(&api, &operator, "GET", "/accounts", Value::Null).await;
    gone.expect_error(401, "invalid_key");
    with(&api, &owner, "DELETE", &path, Value::Null).await.expect_error(404, "not_found");
}

#[tokio::test]
async fn an_admin_key_that_is_made_twice_shows_its_secret_once() {
    let api = Api::start();
    let once = [("idempotency-key", "k")];
    let new = json!({"name": "n", "role": "viewer"});
    let made = api.admin_with("POST", "/admin-keys", &once, new.clone()).await.expect(201);
    let again = api.admin_with("POST", "/admin-keys", &once, new).await.expect(201);
    assert_eq!(again.body["id"], made.body["id"]);
    assert_eq!(again.body["secret"], Value::Null);
    let secret = made.body["secret"].as_str().unwrap();
    assert!(!api.get("/audit").await.text.contains(secret));
    let wrong = json!({"name": "n", "role": "king"});
    api.admin("POST", "/admin-keys", wrong).await.expect_error(400, "invalid_request");
}

#[tokio::test]
async fn a_process_without_a_file_has_no_configuration_to_show() {
    let api = Api::start();
    api.get("/config").await.expect_error(409, "conflict");
}
