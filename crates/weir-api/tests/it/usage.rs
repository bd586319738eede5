//! Usage: sums, groups, and whose they are.

use serde_json::json;

use crate::support::Api;

#[tokio::test]
async fn usage_adds_up_to_what_was_charged() {
    let api = Api::start();
    let account = api.account("payg").await;
    let (key, secret) = api.key(&account, "read_write").await;
    let (_, idle) = api.key(&account, "read").await;
    let other = api.account("payg").await;
    let (_, others) = api.key(&other, "read_write").await;
    for id in [&account, &other] {
        let path = format!("/accounts/{id}/wallet/top-ups");
        api.admin("POST", &path, json!({"amount": "10.00"})).await.expect(201);
    }
    for _ in 0..3 {
        api.chat(&secret, 1_000).await;
    }
    api.chat(&others, 500).await;

    // 1,000 x 0.15/1M + 1,000 x 0.60/1M, three times.
    let path = format!("/accounts/{account}/usage?interval=minute&group_by=key,model,status");
    let usage = api.eventually(&path, |usage| usage["totals"]["requests"] == 3).await;
    assert_eq!(usage["totals"]["charged"], "0.00225");
    let wallet = api.get(&format!("/accounts/{account}/wallet")).await;
    assert_eq!(wallet.body["balance"], "9.99775");
    let row = &usage["series"][0];
    let group = json!({"key": key, "model": "llama-3-8b", "status": "200"});
    assert_eq!(row["group"], group);
    assert_eq!(row["input_tokens"], 3_000);
    assert_eq!(row["latency_p95_ms"], 64);

    let all = api
        .eventually("/usage?interval=day&group_by=route", |usage| usage["totals"]["requests"] == 4);
    let all = all.await;
    assert_eq!(all["totals"]["charged"], "0.0027");
    assert_eq!(all["series"][0]["group"], json!({"route": "POST /ai/chat"}));

    let own = api.own(&idle, "/usage?interval=hour").await.expect(200);
    assert_eq!(own.body["totals"], usage["totals"], "a customer sees the whole account");
    let summary = api.own(&secret, "/usage/summary").await.expect(200);
    assert_eq!(summary.body["totals"]["requests"], 3);
    assert_eq!(summary.body["peak"]["requests"], 3);
    assert_eq!(summary.body["top"]["keys"][0]["name"], key.as_str());
    assert_eq!(summary.body["top"]["models"][0]["charged"], "0.00225");
    assert_eq!(summary.body["burn_per_hour"], "0.00225");
    assert_eq!(summary.body["runway_hours"], 4_443);
    assert!(!summary.text.contains(&other));
    let in_short = api.get(&format!("/accounts/{account}/usage/summary")).await.expect(200);
    assert_eq!(in_short.body["totals"], summary.body["totals"]);
}

#[tokio::test]
async fn questions_about_usage_that_make_no_sense_are_refused_by_name() {
    let api = Api::start();
    let account = api.account("free").await;
    let check = async |query: &str, param: &str| {
        let path = format!("/accounts/{account}/usage?{query}");
        let refused = api.get(&path).await.expect_error(400, "invalid_request");
        assert_eq!(refused.body["error"]["param"], param, "{query}");
    };
    check("from=yesterday", "from").await;
    check("from=2030-01-01T00:00:00Z&to=2029-01-01T00:00:00Z", "from").await;
    check("interval=minute&from=2020-01-01T00:00:00Z&to=2020-01-05T00:00:00Z", "from").await;
    check("group_by=colour", "group_by").await;
    api.get("/usage?group_by=key").await.expect_error(400, "invalid_request");
    api.get("/usage?interval=week").await.expect_error(400, "invalid_request");
    let empty = api.get(&format!("/accounts/{account}/usage")).await.expect(200);
    assert_eq!(empty.body["series"], json!([]));
    assert_eq!(empty.body["totals"]["charged"], "0.00");
}

#[tokio::test]
async fn a_limit_that_is_used_up_says_so_and_one_at_its_begin_says_nothing_yet() {
    let api = Api::start();
    let account = api.account("free").await;
    let (_, secret) = api.key(&account, "read_write").await;
    for _ in 0..30 {
        api.chat(&secret, 10).await;
    }
    let summary = api.own(&secret, "/usage/summary").await.expect(200);
    let exhaustion = summary.body["exhaustion"].as_array().unwrap();
    let of = |name: &str| {
        let limit = exhaustion.iter().find(|limit| limit["name"] == name).unwrap();
        limit["exhaustion_at"].clone()
    };
    assert!(of("route:POST /ai/chat").is_string(), "{}", summary.text);
    assert!(of("ai").is_null() && of("read").is_null(), "{}", summary.text);
}
