//! Events, and who changed what.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::Api;

#[tokio::test]
async fn every_change_is_written_down_with_who_and_what() {
    let api = Api::start();
    let account = api.account("free").await;
    let mine = [("x-request-id", "req-7")];
    let path = format!("/accounts/{account}");
    api.admin_with("PATCH", &path, &mine, json!({"plan": "payg"})).await.expect(200);
    let (key, secret) = api.key(&account, "read").await;
    api.admin("DELETE", &format!("/keys/{key}"), Value::Null).await.expect(204);
    let top_up = json!({"amount": "5.00", "note": "gift"});
    api.admin("POST", &format!("{path}/wallet/top-ups"), top_up).await.expect(201);
    let wrong = api.admin("PATCH", &path, json!({"plan": "gold"})).await;
    wrong.expect_error(400, "invalid_request");

    let audit = api.get(&format!("/audit?account_id={account}")).await.expect(200);
    let changes = audit.body["data"].as_array().unwrap();
    let actions: Vec<_> = changes.iter().map(|it| it["action"].as_str().unwrap()).collect();
    let expected =
        ["wallet.topped_up", "key.revoked", "key.created", "account.changed", "account.created"];
    assert_eq!(actions, expected);
    let moved = &changes[3];
    assert_eq!(moved["actor"], "admin");
    assert_eq!(moved["request_id"], "req-7");
    assert_eq!(moved["subject"], account.as_str());
    assert_eq!(moved["before"], json!({"plan": "free"}));
    assert_eq!(moved["after"], json!({"plan": "payg"}));
    assert_eq!(changes[0]["after"]["note"], "gift");
    assert_eq!(changes[4]["before"], Value::Null);
    let digest = weir_engine::secret::SecretDigest::of(secret.as_bytes()).to_hex();
    assert!(!audit.text.contains(&secret) && !audit.text.contains(&digest));

    let page = api.get("/audit?limit=2").await.expect(200);
    let cursor = page.body["next_cursor"].as_str().unwrap();
    let rest = api.get(&format!("/audit?limit=10&cursor={cursor}")).await.expect(200);
    assert_eq!(rest.body["data"].as_array().unwrap().len(), 3);
    let other = api.account("free").await;
    let other = api.get(&format!("/audit?account_id={other}")).await.expect(200);
    assert_eq!(other.body["data"].as_array().unwrap().len(), 1);
    api.get("/audit?account_id=x").await.expect_error(400, "invalid_request");
}

#[tokio::test]
async fn a_refund_is_written_down_with_its_charge_and_reason() {
    let api = Api::start();
    let account = api.account("payg").await;
    let (_, secret) = api.key(&account, "read_write").await;
    let wallet = format!("/accounts/{account}/wallet");
    let top_up = json!({"amount": "5.00"});
    api.admin("POST", &format!("{wallet}/top-ups"), top_up).await.expect(201);
    api.chat(&secret, 10).await;
    let entries = api.get(&format!("{wallet}/entries?limit=1")).await.expect(200);
    let charge = &entries.body["data"][0];
    assert_eq!(charge["kind"], "charge");
    let refund = json!({"entry_id": charge["id"], "reason": "a broken answer"});
    let posted = api.admin("POST", &format!("{wallet}/refunds"), refund).await.expect(201);

    let audit = api.get(&format!("/audit?account_id={account}&limit=1")).await.expect(200);
    let change = &audit.body["data"][0];
    assert_eq!((&change["action"], &change["actor"]), (&json!("wallet.refunded"), &json!("admin")));
    assert_eq!(change["after"]["charge"], charge["id"]);
    assert_eq!(change["after"]["balance"], posted.body["balance"]);
    assert_eq!(change["after"]["note"], "a broken answer");
}

#[tokio::test]
async fn holds_are_written_down_as_they_are_made_settled_and_voided() {
    let api = Api::start();
    let account = api.account("payg").await;
    let path = format!("/accounts/{account}");
    let top_up = json!({"amount": "5.00"});
    api.admin("POST", &format!("{path}/wallet/top-ups"), top_up).await.expect(201);
    let new = json!({"amount": "2.00", "expires_in": "1h", "reference": "job 7"});
    let mut ids = Vec::new();
    for _ in 0..2 {
        let made = api.admin("POST", &format!("{path}/holds"), new.clone()).await.expect(201);
        ids.push(made.body["id"].as_str().unwrap().to_owned());
    }
    for _ in 0..2 {
        // Asked again it is the same answer, and no other change.
        let settle = format!("/holds/{}/settle", ids[0]);
        api.admin("POST", &settle, json!({"amount": "0.75"})).await.expect(200);
        api.admin("POST", &format!("/holds/{}/void", ids[1]), json!({})).await.expect(200);
    }
    let audit = api.get(&format!("/audit?account_id={account}&limit=4")).await.expect(200);
    let changes = audit.body["data"].as_array().unwrap();
    let told: Vec<_> =
        changes.iter().map(|it| (it["action"].as_str().unwrap(), &it["subject"])).collect();
    let (first, second) = (json!(ids[0]), json!(ids[1]));
    let expected = [
        ("hold.voided", &second),
        ("hold.settled", &first),
        ("hold.created", &second),
        ("hold.created", &first),
    ];
    assert_eq!(told, expected);
    assert!(changes.iter().all(|change| change["actor"] == "admin"), "{}", audit.text);
    assert_eq!(changes[1]["before"], json!({"status": "open"}));
    assert_eq!(changes[1]["after"]["charge"], "0.75");
    assert_eq!(changes[3]["after"]["reference"], "job 7");
}

#[tokio::test]
async fn a_customers_webhook_is_written_down_as_theirs() {
    let api = Api::start();
    let account = api.account("free").await;
    let (key, secret) = api.key(&account, "read_write").await;
    let new = json!({"url": "https://example.com/hook", "events": ["wallet.low"]});
    let made = api.own_with(&secret, "POST", "/webhooks", &[], new).await.expect(201);
    let path = format!("/webhooks/{}", made.body["id"].as_str().unwrap());
    let change = json!({"description": "new"});
    api.own_with(&secret, "PATCH", &path, &[], change).await.expect(200);
    api.own_with(&secret, "DELETE", &path, &[], Value::Null).await.expect(204);

    let audit = api.get(&format!("/audit?account_id={account}&limit=3")).await.expect(200);
    let changes = audit.body["data"].as_array().unwrap();
    let told: Vec<_> = changes.iter().map(|it| (&it["action"], &it["actor"])).collect();
    let (deleted, changed, created) =
        (json!("webhook.deleted"), json!("webhook.changed"), json!("webhook.created"));
    let key = json!(key);
    assert_eq!(told, [(&deleted, &key), (&changed, &key), (&created, &key)]);
    assert_eq!(changes[1]["after"], json!({"description": "new"}));
    let signing = made.body["secret"].as_str().unwrap();
    assert!(!audit.text.contains(signing.trim_start_matches("whsec_")), "{}", audit.text);
}

#[tokio::test]
async fn what_a_customer_changes_is_written_down_as_theirs() {
    let api = Api::start();
    let account = api.account("free").await;
    let new = json!({"name": "m", "type": "read_write", "scopes": ["accounts"]});
    let made = api.admin("POST", &format!("/accounts/{account}/keys"), new).await.expect(201);
    let secret = made.body["secret"].as_str().unwrap();
    let new = json!({"name": "n", "type": "read"});
    api.own_with(secret, "POST", "/keys", &[], new).await.expect(201);
    let audit = api.get("/audit?limit=1").await.expect(200);
    assert_eq!(audit.body["data"][0]["actor"], made.body["id"]);
    assert_eq!(audit.body["data"][0]["action"], "key.created");
}

#[tokio::test]
async fn events_are_read_on_from_where_one_stopped() {
    let api = Api::start();
    let account = api.account("free").await;
    let empty = api.get("/events").await.expect(200);
    assert_eq!(empty.body, json!({"data": [], "next_cursor": null}));
    api.key(&account, "read").await;
    api.key(&account, "read").await;
    let first = api.get("/events?limit=1").await.expect(200);
    let cursor = first.body["next_cursor"].as_str().unwrap().to_owned();
    assert_eq!(first.body["data"][0]["id"], cursor.as_str());
    let rest = api.get(&format!("/events?after={cursor}")).await.expect(200);
    assert_eq!(rest.body["data"].as_array().unwrap().len(), 1);
    let last = rest.body["next_cursor"].as_str().unwrap().to_owned();
    let none = api.get(&format!("/events?after={last}")).await.expect(200);
    assert_eq!(none.body, json!({"data": [], "next_cursor": last}));
    let wrong = api.get("/events?after=x").await.expect_error(400, "invalid_request");
    assert_eq!(wrong.body["error"]["param"], "after");
}

#[tokio::test]
async fn a_client_that_waits_gets_the_next_event_of_its_own_account() {
    let api = Api::start();
    let account = api.account("free").await;
    let (_, secret) = api.key(&account, "read").await;
    let other = api.account("free").await;
    let seen = api.own(&secret, "/events").await.expect(200);
    let path = format!("/events?after={}", seen.body["next_cursor"].as_str().unwrap());
    let wait = [("prefer", "respond-async, wait=30")];
    let waiting = api.own_with(&secret, "GET", &path, &wait, Value::Null);
    let acting = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        api.key(&other, "read").await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        api.key(&account, "read").await
    };
    let (answer, (key, _)) =
        tokio::time::timeout(Duration::from_secs(20), async { tokio::join!(waiting, acting) })
            .await
            .unwrap();
    let answer = answer.expect(200);
    assert_eq!(answer.header("preference-applied"), "wait=30");
    assert_eq!(answer.body["data"].as_array().unwrap().len(), 1);
    assert_eq!(answer.body["data"][0]["data"]["key_id"], key.as_str());

    let path = format!("/events?after={}", answer.body["next_cursor"].as_str().unwrap());
    let short = [("prefer", "wait=1")];
    let nothing = api.own_with(&secret, "GET", &path, &short, Value::Null).await.expect(200);
    assert_eq!(nothing.body["data"], json!([]));
}
