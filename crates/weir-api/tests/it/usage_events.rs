//! Usage that was metered elsewhere.

use serde_json::{Value, json};

use crate::support::Api;

fn event(account: &str, id: &str, data: Value) -> Value {
    json!({
        "specversion": "1.0", "type": "job.finished", "source": "trainer/7", "id": id,
        "subject": account, "time": "2026-03-01T12:00:00Z", "data": data,
    })
}

fn hours(seconds: &str) -> Value {
    json!({"price": "training", "usage": {"second": seconds}})
}

async fn balance(api: &Api, account: &str) -> Value {
    api.get(&format!("/accounts/{account}/wallet")).await.body["balance"].clone()
}

async fn rich(api: &Api) -> String {
    let account = api.account("payg").await;
    let path = format!("/accounts/{account}/wallet/top-ups");
    api.admin("POST", &path, json!({"amount": "10.00"})).await.expect(201);
    account
}

#[tokio::test]
async fn an_event_is_charged_once_also_after_a_restart() {
    let api = Api::start();
    let account = rich(&api).await;
    let told = event(&account, "job-1", hours("3600.5"));
    let first = api.admin("POST", "/usage-events", told.clone()).await.expect(200);
    let first = &first.body["data"][0];
    assert_eq!((&first["status"], &first["charge"]), (&json!("charged"), &json!("1.80025")));
    let again = api.admin("POST", "/usage-events", told.clone()).await.expect(200);
    assert_eq!(again.body["data"][0]["status"], "known");
    let api = api.restart();
    let again = api.admin("POST", "/usage-events", told.clone()).await.expect(200);
    assert_eq!(again.body["data"][0]["status"], "known");
    assert_eq!(balance(&api, &account).await, "8.19975");
    let mut other = told;
    other["source"] = "trainer/8".into();
    let other = api.admin("POST", "/usage-events", other).await.expect(200);
    assert_eq!(other.body["data"][0]["status"], "charged", "another source, another event");
    let entries = api.get(&format!("/accounts/{account}/wallet/entries")).await;
    let entry = &entries.body["data"][0];
    assert_eq!((&entry["kind"], &entry["reference"]), (&json!("charge"), &json!("job-1")));
    assert_eq!(entry["note"], "trainer/8");
    assert_eq!(entry["call"]["usage"], json!({"second": 3_600_500}));
    assert_eq!(entry["call"]["key_id"], Value::Null);
}

#[tokio::test]
async fn a_batch_is_taken_as_far_as_it_makes_sense() {
    let api = Api::start();
    let account = rich(&api).await;
    let mut odd = event(&account, "odd", hours("1"));
    odd["prize"] = 1.into();
    let batch = json!([
        event(&account, "a", hours("1000")),
        event(&account, "a", hours("1000")),
        event("acct_nobody", "b", hours("1")),
        event(&account, "c", json!({"price": "none", "usage": {"second": 1}})),
        event(&account, "d", json!({"price": "training", "usage": {"image": 1}})),
        event(&account, "e", json!({"price": "training", "usage": {"gpu_hours": 1}})),
        event(&account, "f", hours("-1")),
        event(&account, "g", hours("0.0001")),
        event(&account, "h", json!({"usage": {"second": 1}})),
        event(&account, "i", json!({"model": "gpt-none", "usage": {"output_tokens": 1}})),
        event(&account, "", hours("1")),
        odd,
        "nonsense",
        event(&account, "z", json!({"model": "llama-3-8b", "usage": {"output_tokens": 1000}})),
    ]);
    let taken = api.admin("POST", "/usage-events", batch.clone()).await.expect(200);
    let told = taken.body["data"].as_array().unwrap();
    let told: Vec<_> = told.iter().map(|one| (&one["status"], &one["error"]["param"])).collect();
    let refused = |param: Option<&str>| (json!("refused"), json!(param));
    let expected = [
        (json!("charged"), Value::Null),
        (json!("known"), Value::Null),
        refused(Some("subject")),
        refused(Some("data.price")),
        refused(Some("data.usage")),
        refused(Some("data.usage.gpu_hours")),
        refused(Some("data.usage.second")),
        refused(Some("data.usage.second")),
        refused(Some("data")),
        refused(Some("data.model")),
        refused(Some("id")),
        refused(Some("prize")),
        refused(None),
        (json!("charged"), Value::Null),
    ];
    let expected: Vec<_> = expected.iter().map(|(status, param)| (status, param)).collect();
    assert_eq!(told, expected);
    let before = balance(&api, &account).await;
    let again = api.admin("POST", "/usage-events", batch).await.expect(200);
    assert_eq!(again.body["data"][0]["status"], "known");
    assert_eq!(balance(&api, &account).await, before, "sent again as a whole");
}

#[tokio::test]
async fn a_single_event_that_makes_no_sense_is_refused_as_a_request() {
    let api = Api::start();
    let account = rich(&api).await;
    let wrong = event(&account, "a", json!({"price": "none", "usage": {"second": 1}}));
    let refused = api.admin("POST", "/usage-events", wrong).await;
    assert_eq!(refused.expect_error(400, "invalid_request").body["error"]["param"], "data.price");
    api.admin("POST", "/usage-events", json!([])).await.expect_error(400, "invalid_request");
    let many: Vec<_> = (0..501).map(|_| event(&account, "a", hours("1"))).collect();
    api.admin("POST", "/usage-events", json!(many)).await.expect_error(400, "invalid_request");
    assert_eq!(balance(&api, &account).await, "10.00");
}

#[tokio::test]
async fn what_the_wallet_does_not_cover_becomes_debt_and_usage_tells_it() {
    let api = Api::start();
    let account = rich(&api).await;
    let told = event(&account, "big", hours("30000"));
    let told = api.admin("POST", "/usage-events", told).await.expect(200);
    assert_eq!(told.body["data"][0]["charge"], "15.00");
    assert_eq!(balance(&api, &account).await, "-5.00");
    let free = api.account("free").await;
    let told = event(&free, "free", hours("10"));
    let told = api.admin("POST", "/usage-events", told).await.expect(200);
    assert_eq!(told.body["data"][0]["entry_id"], Value::Null, "the plan is not charged");
    assert_eq!(balance(&api, &free).await, "0.00");
}

#[tokio::test]
async fn usage_tells_what_an_event_used_on_a_plan_that_is_not_charged() {
    let api = Api::start();
    let free = api.account("free").await;
    let used = json!({"model": "llama-3-8b", "usage": {"input_tokens": 7, "output_tokens": 1000}});
    let told = event(&free, "one", used);
    for status in ["charged", "known"] {
        let taken = api.admin("POST", "/usage-events", told.clone()).await.expect(200);
        assert_eq!(taken.body["data"][0]["status"], status);
    }
    let path = format!("/accounts/{free}/usage?interval=day&group_by=model");
    let usage = api.eventually(&path, |usage| usage["totals"]["output_tokens"] == 1_000).await;
    let totals = &usage["totals"];
    assert_eq!((&totals["input_tokens"], &totals["requests"]), (&json!(7), &json!(0)));
    assert_eq!(totals["charged"], "0.00");
    assert_eq!(usage["series"][0]["group"]["model"], "llama-3-8b");
}
