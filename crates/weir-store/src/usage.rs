//! What may be a second old after a crash: limit windows and roll-ups of usage.

mod rollup;

mod kinds;

mod pack;

mod forget;

use std::collections::{HashMap, VecDeque};
use std::path::Path;

use parking_lot::Mutex;
use rusqlite::{Connection, Row, params};
use weir_core::id::{AccountId, KeyId, Seq};
use weir_core::time::Timestamp;

use crate::error::{OpenError, ReadError};
use crate::index::{number, set_number};
use crate::record::read_id;
use crate::schema::USAGE;

use self::forget::forget_rollups;
use self::pack::pack;
pub(crate) use self::pack::read_rollups;
pub use self::rollup::{Apart, Counters, Grain, LATENCY_BUCKETS, Rollup, RollupKey, RollupRange};
use self::rollup::{bounded, read_key, write_rollups};
pub(crate) use self::rollup::{read_rollup_accounts, read_totals};

/// Which limit of whom.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct WindowKey {
    /// The account.
    pub account: AccountId,
    /// The key whose own limit it is; `None` for the account's. Key 0 does not exist.
    pub key: Option<KeyId>,
    /// The limit's stable name.
    pub name: Box<str>,
}

/// The counted state of one limit; what the numbers mean is the rule's business.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct WindowState {
    /// First number.
    pub a: i64,
    /// Second number.
    pub b: i64,
    /// Third number.
    pub c: i64,
    /// From when on the state says nothing any more.
    pub ends_at: Timestamp,
}

/// What was handed in and is not yet written.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    state: Mutex<Changes>,
    /// Until when intervals are over.
    ended_by: Mutex<Option<Timestamp>>,
}

#[derive(Debug, Default)]
struct Changes {
    windows: HashMap<WindowKey, Option<WindowState>>,
    /// In the order in which they were handed in.
    usage: VecDeque<Usage>,
    /// Whether usage stays here for now.
    held: bool,
    /// At most one of a kind.
    forget: Vec<Forget>,
}

/// Sums, and how far they know the ledger.
#[derive(Debug)]
struct Usage {
    rollups: HashMap<RollupKey, Counters>,
    applied: i64,
}

/// What need not be kept any longer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Forget {
    /// Windows that ended by then.
    Windows(Timestamp),
    /// Roll-ups of that grain that began before then.
    Rollups(Grain, Timestamp),
}

/// The database of usage.
#[derive(Debug)]
pub(crate) struct UsageDb {
    conn: Connection,
}

impl Pending {
    pub(crate) fn windows(
        &self,
        windows: impl IntoIterator<Item = (WindowKey, Option<WindowState>)>,
    ) {
        self.state.lock().windows.extend(windows);
    }

    pub(crate) fn usage(
        &self,
        rollups: impl IntoIterator<Item = (RollupKey, Counters)>,
        applied: Seq,
    ) {
        let mut usage = Usage { rollups: HashMap::new(), applied: bounded(applied.0) };
        usage.add(rollups);
        let mut state = self.state.lock();
        // While nothing can be written, what waits is added up, however long that takes.
        if state.usage.len() >= WAITING_MAX
            && let Some(last) = state.usage.back_mut()
        {
            last.fold(usage);
        } else {
            state.usage.push_back(usage);
        }
    }

    pub(crate) fn forget(&self, what: Forget) {
        forget(&mut self.state.lock().forget, what);
    }

    pub(crate) fn ended(&self, by: Timestamp) {
        *self.ended_by.lock() = Some(by);
    }

    pub(crate) fn hold(&self) {
        self.state.lock().held = true;
    }

    pub(crate) fn resume(
        &self,
        rollups: impl IntoIterator<Item = (RollupKey, Counters)>,
        applied: Seq,
    ) {
        self.usage(rollups, applied);
        let mut state = self.state.lock();
        state.held = false;
        let mut all = std::mem::take(&mut state.usage).into_iter();
        if let Some(mut first) = all.next() {
            all.for_each(|later| first.fold(later));
            state.usage.push_back(first);
        }
    }

    /// What may be written when the ledger is durable up to there.
    fn take(&self, up_to: i64) -> Changes {
        let mut state = self.state.lock();
        let mut taken = Changes {
            windows: std::mem::take(&mut state.windows),
            usage: VecDeque::new(),
            held: state.held,
            forget: std::mem::take(&mut state.forget),
        };
        while !taken.held
            && let Some(usage) = state.usage.pop_front_if(|usage| usage.applied <= up_to)
        {
            taken.usage.push_back(usage);
        }
        taken
    }

    /// What could not be written goes under what came since.
    fn put_back(&self, earlier: Changes) {
        let mut state = self.state.lock();
        for (key, window) in earlier.windows {
            state.windows.entry(key).or_insert(window);
        }
        for usage in earlier.usage.into_iter().rev() {
            state.usage.push_front(usage);
        }
        while state.usage.len() > WAITING_MAX {
            let Some(last) = state.usage.pop_back() else { break };
            match state.usage.back_mut() {
                Some(before) => before.fold(last),
                None => state.usage.push_back(last),
            }
        }
        earlier.forget.into_iter().for_each(|what| forget(&mut state.forget, what));
    }
}

impl Usage {
    fn add(&mut self, rollups: impl IntoIterator<Item = (RollupKey, Counters)>) {
        for (key, counters) in rollups {
            self.rollups.entry(key).or_default().add(&counters);
        }
    }

    fn fold(&mut self, later: Self) {
        self.add(later.rollups);
        self.applied = self.applied.max(later.applied);
    }
}

impl UsageDb {
    pub(crate) fn open(path: &Path) -> Result<Self, OpenError> {
        Ok(Self { conn: USAGE.open(path)? })
    }

    /// Writes what was handed in, in one transaction; on failure it stays handed in. Of what need
    /// not be kept only a part is removed; whether more is left. Usage waits
    /// until the ledger has `decided` about all charges in it, or it would count what a crash
    /// can still take away; what was refused is not waited for. It is noted to know the ledger no
    /// further than that is `durable`.
    pub(crate) fn flush(
        &mut self,
        pending: &Pending,
        decided: i64,
        durable: i64,
    ) -> rusqlite::Result<bool> {
        let changes = pending.take(decided);
        if changes.is_empty() {
            return Ok(false);
        }
        match self.write(&changes, durable) {
            Ok(left) => {
                let more = !left.is_empty();
                left.into_iter().for_each(|what| pending.forget(what));
                Ok(more)
            }
            Err(error) => {
                pending.put_back(changes);
                Err(error)
            }
        }
    }

    /// What is still to be forgotten.
    fn write(&mut self, changes: &Changes, durable: i64) -> rusqlite::Result<Vec<Forget>> {
        let tx = self.conn.transaction()?;
        write_windows(&tx, &changes.windows)?;
        for usage in &changes.usage {
            write_rollups(&tx, &usage.rollups)?;
            let before = number(&tx, "applied_seq")?;
            set_number(&tx, "applied_seq", before.max(usage.applied.min(durable)))?;
        }
        let mut left = Vec::new();
        for what in &changes.forget {
            match *what {
                Forget::Windows(now) => {
                    tx.prepare_cached("DELETE FROM window WHERE ends_at <= ?1")?
                        .execute([now.micros()])?;
                }
                Forget::Rollups(grain, before) => {
                    if forget_rollups(&tx, grain, before)? {
                        left.push(*what);
                    }
                }
            }
        }
        tx.commit()?;
        Ok(left)
    }

    /// Packs a part of the intervals that are over.
    pub(crate) fn pack(&mut self, pending: &Pending) -> rusqlite::Result<()> {
        let ended_by = *pending.ended_by.lock();
        ended_by.map_or(Ok(()), |ended_by| pack(&mut self.conn, ended_by))
    }

    pub(crate) fn applied(&self) -> rusqlite::Result<i64> {
        number(&self.conn, "applied_seq")
    }

    pub(crate) fn set_applied(&self, seq: i64) -> rusqlite::Result<()> {
        set_number(&self.conn, "applied_seq", seq)
    }

    pub(crate) fn windows(&self) -> Result<Vec<(WindowKey, WindowState)>, ReadError> {
        let mut all =
            self.conn.prepare("SELECT account, key, name, a, b, c, ends_at FROM window")?;
        let mut rows = all.query([])?;
        let mut windows = Vec::new();
        while let Some(row) = rows.next()? {
            windows.push(read_window(row)?);
        }
        Ok(windows)
    }
}

impl Changes {
    fn is_empty(&self) -> bool {
        self.windows.is_empty() && self.usage.is_empty() && self.forget.is_empty()
    }
}

/// Adds to what is to be forgotten; of the same kind only the latest time counts.
fn forget(all: &mut Vec<Forget>, what: Forget) {
    for known in all.iter_mut() {
        match (known, what) {
            (Forget::Windows(known), Forget::Windows(by)) => {
                *known = by.max(*known);
                return;
            }
            (Forget::Rollups(grain, known), Forget::Rollups(other, by)) if *grain == other => {
                *known = by.max(*known);
                return;
            }
            _ => {}
        }
    }
    all.push(what);
}

fn write_windows(
    conn: &Connection,
    windows: &HashMap<WindowKey, Option<WindowState>>,
) -> rusqlite::Result<()> {
    let mut write =
        conn.prepare_cached("INSERT OR REPLACE INTO window VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
    let mut remove =
        conn.prepare_cached("DELETE FROM window WHERE account = ?1 AND key = ?2 AND name = ?3")?;
    for (key, state) in windows {
        let account = bounded(key.account.0);
        let id = key.key.map_or(0, |key| bounded(key.0));
        match state {
            Some(state) => write.execute(params![
                account,
                id,
                key.name,
                state.a,
                state.b,
                state.c,
                state.ends_at.micros()
            ])?,
            None => remove.execute(params![account, id, key.name])?,
        };
    }
    Ok(())
}

fn read_window(row: &Row<'_>) -> Result<(WindowKey, WindowState), ReadError> {
    let (account, key): (i64, i64) = (row.get(0)?, row.get(1)?);
    let damaged = |id| move || ReadError::Damaged { what: "window of account", id };
    let key = WindowKey {
        account: AccountId(read_id(account).ok_or_else(damaged(account))?),
        key: read_key(key).ok_or_else(damaged(account))?,
        name: row.get(2)?,
    };
    let state = WindowState {
        a: row.get(3)?,
        b: row.get(4)?,
        c: row.get(5)?,
        ends_at: Timestamp::from_micros(row.get(6)?),
    };
    Ok((key, state))
}

const WAITING_MAX: usize = 4;
