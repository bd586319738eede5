//! Intervals that are kept no longer are removed part by part.

use rusqlite::Connection;
use weir_core::time::Timestamp;

use super::rollup::Grain;

/// Removes a part of the intervals that began before then, the oldest first; whether more are left.
///
/// An interval goes as a whole, so that totals are the sums of their rows at any time.
pub(super) fn forget_rollups(
    conn: &Connection,
    grain: Grain,
    before: Timestamp,
) -> rusqlite::Result<bool> {
    let grain = grain.stored();
    let intervals: Vec<[i64; 2]> = conn
        .prepare_cached(INTERVALS)?
        .query_map([grain, before.micros(), INTERVALS_MAX], |row| Ok([row.get(0)?, row.get(1)?]))?
        .collect::<rusqlite::Result<_>>()?;
    let mut rows = 0;
    for [start, account] in intervals {
        if rows >= ROWS_MAX {
            return Ok(true);
        }
        for sql in REMOVE {
            rows += conn.prepare_cached(sql)?.execute([account, grain, start])?;
        }
    }
    Ok(false)
}

/// The totals have a row for each interval that has any.
const INTERVALS: &str = "\
    SELECT start, account FROM total WHERE grain = ?1 AND start < ?2
    ORDER BY start, account LIMIT ?3";
const REMOVE: [&str; 3] = [
    "DELETE FROM rollup WHERE account = ?1 AND grain = ?2 AND start = ?3",
    "DELETE FROM packed WHERE account = ?1 AND grain = ?2 AND start = ?3",
    "DELETE FROM total WHERE account = ?1 AND grain = ?2 AND start = ?3",
];
/// What one part takes at most, and what the rest of its last interval has above that, so that what
/// waits to be written does not wait long.
const ROWS_MAX: usize = 4_000;
/// Each has its total at least, so that the rows are through before these are.
const INTERVALS_MAX: i64 = ROWS_MAX as i64 + 1;

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use weir_core::id::{AccountId, KeyId};

    use super::*;
    use crate::schema::USAGE;
    use crate::usage::rollup::{Counters, RollupKey, write_rollups};

    const KINDS: u64 = 5;
    /// Of an interval: its rows and its total.
    const ROWS: i64 = KINDS as i64 + 1;

    fn rows(grain: Grain, starts: std::ops::Range<i64>) -> HashMap<RollupKey, Counters> {
        let row = |start: i64, kind: u64| {
            let key = RollupKey {
                account: AccountId(start.unsigned_abs() % 3 + 1),
                grain,
                start: Timestamp::from_secs(start * 60),
                key: Some(KeyId(kind)),
                route: "a".into(),
                class: "ai".into(),
                model: "m".into(),
                status: 200,
            };
            (key, Counters { requests: 1, ..Counters::default() })
        };
        starts.flat_map(|start| (1..=KINDS).map(move |kind| row(start, kind))).collect()
    }

    fn count(conn: &Connection, sql: &str) -> i64 {
        conn.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn many_intervals_are_removed_in_parts_and_each_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let conn = USAGE.open(&dir.path().join("usage.db")).unwrap();
        write_rollups(&conn, &rows(Grain::Minute, 0..2_000)).unwrap();
        write_rollups(&conn, &rows(Grain::Hour, 0..10)).unwrap();
        let all = |conn: &Connection| {
            count(conn, "SELECT (SELECT count(*) FROM rollup) + (SELECT count(*) FROM total)")
        };
        let before = Timestamp::from_secs(1_990 * 60);
        let mut had = all(&conn);
        let mut parts = 1;
        while forget_rollups(&conn, Grain::Minute, before).unwrap() {
            let has = all(&conn);
            let bound = i64::try_from(ROWS_MAX).unwrap();
            assert!((bound..bound + ROWS).contains(&(had - has)), "part {parts}: {had} to {has}");
            let apart = "SELECT (SELECT sum(requests) FROM total) - (SELECT count(*) FROM rollup)";
            assert_eq!(count(&conn, apart), 0, "part {parts}");
            had = has;
            parts += 1;
        }
        assert_eq!(parts, 3);
        assert_eq!(all(&conn), (10 + 10) * ROWS);
        let minute = Grain::Minute.stored();
        let oldest = format!("SELECT min(start) FROM total WHERE grain = {minute}");
        assert_eq!(count(&conn, &oldest), before.micros());
    }

    #[test]
    fn what_is_old_is_found_by_its_index() {
        let dir = tempfile::tempdir().unwrap();
        let conn = USAGE.open(&dir.path().join("usage.db")).unwrap();
        let plan: String = conn
            .query_row(&format!("EXPLAIN QUERY PLAN {INTERVALS}"), [1, 2, 3], |row| row.get(3))
            .unwrap();
        assert!(plan.contains("total_by_time (grain=? AND start<?)"), "{plan}");
    }
}
