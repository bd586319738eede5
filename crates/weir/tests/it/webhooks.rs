//! Webhooks and notices by e-mail: what is told reaches whom it concerns, whatever receivers do.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::mail_sink::MailSink;
use crate::receiver::{Manner, Receiver};
use crate::seed::{on, paying};
use crate::server::{ADMIN_KEY, JSON, Weir};
use crate::support::{Mock, PATIENCE, within};
use crate::wallet::config;
use crate::wire::{Answer, Line};

fn open_config(mock: &Mock) -> String {
    format!("{}[webhooks]\nallow_private = true\n", config(mock))
}

fn fine() -> Manner {
    Manner::Answer(200, String::new())
}

fn admin(weir: &Weir, method: &str, target: &str, body: &Value) -> Answer {
    let bearer = format!("authorization: Bearer {ADMIN_KEY}");
    let body = if method == "GET" { String::new() } else { body.to_string() };
    let target = format!("/admin/v1/{target}");
    Line::open(weir.admin).call(method, &target, &[&bearer, JSON], &body)
}

fn customer(weir: &Weir, key: usize, method: &str, target: &str, body: &Value) -> Answer {
    let body = if method == "GET" { String::new() } else { body.to_string() };
    weir.call(key, method, &format!("/weir/v1/{target}"), &body)
}

/// Makes a webhook of a customer; gives back its id and secret.
#[track_caller]
fn hook(weir: &Weir, key: usize, receiver: &Receiver, events: &[&str]) -> (String, String) {
    let wanted = json!({"url": receiver.url(), "events": events});
    let made = customer(weir, key, "POST", "webhooks", &wanted);
    assert_eq!(made.status, 201, "{}", made.text());
    let made = made.json();
    let text = |name: &str| made[name].as_str().expect("a text").to_owned();
    (text("id"), text("secret"))
}

fn account(weir: &Weir, key: usize) -> String {
    let own = customer(weir, key, "GET", "key", &Value::Null).json();
    own["account"]["id"].as_str().expect("an id").to_owned()
}

#[track_caller]
fn top_up(weir: &Weir, key: usize, amount: &str) {
    let target = format!("accounts/{}/wallet/top-ups", account(weir, key));
    let made = admin(weir, "POST", &target, &json!({"amount": amount, "category": "paid"}));
    assert_eq!(made.status, 201, "{}", made.text());
}

fn status(weir: &Weir, key: usize, id: &str) -> String {
    let shown = customer(weir, key, "GET", &format!("webhooks/{id}"), &Value::Null).json();
    shown["status"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn events_reach_their_own_accounts_webhooks_signed_and_the_operators() {
    let mock = Mock::start();
    let weir = Weir::start(&open_config(&mock), &[paying("payg", "1"), paying("payg", "1")]);
    let (first, second) = (Receiver::start(fine()), Receiver::start(fine()));
    let operator = Receiver::start(fine());
    let (id, secret) = hook(&weir, 0, &first, &["wallet.*"]);
    let (_, other_secret) = hook(&weir, 1, &second, &[]);
    let own = admin(&weir, "POST", "webhooks", &json!({"url": operator.url()})).json();
    top_up(&weir, 0, "2.50");
    top_up(&weir, 1, "3.50");
    let (got, other) = (first.wait_for(1), second.wait_for(1));
    assert_eq!(got[0].kind(), "wallet.topped_up");
    assert_eq!(got[0].json()["data"]["amount"], "2.50");
    assert_eq!(other[0].json()["data"]["amount"], "3.50");
    assert!(got[0].is_signed_by(&secret) && !got[0].is_signed_by(&other_secret));
    let all = operator.wait_for(2);
    assert!(all[0].is_signed_by(own["secret"].as_str().unwrap_or_default()));
    let ids: Vec<&str> = all.iter().map(|message| message.id()).collect();
    assert!(ids.contains(&got[0].id()) && ids.contains(&other[0].id()), "{ids:?}");
    // Another account's webhook is as unknown as one that is not there.
    for (method, target) in [
        ("GET", format!("webhooks/{id}")),
        ("PATCH", format!("webhooks/{id}")),
        ("DELETE", format!("webhooks/{id}")),
        ("GET", format!("webhooks/{id}/deliveries")),
        ("POST", format!("webhooks/{id}/test")),
        ("POST", format!("webhooks/{id}/replay")),
        ("POST", format!("webhooks/{id}/rotate-secret")),
    ] {
        let refused = customer(&weir, 1, method, &target, &json!({}));
        assert_eq!(refused.status, 404, "{method} {target}: {}", refused.text());
    }
    let replay = json!({"event_id": other[0].id()});
    let refused = customer(&weir, 0, "POST", &format!("webhooks/{id}/replay"), &replay);
    assert_eq!(refused.status, 404, "{}", refused.text());
    // The log tells it, and no answer but the first has the secret.
    within(PATIENCE, "the delivery is noted", || {
        let log = customer(&weir, 0, "GET", &format!("webhooks/{id}/deliveries"), &Value::Null);
        log.json()["data"][0]["state"] == "delivered"
    });
    let shown = customer(&weir, 0, "GET", "webhooks", &Value::Null);
    assert!(!shown.text().contains("whsec_"), "{}", shown.text());
    assert!(!weir.process.log().contains("whsec_"));
}

#[test]
fn a_receiver_that_was_down_gets_the_same_message_again_across_kill_9() {
    let mock = Mock::start();
    let mut weir = Weir::start(&open_config(&mock), &[paying("payg", "1")]);
    let receiver = Receiver::start(Manner::Answer(503, String::new()));
    let (id, secret) = hook(&weir, 0, &receiver, &["wallet.topped_up"]);
    top_up(&weir, 0, "2");
    let first = receiver.wait_for(1)[0].clone();
    weir.kill_and_restart();
    receiver.behave(fine());
    let again = receiver.wait_for(2)[1].clone();
    assert_eq!(again.id(), first.id());
    assert_eq!(again.body, first.body);
    assert!(again.is_signed_by(&secret));
    within(PATIENCE, "the delivery is noted", || {
        let log = customer(&weir, 0, "GET", &format!("webhooks/{id}/deliveries"), &Value::Null);
        let log = log.json();
        log["data"][0]["state"] == "delivered" && log["data"][0]["last_status"] == 200
    });
}

#[test]
fn receivers_that_hang_cost_others_and_the_data_plane_nothing() {
    let mock = Mock::start();
    let weir = Weir::start(&open_config(&mock), &[paying("payg", "1"), paying("payg", "1")]);
    let hanging = Receiver::start(Manner::Hang);
    for _ in 0..10 {
        hook(&weir, 0, &hanging, &[]);
    }
    let good = Receiver::start(fine());
    hook(&weir, 1, &good, &[]);
    for _ in 0..5 {
        top_up(&weir, 0, "1");
    }
    hanging.wait_for(10);
    let began = Instant::now();
    top_up(&weir, 1, "1");
    good.wait_for(1);
    assert!(began.elapsed() < Duration::from_secs(3), "it took {:?}", began.elapsed());
    let began = Instant::now();
    assert_eq!(weir.call(1, "PUT", "/clusters/a", "{}").status, 200);
    assert!(began.elapsed() < Duration::from_secs(1), "it took {:?}", began.elapsed());
}

#[test]
fn redirects_are_not_followed_and_410_switches_off_and_tells() {
    let mock = Mock::start();
    let weir = Weir::start(&open_config(&mock), &[paying("payg", "1")]);
    let target = Receiver::start(fine());
    let location = format!("location: {}\r\n", target.url());
    let receiver = Receiver::start(Manner::Answer(307, location));
    let (id, _) = hook(&weir, 0, &receiver, &["wallet.topped_up"]);
    let operator = Receiver::start(fine());
    admin(&weir, "POST", "webhooks", &json!({"url": operator.url(), "events": ["webhook.*"]}));
    top_up(&weir, 0, "1");
    receiver.wait_for(1);
    within(PATIENCE, "the failure is noted", || {
        let log = customer(&weir, 0, "GET", &format!("webhooks/{id}/deliveries"), &Value::Null);
        log.json()["data"][0]["last_status"] == 307
    });
    assert!(target.messages().is_empty());
    receiver.behave(Manner::Answer(410, String::new()));
    top_up(&weir, 0, "1");
    let told = operator.wait_for(1);
    assert_eq!(told[0].kind(), "webhook.disabled");
    assert_eq!(told[0].json()["data"]["reason"], "gone");
    assert_eq!(status(&weir, 0, &id), "gone");
    let refused = customer(&weir, 0, "POST", &format!("webhooks/{id}/test"), &json!({}));
    assert_eq!(refused.status, 409, "{}", refused.text());
    // Switched on again, what failed can be had again.
    receiver.behave(fine());
    let before = receiver.messages().len();
    let on = customer(&weir, 0, "PATCH", &format!("webhooks/{id}"), &json!({"status": "enabled"}));
    assert_eq!(on.status, 200, "{}", on.text());
    let asked = json!({"since": "2020-01-01T00:00:00Z", "failed_only": true});
    let replayed = customer(&weir, 0, "POST", &format!("webhooks/{id}/replay"), &asked);
    assert_eq!(replayed.status, 202, "{}", replayed.text());
    assert_eq!(replayed.json()["queued"], 2, "{}", replayed.text());
    receiver.wait_for(before + 2);
}

#[test]
fn after_a_rotation_messages_carry_both_signatures() {
    let mock = Mock::start();
    let weir = Weir::start(&open_config(&mock), &[on("payg")]);
    let receiver = Receiver::start(fine());
    let (id, old) = hook(&weir, 0, &receiver, &[]);
    let target = format!("webhooks/{id}/rotate-secret");
    let rotated = customer(&weir, 0, "POST", &target, &json!({"overlap": "1h"})).json();
    let new = rotated["secret"].as_str().expect("a secret").to_owned();
    assert_ne!(old, new);
    let test = customer(&weir, 0, "POST", &format!("webhooks/{id}/test"), &json!({}));
    assert_eq!(test.status, 202, "{}", test.text());
    let got = receiver.wait_for(1)[0].clone();
    assert_eq!(got.kind(), "webhook.test");
    assert_eq!(got.id(), test.json()["event_id"].as_str().unwrap_or_default());
    assert!(got.is_signed_by(&old) && got.is_signed_by(&new), "{:?}", got.headers);
    let at_once = customer(&weir, 0, "POST", &target, &json!({"overlap": "0s"})).json();
    customer(&weir, 0, "POST", &format!("webhooks/{id}/test"), &json!({}));
    let got = receiver.wait_for(2)[1].clone();
    assert!(got.is_signed_by(at_once["secret"].as_str().unwrap_or_default()));
    assert!(!got.is_signed_by(&new));
}

#[test]
fn private_targets_and_hostile_urls_are_refused() {
    let mock = Mock::start();
    let weir = Weir::start(&config(&mock), &[on("payg")]);
    for url in [
        "https://127.0.0.1/",
        "https://localhost/",
        "https://[::ffff:127.0.0.1]/",
        "https://169.254.169.254/latest",
        "http://example.com/",
        "https://user:pw@example.com/",
        "https://example.com:0/",
        "file:///etc/passwd",
    ] {
        let refused = customer(&weir, 0, "POST", "webhooks", &json!({"url": url}));
        assert_eq!(refused.status, 400, "{url}: {}", refused.text());
        assert_eq!(refused.json()["error"]["param"], "url", "{}", refused.text());
    }
    let unknown = json!({"url": "https://example.com/", "events": ["wallet.loww"]});
    let refused = customer(&weir, 0, "POST", "webhooks", &unknown);
    assert_eq!(refused.status, 400, "{}", refused.text());
    assert!(refused.text().contains("wallet.low,"), "{}", refused.text());
}

#[test]
fn a_limit_tells_once_per_window_that_it_fills_and_that_it_refused() {
    let mock = Mock::start();
    let config = open_config(&mock)
        .replace("billing = \"wallet\"", "billing = \"none\"\nlimits = { read = \"10/hour\" }");
    let weir = Weir::start(&config, &[on("payg")]);
    let receiver = Receiver::start(fine());
    hook(&weir, 0, &receiver, &["limit.*", "webhook.test"]);
    let calls = (0..14).map(|_| weir.call(0, "GET", "/clusters/x", "").status);
    assert_eq!(calls.filter(|status| *status == 429).count(), 4);
    let told = receiver.wait_for(2);
    let mut kinds: Vec<String> = told.iter().map(|message| message.kind()).collect();
    kinds.sort();
    assert_eq!(kinds, ["limit.exceeded", "limit.threshold"]);
    let threshold = told.iter().find(|message| message.kind() == "limit.threshold");
    let data = threshold.map(|message| message.json()["data"].clone()).unwrap_or_default();
    assert_eq!(data["limit"]["name"], "read", "{data}");
    assert_eq!(data["limit"]["used"], 8, "{data}");
    assert!(data["limit"]["reset_at"].as_str().is_some_and(|at| at.ends_with('Z')), "{data}");
    let events = customer(&weir, 0, "GET", "events", &Value::Null).json();
    let limits = events["data"].as_array().expect("a list").iter();
    let limits =
        limits.filter(|event| event["type"].as_str().is_some_and(|it| it.starts_with("limit.")));
    assert_eq!(limits.count(), 2, "{events}");
}

#[test]
fn notices_go_out_by_e_mail_and_are_tried_again() {
    let mock = Mock::start();
    let sink = MailSink::start(1);
    let mail = format!(
        "[email]\nsmtp_url = \"smtp://{}\"\nfrom = \"Weir <weir@example.com>\"\n\
         templates_dir = \"letters\"\n",
        sink.address
    );
    let mut weir = Weir::start(&config(&mock), &[on("payg")]);
    weir.stop();
    let path = weir.folder().join("weir.toml");
    let whole = std::fs::read_to_string(&path).expect("a file");
    std::fs::write(&path, format!("{whole}\n{mail}")).expect("written");
    let letters = weir.folder().join("letters");
    std::fs::create_dir(&letters).expect("a folder");
    let letter = "Subject: Key {{name}} is there\n\nHello {{account_name}}, it ends in {{hint}}.\n";
    std::fs::write(letters.join("key.created.txt"), letter).expect("written");
    weir.serve_again();
    let id = account(&weir, 0);
    let changed =
        admin(&weir, "PATCH", &format!("accounts/{id}"), &json!({"email": "zoe@example.org"}));
    assert_eq!(changed.status, 200, "{}", changed.text());
    let key = json!({"name": "ci\r\nBcc: x@evil", "type": "read"});
    let made = admin(&weir, "POST", &format!("accounts/{id}/keys"), &key);
    assert_eq!(made.status, 400, "control characters in a name: {}", made.text());
    let made = admin(
        &weir,
        "POST",
        &format!("accounts/{id}/keys"),
        &json!({"name": "ci", "type": "read"}),
    );
    assert_eq!(made.status, 201, "{}", made.text());
    let mail = &sink.wait_for(1)[0];
    assert!(mail.contains("RCPT TO:<zoe@example.org>"), "{mail}");
    assert!(mail.contains("MAIL FROM:<weir@example.com>"), "{mail}");
    assert!(mail.contains("Subject: Key ci is there"), "{mail}");
    assert!(mail.contains("Hello payg, it ends in"), "{mail}");
    assert!(mail.contains("Message-ID: <evt_"), "{mail}");
}

/// A sample of the docs accepts what was sent, and nothing else.
#[track_caller]
fn sample(language: &str, command: &[&str], call: &str) {
    let docs = include_str!("../../../../docs/webhooks.md");
    let start = format!("```{language}\n");
    let code = docs.split(&start).nth(1).and_then(|rest| rest.split("```").next());
    let code = format!("{}\n{call}\n", code.expect("a sample"));
    let ran = std::process::Command::new(command[0]).arg(command[1]).arg(&code).output();
    let Ok(ran) = ran else {
        let _heard = std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!("skipped: there is no {}\n", command[0]),
        );
        return;
    };
    let said = String::from_utf8_lossy(&ran.stdout).trim().to_lowercase();
    assert_eq!(said, "true false", "{}", String::from_utf8_lossy(&ran.stderr));
}

#[test]
fn the_samples_of_the_docs_verify_real_messages() {
    let mock = Mock::start();
    let weir = Weir::start(&open_config(&mock), &[on("payg")]);
    let receiver = Receiver::start(fine());
    let (id, secret) = hook(&weir, 0, &receiver, &[]);
    customer(&weir, 0, "POST", &format!("webhooks/{id}/rotate-secret"), &json!({}));
    customer(&weir, 0, "POST", &format!("webhooks/{id}/test"), &json!({}));
    let got = receiver.wait_for(1)[0].clone();
    let names = ["webhook-id", "webhook-timestamp", "webhook-signature"];
    let headers: std::collections::BTreeMap<_, _> =
        names.iter().map(|name| (*name, got.header(name))).collect();
    let (headers, body) = (json!(headers), json!(String::from_utf8_lossy(&got.body)));
    let python = format!(
        "h, b = {headers}, {body}.encode()\n\
         print(verify(\"{secret}\", h, b), verify(\"{secret}\", h, b + b\" \"))"
    );
    sample("python", &["python3", "-c"], &python);
    let node = format!(
        "const h = {headers}, b = {body};\n\
         console.log(verify(\"{secret}\", h, b), verify(\"{secret}\", h, b + \" \"));"
    );
    sample("js", &["node", "-e"], &node);
}
