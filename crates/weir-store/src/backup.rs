//! The whole store in one file, and back.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rusqlite::types::ToSqlOutput;

use crate::error::OpenError;
use crate::folder::{Files, Folder, remove_database, sync_folder};
use crate::schema::{LEDGER, Schema, USAGE};

/// A backup is the ledger with the tables of the usage database beside its own. The index is
/// not in it: a restored store computes its own.
const BACKUP: Schema = Schema {
    name: "backup",
    application_id: 0x5745_4942,
    migrations: LEDGER.migrations,
    pragmas: "",
};

/// Writes a backup of the store in `files` to a new file.
pub(crate) fn backup(files: &Files, to: &Path) -> Result<(), OpenError> {
    if to.exists() {
        return Err(OpenError::Exists { path: to.to_owned() });
    }
    let unfinished = beside(to);
    create_private(&unfinished)?;
    let made = make(files, &unfinished).and_then(|()| publish(&unfinished, to));
    if made.is_err() {
        remove_database(&unfinished)?;
    }
    made
}

/// Writes a backup of the store in `files` beside it, and gives the open file without its name.
pub(crate) fn unnamed(files: &Files) -> Result<File, OpenError> {
    let path = files.folder().join("backup.tmp");
    // What a process that was killed left there.
    remove_database(&path)?;
    remove_database(&beside(&path))?;
    backup(files, &path)?;
    let file = File::open(&path).map_err(OpenError::io("open", &path))?;
    remove_database(&path)?;
    Ok(file)
}

/// Makes a store in `folder` from a backup.
///
/// # Errors
///
/// [`OpenError`]: the folder has a store already or is in use, or the file is no backup, newer
/// than this binary, or damaged. Nothing is changed then.
pub fn restore(file: &Path, folder: &Path) -> Result<(), OpenError> {
    let folder = Folder::take(folder)?;
    let files = folder.files();
    for path in [files.ledger(), files.usage(), files.index()] {
        if path.exists() {
            return Err(OpenError::Exists { path });
        }
    }
    drop(BACKUP.open_read_only(file)?);
    let unfinished = beside(&files.ledger());
    remove_database(&unfinished)?;
    let made = std::fs::copy(file, &unfinished)
        .map_err(OpenError::io("copy", file))
        .and_then(|_| take_apart(&unfinished, files))
        // The ledger comes last: a folder without one is no store.
        .and_then(|()| publish(&unfinished, &files.ledger()));
    if made.is_err() {
        remove_database(&unfinished)?;
        remove_database(&files.usage())?;
    }
    made
}

fn make(files: &Files, to: &Path) -> Result<(), OpenError> {
    // The view of usage is taken first, so that it knows no charge that the ledger does not.
    let usage_path = files.usage();
    let usage = USAGE.open(&usage_path)?;
    let failed = |doing| OpenError::sqlite(doing, to);
    usage
        .execute_batch("BEGIN; SELECT 1 FROM meta;")
        .map_err(OpenError::sqlite("read", &usage_path))?;
    LEDGER
        .open_read_only(&files.ledger())?
        .execute("VACUUM INTO ?1", [text(to)])
        .map_err(failed("write"))?;
    let copy = |target: &Connection| -> rusqlite::Result<()> {
        target.execute_batch("PRAGMA synchronous = OFF; PRAGMA journal_mode = MEMORY;")?;
        target.pragma_update(None, "application_id", BACKUP.application_id)?;
        target
            .execute("INSERT OR REPLACE INTO meta VALUES ('usage_schema', ?1)", [USAGE.latest()])?;
        let tx = target.unchecked_transaction()?;
        for table in tables(&usage)? {
            copy_table(&usage, &tx, &table)?;
        }
        tx.commit()
    };
    let target = Connection::open(to).map_err(failed("open"))?;
    copy(&target).map_err(failed("write"))
}

/// Splits a copied backup into a ledger, which the copy becomes, and a usage database.
fn take_apart(copy: &Path, files: &Files) -> Result<(), OpenError> {
    let failed = |doing| OpenError::sqlite(doing, copy);
    let target = Connection::open(copy).map_err(failed("open"))?;
    let sound: String = target
        .query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))
        .map_err(failed("check"))?;
    if sound != "ok" {
        return Err(OpenError::Damaged { path: copy.to_owned(), what: sound });
    }
    let version: u32 = target
        .query_row("SELECT value FROM meta WHERE name = 'usage_schema'", [], |row| row.get(0))
        .map_err(failed("read"))?;
    let usage_path = files.usage();
    if version > USAGE.latest() {
        let (found, known) = (version, USAGE.latest());
        return Err(OpenError::Newer { path: copy.to_owned(), found, known });
    }
    // Usage is laid out as it was when the backup was made; opening the store leads it forward.
    let usage = USAGE.open_at(&usage_path, version)?;
    let split = || -> rusqlite::Result<()> {
        for table in tables(&usage)? {
            usage.execute_batch(&format!("DELETE FROM {table}"))?;
        }
        let (attached, path) = ("backup", text(copy));
        usage.execute(&format!("ATTACH ?1 AS {attached}"), [path])?;
        let tx = usage.unchecked_transaction()?;
        for table in tables(&usage)? {
            tx.execute_batch(&format!(
                "INSERT INTO main.{table} SELECT * FROM {attached}.usage_{table}; \
                 DROP TABLE {attached}.usage_{table};"
            ))?;
        }
        tx.commit()?;
        usage.execute_batch(&format!("DETACH {attached}"))?;
        usage.query_row("PRAGMA main.wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        target.execute("DELETE FROM meta WHERE name = 'usage_schema'", [])?;
        target.pragma_update(None, "application_id", LEDGER.application_id)
    };
    split().map_err(failed("split"))
}

fn copy_table(from: &Connection, to: &Connection, table: &str) -> rusqlite::Result<()> {
    let mut all = from.prepare(&format!("SELECT * FROM {table}"))?;
    let names: Vec<&str> = all.column_names().collect();
    let columns = names.join(", ");
    let marks = vec!["?"; all.column_count()].join(", ");
    to.execute_batch(&format!("CREATE TABLE usage_{table}({columns})"))?;
    let mut insert = to.prepare(&format!("INSERT INTO usage_{table} VALUES ({marks})"))?;
    let count = all.column_count();
    let mut rows = all.query([])?;
    while let Some(row) = rows.next()? {
        for column in 0..count {
            insert.raw_bind_parameter(column + 1, ToSqlOutput::Borrowed(row.get_ref(column)?))?;
        }
        insert.raw_execute()?;
    }
    Ok(())
}

fn tables(conn: &Connection) -> rusqlite::Result<Vec<String>> {
    conn.prepare(
        "SELECT name FROM main.sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'",
    )?
    .query_map([], |row| row.get(0))?
    .collect()
}

/// Gives a finished file its name, durably.
fn publish(unfinished: &Path, to: &Path) -> Result<(), OpenError> {
    File::open(unfinished)
        .and_then(|file| file.sync_all())
        .map_err(OpenError::io("sync", unfinished))?;
    std::fs::rename(unfinished, to).map_err(OpenError::io("rename", unfinished))?;
    match to.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_folder(parent),
        _ => sync_folder(Path::new(".")),
    }
}

/// A new file that only its owner may read: keys' digests and balances are in it.
fn create_private(path: &Path) -> Result<(), OpenError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop).map_err(OpenError::io("create", path))
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".unfinished");
    name.into()
}

fn text(path: &Path) -> std::borrow::Cow<'_, str> {
    path.to_string_lossy()
}
