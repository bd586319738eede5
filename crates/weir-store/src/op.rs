//! What can be made durable, and what is remembered of it.

use weir_core::id::{AccountId, EventId, WebhookId};
use weir_core::ledger::Entry;
use weir_core::time::Timestamp;

use crate::error::CommitError;
use crate::record::{EntryRow, stored_id};

/// What a batch is for, which decides what becomes of it when the disk is full.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Urgency {
    /// It settles, voids or records what has happened already: the ballast is there for it.
    Settlement,
    /// It settles a call whose answer, of this status, waits for it and is withheld without it.
    /// Like [`Urgency::Settlement`], but a charge that is not stored is given up.
    Answer(u16),
    /// It begins something, which can as well be refused.
    Fresh,
}

/// One durable change. A batch of them is stored wholly or not at all.
#[derive(Clone, Debug)]
pub enum Op {
    /// Adds an entry to the ledger.
    Append(Entry),
    /// Creates or changes a resource.
    Put(Put),
    /// Removes a resource; one that is not there is no error unless a revision is expected.
    Delete(Delete),
    /// Tells a fact: the outbox of webhooks and the list of events.
    Event(Event),
    /// Notes how far the delivery of an event to a webhook is.
    Deliver(Delivery),
    /// Notes how far a running stream is; replaces its earlier checkpoint.
    Checkpoint(Checkpoint),
    /// The stream was settled: its checkpoint goes.
    DropCheckpoint(CallId),
    /// Takes a fact from outside, which fails the batch if it was taken before.
    Once(Once),
    /// Takes an idempotency key, which fails the batch if it is in use and not expired.
    Claim(Idempotency),
    /// Keeps the answer of an idempotency key, whether or not it was claimed.
    Answer(Idempotency),
    /// Frees an idempotency key.
    Release(IdempotencyKey),
    /// Removes what has had its time. Bounded: call it again as long as there may be more.
    Sweep(Sweep),
}

/// Number of a proxied call that is running; drawn by the engine.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct CallId(pub u64);

/// Creates or changes a resource.
#[derive(Clone, Debug)]
pub struct Put {
    /// The kind, such as `account` or `key`.
    pub kind: &'static str,
    /// The number within the kind.
    pub id: u64,
    /// The account that it belongs to.
    pub account: Option<AccountId>,
    /// When it is created or changed.
    pub at: Timestamp,
    /// What the engine keeps there, as JSON.
    pub body: String,
    /// What must be there before.
    pub expected: Expected,
}

/// What must be stored before a change.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Expected {
    /// Anything or nothing.
    Any,
    /// Nothing.
    Absent,
    /// This revision. The first is 1, and each change adds 1.
    Revision(u64),
}

/// Removes a resource.
#[derive(Clone, Debug)]
pub struct Delete {
    /// The kind.
    pub kind: &'static str,
    /// The number within the kind.
    pub id: u64,
    /// The revision it must be at.
    pub expected: Option<u64>,
}

/// A told fact.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Event {
    /// Its id, ascending in time.
    pub id: EventId,
    /// When it happened.
    pub at: Timestamp,
    /// Whom it concerns.
    pub account: Option<AccountId>,
    /// Its type, such as `wallet.low`.
    pub kind: Box<str>,
    /// Its data as JSON.
    pub body: String,
}

/// How far the delivery of one event to one webhook is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Delivery {
    /// To whom.
    pub webhook: WebhookId,
    /// What.
    pub event: EventId,
    /// Whether it is done.
    pub state: DeliveryState,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is to be tried next.
    pub next_at: Timestamp,
    /// The status of the last answer.
    pub last_status: Option<u16>,
    /// Why the last try failed.
    pub last_error: Option<Box<str>>,
    /// When the last try began.
    pub last_at: Option<Timestamp>,
    /// How long the last try took, in milliseconds.
    pub last_ms: Option<u32>,
}

impl Delivery {
    /// A delivery that was not tried yet.
    pub fn new(webhook: WebhookId, event: EventId, next_at: Timestamp) -> Self {
        Self {
            webhook,
            event,
            state: DeliveryState::Pending,
            attempts: 0,
            next_at,
            last_status: None,
            last_error: None,
            last_at: None,
            last_ms: None,
        }
    }
}

/// Whether a delivery is done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DeliveryState {
    /// To be tried (again).
    Pending,
    /// Taken by the receiver.
    Delivered,
    /// Given up.
    Failed,
}

impl DeliveryState {
    /// The name in the store.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
        }
    }

    /// The state of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        [Self::Pending, Self::Delivered, Self::Failed]
            .into_iter()
            .find(|state| state.name() == name)
    }
}

/// How far a running stream is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Checkpoint {
    /// The call.
    pub call: CallId,
    /// Who pays for it.
    pub account: AccountId,
    /// When it was this far.
    pub at: Timestamp,
    /// What is needed to charge it, as JSON.
    pub body: String,
}

/// A fact from outside that counts once.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Once {
    /// Where it comes from, such as `stripe`.
    pub source: Box<str>,
    /// Its id there.
    pub id: Box<str>,
    /// When it was taken.
    pub at: Timestamp,
}

/// An idempotency key of an account.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct IdempotencyKey {
    /// Whose.
    pub account: AccountId,
    /// What the client sent.
    pub key: Box<str>,
}

/// What is kept under an idempotency key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Idempotency {
    /// The key.
    pub key: IdempotencyKey,
    /// Digest of the request, to tell another request under the same key.
    pub fingerprint: Box<[u8]>,
    /// The answer; `None` while the request is in progress.
    pub answer: Option<Answer>,
    /// When it was written; what expired by then may be replaced.
    pub created_at: Timestamp,
    /// Until when it holds.
    pub expires_at: Timestamp,
}

/// An answer to be given again.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers as JSON.
    pub headers: String,
    /// The body; `None` if it was too large to keep.
    pub body: Option<Box<[u8]>>,
}

/// What has had its time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Sweep {
    /// Idempotency keys that expired by then go.
    pub now: Timestamp,
    /// Events before this one go with their deliveries, unless one is pending.
    pub events_before: EventId,
    /// Resources of this kind with lower numbers go.
    pub resources_before: (&'static str, u64),
}

/// A batch that was checked and written down as far as can be done before its turn.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) ops: Vec<Prepared>,
    pub(crate) urgency: Urgency,
    /// Whether one of the operations may well be refused.
    pub(crate) conditional: bool,
    pub(crate) bytes: usize,
    /// First and last position of its entries.
    pub(crate) entries: Option<(i64, i64)>,
    /// The last event that it tells.
    pub(crate) event: Option<EventId>,
}

/// An operation with its entry as a row and its numbers known to fit.
#[derive(Debug)]
pub(crate) enum Prepared {
    Append(EntryRow),
    Other(Op),
}

impl Batch {
    pub(crate) fn prepare(urgency: Urgency, ops: Vec<Op>) -> Result<Self, CommitError> {
        let mut batch = Self {
            ops: Vec::with_capacity(ops.len()),
            urgency,
            conditional: false,
            bytes: 0,
            entries: None,
            event: None,
        };
        for op in ops {
            batch.conditional |= op.conditional();
            let prepared = match op {
                Op::Append(entry) => {
                    let row = EntryRow::of(entry)?;
                    batch.follow(row.seq)?;
                    batch.bytes += row.bytes();
                    Prepared::Append(row)
                }
                other => {
                    other.check_ids()?;
                    if let Op::Event(event) = &other {
                        batch.event = batch.event.max(Some(event.id));
                    }
                    batch.bytes += other.bytes();
                    Prepared::Other(other)
                }
            };
            batch.ops.push(prepared);
        }
        if batch.bytes > BATCH_BYTES_MAX {
            return Err(CommitError::TooLarge { bytes: batch.bytes, max: BATCH_BYTES_MAX });
        }
        Ok(batch)
    }

    fn follow(&mut self, seq: i64) -> Result<(), CommitError> {
        self.entries = match self.entries {
            None => Some((seq, seq)),
            Some((first, last)) if last < seq => Some((first, seq)),
            Some((_, last)) => return Err(out_of_order(seq, last)),
        };
        Ok(())
    }
}

/// An entry that does not come after the last one.
pub(crate) fn out_of_order(seq: i64, last: i64) -> CommitError {
    let position = |seq: i64| weir_core::id::Seq(u64::try_from(seq).unwrap_or(0));
    CommitError::OutOfOrder { seq: position(seq), last: position(last) }
}

impl Op {
    /// Whether it may be refused although the caller did nothing wrong.
    fn conditional(&self) -> bool {
        match self {
            Self::Once(_) | Self::Claim(_) => true,
            Self::Put(put) => put.expected != Expected::Any,
            Self::Delete(delete) => delete.expected.is_some(),
            Self::Append(_)
            | Self::Event(_)
            | Self::Deliver(_)
            | Self::Checkpoint(_)
            | Self::DropCheckpoint(_)
            | Self::Answer(_)
            | Self::Release(_)
            | Self::Sweep(_) => false,
        }
    }

    fn check_ids(&self) -> Result<(), CommitError> {
        let account = |account: Option<AccountId>| account.map_or(0, |account| account.0);
        let ids = match self {
            Self::Append(entry) => [entry.seq.0, entry.account.0],
            Self::Put(put) => [put.id, account(put.account)],
            Self::Delete(delete) => [delete.id, 0],
            Self::Event(event) => [event.id.0, account(event.account)],
            Self::Deliver(delivery) => [delivery.webhook.0, delivery.event.0],
            Self::Checkpoint(checkpoint) => [checkpoint.call.0, checkpoint.account.0],
            Self::DropCheckpoint(call) => [call.0, 0],
            Self::Once(_) => [0, 0],
            Self::Claim(row) | Self::Answer(row) => [row.key.account.0, 0],
            Self::Release(key) => [key.account.0, 0],
            Self::Sweep(sweep) => [sweep.events_before.0, 0],
        };
        ids.into_iter().try_for_each(|id| stored_id(id).map(drop))
    }

    fn bytes(&self) -> usize {
        64 + match self {
            Self::Put(put) => put.body.len(),
            Self::Event(event) => event.body.len() + event.kind.len(),
            Self::Checkpoint(checkpoint) => checkpoint.body.len(),
            Self::Once(once) => once.source.len() + once.id.len(),
            Self::Claim(row) | Self::Answer(row) => row.bytes(),
            Self::Deliver(delivery) => delivery.last_error.as_ref().map_or(0, |text| text.len()),
            Self::Release(key) => key.key.len(),
            Self::Append(_) | Self::Delete(_) | Self::DropCheckpoint(_) | Self::Sweep(_) => 0,
        }
    }
}

impl Idempotency {
    /// What it counts against the bound of all that is kept.
    pub(crate) fn bytes(&self) -> usize {
        let answer = self.answer.as_ref().map_or(0, |answer| {
            answer.headers.len() + answer.body.as_ref().map_or(0, |body| body.len())
        });
        128 + self.key.key.len() + self.fingerprint.len() + answer
    }
}

/// More than any operation of the engine needs, less than what would stall the others.
const BATCH_BYTES_MAX: usize = 16 << 20;
