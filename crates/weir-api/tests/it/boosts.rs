//! Boosts through the admin API.

use serde_json::{Value, json};

use crate::support::Api;

async fn limit(api: &Api, account: &str, name: &str) -> Value {
    let limits = api.get(&format!("/accounts/{account}/limits")).await.expect(200);
    let limits = limits.body["limits"].as_array().unwrap().clone();
    limits.into_iter().find(|limit| limit["name"] == name).unwrap()
}

#[tokio::test]
async fn a_boost_acts_at_once_survives_a_restart_and_ends_by_hand() {
    let api = Api::start();
    let account = api.account("free").await;
    let (_, secret) = api.key(&account, "read_write").await;
    api.chat(&secret, 10).await;
    let path = format!("/accounts/{account}/boosts");
    let until = "2026-12-31T00:00:00Z";
    let new = json!({"limit": "ai", "multiplier": 1.5, "until": until, "reason": "launch"});
    let made = api.admin("POST", &path, new).await.expect(201);
    assert_eq!(made.body["multiplier"], 1.5);
    assert_eq!(made.body["active"], true);
    let ai = limit(&api, &account, "ai").await;
    assert_eq!((ai["limit"].clone(), ai["used"].clone()), (json!(75), json!(1)));
    assert_eq!(ai["boosted"], true);
    assert_eq!(limit(&api, &account, "route:POST /ai/chat").await["limit"], 45, "the class too");

    let api = api.restart();
    assert_eq!(limit(&api, &account, "ai").await["limit"], 75);
    let list = api.get(&path).await.expect(200);
    assert_eq!(list.body["data"].as_array().unwrap().len(), 1);
    assert_eq!(list.body["data"][0], made.body);
    let one = format!("/boosts/{}", made.body["id"].as_str().unwrap());
    assert_eq!(api.get(&one).await.expect(200).body, made.body);
    api.admin("DELETE", &one, Value::Null).await.expect(204);
    assert_eq!(limit(&api, &account, "ai").await["limit"], 50);
    api.admin("DELETE", &one, Value::Null).await.expect_error(404, "not_found");
    let events = api.get("/events").await.expect(200);
    let kinds: Vec<_> = events.body["data"].as_array().unwrap().iter().collect();
    let kinds: Vec<_> = kinds.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["key.created", "boost.started", "boost.ended"]);
}

#[tokio::test]
async fn a_boost_begins_and_ends_by_the_clock_and_says_so() {
    let api = Api::start();
    let account = api.account("free").await;
    let now = api.engine.now();
    let at = |millis: i64| {
        let at = now.plus(weir_core::time::Span::from_millis(millis));
        jiff::Timestamp::from_microsecond(at.micros()).unwrap().to_string()
    };
    let new = json!({"limit": "ai", "value": 500, "from": at(300), "until": at(900)});
    let path = format!("/accounts/{account}/boosts");
    let made = api.admin("POST", &path, new).await.expect(201);
    assert_eq!(made.body["active"], false);
    assert_eq!(limit(&api, &account, "ai").await["limit"], 50);
    let told = |kind: &'static str| {
        move |events: &Value| {
            events["data"].as_array().unwrap().iter().any(|event| event["type"] == kind)
        }
    };
    api.eventually("/events", told("boost.started")).await;
    api.eventually("/events", told("boost.ended")).await;
    assert_eq!(limit(&api, &account, "ai").await["limit"], 50);
    assert_eq!(api.get(&path).await.body["data"], json!([]));
    let api = api.restart();
    assert_eq!(api.get(&path).await.body["data"], json!([]));
}

#[tokio::test]
async fn boosts_that_make_no_sense_are_refused_by_name() {
    let api = Api::start();
    let account = api.account("free").await;
    let path = format!("/accounts/{account}/boosts");
    let check = async |change: Value, param: &str| {
        let mut body = json!({"limit": "ai", "multiplier": 2, "until": "2026-12-31T00:00:00Z"});
        for (name, value) in change.as_object().unwrap() {
            body[name] = value.clone();
        }
        let refused = api.admin("POST", &path, body).await.expect_error(400, "invalid_request");
        assert_eq!(refused.body["error"]["param"], param, "{change}");
    };
    check(json!({"limit": "aj"}), "limit").await;
    check(json!({"limit": "*", "multiplier": null, "value": 5}), "limit").await;
    check(json!({"multiplier": null}), "multiplier").await;
    check(json!({"value": 5}), "multiplier").await;
    check(json!({"multiplier": 0}), "multiplier").await;
    check(json!({"multiplier": -1}), "multiplier").await;
    check(json!({"multiplier": 1e12}), "multiplier").await;
    check(json!({"multiplier": 1.000_000_1}), "multiplier").await;
    check(json!({"until": "2020-01-01T00:00:00Z"}), "until").await;
    check(json!({"until": "2100-01-01T00:00:00Z"}), "until").await;
    check(json!({"from": "2027-01-01T00:00:00Z"}), "until").await;
    check(json!({"from": "soon"}), "from").await;
    assert_eq!(api.get(&path).await.body["data"], json!([]));
}
