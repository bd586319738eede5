//! What may be a second old after a crash: limit windows and roll-ups of usage.

use std::collections::HashMap;
use std::path::Path;

use parking_lot::Mutex;
use rusqlite::{Connection, Row, params, params_from_iter};
use weir_core::id::{AccountId, KeyId, Seq};
use weir_core::money::Nano;
use weir_core::time::Timestamp;

use crate::error::{OpenError, ReadError};
use crate::index::{number, set_number};
use crate::record::read_id;
use crate::schema::USAGE;

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

/// The length of the intervals of a roll-up.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Grain {
    /// A minute.
    Minute,
    /// An hour.
    Hour,
    /// A day.
    Day,
}

/// What a roll-up sums over.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RollupKey {
    /// Whose usage; account 0 does not exist and can stand for all.
    pub account: AccountId,
    /// The length of the interval.
    pub grain: Grain,
    /// The interval's beginning.
    pub start: Timestamp,
    /// The key; `None` if it is not told apart.
    pub key: Option<KeyId>,
    /// The route.
    pub route: Box<str>,
    /// The operation class.
    pub class: Box<str>,
    /// The model, empty if none.
    pub model: Box<str>,
    /// The status.
    pub status: u16,
}

/// The sums of a roll-up. They saturate.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Calls.
    pub requests: i64,
    /// Calls that failed.
    pub errors: i64,
    /// Calls that a limit or the wallet refused.
    pub limited: i64,
    /// Prompt tokens.
    pub input_tokens: i64,
    /// Generated tokens.
    pub output_tokens: i64,
    /// What was charged.
    pub charged: Nano,
    /// Calls by latency; the bounds of the buckets are the engine's.
    pub latency: [i64; LATENCY_BUCKETS],
}

/// How many buckets of latency a roll-up has.
pub const LATENCY_BUCKETS: usize = 20;

/// What was handed in and is not yet written.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    state: Mutex<Changes>,
}

#[derive(Debug, Default)]
struct Changes {
    windows: HashMap<WindowKey, Option<WindowState>>,
    rollups: HashMap<RollupKey, Counters>,
    applied: Option<Seq>,
    forget: Vec<Forget>,
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

impl Grain {
    fn stored(self) -> i64 {
        match self {
            Self::Minute => 0,
            Self::Hour => 1,
            Self::Day => 2,
        }
    }
}

impl Counters {
    /// Adds other sums to these.
    pub fn add(&mut self, other: &Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.errors = self.errors.saturating_add(other.errors);
        self.limited = self.limited.saturating_add(other.limited);
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
        self.charged = self.charged.saturating_add(other.charged);
        for (bucket, more) in self.latency.iter_mut().zip(other.latency) {
            *bucket = bucket.saturating_add(more);
        }
    }

    fn columns(&self) -> impl Iterator<Item = i64> + '_ {
        [
            self.requests,
            self.errors,
            self.limited,
            self.input_tokens,
            self.output_tokens,
            self.charged.get(),
        ]
        .into_iter()
        .chain(self.latency)
    }
}

impl Pending {
    pub(crate) fn window(&self, key: WindowKey, state: Option<WindowState>) {
        self.state.lock().windows.insert(key, state);
    }

    pub(crate) fn windows(&self, windows: impl IntoIterator<Item = (WindowKey, WindowState)>) {
        let windows = windows.into_iter().map(|(key, state)| (key, Some(state)));
        self.state.lock().windows.extend(windows);
    }

    pub(crate) fn rollups(
        &self,
        rollups: impl IntoIterator<Item = (RollupKey, Counters)>,
        applied: Seq,
    ) {
        let mut state = self.state.lock();
        for (key, counters) in rollups {
            state.rollups.entry(key).or_default().add(&counters);
        }
        state.applied = state.applied.max(Some(applied));
    }

    pub(crate) fn forget(&self, what: Forget) {
        let mut state = self.state.lock();
        if state.forget.len() < FORGET_MAX {
            state.forget.push(what);
        }
    }

    fn take(&self) -> Changes {
        std::mem::take(&mut self.state.lock())
    }

    /// What could not be written goes under what came since.
    fn put_back(&self, earlier: Changes) {
        let mut state = self.state.lock();
        for (key, window) in earlier.windows {
            state.windows.entry(key).or_insert(window);
        }
        for (key, counters) in earlier.rollups {
            state.rollups.entry(key).or_default().add(&counters);
        }
        state.applied = state.applied.max(earlier.applied);
        state.forget.extend(earlier.forget);
        state.forget.truncate(FORGET_MAX);
    }
}

impl UsageDb {
    pub(crate) fn open(path: &Path) -> Result<Self, OpenError> {
        Ok(Self { conn: USAGE.open(path)? })
    }

    /// Writes what was handed in, in one transaction; on failure it stays handed in.
    pub(crate) fn flush(&mut self, pending: &Pending) -> rusqlite::Result<()> {
        let changes = pending.take();
        if changes.is_empty() {
            return Ok(());
        }
        let written = self.write(&changes);
        if written.is_err() {
            pending.put_back(changes);
        }
        written
    }

    fn write(&mut self, changes: &Changes) -> rusqlite::Result<()> {
        let tx = self.conn.transaction()?;
        write_windows(&tx, &changes.windows)?;
        write_rollups(&tx, &changes.rollups)?;
        if let Some(applied) = changes.applied {
            set_number(&tx, "applied_seq", bounded(applied.0))?;
        }
        for what in &changes.forget {
            match *what {
                Forget::Windows(now) => tx
                    .prepare_cached("DELETE FROM window WHERE ends_at <= ?1")?
                    .execute([now.micros()])?,
                Forget::Rollups(grain, before) => tx
                    .prepare_cached("DELETE FROM rollup WHERE grain = ?1 AND start < ?2")?
                    .execute([grain.stored(), before.micros()])?,
            };
        }
        tx.commit()
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
        self.windows.is_empty()
            && self.rollups.is_empty()
            && self.forget.is_empty()
            && self.applied.is_none()
    }
}

/// The roll-ups of one account from one time up to another, by time; from `prefix` tables.
pub(crate) fn read_rollups(
    conn: &Connection,
    range: &RollupRange,
    mut visit: impl FnMut(RollupKey, Counters),
) -> Result<(), ReadError> {
    let mut statement = conn.prepare_cached(ROLLUPS)?;
    let mut rows = statement.query(params![
        bounded(range.account.0),
        range.grain.stored(),
        range.from.micros(),
        range.to.micros()
    ])?;
    while let Some(row) = rows.next()? {
        let (key, counters) = read_rollup(row, range)?;
        visit(key, counters);
    }
    Ok(())
}

/// Which roll-ups.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RollupRange {
    /// Whose.
    pub account: AccountId,
    /// Of which length.
    pub grain: Grain,
    /// From the interval that begins then.
    pub from: Timestamp,
    /// Up to, but without, the interval that begins then.
    pub to: Timestamp,
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

fn write_rollups(
    conn: &Connection,
    rollups: &HashMap<RollupKey, Counters>,
) -> rusqlite::Result<()> {
    let mut add = conn.prepare_cached(&add_rollup_sql())?;
    let mut sorted: Vec<_> = rollups.iter().collect();
    sorted.sort_unstable_by_key(|(key, _)| *key);
    for (key, counters) in sorted {
        let names = [&key.route, &key.class, &key.model];
        let numbers = [
            bounded(key.account.0),
            key.grain.stored(),
            key.start.micros(),
            key.key.map_or(0, |key| bounded(key.0)),
        ];
        let values = numbers
            .into_iter()
            .map(rusqlite::types::Value::from)
            .chain(names.into_iter().map(|name| name.to_string().into()))
            .chain([i64::from(key.status).into()])
            .chain(counters.columns().map(Into::into));
        add.execute(params_from_iter(values))?;
    }
    Ok(())
}

/// Sums saturate, so that one absurd count does not stop the writing of all others: SQLite
/// leaves 64-bit integers for floats where they overflow, which a STRICT table refuses.
fn add_rollup_sql() -> String {
    let columns = COUNTERS
        .iter()
        .map(|name| (*name).to_owned())
        .chain((0..LATENCY_BUCKETS).map(|bucket| format!("l{bucket}")));
    let mut values = String::from("?1");
    for index in 2..=KEY_COLUMNS + COUNTERS.len() + LATENCY_BUCKETS {
        values.push_str(&format!(", ?{index}"));
    }
    let sums: Vec<String> = columns
        .map(|name| {
            format!(
                "{name} = CASE typeof({name} + excluded.{name}) WHEN 'integer' \
                 THEN {name} + excluded.{name} ELSE {name} END"
            )
        })
        .collect();
    format!("INSERT INTO rollup VALUES ({values}) ON CONFLICT DO UPDATE SET {}", sums.join(", "))
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

fn read_rollup(row: &Row<'_>, range: &RollupRange) -> Result<(RollupKey, Counters), ReadError> {
    let key = RollupKey {
        account: range.account,
        grain: range.grain,
        start: Timestamp::from_micros(row.get("start")?),
        key: read_key(row.get("key")?).ok_or(ReadError::Damaged {
            what: "roll-up of account",
            id: bounded(range.account.0),
        })?,
        route: row.get("route")?,
        class: row.get("class")?,
        model: row.get("model")?,
        status: row.get("status")?,
    };
    let first_bucket = KEY_COLUMNS + COUNTERS.len();
    let mut counters = Counters {
        requests: row.get("requests")?,
        errors: row.get("errors")?,
        limited: row.get("limited")?,
        input_tokens: row.get("input_tokens")?,
        output_tokens: row.get("output_tokens")?,
        charged: Nano::new(row.get("charged")?),
        latency: [0; LATENCY_BUCKETS],
    };
    for (index, bucket) in counters.latency.iter_mut().enumerate() {
        *bucket = row.get(first_bucket + index)?;
    }
    Ok((key, counters))
}

/// Ids that are too large for the store never got past the ledger; here they only must not wrap.
fn bounded(id: u64) -> i64 {
    i64::try_from(id).unwrap_or(i64::MAX)
}

fn read_key(id: i64) -> Option<Option<KeyId>> {
    match id {
        0 => Some(None),
        id => read_id(id).map(|id| Some(KeyId(id))),
    }
}

const ROLLUPS: &str = "SELECT * FROM rollup WHERE account = ?1 AND grain = ?2 \
     AND start >= ?3 AND start < ?4 ORDER BY start";
const KEY_COLUMNS: usize = 8;
const COUNTERS: [&str; 6] =
    ["requests", "errors", "limited", "input_tokens", "output_tokens", "charged"];
const FORGET_MAX: usize = 64;
