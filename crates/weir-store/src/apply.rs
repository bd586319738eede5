//! Operations as statements.

use rusqlite::{Connection, OptionalExtension, params};

use weir_core::time::Timestamp;

use crate::commit::Committed;
use crate::error::CommitError;
use crate::op::{
    Delete, Delivery, Event, Expected, Idempotency, IdempotencyKey, Op, Prepared, Put, Sweep,
};
use crate::record::{EntryRow, stored_id};

/// Why an operation was not applied.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Its own doing: its batch fails, others do not.
    Batch(CommitError),
    /// The database's.
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for Refusal {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<CommitError> for Refusal {
    fn from(error: CommitError) -> Self {
        Self::Batch(error)
    }
}

/// Bytes kept under idempotency keys.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Kept(pub(crate) i64);

/// Applies one operation inside the open transaction.
pub(crate) fn apply(
    conn: &Connection,
    op: &Prepared,
    kept: &mut Kept,
    committed: &mut Committed,
) -> Result<(), Refusal> {
    match op {
        Prepared::Append(row) => append(conn, row),
        Prepared::Other(op) => apply_other(conn, op, kept, committed),
    }
}

fn apply_other(
    conn: &Connection,
    op: &Op,
    kept: &mut Kept,
    committed: &mut Committed,
) -> Result<(), Refusal> {
    match op {
        Op::Append(entry) => append(conn, &EntryRow::of(entry.clone())?),
        Op::Put(change) => {
            committed.revisions.push(put(conn, change)?);
            Ok(())
        }
        Op::Delete(removal) => delete(conn, removal),
        Op::Event(event) => tell(conn, event),
        Op::Deliver(delivery) => deliver(conn, delivery),
        Op::Checkpoint(point) => {
            conn.prepare_cached("INSERT OR REPLACE INTO checkpoint VALUES (?1, ?2, ?3, ?4)")?
                .execute(params![
                    stored_id(point.call.0)?,
                    stored_id(point.account.0)?,
                    point.at.micros(),
                    point.body
                ])?;
            Ok(())
        }
        Op::DropCheckpoint(call) => {
            conn.prepare_cached("DELETE FROM checkpoint WHERE call = ?1")?
                .execute([stored_id(call.0)?])?;
            Ok(())
        }
        Op::Once(once) => {
            let taken = conn
                .prepare_cached("INSERT INTO once VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING")?
                .execute(params![once.source, once.id, once.at.micros()])?;
            if taken == 0 {
                let (source_name, id) = (once.source.to_string(), once.id.to_string());
                return Err(CommitError::AlreadyDone { source_name, id }.into());
            }
            Ok(())
        }
        Op::Claim(row) => keep(conn, row, kept, Replace::Expired),
        Op::Answer(row) => keep(conn, row, kept, Replace::Always),
        Op::Release(key) => release(conn, key, kept),
        Op::Sweep(sweep) => sweep_up(conn, *sweep, kept),
    }
}

/// Removes the oldest answers until no more than `bytes_max` are kept. Keys in progress stay:
/// they are as many as there are calls.
pub(crate) fn evict(conn: &Connection, kept: &mut Kept, bytes_max: i64) -> rusqlite::Result<()> {
    while kept.0 > bytes_max {
        let mut oldest = conn.prepare_cached(
            "SELECT id, bytes FROM idempotency WHERE status IS NOT NULL ORDER BY id LIMIT 64",
        )?;
        let oldest: Vec<(i64, i64)> = oldest
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<_>>()?;
        if oldest.is_empty() {
            break;
        }
        let mut remove = conn.prepare_cached("DELETE FROM idempotency WHERE id = ?1")?;
        for (id, bytes) in oldest {
            if kept.0 <= bytes_max {
                break;
            }
            remove.execute([id])?;
            kept.0 -= bytes;
        }
    }
    Ok(())
}

fn append(conn: &Connection, row: &EntryRow) -> Result<(), Refusal> {
    conn.prepare_cached(
        "INSERT INTO entry VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    )?
    .execute(params![
        row.seq,
        row.account,
        row.at,
        row.kind,
        row.amount,
        row.balance,
        row.policy,
        row.reference,
        row.note,
        row.terms,
        row.draws,
        row.call,
    ])?;
    Ok(())
}

fn put(conn: &Connection, put: &Put) -> Result<u64, Refusal> {
    let id = stored_id(put.id)?;
    let account = put.account.map(|account| stored_id(account.0)).transpose()?;
    let at = put.at.micros();
    let revision: Option<i64> = match put.expected {
        Expected::Any => conn
            .prepare_cached(
                "INSERT INTO resource VALUES (?1, ?2, ?3, 1, ?4, ?4, ?5) \
                 ON CONFLICT (kind, id) DO UPDATE SET account = excluded.account, \
                 revision = revision + 1, updated_at = excluded.updated_at, \
                 body = excluded.body RETURNING revision",
            )?
            .query_row(params![put.kind, id, account, at, put.body], |row| row.get(0))
            .optional()?,
        Expected::Absent => conn
            .prepare_cached(
                "INSERT INTO resource VALUES (?1, ?2, ?3, 1, ?4, ?4, ?5) \
                 ON CONFLICT DO NOTHING RETURNING revision",
            )?
            .query_row(params![put.kind, id, account, at, put.body], |row| row.get(0))
            .optional()?,
        Expected::Revision(revision) => conn
            .prepare_cached(
                "UPDATE resource SET account = ?3, revision = revision + 1, updated_at = ?4, \
                 body = ?5 WHERE kind = ?1 AND id = ?2 AND revision = ?6 RETURNING revision",
            )?
            .query_row(params![put.kind, id, account, at, put.body, stored_id(revision)?], |row| {
                row.get(0)
            })
            .optional()?,
    };
    match revision {
        Some(revision) => Ok(revision.unsigned_abs()),
        None => Err(conflict(conn, put.kind, put.id)?),
    }
}

fn delete(conn: &Connection, delete: &Delete) -> Result<(), Refusal> {
    let expected = delete.expected.map(stored_id).transpose()?;
    let removed = conn
        .prepare_cached(
            "DELETE FROM resource WHERE kind = ?1 AND id = ?2 AND (?3 IS NULL OR revision = ?3)",
        )?
        .execute(params![delete.kind, stored_id(delete.id)?, expected])?;
    if removed == 0 && expected.is_some() {
        return Err(conflict(conn, delete.kind, delete.id)?);
    }
    Ok(())
}

fn conflict(conn: &Connection, kind: &'static str, id: u64) -> Result<Refusal, Refusal> {
    let found: Option<i64> = conn
        .prepare_cached("SELECT revision FROM resource WHERE kind = ?1 AND id = ?2")?
        .query_row(params![kind, stored_id(id)?], |row| row.get(0))
        .optional()?;
    Ok(CommitError::Conflict { kind, id, found: found.map(i64::unsigned_abs) }.into())
}

fn tell(conn: &Connection, event: &Event) -> Result<(), Refusal> {
    let account = event.account.map(|account| stored_id(account.0)).transpose()?;
    conn.prepare_cached("INSERT INTO event VALUES (?1, ?2, ?3, ?4, ?5)")?.execute(params![
        stored_id(event.id.0)?,
        event.at.micros(),
        account,
        event.kind,
        event.body
    ])?;
    Ok(())
}

fn deliver(conn: &Connection, delivery: &Delivery) -> Result<(), Refusal> {
    conn.prepare_cached(
        "INSERT OR REPLACE INTO delivery VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?
    .execute(params![
        stored_id(delivery.webhook.0)?,
        stored_id(delivery.event.0)?,
        delivery.state.name(),
        delivery.attempts,
        delivery.next_at.micros(),
        delivery.last_status,
        delivery.last_error,
        delivery.last_at.map(Timestamp::micros),
        delivery.last_ms
    ])?;
    Ok(())
}

/// Which record of the same idempotency key gives way.
#[derive(Clone, Copy, PartialEq)]
enum Replace {
    Expired,
    Always,
}

fn keep(
    conn: &Connection,
    row: &Idempotency,
    kept: &mut Kept,
    replace: Replace,
) -> Result<(), Refusal> {
    let account = stored_id(row.key.account.0)?;
    let before: Option<(i64, i64)> = conn
        .prepare_cached(
            "SELECT bytes, expires_at FROM idempotency WHERE account = ?1 AND key = ?2",
        )?
        .query_row(params![account, row.key.key], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    if let Some((_, expires_at)) = before
        && replace == Replace::Expired
        && expires_at > row.created_at.micros()
    {
        let (account, key) = (row.key.account, row.key.key.to_string());
        return Err(CommitError::AlreadyClaimed { account, key }.into());
    }
    let bytes = i64::try_from(row.bytes()).unwrap_or(i64::MAX);
    conn.prepare_cached(
        "INSERT INTO idempotency(account, key, fingerprint, status, bytes, created_at, \
         expires_at, headers, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) \
         ON CONFLICT (account, key) DO UPDATE SET fingerprint = excluded.fingerprint, \
         status = excluded.status, bytes = excluded.bytes, created_at = excluded.created_at, \
         expires_at = excluded.expires_at, headers = excluded.headers, body = excluded.body",
    )?
    .execute(params![
        account,
        row.key.key,
        row.fingerprint,
        row.answer.as_ref().map(|answer| answer.status),
        bytes,
        row.created_at.micros(),
        row.expires_at.micros(),
        row.answer.as_ref().map_or("", |answer| answer.headers.as_str()),
        row.answer.as_ref().and_then(|answer| answer.body.as_deref()),
    ])?;
    kept.0 += bytes - before.map_or(0, |(bytes, _)| bytes);
    Ok(())
}

fn release(conn: &Connection, key: &IdempotencyKey, kept: &mut Kept) -> Result<(), Refusal> {
    let bytes: Option<i64> = conn
        .prepare_cached("DELETE FROM idempotency WHERE account = ?1 AND key = ?2 RETURNING bytes")?
        .query_row(params![stored_id(key.account.0)?, key.key], |row| row.get(0))
        .optional()?;
    kept.0 -= bytes.unwrap_or(0);
    Ok(())
}

fn sweep_up(conn: &Connection, sweep: Sweep, kept: &mut Kept) -> Result<(), Refusal> {
    let mut expired = conn.prepare_cached(
        "DELETE FROM idempotency WHERE expires_at <= ?1 AND id IN \
         (SELECT id FROM idempotency ORDER BY id LIMIT 1000) RETURNING bytes",
    )?;
    for bytes in expired.query_map([sweep.now.micros()], |row| row.get::<_, i64>(0))? {
        kept.0 -= bytes?;
    }
    let mut old = conn.prepare_cached(
        "DELETE FROM event WHERE id IN (SELECT id FROM event WHERE id < ?1 AND NOT EXISTS \
         (SELECT 1 FROM delivery d WHERE d.event = event.id AND d.state = 'pending') \
         ORDER BY id LIMIT 1000) RETURNING id",
    )?;
    let old: Vec<i64> = old
        .query_map([stored_id(sweep.events_before.0)?], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let mut deliveries = conn.prepare_cached("DELETE FROM delivery WHERE event = ?1")?;
    for event in old {
        deliveries.execute([event])?;
    }
    let (kind, before) = sweep.resources_before;
    conn.prepare_cached(
        "DELETE FROM resource WHERE kind = ?1 AND id IN \
         (SELECT id FROM resource WHERE kind = ?1 AND id < ?2 ORDER BY id LIMIT 1000)",
    )?
    .execute(params![kind, stored_id(before)?])?;
    Ok(())
}
