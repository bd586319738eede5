//! Sums of usage by time, key, route, class, model and status.

use std::collections::HashMap;

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

/// Adds to what is there.
pub(super) fn write_rollups(
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

/// One step through the index for each account, however many rows it has.
const ACCOUNTS: &str = "\
    WITH RECURSIVE each(account) AS (
        SELECT min(account) FROM rollup WHERE account > ?1
        UNION ALL
        SELECT (SELECT min(account) FROM rollup WHERE account > each.account) FROM each
        WHERE each.account IS NOT NULL)
    SELECT account FROM each WHERE account IS NOT NULL";
const ROLLUPS: &str = "SELECT * FROM rollup WHERE account = ?1 AND grain = ?2 \
     AND start >= ?3 AND start < ?4 ORDER BY start";
const KEY_COLUMNS: usize = 8;
const COUNTERS: [&str; 6] =
    ["requests", "errors", "limited", "input_tokens", "output_tokens", "charged"];
