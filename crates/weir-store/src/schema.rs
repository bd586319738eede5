//! The tables, how they came to be, and how a connection to them is opened.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::error::OpenError;

/// One of the databases of a store.
#[derive(Debug)]
pub(crate) struct Schema {
    /// What it is called in an error.
    pub(crate) name: &'static str,
    /// The mark in the file's header.
    pub(crate) application_id: i32,
    /// Script `n` leads from schema `n` to schema `n + 1`. A script that was ever released is
    /// never changed; a new one is added behind it.
    pub(crate) migrations: &'static [&'static str],
    /// What every connection that writes sets.
    pub(crate) pragmas: &'static str,
}

/// The truth.
pub(crate) const LEDGER: Schema = Schema {
    name: "ledger",
    application_id: 0x5745_4952,
    migrations: &[include_str!("schema/ledger_1.sql"), include_str!("schema/ledger_2.sql")],
    pragmas: "PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0; \
              PRAGMA cache_size = -16384; PRAGMA temp_store = MEMORY;",
};

/// Limit windows and roll-ups.
pub(crate) const USAGE: Schema = Schema {
    name: "usage database",
    application_id: 0x5745_4955,
    migrations: &[
        include_str!("schema/usage_1.sql"),
        include_str!("schema/usage_2.sql"),
        include_str!("schema/usage_3.sql"),
    ],
    pragmas: "PRAGMA synchronous = NORMAL; PRAGMA cache_size = -16384; \
              PRAGMA temp_store = MEMORY;",
};

/// What can be computed again from the ledger.
pub(crate) const INDEX: Schema = Schema {
    name: "index",
    application_id: 0x5745_4949,
    migrations: &[include_str!("schema/index_1.sql")],
    pragmas: "PRAGMA synchronous = NORMAL; PRAGMA cache_size = -32768; \
              PRAGMA temp_store = MEMORY;",
};

impl Schema {
    /// Opens the database for writing, creates it or leads it forward as need be.
    pub(crate) fn open(&self, path: &Path) -> Result<Connection, OpenError> {
        self.open_at(path, self.latest())
    }

    /// As [`Schema::open`], but leads it no further than to that schema.
    pub(crate) fn open_at(&self, path: &Path, version: u32) -> Result<Connection, OpenError> {
        let mut conn = Connection::open_with_flags(
            path,
            OpenFlags::SQLITE_OPEN_READ_WRITE
                | OpenFlags::SQLITE_OPEN_CREATE
                | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )
        .map_err(OpenError::sqlite("open", path))?;
        self.check(&conn, path)?;
        let set_up = |conn: &Connection| -> rusqlite::Result<()> {
            conn.busy_timeout(BUSY_TIMEOUT)?;
            conn.set_prepared_statement_cache_capacity(64);
            conn.pragma_update(None, "journal_mode", "WAL")?;
            conn.execute_batch(self.pragmas)
        };
        set_up(&conn).map_err(OpenError::sqlite("open", path))?;
        self.migrate(&mut conn, version).map_err(OpenError::sqlite("migrate", path))?;
        Ok(conn)
    }

    /// Opens an existing database of this or an older schema for reading only.
    pub(crate) fn open_read_only(&self, path: &Path) -> Result<Connection, OpenError> {
        let conn = Connection::open_with_flags(
            path,
            OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )
        .map_err(OpenError::sqlite("open", path))?;
        conn.busy_timeout(BUSY_TIMEOUT).map_err(OpenError::sqlite("open", path))?;
        conn.set_prepared_statement_cache_capacity(64);
        if self.check(&conn, path)? == 0 {
            return Err(OpenError::Foreign { path: path.to_owned(), expected: self.name });
        }
        Ok(conn)
    }

    /// The newest schema that this binary understands.
    pub(crate) fn latest(&self) -> u32 {
        u32::try_from(self.migrations.len()).unwrap_or(u32::MAX)
    }

    /// Refuses what is not ours or is newer than we are; gives the schema that the file has.
    fn check(&self, conn: &Connection, path: &Path) -> Result<u32, OpenError> {
        let read = |conn: &Connection| -> rusqlite::Result<(u32, i32, i64)> {
            Ok((
                conn.pragma_query_value(None, "user_version", |row| row.get(0))?,
                conn.pragma_query_value(None, "application_id", |row| row.get(0))?,
                conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?,
            ))
        };
        let (version, application_id, objects) = match read(conn) {
            Ok(found) => found,
            Err(rusqlite::Error::SqliteFailure(code, _))
                if code.code == rusqlite::ErrorCode::NotADatabase =>
            {
                return Err(OpenError::Foreign { path: path.to_owned(), expected: self.name });
            }
            Err(error) => return Err(OpenError::sqlite("read", path)(error)),
        };
        let empty = version == 0 && application_id == 0 && objects == 0;
        if !empty && application_id != self.application_id {
            return Err(OpenError::Foreign { path: path.to_owned(), expected: self.name });
        }
        if version > self.latest() {
            return Err(OpenError::Newer {
                path: path.to_owned(),
                found: version,
                known: self.latest(),
            });
        }
        Ok(version)
    }

    /// Runs the scripts that the file has not seen, each with its number in one transaction.
    fn migrate(&self, conn: &mut Connection, to: u32) -> rusqlite::Result<()> {
        let from: u32 = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
        for (version, script) in (1..=to).zip(self.migrations).skip(from as usize) {
            let tx = conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            tx.execute_batch(script)?;
            tx.pragma_update(None, "application_id", self.application_id)?;
            tx.pragma_update(None, "user_version", version)?;
            tx.commit()?;
        }
        Ok(())
    }
}

/// Only a checkpoint that truncates the log, or a stranger, ever makes a writer wait.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: Schema = Schema {
        name: "test",
        application_id: 7,
        migrations: &["CREATE TABLE t(a INTEGER) STRICT;"],
        pragmas: "",
    };
    const NEW: Schema = Schema {
        name: "test",
        application_id: 7,
        migrations: &[
            "CREATE TABLE t(a INTEGER) STRICT;",
            "ALTER TABLE t ADD COLUMN b TEXT NOT NULL DEFAULT 'old';",
            "CREATE INDEX t_by_b ON t(b);",
        ],
        pragmas: "",
    };

    #[test]
    fn an_older_schema_is_led_forward_with_its_rows() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.db");
        OLD.open(&path).unwrap().execute("INSERT INTO t VALUES (5)", []).unwrap();
        for _ in 0..2 {
            let conn = NEW.open(&path).unwrap();
            let row: (i64, String) = conn
                .query_row("SELECT a, b FROM t", [], |row| Ok((row.get(0)?, row.get(1)?)))
                .unwrap();
            assert_eq!(row, (5, "old".into()));
            let version: u32 =
                conn.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
            assert_eq!(version, 3);
        }
    }

    #[test]
    fn usage_of_the_first_schema_is_summed_by_interval() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("usage.db");
        let old = USAGE.open_at(&path, 1).unwrap();
        for (account, start, route, requests) in [(1, 0, "a", 2), (1, 0, "b", 3), (1, 60, "a", 4)] {
            let latency = vec![requests.to_string(); 20].join(", ");
            let values = format!("{account}, 1, {start}, 4, '{route}', 'ai', '', 200");
            let sums = format!("{requests}, 0, 0, 5, 6, 7, {latency}");
            old.execute(&format!("INSERT INTO rollup VALUES ({values}, {sums})"), []).unwrap();
        }
        drop(old);
        let conn = USAGE.open(&path).unwrap();
        let mut rows = conn
            .prepare(
                "SELECT start, requests, output_tokens, response_bytes, charged, l19 FROM total",
            )
            .unwrap();
        let rows = rows.query_map([], |row| {
            <[i64; 6]>::try_from(
                (0..6).map(|column| row.get(column)).collect::<rusqlite::Result<Vec<i64>>>()?,
            )
            .map_err(|_| rusqlite::Error::InvalidQuery)
        });
        let rows: Vec<[i64; 6]> = rows.unwrap().map(Result::unwrap).collect();
        assert_eq!(rows, [[0, 5, 12, 0, 14, 5], [60, 4, 6, 0, 7, 4]]);
        let kinds: i64 = conn
            .query_row("SELECT sum(cached_input_tokens + request_bytes) FROM rollup", [], |row| {
                row.get(0)
            })
            .unwrap();
        assert_eq!(kinds, 0);
    }

    #[test]
    fn a_migration_that_fails_leaves_the_older_schema() {
        const BROKEN: Schema = Schema {
            migrations: &["CREATE TABLE t(a INTEGER) STRICT;", "CREATE TABLE u(a); nonsense;"],
            ..OLD
        };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.db");
        OLD.open(&path).unwrap();
        assert!(matches!(BROKEN.open(&path), Err(OpenError::Sqlite { doing: "migrate", .. })));
        let conn = OLD.open(&path).unwrap();
        let tables: i64 =
            conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).unwrap();
        assert_eq!(tables, 1);
    }

    #[test]
    fn a_newer_schema_and_foreign_files_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.db");
        NEW.open(&path).unwrap();
        assert!(matches!(OLD.open(&path), Err(OpenError::Newer { found: 3, known: 1, .. })));
        assert!(matches!(LEDGER.open(&path), Err(OpenError::Foreign { .. })));
        let text = dir.path().join("text");
        std::fs::write(
            &text,
            "this is no database, but long enough to be taken for one".repeat(20),
        )
        .unwrap();
        assert!(matches!(OLD.open(&text), Err(OpenError::Foreign { .. })));
        let other = dir.path().join("other.db");
        Connection::open(&other).unwrap().execute_batch("CREATE TABLE x(y)").unwrap();
        assert!(matches!(OLD.open(&other), Err(OpenError::Foreign { .. })));
        assert!(matches!(OLD.open_read_only(&other), Err(OpenError::Foreign { .. })));
    }
}
