//! Commands whose answers break off on the way: what they change takes effect once.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::commands::{done, json_of, operator, text};
use crate::seed::paying;
use crate::server::Weir;
use crate::support::Mock;
use crate::wallet::config;

/// Stands before the admin API and loses answers to POSTs that have taken effect.
struct Breaker {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// How many answers are still to be lost.
    to_lose: AtomicUsize,
    /// How much of an answer is let through before it is lost.
    let_through: AtomicUsize,
    /// The idempotency keys of the POSTs, in their order.
    keys: Mutex<Vec<String>>,
}

impl Breaker {
    fn before(admin: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let breaker = Self {
            address: listener.local_addr().expect("an address"),
            state: Arc::new(State::default()),
        };
        let state = Arc::clone(&breaker.state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&state);
                std::thread::spawn(move || pass(stream, admin, &state));
            }
        });
        breaker
    }

    fn lose(&self, answers: usize, after_bytes: usize) {
        self.state.to_lose.store(answers, Ordering::SeqCst);
        self.state.let_through.store(after_bytes, Ordering::SeqCst);
        self.state.keys.lock().expect("no panic").clear();
    }

    fn keys(&self) -> Vec<String> {
        self.state.keys.lock().expect("no panic").clone()
    }

    fn operator(&self, weir: &Weir, arguments: &[&str]) -> std::process::Command {
        let mut command = operator(weir, arguments);
        command.env("WEIR_ADMIN_URL", format!("http://{}", self.address));
        command
    }
}

/// Passes one request on and its answer back, or loses that.
fn pass(stream: TcpStream, admin: SocketAddr, state: &State) {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    let (mut length, mut key) = (0, None);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or_default() == 0 {
            return;
        }
        if line == "\r\n" {
            break;
        }
        if let Some((name, value)) = line.split_once(": ") {
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().expect("a length"),
                "idempotency-key" => key = Some(value.trim().to_owned()),
                _ => {}
            }
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("the body comes");
    let mut server = TcpStream::connect(admin).expect("it accepts");
    let request = [head.as_bytes(), b"connection: close\r\n\r\n", &body].concat();
    server.write_all(&request).expect("it is sent");
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).expect("it answers");
    if head.starts_with("POST ") {
        state.keys.lock().expect("no panic").extend(key);
        let lost = state
            .to_lose
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |lose| lose.checked_sub(1));
        if lost.is_ok() {
            answer.truncate(state.let_through.load(Ordering::SeqCst));
        }
    }
    // The command may have gone.
    let _ = reader.get_mut().write_all(&answer);
}

fn account(weir: &Weir) -> String {
    let own = weir.call(0, "GET", "/weir/v1/key", "").json();
    own["account"]["id"].as_str().expect("an id").to_owned()
}

/// The notes of what the wallet's entries say, newest first.
fn notes(weir: &Weir, account: &str) -> Vec<String> {
    let entries = json_of(operator(weir, &["wallet", "entries", account, "--json"]));
    let entries = entries.as_array().expect("entries").clone();
    let note = |entry: &Value| entry["note"].as_str().unwrap_or_default().to_owned();
    entries.iter().map(note).filter(|note| !note.is_empty()).collect()
}

#[test]
fn a_lost_answer_is_asked_for_again_and_the_command_takes_effect_once() {
    let mock = Mock::start();
    let weir = Weir::start(&config(&mock), &[paying("payg", "1")]);
    let (breaker, account) = (Breaker::before(weir.admin), account(&weir));
    // Before its first byte, in its head, and in its body.
    let rounds = [(0, "3.50"), (20, "6.00"), (300, "8.50")];
    for (index, (after_bytes, balance)) in rounds.into_iter().enumerate() {
        breaker.lose(1, after_bytes);
        let note = format!("round {index}");
        let arguments = ["wallet", "top-up", &account, "2.50", "--note", &note, "--json"];
        let made = json_of(breaker.operator(&weir, &arguments));
        assert_eq!(made["balance"], balance, "{made}");
        let keys = breaker.keys();
        assert_eq!(keys.len(), 2, "after {after_bytes} bytes: {keys:?}");
        assert_eq!(keys[0], keys[1]);
    }
    assert_eq!(notes(&weir, &account), ["round 2", "round 1", "round 0"]);
    breaker.lose(0, 0);
    done(breaker.operator(&weir, &["wallet", "adjust", &account, "-1", "--reason", "by hand"]));
    assert_eq!(breaker.keys().len(), 1, "what was answered is not sent again");
}

#[test]
fn what_stays_unanswered_is_said_again_by_its_key() {
    let mock = Mock::start();
    let weir = Weir::start(&config(&mock), &[paying("payg", "1")]);
    let (breaker, account) = (Breaker::before(weir.admin), account(&weir));
    breaker.lose(2, 0);
    let top_up = ["wallet", "top-up", &account, "4", "--note", "once", "--json"];
    let failed = breaker.operator(&weir, &top_up).output().expect("it starts");
    assert_eq!(failed.status.code(), Some(1), "{failed:?}");
    let told = text(&failed.stderr);
    assert!(told.contains("it may or may not have taken effect"), "{told}");
    let (_, rest) = told.split_once("--idempotency-key ").expect("a way to go on");
    let key = rest.split_whitespace().next().expect("a key");
    assert_eq!(breaker.keys(), [key, key]);
    let again = |amount: &str| {
        let words = ["wallet", "top-up", &account, amount, "--note", "once", "--json"];
        operator(&weir, &[&words[..], &["--idempotency-key", key]].concat())
    };
    assert_eq!(json_of(again("4"))["balance"], "5.00");
    assert_eq!(notes(&weir, &account), ["once"]);
    // The key is that command's and no other's.
    let other = again("5").output().expect("it starts");
    assert_eq!(other.status.code(), Some(3), "{other:?}");
    assert_eq!(notes(&weir, &account), ["once"]);
}

#[test]
fn a_key_whose_secret_was_lost_is_made_once_and_its_maker_is_told() {
    let mock = Mock::start();
    let weir = Weir::start(&config(&mock), &[paying("payg", "1")]);
    let (breaker, account) = (Breaker::before(weir.admin), account(&weir));
    let count = || {
        let keys = json_of(operator(&weir, &["key", "list", &account, "--json"]));
        keys.as_array().expect("keys").len()
    };
    let before = count();
    breaker.lose(1, 0);
    let made = done(breaker.operator(&weir, &["key", "create", &account, "--name", "ci"]));
    let told = text(&made.stderr);
    assert!(told.contains("its secret is in no answer but the first"), "{told}");
    assert_eq!(count(), before + 1);
}

#[test]
fn what_was_never_sent_is_not_called_doubtful() {
    let mock = Mock::start();
    let weir = Weir::start(&config(&mock), &[]);
    let nobody = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = nobody.local_addr().expect("an address");
    drop(nobody);
    let mut command = operator(&weir, &["wallet", "top-up", "acct_1", "4"]);
    command.env("WEIR_ADMIN_URL", format!("http://{address}"));
    let failed = command.output().expect("it starts");
    let told = text(&failed.stderr);
    assert_eq!(failed.status.code(), Some(1), "{told}");
    assert!(told.contains("cannot reach the admin API"), "{told}");
    assert!(!told.contains("may not have taken effect"), "{told}");
}
