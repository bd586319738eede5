//! The process dies under load, again and again.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use weir_core::ledger::EntryKind;

use crate::seed::paying;
use crate::server::{JSON, Weir};
use crate::support::{Mock, PATIENCE, within};
use crate::wallet::config;

/// What clients saw: ids of calls whose answer was complete, and of calls that were begun.
#[derive(Default)]
struct Seen {
    complete: Mutex<HashSet<String>>,
    begun: AtomicU64,
}

/// Calls until the connection breaks; every other call is a stream.
fn customer(weir: &Weir, seen: &Seen) {
    let mut line = weir.line();
    let bearer = weir.bearer(0);
    loop {
        let number = seen.begun.fetch_add(1, Ordering::Relaxed);
        let (id, id_header) = (format!("call-{number}"), format!("x-request-id: call-{number}"));
        let headers = [&*bearer, JSON, &*id_header];
        let answer = match number % 2 {
            0 => line.call("PUT", "/clusters/a", &headers, "{}"),
            _ => line.call("POST", "/ai/chat", &headers, STREAM),
        };
        if answer.status == 0 || !answer.complete {
            let told = answer.body.ends_with(b"data: [DONE]\n\n");
            assert!(!told, "the terminal event came without the end of the body");
            return;
        }
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("x-request-id"), Some(id.as_str()));
        seen.complete.lock().expect("no panic").insert(id);
    }
}

#[test]
fn after_kill_9_each_completed_call_is_charged_exactly_once() {
    let rounds = std::env::var("WEIR_CRASH_ROUNDS").ok().and_then(|text| text.parse().ok());
    let mock = Mock::start();
    let mut weir = Weir::start(&config(&mock), &[paying("payg", "1000000")]);
    let seen = Seen::default();
    let mut slowest = Duration::ZERO;
    for round in 0..rounds.unwrap_or(5_u64) {
        let before = seen.complete.lock().expect("no panic").len();
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| customer(&weir, &seen));
            }
            // Each round dies a little later in the work.
            let enough = before + 40 + usize::try_from(round).unwrap_or(0) * 7;
            within(PATIENCE, "calls are completed", || {
                seen.complete.lock().expect("no panic").len() >= enough
            });
            weir.process.kill_now();
        });
        weir.kill_and_restart();
        slowest = slowest.max(weir.process.took);
        let answer = weir.call(0, "GET", "/clusters/x", "");
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert!(slowest < Duration::from_secs(1), "a restart took {slowest:?}");
    let mut charges: HashMap<String, u64> = HashMap::new();
    for entry in weir.stop_and_read() {
        if entry.kind == EntryKind::Charge {
            *charges.entry(entry.reference.to_string()).or_default() += 1;
        }
    }
    let complete = seen.complete.into_inner().expect("no panic");
    let lost: Vec<_> = complete.iter().filter(|id| !charges.contains_key(*id)).collect();
    assert!(lost.is_empty(), "completed and never charged: {lost:?}");
    let twice: Vec<_> = charges.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "charged more than once: {twice:?}");
}

#[test]
fn limits_survive_an_orderly_restart_exactly_and_kill_9_within_a_second() {
    let mock = Mock::start();
    let tiered = include_str!("../../../../examples/tiered.toml");
    let mut weir = Weir::start_preset(tiered, mock.address, &[crate::seed::on("free")]);
    for _ in 0..5 {
        assert_eq!(weir.call(0, "POST", "/training/jobs", "{}").status, 201);
    }
    for left in (90..100).rev() {
        assert_eq!(weir.call(0, "GET", "/clusters/a", "").remaining("read"), Some(left));
    }
    weir.stop();
    weir.serve_again();
    assert_eq!(weir.call(0, "POST", "/training/jobs", "{}").status, 429);
    assert_eq!(weir.call(0, "GET", "/clusters/a", "").remaining("read"), Some(89));
    // What is older than a second is on disk, whatever happens.
    weir.until_stored("read", "100/hour", 11);
    weir.kill_and_restart();
    assert_eq!(weir.call(0, "POST", "/training/jobs", "{}").status, 429);
    assert_eq!(weir.call(0, "GET", "/clusters/a", "").remaining("read"), Some(88));
}

const STREAM: &str = r#"{"model":"llama-3-8b","max_tokens":3,"stream":true,"messages":[{"role":"user","content":"Hi"}]}"#;
