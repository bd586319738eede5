//! What an engine needs to go on where the last process stopped.

use std::collections::VecDeque;

use rusqlite::Connection;
use weir_core::id::{AccountId, EventId, Seq};
use weir_core::ledger::Entry;
use weir_core::time::Timestamp;

use crate::error::ReadError;
use crate::index::{WalletSnapshot, last_seq, number};
use crate::op::{CallId, Checkpoint};
use crate::read::{Resource, read_resource};
use crate::record::{ENTRY_COLUMNS, read_entry, read_id, stored_id};
use crate::usage::{WindowKey, WindowState};

/// The content of a store as it was opened. Wallets are `wallets` with [`Loaded::tail`] applied,
/// where an entry counts for an account only after the `as_of` of its snapshot.
#[derive(Debug)]
pub struct Loaded {
    /// Wallets as of some position each.
    pub wallets: Vec<WalletSnapshot>,
    /// Every entry up to here is in the snapshots.
    pub snapshot_seq: Seq,
    /// The last entry.
    pub last_seq: Seq,
    /// The last event.
    pub last_event: EventId,
    /// The streams that were running when the process ended.
    pub checkpoints: Vec<Checkpoint>,
    /// The limit windows.
    pub windows: Vec<(WindowKey, WindowState)>,
    /// Every charge up to here is in the roll-ups; [`Loaded::entries_after`] has the others.
    pub usage_applied: Seq,
    ledger: Connection,
}

/// Entries in order, read a page at a time.
#[derive(Debug)]
pub struct Entries<'a> {
    ledger: &'a Connection,
    page: VecDeque<Entry>,
    after: i64,
    ended: bool,
}

/// What [`Loaded`] cannot read from the ledger.
pub(crate) struct Behindhand {
    pub(crate) wallets: Vec<WalletSnapshot>,
    pub(crate) snapshot_seq: i64,
    pub(crate) windows: Vec<(WindowKey, WindowState)>,
    pub(crate) usage_applied: i64,
}

impl Loaded {
    pub(crate) fn read(ledger: Connection, behind: Behindhand) -> Result<Self, ReadError> {
        let last_event: i64 =
            ledger.query_row("SELECT coalesce(max(id), 0) FROM event", [], |row| row.get(0))?;
        let last_event =
            read_id(last_event).ok_or(ReadError::Damaged { what: "event", id: last_event })?;
        Ok(Self {
            wallets: behind.wallets,
            snapshot_seq: seq(behind.snapshot_seq)?,
            last_seq: seq(last_seq(&ledger)?)?,
            last_event: EventId(last_event),
            checkpoints: read_checkpoints(&ledger)?,
            windows: behind.windows,
            usage_applied: seq(behind.usage_applied)?,
            ledger,
        })
    }

    /// The entries that the snapshots do not all know.
    pub fn tail(&self) -> Entries<'_> {
        self.entries_after(self.snapshot_seq)
    }

    /// The entries after a position.
    pub fn entries_after(&self, after: Seq) -> Entries<'_> {
        Entries {
            ledger: &self.ledger,
            page: VecDeque::new(),
            after: stored_id(after.0).unwrap_or(i64::MAX),
            ended: false,
        }
    }

    /// Shows every resource of a kind, ascending by id.
    ///
    /// # Errors
    ///
    /// [`ReadError`] where the database fails or a row is damaged.
    pub fn resources(&self, kind: &str, mut visit: impl FnMut(Resource)) -> Result<(), ReadError> {
        let mut all = self.ledger.prepare_cached(
            "SELECT id, account, revision, created_at, updated_at, body FROM resource \
             WHERE kind = ?1 ORDER BY id",
        )?;
        let mut rows = all.query([kind])?;
        while let Some(row) = rows.next()? {
            visit(read_resource(row)?);
        }
        Ok(())
    }
}

impl Entries<'_> {
    fn turn(&mut self) -> Result<(), ReadError> {
        let sql =
            format!("SELECT {ENTRY_COLUMNS} FROM entry e WHERE seq > ?1 ORDER BY seq LIMIT ?2");
        let mut page = self.ledger.prepare_cached(&sql)?;
        let mut rows = page.query([self.after, PAGE])?;
        while let Some(row) = rows.next()? {
            self.page.push_back(read_entry(row)?);
            self.after = row.get(0)?;
        }
        self.ended = self.page.is_empty();
        Ok(())
    }
}

impl Iterator for Entries<'_> {
    type Item = Result<Entry, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.page.is_empty()
            && !self.ended
            && let Err(error) = self.turn()
        {
            self.ended = true;
            self.page.clear();
            return Some(Err(error));
        }
        self.page.pop_front().map(Ok)
    }
}

/// The snapshots of an index.
pub(crate) fn read_wallets(index: &Connection) -> Result<(Vec<WalletSnapshot>, i64), ReadError> {
    let mut all = index.prepare("SELECT account, as_of, state FROM wallet")?;
    let mut rows = all.query([])?;
    let mut wallets = Vec::new();
    while let Some(row) = rows.next()? {
        let account: i64 = row.get(0)?;
        let damaged = || ReadError::Damaged { what: "wallet of account", id: account };
        wallets.push(WalletSnapshot {
            account: AccountId(read_id(account).ok_or_else(damaged)?),
            as_of: seq(row.get(1)?)?,
            state: row.get(2)?,
        });
    }
    Ok((wallets, number(index, "snapshot_seq")?))
}

fn read_checkpoints(ledger: &Connection) -> Result<Vec<Checkpoint>, ReadError> {
    let mut all = ledger.prepare("SELECT call, account, at, body FROM checkpoint ORDER BY call")?;
    let mut rows = all.query([])?;
    let mut checkpoints = Vec::new();
    while let Some(row) = rows.next()? {
        let call: i64 = row.get(0)?;
        let damaged = || ReadError::Damaged { what: "checkpoint", id: call };
        checkpoints.push(Checkpoint {
            call: CallId(read_id(call).ok_or_else(damaged)?),
            account: AccountId(read_id(row.get(1)?).ok_or_else(damaged)?),
            at: Timestamp::from_micros(row.get(2)?),
            body: row.get(3)?,
        });
    }
    Ok(checkpoints)
}

fn seq(stored: i64) -> Result<Seq, ReadError> {
    read_id(stored).map(Seq).ok_or(ReadError::Damaged { what: "entry", id: stored })
}

const PAGE: i64 = 1_024;
