//! Accounts through the admin API.

use serde_json::{Value, json};

use crate::support::{Answer, Api};

#[tokio::test]
async fn an_account_is_made_shown_changed_and_closed() {
    let api = Api::start();
    let new = json!({
        "name": "Acme", "plan": "free", "external_id": "crm-1", "email": "it@acme.example",
        "metadata": {"tier": 1},
    });
    let made = api.admin("POST", "/accounts", new).await.expect(201);
    let id = made.body["id"].as_str().unwrap();
    assert_eq!(made.header("location"), format!("/admin/v1/accounts/{id}"));
    assert_eq!(made.header("cache-control"), "no-store");
    let shown = api.get(&format!("/accounts/{id}")).await.expect(200);
    assert_eq!(shown.body, made.body);
    assert_eq!(shown.header("etag"), made.header("etag"));
    assert_eq!(shown.body["status"], "active");
    assert_eq!(shown.body["metadata"], json!({"tier": 1}));

    let change = json!({"plan": "pro", "status": "suspended", "external_id": null});
    let changed = api.admin("PATCH", &format!("/accounts/{id}"), change).await.expect(200);
    assert_eq!(changed.body["plan"], "pro");
    assert_eq!(changed.body["status"], "suspended");
    assert_eq!(changed.body["external_id"], Value::Null);
    assert_eq!(changed.body["email"], "it@acme.example");
    assert_ne!(changed.header("etag"), shown.header("etag"));

    let closed = api.admin("DELETE", &format!("/accounts/{id}"), Value::Null).await.expect(204);
    assert_eq!(closed.text, "");
    api.get(&format!("/accounts/{id}")).await.expect_error(404, "not_found");
}

#[tokio::test]
async fn accounts_survive_a_restart() {
    let api = Api::start();
    let id = api.account("free").await;
    let change = json!({"limits": {"read": "7/hour"}});
    let before = api.admin("PATCH", &format!("/accounts/{id}"), change).await.expect(200);
    let api = api.restart();
    let after = api.get(&format!("/accounts/{id}")).await.expect(200);
    assert_eq!(after.body, before.body);
    assert_eq!(after.header("etag"), before.header("etag"));
}

#[tokio::test]
async fn a_change_with_an_old_etag_changes_nothing() {
    let api = Api::start();
    let path = format!("/accounts/{}", api.account("free").await);
    let first = api.get(&path).await.header("etag").to_owned();
    let if_match = [("if-match", &*first)];
    api.admin_with("PATCH", &path, &if_match, json!({"name": "A"})).await.expect(200);
    let stale = api.admin_with("PATCH", &path, &if_match, json!({"name": "B"})).await;
    stale.expect_error(412, "precondition_failed");
    assert_eq!(api.get(&path).await.body["name"], "A");
    let any = [("if-match", "*")];
    api.admin_with("PATCH", &path, &any, json!({"name": "C"})).await.expect(200);
    let odd = [("if-match", "C")];
    let odd = api.admin_with("PATCH", &path, &odd, json!({"name": "D"})).await;
    odd.expect_error(412, "precondition_failed");
}

#[tokio::test]
async fn a_known_resource_is_not_sent_again() {
    let api = Api::start();
    let path = format!("/accounts/{}", api.account("free").await);
    let tag = api.get(&path).await.header("etag").to_owned();
    let known = format!("\"other\", {tag}");
    let same = api.admin_with("GET", &path, &[("if-none-match", &known)], Value::Null).await;
    assert_eq!(same.expect(304).text, "");
    // A date far ahead knows every change, a date before the change does not; tags go first.
    let later = [("if-modified-since", "Mon, 01 Jan 2120 00:00:00 GMT")];
    api.admin_with("GET", &path, &later, Value::Null).await.expect(304);
    let earlier = [("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT")];
    api.admin_with("GET", &path, &earlier, Value::Null).await.expect(200);
    let both = [later[0], ("if-none-match", "\"other\"")];
    api.admin_with("GET", &path, &both, Value::Null).await.expect(200);
    api.admin("PATCH", &path, json!({"name": "New"})).await.expect(200);
    api.admin_with("GET", &path, &[("if-none-match", &tag)], Value::Null).await.expect(200);
}

#[tokio::test]
async fn lists_are_paged_without_a_gap_or_a_repetition() {
    let api = Api::start();
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(api.account("free").await);
    }
    let mut seen = Vec::new();
    let mut path = "/accounts?limit=2".to_owned();
    loop {
        let page = api.get(&path).await.expect(200);
        for account in page.body["data"].as_array().unwrap() {
            seen.push(account["id"].as_str().unwrap().to_owned());
        }
        let Some(cursor) = page.body["next_cursor"].as_str() else { break };
        path = format!("/accounts?limit=2&cursor={cursor}");
    }
    assert_eq!(seen, made);
    let exact = api.get("/accounts?limit=5").await.expect(200);
    assert_eq!(exact.body["next_cursor"], Value::Null);
    for wrong in ["limit=0", "limit=201", "limit=x", "cursor=x", "colour=red"] {
        let refused = api.get(&format!("/accounts?{wrong}")).await;
        refused.expect_error(400, "invalid_request");
    }
}

#[tokio::test]
async fn accounts_are_found_by_the_operators_own_id() {
    let api = Api::start();
    api.account("free").await;
    let new = |name: &str| json!({"name": name, "plan": "pro", "external_id": "crm-7"});
    api.admin("POST", "/accounts", new("First")).await.expect(201);
    api.admin("POST", "/accounts", new("Second")).await.expect_error(409, "conflict");
    let found = api.get("/accounts?external_id=crm-7").await.expect(200);
    assert_eq!(found.body["data"].as_array().unwrap().len(), 1);
    assert_eq!(found.body["data"][0]["name"], "First");
    assert_eq!(api.get("/accounts?plan=free").await.body["data"].as_array().unwrap().len(), 1);
    let other = api.account("free").await;
    let path = format!("/accounts/{other}");
    let taken = api.admin("PATCH", &path, json!({"external_id": "crm-7"})).await;
    taken.expect_error(409, "conflict");
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_by_name() {
    let api = Api::start();
    let check = async |body: Value, param: &str| {
        let refused = api.admin("POST", "/accounts", body.clone()).await;
        let refused = refused.expect_error(400, "invalid_request");
        assert_eq!(refused.body["error"]["param"], param, "{body}");
    };
    check(json!({"name": "A", "plan": "free", "colour": 1}), "colour").await;
    check(json!({"name": "A"}), "plan").await;
    check(json!({"name": "A", "plan": "gold"}), "plan").await;
    check(json!({"name": "", "plan": "free"}), "name").await;
    check(json!({"name": "a\nb", "plan": "free"}), "name").await;
    check(json!({"name": "x".repeat(201), "plan": "free"}), "name").await;
    check(json!({"name": "A", "plan": "free", "email": "nobody"}), "email").await;
    let big = json!({"x": "y".repeat(20_000)});
    check(json!({"name": "A", "plan": "free", "metadata": big}), "metadata").await;
    assert_eq!(api.get("/accounts").await.body["data"], json!([]));

    let path = format!("/accounts/{}", api.account("free").await);
    let wrong = api.admin("PATCH", &path, json!({"limits": {"raed": "5/hour"}})).await;
    let wrong = wrong.expect_error(400, "invalid_request");
    assert_eq!(wrong.body["error"]["param"], "limits.raed");
    let gone = api.admin("PATCH", &path, json!({"plan": "gold"})).await;
    gone.expect_error(400, "invalid_request");
    assert_eq!(api.get(&path).await.body["plan"], "free");
}

#[tokio::test]
async fn own_limits_replace_those_of_the_plan_one_by_one() {
    let api = Api::start();
    let id = api.account("free").await;
    let limit = async |name: &str| {
        let limits = api.get(&format!("/accounts/{id}/limits")).await.expect(200);
        let limits = limits.body["limits"].as_array().unwrap().clone();
        limits.into_iter().find(|limit| limit["name"] == name).unwrap()
    };
    assert_eq!(limit("read").await["limit"], 100);
    assert_eq!(limit("route:POST /ai/chat").await["limit"], 30);
    let path = format!("/accounts/{id}");
    api.admin("PATCH", &path, json!({"limits": {"read": "7/hour", "ai": "unlimited"}})).await;
    assert_eq!(limit("read").await["limit"], 7);
    assert_eq!(limit("ai").await["limit"], Value::Null);
    assert_eq!(limit("ai").await["remaining"], Value::Null);
    let back = api.admin("PATCH", &path, json!({"limits": {"read": null}})).await.expect(200);
    assert_eq!(back.body["limits"], json!({"ai": "unlimited"}));
    let read = limit("read").await;
    assert_eq!(read["limit"], 100);
    assert_eq!(read["per"], "account");
    assert_eq!(read["window_s"], 3_600);
    assert_eq!(read["used"], 0);
}

#[tokio::test]
async fn a_removal_with_an_old_etag_removes_nothing() {
    let api = Api::start();
    let account = api.account("free").await;
    let (key, secret) = api.key(&account, "read_write").await;
    let new = json!({"url": "https://example.com/hook"});
    let hook = api.admin("POST", "/webhooks", new.clone()).await.expect(201);
    let own = api.own_with(&secret, "POST", "/webhooks", &[], new).await.expect(201);
    let id = |made: &Answer| made.body["id"].as_str().unwrap().to_owned();
    // The account last: its keys and webhooks go with it.
    for (path, change) in [
        (format!("/webhooks/{}", id(&hook)), json!({"description": "new"})),
        (format!("/webhooks/{}", id(&own)), json!({"description": "new"})),
        (format!("/keys/{key}"), json!({"name": "new"})),
        (format!("/accounts/{account}"), json!({"name": "new"})),
    ] {
        let old = api.get(&path).await.header("etag").to_owned();
        let changed = api.admin("PATCH", &path, change).await.expect(200);
        let delete = async |tag: &str| {
            api.admin_with("DELETE", &path, &[("if-match", tag)], Value::Null).await
        };
        delete(&old).await.expect_error(412, "precondition_failed");
        delete("no tag").await.expect_error(412, "precondition_failed");
        api.get(&path).await.expect(200);
        delete(changed.header("etag")).await.expect(204);
    }
}
