//! The operator's commands as they are typed against a running server.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::receiver::{Manner, Receiver};
use crate::seed::{on, paying};
use crate::server::{ADMIN_KEY, Weir};
use crate::support::{Mock, eventually};
use crate::wallet::config;
use crate::wire::Line;

/// The binary with an environment of its own: no home, no context, no key.
fn bare(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.current_dir(folder).args(arguments).stdin(Stdio::null());
    for name in ["WEIR_ADMIN_URL", "WEIR_ADMIN_KEY", "WEIR_CONTEXT", "WEIR_WEBHOOK_SECRET"] {
        command.env_remove(name);
    }
    command.env("XDG_CONFIG_HOME", folder.join("config"));
    command
}

pub(crate) fn operator(weir: &Weir, arguments: &[&str]) -> Command {
    let mut command = bare(weir.folder(), arguments);
    command
        .env("WEIR_ADMIN_URL", format!("http://{}", weir.admin))
        .env("WEIR_ADMIN_KEY", ADMIN_KEY);
    command
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
pub(crate) fn done(mut command: Command) -> Output {
    let ran = command.output().expect("the binary starts");
    assert_eq!(ran.status.code(), Some(0), "{command:?}\n{}", text(&ran.stderr));
    ran
}

#[track_caller]
pub(crate) fn json_of(command: Command) -> Value {
    serde_json::from_slice(&done(command).stdout).expect("JSON")
}

fn open_config(mock: &Mock) -> String {
    format!("{}[webhooks]\nallow_private = true\n", config(mock))
}

#[test]
fn webhooks_are_made_changed_tried_and_removed() {
    let mock = Mock::start();
    let weir = Weir::start(&open_config(&mock), &[on("payg")]);
    let receiver = Receiver::start(Manner::Answer(200, String::new()));
    let url = receiver.url();
    let made = json_of(operator(
        &weir,
        &["webhook", "create", "--url", &url, "--event", "wallet.*", "--json"],
    ));
    let id = made["id"].as_str().expect("an id").to_owned();
    let old = made["secret"].as_str().expect("a secret").to_owned();
    let listed = text(&done(operator(&weir, &["webhook", "list"])).stdout);
    assert!(listed.contains(&id) && listed.contains("wallet.*"), "{listed}");
    assert!(!listed.contains("whsec_"), "{listed}");
    let test = json_of(operator(&weir, &["webhook", "test", &id, "--json"]));
    assert!(receiver.wait_for(1)[0].is_signed_by(&old));
    let rotated = json_of(operator(&weir, &["webhook", "rotate", &id, "--json"]));
    assert_ne!(rotated["secret"], old.as_str());
    let event = test["event_id"].as_str().expect("an id");
    let replayed =
        json_of(operator(&weir, &["webhook", "replay", &id, "--event", event, "--json"]));
    assert_eq!(replayed["queued"], 1);
    assert_eq!(receiver.wait_for(2)[1].id(), event);
    let told = text(&done(operator(&weir, &["webhook", "deliveries", &id])).stdout);
    assert!(told.contains(event) && told.contains("webhook.test"), "{told}");
    let changed = json_of(operator(
        &weir,
        &["webhook", "update", &id, "--disable", "--event", "*", "--json"],
    ));
    assert_eq!((&changed["status"], &changed["events"]), (&json!("disabled"), &json!([])));
    done(operator(&weir, &["webhook", "delete", &id]));
    let gone = operator(&weir, &["webhook", "get", &id]).output().expect("it starts");
    assert_eq!(gone.status.code(), Some(3), "{gone:?}");
    // What would do nothing, or two things at once, is bad usage.
    for wrong in [
        &["webhook", "update", &id][..],
        &["webhook", "update", &id, "--enable", "--disable"],
        &["webhook", "replay", &id],
        &["webhook", "replay", &id, "--event", event, "--since", "2026-01-01T00:00:00Z"],
    ] {
        let refused = operator(&weir, wrong).output().expect("it starts");
        assert_eq!(refused.status.code(), Some(2), "{wrong:?}: {}", text(&refused.stderr));
    }
}

#[test]
fn listen_forwards_what_happens_from_now_on_signed() {
    let mock = Mock::start();
    let weir = Weir::start(&open_config(&mock), &[paying("payg", "1"), paying("payg", "1")]);
    let account = |index: usize| {
        let own = weir.call(index, "GET", "/weir/v1/key", "").json();
        own["account"]["id"].as_str().expect("an id").to_owned()
    };
    let (first, second) = (account(0), account(1));
    let top_up = |account: &str, amount: &str| {
        let path = format!("/admin/v1/accounts/{account}/wallet/top-ups");
        let made = weir.admin("POST", &path, &json!({ "amount": amount }).to_string());
        assert_eq!(made.status, 201, "{}", made.text());
    };
    top_up(&first, "7");
    let receiver = Receiver::start(Manner::Answer(202, String::new()));
    let url = receiver.url();
    let mut command = operator(
        &weir,
        &[
            "webhook",
            "listen",
            "--forward-to",
            &url,
            "--event",
            "wallet.topped_up",
            "--most",
            "2",
            "--account",
            &first,
            "--json",
        ],
    );
    let mut listening =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
    let mut hints = BufReader::new(listening.stderr.take().expect("piped"));
    let mut line = String::new();
    hints.read_line(&mut line).expect("it tells the secret");
    let secret = line.trim().rsplit(' ').next().expect("a secret").to_owned();
    hints.read_line(&mut line).expect("it listens");
    top_up(&second, "8");
    top_up(&first, "9.25");
    top_up(&first, "1");
    let got = receiver.wait_for(2);
    let amounts: Vec<Value> = got.iter().map(|it| it.json()["data"]["amount"].clone()).collect();
    assert_eq!(amounts, ["9.25", "1.00"], "not what was before, nor another account's");
    assert!(got.iter().all(|message| message.is_signed_by(&secret)), "{secret}");
    let ended = listening.wait_with_output().expect("it ends");
    assert_eq!(ended.status.code(), Some(0));
    let lines: Vec<Value> =
        text(&ended.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(
        (&lines[0]["id"], &lines[0]["forwarded"]["status"]),
        (&got[0].id().into(), &202.into())
    );
}

#[test]
fn verify_takes_the_genuine_message_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=";
    let oracle = standardwebhooks::Webhook::new(secret).expect("a secret");
    let signature = oracle.sign("evt_1", 1_700_000_000, b"{\"a\":1}").expect("signed");
    let headers = format!(
        "Content-Type: application/json\nWebhook-Id: evt_1\nWebhook-Timestamp: 1700000000\n\
         Webhook-Signature: {signature}\n"
    );
    std::fs::write(folder.path().join("headers"), headers).expect("written");
    std::fs::write(folder.path().join("body"), "{\"a\":1}").expect("written");
    std::fs::write(folder.path().join("altered"), "{\"a\":2}").expect("written");
    let verify = |body: &str, more: &[&str]| {
        let arguments = [&["webhook", "verify", body, "--headers", "headers"][..], more].concat();
        let mut command = bare(folder.path(), &arguments);
        command.env("WEIR_WEBHOOK_SECRET", secret).output().expect("it starts")
    };
    let genuine = verify("body", &["--any-age"]);
    assert_eq!(text(&genuine.stdout), "ok: evt_1 is signed with this secret\n", "{genuine:?}");
    assert_eq!(genuine.status.code(), Some(0));
    for (body, more, why) in [
        ("altered", &["--any-age"][..], "no signature fits"),
        ("body", &[], "more than five minutes from now"),
    ] {
        let refused = verify(body, more);
        assert_eq!(refused.status.code(), Some(1), "{body}");
        assert!(text(&refused.stderr).contains(why), "{refused:?}");
    }
}

#[test]
fn receive_answers_the_genuine_message_alone_with_success() {
    let folder = tempfile::tempdir().expect("a folder");
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=";
    let arguments = ["webhook", "receive", "--port", "0", "--most", "2", "--json"];
    let mut receiving = bare(folder.path(), &arguments)
        .env("WEIR_WEBHOOK_SECRET", secret)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut hint = String::new();
    BufReader::new(receiving.stderr.take().expect("piped")).read_line(&mut hint).expect("a hint");
    let address = hint.split("http://").nth(1).and_then(|rest| rest.split('/').next());
    let address = address.and_then(|address| address.parse().ok()).expect("an address");
    let now_s = jiff::Timestamp::now().as_second();
    let oracle = standardwebhooks::Webhook::new(secret).expect("a secret");
    let body = r#"{"type":"wallet.low","data":{}}"#;
    let signature = oracle.sign("evt_1", now_s, body.as_bytes()).expect("signed");
    let headers = [
        "webhook-id: evt_1".to_owned(),
        format!("webhook-timestamp: {now_s}"),
        format!("webhook-signature: {signature}"),
    ];
    let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
    let mut line = Line::open(address);
    assert_eq!(line.call("GET", "/any", &[], "").status, 405);
    assert_eq!(line.call("POST", "/any", &headers, body).status, 200);
    assert_eq!(line.call("POST", "/any", &headers, "{}").status, 400);
    let ended = receiving.wait_with_output().expect("it ends");
    assert_eq!(ended.status.code(), Some(1), "one was refused");
    let lines: Vec<Value> =
        text(&ended.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(
        (&lines[0]["ok"], &lines[0]["message"]["type"]),
        (&true.into(), &"wallet.low".into())
    );
    assert_eq!((&lines[1]["ok"], &lines[1]["id"]), (&false.into(), &"evt_1".into()));
}

#[test]
fn a_backup_of_a_running_server_restores_to_the_same_books() {
    let mock = Mock::start();
    let mut weir = Weir::start(&config(&mock), &[paying("payg", "12.5")]);
    let wrote = done(operator(&weir, &["backup", "night.backup", "--verify"]));
    let wrote = text(&wrote.stdout);
    assert!(wrote.contains("night.backup (") && wrote.contains("12.50 in all"), "{wrote}");
    let file = weir.folder().join("night.backup");
    let mode = std::fs::metadata(&file).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let again = operator(&weir, &["backup", "night.backup"]).output().expect("it starts");
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("never overwrites"), "{again:?}");
    let viewer = weir.admin("POST", "/admin/v1/admin-keys", r#"{"name":"v","role":"operator"}"#);
    let viewer = viewer.json()["secret"].as_str().expect("a secret").to_owned();
    let mut other = operator(&weir, &["backup", "other.backup"]);
    let refused = other.env("WEIR_ADMIN_KEY", viewer).output().expect("it starts");
    assert_eq!(refused.status.code(), Some(3), "only owners: {refused:?}");
    let left: Vec<String> = std::fs::read_dir(weir.folder())
        .expect("a folder")
        .chain(std::fs::read_dir(weir.folder().join("store")).expect("a store"))
        .map(|file| file.expect("listed").file_name().to_string_lossy().into_owned())
        .filter(|name| {
            name.contains("unfinished") || name.contains("tmp") || name.contains("other")
        })
        .collect();
    assert!(left.is_empty(), "{left:?}");
    weir.stop();

    // Not into a folder with something in it, and nothing stays of what is no backup.
    let in_use = bare(weir.folder(), &["restore", "night.backup", "--path", "store"]);
    let refused = { in_use }.output().expect("it starts");
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("store is not empty"), "{refused:?}");
    std::fs::write(weir.folder().join("broken"), "no backup").expect("written");
    let broken = bare(weir.folder(), &["restore", "broken", "--path", "new"]).output();
    assert_eq!(broken.expect("it starts").status.code(), Some(1));
    assert!(!weir.folder().join("new").exists());
    let restored = done(bare(weir.folder(), &["restore", "night.backup", "--path", "new"]));
    assert!(text(&restored.stdout).contains("12.50 in all; the books hold"), "{restored:?}");
    std::fs::rename(weir.folder().join("store"), weir.folder().join("lost")).expect("moved");
    std::fs::rename(weir.folder().join("new"), weir.folder().join("store")).expect("moved");
    weir.serve_again();
    let wallet = weir.call(0, "GET", "/weir/v1/wallet", "");
    assert_eq!(wallet.json()["balance"], "12.50", "{}", wallet.text());
}

#[test]
fn a_context_keeps_address_and_key_for_its_owner_alone() {
    let mock = Mock::start();
    let weir = Weir::start(&config(&mock), &[on("payg")]);
    let url = format!("http://{}", weir.admin);
    let none = bare(weir.folder(), &["account", "list"]).output().expect("it starts");
    assert!(text(&none.stderr).contains("weir context add"), "{none:?}");
    let mut add = bare(weir.folder(), &["context", "add", "here", "--admin-url", &url]);
    std::fs::write(weir.folder().join("key"), format!("{ADMIN_KEY}\n")).expect("written");
    let key = std::fs::File::open(weir.folder().join("key")).expect("a file");
    add.stdin(key);
    done(add);
    let path = weir.folder().join("config/weir/contexts.toml");
    let mode = std::fs::metadata(&path).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let accounts = json_of(bare(weir.folder(), &["account", "list", "--json"]));
    assert_eq!(accounts.as_array().map(Vec::len), Some(1), "{accounts}");
    let listed = text(&done(bare(weir.folder(), &["context", "list"])).stdout);
    assert!(listed.contains("here") && !listed.contains(ADMIN_KEY), "{listed}");
    // Its key goes to no other address than its own.
    let elsewhere = bare(weir.folder(), &["account", "list", "--admin-url", "http://127.0.0.1:1"]);
    let refused = { elsewhere }.output().expect("it starts");
    assert!(text(&refused.stderr).contains("there is no admin key"), "{refused:?}");
    let unknown = bare(weir.folder(), &["account", "list", "--context", "there"]).output();
    let unknown = text(&unknown.expect("it starts").stderr);
    assert!(unknown.contains("no context `there` (known: here)"), "{unknown}");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).expect("changed");
    let open = bare(weir.folder(), &["account", "list"]).output().expect("it starts");
    assert!(text(&open.stderr).contains("chmod 600"), "{open:?}");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("changed");
    done(bare(weir.folder(), &["context", "remove", "here"]));
}

#[test]
fn exported_usage_tells_accounts_apart_and_adds_up_to_what_is_shown() {
    let mock = Mock::start();
    let weir = Weir::start(&config(&mock), &[paying("payg", "1"), paying("payg", "1")]);
    for key in [0, 1, 1] {
        assert_eq!(weir.call(key, "POST", "/clusters/a", "{}").status, 201);
    }
    let shown = || weir.admin("GET", "/admin/v1/usage?interval=day", "").json()["totals"].clone();
    eventually("all calls are counted", || shown()["requests"] == 3);
    let export = |rest: &[&str]| {
        let all = [&["export", "usage", "--group-by", "account,route"], rest].concat();
        text(&done(operator(&weir, &all)).stdout)
    };
    let csv = export(&[]);
    let mut lines = csv.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let head = lines.next().expect("a heading");
    assert_eq!(head[..4], ["start", "account", "route", "requests"]);
    let charged = head.iter().position(|name| *name == "charged").expect("a column");
    let rows: Vec<(String, &str)> = lines.map(|row| (row[2..4].join(" "), row[charged])).collect();
    let row = |calls: u32, charged| (format!("POST /clusters/* {calls}"), charged);
    assert_eq!(rows, [row(1, "0.01"), row(2, "0.02")]);
    assert_eq!(shown()["charged"], "0.03");
    let lines = export(&["--format", "jsonl"]);
    let last: Value = serde_json::from_str(lines.lines().last().expect("a line")).expect("JSON");
    assert_eq!((&last["requests"], &last["charged"]), (&2.into(), &"0.02".into()));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(["completions", "fish"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), told.as_str()), (Some(0), ""));
}

#[test]
fn check_warns_of_what_is_allowed_and_has_no_effect() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = "[auth]\nadmin_key = \"short\"\n\
                  [upstreams.u]\nurls = [\"http://127.0.0.1:1\"]\n[plans.p]\n\
                  [[routes]]\nmatch = \"GTE,PURGE /a\"\nupstream = \"u\"\n\
                  [[routes]]\nmatch = \"GET /b\"\nupstream = \"u\"\ncache = \"http\"\n";
    std::fs::write(folder.path().join("weir.toml"), config).expect("written");
    let checked = done(bare(folder.path(), &["check"]));
    let warned = text(&checked.stderr);
    assert_eq!(warned.lines().count(), 3, "{warned}");
    assert!(
        warned.contains("auth.admin_key: it opens everything and has less than 24"),
        "{warned}"
    );
    assert!(!warned.contains("short"), "{warned}");
    assert!(warned.contains("`GTE` is no method of HTTP; did you mean `GET`?"), "{warned}");
    assert!(warned.contains("routes[GET /b].cache: answers are not kept yet"), "{warned}");
}
