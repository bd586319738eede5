//! What can go wrong: one enum per operation.

use std::path::PathBuf;

use weir_core::id::{AccountId, Seq};

/// A store that cannot be opened, backed up to, or restored from.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process holds the folder.
    #[error("{} is in use by process {pid}", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
        /// Who holds it, as it wrote into the lock file; `unknown` if it has not yet.
        pid: String,
    },
    /// The file was written by a newer version.
    #[error("{} has schema {found}, this binary knows up to {known}: start the newer binary", path.display())]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its schema.
        found: u32,
        /// The newest schema that is understood.
        known: u32,
    },
    /// The file belongs to another program, or is another of our files.
    #[error("{} is not a {expected} of weir", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What was expected there.
        expected: &'static str,
    },
    /// There is something already where a new file was to be made.
    #[error("{} exists already", path.display())]
    Exists {
        /// What exists.
        path: PathBuf,
    },
    /// The content contradicts itself.
    #[error("{} is damaged: {what}", path.display())]
    Damaged {
        /// The database.
        path: PathBuf,
        /// The first contradiction found.
        what: String,
    },
    /// The file system refused.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was tried: a verb.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The database refused.
    #[error("cannot {doing} {}", path.display())]
    Sqlite {
        /// What was tried: a verb.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: rusqlite::Error,
    },
    /// A thread could not be started.
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
}

/// A batch that was not committed. Nothing of it is stored, except after [`CommitError::Fenced`],
/// where a restart will tell.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CommitError {
    /// Too much waits already; the same batch may pass a moment later.
    #[error("too many commits are waiting")]
    Busy,
    /// The disk is full; only settlements are tried until there is space again.
    #[error("the disk of the store is full")]
    Full,
    /// The disk failed: nothing is acknowledged any more until the process restarts.
    #[error("the store is fenced after a failed write")]
    Fenced,
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// Another program holds a write lock on the database.
    #[error("the database is locked by another program")]
    Locked,
    /// An [`Op::Once`](crate::op::Op::Once) that was done before.
    #[error("{source_name} {id} was taken before")]
    AlreadyDone {
        /// Where the fact came from.
        source_name: String,
        /// Its id there.
        id: String,
    },
    /// An idempotency key that is in use.
    #[error("the idempotency key is in use")]
    AlreadyClaimed {
        /// Whose key.
        account: AccountId,
        /// The key.
        key: String,
    },
    /// A resource is not at the revision that the change expects.
    #[error("{kind} {id} is at revision {found:?}")]
    Conflict {
        /// The kind of resource.
        kind: &'static str,
        /// Its number.
        id: u64,
        /// The revision it is at; `None` if it does not exist.
        found: Option<u64>,
    },
    /// Something of that id is stored already.
    #[error("something of that id is stored already")]
    Duplicate,
    /// An entry that does not follow the entries before it.
    #[error("entry {} does not follow {}", seq.0, last.0)]
    OutOfOrder {
        /// The entry's position.
        seq: Seq,
        /// The last position given out.
        last: Seq,
    },
    /// An earlier entry of the account was not stored, so that this one would leave a hole.
    #[error("an earlier entry of {account} was not stored; it is being read anew")]
    Unsound {
        /// Whose.
        account: AccountId,
    },
    /// More bytes than one batch may have.
    #[error("{bytes} bytes in one batch, {max} are the most")]
    TooLarge {
        /// How many there are.
        bytes: usize,
        /// How many there may be.
        max: usize,
    },
    /// An id of 2^63 or more, which cannot be kept in order.
    #[error("id {0} is above 2^63 - 1")]
    IdTooLarge(u64),
    /// A field that cannot be written down.
    #[error("a record cannot be written down: {0}")]
    Unwritable(&'static str),
}

/// Something that could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The database refused.
    #[error("the store cannot be read")]
    Sqlite(#[from] rusqlite::Error),
    /// What is stored does not make sense.
    #[error("{what} {id} is damaged")]
    Damaged {
        /// The kind of record.
        what: &'static str,
        /// Its number.
        id: i64,
    },
}

impl OpenError {
    pub(crate) fn io(
        doing: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io { doing, path, source }
    }

    pub(crate) fn sqlite(
        doing: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(rusqlite::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Sqlite { doing, path, source }
    }
}

/// How a failure of the database is to be met.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Failure {
    /// No space: give back the ballast and try again.
    Full,
    /// Another program holds the lock: nothing was written.
    Locked,
    /// The statement alone is refused: its batch fails, others go on.
    Refused,
    /// The disk or the database is not to be trusted any more.
    Fatal,
}

impl Failure {
    /// Sorts an error of the database.
    ///
    /// `SQLITE_IOERR_SHMSIZE` is a full disk: the shared-memory file could not grow, which says
    /// nothing about what was written to the log.
    pub(crate) fn of(error: &rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        let rusqlite::Error::SqliteFailure(code, _) = error else {
            return Self::Fatal;
        };
        match code.code {
            ErrorCode::DiskFull => Self::Full,
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Self::Locked,
            ErrorCode::ConstraintViolation | ErrorCode::TooBig => Self::Refused,
            _ if code.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE => Self::Full,
            _ => Self::Fatal,
        }
    }
}
