//! Who may ask what: every operation of both APIs, as their documents name them, with every kind
//! of key. A new operation is tried by itself.

use std::cell::Cell;

use serde_json::{Value, json};

use crate::seed::on;
use crate::server::{ADMIN_KEY, JSON, Weir};
use crate::support::Mock;
use crate::wire::{Answer, Line};

/// Two accounts with one of everything in the first, a suspended one, and keys of all kinds.
struct House {
    weir: Weir,
    _mock: Mock,
    account: String,
    key: String,
    webhook: String,
    reader: String,
    service: String,
    stranger: String,
    suspended: String,
    manager: String,
    viewer: String,
    operator: String,
    /// Where the next call comes from: many wrong keys from one address would be answered by 429.
    address: Cell<u16>,
}

fn house() -> House {
    let mock = Mock::start();
    let config = format!(
        "[server]\ntrusted_proxies = [\"127.0.0.0/8\"]\n[webhooks]\nallow_private = true\n\
         [billing]\nstripe_webhook_secret = \"whsec_for_tests\"\n\
         [upstreams.mock]\nurls = [\"http://{}\"]\n[plans.free]\nlimits = {{ ai = \"50/hour\" }}\n\
         [[routes]]\nmatch = \"POST /v1/chat/completions\"\nclass = \"ai\"\nscope = \"ai\"\n\
         upstream = \"mock\"\n",
        mock.address
    );
    let weir = Weir::start(&config, &[on("free")]);
    let made = |path: &str, body: Value| {
        let made = weir.admin("POST", &format!("/admin/v1/{path}"), &body.to_string());
        assert_eq!(made.status, 201, "{path}: {}", made.text());
        made.json()
    };
    let text = |value: &Value, name: &str| value[name].as_str().expect("a text").to_owned();
    let account = |name: &str| text(&made("accounts", json!({"name": name, "plan": "free"})), "id");
    let key = |account: &str, kind: &str, scopes: &[&str]| {
        let new = json!({"name": "k", "type": kind, "scopes": scopes});
        text(&made(&format!("accounts/{account}/keys"), new), "secret")
    };
    let admin =
        |role: &str| text(&made("admin-keys", json!({"name": "a", "role": role})), "secret");
    let (mine, theirs, closed) = (account("mine"), account("theirs"), account("closed"));
    let all = ["accounts", "ai", "webhooks"];
    let shown = made(&format!("accounts/{mine}/keys"), json!({"name": "k", "type": "read_write"}));
    let manager = key(&mine, "read_write", &all);
    let hook = json!({"url": format!("http://{}/hook", mock.address)}).to_string();
    let bearer = format!("authorization: Bearer {manager}");
    let hook = weir.line().call("POST", "/weir/v1/webhooks", &[&bearer, JSON], &hook).json();
    let suspended = key(&closed, "read_write", &all);
    let path = format!("/admin/v1/accounts/{closed}");
    assert_eq!(weir.admin("PATCH", &path, "{\"status\":\"suspended\"}").status, 200);
    House {
        key: text(&shown, "id"),
        webhook: text(&hook, "id"),
        reader: key(&mine, "read", &all),
        service: key(&mine, "service", &["ai"]),
        stranger: key(&theirs, "read_write", &all),
        viewer: admin("viewer"),
        operator: admin("operator"),
        account: mine,
        manager,
        suspended,
        weir,
        _mock: mock,
        address: Cell::new(0),
    }
}

/// An operation of a document, with the ids of what is there in its path.
struct Operation {
    method: String,
    pattern: String,
    target: String,
    open: bool,
}

impl House {
    fn operations(&self, document: &Answer) -> Vec<Operation> {
        assert_eq!(document.status, 200, "{}", document.text());
        let document = document.json();
        let mut found = Vec::new();
        for (pattern, item) in document["paths"].as_object().expect("paths") {
            for (method, operation) in item.as_object().expect("methods") {
                let id = match pattern {
                    path if path.contains("/keys/") => &self.key,
                    path if path.contains("/webhooks/") => &self.webhook,
                    _ => &self.account,
                };
                let keyless = operation["security"].as_array().expect("security");
                found.push(Operation {
                    method: method.to_uppercase(),
                    target: pattern.replace("{id}", id).replace("{month}", "2026-01"),
                    pattern: pattern.clone(),
                    open: keyless.contains(&json!({})),
                });
            }
        }
        found
    }

    /// What an operation answers to a key; only the head of an answer that never ends.
    fn ask(&self, operation: &Operation, key: Option<&str>) -> (u16, String) {
        let admin = operation.pattern.starts_with("/admin/");
        let number = self.address.get() + 1;
        self.address.set(number);
        let from = format!("x-forwarded-for: 198.51.{}.{}", number / 200, number % 200 + 1);
        let mut headers = vec![JSON.to_owned(), from];
        headers.extend(key.map(|key| format!("authorization: Bearer {key}")));
        let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
        let mut line = Line::open(if admin { self.weir.admin } else { self.weir.data });
        let name = format!("{} {}", operation.method, operation.pattern);
        let body = BODIES.iter().find(|(known, _)| name.ends_with(known));
        let body = match &*operation.method {
            "GET" => "",
            _ => body.map_or("{}", |(_, body)| body),
        };
        let answer = line.call(&operation.method, &operation.target, &headers, body);
        let code = if answer.status >= 400 { answer.code() } else { String::new() };
        let told = String::from_utf8_lossy(&answer.body);
        if key == Some(&*self.stranger) {
            let mine = [&self.account, &self.key, &self.webhook];
            assert!(answer.status == 404 || !mine.iter().any(|id| told.contains(&**id)), "{told}");
        }
        (answer.status, code)
    }

    /// What must not have changed.
    fn state(&self) -> Vec<Value> {
        let account = &self.account;
        let paths = [
            format!("accounts/{account}"),
            format!("accounts/{account}/keys"),
            format!("accounts/{account}/webhooks"),
            format!("accounts/{account}/wallet"),
            format!("accounts/{account}/boosts"),
            "accounts".to_owned(),
            "admin-keys".to_owned(),
            "limit-increases".to_owned(),
        ];
        let shown = |path: &String| {
            let mut shown = self.weir.admin("GET", &format!("/admin/v1/{path}"), "").json();
            for one in shown["data"].as_array_mut().into_iter().flatten() {
                // To use a key is no change of it.
                one.as_object_mut().expect("an object").remove("last_used_at");
            }
            shown
        };
        paths.iter().map(shown).collect()
    }
}

fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[test]
fn customers_see_and_do_what_is_theirs_and_nothing_else() {
    let house = house();
    let document = house.weir.line().call("GET", "/weir/v1/openapi.json", &[], "");
    let operations = house.operations(&document);
    assert!(operations.len() >= 24, "{}", operations.len());
    let before = house.state();
    for operation in &operations {
        let Operation { method, pattern, open, .. } = operation;
        let name = format!("{method} {pattern}");
        let reads = method == "GET";
        let check = |who: &str, key: Option<&str>, expected: Option<(u16, String)>| {
            let answer = house.ask(operation, key);
            match expected {
                Some(expected) => assert_eq!(answer, expected, "{name} by {who}"),
                // What the empty body lacks may be told; that it may be asked is what counts.
                None => assert!(
                    !matches!(answer.0, 401 | 403 | 404 | 500..),
                    "{name} by {who}: {answer:?}"
                ),
            }
        };
        let passes = |so: bool, status, code| (!so).then(|| refused(status, code));
        check("nobody", None, passes(*open, 401, "missing_key"));
        for (who, key) in
            [("a guess", "weir_w_guess"), ("an owner", ADMIN_KEY), ("a viewer", &house.viewer)]
        {
            check(who, Some(key), Some(refused(401, "invalid_key")));
        }
        check("a read key", Some(&house.reader), passes(reads, 403, "key_type_forbidden"));
        let changes = pattern.contains("/webhooks") || pattern.contains("/limit-increases");
        let scoped = pattern.starts_with("/weir/v1/keys") || !reads && changes;
        check("a service key", Some(&house.service), passes(!scoped, 403, "insufficient_scope"));
        check(
            "a suspended one",
            Some(&house.suspended),
            match (reads, pattern.contains("{id}")) {
                (false, _) => Some(refused(403, "account_suspended")),
                (true, true) => Some(refused(404, "not_found")),
                (true, false) => None,
            },
        );
        let foreign = pattern.contains("{id}");
        check("a stranger", Some(&house.stranger), passes(!foreign, 404, "not_found"));
    }
    assert_eq!(house.state(), before);
    // The same is possible for whom it belongs to.
    for operation in operations.iter().filter(|operation| operation.method == "GET") {
        let (status, _) = house.ask(operation, Some(&house.manager));
        assert_eq!(status, 200, "{}", operation.pattern);
    }
}

#[test]
fn the_admin_api_is_for_admin_keys_of_the_right_role() {
    let house = house();
    let mut operations = house.operations(&house.weir.admin("GET", "/admin/v1/openapi.json", ""));
    assert!(operations.len() >= 58, "{}", operations.len());
    // Not in the document that it is.
    let target = "/admin/v1/openapi.json".to_owned();
    let (method, pattern) = ("GET".to_owned(), target.clone());
    operations.push(Operation { method, pattern, target, open: false });
    let before = house.state();
    for operation in &operations {
        let Operation { method, pattern, .. } = operation;
        let name = format!("{method} {pattern}");
        if pattern == "/admin/v1/payments/stripe" {
            // Signed, not keyed.
            for key in [None, Some(ADMIN_KEY)] {
                assert_eq!(house.ask(operation, key), refused(400, "invalid_request"));
            }
            continue;
        }
        assert_eq!(house.ask(operation, None), refused(401, "missing_key"), "{name}");
        for key in ["weir_admin_guess", &house.manager, &house.reader, &house.suspended] {
            assert_eq!(house.ask(operation, Some(key)), refused(401, "invalid_key"), "{name}");
        }
        let looks = method == "GET" || LOOKS.contains(&&**pattern);
        let owners = OWNERS.iter().any(|start| pattern.starts_with(start));
        // It would be answered for ever.
        if pattern == "/admin/v1/calls" {
            continue;
        }
        let forbidden = refused(403, "forbidden");
        let by_viewer = house.ask(operation, Some(&house.viewer));
        assert_eq!(by_viewer == forbidden, !looks || owners, "{name}: {by_viewer:?}");
        // What an operator may do is not done to what is there.
        let (to, free) = (&operation.target, operation.target.replace("_1", "_0"));
        let harmless = Operation {
            method: method.clone(),
            pattern: pattern.clone(),
            target: if looks { to.clone() } else { free },
            open: false,
        };
        let by_operator = house.ask(&harmless, Some(&house.operator));
        assert_eq!(by_operator == forbidden, owners, "{name}: {by_operator:?}");
        let by_owner = house.ask(&harmless, Some(ADMIN_KEY));
        assert!(!matches!(by_owner.0, 401 | 403 | 500..), "{name}: {by_owner:?}");
    }
    assert_eq!(house.state(), before);
}

/// Bodies that would do something; where there is none, `{}` says that it was let in.
const BODIES: [(&str, &str); 8] = [
    ("POST /weir/v1/keys", "{\"name\":\"taken\",\"type\":\"read\"}"),
    ("PATCH /admin/v1/keys/{id}", "{\"name\":\"taken\"}"),
    ("/keys/{id}/rotate", "{\"overlap\":\"0s\"}"),
    ("POST /weir/v1/webhooks", "{\"url\":\"https://example.com/taken\"}"),
    (
        "POST /weir/v1/limit-increases",
        "{\"limit\":\"none\",\"expected_volume\":\"1\",\"use_case\":\"x\",\"timeline\":\"x\"}",
    ),
    ("/v1/webhooks/{id}", "{\"description\":\"taken\"}"),
    ("/v1/webhooks/{id}/replay", "{\"since\":\"2026-01-01T00:00:00Z\"}"),
    ("/v1/accounts/{id}", "{\"name\":\"taken\"}"),
];
/// What is asked by POST and changes nothing.
const LOOKS: [&str; 3] = ["/admin/v1/config/diff", "/admin/v1/explain", "/admin/v1/ledger/verify"];
/// What is the owner's alone.
const OWNERS: [&str; 3] = ["/admin/v1/admin-keys", "/admin/v1/config/reload", "/admin/v1/backup"];
