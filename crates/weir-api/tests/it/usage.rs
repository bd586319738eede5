//! Usage: sums, groups, and whose they are.

use serde_json::{Value, json};
use weir_core::money::Nano;

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
async fn a_histogram_is_told_on_demand_and_adds_up_to_the_calls() {
    let api = Api::start();
    let account = api.account("payg").await;
    let (_, secret) = api.key(&account, "read_write").await;
    let path = format!("/accounts/{account}/wallet/top-ups");
    api.admin("POST", &path, json!({"amount": "10.00"})).await.expect(201);
    for _ in 0..5 {
        api.chat(&secret, 100).await;
    }
    let path = format!("/accounts/{account}/usage?interval=minute&group_by=model");
    let plain = api.eventually(&path, |usage| usage["totals"]["requests"] == 5).await;
    assert!(!plain.to_string().contains("histogram"), "nobody asked: {plain}");
    let told = api.get(&format!("{path}&histogram=true")).await.expect(200).body;
    for sums in told["series"].as_array().unwrap().iter().chain([&told["totals"]]) {
        let buckets = sums["latency_histogram"].as_array().unwrap();
        let calls: u64 = buckets.iter().map(|it| it["requests"].as_u64().unwrap()).sum();
        assert_eq!(calls, sums["requests"].as_u64().unwrap(), "{sums}");
        let bounds: Vec<Option<u64>> = buckets.iter().map(|it| it["up_to_ms"].as_u64()).collect();
        assert!(bounds[..19].is_sorted() && bounds[0] == Some(1), "{bounds:?}");
        assert_eq!((bounds.len(), bounds[19]), (20, None), "the slowest have no upper bound");
    }
    // Each call of the test took 40 ms.
    let bucket = json!({"up_to_ms": 64, "requests": 5});
    assert!(told["totals"]["latency_histogram"].as_array().unwrap().contains(&bucket));
    let own = api.own(&secret, "/usage?interval=minute&histogram=true").await.expect(200);
    assert_eq!(own.body["totals"], told["totals"]);
    let csv = api.get(&format!("{path}&histogram=true&format=csv")).await.expect(200);
    let head = csv.text.lines().next().unwrap();
    assert!(
        head.contains(",latency_p99_ms,latency_up_to_1_ms,") && head.ends_with(",latency_above")
    );
    let calls: u64 =
        column(&csv.text, "latency_up_to_64_ms").iter().map(|it| it.parse::<u64>().unwrap()).sum();
    assert_eq!(calls, 5);
    api.get(&format!("{path}&histogram=maybe")).await.expect_error(400, "invalid_request");
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

/// The cells of one column of a CSV file without quotes.
fn column<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let mut lines = text.lines();
    let index = lines.next().unwrap().split(',').position(|heading| heading == name).unwrap();
    lines.map(|line| line.split(',').nth(index).unwrap()).collect()
}

/// Charges of a few decimals, in nano units.
fn sum<'a>(charges: impl IntoIterator<Item = &'a str>) -> Nano {
    let amounts = charges.into_iter().map(|text| text.parse::<Nano>().unwrap());
    amounts.fold(Nano::ZERO, |sum, amount| sum.checked_add(amount).unwrap())
}

#[tokio::test]
async fn tables_have_the_rows_and_the_totals_of_the_json_also_of_closed_accounts() {
    let api = Api::start();
    let mut accounts = Vec::new();
    for calls in 1..=3 {
        let account = api.account("payg").await;
        let (key, secret) = api.key(&account, "read_write").await;
        let path = format!("/accounts/{account}/wallet/top-ups");
        api.admin("POST", &path, json!({"amount": "10.00"})).await.expect(201);
        for _ in 0..calls {
            api.chat(&secret, 1_000).await;
        }
        accounts.push((account, key, secret));
    }
    let by_account = "/usage?interval=day&group_by=account,key,model";
    let json = api.eventually(by_account, |usage| usage["totals"]["requests"] == 6).await;
    let closed = format!("/accounts/{}", accounts[1].0);
    api.admin("DELETE", &closed, Value::Null).await.expect(204);
    assert_eq!(api.get(by_account).await.body["series"], json["series"]);
    assert_eq!(api.get("/usage?interval=day").await.body["totals"], json["totals"]);
    for (row, (account, key, _)) in json["series"].as_array().unwrap().iter().zip(&accounts) {
        let group = json!({"account": account, "key": key, "model": "llama-3-8b"});
        assert_eq!(row["group"], group);
    }

    let csv = api.get(&format!("{by_account}&format=csv")).await.expect(200);
    assert!(csv.header("content-type").starts_with("text/csv"));
    assert_eq!(csv.header("vary"), "accept");
    let head = "start,account,key,model,requests,errors,limited,input_tokens,\
                cached_input_tokens,cache_write_tokens,audio_input_tokens,output_tokens,\
                reasoning_tokens,audio_output_tokens,request_bytes,response_bytes,charged,\
                latency_p50_ms,latency_p95_ms,latency_p99_ms";
    assert_eq!(csv.text.lines().next(), Some(head));
    assert_eq!(column(&csv.text, "requests"), ["1", "2", "3"]);
    let ids: Vec<&str> = accounts.iter().map(|(account, ..)| account.as_str()).collect();
    assert_eq!(column(&csv.text, "account"), ids);
    let total = json["totals"]["charged"].as_str().unwrap();
    assert_eq!(sum(column(&csv.text, "charged")), total.parse().unwrap());

    let accept = [("accept", "application/jsonl")];
    let jsonl = api.admin_with("GET", by_account, &accept, Value::Null).await.expect(200);
    assert_eq!(jsonl.header("content-type"), "application/jsonl");
    let lines: Vec<Value> =
        jsonl.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(json!(lines), json["series"]);

    let (account, _, secret) = &accounts[2];
    let own = api.own_with(secret, "GET", "/usage", &[("accept", "text/csv")], Value::Null).await;
    assert_eq!(column(&own.expect(200).text, "requests"), ["3"]);
    let path = format!("/accounts/{account}/usage?format=csv&group_by=status");
    assert_eq!(column(&api.get(&path).await.text, "status"), ["200"]);
    api.get("/usage?format=xml").await.expect_error(400, "invalid_request");
}
