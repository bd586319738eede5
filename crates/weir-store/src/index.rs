//! What is computed from the ledger behind its back: entries by account, and wallets as of a
//! position, so that a start need not read everything. Losing it costs time, never truth.

use std::collections::{HashMap, VecDeque};
use std::path::Path;

use parking_lot::Mutex;
use rusqlite::{Connection, params};
use weir_core::id::{AccountId, Seq};

use crate::error::{CommitError, OpenError};
use crate::folder::remove_database;
use crate::record::stored_id;
use crate::schema::INDEX;
use crate::unsound::Unsound;

/// A wallet as of a position of the ledger.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WalletSnapshot {
    /// Whose wallet.
    pub account: AccountId,
    /// The last entry of the account that it knows.
    pub as_of: Seq,
    /// What the engine keeps there, as JSON.
    pub state: String,
}

/// Snapshots that were handed in and are not yet written.
#[derive(Debug, Default)]
pub(crate) struct Snapshots {
    waiting: Mutex<VecDeque<Handed>>,
}

#[derive(Debug, Default)]
struct Handed {
    wallets: HashMap<i64, (i64, String)>,
    /// The highest position that any of this stands on.
    stands_on: i64,
    complete_to: i64,
}

/// The database of what is computed, and a view of what it is computed from.
#[derive(Debug)]
pub(crate) struct Index {
    conn: Connection,
    ledger: Connection,
}

impl Snapshots {
    pub(crate) fn hand_in(
        &self,
        wallets: Vec<WalletSnapshot>,
        complete_to: Seq,
    ) -> Result<(), CommitError> {
        let complete_to = stored_id(complete_to.0)?;
        let mut handed = Handed { wallets: HashMap::new(), stands_on: complete_to, complete_to };
        for wallet in wallets {
            let as_of = stored_id(wallet.as_of.0)?;
            handed.stands_on = handed.stands_on.max(as_of);
            handed.wallets.insert(stored_id(wallet.account.0)?, (as_of, wallet.state));
        }
        let mut waiting = self.waiting.lock();
        // While nothing can be written, what waits is folded together: one snapshot for each
        // wallet, however long that takes.
        if waiting.len() >= WAITING_MAX
            && let Some(last) = waiting.back_mut()
        {
            last.fold(handed);
        } else {
            waiting.push_back(handed);
        }
        Ok(())
    }

    /// The first that stands on nothing but durable entries.
    fn next(&self, durable: i64) -> Option<Handed> {
        self.waiting.lock().pop_front_if(|handed| handed.stands_on <= durable)
    }

    /// Takes back what was handed in of an account from the position on that was not stored.
    /// How far all that waits is complete is then not known any more: later snapshots say.
    pub(crate) fn take_back(&self, account: i64, from: i64) {
        for handed in self.waiting.lock().iter_mut() {
            if handed.wallets.get(&account).is_some_and(|(as_of, _)| *as_of >= from) {
                handed.wallets.remove(&account);
            }
            handed.complete_to = 0;
        }
    }

    fn put_back(&self, handed: Handed) {
        self.waiting.lock().push_front(handed);
    }
}

impl Handed {
    fn fold(&mut self, later: Self) {
        self.wallets.extend(later.wallets);
        self.stands_on = self.stands_on.max(later.stands_on);
        self.complete_to = self.complete_to.max(later.complete_to);
    }
}

impl Index {
    /// Opens the index, or begins a new one where the old one is damaged, of another version,
    /// or does not belong to this ledger.
    pub(crate) fn open(path: &Path, ledger: Connection) -> Result<Self, OpenError> {
        let fits = match INDEX.open(path) {
            Ok(conn) => belongs(&conn, &ledger)
                .map_err(OpenError::sqlite("compare with the ledger", path))?
                .then_some(conn),
            Err(error) => {
                tracing::warn!(%error, "the index cannot be used");
                None
            }
        };
        let conn = match fits {
            Some(conn) => conn,
            None => {
                tracing::warn!("the index is computed again");
                remove_database(path)?;
                INDEX.open(path)?
            }
        };
        let claim = |conn: &Connection| {
            // Only where it is new: a start must not need space.
            conn.execute(
                "UPDATE meta SET value = ?1 WHERE name = 'identity' AND value <> ?1",
                [identity(&ledger)?],
            )
        };
        claim(&conn).map_err(OpenError::sqlite("write", path))?;
        Ok(Self { conn, ledger })
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.conn
    }

    /// Indexes a part of the entries that are not indexed yet; whether there are more.
    pub(crate) fn step(&mut self) -> rusqlite::Result<bool> {
        let indexed = number(&self.conn, "indexed_seq")?;
        let mut rows: Vec<(i64, i64)> = self
            .ledger
            .prepare_cached("SELECT account, seq FROM entry WHERE seq > ?1 ORDER BY seq LIMIT ?2")?
            .query_map([indexed, STEP_ENTRIES], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<_>>()?;
        let Some(last) = rows.last().map(|(_, seq)| *seq) else { return Ok(false) };
        let more = i64::try_from(rows.len()).is_ok_and(|count| count == STEP_ENTRIES);
        rows.sort_unstable();
        let tx = self.conn.transaction()?;
        {
            let mut insert = tx.prepare_cached("INSERT INTO entry_by_account VALUES (?1, ?2)")?;
            for (account, seq) in rows {
                insert.execute([account, seq])?;
            }
            set_number(&tx, "indexed_seq", last)?;
        }
        tx.commit()?;
        Ok(more)
    }

    /// Writes the snapshots that stand on durable entries.
    ///
    /// While an account waits to be read anew nothing is: what was handed in of it may tell of
    /// entries that are not stored.
    pub(crate) fn write(
        &mut self,
        snapshots: &Snapshots,
        durable: i64,
        unsound: &Unsound,
    ) -> rusqlite::Result<()> {
        while !unsound.any()
            && let Some(handed) = snapshots.next(durable)
        {
            if let Err(error) = self.write_one(&handed) {
                snapshots.put_back(handed);
                return Err(error);
            }
        }
        Ok(())
    }

    fn write_one(&mut self, handed: &Handed) -> rusqlite::Result<()> {
        let tx = self.conn.transaction()?;
        {
            let mut write = tx.prepare_cached(
                "INSERT INTO wallet VALUES (?1, ?2, ?3) ON CONFLICT (account) DO UPDATE \
                 SET as_of = excluded.as_of, state = excluded.state \
                 WHERE excluded.as_of >= wallet.as_of",
            )?;
            for (account, (as_of, state)) in &handed.wallets {
                write.execute(params![account, as_of, state])?;
            }
            let before = number(&tx, "snapshot_seq")?;
            set_number(&tx, "snapshot_seq", before.max(handed.complete_to))?;
            let before = number(&tx, "stands_on")?;
            set_number(&tx, "stands_on", before.max(handed.stands_on))?;
        }
        tx.commit()
    }
}

/// A number of the `meta` table; 0 if it is not there.
pub(crate) fn number(conn: &Connection, name: &str) -> rusqlite::Result<i64> {
    use rusqlite::OptionalExtension;
    let value = conn
        .prepare_cached("SELECT value FROM meta WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()?;
    Ok(value.unwrap_or(0))
}

/// Changes a number of the `meta` table.
pub(crate) fn set_number(conn: &Connection, name: &str, value: i64) -> rusqlite::Result<()> {
    conn.prepare_cached("INSERT OR REPLACE INTO meta VALUES (?1, ?2)")?
        .execute(params![name, value])
        .map(drop)
}

/// The last position in a ledger; 0 if it is empty.
pub(crate) fn last_seq(ledger: &Connection) -> rusqlite::Result<i64> {
    ledger.query_row("SELECT coalesce(max(seq), 0) FROM entry", [], |row| row.get(0))
}

fn identity(conn: &Connection) -> rusqlite::Result<String> {
    conn.query_row("SELECT value FROM meta WHERE name = 'identity'", [], |row| row.get(0))
}

/// Whether the index was computed from this ledger, as it is or as it was earlier.
fn belongs(index: &Connection, ledger: &Connection) -> rusqlite::Result<bool> {
    let known = identity(index)?;
    let reaches: i64 = index.query_row(
        "SELECT coalesce(max(value), 0) FROM meta \
         WHERE name IN ('indexed_seq', 'snapshot_seq', 'stands_on')",
        [],
        |row| row.get(0),
    )?;
    Ok((known.is_empty() || known == identity(ledger)?) && reaches <= last_seq(ledger)?)
}

/// Few enough that a step takes less than a second, many enough that the entries of an account
/// share pages: each page that a step touches is written once for it.
const STEP_ENTRIES: i64 = 200_000;
const WAITING_MAX: usize = 4;
