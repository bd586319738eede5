//! Keys through the admin API.

use serde_json::{Value, json};
use weir_engine::secret::SecretDigest;

use crate::support::Api;

#[tokio::test]
async fn a_secret_is_shown_once_and_nowhere_else() {
    let api = Api::start();
    let account = api.account("free").await;
    let path = format!("/accounts/{account}/keys");
    let once = [("idempotency-key", "k-1")];
    let new = json!({"name": "laptop", "type": "read_write"});
    let made = api.admin_with("POST", &path, &once, new.clone()).await.expect(201);
    let secret = made.body["secret"].as_str().unwrap().to_owned();
    let id = made.body["id"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("weir_w_"));
    api.own(&secret, "/key").await.expect(200);

    let again = api.admin_with("POST", &path, &once, new).await.expect(201);
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(again.body["secret"], Value::Null);
    assert_eq!(again.body["id"], id.as_str());
    let key = format!("/keys/{id}");
    api.admin("PATCH", &key, json!({"name": "phone"})).await.expect(200);
    let answers = [
        api.get(&key).await.text,
        api.get(&path).await.text,
        api.own(&secret, "/key").await.text,
        api.own(&secret, "/limits").await.text,
        again.text,
    ];
    for text in answers {
        assert!(!text.contains(&secret), "{text}");
        assert!(!text.contains(&SecretDigest::of(secret.as_bytes()).to_hex()), "{text}");
    }
    for file in std::fs::read_dir(api.folder.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        let found = bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
        assert!(!found, "the secret is on disk");
    }
}

#[tokio::test]
async fn a_key_is_listed_changed_and_withdrawn() {
    let api = Api::start();
    let account = api.account("free").await;
    let (first, secret) = api.key(&account, "read_write").await;
    let (second, _) = api.key(&account, "read").await;
    let list = api.get(&format!("/accounts/{account}/keys?limit=1")).await.expect(200);
    assert_eq!(list.body["data"][0]["id"], first.as_str());
    let cursor = list.body["next_cursor"].as_str().unwrap();
    let rest = api.get(&format!("/accounts/{account}/keys?limit=1&cursor={cursor}")).await;
    assert_eq!(rest.body["data"][0]["id"], second.as_str());
    assert_eq!(rest.body["next_cursor"], Value::Null);

    let path = format!("/keys/{first}");
    let change = json!({
        "scopes": ["ai"], "spend_cap": {"amount": "5.00", "period": "month"},
        "limits": {"ai": "10/hour"}, "expires_at": "2100-01-01T00:00:00Z",
    });
    let changed = api.admin("PATCH", &path, change).await.expect(200);
    assert_eq!(changed.body["scopes"], json!(["ai"]));
    assert_eq!(changed.body["spend_cap"], json!({"amount": "5.00", "period": "month"}));
    assert_eq!(changed.body["expires_at"], "2100-01-01T00:00:00Z");
    let limits = api.own(&secret, "/limits").await.expect(200);
    let of_key: Vec<_> = limits.body["limits"].as_array().unwrap().iter().collect();
    let of_key: Vec<_> = of_key.iter().filter(|limit| limit["per"] == "key").collect();
    assert_eq!(of_key.len(), 2, "{}", limits.text);
    assert!(of_key.iter().any(|limit| limit["unit"] == "credits" && limit["limit"] == "5.00"));
    let freed = json!({"scopes": null, "spend_cap": null, "limits": {"ai": null}});
    let freed = api.admin("PATCH", &path, freed).await.expect(200);
    assert_eq!(freed.body["scopes"], Value::Null);
    assert_eq!(freed.body["limits"], json!({}));

    api.own(&secret, "/key").await.expect(200);
    api.admin("DELETE", &path, Value::Null).await.expect(204);
    api.own(&secret, "/key").await.expect_error(401, "revoked_key");
    assert_eq!(api.get(&path).await.body["status"], "revoked");
}

#[tokio::test]
async fn a_rotated_key_stays_valid_for_the_overlap() {
    let api = Api::start();
    let account = api.account("free").await;
    let (id, old) = api.key(&account, "read").await;
    let path = format!("/keys/{id}/rotate");
    let new = api.admin("POST", &path, json!({"overlap": "24h"})).await.expect(201);
    let (new_id, secret) = (new.body["id"].clone(), new.body["secret"].as_str().unwrap());
    api.own(&old, "/key").await.expect(200);
    api.own(secret, "/key").await.expect(200);
    let shown = api.get(&format!("/keys/{id}")).await;
    assert_eq!(shown.body["rotated_to"], new_id);
    assert_eq!(shown.body["status"], "active");
    assert!(shown.body["revoked_at"].is_string());

    let path = format!("/keys/{}/rotate", new_id.as_str().unwrap());
    api.admin("POST", &path, json!({"overlap": "0s"})).await.expect(201);
    api.own(secret, "/key").await.expect_error(401, "revoked_key");
    api.admin("POST", &path, json!({"overlap": "0s"})).await.expect_error(409, "conflict");
    for wrong in ["1 day", "91d", "", "-1h"] {
        let refused = api.admin("POST", &path, json!({"overlap": wrong})).await;
        assert_eq!(refused.expect_error(400, "invalid_request").body["error"]["param"], "overlap");
    }
    api.admin("POST", &path, json!({})).await.expect_error(400, "invalid_request");
}

#[tokio::test]
async fn customers_keep_keys_that_are_imported_by_digest() {
    let api = Api::start();
    let account = api.account("free").await;
    let digest = SecretDigest::of(b"sk-held-for-years").to_hex();
    let new = json!({"name": "old", "type": "read", "secret_sha256": digest});
    let path = format!("/accounts/{account}/keys");
    let made = api.admin("POST", &path, new.clone()).await.expect(201);
    assert_eq!(made.body["secret"], Value::Null);
    api.own("sk-held-for-years", "/key").await.expect(200);
    api.admin("POST", &path, new).await.expect_error(409, "conflict");
    let short = json!({"name": "old", "type": "read", "secret_sha256": "ab"});
    let short = api.admin("POST", &path, short).await.expect_error(400, "invalid_request");
    assert_eq!(short.body["error"]["param"], "secret_sha256");
}

#[tokio::test]
async fn what_makes_no_sense_of_a_key_is_refused_by_name() {
    let api = Api::start();
    let account = api.account("free").await;
    let path = format!("/accounts/{account}/keys");
    let check = async |member: &str, value: Value| {
        let mut body = json!({"name": "k", "type": "read"});
        body[member] = value;
        let refused = api.admin("POST", &path, body).await.expect_error(400, "invalid_request");
        refused.body["error"]["param"].as_str().map(str::to_owned)
    };
    assert_eq!(check("colour", json!(1)).await.as_deref(), Some("colour"));
    assert_eq!(check("name", json!("")).await.as_deref(), Some("name"));
    assert_eq!(check("expires_at", json!("soon")).await.as_deref(), Some("expires_at"));
    let past = json!("2000-01-01T00:00:00Z");
    assert_eq!(check("expires_at", past).await.as_deref(), Some("expires_at"));
    assert_eq!(check("allowed_ips", json!(["10.0.0.0/33"])).await.as_deref(), Some("allowed_ips"));
    assert_eq!(check("models", json!(["a*b"])).await.as_deref(), Some("models"));
    assert_eq!(check("limits", json!({"raed": "1/hour"})).await.as_deref(), Some("limits.raed"));
    let cap = json!({"amount": "-1"});
    assert_eq!(check("spend_cap", cap).await.as_deref(), Some("spend_cap"));
    assert_eq!(check("urgency", json!("very")).await.as_deref(), Some("urgency"));
    check("type", json!("admin")).await;
    let service = json!({"name": "k", "type": "service"});
    let refused = api.admin("POST", &path, service).await.expect_error(400, "invalid_request");
    assert_eq!(refused.body["error"]["param"], "scopes");
    assert_eq!(api.get(&path).await.body["data"], json!([]));
    let other = api.admin(
        "POST",
        "/accounts/acct_0000000000001/keys",
        json!({"name": "k", "type": "read"}),
    );
    other.await.expect_error(404, "not_found");
}
