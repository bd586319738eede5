//! The operator's day by the command line: money, holds, keys, who changed what.

use serde_json::{Value, json};

use crate::commands::{done, json_of, operator, text};
use crate::seed::{on, paying};
use crate::server::Weir;
use crate::support::{Mock, eventually};
use crate::wallet::config;

/// A server with one account that has 10.00, and the account's id.
fn start(mock: &Mock) -> (Weir, String) {
    let weir = Weir::start(&config(mock), &[paying("payg", "10")]);
    let account = json_of(operator(&weir, &["account", "list", "--json"]));
    let id = account[0]["id"].as_str().expect("an id").to_owned();
    (weir, id)
}

/// What a command prints for people.
#[track_caller]
fn said(weir: &Weir, arguments: &[&str]) -> String {
    text(&done(operator(weir, arguments)).stdout)
}

/// What a command answers in JSON.
#[track_caller]
fn told(weir: &Weir, arguments: &[&str]) -> Value {
    json_of(operator(weir, &[arguments, &["--json"]].concat()))
}

/// The exit code of a command that fails, and what it says on standard error.
#[track_caller]
fn failed(weir: &Weir, arguments: &[&str]) -> (i32, String) {
    let ran = operator(weir, arguments).output().expect("the binary starts");
    let code = ran.status.code().expect("it ended by itself");
    assert_ne!(code, 0, "{arguments:?}: {}", text(&ran.stdout));
    (code, text(&ran.stderr))
}

#[test]
fn credit_is_held_settled_once_and_given_back() {
    let mock = Mock::start();
    let (weir, id) = start(&mock);
    let hold = |amount: &str| {
        let made = told(&weir, &["hold", "create", &id, amount, "--expires-in", "6h"]);
        made["id"].as_str().expect("an id").to_owned()
    };
    let (job, dropped) = (hold("4"), hold("3.5"));
    let balance = |of: &str| told(&weir, &["wallet", "show", &id])[of].clone();
    assert_eq!((balance("held"), balance("available")), (json!("7.50"), json!("2.50")));
    let settled = told(&weir, &["hold", "settle", &job, "2.25"]);
    assert_eq!((&settled["status"], &settled["charge"]), (&json!("settled"), &json!("2.25")));
    assert_eq!(told(&weir, &["hold", "settle", &job, "2.25"]), settled, "once");
    let open = told(&weir, &["hold", "list", &id, "--open"]);
    assert_eq!(open.as_array().map(Vec::len), Some(1), "{open}");
    let voided = said(&weir, &["hold", "void", &dropped]);
    assert!(voided.contains("voided"), "{voided}");
    assert_eq!((balance("held"), balance("balance")), (json!("0.00"), json!("7.75")));
    let listed = said(&weir, &["hold", "list", &id]);
    assert!(listed.starts_with("ID ") && listed.contains("settled    4.00    2.25"), "{listed}");
    let (code, why) = failed(&weir, &["hold", "create", &id, "8", "--expires-in", "1h"]);
    assert_eq!(code, 3, "{why}");
    assert!(why.contains("insufficient_credits") && why.contains("7.75 available"), "{why}");
    assert_eq!(failed(&weir, &["hold", "create", &id, "-1", "--expires-in", "1h"]).0, 3);
}

#[test]
fn a_charge_is_taken_back_and_the_statement_equals_the_ledger() {
    let mock = Mock::start();
    let (weir, id) = start(&mock);
    for _ in 0..3 {
        assert_eq!(weir.call(0, "PUT", "/clusters/a", "{}").status, 200);
    }
    let entries = told(&weir, &["wallet", "entries", &id]);
    let charge = entries[0]["id"].as_str().expect("an id");
    assert!(said(&weir, &["wallet", "entries", &id]).contains(charge), "people need it, too");
    let refund = ["wallet", "refund", &id, charge, "--reason", "broken answer"];
    assert_eq!(told(&weir, &[&refund[..], &["--amount", "0.004"]].concat())["balance"], "9.974");
    assert_eq!(told(&weir, &refund)["balance"], "9.98");
    let (code, why) = failed(&weir, &refund);
    assert_eq!(code, 3, "nothing is left of it: {why}");
    let at = entries[0]["at"].as_str().expect("a time");
    let month = at.get(..7).expect("a month");
    let statement = told(&weir, &["wallet", "statement", &id, month]);
    assert_eq!((&statement["closing"], &statement["entries"]), (&json!("9.98"), &json!(6)));
    let shown = said(&weir, &["wallet", "statement", &id, month]);
    assert!(shown.contains("PRICE  MODEL  CHARGES") && shown.contains("9.98"), "{shown}");
    let csv = said(&weir, &["wallet", "statement", &id, month, "--csv"]);
    assert!(csv.starts_with("type,name,model,count,amount,currency"), "{csv}");
    let (code, why) = failed(&weir, &["wallet", "statement", &id, "march"]);
    assert!(code == 3 && why.contains("YYYY-MM"), "{why}");
}

#[test]
fn the_terms_of_a_wallet_are_set_and_taken_away() {
    let mock = Mock::start();
    let (weir, id) = start(&mock);
    let update = |more: &[&str]| told(&weir, &[&["wallet", "update", &id], more].concat());
    let set = update(&[
        "--credit-line",
        "50",
        "--alert",
        "5",
        "--alert",
        "20%",
        "--top-up-below",
        "60",
        "--top-up-by",
        "25",
        "--top-up-monthly-max",
        "100",
    ]);
    assert_eq!((&set["credit_line"], &set["alerts"]), (&json!("50.00"), &json!(["5", "20%"])));
    assert_eq!(set["auto_top_up"]["monthly_max"], "100");
    // What a charge leaves, with the credit line, is below 60: a top-up is asked for, and is declined by its reference.
    assert_eq!(weir.call(0, "PUT", "/clusters/a", "{}").status, 200);
    let asked = || told(&weir, &["wallet", "show", &id])["auto_top_up_pending"].clone();
    eventually("a top-up is asked for", || !asked().is_null());
    let reference = asked()["reference"].as_str().expect("a reference").to_owned();
    let decline = ["wallet", "decline-top-up", &id, "--reference", &reference];
    assert_eq!(told(&weir, &decline)["auto_top_up_pending"], Value::Null);
    let taken = update(&["--no-credit-line", "--plan-alerts", "--no-auto-top-up"]);
    assert_eq!((&taken["credit_line"], &taken["auto_top_up"]), (&json!("0.00"), &Value::Null));
    assert_eq!(failed(&weir, &["wallet", "update", &id]).0, 2, "nothing is said to be changed");
    assert_eq!(failed(&weir, &["wallet", "update", &id, "--top-up-below", "1"]).0, 2);
}

#[test]
fn accounts_and_keys_are_changed_in_part() {
    let mock = Mock::start();
    let (weir, id) = start(&mock);
    let update = |more: &[&str]| told(&weir, &[&["account", "update", &id], more].concat());
    let changed = update(&[
        "--external-id",
        "acme",
        "--metadata",
        r#"{"crm": 7}"#,
        "--limit",
        "all=100/hour",
        "--limit",
        "concurrency=3",
    ]);
    assert_eq!((&changed["external_id"], &changed["metadata"]["crm"]), (&json!("acme"), &json!(7)));
    assert_eq!(changed["limits"], json!({"all": "100/hour", "concurrency": 3}));
    // What is taken back is gone, the rest stays.
    assert_eq!(update(&["--limit", "all="])["limits"], json!({"concurrency": 3}));
    std::fs::write(weir.folder().join("contract.json"), r#"{"multiplier": "0.5"}"#)
        .expect("written");
    let contract = update(&["--contract", "contract.json"])["contract"].clone();
    assert_eq!(contract["multiplier"], "0.5", "{contract}");
    assert_eq!(update(&["--no-contract"])["contract"], Value::Null);
    assert_eq!(failed(&weir, &["account", "update", &id, "--metadata", "7"]).0, 1);
    let none = told(&weir, &["account", "list", "--status", "suspended"]);
    assert_eq!(none, json!([]));

    let made = told(&weir, &["key", "create", "acme", "--name", "ci", "--urgency", "low"]);
    let key = made["id"].as_str().expect("an id");
    let update = |more: &[&str]| told(&weir, &[&["key", "update", key], more].concat());
    let changed = update(&[
        "--name",
        "nightly",
        "--model",
        "llama-*",
        "--limit",
        "all=5/minute",
        "--spend-cap",
        "2.50/day",
        "--expires-at",
        "2100-01-01T00:00:00Z",
    ]);
    assert_eq!((&changed["name"], &changed["models"]), (&json!("nightly"), &json!(["llama-*"])));
    assert_eq!(changed["spend_cap"], json!({"amount": "2.50", "period": "day"}));
    update(&["--all-models", "--limit", "all=", "--no-spend-cap", "--no-expiry"]);
    let bare = told(&weir, &["key", "show", key]);
    let bounds = ["models", "spend_cap", "expires_at"].map(|member| bare[member].clone());
    assert_eq!((bounds, &bare["limits"]), ([const { Value::Null }; 3], &json!({})));
    assert!(bare.get("secret").is_none(), "{bare}");
    assert_eq!(failed(&weir, &["key", "update", key]).0, 2);
}

#[test]
fn who_changed_what_is_found_by_account_actor_action_and_time() {
    let mock = Mock::start();
    let (weir, id) = start(&mock);
    let made = told(&weir, &["admin-key", "create", "--name", "Ada", "--role", "operator"]);
    let (ada, secret) =
        (made["id"].as_str().expect("an id"), made["secret"].as_str().expect("one"));
    let listed = said(&weir, &["admin-key", "list"]);
    assert!(listed.contains("Ada") && !listed.contains(secret), "{listed}");
    let mut by_ada = operator(&weir, &["account", "update", &id, "--name", "Acme Ltd"]);
    by_ada.env("WEIR_ADMIN_KEY", secret);
    done(by_ada);
    done(operator(&weir, &["account", "create", "--name", "Other", "--plan", "payg"]));
    done(operator(&weir, &["wallet", "top-up", &id, "5", "--note", "gift"]));

    let actions = |more: &[&str]| {
        let changes = told(&weir, &[&["audit"], more].concat());
        let changes = changes.as_array().expect("a list").clone();
        changes.iter().map(|it| it["action"].as_str().expect("one").to_owned()).collect::<Vec<_>>()
    };
    let all = ["wallet.topped_up", "account.created", "account.changed", "admin_key.created"];
    assert_eq!(actions(&[]), all);
    assert_eq!(actions(&["--account", &id]), ["wallet.topped_up", "account.changed"]);
    assert_eq!(actions(&["--actor", ada]), ["account.changed"]);
    let two = ["--action", "account.*", "--action", "wallet.topped_up", "--most", "2"];
    assert_eq!(actions(&two), all[..2]);
    assert_eq!(actions(&["--since", "2100-01-01T00:00:00Z"]), Vec::<String>::new());
    assert_eq!(actions(&["--until", "2000-01-01T00:00:00Z"]), Vec::<String>::new());
    let shown = said(&weir, &["audit", "--actor", ada]);
    assert!(shown.contains("name payg → Acme Ltd"), "{shown}");
    let (code, why) = failed(&weir, &["audit", "--since", "yesterday"]);
    assert!(code == 2 && why.contains("2026-11-01T00:00:00Z"), "{why}");

    let events = told(&weir, &["events", "--account", &id, "--event", "wallet.*"]);
    assert_eq!(events[1]["data"]["amount"], "5.00", "{events}");
    let newest = told(&weir, &["events", "--event", "wallet.*", "--most", "1"]);
    assert_eq!(newest, json!([events[1]]));
    done(operator(&weir, &["admin-key", "revoke", ada]));
    assert_eq!(told(&weir, &["admin-key", "list"]), json!([]));
}

#[test]
fn usage_metered_elsewhere_is_charged_once() {
    let mock = Mock::start();
    let (weir, id) = start(&mock);
    let tell = ["usage-event", "tell", &id, "--source", "trainer/7", "--id", "job-1"];
    let tell = [&tell[..], &["--model", "llama-3-8b", "--used", "output_tokens=500"]].concat();
    let outcome = told(&weir, &tell)[0].clone();
    assert_eq!((&outcome["status"], &outcome["charge"]), (&json!("charged"), &json!("0.50")));
    assert_eq!(told(&weir, &tell)[0]["status"], "known");
    let event = |id: &str, subject: &str| {
        json!({
            "specversion": "1.0", "id": id, "source": "trainer/7", "type": "job.finished",
            "subject": subject, "data": {"price": "call", "usage": {"request": 3}},
        })
    };
    let lines = format!("{}\n{}\n", event("job-2", &id), event("job-3", "nobody"));
    std::fs::write(weir.folder().join("events.jsonl"), lines).expect("written");
    let sent = operator(&weir, &["usage-event", "send", "events.jsonl"]).output().expect("starts");
    let (shown, why) = (text(&sent.stdout), text(&sent.stderr));
    assert_eq!(sent.status.code(), Some(3), "one is refused: {why}");
    assert!(shown.contains("job-2  charged") && shown.contains("job-3  refused"), "{shown}");
    assert!(shown.contains("no account `nobody`") && why.contains("1 of 2 events"), "{why}");
    std::fs::write(weir.folder().join("all.json"), json!([event("job-2", &id)]).to_string())
        .expect("written");
    assert_eq!(told(&weir, &["usage-event", "send", "all.json"])[0]["status"], "known");
    let balance = told(&weir, &["wallet", "show", &id])["balance"].clone();
    assert_eq!(balance, "9.47");
    assert_eq!(failed(&weir, &["usage-event", "send", "none.json"]).0, 1);
    // Of two amounts nobody knows which one is meant.
    let twice =
        event("job-4", &id).to_string().replace("\"request\":3", "\"request\":3,\"request\":1");
    std::fs::write(weir.folder().join("twice.json"), twice).expect("written");
    let (code, why) = failed(&weir, &["usage-event", "send", "twice.json"]);
    assert!(code == 3 && why.contains("uplicate field `request`"), "{why}");
    let (code, why) = failed(&weir, &["usage-event", "tell", &id, "--source", "s", "--id", "i"]);
    assert_eq!(code, 2, "{why}");
    let (code, why) = failed(&weir, &[&tell[..], &["--used", "output_tokens=1"]].concat());
    assert!(code == 1 && why.contains("`output_tokens` is said twice"), "{why}");
}

#[test]
fn the_books_are_proven_while_the_server_runs() {
    let mock = Mock::start();
    let (weir, _) = start(&mock);
    assert_eq!(weir.call(0, "PUT", "/clusters/a", "{}").status, 200);
    let proven = told(&weir, &["ledger", "verify"]);
    assert_eq!((&proven["ok"], &proven["balance"]), (&json!(true), &json!("9.99")));
    let said = said(&weir, &["ledger", "verify"]);
    assert_eq!(said, "ok: 2 entries of 1 accounts, 9.99 in all\n");
    let offline = weir.folder().join("store");
    let offline = offline.to_str().expect("a path");
    assert_eq!(told(&weir, &["ledger", "verify", "--path", offline]), proven);
}

#[test]
fn latency_is_shown_as_a_histogram_that_has_every_call() {
    let mock = Mock::start();
    let (weir, id) = start(&mock);
    for _ in 0..4 {
        assert_eq!(weir.call(0, "PUT", "/clusters/a", "{}").status, 200);
    }
    let series = || told(&weir, &["usage", &id, "--interval", "day", "--histogram"]);
    eventually("all calls are counted", || series()[0]["requests"] == 4);
    let buckets = series()[0]["latency_histogram"].as_array().expect("a list").clone();
    assert_eq!(buckets.iter().filter_map(|it| it["requests"].as_u64()).sum::<u64>(), 4);
    let shown = said(&weir, &["usage", &id, "--histogram"]);
    assert!(shown.starts_with("UP TO MS  CALLS  % SO FAR"), "{shown}");
    assert!(shown.trim_end().ends_with('#') && shown.contains("100.0"), "{shown}");
    let csv = said(&weir, &["export", "usage", "--histogram"]);
    assert!(csv.lines().next().is_some_and(|head| head.ends_with(",latency_above")), "{csv}");
    let summary = told(&weir, &["usage", &id, "--summary"]);
    assert_eq!(summary["totals"]["requests"], 4);
    let shown = said(&weir, &["usage", &id, "--summary"]);
    assert!(shown.contains("calls       4 requests, 0 errors, 0 limited"), "{shown}");
    assert!(shown.contains("route    PUT /clusters/*"), "{shown}");
    assert_eq!(failed(&weir, &["usage", "--summary"]).0, 2, "of whom?");
}

#[test]
fn a_refusal_says_who_was_asked_and_a_customer_cannot_command_the_terminal() {
    let mock = Mock::start();
    let config = format!("{}[plans.free]\nlimits = {{ read = \"9/hour\" }}\n", config(&mock));
    let weir = Weir::start(&config, &[on("free")]);
    let wanted = json!({
        "limit": "read", "expected_volume": "much", "use_case": "\u{1b}[2J\u{7}cleared", "timeline": "now",
    });
    let asked = weir.call(0, "POST", "/weir/v1/limit-increases", &wanted.to_string());
    assert_eq!(asked.status, 201, "{}", asked.text());
    let listed = said(&weir, &["increase", "list"]);
    assert!(listed.contains("cleared") && !listed.contains(['\u{1b}', '\u{7}']), "{listed:?}");
    let mut wrong = operator(&weir, &["account", "list"]);
    let wrong = wrong.env("WEIR_ADMIN_KEY", "wrong").output().expect("it starts");
    let why = text(&wrong.stderr);
    assert_eq!(wrong.status.code(), Some(3), "{why}");
    assert!(why.contains(&weir.admin.to_string()) && why.contains("admin_listen"), "{why}");
    let (code, why) = failed(&weir, &["account", "show", "nobody"]);
    assert!(code == 3 && why.contains("weir account list"), "{why}");
    let (code, why) = failed(&weir, &["account", "list", "--admin-url", "localhost:8081"]);
    assert!(code == 2 && why.contains("http://127.0.0.1:8081"), "{why}");
}
