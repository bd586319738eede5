//! Repeated POSTs with an `Idempotency-Key`.

use serde_json::json;

use crate::support::Api;

#[tokio::test]
async fn a_repeated_top_up_counts_once_also_after_a_restart() {
    let api = Api::start();
    let account = api.account("payg").await;
    let path = format!("/accounts/{account}/wallet/top-ups");
    let once = [("idempotency-key", "\"invoice-7\"")];
    let top_up = json!({"amount": "25.00"});
    let first = api.admin_with("POST", &path, &once, top_up.clone()).await.expect(201);
    assert!(first.headers.get("idempotency-replayed").is_none());
    let second = api.admin_with("POST", &path, &once, top_up.clone()).await.expect(201);
    assert_eq!(second.body, first.body);
    assert_eq!(second.header("content-type"), "application/json");
    assert_eq!(second.header("idempotency-replayed"), "true");
    let api = api.restart();
    let third = api.admin_with("POST", &path, &once, top_up).await.expect(201);
    assert_eq!(third.body, first.body);
    assert_eq!(api.get(&format!("/accounts/{account}/wallet")).await.body["balance"], "25.00");
}

#[tokio::test]
async fn one_idempotency_key_is_for_one_request() {
    let api = Api::start();
    let once = [("idempotency-key", "a")];
    let new = json!({"name": "A", "plan": "free"});
    api.admin_with("POST", "/accounts", &once, new).await.expect(201);
    let other = json!({"name": "B", "plan": "free"});
    let other = api.admin_with("POST", "/accounts", &once, other).await;
    other.expect_error(422, "idempotency_mismatch");
    let long = "k".repeat(256);
    for wrong in ["", "\"a", &long] {
        let wrong = [("idempotency-key", wrong)];
        let refused = api.admin_with("POST", "/accounts", &wrong, json!({})).await;
        let refused = refused.expect_error(400, "invalid_request");
        assert_eq!(refused.body["error"]["param"], "Idempotency-Key");
    }
    assert_eq!(api.get("/accounts").await.body["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_refused_request_frees_its_key() {
    let api = Api::start();
    let once = [("idempotency-key", "a")];
    let wrong = json!({"name": "A", "plan": "gold"});
    api.admin_with("POST", "/accounts", &once, wrong).await.expect_error(400, "invalid_request");
    let right = json!({"name": "A", "plan": "free"});
    api.admin_with("POST", "/accounts", &once, right).await.expect(201);
}

#[tokio::test]
async fn of_many_at_once_one_takes_effect() {
    let api = Api::start();
    let account = api.account("payg").await;
    let path = format!("/accounts/{account}/wallet/top-ups");
    let once = [("idempotency-key", "race")];
    let calls = (0..8).map(|_| api.admin_with("POST", &path, &once, json!({"amount": "1"})));
    let mut answers = Vec::new();
    for call in calls.collect::<Vec<_>>() {
        answers.push(call);
    }
    let (a, b, c, d) = {
        let mut calls = answers.into_iter();
        let mut next = || calls.next().unwrap();
        tokio::join!(next(), next(), next(), next())
    };
    let mut done = 0;
    for answer in [a, b, c, d] {
        match answer.status.as_u16() {
            201 => done += 1,
            _ => drop(answer.expect_error(409, "idempotency_in_progress")),
        }
    }
    assert!(done >= 1);
    assert_eq!(api.get(&format!("/accounts/{account}/wallet")).await.body["balance"], "1.00");
}
