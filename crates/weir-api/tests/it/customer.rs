//! What customers see, and what they do not.

use std::net::IpAddr;

use axum::body::Body;
use http::Request;
use serde_json::{Value, json};
use weir_api::settings::ClientAddress;

use crate::support::{ADMIN_KEY, Api, call, send};

#[tokio::test]
async fn a_key_sees_its_own_account_and_no_other() {
    let api = Api::start();
    let (mine, theirs) = (api.account("payg").await, api.account("payg").await);
    let (_, my_key) = api.key(&mine, "read").await;
    let (their_id, their_key) = api.key(&theirs, "read_write").await;
    let top_up = json!({"amount": "77.77", "note": "theirs alone"});
    let path = format!("/accounts/{theirs}/wallet/top-ups");
    api.admin("POST", &path, top_up).await.expect(201);
    let name = json!({"name": "Their Company"});
    api.admin("PATCH", &format!("/accounts/{theirs}"), name).await.expect(200);

    let paths = ["/key", "/limits", "/wallet", "/wallet/entries", "/prices", "/models"];
    for path in paths {
        let seen = api.own(&my_key, path).await.expect(200);
        for secret in ["77.77", "theirs alone", "Their Company", &theirs, &their_id, &their_key] {
            assert!(!seen.text.contains(secret), "{path} tells {secret}");
        }
    }
    assert_eq!(api.own(&my_key, "/key").await.body["account"]["id"], mine.as_str());
    let their_entry = api.own(&their_key, "/wallet/entries").await.body["data"][0]["id"].clone();
    let cursor = their_entry.as_str().unwrap();
    let beyond = api.own(&my_key, &format!("/wallet/entries?cursor={cursor}")).await.expect(200);
    assert_eq!(beyond.body["data"], json!([]));
}

#[tokio::test]
async fn no_customer_key_opens_the_admin_api_and_the_admin_key_opens_no_account() {
    let api = Api::start();
    let account = api.account("free").await;
    for kind in ["read", "read_write", "service"] {
        let (id, secret) = api.key(&account, kind).await;
        let bearer = format!("Bearer {secret}");
        let headers = [("authorization", &*bearer)];
        for (method, path) in [
            ("GET", "/admin/v1/accounts".to_owned()),
            ("GET", format!("/admin/v1/accounts/{account}")),
            ("POST", format!("/admin/v1/accounts/{account}/keys")),
            ("DELETE", format!("/admin/v1/keys/{id}")),
            ("GET", "/admin/v1/openapi.json".to_owned()),
            ("GET", "/admin/v1/nothing".to_owned()),
        ] {
            let refused = call(&api.admin, method, &path, &headers, Value::Null).await;
            let refused = refused.expect_error(401, "invalid_key");
            assert_eq!(refused.header("www-authenticate"), "Bearer");
        }
        api.own(&secret, "/key").await.expect(200);
    }
    api.own(ADMIN_KEY, "/key").await.expect_error(401, "invalid_key");
}

#[tokio::test]
async fn keys_that_are_not_valid_are_told_why() {
    let api = Api::start();
    let account = api.account("free").await;
    let none = call(&api.customer, "GET", "/weir/v1/key", &[], Value::Null).await;
    none.expect_error(401, "missing_key");
    api.own("weir_r_nonsense", "/key").await.expect_error(401, "invalid_key");
    api.own("", "/key").await.expect_error(401, "invalid_key");
    let (id, secret) = api.key(&account, "read").await;
    let other_header = [("x-api-key", &*secret)];
    let found = call(&api.customer, "GET", "/weir/v1/key", &other_header, Value::Null).await;
    assert_eq!(found.expect(200).body["id"], id.as_str());
    api.admin("DELETE", &format!("/accounts/{account}"), Value::Null).await.expect(204);
    api.own(&secret, "/key").await.expect_error(401, "invalid_key");
}

#[tokio::test]
async fn a_key_bound_to_addresses_is_refused_from_elsewhere() {
    let api = Api::start();
    let account = api.account("free").await;
    let new = json!({"name": "k", "type": "read", "allowed_ips": ["10.0.0.0/8"]});
    let made = api.admin("POST", &format!("/accounts/{account}/keys"), new).await.expect(201);
    let secret = made.body["secret"].as_str().unwrap().to_owned();
    let from = async |address: Option<&str>| {
        let request = Request::builder().uri("/weir/v1/key").header("x-api-key", &*secret);
        let mut request = request.body(Body::empty()).unwrap();
        if let Some(address) = address {
            let address: IpAddr = address.parse().unwrap();
            request.extensions_mut().insert(ClientAddress(address));
        }
        send(&api.customer, request).await
    };
    from(Some("10.1.2.3")).await.expect(200);
    from(Some("::ffff:10.1.2.3")).await.expect(200);
    from(Some("11.1.2.3")).await.expect_error(403, "address_forbidden");
    from(None).await.expect_error(403, "address_forbidden");
}

#[tokio::test]
async fn prices_and_models_are_shown_with_and_without_a_key() {
    let api = Api::start();
    let prices = call(&api.customer, "GET", "/weir/v1/prices", &[], Value::Null).await.expect(200);
    assert_eq!(prices.body["next_cursor"], Value::Null);
    let llama = &prices.body["data"][1];
    assert_eq!(llama["name"], "llama-3-8b");
    assert_eq!(llama["currency"], "USD");
    assert_eq!(llama["rates"]["input_tokens"]["per"], 1_000_000);
    assert_eq!(llama["rates"]["input_tokens"]["tiers"][0]["amount"], "0.15");
    let models = call(&api.customer, "GET", "/weir/v1/models", &[], Value::Null).await.expect(200);
    let expected = json!([
        {"id": "llama-3-8b", "price": "llama-3-8b", "max_output_tokens": 8_192},
        {"id": "training", "price": "training", "max_output_tokens": null},
    ]);
    assert_eq!(models.body["data"], expected);

    let account = api.account("payg").await;
    let new = json!({"name": "k", "type": "read", "models": ["gpt-*"]});
    let made = api.admin("POST", &format!("/accounts/{account}/keys"), new).await.expect(201);
    let secret = made.body["secret"].as_str().unwrap();
    assert_eq!(api.own(secret, "/models").await.expect(200).body["data"], json!([]));
    assert_eq!(api.own(secret, "/prices").await.expect(200).body, prices.body);
    api.own("wrong", "/prices").await.expect_error(401, "invalid_key");
}

#[tokio::test]
async fn a_suspended_account_can_still_look() {
    let api = Api::start();
    let account = api.account("payg").await;
    let (_, secret) = api.key(&account, "read").await;
    let path = format!("/accounts/{account}");
    api.admin("PATCH", &path, json!({"status": "suspended"})).await.expect(200);
    assert_eq!(api.own(&secret, "/key").await.expect(200).body["account"]["status"], "suspended");
    api.own(&secret, "/wallet").await.expect(200);
}

#[tokio::test]
async fn a_key_that_asks_too_often_waits_and_others_do_not() {
    let api = Api::start();
    let account = api.account("free").await;
    let (_, busy) = api.key(&account, "read").await;
    let (_, calm) = api.key(&account, "read").await;
    let mut refused = None;
    for _ in 0..2_000 {
        let answer = api.own(&busy, "/prices").await;
        if answer.status.as_u16() == 429 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("no bound").expect_error(429, "rate_limit_exceeded");
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(refused.body["retry_after_s"], 1);
    api.own(&calm, "/key").await.expect(200);
    let limits = api.get(&format!("/accounts/{account}/limits")).await;
    let used = limits.body["limits"].as_array().unwrap().iter().all(|limit| limit["used"] == 0);
    assert!(used, "looking counts against the plan");
}

#[tokio::test]
async fn guesses_from_one_address_are_bounded_and_its_valid_keys_still_work() {
    let api = Api::start();
    let account = api.account("free").await;
    let (_, secret) = api.key(&account, "read").await;
    let ask = async |secret: &str| {
        let request = Request::builder().uri("/weir/v1/key").header("x-api-key", secret);
        let mut request = request.body(Body::empty()).unwrap();
        let address: IpAddr = "192.0.2.7".parse().unwrap();
        request.extensions_mut().insert(ClientAddress(address));
        send(&api.customer, request).await
    };
    let mut refused = None;
    for _ in 0..100 {
        let answer = ask("sk-guess").await;
        if answer.status.as_u16() == 429 {
            refused = Some(answer);
            break;
        }
        answer.expect_error(401, "invalid_key");
    }
    let refused = refused.expect("no bound").expect_error(429, "rate_limit_exceeded");
    assert!(refused.header("retry-after").parse::<u64>().unwrap() >= 1);
    ask(&secret).await.expect(200);
}

#[tokio::test]
async fn answers_tell_the_keys_own_allowance_and_one_that_is_used_up_says_when_it_goes_on() {
    let api = Api::start();
    let account = api.account("free").await;
    let (_, secret) = api.key(&account, "read").await;
    let first = api.own(&secret, "/key").await.expect(200);
    assert_eq!(first.header("x-ratelimit-limit"), "50");
    assert_eq!(first.header("x-ratelimit-window"), "1");
    assert_eq!(first.header("ratelimit-policy"), "\"customer-api\";q=50;w=1");
    assert!(first.header("x-ratelimit-reset").parse::<u64>().is_ok());
    let mut refused = first;
    for _ in 0..10_000 {
        refused = api.own(&secret, "/key").await;
        if refused.status != 200 {
            break;
        }
    }
    let refused = refused.expect_error(429, "rate_limit_exceeded");
    assert_eq!(refused.header("x-ratelimit-remaining"), "0");
    assert!(refused.header("ratelimit").starts_with("\"customer-api\";r=0;t="), "{refused:?}");
    assert_eq!(refused.header("retry-after"), "1");
    let wait: u64 = refused.header("retry-after-ms").parse().unwrap();
    assert!((1..=20).contains(&wait), "{wait}");
    assert_eq!(refused.body["violated-policies"], json!(["customer-api"]));
    assert_eq!(refused.body["limit"]["name"], "customer-api");
    assert_eq!(refused.body["limit"]["remaining"], 0);
    let limits = api.get(&format!("/accounts/{account}/limits")).await.expect(200);
    assert!(!limits.headers.contains_key("x-ratelimit-limit"), "the operator has no allowance");
    let unknown = api.own("weir_r_nonsense", "/key").await;
    assert!(!unknown.headers.contains_key("x-ratelimit-limit"));
}
