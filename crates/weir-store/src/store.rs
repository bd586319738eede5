//! The embedded store: its folder, its threads, and the way in.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::thread::JoinHandle;

use parking_lot::Mutex;
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use smallvec::SmallVec;
use tokio::sync::watch;
use weir_core::id::{AccountId, EventId, Seq};
use weir_core::time::Timestamp;

use crate::apply::Kept;
use crate::backup::{backup, unnamed};
use crate::ballast::Ballast;
use crate::behind::Behind;
use crate::checkpointer::Checkpointer;
use crate::commit::Commit;
use crate::error::{CommitError, OpenError, ReadError};
use crate::fault::Faults;
use crate::folder::{Files, Folder, sync_folder};
use crate::health::{Health, StoreHealth};
use crate::index::{Index, Snapshots, WalletSnapshot, last_seq, number};
use crate::load::{Behindhand, Loaded, read_wallets};
use crate::op::{Batch, Op, Urgency};
use crate::queue::{Bounds, Queue};
use crate::read::Reader;
use crate::record::{read_id, stored_id};
use crate::schema::LEDGER;
use crate::stop::Stop;
pub use crate::unsound::Lost;
use crate::unsound::Unsound;
use crate::usage::{Counters, Forget, Pending, RollupKey, UsageDb, WindowKey, WindowState};
use crate::writer::{Progress, Writer};

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// Space that is kept back for settlements on a full disk, in bytes.
    pub ballast_bytes: u64,
    /// How many batches may wait; settlements twice as many.
    pub waiting_max: usize,
    /// How many bytes may wait; settlements twice as many.
    pub waiting_bytes_max: usize,
    /// How many bytes of answers are kept under idempotency keys.
    pub idempotency_bytes_max: u64,
    /// Test-only.
    #[doc(hidden)]
    pub faults: Option<Arc<Faults>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ballast_bytes: 8 << 20,
            waiting_max: 8_192,
            waiting_bytes_max: 64 << 20,
            idempotency_bytes_max: 256 << 20,
            faults: None,
        }
    }
}

/// An open store. It belongs to one process at a time, and is shared by reference.
#[derive(Debug)]
pub struct Store {
    queue: Arc<Queue>,
    health: Arc<Health>,
    progress: Arc<Progress>,
    snapshots: Arc<Snapshots>,
    unsound: Arc<Unsound>,
    pending: Arc<Pending>,
    reader: Reader,
    threads: Mutex<Option<Threads>>,
    folder: Folder,
    /// Held while a backup without a name is made: there is one place for it.
    passing_on: Mutex<()>,
}

/// What was committed since the store was opened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Commits {
    /// Transactions, each with one fsync.
    pub groups: u64,
    /// Batches in them.
    pub batches: u64,
    /// The last durable position.
    pub durable: Seq,
}

#[derive(Debug)]
struct Threads {
    writer: JoinHandle<()>,
    behind: (Arc<Stop>, JoinHandle<()>),
    checkpointer: (Arc<Stop>, JoinHandle<()>),
}

impl Store {
    /// Opens the store in a folder, creates it or leads it forward as need be, and hands over
    /// what is in it.
    ///
    /// # Errors
    ///
    /// [`OpenError`]: used by another process, newer than this binary, foreign, damaged.
    pub fn open(path: &Path, options: Options) -> Result<(Self, Loaded), OpenError> {
        let folder = Folder::take(path)?;
        let files = folder.files().clone();
        let ledger_path = files.ledger();
        let ledger = open_ledger(&ledger_path)?;
        let look = || LEDGER.open_read_only(&ledger_path);
        let index = Index::open(&files.index(), look()?)?;
        let usage = UsageDb::open(&files.usage())?;
        let loaded = load(look()?, &files, &index, &usage)?;
        let ballast = Ballast::new(files.ballast(), options.ballast_bytes);
        let health = Arc::new(Health::new());
        if let Err(error) = ballast.restore() {
            tracing::error!(%error, "there is no space for the ballast");
            health.set_full(true);
        }
        sync_folder(files.folder())?;

        let last = stored_id(loaded.last_seq.0).unwrap_or(i64::MAX);
        let kept = number(&ledger, "idempotency_bytes")
            .map_err(OpenError::sqlite("read", &ledger_path))?;
        let bounds = Bounds { batches: options.waiting_max, bytes: options.waiting_bytes_max };
        let unsound = Arc::<Unsound>::default();
        let store = Self {
            queue: Arc::new(Queue::new(bounds, last, Arc::clone(&unsound))),
            unsound,
            health,
            progress: Arc::new(Progress {
                durable: AtomicI64::new(last),
                decided: AtomicI64::new(last),
                groups: AtomicU64::new(0),
                batches: AtomicU64::new(0),
                event: watch::Sender::new(loaded.last_event),
            }),
            snapshots: Arc::default(),
            pending: Arc::default(),
            reader: Reader::new(files),
            threads: Mutex::new(None),
            folder,
            passing_on: Mutex::default(),
        };
        let writer = Writer {
            conn: ledger,
            queue: Arc::clone(&store.queue),
            unsound: Arc::clone(&store.unsound),
            health: Arc::clone(&store.health),
            progress: Arc::clone(&store.progress),
            ballast,
            kept: Kept(kept),
            kept_max: i64::try_from(options.idempotency_bytes_max).unwrap_or(i64::MAX),
            faults: options.faults,
        };
        store.start(writer, index, usage)?;
        Ok((store, loaded))
    }

    /// Makes a batch durable, wholly or not at all. Its entries carry their positions, each
    /// above all that were handed in before.
    pub fn commit(&self, urgency: Urgency, ops: Vec<Op>) -> Commit {
        let entries: SmallVec<[(i64, i64); 2]> = ops.iter().filter_map(entry_of).collect();
        let refused = match self.refuses(urgency) {
            Some(refused) => refused,
            None => match Batch::prepare(urgency, ops) {
                Ok(batch) => return self.queue.push(batch),
                Err(error) => error,
            },
        };
        self.unsound.note(entries.into_iter());
        Commit::refused(refused)
    }

    /// Whether entries of the account are taken: not between one that could not be stored and
    /// [`Store::mended`].
    pub fn is_sound(&self, account: AccountId) -> bool {
        !self.unsound.any() || !self.unsound.has(stored_id(account.0).unwrap_or_default())
    }

    /// Accounts of which an entry could not be stored: nothing that follows is, until they are
    /// read anew and [`Store::mended`] says so.
    pub fn unsound(&self) -> Vec<AccountId> {
        self.unsound.accounts().into_iter().filter_map(read_id).map(AccountId).collect()
    }

    /// Hands over the charges of an account that could not be stored, in their order, to be
    /// posted again. What is not a charge of a call is not among them: whoever asked was told.
    pub fn take_lost(&self, account: AccountId) -> Vec<Lost> {
        self.unsound.take_lost(account)
    }

    /// Takes entries of an account again that have the position `next` or a later one: they build
    /// on what is stored. To be called while nobody posts to it or hands in snapshots.
    pub fn mended(&self, account: AccountId, next: Seq) {
        let Ok(stored) = stored_id(account.0) else { return };
        if let Some(from) = self.unsound.since(stored) {
            self.snapshots.take_back(stored, from);
        }
        let decided = self.progress.decided.load(Ordering::Acquire);
        self.unsound.mend(stored, stored_id(next.0).unwrap_or(i64::MAX), decided);
    }

    /// Makes a batch durable whose entries begin at the position that `make` is told. Nobody
    /// else gets a position meanwhile, so `make` should be short.
    pub fn commit_next(&self, urgency: Urgency, make: impl FnOnce(Seq) -> Vec<Op>) -> Commit {
        if let Some(refused) = self.refuses(urgency) {
            return Commit::refused(refused);
        }
        self.queue.push_next(|next| {
            let ops = make(Seq(u64::try_from(next).unwrap_or(0)));
            Batch::prepare(urgency, ops)
        })
    }

    /// Where the store is.
    pub fn folder(&self) -> &Path {
        self.folder.files().folder()
    }

    /// Whether the store takes commits.
    pub fn health(&self) -> StoreHealth {
        self.health.get()
    }

    /// Tells every change of [`Store::health`].
    pub fn watch_health(&self) -> watch::Receiver<StoreHealth> {
        self.health.subscribe()
    }

    /// Tells the last event whenever newer ones have become durable.
    pub fn watch_events(&self) -> watch::Receiver<EventId> {
        self.progress.event.subscribe()
    }

    /// Reads what is durable.
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// What was committed since the store was opened.
    pub fn commits(&self) -> Commits {
        Commits {
            groups: self.progress.groups.load(Ordering::Relaxed),
            batches: self.progress.batches.load(Ordering::Relaxed),
            durable: Seq(u64::try_from(self.progress.durable.load(Ordering::Acquire)).unwrap_or(0)),
        }
    }

    /// Hands in the wallets that changed, to be written behind. With these, every account is
    /// known at least as of its last entry up to `complete_to`. They are written once all that
    /// they stand on is durable.
    ///
    /// # Errors
    ///
    /// [`CommitError::IdTooLarge`].
    pub fn snapshot(
        &self,
        wallets: Vec<WalletSnapshot>,
        complete_to: Seq,
    ) -> Result<(), CommitError> {
        self.snapshots.hand_in(wallets, complete_to)
    }

    /// Hands in limit windows, to be written behind and all at once; `None` removes one. Of two
    /// of one key the later counts.
    pub fn windows(&self, windows: impl IntoIterator<Item = (WindowKey, Option<WindowState>)>) {
        self.pending.windows(windows);
    }

    /// Hands in usage, to be added behind to what is there. Every charge up to `applied` is in
    /// what was handed in by now, and none after it. It is written once all of that is durable.
    pub fn add_usage(
        &self,
        rollups: impl IntoIterator<Item = (RollupKey, Counters)>,
        applied: Seq,
    ) {
        self.pending.usage(rollups, applied);
    }

    /// Writes no usage before [`Store::resume_usage`]: it counts charges that were not stored.
    pub fn hold_usage(&self) {
        self.pending.hold();
    }

    /// As [`Store::add_usage`], after [`Store::hold_usage`] and once what was not stored is posted
    /// again: all that waits is written as one, so that each charge is counted with its entry.
    pub fn resume_usage(
        &self,
        rollups: impl IntoIterator<Item = (RollupKey, Counters)>,
        applied: Seq,
    ) {
        self.pending.resume(rollups, applied);
    }

    /// Says that intervals which had ended by then have all their usage, but for what comes late:
    /// they are packed behind, bit by bit.
    pub fn usage_ended(&self, by: Timestamp) {
        self.pending.ended(by);
    }

    /// Removes windows or roll-ups that had their time.
    pub fn forget(&self, what: Forget) {
        self.pending.forget(what);
    }

    /// Blocks until what was handed in to be written behind was tried to be written.
    pub fn flush(&self) {
        let stop = self.threads.lock().as_ref().map(|threads| Arc::clone(&threads.behind.0));
        if let Some(stop) = stop {
            stop.round();
        }
    }

    /// Writes all that is in the store into one new file, while the store runs. It holds the
    /// ledger as of one moment, and usage not later than that.
    ///
    /// # Errors
    ///
    /// [`OpenError`]: the file exists, or the disk is full or fails.
    pub fn backup(&self, to: &Path) -> Result<(), OpenError> {
        self.flush();
        backup(self.folder.files(), to)
    }

    /// The same as an open file that has no name any more, at its beginning: for whoever passes
    /// it on. It is made in the store's folder and takes space there until it is closed.
    ///
    /// # Errors
    ///
    /// [`OpenError`]: the disk is full or fails.
    pub fn backup_to_pass_on(&self) -> Result<File, OpenError> {
        let _one_at_a_time = self.passing_on.lock();
        self.flush();
        unnamed(self.folder.files())
    }

    /// Takes no more commits, works off what waits, writes what is behind, and ends the
    /// threads. Dropping the store does the same.
    pub fn close(&self) {
        self.queue.close();
        let Some(threads) = self.threads.lock().take() else { return };
        join(threads.writer);
        for (stop, thread) in [threads.behind, threads.checkpointer] {
            stop.stop();
            join(thread);
        }
    }

    fn refuses(&self, urgency: Urgency) -> Option<CommitError> {
        match self.health.get() {
            StoreHealth::Full if urgency == Urgency::Fresh => Some(CommitError::Full),
            StoreHealth::Fenced => Some(CommitError::Fenced),
            StoreHealth::Ok | StoreHealth::Full => None,
        }
    }

    fn start(&self, writer: Writer, index: Index, usage: UsageDb) -> Result<(), OpenError> {
        let files = self.folder.files();
        let behind_stop = Arc::<Stop>::default();
        let behind = Behind {
            index,
            usage,
            snapshots: Arc::clone(&self.snapshots),
            unsound: Arc::clone(&self.unsound),
            pending: Arc::clone(&self.pending),
            health: Arc::clone(&self.health),
            progress: Arc::clone(&self.progress),
            stop: Arc::clone(&behind_stop),
            faults: writer.faults.clone(),
        };
        let checkpointer_stop = Arc::<Stop>::default();
        let checkpointer = Checkpointer {
            conn: open_ledger(&files.ledger())?,
            log: log_of(files),
            queue: Arc::clone(&self.queue),
            health: Arc::clone(&self.health),
            progress: Arc::clone(&self.progress),
            stop: Arc::clone(&checkpointer_stop),
            failing: false,
        };
        let threads = Threads {
            writer: spawn("weir-commit", move || writer.run())?,
            behind: (behind_stop, spawn("weir-behind", move || behind.run())?),
            checkpointer: (
                checkpointer_stop,
                spawn("weir-checkpoint", move || checkpointer.run())?,
            ),
        };
        *self.threads.lock() = Some(threads);
        Ok(())
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.close();
    }
}

/// Opens the ledger for writing. A connection that goes away leaves the log as it is: after a
/// failed sync nothing may be moved any more.
fn open_ledger(path: &Path) -> Result<Connection, OpenError> {
    let conn = LEDGER.open(path)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        .map_err(OpenError::sqlite("open", path))?;
    Ok(conn)
}

fn load(
    ledger: Connection,
    files: &Files,
    index: &Index,
    usage: &UsageDb,
) -> Result<Loaded, OpenError> {
    let damaged = |path: PathBuf| {
        move |error: ReadError| match error {
            ReadError::Sqlite(source) => OpenError::Sqlite { doing: "read", path, source },
            ReadError::Damaged { .. } => OpenError::Damaged { path, what: error.to_string() },
        }
    };
    let (wallets, snapshot_seq) =
        read_wallets(index.connection()).map_err(damaged(files.index()))?;
    let usage_failed = OpenError::sqlite("read", &files.usage());
    let usage_applied = follow_ledger(&ledger, usage).map_err(usage_failed)?;
    let windows = usage.windows().map_err(damaged(files.usage()))?;
    let behind = Behindhand { wallets, snapshot_seq, windows, usage_applied };
    Loaded::read(ledger, behind).map_err(damaged(files.ledger()))
}

/// Usage that knows more than the ledger is beside another ledger than it was made from: it
/// counts from where this one ends.
fn follow_ledger(ledger: &Connection, usage: &UsageDb) -> rusqlite::Result<i64> {
    let (applied, last) = (usage.applied()?, last_seq(ledger)?);
    if applied > last {
        tracing::warn!(applied, last, "usage is ahead of the ledger");
        usage.set_applied(last)?;
    }
    Ok(applied.min(last))
}

fn entry_of(op: &Op) -> Option<(i64, i64)> {
    let Op::Append(entry) = op else { return None };
    Some((stored_id(entry.account.0).ok()?, stored_id(entry.seq.0).ok()?))
}

fn log_of(files: &Files) -> PathBuf {
    let mut log = files.ledger().into_os_string();
    log.push("-wal");
    log.into()
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, OpenError> {
    std::thread::Builder::new().name(name.into()).spawn(run).map_err(OpenError::Thread)
}

fn join(thread: JoinHandle<()>) {
    if thread.join().is_err() {
        tracing::error!("a thread of the store ended by a panic");
    }
}
