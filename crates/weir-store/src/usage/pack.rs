//! Intervals that are over move from a row for each kind of call into one row each.

use rusqlite::{Connection, params};
use weir_core::time::{Span, Timestamp};

use super::kinds::{KINDS_MAX, packed, show};
use super::rollup::{Apart, Counters, Grain, Rollup, RollupRange, bounded, read_kinds, read_rows};
use crate::error::ReadError;
use crate::index::{number, set_number};

/// The roll-ups of one account from one time up to another; more than one for an interval and
/// kind if calls were counted late. What is packed comes added up where it is not told apart.
pub(crate) fn read_rollups(
    conn: &Connection,
    range: &RollupRange,
    apart: Apart,
    mut visit: impl FnMut(Rollup<'_>, Counters),
) -> Result<(), ReadError> {
    // One view of both tables: what is packed meanwhile is neither missed nor counted twice.
    let view = conn.unchecked_transaction()?;
    read_rows(&view, range, &mut visit)?;
    let mut statement = view.prepare_cached(KINDS)?;
    let mut rows = statement.query(range.parameters())?;
    while let Some(row) = rows.next()? {
        let start = Timestamp::from_micros(row.get(0)?);
        let damaged =
            || ReadError::Damaged { what: "packed usage of account", id: bounded(range.account.0) };
        let kinds = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
        show(kinds, start, apart, &mut visit).ok_or_else(damaged)?;
    }
    Ok(())
}

/// Packs a part of the intervals that had ended by then, from where the part before ended.
///
/// What is counted later for one of them stays a row of its own: readers add both.
pub(super) fn pack(conn: &mut Connection, ended_by: Timestamp) -> rusqlite::Result<()> {
    let tx = conn.transaction()?;
    for series in &SERIES {
        let at = [number(&tx, series.start)?, number(&tx, series.account)?];
        let last = ended_by.minus(series.length).micros();
        let grain = series.grain.stored();
        let intervals: Vec<[i64; 2]> = tx
            .prepare_cached(INTERVALS)?
            .query_map([grain, at[0], at[1], last, INTERVALS_MAX], |row| {
                Ok([row.get(0)?, row.get(1)?])
            })?
            .collect::<rusqlite::Result<_>>()?;
        let mut rows = 0;
        let mut packed_to = None;
        for interval in intervals {
            rows += pack_interval(&tx, grain, interval)?;
            packed_to = Some(interval);
            if rows >= ROWS_MAX {
                break;
            }
        }
        if let Some([start, account]) = packed_to {
            set_number(&tx, series.start, start)?;
            set_number(&tx, series.account, account)?;
        }
    }
    tx.commit()
}

/// Packs an interval of an account where that pays; how many rows it has, or had.
fn pack_interval(
    conn: &Connection,
    grain: i64,
    [start, account]: [i64; 2],
) -> rusqlite::Result<usize> {
    let kinds = read_kinds(conn, [account, grain, start], KINDS_MAX + 1)?;
    if (KINDS_MIN..=KINDS_MAX).contains(&kinds.len()) {
        let value = params![account, grain, start, packed(&kinds)];
        if conn.prepare_cached(ADD)?.execute(value)? > 0 {
            conn.prepare_cached(REMOVE)?.execute([account, grain, start])?;
        }
    }
    Ok(kinds.len())
}

/// Intervals of one length, and the names under which is noted how far they are packed.
struct Series {
    grain: Grain,
    length: Span,
    start: &'static str,
    account: &'static str,
}

/// Minutes are kept too briefly to be worth it.
const SERIES: [Series; 2] = [
    Series {
        grain: Grain::Hour,
        length: Span::from_secs(3_600),
        start: "packed_hour",
        account: "packed_hour_account",
    },
    Series {
        grain: Grain::Day,
        length: Span::from_secs(86_400),
        start: "packed_day",
        account: "packed_day_account",
    },
];
const KINDS: &str = "\
    SELECT start, kinds FROM packed
    WHERE account = ?1 AND grain = ?2 AND start >= ?3 AND start < ?4";
/// The totals have a row for each interval that has any.
const INTERVALS: &str = "\
    SELECT start, account FROM total
    WHERE grain = ?1 AND (start, account) > (?2, ?3) AND start <= ?4
    ORDER BY start, account LIMIT ?5";
/// One that is there already would have been packed by another clock: the rows then stay.
const ADD: &str = "INSERT OR IGNORE INTO packed VALUES (?1, ?2, ?3, ?4)";
const REMOVE: &str = "DELETE FROM rollup WHERE account = ?1 AND grain = ?2 AND start = ?3";
/// Fewer rows are read as fast as they are unpacked.
const KINDS_MIN: usize = 4;
/// What one part takes at most, so that what waits to be written does not wait long.
const INTERVALS_MAX: i64 = 1_000;
const ROWS_MAX: usize = 4_000;

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use weir_core::id::{AccountId, KeyId};

    use super::*;
    use crate::schema::USAGE;
    use crate::usage::rollup::{RollupKey, write_rollups};

    fn row(grain: Grain, start: i64, kind: u64, requests: i64) -> (RollupKey, Counters) {
        let key = RollupKey {
            account: AccountId(3),
            grain,
            start: Timestamp::from_secs(start),
            key: Some(KeyId(kind)),
            route: "a".into(),
            class: "ai".into(),
            model: "m".into(),
            status: 200,
        };
        (key, Counters { requests, ..Counters::default() })
    }

    fn requests(conn: &Connection, grain: Grain) -> BTreeMap<(i64, Option<KeyId>), i64> {
        let (from, to) = (Timestamp::from_secs(0), Timestamp::from_secs(1_000_000_000));
        let range = RollupRange { account: AccountId(3), grain, from, to };
        let mut found = BTreeMap::new();
        let add = |row: Rollup<'_>, counters: Counters| {
            *found.entry((row.start.micros(), row.key)).or_default() += counters.requests;
        };
        read_rollups(conn, &range, Apart { key: true, ..Apart::default() }, add).unwrap();
        found
    }

    fn count(conn: &Connection, table: &str) -> i64 {
        conn.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn an_older_store_answers_the_same_while_it_is_packed_bit_by_bit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("usage.db");
        let old = USAGE.open_at(&path, 2).unwrap();
        let hours = (1..=1_500)
            .flat_map(|hour| (1..=5).map(move |kind| row(Grain::Hour, hour * 3_600, kind, hour)));
        let days = (1..=5).map(|kind| row(Grain::Day, 86_400, kind, 9));
        let minutes = (1..=5).map(|kind| row(Grain::Minute, 60, kind, 2));
        let few = (1..=3).map(|kind| row(Grain::Day, 2 * 86_400, kind, 7));
        let rows: HashMap<_, _> = hours.chain(days).chain(minutes).chain(few).collect();
        write_rollups(&old, &rows).unwrap();
        drop(old);
        let mut conn = USAGE.open(&path).unwrap();
        let grains = [Grain::Minute, Grain::Hour, Grain::Day];
        let before = grains.map(|grain| requests(&conn, grain));
        let ended_by = Timestamp::from_secs(1_500 * 3_600);
        for part in 1..=3 {
            pack(&mut conn, ended_by).unwrap();
            assert_eq!(grains.map(|grain| requests(&conn, grain)), before, "part {part}");
        }
        // What was not over, the minutes and what is too little are rows still.
        assert_eq!((count(&conn, "packed"), count(&conn, "rollup")), (1_499 + 1, 5 + 5 + 3));
        // What comes late is added, and stays a row.
        write_rollups(&conn, &HashMap::from([row(Grain::Hour, 3_600, 1, 6)])).unwrap();
        pack(&mut conn, ended_by).unwrap();
        assert_eq!(requests(&conn, Grain::Hour)[&(3_600_000_000, Some(KeyId(1)))], 7);
        assert_eq!(count(&conn, "rollup"), 5 + 5 + 3 + 1);
    }

    #[test]
    fn the_intervals_to_pack_are_found_by_their_index() {
        let dir = tempfile::tempdir().unwrap();
        let conn = USAGE.open(&dir.path().join("usage.db")).unwrap();
        let plan: String = conn
            .query_row(&format!("EXPLAIN QUERY PLAN {INTERVALS}"), [1, 2, 3, 4, 5], |row| {
                row.get(3)
            })
            .unwrap();
        assert!(plan.contains("total_by_time (grain=? AND (start,account)>"), "{plan}");
    }
}
