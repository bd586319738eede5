//! Wallets through the admin API.

use serde_json::{Value, json};

use crate::support::Api;

#[tokio::test]
async fn credit_is_posted_and_shown_everywhere_alike() {
    let api = Api::start();
    let account = api.account("payg").await;
    let (_, secret) = api.key(&account, "read").await;
    let path = format!("/accounts/{account}/wallet");
    let top_up = json!({"amount": "25.00", "note": "invoice 7"});
    let posted = api.admin("POST", &format!("{path}/top-ups"), top_up).await.expect(201);
    assert_eq!(posted.body["balance"], "25.00");
    assert_eq!(posted.body["available"], "25.00");
    let gift = json!({
        "amount": "5", "category": "promo", "priority": 10, "expires_at": "2100-01-01T00:00:00Z",
    });
    api.admin("POST", &format!("{path}/top-ups"), gift).await.expect(201);
    let taken = json!({"amount": "-1.50", "reason": "a refund by hand"});
    let taken = api.admin("POST", &format!("{path}/adjustments"), taken).await.expect(201);
    assert_eq!(taken.body["balance"], "28.50");

    let wallet = api.get(&path).await.expect(200);
    assert_eq!(wallet.body["currency"], "USD");
    assert_eq!(wallet.body["held"], "0.00");
    assert_eq!(wallet.body["credit_line"], "0.00");
    assert_eq!(wallet.body["alerts"], json!(["5.00", "20%"]));
    let grants = wallet.body["grants"].as_array().unwrap();
    assert_eq!(grants[0]["category"], "promo", "what was given burns first");
    assert_eq!(grants[0]["remaining"], "3.50");
    assert_eq!(grants[1]["entry_id"], posted.body["entry_id"]);
    assert_eq!(api.own(&secret, "/wallet").await.expect(200).body, wallet.body);

    let entries = api.get(&format!("{path}/entries")).await.expect(200);
    let kinds: Vec<_> = entries.body["data"].as_array().unwrap().iter().collect();
    let kinds: Vec<_> = kinds.iter().map(|entry| entry["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["adjustment", "grant", "top_up"]);
    assert_eq!(entries.body["data"][0]["note"], "a refund by hand");
    assert_eq!(entries.body["data"][2]["note"], "invoice 7");
    assert_eq!(api.own(&secret, "/wallet/entries").await.body, entries.body);
    let page = api.own(&secret, "/wallet/entries?limit=2").await.expect(200);
    let cursor = page.body["next_cursor"].as_str().unwrap();
    let rest = api.own(&secret, &format!("/wallet/entries?limit=2&cursor={cursor}")).await;
    assert_eq!(rest.body["data"][0]["kind"], "top_up");
    assert_eq!(rest.body["next_cursor"], Value::Null);
}

#[tokio::test]
async fn amounts_that_no_wallet_takes_are_refused_by_name() {
    let api = Api::start();
    let account = api.account("payg").await;
    let path = format!("/accounts/{account}/wallet/top-ups");
    for wrong in ["0", "-5", "", "1e3", "5 USD", "0.0000000001", "1000000001", "99999999999999"] {
        let refused = api.admin("POST", &path, json!({"amount": wrong})).await;
        let refused = refused.expect_error(400, "invalid_request");
        assert_eq!(refused.body["error"]["param"], "amount", "{wrong}");
    }
    api.admin("POST", &path, json!({"amount": 25.0})).await.expect_error(400, "invalid_request");
    let wrong = json!({"amount": "1", "priority": 101});
    let wrong = api.admin("POST", &path, wrong).await.expect_error(400, "invalid_request");
    assert_eq!(wrong.body["error"]["param"], "priority");
    let wrong = json!({"amount": "1", "expires_at": "2001-01-01T00:00:00Z"});
    let wrong = api.admin("POST", &path, wrong).await.expect_error(400, "invalid_request");
    assert_eq!(wrong.body["error"]["param"], "expires_at");
    let path = format!("/accounts/{account}/wallet/adjustments");
    let silent = api.admin("POST", &path, json!({"amount": "1", "reason": " "})).await;
    assert_eq!(silent.expect_error(400, "invalid_request").body["error"]["param"], "reason");
    assert_eq!(api.get(&format!("/accounts/{account}/wallet")).await.body["balance"], "0.00");
}

#[tokio::test]
async fn the_terms_of_a_wallet_change_in_part() {
    let api = Api::start();
    let account = api.account("payg").await;
    let path = format!("/accounts/{account}/wallet");
    let terms = json!({
        "credit_line": "10.00", "alerts": ["2.50", "24h"],
        "auto_top_up": {"threshold": "5.00", "amount": "20.00", "monthly_max": "100.00"},
    });
    let changed = api.admin("PATCH", &path, terms).await.expect(200);
    assert_eq!(changed.body["credit_line"], "10.00");
    assert_eq!(changed.body["available"], "10.00");
    assert_eq!(changed.body["alerts"], json!(["2.50", "24h"]));
    assert_eq!(changed.body["auto_top_up"]["amount"], "20.00");
    let tag = changed.header("etag").to_owned();
    let less = json!({"auto_top_up": null});
    let less = api.admin_with("PATCH", &path, &[("if-match", &tag)], less).await.expect(200);
    assert_eq!(less.body["auto_top_up"], Value::Null);
    assert_eq!(less.body["credit_line"], "10.00");
    let stale = json!({"credit_line": null});
    let stale = api.admin_with("PATCH", &path, &[("if-match", &tag)], stale).await;
    stale.expect_error(412, "precondition_failed");
    for (member, value) in [
        ("credit_line", json!("-1")),
        ("credit_line", json!("1000000001")),
        ("alerts", json!(["soon"])),
        ("auto_top_up.amount", json!({"threshold": "1", "amount": "0"})),
        ("auto_top_up.threshold", json!({"threshold": "x", "amount": "1"})),
    ] {
        let name = member.split('.').next().unwrap();
        let refused = api.admin("PATCH", &path, json!({name: value})).await;
        let refused = refused.expect_error(400, "invalid_request");
        assert_eq!(refused.body["error"]["param"], member);
    }
}

#[tokio::test]
async fn the_ledger_is_verified_while_it_is_written() {
    let api = Api::start();
    let account = api.account("payg").await;
    let path = format!("/accounts/{account}/wallet/top-ups");
    api.admin("POST", &path, json!({"amount": "5.00"})).await.expect(201);
    let proven = api.admin("POST", "/ledger/verify", Value::Null).await.expect(200).body;
    let told = (&proven["ok"], &proven["entries"], &proven["balance"], &proven["violation"]);
    assert_eq!(told, (&json!(true), &json!(1), &json!("5.00"), &Value::Null), "{proven}");
}
