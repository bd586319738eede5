//! A wall clock that was set back, or forward, while nothing ran.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use weir_core::admit::Refusal;
use weir_core::id::KeyId;
use weir_core::time::Span;
use weir_engine::call::{Admission, Why};
use weir_engine::cell::KeyCell;
use weir_engine::engine::Engine;
use weir_store::fault::Faults;
use weir_store::store::{Options, Store};

use crate::support::{START, account, admit, boot, call, copy, granted, key, pass, settle, wait};

const DAY: i64 = 86_400;

/// How long a call of the key has to wait; `None`: it passes, and counts.
fn refused_for(engine: &Arc<Engine>, key: &Arc<KeyCell>) -> Option<Span> {
    match admit(engine, key, 1) {
        Admission::Granted(mut ticket) => {
            ticket.sent();
            settle(ticket, 1);
            None
        }
        Admission::Refused(refused) => match refused.why {
            Why::Rules(Refusal::Limited(_, wait)) => Some(wait),
            other => panic!("{other:?}"),
        },
        Admission::Stale => panic!("no policy changed"),
    }
}

/// Ends the engine in order, when nothing of it is in use any more.
fn stop<T>(engine: Arc<Engine>, in_use: T) {
    engine.close();
    drop((engine, in_use));
}

/// Uses up a limit, restarts with the clock moved by so much, and tells the waits before and after.
fn waits(limit: &Value, plan: &str, moved_s: i64) -> (Span, Option<Span>) {
    let folder = tempfile::tempdir().unwrap();
    let engine = boot(folder.path(), START, None);
    let cell = account(&engine, plan, "100");
    let own = wait(engine.change_account(cell.id, None, |record| {
        record.limits.insert("ai".to_owned(), limit.clone());
        Ok(())
    }));
    own.unwrap();
    let id = key(&engine, &cell).id;
    let key = engine.key(id).unwrap();
    while refused_for(&engine, &key).is_none() {}
    let before = refused_for(&engine, &key).expect("it is used up");
    stop(engine, (cell, key));
    let now = START.plus(Span::from_secs(moved_s.max(0)));
    let now = now.minus(Span::from_secs((-moved_s).max(0)));
    let engine = boot(folder.path(), now, None);
    let after = refused_for(&engine, &engine.key(id).unwrap());
    stop(engine, ());
    // What was moved is moved once: the next start finds the same.
    let engine = boot(folder.path(), now, None);
    if let Some(after) = after {
        let key = engine.key(id).unwrap();
        assert_eq!(refused_for(&engine, &key), Some(after), "{limit} {moved_s}");
        engine.clock().set(now.plus(after).minus(Span::from_micros(1)));
        assert!(refused_for(&engine, &key).is_some(), "{limit} {moved_s}");
        engine.clock().set(now.plus(after));
        assert_eq!(refused_for(&engine, &key), None, "{limit} {moved_s}");
    }
    stop(engine, ());
    (before, after)
}

fn limits() -> [Value; 3] {
    [
        json!("3/hour"),
        json!({"limit": 3, "window": "1h", "algorithm": "sliding-window"}),
        json!({"limit": 3, "window": "1h", "algorithm": "token-bucket"}),
    ]
}

#[test]
fn a_clock_that_was_set_back_neither_opens_nor_freezes_a_window() {
    // Ten seconds, an hour, thirty days, and to 1970.
    for back_s in [10, 3_600, 30 * DAY, START.millis() / 1_000] {
        for (limit, plan) in limits().iter().zip(["free", "payg", "payg"]) {
            let (before, after) = waits(limit, plan, -back_s);
            assert_eq!(after, Some(before), "{limit} {back_s}");
        }
    }
}

#[test]
fn a_clock_that_was_a_little_ahead_costs_no_more_than_that() {
    for limit in limits() {
        let (before, after) = waits(&limit, "payg", -4);
        let after = after.expect("it is used up still");
        assert!(
            after >= before && after <= Span::from_micros(before.micros() + 4_000_000),
            "{limit} {after:?}"
        );
    }
}

#[test]
fn time_that_passed_while_nothing_ran_counts() {
    for limit in limits() {
        let (before, after) = waits(&limit, "payg", 600);
        let left = before.micros() - 600_000_000;
        assert_eq!(after.map_or(0, Span::micros), left.max(0), "{limit}");
        assert_eq!(waits(&limit, "free", 30 * DAY).1, None, "{limit}");
    }
}

/// A folder with a used-up limit of its own, of which a second limit was taken away again; gives
/// back how long its key had to wait.
fn used_up_beside_a_limit_that_is_gone(folder: &Path) -> (KeyId, Span) {
    let engine = boot(folder, START, None);
    let cell = account(&engine, "payg", "100");
    let limit = |all: Option<&str>| {
        let limits = [("ai", Some("3/hour")), ("all", all)];
        let limits = limits.into_iter().filter_map(|(name, rule)| Some((name, json!(rule?))));
        let limits = limits.map(|(name, rule)| (name.to_owned(), rule)).collect();
        wait(engine.change_account(cell.id, None, |record| {
            record.limits = limits;
            Ok(())
        }))
        .unwrap();
    };
    limit(Some("100/day"));
    let key = key(&engine, &cell);
    while refused_for(&engine, &key).is_none() {}
    engine.write_behind();
    limit(None);
    let (id, before) = (key.id, refused_for(&engine, &key).expect("it is used up"));
    stop(engine, (cell, key));
    (id, before)
}

#[test]
fn what_no_limit_counts_any_more_moves_the_other_windows_no_second_time() {
    let folder = tempfile::tempdir().unwrap();
    let (id, before) = used_up_beside_a_limit_that_is_gone(folder.path());
    let back = START.minus(Span::from_secs(3_600));
    for start in 0..3 {
        let engine = boot(folder.path(), back, None);
        let key = engine.key(id).unwrap();
        assert_eq!(refused_for(&engine, &key), Some(before), "start {start}");
        stop(engine, key);
    }
}

#[test]
fn a_kill_right_after_a_start_with_the_clock_set_back_leaves_no_window_ahead() {
    let folder = tempfile::tempdir().unwrap();
    let (id, before) = used_up_beside_a_limit_that_is_gone(folder.path());
    let back = START.minus(Span::from_secs(3_600));
    // Nothing is written behind but what the start itself asks for.
    let faults = Arc::new(Faults::default());
    faults.step_by_step();
    let _running = boot(folder.path(), back, Some(faults));
    let killed = tempfile::tempdir().unwrap();
    copy(folder.path(), killed.path());
    let (store, loaded) = Store::open(killed.path(), Options::default()).unwrap();
    let began: Vec<_> = loaded.windows.iter().map(|(_, state)| state.a).collect();
    assert!(!began.is_empty() && began.iter().all(|at| *at <= back.micros()), "{began:?}");
    drop((store, loaded));
    let engine = boot(killed.path(), back, None);
    let key = engine.key(id).unwrap();
    assert_eq!(refused_for(&engine, &key), Some(before));
    stop(engine, key);
}

#[test]
fn books_that_were_written_in_the_future_stay_in_order_and_do_not_stop_limits() {
    let folder = tempfile::tempdir().unwrap();
    let engine = boot(folder.path(), START.plus(Span::from_secs(30 * DAY)), None);
    let cell = account(&engine, "payg", "100");
    let id = key(&engine, &cell).id;
    call(&engine, &engine.key(id).unwrap(), 5);
    stop(engine, cell);
    let engine = boot(folder.path(), START, None);
    let key = engine.key(id).unwrap();
    for _ in 0..2 {
        let settled = settle(granted(&engine, &key, 5), 5);
        assert_eq!(settled.at, engine.now());
        settled.commit.unwrap().wait().unwrap();
        pass(&engine, 60);
    }
    stop(engine, key);
    weir_store::verify::verify(folder.path()).unwrap();
}
