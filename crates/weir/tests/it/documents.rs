//! Both OpenAPI documents, held against the binary by schemathesis: thousands of requests that
//! fit the documents, and as many that do not. No answer may be a failure of ours, have a status
//! that is not declared, or a body that is not as described.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::sdk::{place, run, script};
use crate::seed::on;
use crate::server::{ADMIN_KEY, JSON, Weir};
use crate::support::Mock;

/// A server on which there is one of everything, and the ids by how their paths begin.
struct House {
    weir: Weir,
    _mock: Mock,
    /// Of one account, and able to do everything.
    keys: Vec<String>,
    admin_ids: BTreeMap<&'static str, Vec<String>>,
    customer_ids: BTreeMap<&'static str, Vec<String>>,
}

fn house() -> House {
    let mock = Mock::start();
    let config = format!(
        "[upstreams.mock]\nurls = [\"http://{}\"]\n[webhooks]\nallow_private = true\n\
         [billing]\nstripe_webhook_secret = \"whsec_for_tests\"\n\
         [plans.payg]\nbilling = \"wallet\"\n[plans.free]\nlimits = {{ ai = \"50/hour\" }}\n\
         [prices.\"llama-3-8b\"]\ninput_tokens = \"0.15/1M\"\noutput_tokens = \"0.6/1M\"\n\
         [[routes]]\nmatch = \"POST /v1/chat/completions\"\nclass = \"ai\"\nscope = \"ai\"\n\
         upstream = \"mock\"\nusage = \"openai\"\nprice = \"model\"\n",
        mock.address
    );
    let weir = Weir::start(&config, &[on("free")]);
    let made = |path: &str, body: Value| {
        let made = weir.admin("POST", path, &body.to_string());
        assert!(made.status < 300, "{path}: {}", made.text());
        let name = if path.ends_with("top-ups") { "entry_id" } else { "id" };
        made.json()[name].as_str().unwrap_or_default().to_owned()
    };
    let account = made("/admin/v1/accounts", json!({"name": "Acme", "plan": "payg"}));
    let of = |rest: &str| format!("/admin/v1/accounts/{account}/{rest}");
    made(&of("wallet/top-ups"), json!({"amount": "1000"}));
    let key = made(&of("keys"), json!({"name": "shown", "type": "read_write"}));
    let hold = json!({"amount": "1", "expires_in": "1h", "reference": "job 1"});
    let hold = made(&of("holds"), hold);
    let new = json!({"name": "k", "type": "read_write", "scopes": ["accounts", "ai", "webhooks"]});
    let make = |_| {
        let made = weir.admin("POST", &of("keys"), &new.to_string());
        made.json()["secret"].as_str().expect("a secret").to_owned()
    };
    let keys: Vec<String> = (0..KEYS).map(make).collect();
    let hook = json!({"url": format!("http://{}/hook", mock.address)}).to_string();
    let bearer = format!("authorization: Bearer {}", keys[0]);
    let hook = weir.line().call("POST", "/weir/v1/webhooks", &[&bearer, JSON], &hook);
    let hook = hook.json()["id"].as_str().expect("an id").to_owned();
    let admin_ids = BTreeMap::from([
        ("/admin/v1/accounts/", vec![account.clone()]),
        ("/admin/v1/keys/", vec![key.clone()]),
        ("/admin/v1/holds/", vec![hold]),
        ("/admin/v1/webhooks/", vec![hook.clone()]),
    ]);
    let customer_ids =
        BTreeMap::from([("/weir/v1/keys/", vec![key]), ("/weir/v1/webhooks/", vec![hook])]);
    House { weir, _mock: mock, keys, admin_ids, customer_ids }
}

impl House {
    /// Runs schemathesis against one of the APIs; fails with what it found.
    fn hold_against(
        &self,
        at: SocketAddr,
        document: &str,
        keys: &[String],
        ids: &BTreeMap<&'static str, Vec<String>>,
    ) {
        let Some(place) = place("schemathesis") else { return };
        let mut command = std::process::Command::new(place.join("venv/bin/schemathesis"));
        let text = |count: usize| count.to_string();
        let settings = script("schemathesis.toml").display().to_string();
        command.current_dir(self.weir.folder()).args([
            "--config-file",
            &settings,
            "run",
            &format!("{}/../../docs/{document}", env!("CARGO_MANIFEST_DIR")),
            "--url",
            &format!("http://{at}"),
            "--continue-on-failure",
            "--no-color",
            "--warnings",
            "off",
            "--seed",
            "1",
            "--max-examples",
            &text(EXAMPLES),
            "--max-time",
            &text(SECONDS),
            "--request-timeout",
            "70",
        ]);
        let json = |value: Value| value.to_string();
        let variables = [
            ("SCHEMATHESIS_HOOKS", script("schemathesis_hooks.py").display().to_string()),
            ("WEIR_IDS", json(json!(ids))),
            ("WEIR_KEYS", json(json!(keys))),
        ];
        let said = run(&mut command, &variables);
        assert!(said.contains("No issues found"), "{said}");
        let log = self.weir.process.log();
        assert!(!log.contains(" ERROR "), "{log}");
    }
}

#[test]
fn the_admin_api_answers_as_its_document_says() {
    let house = house();
    let keys = [ADMIN_KEY.to_owned()];
    house.hold_against(house.weir.admin, "openapi-admin.json", &keys, &house.admin_ids);
}

#[test]
fn the_customer_api_answers_as_its_document_says() {
    let house = house();
    let (data, keys) = (house.weir.data, &house.keys);
    house.hold_against(data, "openapi-customer.json", keys, &house.customer_ids);
}

/// How many keys take turns: each may ask fifty times a second.
const KEYS: usize = 40;
/// How many requests of each kind are made up for an operation.
const EXAMPLES: usize = 15;
/// How long one API is asked at most.
const SECONDS: usize = 45;
