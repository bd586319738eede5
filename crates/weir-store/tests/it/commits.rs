//! What a batch does, and what it does not do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use weir_core::id::{AccountId, EventId, Seq, WebhookId};
use weir_core::time::Timestamp;
use weir_store::error::CommitError;
use weir_store::op::{
    Answer, CallId, Checkpoint, Delete, Delivery, DeliveryState, Event, Expected, Idempotency,
    IdempotencyKey, Once, Op, Sweep, Urgency,
};
use weir_store::store::{Options, Store};

use crate::support::{Books, fill, open, options, positions, put};

fn once(id: &str) -> Op {
    Op::Once(Once { source: "stripe".into(), id: id.into(), at: Timestamp::from_secs(1) })
}

fn idempotency(key: &str, body: Option<usize>, created: i64) -> Idempotency {
    Idempotency {
        key: IdempotencyKey { account: AccountId(1), key: key.into() },
        fingerprint: [7; 32].into(),
        answer: body.map(|bytes| Answer {
            status: 200,
            headers: "[]".into(),
            body: Some(vec![b'x'; bytes].into()),
        }),
        created_at: Timestamp::from_secs(created),
        expires_at: Timestamp::from_secs(created + 10),
    }
}

#[test]
fn a_batch_is_stored_wholly_and_revisions_count_from_one() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let mut books = Books::default();
    let commit = store.commit_next(Urgency::Fresh, |seq| {
        vec![
            Op::Append(books.top_up(seq, 1, 500)),
            put("account", 1, "{\"a\":1}", Expected::Absent),
            once("evt_1"),
        ]
    });
    assert_eq!(commit.wait().unwrap().revisions, [1]);
    let again = vec![
        put("account", 1, "{\"a\":2}", Expected::Revision(1)),
        put("account", 1, "{\"a\":3}", Expected::Any),
    ];
    assert_eq!(store.commit(Urgency::Fresh, again).wait().unwrap().revisions, [2, 3]);
    let reader = store.reader();
    let account = reader.resource("account", 1).unwrap().unwrap();
    assert_eq!((account.revision, account.body.as_str()), (3, "{\"a\":3}"));
    assert_eq!(reader.entry(Seq(1)).unwrap().unwrap().amount.get(), 500);
    assert_eq!(reader.once("stripe", "evt_1").unwrap(), Some(Timestamp::from_secs(1)));
}

#[test]
fn a_batch_that_fails_leaves_nothing_and_hurts_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let mut books = Books::default();
    fill(&store, &mut books, 1, 2);
    store.commit(Urgency::Fresh, vec![once("twice")]).wait().unwrap();
    store.commit(Urgency::Fresh, vec![put("key", 5, "{}", Expected::Any)]).wait().unwrap();
    let event = Event {
        id: EventId(9),
        at: Timestamp::EPOCH,
        account: None,
        kind: "t".into(),
        body: "{}".into(),
    };
    store.commit(Urgency::Fresh, vec![Op::Event(event.clone())]).wait().unwrap();

    // Handed in together, so that most share a transaction.
    let mut good = Vec::new();
    let mut bad = Vec::new();
    for round in 0..50u64 {
        let id = 100 + round;
        good.push(store.commit(Urgency::Fresh, vec![put("good", id, "{}", Expected::Absent)]));
        bad.push(store.commit_next(Urgency::Fresh, |seq| {
            let mut ops = vec![
                put("bad", id, "{}", Expected::Any),
                Op::Append(Books::default().top_up(seq, 1_000 + round, 1)),
            ];
            ops.push(match round % 4 {
                0 => once("twice"),
                1 => put("key", 5, "{}", Expected::Revision(7)),
                2 => Op::Delete(Delete { kind: "key", id: 6, expected: Some(1) }),
                // Nobody expects this one to be refused: it has no savepoint at first.
                _ => Op::Event(event.clone()),
            });
            ops
        }));
    }
    for commit in good {
        commit.wait().unwrap();
    }
    for (round, commit) in bad.into_iter().enumerate() {
        let refused = commit.wait().unwrap_err();
        let expected = match round % 4 {
            0 => CommitError::AlreadyDone { source_name: "stripe".into(), id: "twice".into() },
            1 => CommitError::Conflict { kind: "key", id: 5, found: Some(1) },
            2 => CommitError::Conflict { kind: "key", id: 6, found: None },
            _ => CommitError::Duplicate,
        };
        assert_eq!(refused, expected);
    }
    let reader = store.reader();
    assert_eq!(reader.resources("good", None, None, 1_000).unwrap().len(), 50);
    assert_eq!(reader.resources("bad", None, None, 1_000).unwrap(), []);
    assert!((1_000..1_050).all(|account| positions(&store, account).is_empty()));
    assert_eq!(reader.resource("key", 5).unwrap().unwrap().revision, 1);
}

#[test]
fn entries_go_forward_only() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let mut books = Books::default();
    let at = |books: &mut Books, seq| vec![Op::Append(books.top_up(Seq(seq), 1, 1))];
    store.commit(Urgency::Fresh, at(&mut books, 5)).wait().unwrap();
    for seq in [5, 4] {
        let refused = store.commit(Urgency::Fresh, at(&mut books, seq)).wait();
        assert_eq!(refused, Err(CommitError::OutOfOrder { seq: Seq(seq), last: Seq(5) }));
    }
    let mut twice = at(&mut books, 7);
    twice.extend(at(&mut books, 7));
    assert!(matches!(
        store.commit(Urgency::Fresh, twice).wait(),
        Err(CommitError::OutOfOrder { .. })
    ));
    let mut told = None;
    let next = store.commit_next(Urgency::Fresh, |seq| {
        told = Some(seq);
        at(&mut Books::default(), seq.0)
    });
    next.wait().unwrap();
    assert_eq!(told, Some(Seq(6)));
}

#[test]
fn what_cannot_be_kept_is_refused_at_the_door() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let big = "x".repeat(17 << 20);
    let refused = store.commit(Urgency::Fresh, vec![put("k", 1, &big, Expected::Any)]).wait();
    assert!(matches!(refused, Err(CommitError::TooLarge { .. })));
    let refused = store.commit(Urgency::Fresh, vec![put("k", u64::MAX, "", Expected::Any)]).wait();
    assert_eq!(refused, Err(CommitError::IdTooLarge(u64::MAX)));
    let mut long = Books::default().top_up(Seq(1), 1, 1);
    long.reference = "x".repeat(201).into();
    let refused = store.commit(Urgency::Fresh, vec![Op::Append(long)]).wait();
    assert_eq!(refused, Err(CommitError::TooLarge { bytes: 201, max: 200 }));
}

#[test]
fn sixty_four_threads_commit_whole_batches_in_shared_transactions() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let store = Arc::new(store);
    let acknowledged = Arc::new(AtomicU64::new(0));
    std::thread::scope(|scope| {
        for thread in 0..64u64 {
            let (store, acknowledged) = (Arc::clone(&store), Arc::clone(&acknowledged));
            scope.spawn(move || {
                for round in 0..20u64 {
                    // Every second batch fails, after it wrote something.
                    let id = thread * 1_000 + round;
                    let fails = round % 2 == 1;
                    let commit = store.commit_next(Urgency::Settlement, |seq| {
                        let entry = Books::default().top_up(seq, thread + 1, 1);
                        let source = if fails { format!("{thread}") } else { format!("{id}") };
                        vec![
                            put("pair", id, "{}", Expected::Absent),
                            Op::Append(entry),
                            once(&source),
                            once(&format!("{thread}-{}", if fails { 0 } else { round })),
                        ]
                    });
                    match commit.wait() {
                        Ok(_) => acknowledged.fetch_add(1, Ordering::SeqCst),
                        Err(CommitError::AlreadyDone { .. }) if fails => {
                            store.mended(AccountId(thread + 1), Seq(0));
                            0
                        }
                        other => panic!("{other:?}"),
                    };
                }
            });
        }
    });
    let batches = acknowledged.load(Ordering::SeqCst);
    assert_eq!(batches, 64 * 10);
    let reader = store.reader();
    let pairs = reader.resources("pair", None, None, 10_000).unwrap();
    let entries = reader.entries_after(Seq(0), 10_000).unwrap();
    assert_eq!((pairs.len() as u64, entries.len() as u64), (batches, batches));
    let commits = store.commits();
    assert!(commits.groups < commits.batches / 4, "{commits:?}: transactions are shared");
}

#[test]
fn an_idempotency_key_is_claimed_once_until_it_expires_or_is_released() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let commit = |op: Op| store.commit(Urgency::Fresh, vec![op]).wait().map(drop);
    let key = IdempotencyKey { account: AccountId(1), key: "k".into() };
    let in_use = Err(CommitError::AlreadyClaimed { account: AccountId(1), key: "k".into() });
    commit(Op::Claim(idempotency("k", None, 100))).unwrap();
    assert_eq!(commit(Op::Claim(idempotency("k", None, 105))), in_use);
    commit(Op::Answer(idempotency("k", Some(5), 106))).unwrap();
    assert_eq!(commit(Op::Claim(idempotency("k", None, 115))), in_use);
    let kept = store.reader().idempotency(&key).unwrap().unwrap();
    assert_eq!(kept, idempotency("k", Some(5), 106));
    commit(Op::Claim(idempotency("k", None, 116))).unwrap();
    commit(Op::Release(key.clone())).unwrap();
    assert_eq!(store.reader().idempotency(&key).unwrap(), None);
    commit(Op::Claim(idempotency("k", None, 117))).unwrap();
}

#[test]
fn answers_are_bounded_in_bytes_across_restarts_and_the_oldest_go_first() {
    let dir = tempfile::tempdir().unwrap();
    let bounded = || Options { idempotency_bytes_max: 10_000, ..options() };
    let key = |name: &str| IdempotencyKey { account: AccountId(1), key: name.into() };
    let (store, _) = Store::open(dir.path(), bounded()).unwrap();
    let commit = |store: &Store, op: Op| store.commit(Urgency::Fresh, vec![op]).wait().unwrap();
    commit(&store, Op::Claim(idempotency("running", None, 1)));
    for index in 0..5 {
        commit(&store, Op::Answer(idempotency(&format!("k{index}"), Some(1_000), 1)));
    }
    let before = store.reader().totals().unwrap().idempotency_bytes;
    assert!((5_000..10_000).contains(&before), "{before}");
    drop(store);
    let (store, _) = Store::open(dir.path(), bounded()).unwrap();
    assert_eq!(store.reader().totals().unwrap().idempotency_bytes, before);
    for index in 5..20 {
        commit(&store, Op::Answer(idempotency(&format!("k{index}"), Some(1_000), 1)));
    }
    let reader = store.reader();
    assert!(reader.totals().unwrap().idempotency_bytes <= 10_000);
    assert_eq!(reader.idempotency(&key("k0")).unwrap(), None);
    assert!(reader.idempotency(&key("k19")).unwrap().is_some());
    assert!(reader.idempotency(&key("running")).unwrap().is_some());
    let (now, events_before) = (Timestamp::from_secs(1_000), EventId(0));
    let sweep = Sweep { now, events_before, resources_before: ("audit", 0) };
    commit(&store, Op::Sweep(sweep));
    assert_eq!(reader.totals().unwrap().idempotency_bytes, 0);
}

#[test]
fn events_stay_until_they_are_delivered() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let commit = |op: Op| store.commit(Urgency::Fresh, vec![op]).wait().unwrap();
    let event = |id: u64| Event {
        id: EventId(id),
        at: Timestamp::from_secs(1),
        account: id.is_multiple_of(2).then_some(AccountId(2)),
        kind: "wallet.low".into(),
        body: "{}".into(),
    };
    let delivery = |id: u64, state| Delivery {
        state,
        attempts: 1,
        last_status: Some(503),
        last_error: Some("busy".into()),
        last_at: Some(Timestamp::from_secs(3)),
        last_ms: Some(12),
        ..Delivery::new(WebhookId(1), EventId(id), Timestamp::from_secs(id.cast_signed()))
    };
    let watch = store.watch_events();
    for id in 1..=6 {
        commit(Op::Event(event(id)));
        commit(Op::Deliver(delivery(id, DeliveryState::Pending)));
    }
    let reader = store.reader();
    assert_eq!(*watch.borrow(), EventId(6));
    let due = reader.deliveries_pending(WebhookId(1), 2).unwrap();
    assert_eq!(due, [delivery(1, DeliveryState::Pending), delivery(2, DeliveryState::Pending)]);
    let soonest = reader.webhooks_due().unwrap();
    assert_eq!(soonest, [(WebhookId(1), Timestamp::from_secs(1))]);
    let found = reader.delivery(WebhookId(1), EventId(2)).unwrap();
    assert_eq!(found, Some(delivery(2, DeliveryState::Pending)));
    for id in [1, 2, 5] {
        commit(Op::Deliver(delivery(id, DeliveryState::Delivered)));
    }
    let (now, events_before) = (Timestamp::EPOCH, EventId(6));
    commit(Op::Sweep(Sweep { now, events_before, resources_before: ("audit", 0) }));
    let ids = |account| -> Vec<u64> {
        let events = reader.events(account, EventId(0), 10).unwrap();
        events.into_iter().map(|event| event.id.0).collect()
    };
    assert_eq!(ids(None), [3, 4, 6]);
    assert_eq!(ids(Some(AccountId(2))), [4, 6]);
    assert_eq!(reader.event(EventId(3)).unwrap(), Some(event(3)));
    let left = reader.deliveries(WebhookId(1), None, 10).unwrap();
    assert_eq!(left.iter().map(|delivery| delivery.event.0).collect::<Vec<_>>(), [6, 4, 3]);
    assert_eq!(reader.totals().unwrap().deliveries_pending, 3);
}

#[test]
fn checkpoints_of_running_streams_survive_and_go_with_the_settlement() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let point = |call: u64, body: &str| Checkpoint {
        call: CallId(call),
        account: AccountId(1),
        at: Timestamp::from_secs(3),
        body: body.into(),
    };
    for (call, body) in [(1, "a"), (2, "b"), (1, "c")] {
        store.commit(Urgency::Settlement, vec![Op::Checkpoint(point(call, body))]).wait().unwrap();
    }
    let settle = store.commit_next(Urgency::Settlement, |seq| {
        vec![Op::Append(Books::default().top_up(seq, 1, 1)), Op::DropCheckpoint(CallId(2))]
    });
    settle.wait().unwrap();
    drop(store);
    let (_store, loaded) = open(dir.path());
    assert_eq!(loaded.checkpoints, [point(1, "c")]);
}

#[test]
fn a_commit_can_be_awaited() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let committed = runtime.block_on(async {
        store.commit(Urgency::Fresh, vec![put("k", 1, "{}", Expected::Absent)]).await
    });
    assert_eq!(committed.unwrap().revisions, [1]);
    store.close();
    let closed = store.commit(Urgency::Settlement, Vec::new());
    assert_eq!(runtime.block_on(closed), Err(CommitError::Closed));
}
