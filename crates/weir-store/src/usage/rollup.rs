//! Sums of usage by time, key, route, class, model and status.

use std::collections::{BTreeMap, HashMap};

use rusqlite::types::Value;
use rusqlite::{Connection, Row, params, params_from_iter};
use weir_core::id::{AccountId, KeyId};
use weir_core::money::Nano;
use weir_core::time::Timestamp;

use crate::error::ReadError;
use crate::record::read_id;

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

/// A roll-up of an account as it is read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rollup<'a> {
    /// The interval's beginning.
    pub start: Timestamp,
    /// The key; `None` if it is not told apart.
    pub key: Option<KeyId>,
    /// The route.
    pub route: &'a str,
    /// The operation class.
    pub class: &'a str,
    /// The model, empty if none.
    pub model: &'a str,
    /// The status.
    pub status: u16,
}

/// One kind of calls of an interval, and its sums.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Kind {
    pub(super) key: Option<KeyId>,
    pub(super) route: Box<str>,
    pub(super) class: Box<str>,
    pub(super) model: Box<str>,
    pub(super) status: u16,
    pub(super) counters: Counters,
}

/// What is to be told apart. More may be.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Apart {
    /// Keys.
    pub key: bool,
    /// Routes.
    pub route: bool,
    /// Operation classes.
    pub class: bool,
    /// Models.
    pub model: bool,
    /// Statuses.
    pub status: bool,
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
    /// Prompt tokens of every kind.
    pub input_tokens: i64,
    /// Of these, read from the upstream's cache.
    pub cached_input_tokens: i64,
    /// Of these, written into the upstream's cache.
    pub cache_write_tokens: i64,
    /// Of these, audio.
    pub audio_input_tokens: i64,
    /// Generated tokens of every kind.
    pub output_tokens: i64,
    /// Of these, tokens that the caller does not see.
    pub reasoning_tokens: i64,
    /// Of these, audio.
    pub audio_output_tokens: i64,
    /// Bytes of the bodies of calls.
    pub request_bytes: i64,
    /// Bytes of the bodies of answers.
    pub response_bytes: i64,
    /// What was charged.
    pub charged: Nano,
    /// Calls by latency; the bounds of the buckets are the engine's.
    pub latency: [i64; LATENCY_BUCKETS],
}

/// How many buckets of latency a roll-up has.
pub const LATENCY_BUCKETS: usize = 20;

impl Grain {
    pub(super) fn stored(self) -> i64 {
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
        let mut sums = self.columns();
        for (sum, more) in sums.iter_mut().zip(other.columns()) {
            *sum = sum.saturating_add(more);
        }
        *self = Self::of(sums);
    }

    /// In the order of [`SUMS`].
    pub(super) fn columns(&self) -> [i64; COLUMNS] {
        let mut columns = [0; COLUMNS];
        let (sums, latency) = columns.split_at_mut(SUMS.len());
        sums.copy_from_slice(&[
            self.requests,
            self.errors,
            self.limited,
            self.input_tokens,
            self.cached_input_tokens,
            self.cache_write_tokens,
            self.audio_input_tokens,
            self.output_tokens,
            self.reasoning_tokens,
            self.audio_output_tokens,
            self.request_bytes,
            self.response_bytes,
            self.charged.get(),
        ]);
        latency.copy_from_slice(&self.latency);
        columns
    }

    pub(super) fn of(columns: [i64; COLUMNS]) -> Self {
        let [
            requests,
            errors,
            limited,
            input_tokens,
            cached_input_tokens,
            cache_write_tokens,
            audio_input_tokens,
            output_tokens,
            reasoning_tokens,
            audio_output_tokens,
            request_bytes,
            response_bytes,
            charged,
            latency @ ..,
        ] = columns;
        Self {
            requests,
            errors,
            limited,
            input_tokens,
            cached_input_tokens,
            cache_write_tokens,
            audio_input_tokens,
            output_tokens,
            reasoning_tokens,
            audio_output_tokens,
            request_bytes,
            response_bytes,
            charged: Nano::new(charged),
            latency,
        }
    }

    /// From the columns of a row, from this one on.
    fn read(row: &Row<'_>, first: usize) -> rusqlite::Result<Self> {
        let mut columns = [0; COLUMNS];
        for (index, column) in columns.iter_mut().enumerate() {
            *column = row.get(first + index)?;
        }
        Ok(Self::of(columns))
    }
}

/// The kinds of calls of an interval that are not packed, so many at most.
pub(super) fn read_kinds(
    conn: &Connection,
    interval: [i64; 3],
    count_max: usize,
) -> rusqlite::Result<Vec<Kind>> {
    let mut statement = conn.prepare_cached(&select(ROLLUP, "start = ?3"))?;
    let rows = statement.query_map(interval, |row| {
        Ok(Kind {
            key: read_key(row.get(3)?).flatten(),
            route: row.get(4)?,
            class: row.get(5)?,
            model: row.get(6)?,
            status: row.get(7)?,
            counters: Counters::read(row, ROLLUP.keys.len())?,
        })
    })?;
    rows.take(count_max).collect()
}

/// The roll-ups of one account from one time up to another that are not packed.
pub(super) fn read_rows(
    conn: &Connection,
    range: &RollupRange,
    mut visit: impl FnMut(Rollup<'_>, Counters),
) -> Result<(), ReadError> {
    let mut statement = conn.prepare_cached(&select(ROLLUP, RANGE))?;
    let mut rows = statement.query(range.parameters())?;
    while let Some(row) = rows.next()? {
        visit(read_rollup(row, range)?, Counters::read(row, ROLLUP.keys.len())?);
    }
    Ok(())
}

/// What all calls of one account come to from one time up to another, by time.
pub(crate) fn read_totals(
    conn: &Connection,
    range: &RollupRange,
    mut visit: impl FnMut(Timestamp, Counters),
) -> Result<(), ReadError> {
    let mut statement = conn.prepare_cached(&select(TOTAL, RANGE))?;
    let mut rows = statement.query(range.parameters())?;
    while let Some(row) = rows.next()? {
        let start = Timestamp::from_micros(row.get(START)?);
        visit(start, Counters::read(row, TOTAL.keys.len())?);
    }
    Ok(())
}

/// Every account that has roll-ups after this one, in order: also one that is closed.
pub(crate) fn read_rollup_accounts(
    conn: &Connection,
    after: AccountId,
) -> Result<Vec<AccountId>, ReadError> {
    let mut statement = conn.prepare_cached(ACCOUNTS)?;
    let mut rows = statement.query(params![bounded(after.0)])?;
    let mut accounts = Vec::new();
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        accounts.push(AccountId(id.unsigned_abs()));
    }
    Ok(accounts)
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

impl RollupRange {
    pub(super) fn parameters(&self) -> [i64; 4] {
        [bounded(self.account.0), self.grain.stored(), self.from.micros(), self.to.micros()]
    }
}

/// Adds to what is there.
pub(super) fn write_rollups(
    conn: &Connection,
    rollups: &HashMap<RollupKey, Counters>,
) -> rusqlite::Result<()> {
    let mut add = conn.prepare_cached(&upsert(ROLLUP))?;
    let mut totals: BTreeMap<[i64; 3], Counters> = BTreeMap::new();
    let mut sorted: Vec<_> = rollups.iter().collect();
    sorted.sort_unstable_by_key(|(key, _)| *key);
    for (key, counters) in sorted {
        let interval = [bounded(key.account.0), key.grain.stored(), key.start.micros()];
        totals.entry(interval).or_default().add(counters);
        let names = [&key.route, &key.class, &key.model];
        let values = interval
            .into_iter()
            .chain([key.key.map_or(0, |key| bounded(key.0))])
            .map(Value::from)
            .chain(names.into_iter().map(|name| name.to_string().into()))
            .chain([i64::from(key.status).into()])
            .chain(counters.columns().map(Into::into));
        add.execute(params_from_iter(values))?;
    }
    let mut add = conn.prepare_cached(&upsert(TOTAL))?;
    for (interval, counters) in totals {
        add.execute(params_from_iter(interval.into_iter().chain(counters.columns())))?;
    }
    Ok(())
}

/// The names of the sums, in the order of [`Counters::columns`].
fn sums() -> impl Iterator<Item = String> {
    let latency = (0..LATENCY_BUCKETS).map(|bucket| format!("l{bucket}"));
    SUMS.iter().map(|name| (*name).to_owned()).chain(latency)
}

/// Every column of a table: what is told apart, then the sums.
fn columns(table: Table) -> String {
    let keys = table.keys.iter().map(|name| (*name).to_owned());
    keys.chain(sums()).collect::<Vec<_>>().join(", ")
}

/// The rows of an account and grain of which that holds.
fn select(table: Table, which: &str) -> String {
    let (columns, name) = (columns(table), table.name);
    format!("SELECT {columns} FROM {name} WHERE account = ?1 AND grain = ?2 AND {which}")
}

/// Sums saturate, so that one absurd count does not stop the writing of all others: SQLite
/// leaves 64-bit integers for floats where they overflow, which a STRICT table refuses.
fn upsert(table: Table) -> String {
    let values: Vec<String> =
        (1..=table.keys.len() + COLUMNS).map(|index| format!("?{index}")).collect();
    let sums: Vec<String> = sums()
        .map(|name| {
            format!(
                "{name} = CASE typeof({name} + excluded.{name}) WHEN 'integer' \
                 THEN {name} + excluded.{name} ELSE {name} END"
            )
        })
        .collect();
    format!(
        "INSERT INTO {}({}) VALUES ({}) ON CONFLICT DO UPDATE SET {}",
        table.name,
        columns(table),
        values.join(", "),
        sums.join(", ")
    )
}

fn read_rollup<'a>(row: &'a Row<'_>, range: &RollupRange) -> Result<Rollup<'a>, ReadError> {
    let text = |index: usize| -> rusqlite::Result<&'a str> { Ok(row.get_ref(index)?.as_str()?) };
    let damaged =
        || ReadError::Damaged { what: "roll-up of account", id: bounded(range.account.0) };
    Ok(Rollup {
        start: Timestamp::from_micros(row.get(START)?),
        key: read_key(row.get(3)?).ok_or_else(damaged)?,
        route: text(4)?,
        class: text(5)?,
        model: text(6)?,
        status: row.get(7)?,
    })
}

/// Ids that are too large for the store never got past the ledger; here they only must not wrap.
pub(super) fn bounded(id: u64) -> i64 {
    i64::try_from(id).unwrap_or(i64::MAX)
}

/// A key as it is stored, where 0 is none; `None` if it is damaged.
pub(super) fn read_key(id: i64) -> Option<Option<KeyId>> {
    match id {
        0 => Some(None),
        id => read_id(id).map(|id| Some(KeyId(id))),
    }
}

/// A table of sums.
#[derive(Clone, Copy)]
struct Table {
    name: &'static str,
    /// What its rows are told apart by.
    keys: &'static [&'static str],
}

const ROLLUP: Table = Table {
    name: "rollup",
    keys: &["account", "grain", "start", "key", "route", "class", "model", "status"],
};
const TOTAL: Table = Table { name: "total", keys: &["account", "grain", "start"] };
/// Where `start` stands in both.
const START: usize = 2;
const RANGE: &str = "start >= ?3 AND start < ?4 ORDER BY start";
const SUMS: [&str; 13] = [
    "requests",
    "errors",
    "limited",
    "input_tokens",
    "cached_input_tokens",
    "cache_write_tokens",
    "audio_input_tokens",
    "output_tokens",
    "reasoning_tokens",
    "audio_output_tokens",
    "request_bytes",
    "response_bytes",
    "charged",
];
pub(super) const COLUMNS: usize = SUMS.len() + LATENCY_BUCKETS;
/// Whose they are is told by the totals, of which there are few.
/// One step through the index for each account, however many rows it has.
const ACCOUNTS: &str = "\
    WITH RECURSIVE each(account) AS (
        SELECT min(account) FROM total WHERE account > ?1
        UNION ALL
        SELECT (SELECT min(account) FROM total WHERE account > each.account) FROM each
        WHERE each.account IS NOT NULL)
    SELECT account FROM each WHERE account IS NOT NULL";
