//! The thread that keeps the ledger's log short, and asks whether a full disk has space again.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rusqlite::Connection;

use crate::error::Failure;
use crate::health::{Health, StoreHealth};
use crate::queue::Queue;
use crate::stop::Stop;
use crate::writer::Progress;

/// Moves the log into the database off the path of the commits.
#[derive(Debug)]
pub(crate) struct Checkpointer {
    pub(crate) conn: Connection,
    pub(crate) log: PathBuf,
    pub(crate) queue: Arc<Queue>,
    pub(crate) health: Arc<Health>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) stop: Arc<Stop>,
    /// Whether the last try failed, so that one cause is logged once.
    pub(crate) failing: bool,
}

/// How long the log is, in pages.
struct Log {
    pages: i64,
    moved: i64,
}

impl Checkpointer {
    /// Works until it is stopped, then leaves an empty log.
    pub(crate) fn run(mut self) {
        let mut quiet_ticks = 0;
        let mut groups = 0;
        let mut ticks: u32 = 0;
        while !self.stop.wait(TICK) {
            ticks = ticks.wrapping_add(1);
            match self.health.get() {
                StoreHealth::Fenced => return,
                StoreHealth::Full => {
                    if ticks.is_multiple_of(PROBE_TICKS) {
                        self.queue.ask_probe();
                    }
                    // What is left of the disk belongs to the log.
                    continue;
                }
                StoreHealth::Ok => {}
            }
            let now = self.progress.groups.load(Ordering::Relaxed);
            quiet_ticks = if now == groups { quiet_ticks + 1 } else { 0 };
            groups = now;
            let done =
                if quiet_ticks == QUIET_TICKS { self.when_quiet() } else { self.when_busy() };
            if !self.survives(done) {
                return;
            }
        }
        if self.health.get() == StoreHealth::Ok {
            let done = self.checkpoint("TRUNCATE").map(drop);
            self.survives(done);
        }
    }

    fn when_busy(&self) -> rusqlite::Result<()> {
        let log = self.checkpoint("NOOP")?;
        if log.pages - log.moved < MOVE_PAGES {
            return Ok(());
        }
        let log = self.checkpoint("PASSIVE")?;
        if log.pages > RESTART_PAGES {
            self.queue.ask_checkpoint();
        }
        Ok(())
    }

    /// A log that is written over needs fewer device writes than one that grows, so that only
    /// one that has become large is cut.
    fn when_quiet(&self) -> rusqlite::Result<()> {
        let large = std::fs::metadata(&self.log).is_ok_and(|log| log.len() > LOG_BYTES_KEPT);
        self.checkpoint(if large { "TRUNCATE" } else { "PASSIVE" }).map(drop)
    }

    fn checkpoint(&self, mode: &str) -> rusqlite::Result<Log> {
        self.conn
            .prepare_cached(&format!("PRAGMA wal_checkpoint({mode})"))?
            .query_row([], |row| Ok(Log { pages: row.get(1)?, moved: row.get(2)? }))
    }

    /// A failed sync of the database is as bad as one of the log: a later one may succeed with
    /// the data gone.
    fn survives(&mut self, done: rusqlite::Result<()>) -> bool {
        let Err(error) = done else {
            self.failing = false;
            return true;
        };
        if Failure::of(&error) == Failure::Fatal {
            self.health.fence(&error);
            self.queue.fence();
            return false;
        }
        if !std::mem::replace(&mut self.failing, true) {
            tracing::warn!(%error, "the log of the ledger cannot be moved, it is tried again");
        }
        true
    }
}

const TICK: Duration = Duration::from_millis(100);
/// 2 s without a commit.
const QUIET_TICKS: u32 = 20;
/// Twice a second.
const PROBE_TICKS: u32 = 5;
/// 16 MiB.
const MOVE_PAGES: i64 = 4_096;
/// 64 MiB.
const RESTART_PAGES: i64 = 16_384;
const LOG_BYTES_KEPT: u64 = 128 << 20;
