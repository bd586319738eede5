//! Batches that wait for the thread that writes: bounded in number and in bytes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use crate::commit::{Commit, Outcome};
use crate::error::CommitError;
use crate::op::{Batch, Urgency, out_of_order};
use crate::unsound::Unsound;

/// How much may wait. Settlements may take twice as much: they cannot be refused without harm.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) batches: usize,
    pub(crate) bytes: usize,
}

/// The queue in front of the thread that writes.
#[derive(Debug)]
pub(crate) struct Queue {
    bounds: Bounds,
    unsound: Arc<Unsound>,
    /// The last position given to an entry. Held while a batch with entries is queued, so that
    /// the order of the queue is the order of the ledger.
    sequence: Mutex<i64>,
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Debug)]
struct State {
    jobs: VecDeque<Job>,
    bytes: usize,
    /// How many jobs the thread that writes sleeps for; 0 while it works.
    awaited: usize,
    /// Whether the last transaction had so many batches that more are to be expected at once.
    crowded: bool,
    /// Why nothing is taken any more.
    shut: Option<CommitError>,
    probe: bool,
    checkpoint: bool,
}

/// A batch and who waits for it.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) batch: Batch,
    pub(crate) done: oneshot::Sender<Outcome>,
}

/// What the thread that writes is to do next.
#[derive(Debug)]
pub(crate) enum Work {
    /// Commit these in one transaction.
    Group(Vec<Job>),
    /// See whether there is space again.
    Probe,
    /// Move the log into the database, so that the log begins anew.
    Checkpoint,
    /// No more work will come.
    Closed,
}

impl Queue {
    pub(crate) fn new(bounds: Bounds, last_seq: i64, unsound: Arc<Unsound>) -> Self {
        Self {
            bounds,
            unsound,
            sequence: Mutex::new(last_seq),
            state: Mutex::new(State {
                jobs: VecDeque::new(),
                bytes: 0,
                awaited: 0,
                crowded: false,
                shut: None,
                probe: false,
                checkpoint: false,
            }),
            wake: Condvar::new(),
        }
    }

    /// Queues a batch that numbers its entries itself.
    pub(crate) fn push(&self, batch: Batch) -> Commit {
        let pushed = match batch.entries {
            None => self.enqueue(batch),
            Some(_) => self.enqueue_next(batch, &mut self.sequence.lock()),
        };
        pushed.unwrap_or_else(Commit::refused)
    }

    /// Queues the batch that `make` makes when told the next position, before anyone else can
    /// take that position.
    pub(crate) fn push_next(&self, make: impl FnOnce(i64) -> Result<Batch, CommitError>) -> Commit {
        let mut sequence = self.sequence.lock();
        let Some(next) = sequence.checked_add(1) else {
            return Commit::refused(CommitError::Unwritable("position"));
        };
        make(next)
            .and_then(|batch| self.enqueue_next(batch, &mut sequence))
            .unwrap_or_else(Commit::refused)
    }

    /// Takes all that waits, up to the bounds of one transaction; blocks while there is nothing.
    ///
    /// In a crowd it lingers for what comes within a moment: half as many syncs cost much less than
    /// the moment, and a batch that comes alone waits for nobody.
    pub(crate) fn take(&self) -> Work {
        let mut state = self.state.lock();
        let mut lingered = false;
        loop {
            if std::mem::take(&mut state.checkpoint) {
                return Work::Checkpoint;
            }
            if std::mem::take(&mut state.probe) {
                return Work::Probe;
            }
            if state.jobs.is_empty() {
                if state.shut.is_some() {
                    return Work::Closed;
                }
                state.awaited = 1;
                self.wake.wait(&mut state);
            } else if state.crowded
                && !lingered
                && state.jobs.len() < LINGER_BATCHES
                && state.shut.is_none()
            {
                lingered = true;
                state.awaited = LINGER_BATCHES;
                self.wake.wait_for(&mut state, LINGER);
            } else {
                return Work::Group(state.group());
            }
            state.awaited = 0;
        }
    }

    /// Takes nothing any more; what waits is still worked off.
    pub(crate) fn close(&self) {
        self.shut(CommitError::Closed);
    }

    /// Takes nothing any more, and fails what waits.
    pub(crate) fn fence(&self) {
        self.shut(CommitError::Fenced);
        let jobs = {
            let mut state = self.state.lock();
            state.bytes = 0;
            std::mem::take(&mut state.jobs)
        };
        for job in jobs {
            self.unsound.lose(&job.batch);
            job.refuse(CommitError::Fenced);
        }
    }

    pub(crate) fn ask_probe(&self) {
        self.state.lock().probe = true;
        self.wake.notify_one();
    }

    pub(crate) fn ask_checkpoint(&self) {
        self.state.lock().checkpoint = true;
        self.wake.notify_one();
    }

    fn shut(&self, why: CommitError) {
        let mut state = self.state.lock();
        if state.shut.is_none() || why == CommitError::Fenced {
            state.shut = Some(why);
        }
        self.wake.notify_one();
    }

    fn enqueue_next(&self, batch: Batch, sequence: &mut i64) -> Result<Commit, CommitError> {
        let entries = batch.entries;
        if let Some((first, _)) = entries
            && first <= *sequence
        {
            return Err(out_of_order(first, *sequence));
        }
        let commit = self.enqueue(batch)?;
        if let Some((_, last)) = entries {
            *sequence = last;
        }
        Ok(commit)
    }

    fn enqueue(&self, batch: Batch) -> Result<Commit, CommitError> {
        // Noted before the next position is given out: what follows is refused in its turn.
        self.try_enqueue(batch).map_err(|refused| {
            let (why, batch) = *refused;
            self.unsound.lose(&batch);
            why
        })
    }

    fn try_enqueue(&self, batch: Batch) -> Result<Commit, Box<(CommitError, Batch)>> {
        let (done, outcome) = oneshot::channel();
        let awaited = {
            let mut state = self.state.lock();
            if let Some(why) = &state.shut {
                return Err(Box::new((why.clone(), batch)));
            }
            let share = match batch.urgency {
                Urgency::Settlement | Urgency::Answer(_) => 2,
                Urgency::Fresh => 1,
            };
            let fits = state.jobs.len() < self.bounds.batches * share
                && state.bytes + batch.bytes <= self.bounds.bytes * share;
            if !fits && !state.jobs.is_empty() {
                return Err(Box::new((CommitError::Busy, batch)));
            }
            state.bytes += batch.bytes;
            state.jobs.push_back(Job { batch, done });
            state.jobs.len() == state.awaited
        };
        if awaited {
            self.wake.notify_one();
        }
        Ok(Commit::waiting(outcome))
    }
}

impl State {
    fn group(&mut self) -> Vec<Job> {
        let mut count = 0;
        let mut bytes = 0;
        for job in self.jobs.iter().take(GROUP_BATCHES_MAX) {
            if count > 0 && bytes + job.batch.bytes > GROUP_BYTES_MAX {
                break;
            }
            bytes += job.batch.bytes;
            count += 1;
        }
        self.bytes -= bytes;
        self.crowded = count >= CROWD_BATCHES;
        self.jobs.drain(..count).collect()
    }
}

impl Job {
    /// Tells that the batch failed.
    pub(crate) fn refuse(self, why: CommitError) {
        self.tell(Err(why));
    }

    /// Tells what became of the batch.
    pub(crate) fn tell(self, outcome: Outcome) {
        // Whoever asked may have gone away; the batch went its way all the same.
        let _ = self.done.send(outcome);
    }
}

/// From how many batches in a transaction on the next one lingers.
const CROWD_BATCHES: usize = 8;
/// With how many it lingers no longer.
const LINGER_BATCHES: usize = 32;
/// A few times what a sync takes, a fraction of what a call takes.
const LINGER: Duration = Duration::from_micros(500);

/// What one transaction takes at most, so that nobody waits for a very long one.
const GROUP_BATCHES_MAX: usize = 4_096;
const GROUP_BYTES_MAX: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use smallvec::SmallVec;
    use weir_core::id::{AccountId, PolicyNumber, Seq};
    use weir_core::ledger::{Entry, EntryKind};
    use weir_core::money::Nano;
    use weir_core::time::Timestamp;

    use super::*;
    use crate::op::{CallId, Op};

    fn batch(urgency: Urgency) -> Batch {
        Batch::prepare(urgency, vec![Op::DropCheckpoint(CallId(1))]).unwrap()
    }

    #[test]
    fn a_full_queue_refuses_fresh_work_first_and_then_settlements() {
        let queue = Queue::new(Bounds { batches: 2, bytes: 1 << 20 }, 0, Arc::default());
        let mut waiting: Vec<_> = (0..2).map(|_| queue.push(batch(Urgency::Fresh))).collect();
        assert_eq!(queue.push(batch(Urgency::Fresh)).wait(), Err(CommitError::Busy));
        waiting.extend((0..2).map(|_| queue.push(batch(Urgency::Settlement))));
        assert_eq!(queue.push(batch(Urgency::Settlement)).wait(), Err(CommitError::Busy));
        let Work::Group(jobs) = queue.take() else { panic!("there is work") };
        assert_eq!(jobs.len(), 4);
        drop(waiting);
    }

    #[test]
    fn a_fenced_queue_fails_what_waits_and_what_comes() {
        let queue = Queue::new(Bounds { batches: 8, bytes: 1 << 20 }, 0, Arc::default());
        let waiting = queue.push(batch(Urgency::Settlement));
        queue.fence();
        assert_eq!(waiting.wait(), Err(CommitError::Fenced));
        assert_eq!(queue.push(batch(Urgency::Settlement)).wait(), Err(CommitError::Fenced));
        assert!(matches!(queue.take(), Work::Closed));
    }

    /// Queues so many batches at once, as often as named, and tells how many each transaction had.
    fn groups(rounds: &[usize]) -> Vec<usize> {
        let queue = Queue::new(Bounds { batches: 512, bytes: 1 << 20 }, 0, Arc::default());
        let mut groups = Vec::new();
        for &count in rounds {
            let waiting: Vec<_> =
                (0..count).map(|_| queue.push(batch(Urgency::Settlement))).collect();
            let Work::Group(jobs) = queue.take() else { panic!("there is work") };
            groups.push(jobs.len());
            drop(waiting);
        }
        groups
    }

    #[test]
    fn lingering_ends_though_nobody_comes() {
        assert_eq!(groups(&[CROWD_BATCHES, 3, 3]), [CROWD_BATCHES, 3, 3]);
    }

    #[test]
    fn in_a_crowd_what_comes_within_a_moment_shares_the_transaction() {
        let queue = Queue::new(Bounds { batches: 512, bytes: 1 << 20 }, 0, Arc::default());
        let push = |count| -> Vec<Commit> {
            (0..count).map(|_| queue.push(batch(Urgency::Settlement))).collect()
        };
        let mut waiting = push(CROWD_BATCHES);
        assert!(matches!(queue.take(), Work::Group(jobs) if jobs.len() == CROWD_BATCHES));
        std::thread::scope(|scope| {
            // The moment may be over before the other thread has its turn: then another is begun.
            let taken = scope.spawn(|| {
                (0..10_000).any(|_| {
                    queue.state.lock().crowded = true;
                    matches!(queue.take(), Work::Group(jobs) if jobs.len() == LINGER_BATCHES)
                })
            });
            while !taken.is_finished() {
                let (awaited, there) = {
                    let state = queue.state.lock();
                    (state.awaited, state.jobs.len())
                };
                waiting.extend(push(awaited.saturating_sub(there)));
            }
            assert!(taken.join().unwrap());
        });
    }

    #[test]
    fn whoever_lingers_is_woken_by_the_end() {
        let queue = Queue::new(Bounds { batches: 512, bytes: 1 << 20 }, 0, Arc::default());
        queue.state.lock().crowded = true;
        let waiting = queue.push(batch(Urgency::Settlement));
        queue.close();
        assert!(matches!(queue.take(), Work::Group(jobs) if jobs.len() == 1));
        assert!(matches!(queue.take(), Work::Closed));
        drop(waiting);
    }

    #[test]
    fn entries_that_waited_for_a_fenced_queue_are_not_stored() {
        let unsound = Arc::new(Unsound::default());
        let queue = Queue::new(Bounds { batches: 8, bytes: 1 << 20 }, 0, Arc::clone(&unsound));
        let entry = Entry {
            seq: Seq(1),
            account: AccountId(7),
            at: Timestamp::from_secs(1),
            kind: EntryKind::Charge,
            amount: Nano::new(-3),
            balance: Nano::new(-3),
            reference: "call".into(),
            policy: PolicyNumber(1),
            note: None,
            terms: None,
            draws: SmallVec::new(),
            call: None,
        };
        let charge = Batch::prepare(Urgency::Settlement, vec![Op::Append(entry)]).unwrap();
        let waiting = queue.push(charge);
        queue.fence();
        assert_eq!((waiting.wait(), unsound.accounts()), (Err(CommitError::Fenced), vec![7]));
    }
}
