//! The connections of the readers.

use std::ops::Deref;

use parking_lot::{Condvar, Mutex};
use rusqlite::Connection;

use crate::error::{OpenError, ReadError};
use crate::folder::Files;
use crate::schema::LEDGER;

/// Connections that only read, opened as they are needed.
#[derive(Debug)]
pub(super) struct Pool {
    files: Files,
    state: Mutex<Idle>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct Idle {
    connections: Vec<Connection>,
    open: usize,
}

/// A connection that goes back to its pool.
pub(super) struct Lent<'a> {
    pool: &'a Pool,
    connection: Option<Connection>,
}

impl Pool {
    pub(super) fn new(files: Files) -> Self {
        Self { files, state: Mutex::default(), freed: Condvar::new() }
    }

    /// A connection, as soon as there is one.
    pub(super) fn take(&self) -> Result<Lent<'_>, ReadError> {
        let mut state = self.state.lock();
        loop {
            if let Some(connection) = state.connections.pop() {
                return Ok(Lent { pool: self, connection: Some(connection) });
            }
            if state.open < CONNECTIONS_MAX {
                state.open += 1;
                break;
            }
            self.freed.wait(&mut state);
        }
        drop(state);
        // Lent before it is opened, so that a failure gives the place back.
        let mut lent = Lent { pool: self, connection: None };
        lent.connection = Some(self.open()?);
        Ok(lent)
    }

    fn open(&self) -> Result<Connection, ReadError> {
        let path = self.files.ledger();
        let connection = LEDGER.open_read_only(&path).map_err(|error| match error {
            OpenError::Sqlite { source, .. } => ReadError::Sqlite(source),
            _ => ReadError::Sqlite(rusqlite::Error::InvalidPath(path)),
        })?;
        for (file, name) in [(self.files.index(), "idx"), (self.files.usage(), "usage")] {
            let file = file.to_string_lossy();
            connection.execute(&format!("ATTACH ?1 AS {name}"), [&file])?;
        }
        Ok(connection)
    }
}

impl Deref for Lent<'_> {
    type Target = Connection;

    #[expect(clippy::expect_used, reason = "set before it is handed out, taken only by drop")]
    fn deref(&self) -> &Connection {
        self.connection.as_ref().expect("a lent connection is there until it is given back")
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let mut state = self.pool.state.lock();
        match self.connection.take() {
            // A transaction that an error left open must not hold its view for the next.
            Some(connection) if connection.is_autocommit() => state.connections.push(connection),
            _ => state.open -= 1,
        }
        self.pool.freed.notify_one();
    }
}

const CONNECTIONS_MAX: usize = 4;
