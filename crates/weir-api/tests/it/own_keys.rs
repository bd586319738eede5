//! Keys that customers make themselves.

use serde_json::{Value, json};

use crate::support::Api;

async fn maker(api: &Api, account: &str, more: Value) -> String {
    let mut new = json!({"name": "maker", "type": "read_write", "scopes": ["accounts", "ai"]});
    for (name, value) in more.as_object().unwrap() {
        new[name] = value.clone();
    }
    let made = api.admin("POST", &format!("/accounts/{account}/keys"), new).await.expect(201);
    made.body["secret"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn only_a_key_that_names_the_scope_manages_keys() {
    let api = Api::start();
    let account = api.account("free").await;
    let (id, everything) = api.key(&account, "read_write").await;
    let new = json!({"name": "n", "type": "read"});
    for (method, path, body) in [
        ("GET", "/keys".to_owned(), Value::Null),
        ("POST", "/keys".to_owned(), new),
        ("POST", format!("/keys/{id}/rotate"), json!({"overlap": "0s"})),
        ("DELETE", format!("/keys/{id}"), Value::Null),
    ] {
        let refused = api.own_with(&everything, method, &path, &[], body).await;
        refused.expect_error(403, "insufficient_scope");
    }
    api.own(&everything, "/key").await.expect(200);
}

#[tokio::test]
async fn a_made_key_is_never_stronger_than_its_maker() {
    let api = Api::start();
    let account = api.account("free").await;
    let bounds = json!({
        "models": ["llama-*"], "allowed_ips": null, "expires_at": "2030-01-01T00:00:00Z",
    });
    let maker = maker(&api, &account, bounds).await;
    let make = async |more: Value| {
        let mut new = json!({"name": "n", "type": "read_write"});
        for (name, value) in more.as_object().unwrap() {
            new[name] = value.clone();
        }
        api.own_with(&maker, "POST", "/keys", &[], new).await
    };
    let made = make(json!({})).await.expect(201);
    assert_eq!(made.body["scopes"], json!(["accounts", "ai"]));
    assert_eq!(made.body["models"], json!(["llama-*"]));
    assert_eq!(made.body["expires_at"], "2030-01-01T00:00:00Z");
    assert_eq!(made.body["account_id"], account.as_str());
    make(json!({"scopes": ["ai"], "expires_at": "2029-01-01T00:00:00Z"})).await.expect(201);
    make(json!({"type": "service", "scopes": ["ai"]})).await.expect(201);
    for (more, param) in [
        (json!({"scopes": ["ai", "billing"]}), "scopes"),
        (json!({"models": ["*"]}), "models"),
        (json!({"expires_at": "2031-01-01T00:00:00Z"}), "expires_at"),
        (json!({"urgency": "critical"}), "urgency"),
    ] {
        let refused = make(more).await.expect_error(403, "forbidden");
        assert_eq!(refused.body["error"]["param"], param);
    }
    let import = make(json!({"secret_sha256": "00".repeat(32)})).await;
    assert_eq!(import.expect_error(400, "invalid_request").body["error"]["param"], "secret_sha256");
}

#[tokio::test]
async fn a_key_with_a_bound_of_its_own_makes_none() {
    let api = Api::start();
    let account = api.account("free").await;
    for bound in [json!({"spend_cap": {"amount": "5"}}), json!({"limits": {"ai": "5/hour"}})] {
        let maker = maker(&api, &account, bound).await;
        let new = json!({"name": "n", "type": "read"});
        let refused = api.own_with(&maker, "POST", "/keys", &[], new).await;
        refused.expect_error(403, "forbidden");
        let me = api.own(&maker, "/key").await.body["id"].as_str().unwrap().to_owned();
        let path = format!("/keys/{me}/rotate");
        let refused = api.own_with(&maker, "POST", &path, &[], json!({"overlap": "1h"})).await;
        refused.expect_error(403, "forbidden");
    }
}

#[tokio::test]
async fn keys_of_other_accounts_do_not_exist() {
    let api = Api::start();
    let (mine, theirs) = (api.account("free").await, api.account("free").await);
    let maker = maker(&api, &mine, json!({})).await;
    let (id, secret) = api.key(&theirs, "read").await;
    let path = format!("/keys/{id}");
    let refused = api.own_with(&maker, "DELETE", &path, &[], Value::Null).await;
    refused.expect_error(404, "not_found");
    let body = json!({"overlap": "0s"});
    let refused = api.own_with(&maker, "POST", &format!("{path}/rotate"), &[], body).await;
    refused.expect_error(404, "not_found");
    api.own(&secret, "/key").await.expect(200);
    assert!(!api.own(&maker, "/keys").await.expect(200).text.contains(&id));
}

#[tokio::test]
async fn a_stronger_key_is_not_rotated_but_can_be_withdrawn() {
    let api = Api::start();
    let account = api.account("free").await;
    let maker = maker(&api, &account, json!({})).await;
    let (strong, secret) = api.key(&account, "read_write").await;
    let path = format!("/keys/{strong}/rotate");
    let refused = api.own_with(&maker, "POST", &path, &[], json!({"overlap": "0s"})).await;
    refused.expect_error(403, "forbidden");
    let me = api.own(&maker, "/key").await.body["id"].as_str().unwrap().to_owned();
    let path = format!("/keys/{me}/rotate");
    let once = [("idempotency-key", "r")];
    let body = json!({"overlap": "1h"});
    let new = api.own_with(&maker, "POST", &path, &once, body.clone()).await.expect(201);
    let again = api.own_with(&maker, "POST", &path, &once, body).await.expect(201);
    assert_eq!(again.body["id"], new.body["id"]);
    assert_eq!(again.body["secret"], Value::Null);
    let path = format!("/keys/{strong}");
    api.own_with(&maker, "DELETE", &path, &[], Value::Null).await.expect(204);
    api.own(&secret, "/key").await.expect_error(401, "revoked_key");
}

#[tokio::test]
async fn idempotency_keys_of_two_accounts_do_not_meet() {
    let api = Api::start();
    let (one, two) = (api.account("free").await, api.account("free").await);
    let (first, second) = (maker(&api, &one, json!({})).await, maker(&api, &two, json!({})).await);
    let once = [("idempotency-key", "same")];
    let new = json!({"name": "n", "type": "read"});
    let a = api.own_with(&first, "POST", "/keys", &once, new.clone()).await.expect(201);
    let b = api.own_with(&second, "POST", "/keys", &once, new).await.expect(201);
    assert_ne!(a.body["id"], b.body["id"]);
    assert_eq!(b.body["account_id"], two.as_str());
}

#[tokio::test]
async fn a_made_key_has_no_more_than_its_plan_gives_such_keys() {
    let api = Api::start();
    let account = api.account("calendar").await;
    let maker = maker(&api, &account, json!({})).await;
    let make = async |limits: Value| {
        let new = json!({"name": "n", "type": "read_write", "limits": limits});
        api.own_with(&maker, "POST", "/keys", &[], new).await
    };
    make(json!({"ai": "10/hour"})).await.expect(201);
    make(json!({"ai": "3/hour", "read": "500/hour"})).await.expect(201);
    for more in ["11/hour", "unlimited", "10/minute", "240/day"] {
        let refused = make(json!({"ai": more})).await;
        assert_eq!(refused.body["error"]["param"], "limits", "{more}");
        refused.expect_error(403, "forbidden");
    }
    let shadow = json!({"ai": {"limit": 5, "window": "1h", "mode": "shadow"}});
    make(shadow).await.expect_error(403, "forbidden");
    let wrong = make(json!({"ai": "many"})).await;
    wrong.expect_error(400, "invalid_request");
    // The operator may give more.
    let new = json!({"name": "n", "type": "read_write", "limits": {"ai": "40/hour"}});
    api.admin("POST", &format!("/accounts/{account}/keys"), new).await.expect(201);
}
