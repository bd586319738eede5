//! The one thread that writes the ledger: all that waits goes into one transaction with one
//! fsync, then everybody is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use rusqlite::Connection;
use tokio::sync::watch;
use weir_core::id::{AccountId, EventId};

use crate::apply::{Kept, Refusal, apply, evict};
use crate::ballast::Ballast;
use crate::commit::{Committed, Outcome};
use crate::error::{CommitError, Failure};
use crate::fault::{Crash, Faults};
use crate::health::{Health, StoreHealth};
use crate::op::{Batch, Urgency};
use crate::queue::{Job, Queue, Work};
use crate::record::read_id;
use crate::unsound::{Unsound, entries_of};

/// How far the thread that writes is, for those who follow it.
#[derive(Debug)]
pub(crate) struct Progress {
    /// The last position that is durable.
    pub(crate) durable: AtomicI64,
    /// The last position that is durable or was refused.
    pub(crate) decided: AtomicI64,
    /// Transactions committed.
    pub(crate) groups: AtomicU64,
    /// Batches committed.
    pub(crate) batches: AtomicU64,
    /// The last event that is durable.
    pub(crate) event: watch::Sender<EventId>,
}

/// The thread that writes.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) conn: Connection,
    pub(crate) queue: Arc<Queue>,
    pub(crate) unsound: Arc<Unsound>,
    pub(crate) health: Arc<Health>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) ballast: Ballast,
    pub(crate) kept: Kept,
    pub(crate) kept_max: i64,
    pub(crate) faults: Option<Arc<Faults>>,
}

/// Which batches get a savepoint of their own.
#[derive(Clone, Copy, PartialEq)]
enum Isolation {
    /// Those that may well be refused.
    Conditional,
    /// All, after one was refused that nobody expected to be.
    All,
}

/// Why a transaction came to nothing.
enum Stop {
    Sqlite(rusqlite::Error),
    /// A batch without a savepoint was refused half-way.
    Isolate,
}

impl From<rusqlite::Error> for Stop {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl Writer {
    /// Works until the queue is closed.
    pub(crate) fn run(mut self) {
        loop {
            match self.queue.take() {
                Work::Group(jobs) if self.faults.as_ref().is_some_and(|it| it.is_apart()) => {
                    jobs.into_iter().for_each(|job| self.group(vec![job]));
                }
                Work::Group(jobs) => self.group(jobs),
                Work::Probe => self.probe(),
                Work::Checkpoint => self.checkpoint(),
                Work::Closed => return,
            }
        }
    }

    fn group(&mut self, mut jobs: Vec<Job>) {
        let mut crash = None;
        if let Some(faults) = &self.faults {
            faults.begin_group();
            if faults.has_crashed() {
                return self.refuse_all(jobs, &CommitError::Fenced);
            }
            crash = faults.begin_batch();
        }
        if crash == Some(Crash::Before) {
            self.die();
            return self.refuse_all(jobs, &CommitError::Fenced);
        }
        let last = jobs.iter().filter_map(|job| job.batch.entries.map(|(_, last)| last)).max();
        if self.health.get() == StoreHealth::Full {
            jobs = self.refuse_fresh(jobs);
        }
        jobs = self.refuse_followers(jobs);
        let mut outcome = self.transact(&jobs);
        if let Err(error) = &outcome
            && Failure::of(error) == Failure::Full
        {
            self.health.set_full(true);
            self.ballast.release();
            jobs = self.refuse_fresh(jobs);
            jobs = self.refuse_followers(jobs);
            outcome = self.transact(&jobs);
        }
        if let Some(last) = last {
            self.progress.decided.fetch_max(last, Ordering::AcqRel);
        }
        if crash == Some(Crash::Unheard) {
            self.die();
        }
        match outcome {
            // A fence that another thread set meanwhile holds for this transaction as well.
            Ok(_) if self.health.get() == StoreHealth::Fenced => {
                self.refuse_all(jobs, &CommitError::Fenced);
            }
            Ok(outcomes) => {
                for (job, outcome) in jobs.into_iter().zip(outcomes) {
                    job.tell(outcome);
                }
            }
            Err(error) => self.fail(jobs, &error),
        }
        if crash.is_some() {
            self.die();
        }
    }

    /// As good as dead, for tests.
    fn die(&self) {
        self.health.fence(&"a simulated crash");
        self.queue.fence();
    }

    fn fail(&mut self, jobs: Vec<Job>, error: &rusqlite::Error) {
        match Failure::of(error) {
            Failure::Full => self.refuse_all(jobs, &CommitError::Full),
            Failure::Locked => {
                tracing::warn!("another program holds a lock on the ledger");
                self.refuse_all(jobs, &CommitError::Locked);
            }
            Failure::Refused | Failure::Fatal => {
                self.health.fence(error);
                self.queue.fence();
                self.refuse_all(jobs, &CommitError::Fenced);
            }
        }
    }

    fn refuse_fresh(&self, jobs: Vec<Job>) -> Vec<Job> {
        let (settling, fresh) =
            jobs.into_iter().partition(|job| job.batch.urgency != Urgency::Fresh);
        self.refuse_all(fresh, &CommitError::Full);
        settling
    }

    /// Refuses what builds on entries that are not stored.
    fn refuse_followers(&self, jobs: Vec<Job>) -> Vec<Job> {
        let (followers, sound): (Vec<_>, Vec<_>) =
            jobs.into_iter().partition(|job| self.unsound.refuses(&job.batch));
        for job in followers {
            self.unsound.lose(&job.batch);
            let why = unsound(&job.batch);
            job.refuse(why);
        }
        sound
    }

    fn refuse_all(&self, jobs: Vec<Job>, why: &CommitError) {
        for job in jobs {
            self.unsound.lose(&job.batch);
            job.refuse(why.clone());
        }
    }

    /// One transaction of all batches, durable when this returns `Ok`.
    fn transact(&mut self, jobs: &[Job]) -> Result<Vec<Outcome>, rusqlite::Error> {
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        self.simulate_disk()?;
        if self.faults.as_ref().is_some_and(|faults| faults.is_full()) {
            let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL);
            return Err(rusqlite::Error::SqliteFailure(code, None));
        }
        let outcomes = match self.attempt(jobs, Isolation::Conditional) {
            Err(Stop::Isolate) => self.attempt(jobs, Isolation::All),
            other => other,
        };
        match outcomes {
            Ok(outcomes) => {
                self.note_progress(jobs, &outcomes);
                Ok(outcomes)
            }
            Err(Stop::Sqlite(error)) => Err(error),
            // With a savepoint around each, no batch asks for one.
            Err(Stop::Isolate) => Err(rusqlite::Error::InvalidQuery),
        }
    }

    fn attempt(&mut self, jobs: &[Job], isolation: Isolation) -> Result<Vec<Outcome>, Stop> {
        let kept = self.kept;
        let outcomes = self.write(jobs, isolation);
        if outcomes.is_err() {
            self.kept = kept;
            if !self.conn.is_autocommit() {
                self.conn.execute_batch("ROLLBACK")?;
            }
        }
        outcomes
    }

    fn write(&mut self, jobs: &[Job], isolation: Isolation) -> Result<Vec<Outcome>, Stop> {
        let kept = self.kept;
        self.execute("BEGIN IMMEDIATE")?;
        let mut outcomes = Vec::with_capacity(jobs.len());
        let mut holes: Vec<i64> = Vec::new();
        for job in jobs {
            // What follows a refused entry of its account in the same transaction goes with it.
            let follows = !holes.is_empty()
                && entries_of(&job.batch).any(|(account, _)| holes.contains(&account));
            let outcome = match follows {
                true => Err(unsound(&job.batch)),
                false => self.batch(&job.batch, isolation)?,
            };
            if outcome.is_err() {
                holes.extend(entries_of(&job.batch).map(|(account, _)| account));
            }
            outcomes.push(outcome);
        }
        if self.kept != kept {
            evict(&self.conn, &mut self.kept, self.kept_max)?;
            self.conn
                .prepare_cached("UPDATE meta SET value = ?1 WHERE name = 'idempotency_bytes'")?
                .execute([self.kept.0])?;
        }
        if self.faults.as_ref().is_some_and(|faults| faults.take_failed_sync()) {
            let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR_FSYNC);
            return Err(rusqlite::Error::SqliteFailure(code, None).into());
        }
        self.execute("COMMIT")?;
        Ok(outcomes)
    }

    fn batch(&mut self, batch: &Batch, isolation: Isolation) -> Result<Outcome, Stop> {
        let savepoint = batch.ops.len() > 1 && (batch.conditional || isolation == Isolation::All);
        if savepoint {
            self.execute("SAVEPOINT batch")?;
        }
        let kept = self.kept;
        let mut committed = Committed::default();
        let applied = batch
            .ops
            .iter()
            .try_for_each(|op| apply(&self.conn, op, &mut self.kept, &mut committed));
        let refused = match applied {
            Ok(()) => None,
            Err(Refusal::Batch(error)) => Some(error),
            Err(Refusal::Sqlite(error)) if Failure::of(&error) == Failure::Refused => {
                tracing::error!(%error, "a batch that should fit was refused by the database");
                Some(CommitError::Duplicate)
            }
            Err(Refusal::Sqlite(error)) => return Err(error.into()),
        };
        if let Some(error) = refused {
            self.kept = kept;
            if savepoint {
                self.execute("ROLLBACK TO batch")?;
                self.execute("RELEASE batch")?;
            } else if batch.ops.len() > 1 {
                return Err(Stop::Isolate);
            }
            return Ok(Err(error));
        }
        if savepoint {
            self.execute("RELEASE batch")?;
        }
        Ok(Ok(committed))
    }

    fn note_progress(&self, jobs: &[Job], outcomes: &[Outcome]) {
        // Holes first: whoever sees how far the ledger is sees them too.
        for (job, _) in jobs.iter().zip(outcomes).filter(|(_, outcome)| outcome.is_err()) {
            self.unsound.lose(&job.batch);
        }
        let durable = jobs
            .iter()
            .zip(outcomes)
            .filter(|(_, outcome)| outcome.is_ok())
            .filter_map(|(job, _)| job.batch.entries.map(|(_, last)| last))
            .max();
        if let Some(durable) = durable {
            self.progress.durable.fetch_max(durable, Ordering::AcqRel);
        }
        let told = jobs.iter().zip(outcomes).filter(|(_, outcome)| outcome.is_ok());
        if let Some(event) = told.filter_map(|(job, _)| job.batch.event).max() {
            self.progress.event.send_if_modified(|last| {
                let newer = event > *last;
                *last = event.max(*last);
                newer
            });
        }
        self.progress.groups.fetch_add(1, Ordering::Relaxed);
        self.progress.batches.fetch_add(jobs.len() as u64, Ordering::Relaxed);
    }

    /// Sees whether there is space again: for the ballast, and by SQLite's own count.
    fn probe(&mut self) {
        if self.health.get() != StoreHealth::Full || self.ballast.restore().is_err() {
            return;
        }
        let wrote = self.simulate_disk().and_then(|()| self.write_probe());
        match wrote {
            Ok(()) => self.health.set_full(false),
            Err(error) if Failure::of(&error) == Failure::Fatal => {
                self.health.fence(&error);
                self.queue.fence();
            }
            Err(_) => self.ballast.release(),
        }
    }

    fn write_probe(&self) -> rusqlite::Result<()> {
        self.execute("BEGIN IMMEDIATE")?;
        let wrote = self
            .conn
            .prepare_cached("INSERT OR REPLACE INTO meta VALUES ('probe', zeroblob(65536))")
            .and_then(|mut probe| probe.execute([]));
        if !self.conn.is_autocommit() {
            self.execute("ROLLBACK")?;
        }
        wrote.map(drop)
    }

    /// Between two transactions there is nobody else writing, so that a log of which little is
    /// left to move can be moved wholly, and begins anew.
    fn checkpoint(&mut self) {
        if self.health.get() != StoreHealth::Ok {
            return;
        }
        let moved = self.conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
        if let Err(error) = moved
            && Failure::of(&error) == Failure::Fatal
        {
            self.health.fence(&error);
            self.queue.fence();
        }
    }

    fn simulate_disk(&self) -> rusqlite::Result<()> {
        let Some(faults) = &self.faults else { return Ok(()) };
        let ballast = if self.ballast.present() { self.ballast.bytes() } else { 0 };
        let pages = faults.pages_left(ballast).unwrap_or(u32::MAX - 1);
        self.conn.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))
    }

    fn execute(&self, sql: &str) -> rusqlite::Result<()> {
        self.conn.prepare_cached(sql)?.execute([]).map(drop)
    }
}

/// A thread that ends by a panic must not leave anybody waiting, nor take more.
impl Drop for Writer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.health.fence(&"the thread that writes ended by a panic");
            self.queue.fence();
        }
    }
}

fn unsound(batch: &Batch) -> CommitError {
    let account = entries_of(batch).next().and_then(|(account, _)| read_id(account));
    CommitError::Unsound { account: AccountId(account.unwrap_or_default()) }
}
