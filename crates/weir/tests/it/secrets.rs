//! No secret is told twice: a busy day with secrets of every kind, and a search for them in
//! everything that came out of the process.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::mail_sink::MailSink;
use crate::receiver::{Manner, Receiver};
use crate::seed::on;
use crate::server::{ADMIN_KEY, JSON, Weir};
use crate::support::{Mock, eventually};
use crate::wallet::config;
use crate::wire::{Answer, Line};

/// The forms in which a secret may hide, sorted by their first two bytes: one pass finds them all.
struct Search {
    by_start: Vec<Vec<usize>>,
    /// Each form with the secret that it is of.
    forms: Vec<(Vec<u8>, usize)>,
}

impl Search {
    /// Half a secret is one too: both halves are looked for, as they are and as they would be
    /// written in base64, hex, JSON and URLs.
    fn for_these(secrets: &[String]) -> Self {
        let mut search = Self { by_start: vec![Vec::new(); 1 << 16], forms: Vec::new() };
        for (number, secret) in secrets.iter().enumerate() {
            let random = ["weir_admin_", "weir_w_", "weir_r_", "weir_s_", "whsec_"];
            let known = random.iter().find_map(|start| secret.strip_prefix(start));
            let random = known.unwrap_or(secret).as_bytes();
            assert!(random.len() >= 16, "too short to be found by its halves: {secret}");
            for half in [&random[..random.len() / 2], &random[random.len() / 2..]] {
                for form in forms(half) {
                    search.by_start[start(&form)].push(search.forms.len());
                    search.forms.push((form, number));
                }
            }
        }
        search
    }

    /// The secrets that are in a text, with what is before them.
    fn found(&self, told: &[u8]) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        for at in 0..told.len().saturating_sub(1) {
            for form in &self.by_start[start(&told[at..])] {
                let (form, secret) = &self.forms[*form];
                if told[at..].starts_with(form) {
                    let near = &told[at.saturating_sub(200)..at + form.len()];
                    found.push((*secret, String::from_utf8_lossy(near).into_owned()));
                }
            }
        }
        found
    }
}

fn start(bytes: &[u8]) -> usize {
    usize::from(u16::from_be_bytes([bytes[0], bytes[1]]))
}

fn forms(secret: &[u8]) -> BTreeSet<Vec<u8>> {
    let hex = hex::encode(secret);
    let text = String::from_utf8_lossy(secret);
    let escaped = |byte: &u8| match byte {
        byte if byte.is_ascii_alphanumeric() || b"-_.~".contains(byte) => char::from(*byte).into(),
        byte => format!("%{byte:02X}"),
    };
    let url: String = secret.iter().map(escaped).collect();
    let json = json!(text).to_string().trim_matches('"').to_owned();
    let mut forms = BTreeSet::from([
        secret.to_vec(),
        hex.to_uppercase().into_bytes(),
        hex.into_bytes(),
        url.to_ascii_lowercase().into_bytes(),
        url.into_bytes(),
        json.into_bytes(),
    ]);
    // What is before a secret shifts its base64: what does not depend on the neighbours is looked for.
    for shift in 0..3 {
        let shifted = [&[0; 3][..shift], secret].concat();
        let whole = &shifted[..shifted.len() / 3 * 3];
        for alphabet in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            let text = alphabet.encode(whole).into_bytes();
            forms.insert(text[if shift == 0 { 0 } else { 4 }..].to_vec());
        }
    }
    forms
}

#[test]
fn the_search_finds_a_secret_in_every_guise() {
    let secret = "pa\"ss/wo+rd of 0123456789".to_owned();
    let search = Search::for_these(std::slice::from_ref(&secret));
    let hidden = [
        secret.clone(),
        secret[..secret.len() / 2].to_owned(),
        json!({ "x": secret }).to_string(),
        hex::encode(&secret),
        hex::encode_upper(&secret),
        "x=pa%22ss%2fwo%2brd%20of".to_owned(),
        STANDARD_NO_PAD.encode(format!("u:{secret}")),
        STANDARD_NO_PAD.encode(format!("us:{secret}!")),
        URL_SAFE_NO_PAD.encode(format!("use:{secret}")),
    ];
    for text in hidden {
        assert!(!search.found(text.as_bytes()).is_empty(), "{text}");
    }
    assert!(search.found(b"pa\"ss 0123").is_empty());
}

/// What was said, by whom, and what nobody may say again.
struct Day {
    weir: Weir,
    secrets: Vec<String>,
    said: Vec<(String, Vec<u8>)>,
}

impl Day {
    fn keep(&mut self, from: &str, answer: &Answer) {
        let told = [answer.head.as_bytes(), &answer.body].concat();
        self.said.push((from.to_owned(), told));
    }

    fn admin(&self, method: &str, path: &str, body: &Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.weir.admin(method, &format!("/admin/v1/{path}"), &body)
    }

    /// What an answer tells once: its `secret` is a secret from now on.
    #[track_caller]
    fn issued(&mut self, answer: &Answer) -> (String, String) {
        assert!(answer.status < 300, "{}", answer.text());
        let made = answer.json();
        let text = |name: &str| made[name].as_str().expect("a text").to_owned();
        self.secrets.push(text("secret"));
        (text("id"), text("secret"))
    }

    fn ask(&mut self, (front, at): (&str, Line), key: &str, call: (&str, &str, &str)) {
        let (method, target, body) = call;
        let bearer = format!("authorization: Bearer {key}");
        let answer = { at }.call(method, target, &[&bearer, JSON], body);
        self.keep(&format!("{front}: {method} {target}"), &answer);
    }

    fn command(&mut self, arguments: &[&str], expected: i32) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.current_dir(self.weir.folder()).args(arguments).stdin(Stdio::null());
        let ran = command
            .env("RUST_LOG", "trace")
            .env("XDG_CONFIG_HOME", self.weir.folder().join("home"))
            .env("WEIR_ADMIN_URL", format!("http://{}", self.weir.admin))
            .env("WEIR_ADMIN_KEY", ADMIN_KEY)
            .env("WEIR_WEBHOOK_SECRET", STRIPE)
            .envs(ENVIRONMENT)
            .output()
            .expect("it starts");
        let said = [ran.stdout, ran.stderr].concat();
        let shown = String::from_utf8_lossy(&said);
        assert_eq!(ran.status.code(), Some(expected), "{arguments:?}: {shown}");
        self.said.push((format!("weir {arguments:?}"), said));
    }

    /// Every GET of an API, by its own document.
    fn look_at_all(&mut self, document: &Answer, key: &str, ids: &[(&str, &str)]) {
        let document = document.json();
        let mut looked = 0;
        for (path, operations) in document["paths"].as_object().expect("paths") {
            // It would be answered for ever.
            if operations.get("get").is_none() || path == "/admin/v1/calls" {
                continue;
            }
            let id = ids.iter().find(|(part, _)| path.contains(part)).map_or("x", |(_, id)| id);
            let target = path.replace("{id}", id).replace("{month}", "2026-01");
            let admin = path.starts_with("/admin/");
            let at = Line::open(if admin { self.weir.admin } else { self.weir.data });
            self.ask(("own", at), key, ("GET", &target, ""));
            looked += 1;
        }
        assert!(looked >= 14, "{looked}");
    }

    /// Fails with every secret that was said.
    fn search(&self) {
        let search = Search::for_these(&self.secrets);
        let mut wrong = Vec::new();
        for (from, told) in &self.said {
            let found = search.found(told).into_iter().take(3);
            wrong.extend(found.map(|(_, near)| format!("{from}: …{near}")));
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

fn start_house(mock: &Mock, mail: &MailSink) -> Weir {
    let whole = format!(
        "[webhooks]\nallow_private = true\n[billing]\nstripe_webhook_secret = \"{STRIPE}\"\n\
         [email]\nsmtp_url = \"smtp://weir:${{MAIL_PASSWORD}}@{}\"\nfrom = \"Weir <w@example.com>\"\n\
         {}",
        mail.address,
        config(mock).replacen(
            "[upstreams.mock]\n",
            &format!(
                "[upstreams.mock]\nheaders = {{ authorization = \"Bearer {UPSTREAM}\", \
                 x-second = \"${{SECOND_KEY}}\" }}\n"
            ),
            1
        )
    );
    // The first start is without what the environment gives.
    let plain = whole.replace("${MAIL_PASSWORD}", "x").replace("${SECOND_KEY}", "x");
    let mut weir = Weir::start(&plain, &[on("payg")]);
    weir.stop();
    weir.configure(&whole);
    let told_all = [("RUST_LOG", "trace")];
    weir.serve_again_with(&[&told_all[..], &ENVIRONMENT].concat());
    weir
}

/// Ids of what was made.
struct Made {
    account: String,
    key: String,
    hook: String,
    manager: String,
}

/// Keys, admin keys and webhooks made, repeated and rotated.
fn issue(day: &mut Day, receiver: &Receiver) -> Made {
    day.secrets.push(day.weir.keys[0].clone());
    let own = day.weir.call(0, "GET", "/weir/v1/key", "").json();
    let account = own["account"]["id"].as_str().expect("an id").to_owned();
    day.admin("PATCH", &format!("accounts/{account}"), &json!({"email": "zoe@example.org"}));
    day.admin("POST", &format!("accounts/{account}/wallet/top-ups"), &json!({"amount": "5"}));
    let new = json!({"name": "k", "type": "read_write", "scopes": ["accounts", "ai", "webhooks"]});
    let path = format!("/admin/v1/accounts/{account}/keys");
    let bearer = format!("authorization: Bearer {ADMIN_KEY}");
    let again = [&*bearer, JSON, "idempotency-key: once"];
    let first = Line::open(day.weir.admin).call("POST", &path, &again, &new.to_string());
    let (key, manager) = day.issued(&first);
    let replay = Line::open(day.weir.admin).call("POST", &path, &again, &new.to_string());
    assert_eq!(replay.header("idempotency-replayed"), Some("true"), "{}", replay.head);
    day.keep("the repeated request", &replay);
    let bearer = format!("authorization: Bearer {manager}");
    for (path, new) in [
        ("keys", json!({"name": "child", "type": "read"})),
        ("webhooks", json!({"url": receiver.url()})),
    ] {
        let once = format!("idempotency-key: {path}");
        let headers = [&*bearer, JSON, &once];
        let target = format!("/weir/v1/{path}");
        let made = day.weir.line().call("POST", &target, &headers, &new.to_string());
        day.issued(&made);
        let replay = day.weir.line().call("POST", &target, &headers, &new.to_string());
        day.keep("the customer's repeated request", &replay);
    }
    let rotated = day.admin("POST", &format!("keys/{key}/rotate"), &json!({"overlap": "1h"}));
    day.issued(&rotated);
    let viewer = day.admin("POST", "admin-keys", &json!({"name": "v", "role": "viewer"}));
    day.issued(&viewer);
    let hook = day.admin("POST", "webhooks", &json!({"url": receiver.url()}));
    let (hook, _) = day.issued(&hook);
    let rotated = day.admin("POST", &format!("webhooks/{hook}/rotate-secret"), &json!({}));
    day.issued(&rotated);
    let test = day.admin("POST", &format!("webhooks/{hook}/test"), &Value::Null);
    day.keep("the test of a webhook", &test);
    Made { account, key, hook, manager }
}

/// Every secret as a key, on both addresses: what takes it and what refuses it.
fn knock_everywhere(day: &mut Day) {
    let chat = r#"{"model":"llama-3-8b","max_tokens":5,"messages":[]}"#;
    for secret in day.secrets.clone() {
        for call in [
            ("POST", "/ai/chat", chat),
            ("POST", "/ai/chat", "{"),
            ("POST", "/clusters/x", "{}"),
            ("GET", "/nowhere", ""),
            ("GET", "/weir/v1/key", ""),
            ("POST", "/weir/v1/keys", "{\"nme\":1}"),
            ("GET", "/admin/v1/accounts", ""),
        ] {
            let (data, admin) = (day.weir.line(), Line::open(day.weir.admin));
            day.ask(("data", data), &secret, call);
            day.ask(("admin", admin), &secret, call);
        }
        // Where no key belongs.
        let line = day.weir.line();
        let target = format!("/weir/v1/keys/{}", URL_SAFE_NO_PAD.encode(&secret));
        day.ask(("as an id", line), "weir_w_guess", ("DELETE", &target, ""));
    }
}

#[test]
fn no_secret_is_told_twice_or_kept() {
    let (mock, mail) = (Mock::start(), MailSink::start(0));
    let receiver = Receiver::start(Manner::Answer(200, String::new()));
    let weir = start_house(&mock, &mail);
    let given = [ADMIN_KEY, UPSTREAM, STRIPE, ENVIRONMENT[0].1, ENVIRONMENT[1].1, GUESS];
    let mut day = Day { weir, secrets: given.map(str::to_owned).to_vec(), said: Vec::new() };
    let made = issue(&mut day, &receiver);
    knock_everywhere(&mut day);
    let Made { account, key, hook, manager } = &made;
    let ids = [("/accounts/", &**account), ("/keys/", key), ("/webhooks/", hook)];
    let document = day.admin("GET", "openapi.json", &Value::Null);
    day.look_at_all(&document, ADMIN_KEY, &ids);
    let document = day.weir.call(0, "GET", "/weir/v1/openapi.json", "");
    day.look_at_all(&document, manager, &ids);
    let good = std::fs::read_to_string(day.weir.config_path()).expect("a file");
    let wrong = good.replace("smtp://", "smtq://").replace("Bearer ", "\\u0001");
    let wrong = wrong.replace(ADMIN_KEY, &format!("{ADMIN_KEY} "));
    for text in [good.replace("payg", "other"), wrong.clone()] {
        let compared = day.weir.admin("POST", "/admin/v1/config/diff", &text);
        day.keep("config/diff", &compared);
    }
    let metrics = day.weir.admin("GET", "/metrics", "");
    day.keep("metrics", &metrics);
    std::fs::write(day.weir.folder().join("wrong.toml"), &wrong).expect("written");
    for (arguments, expected) in [
        (&["account", "list", "--json"][..], 0),
        (&["key", "list", account, "--json"], 0),
        (&["webhook", "list"], 0),
        (&["webhook", "deliveries", hook], 0),
        (&["webhook", "verify", "--help"], 0),
        (&["account", "show", "nobody"], 3),
        (&["account", "list", "--admin-url", "http://127.0.0.1:1"], 1),
        (&["config", "show"], 0),
        (&["config", "diff", "weir.toml"], 0),
        (&["config", "diff", "wrong.toml"], 3),
        (&["config", "reload"], 0),
        (&["check", "--config", "weir.toml"], 0),
        (&["check", "--config", "wrong.toml"], 2),
        (&["check", "--config", "wrong.toml", "--json"], 2),
        (&["serve", "--config", "wrong.toml"], 2),
        (&["doctor", "--config", "weir.toml"], 0),
        (&["usage", account], 0),
    ] {
        day.command(arguments, expected);
    }
    // A file that is wrong is refused, and the log says why.
    std::fs::write(day.weir.config_path(), &wrong).expect("written");
    day.command(&["config", "reload"], 3);
    eventually("events are delivered", || receiver.messages().len() >= 3);
    for message in receiver.messages() {
        let told = format!("{:?} {}", message.headers, String::from_utf8_lossy(&message.body));
        day.said.push(("a webhook".to_owned(), told.into_bytes()));
    }
    mail.wait_for(1);
    day.weir.stop();
    let log = day.weir.process.log().into_bytes();
    assert!(log.len() > 10_000, "nothing was logged: {}", log.len());
    day.said.push(("the log".to_owned(), log));
    day.search();
    kept_in_files(&day);
}

/// Webhooks' own secrets are kept, since messages are signed with them (docs/webhooks.md); no other.
fn kept_in_files(day: &Day) {
    let (own, others): (Vec<&String>, Vec<&String>) =
        day.secrets.iter().partition(|it| it.starts_with("whsec_") && *it != STRIPE);
    assert_eq!(own.len(), 3);
    let others: Vec<String> = others.into_iter().cloned().collect();
    let search = Search::for_these(&others);
    let mut read = 0;
    for file in std::fs::read_dir(day.weir.folder().join("store")).expect("a folder").flatten() {
        let bytes = content(&file.path());
        read += bytes.len();
        let found = search.found(&bytes);
        assert!(found.is_empty(), "{:?}: {:?}", file.path(), found.first());
    }
    assert!(read > 100_000, "{read}");
}

/// What is in a file, without the zeroes that keep its place.
fn content(path: &Path) -> Vec<u8> {
    let mut bytes = std::fs::read(path).expect("a file");
    bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
    bytes
}

#[test]
fn a_command_that_dies_leaves_no_core() {
    let mock = Mock::start();
    let weir = Weir::start(&config(&mock), &[on("payg")]);
    let aborted = |script: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit -c unlimited; {script}")]);
        command.current_dir(weir.folder()).env("WEIR", env!("CARGO_BIN_EXE_weir"));
        command
            .env("WEIR_ADMIN_URL", format!("http://{}", weir.admin))
            .env("WEIR_ADMIN_KEY", ADMIN_KEY)
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let mut stderr = std::io::BufReader::new(child.stderr.take().expect("piped"));
        let mut line = String::new();
        std::io::BufRead::read_line(&mut stderr, &mut line).expect("it says that it runs");
        let sent = Command::new("kill").args(["-ABRT", &child.id().to_string()]).status();
        assert!(sent.expect("kill is there").success());
        let status = child.wait().expect("it ended");
        assert_eq!(status.signal(), Some(6), "{line}");
        status.core_dumped()
    };
    if !aborted("echo here >&2; exec sleep 60") {
        let skipped = format_args!("skipped: nothing leaves a core on this machine\n");
        let _heard = std::io::Write::write_fmt(&mut std::io::stderr(), skipped);
        return;
    }
    assert!(!aborted("exec \"$WEIR\" webhook listen --forward-to http://127.0.0.1:9/hook"));
    assert!(!aborted("TMPDIR=. exec \"$WEIR\" demo --port 0 --quiet >&2"));
}

const UPSTREAM: &str = "sk-upstream-0123456789abcdef";
const STRIPE: &str = "whsec_b2Ygc3RyaXBlIG9ubHkgMDEyMzQ1Njc4OQ==";
const GUESS: &str = "weir_w_guessOfSomebody0123456789abcdefghijklm";
/// What the process is given by its environment.
const ENVIRONMENT: [(&str, &str); 2] = [
    ("MAIL_PASSWORD", "mail%2Fpass%22word-9876543210"),
    ("SECOND_KEY", "second/key+zyxwvutsrqponm"),
];
