//! A full disk and a failed sync.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use weir_core::id::{AccountId, Seq};
use weir_store::commit::Commit;
use weir_store::error::CommitError;
use weir_store::fault::Faults;
use weir_store::health::StoreHealth;
use weir_store::index::WalletSnapshot;
use weir_store::op::{Expected, Op, Urgency};
use weir_store::store::{Options, Store};
use weir_store::verify::verify;

use crate::support::{Books, fill, open, options, positions, put};

/// Waits on an observable, with a generous end.
#[track_caller]
fn eventually(mut done: impl FnMut() -> bool) {
    for _ in 0..500 {
        if done() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("it did not happen within 10 s");
}

/// Fills the disk with fresh work until it is refused.
fn fill_disk(store: &Store) -> u64 {
    let body = "x".repeat(20_000);
    for id in 1..100_000 {
        match store.commit(Urgency::Fresh, vec![put("filler", id, &body, Expected::Any)]).wait() {
            Ok(_) => {}
            Err(CommitError::Full) => return id,
            Err(other) => panic!("{other}"),
        }
    }
    panic!("the disk has no end");
}

#[track_caller]
fn settles_but_takes_nothing_new(store: &Store, books: &mut Books, account: u64) {
    assert_eq!(store.health(), StoreHealth::Full);
    let fresh = store.commit(Urgency::Fresh, vec![put("new", 1, "{}", Expected::Any)]).wait();
    assert_eq!(fresh, Err(CommitError::Full));
    fill(store, books, account, 20);
    assert_eq!(positions(store, account).len(), 20, "reads go on");
}

#[test]
fn a_full_disk_settles_from_the_ballast_and_heals() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Arc::new(Faults::default());
    let small = Options { faults: Some(Arc::clone(&faults)), ..options() };
    let (store, _) = Store::open(dir.path(), small).unwrap();
    let mut books = Books::default();
    let ballast = dir.path().join("ballast");
    assert!(ballast.exists());
    faults.set_disk_pages(200);
    let watch = store.watch_health();
    let refused = fill_disk(&store);
    assert!(!ballast.exists());
    assert!(watch.has_changed().unwrap());
    assert_eq!(store.reader().resource("filler", refused).unwrap(), None);
    settles_but_takes_nothing_new(&store, &mut books, 1);

    // Without space it stays as it is; with space it heals without help.
    let looks = faults.disk_looks();
    eventually(|| faults.disk_looks() >= looks + 2);
    assert_eq!(store.health(), StoreHealth::Full);
    faults.set_disk_pages(2_000);
    eventually(|| store.health() == StoreHealth::Ok);
    assert!(ballast.exists());
    store.commit(Urgency::Fresh, vec![put("new", 1, "{}", Expected::Any)]).wait().unwrap();
    drop(store);
    assert_eq!(verify(dir.path()).unwrap().entries, 20);
}

#[test]
fn settlements_that_share_a_transaction_with_refused_work_go_through() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Arc::new(Faults::default());
    let small = Options { faults: Some(Arc::clone(&faults)), ..options() };
    let (store, _) = Store::open(dir.path(), small).unwrap();
    faults.set_disk_pages(100);
    let body = "x".repeat(100_000);
    let mut settling = Vec::new();
    let mut fresh = Vec::new();
    for round in 1..=20u64 {
        fresh.push(store.commit(Urgency::Fresh, vec![put("big", round, &body, Expected::Any)]));
        settling.push(store.commit_next(Urgency::Settlement, |seq| {
            vec![Op::Append(Books::default().top_up(seq, round, 5))]
        }));
    }
    let refused = fresh.into_iter().map(Commit::wait);
    let refused = refused.filter(|outcome| *outcome == Err(CommitError::Full)).count();
    assert!(refused > 0);
    for commit in settling {
        commit.wait().unwrap();
    }
    let reader = store.reader();
    assert_eq!(reader.entries_after(Seq(0), 100).unwrap().len(), 20);
    assert_eq!(reader.resources("big", None, None, 100).unwrap().len(), 20 - refused);
}

#[test]
fn after_a_failed_sync_nothing_is_acknowledged_until_the_restart() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Arc::new(Faults::default());
    let failing = Options { faults: Some(Arc::clone(&faults)), ..options() };
    let (store, _) = Store::open(dir.path(), failing).unwrap();
    let mut books = Books::default();
    fill(&store, &mut books, 1, 5);
    let watch = store.watch_health();
    faults.fail_next_sync();
    let waiting: Vec<_> = (0..50u64)
        .map(|id| store.commit(Urgency::Settlement, vec![put("lost", id, "{}", Expected::Any)]))
        .collect();
    for commit in waiting {
        assert_eq!(commit.wait(), Err(CommitError::Fenced));
    }
    assert_eq!(store.health(), StoreHealth::Fenced);
    assert_eq!(*watch.borrow(), StoreHealth::Fenced);
    for urgency in [Urgency::Settlement, Urgency::Fresh] {
        assert_eq!(store.commit(urgency, Vec::new()).wait(), Err(CommitError::Fenced));
    }
    assert_eq!(positions(&store, 1), [1, 2, 3, 4, 5], "reads go on");
    drop(store);
    let (store, loaded) = open(dir.path());
    assert_eq!(loaded.last_seq, Seq(5));
    fill(&store, &mut books, 2, 2);
    drop(store);
    verify(dir.path()).unwrap();
}

/// A file system of a few MiB, which needs rights that not every machine gives.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    fn mount(path: &'a Path) -> Option<Self> {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=12m", "tmpfs"])
            .arg(path)
            .output()
            .is_ok_and(|output| output.status.success());
        if !mounted {
            eprintln!("SKIPPED: this machine does not let tests mount a small file system");
        }
        mounted.then_some(Self(path))
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0).output();
    }
}

#[test]
fn a_really_full_disk_settles_from_the_ballast_and_heals() {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(dir.path()) else { return };
    let folder = disk.0.join("store");
    let small = Options { ballast_bytes: 2 << 20, ..options() };
    let (store, _) = Store::open(&folder, small).unwrap();
    let mut books = Books::default();
    let foreign = disk.0.join("foreign");
    std::fs::write(&foreign, vec![1; 5 << 20]).unwrap();
    fill_disk(&store);
    settles_but_takes_nothing_new(&store, &mut books, 1);
    std::fs::remove_file(&foreign).unwrap();
    eventually(|| store.health() == StoreHealth::Ok);
    fill(&store, &mut books, 2, 5);
    store.commit(Urgency::Fresh, vec![put("new", 1, "{}", Expected::Any)]).wait().unwrap();
    drop(store);
    assert_eq!(verify(&folder).unwrap().entries, 25);
}

#[test]
fn nothing_that_builds_on_a_lost_entry_is_stored_until_the_account_is_read_anew() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Arc::new(Faults::default());
    let (store, _) =
        Store::open(dir.path(), Options { faults: Some(Arc::clone(&faults)), ..options() })
            .unwrap();
    let mut books = Books::default();
    fill(&store, &mut books, 1, 3);
    fill(&store, &mut books, 2, 1);
    let (one, two) = (AccountId(1), AccountId(2));
    let stored = books.clone();
    faults.fill_next_groups(1);
    let lost = books.charge(Seq(5), 1, 3);
    let lost = store.commit(Urgency::Settlement, vec![Op::Append(lost)]).wait();
    assert_eq!(lost, Err(CommitError::Full));
    assert!(!store.is_sound(one) && store.is_sound(two));
    let follower = books.charge(Seq(6), 1, 3);
    let follower = store.commit(Urgency::Settlement, vec![Op::Append(follower)]).wait();
    assert_eq!(follower, Err(CommitError::Unsound { account: one }));
    let other = books.charge(Seq(7), 2, 3);
    store.commit(Urgency::Settlement, vec![Op::Append(other)]).wait().unwrap();
    // A snapshot that tells of the lost entry is never written.
    let phantom = WalletSnapshot { account: one, as_of: Seq(5), state: "{}".into() };
    store.snapshot(vec![phantom], Seq(7)).unwrap();
    store.flush();
    assert_eq!(store.reader().wallet(one).unwrap(), None);
    assert_eq!(store.unsound(), [one]);
    store.mended(one, Seq(8));
    store.flush();
    assert_eq!(store.reader().wallet(one).unwrap(), None);
    assert!(store.is_sound(one));
    let mut books = stored;
    let again = books.charge(Seq(8), 1, 3);
    store.commit(Urgency::Settlement, vec![Op::Append(again)]).wait().unwrap();
    store.close();
    assert_eq!(verify(dir.path()).unwrap().entries, 6);
}

#[test]
fn an_entry_refused_at_the_door_leaves_no_hole_either() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let mut books = Books::default();
    fill(&store, &mut books, 1, 2);
    let mut entry = books.charge(Seq(3), 1, 3);
    entry.reference = "x".repeat(17 << 20).into();
    let lost = store.commit(Urgency::Settlement, vec![Op::Append(entry)]).wait();
    assert!(lost.is_err());
    let follower = books.charge(Seq(4), 1, 3);
    let follower = store.commit(Urgency::Settlement, vec![Op::Append(follower)]).wait();
    assert_eq!(follower, Err(CommitError::Unsound { account: AccountId(1) }));
    assert_eq!(positions(&store, 1).len(), 2);
}
