//! Requests for higher limits, from both sides.

use serde_json::{Value, json};

use crate::support::{Answer, Api};

async fn asked(api: &Api, secret: &str, until: Value) -> Answer {
    let body = json!({
        "limit": "ai", "expected_volume": "2000/hour", "use_case": "a launch",
        "timeline": "next week", "until": until,
    });
    api.own_with(secret, "POST", "/limit-increases", &[], body).await
}

async fn ai(api: &Api, secret: &str) -> Value {
    let limits = api.own(secret, "/limits").await.expect(200);
    let limits = limits.body["limits"].as_array().unwrap().clone();
    limits.into_iter().find(|limit| limit["name"] == "ai").unwrap()["limit"].clone()
}

#[tokio::test]
async fn a_granted_request_holds_from_the_next_call_on_and_after_a_restart() {
    let api = Api::start();
    let account = api.account("free").await;
    let (_, secret) = api.key(&account, "read_write").await;
    let request = asked(&api, &secret, Value::Null).await.expect(201);
    assert_eq!(request.body["status"], "pending");
    assert_eq!(request.body["plan"], "free");
    assert_eq!(ai(&api, &secret).await, 50);
    let pending = api.get("/limit-increases?status=pending").await.expect(200);
    assert_eq!(pending.body["data"], json!([request.body]));

    let path = format!("/limit-increases/{}", request.body["id"].as_str().unwrap());
    let approve = format!("{path}/approve");
    let wrong = api.admin("POST", &approve, json!({"limit": "many"})).await;
    wrong.expect_error(400, "invalid_request");
    let granted = api.admin("POST", &approve, json!({"limit": "2000/hour"})).await.expect(200);
    assert_eq!(granted.body["status"], "approved");
    assert_eq!(granted.body["granted"], "2000/hour");
    assert_eq!(ai(&api, &secret).await, 2_000);
    api.admin("POST", &approve, json!({"limit": 9})).await.expect_error(409, "conflict");
    let decline = format!("{path}/decline");
    let late = api.admin("POST", &decline, json!({"reason": "no"})).await;
    late.expect_error(409, "conflict");

    let api = api.restart();
    assert_eq!(ai(&api, &secret).await, 2_000);
    let own = api.own(&secret, "/limit-increases").await.expect(200);
    assert_eq!(own.body["data"], json!([granted.body]));
    assert_eq!(api.get("/limit-increases?status=pending").await.body["data"], json!([]));
    let seen = api.own(&secret, "/events").await.expect(200);
    let kinds: Vec<_> = seen.body["data"].as_array().unwrap().iter().collect();
    let kinds: Vec<_> = kinds.iter().map(|event| event["type"].as_str().unwrap()).collect();
    let expected = ["key.created", "limit_increase.requested", "limit_increase.approved"];
    assert_eq!(kinds, expected);
}

#[tokio::test]
async fn a_request_with_an_end_is_granted_as_a_boost() {
    let api = Api::start();
    let account = api.account("free").await;
    let (_, secret) = api.key(&account, "read_write").await;
    let until = json!("2026-12-31T00:00:00Z");
    let request = asked(&api, &secret, until.clone()).await.expect(201);
    let id = request.body["id"].as_str().unwrap();
    let approve = format!("/limit-increases/{id}/approve");
    let granted = api.admin("POST", &approve, json!({"limit": 300})).await.expect(200);
    assert_eq!(ai(&api, &secret).await, 300);
    let boosts = api.get(&format!("/accounts/{account}/boosts")).await.expect(200);
    assert_eq!(boosts.body["data"][0]["id"], granted.body["boost_id"]);
    assert_eq!(boosts.body["data"][0]["until"], until);
    assert_eq!(api.get(&format!("/accounts/{account}")).await.body["limits"], json!({}));
}

#[tokio::test]
async fn a_number_keeps_the_window_that_the_limit_has() {
    let api = Api::start();
    let account = api.account("free").await;
    let (_, secret) = api.key(&account, "read_write").await;
    let request = asked(&api, &secret, Value::Null).await.expect(201);
    let id = request.body["id"].as_str().unwrap();
    let approve = format!("/limit-increases/{id}/approve");
    api.admin("POST", &approve, json!({"limit": 77})).await.expect(200);
    let limits = api.get(&format!("/accounts/{account}/limits")).await.expect(200);
    let limits = limits.body["limits"].as_array().unwrap().clone();
    let ai = limits.iter().find(|limit| limit["name"] == "ai").unwrap();
    assert_eq!((ai["limit"].clone(), ai["window_s"].clone()), (json!(77), json!(3_600)));
}

#[tokio::test]
async fn a_number_keeps_all_else_of_the_limit_also_after_a_restart() {
    let mut api = Api::start();
    let account = api.account("calendar").await;
    let (_, secret) = api.key(&account, "read_write").await;
    let request = asked(&api, &secret, Value::Null).await.expect(201);
    let approve = format!("/limit-increases/{}/approve", request.body["id"].as_str().unwrap());
    api.admin("POST", &approve, json!({"limit": 77})).await.expect(200);
    let own = json!({
        "limit": 77, "window": "3 months", "algorithm": "fixed-window", "unit": "requests",
        "anchor": "calendar", "time_zone": "Europe/Berlin", "reserve": "20%",
    });
    for _ in 0..2 {
        let shown = api.get(&format!("/accounts/{account}")).await.expect(200);
        assert_eq!(shown.body["limits"], json!({ "ai": own }));
        assert_eq!(ai(&api, &secret).await, 77);
        api = api.restart();
    }
}

#[tokio::test]
async fn the_request_of_a_closed_account_cannot_be_granted() {
    let api = Api::start();
    let account = api.account("free").await;
    let (_, secret) = api.key(&account, "read_write").await;
    let mut asks = Vec::new();
    for until in [Value::Null, json!("2126-12-31T00:00:00Z")] {
        let request = asked(&api, &secret, until).await.expect(201);
        asks.push(format!("/limit-increases/{}/approve", request.body["id"].as_str().unwrap()));
    }
    api.admin("DELETE", &format!("/accounts/{account}"), Value::Null).await.expect(204);
    for approve in asks {
        api.admin("POST", &approve, json!({"limit": 77})).await.expect_error(404, "not_found");
    }
    let boosts = api.get(&format!("/accounts/{account}/boosts")).await;
    boosts.expect_error(404, "not_found");
}

#[tokio::test]
async fn a_declined_request_says_why_and_others_do_not_see_it() {
    let api = Api::start();
    let account = api.account("free").await;
    let (_, secret) = api.key(&account, "read_write").await;
    let other = api.account("free").await;
    let (_, others) = api.key(&other, "read_write").await;
    let request = asked(&api, &secret, Value::Null).await.expect(201);
    let decline = format!("/limit-increases/{}/decline", request.body["id"].as_str().unwrap());
    api.admin("POST", &decline, json!({})).await.expect_error(400, "invalid_request");
    api.admin("POST", &decline, json!({"reason": "not yet"})).await.expect(200);
    let own = api.own(&secret, "/limit-increases").await.expect(200);
    assert_eq!(own.body["data"][0]["status"], "declined");
    assert_eq!(own.body["data"][0]["reason"], "not yet");
    assert_eq!(api.own(&others, "/limit-increases").await.body["data"], json!([]));
    assert_eq!(api.own(&others, "/events").await.body["data"].as_array().unwrap().len(), 1);
    assert_eq!(ai(&api, &secret).await, 50);
}

#[tokio::test]
async fn requests_that_make_no_sense_are_refused_and_their_number_is_bounded() {
    let api = Api::start();
    let account = api.account("free").await;
    let (_, secret) = api.key(&account, "read_write").await;
    let (_, reader) = api.key(&account, "read").await;
    asked(&api, &reader, Value::Null).await.expect_error(403, "key_type_forbidden");
    let wrong = asked(&api, &secret, json!("2020-01-01T00:00:00Z")).await;
    assert_eq!(wrong.expect_error(400, "invalid_request").body["error"]["param"], "until");
    let body = json!({"limit": "gold", "expected_volume": 5, "use_case": "a", "timeline": "b"});
    let wrong = api.own_with(&secret, "POST", "/limit-increases", &[], body).await;
    assert_eq!(wrong.expect_error(400, "invalid_request").body["error"]["param"], "limit");
    let body = json!({"limit": "ai", "expected_volume": [], "use_case": "a", "timeline": "b"});
    let wrong = api.own_with(&secret, "POST", "/limit-increases", &[], body).await;
    let wrong = wrong.expect_error(400, "invalid_request");
    assert_eq!(wrong.body["error"]["param"], "expected_volume");
    for _ in 0..20 {
        asked(&api, &secret, Value::Null).await.expect(201);
    }
    asked(&api, &secret, Value::Null).await.expect_error(409, "conflict");
}

#[tokio::test]
async fn an_account_that_nothing_limits_is_told_so() {
    let api = Api::start();
    let account = api.account("payg").await;
    let (_, secret) = api.key(&account, "read_write").await;
    let refused = asked(&api, &secret, Value::Null).await.expect_error(400, "invalid_request");
    assert_eq!(refused.body["detail"], "`limit`: nothing limits the account.");
}
