//! The thread that writes what may be a second old.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::error::Failure;
use crate::fault::Faults;
use crate::health::{Health, StoreHealth};
use crate::index::{Index, Snapshots};
use crate::stop::Stop;
use crate::unsound::Unsound;
use crate::usage::{Pending, UsageDb};
use crate::writer::Progress;

/// Writes the index and the usage behind.
#[derive(Debug)]
pub(crate) struct Behind {
    pub(crate) index: Index,
    pub(crate) usage: UsageDb,
    pub(crate) snapshots: Arc<Snapshots>,
    pub(crate) unsound: Arc<Unsound>,
    pub(crate) pending: Arc<Pending>,
    pub(crate) health: Arc<Health>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) stop: Arc<Stop>,
    pub(crate) faults: Option<Arc<Faults>>,
}

/// Whether a database is still written.
#[derive(Clone, Copy, PartialEq)]
enum Trust {
    Kept,
    Lost,
}

impl Behind {
    /// Works until it is stopped, then writes all that is left.
    pub(crate) fn run(mut self) {
        let mut index = Trust::Kept;
        let mut usage = Trust::Kept;
        let mut packed = Trust::Kept;
        let mut more = false;
        let mut rounds = 0;
        loop {
            let stopped = self.stop.wait(if more { Duration::ZERO } else { INTERVAL });
            more = false;
            let round = self.stop.begin_round();
            let asked = stopped || std::mem::replace(&mut rounds, round) != round;
            // Of a full disk, what is left belongs to the ledger.
            if self.health.get() != StoreHealth::Full && self.may_write(asked) {
                if usage == Trust::Kept {
                    usage = judge("usage", self.flush(stopped).map(|left| more |= left));
                }
                // A stop does not wait for what any later time can do as well.
                if usage == Trust::Kept && packed == Trust::Kept && !stopped {
                    packed = judge("usage, packed", self.usage.pack(&self.pending));
                }
                if index == Trust::Kept {
                    index = judge("index", self.compute().map(|left| more |= left));
                }
            }
            self.stop.end_round(round);
            if stopped {
                return;
            }
        }
    }

    /// Tests decide when what is behind is written, and whether it ever is.
    fn may_write(&self, asked: bool) -> bool {
        let allows = |faults: &Arc<Faults>| !faults.has_crashed() && (asked || !faults.is_apart());
        self.faults.as_ref().is_none_or(allows)
    }

    /// At a stop nothing more will be decided: all that was handed in is written. Usage that may
    /// count a charge which was not stored waits until that is posted again; if the process ends
    /// before, the next one counts by the ledger. Whether more is left to be forgotten.
    fn flush(&mut self, stopped: bool) -> rusqlite::Result<bool> {
        let decided = match stopped {
            true => i64::MAX,
            false => self.progress.decided.load(Ordering::Acquire),
        };
        let decided = if self.unsound.any() { NONE } else { decided };
        let durable = self.progress.durable.load(Ordering::Acquire);
        self.usage.flush(&self.pending, decided, durable)
    }

    /// Writes snapshots and a bounded part of the index; whether there is more to index.
    fn compute(&mut self) -> rusqlite::Result<bool> {
        let durable = self.progress.durable.load(Ordering::Acquire);
        self.index.write(&self.snapshots, durable, &self.unsound)?;
        self.index.step()
    }
}

/// Whoever waits for a round is let go when the thread ends, however it ends.
impl Drop for Behind {
    fn drop(&mut self) {
        self.stop.stop();
    }
}

/// A database that failed is not written any more: its content can be computed again, or is
/// worth less than the truth of what is shown.
fn judge(name: &'static str, written: rusqlite::Result<()>) -> Trust {
    match written {
        Ok(()) => Trust::Kept,
        Err(error) if matches!(Failure::of(&error), Failure::Full | Failure::Locked) => {
            tracing::warn!(%error, database = name, "what is written behind has to wait");
            Trust::Kept
        }
        Err(error) => {
            tracing::error!(%error, database = name, "not written any more until the restart");
            Trust::Lost
        }
    }
}

/// Below every position.
const NONE: i64 = -1;
const INTERVAL: Duration = Duration::from_millis(500);
