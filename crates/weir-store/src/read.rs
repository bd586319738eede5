//! Reading while the store runs, on connections of its own: a reader never waits for a commit,
//! and never sees what is not durable.

mod pool;

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, params};
use weir_core::id::{AccountId, EventId, Seq, WebhookId};
use weir_core::ledger::Entry;
use weir_core::time::Timestamp;

use self::pool::Pool;
use crate::error::ReadError;
use crate::folder::Files;
use crate::index::WalletSnapshot;
use crate::op::{Answer, Delivery, DeliveryState, Event, Idempotency, IdempotencyKey};
use crate::record::{ENTRY_COLUMNS, read_entry, read_id};
use crate::usage::{
    Apart, Counters, Rollup, RollupRange, read_rollup_accounts, read_rollups, read_totals,
};

/// Reads a store. All functions block; a pool of connections is shared by all clones.
#[derive(Clone, Debug)]
pub struct Reader {
    pool: Arc<Pool>,
}

/// A resource as it is stored.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Resource {
    /// The number within its kind.
    pub id: u64,
    /// The account that it belongs to.
    pub account: Option<AccountId>,
    /// How often it was written, from 1.
    pub revision: u64,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// What the engine keeps there, as JSON.
    pub body: String,
}

/// How much is stored.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Totals {
    /// The last position of the ledger.
    pub last_seq: Seq,
    /// The last position that is indexed by account.
    pub indexed_seq: Seq,
    /// Events that are kept.
    pub events: u64,
    /// Deliveries that wait.
    pub deliveries_pending: u64,
    /// Bytes kept under idempotency keys.
    pub idempotency_bytes: u64,
    /// The size of the ledger without its log, in bytes.
    pub ledger_bytes: u64,
}

impl Reader {
    pub(crate) fn new(files: Files) -> Self {
        Self { pool: Arc::new(Pool::new(files)) }
    }

    /// The entries of an account before a position (or the last ones), newest first, at most
    /// `limit`. Every acknowledged entry is seen, indexed or not.
    ///
    /// # Errors
    ///
    /// [`ReadError`] where the database fails or a row is damaged; so with all of these.
    pub fn entries(
        &self,
        account: AccountId,
        before: Option<Seq>,
        limit: usize,
    ) -> Result<Vec<Entry>, ReadError> {
        let lent = self.pool.take()?;
        // The index is read before the ledger: what was acknowledged in between is then in the
        // tail, and nothing is missing between the two.
        let tx = lent.unchecked_transaction()?;
        let account = bound(account.0);
        let before = before.map_or(i64::MAX, |before| bound(before.0));
        let indexed = indexed_seq(&tx)?;
        let mut entries = Vec::new();
        let tail = format!(
            "SELECT {ENTRY_COLUMNS} FROM main.entry e WHERE e.seq > ?1 AND e.seq < ?2 \
             AND e.account = ?3 ORDER BY e.seq DESC LIMIT ?4"
        );
        collect(&tx, &tail, [indexed, before, account, page(limit)], &mut entries)?;
        let left = page(limit.saturating_sub(entries.len()));
        let rest = format!(
            "SELECT {ENTRY_COLUMNS} FROM idx.entry_by_account i CROSS JOIN main.entry e \
             ON e.seq = i.seq WHERE i.account = ?3 AND i.seq <= ?1 AND i.seq < ?2 \
             ORDER BY i.seq DESC LIMIT ?4"
        );
        collect(&tx, &rest, [indexed, before, account, left], &mut entries)?;
        tx.finish()?;
        Ok(entries)
    }

    /// The entries of all accounts after a position, oldest first.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn entries_after(&self, after: Seq, limit: usize) -> Result<Vec<Entry>, ReadError> {
        let lent = self.pool.take()?;
        let sql = format!(
            "SELECT {ENTRY_COLUMNS} FROM main.entry e WHERE e.seq > ?1 ORDER BY e.seq LIMIT ?2"
        );
        let mut entries = Vec::new();
        collect(&lent, &sql, [bound(after.0), page(limit)], &mut entries)?;
        Ok(entries)
    }

    /// One entry.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn entry(&self, seq: Seq) -> Result<Option<Entry>, ReadError> {
        let lent = self.pool.take()?;
        let sql = format!("SELECT {ENTRY_COLUMNS} FROM main.entry e WHERE e.seq = ?1");
        let mut entries = Vec::new();
        collect(&lent, &sql, [bound(seq.0)], &mut entries)?;
        Ok(entries.pop())
    }

    /// The snapshot of an account's wallet, if it has one yet.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn wallet(&self, account: AccountId) -> Result<Option<WalletSnapshot>, ReadError> {
        let lent = self.pool.take()?;
        let found = lent
            .prepare_cached("SELECT as_of, state FROM idx.wallet WHERE account = ?1")?
            .query_row([bound(account.0)], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let Some((as_of, state)) = found else { return Ok(None) };
        let damaged = ReadError::Damaged { what: "wallet of account", id: bound(account.0) };
        let as_of = Seq(read_id(as_of).ok_or(damaged)?);
        Ok(Some(WalletSnapshot { account, as_of, state }))
    }

    /// One resource.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn resource(&self, kind: &str, id: u64) -> Result<Option<Resource>, ReadError> {
        let lent = self.pool.take()?;
        let mut one = lent.prepare_cached(
            "SELECT id, account, revision, created_at, updated_at, body FROM resource \
             WHERE kind = ?1 AND id = ?2",
        )?;
        let mut rows = one.query(params![kind, bound(id)])?;
        rows.next()?.map(read_resource).transpose()
    }

    /// Resources of a kind (of one account, or all) after an id (or from the first), ascending.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn resources(
        &self,
        kind: &str,
        account: Option<AccountId>,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Resource>, ReadError> {
        let lent = self.pool.take()?;
        // Two statements, since one with an "or" could not use the index.
        let sql = match account {
            Some(_) => {
                "SELECT id, account, revision, created_at, updated_at, body FROM resource \
                 WHERE kind = ?1 AND account = ?4 AND id > ?2 ORDER BY id LIMIT ?3"
            }
            None => {
                "SELECT id, account, revision, created_at, updated_at, body FROM resource \
                 WHERE kind = ?1 AND ?4 IS NULL AND id > ?2 ORDER BY id LIMIT ?3"
            }
        };
        let mut some = lent.prepare_cached(sql)?;
        let account = account.map(|account| bound(account.0));
        let after = after.map_or(-1, bound);
        let mut rows = some.query(params![kind, after, page(limit), account])?;
        let mut resources = Vec::new();
        while let Some(row) = rows.next()? {
            resources.push(read_resource(row)?);
        }
        Ok(resources)
    }

    /// Resources of a kind (of one account, or all) before an id (or from the last), descending.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn resources_before(
        &self,
        kind: &str,
        account: Option<AccountId>,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Resource>, ReadError> {
        let lent = self.pool.take()?;
        let sql = match account {
            Some(_) => {
                "SELECT id, account, revision, created_at, updated_at, body FROM resource \
                 WHERE kind = ?1 AND account = ?4 AND id < ?2 ORDER BY id DESC LIMIT ?3"
            }
            None => {
                "SELECT id, account, revision, created_at, updated_at, body FROM resource \
                 WHERE kind = ?1 AND ?4 IS NULL AND id < ?2 ORDER BY id DESC LIMIT ?3"
            }
        };
        let mut some = lent.prepare_cached(sql)?;
        let account = account.map(|account| bound(account.0));
        let before = before.map_or(i64::MAX, bound);
        let mut rows = some.query(params![kind, before, page(limit), account])?;
        let mut resources = Vec::new();
        while let Some(row) = rows.next()? {
            resources.push(read_resource(row)?);
        }
        Ok(resources)
    }

    /// Events (of one account, or all) after an id, ascending.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn events(
        &self,
        account: Option<AccountId>,
        after: EventId,
        limit: usize,
    ) -> Result<Vec<Event>, ReadError> {
        let lent = self.pool.take()?;
        let sql = match account {
            Some(_) => {
                "SELECT id, at, account, type, body FROM event \
                 WHERE account = ?3 AND id > ?1 ORDER BY id LIMIT ?2"
            }
            None => {
                "SELECT id, at, account, type, body FROM event \
                 WHERE ?3 IS NULL AND id > ?1 ORDER BY id LIMIT ?2"
            }
        };
        let mut some = lent.prepare_cached(sql)?;
        let account = account.map(|account| bound(account.0));
        let mut rows = some.query(params![bound(after.0), page(limit), account])?;
        let mut events = Vec::new();
        while let Some(row) = rows.next()? {
            events.push(read_event(row)?);
        }
        Ok(events)
    }

    /// One event.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn event(&self, id: EventId) -> Result<Option<Event>, ReadError> {
        let lent = self.pool.take()?;
        let mut one =
            lent.prepare_cached("SELECT id, at, account, type, body FROM event WHERE id = ?1")?;
        let mut rows = one.query([bound(id.0)])?;
        rows.next()?.map(read_event).transpose()
    }

    /// The webhooks that something waits for, each with the time of its next try.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn webhooks_due(&self) -> Result<Vec<(WebhookId, Timestamp)>, ReadError> {
        let lent = self.pool.take()?;
        let mut all = lent.prepare_cached(
            "SELECT webhook, min(next_at) FROM delivery WHERE state = 'pending' GROUP BY webhook",
        )?;
        let mut rows = all.query([])?;
        let mut due = Vec::new();
        while let Some(row) = rows.next()? {
            let id: i64 = row.get(0)?;
            let webhook = read_id(id).ok_or(ReadError::Damaged { what: "webhook", id })?;
            due.push((WebhookId(webhook), Timestamp::from_micros(row.get(1)?)));
        }
        Ok(due)
    }

    /// What waits for a webhook, the next to be tried first, whether or not its time has come.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn deliveries_pending(
        &self,
        webhook: WebhookId,
        limit: usize,
    ) -> Result<Vec<Delivery>, ReadError> {
        let sql = "SELECT webhook, event, state, attempts, next_at, last_status, last_error, \
                   last_at, last_ms FROM delivery WHERE webhook = ?1 AND state = 'pending' \
                   ORDER BY next_at LIMIT ?2";
        self.deliveries_by(sql, &[bound(webhook.0), page(limit)])
    }

    /// How far the delivery of an event to a webhook is.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn delivery(
        &self,
        webhook: WebhookId,
        event: EventId,
    ) -> Result<Option<Delivery>, ReadError> {
        let sql = "SELECT webhook, event, state, attempts, next_at, last_status, last_error, \
                   last_at, last_ms FROM delivery WHERE webhook = ?1 AND event = ?2";
        Ok(self.deliveries_by(sql, &[bound(webhook.0), bound(event.0)])?.pop())
    }

    /// The deliveries of a webhook of events before one (or the last ones), newest first.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn deliveries(
        &self,
        webhook: WebhookId,
        before: Option<EventId>,
        limit: usize,
    ) -> Result<Vec<Delivery>, ReadError> {
        let sql = "SELECT webhook, event, state, attempts, next_at, last_status, last_error, \
                   last_at, last_ms FROM delivery WHERE webhook = ?1 AND event < ?2 \
                   ORDER BY event DESC LIMIT ?3";
        let before = before.map_or(i64::MAX, |before| bound(before.0));
        self.deliveries_by(sql, &[bound(webhook.0), before, page(limit)])
    }

    /// What is kept under an idempotency key, expired or not.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn idempotency(&self, key: &IdempotencyKey) -> Result<Option<Idempotency>, ReadError> {
        let lent = self.pool.take()?;
        let found = lent
            .prepare_cached(
                "SELECT fingerprint, status, created_at, expires_at, headers, body \
                 FROM idempotency WHERE account = ?1 AND key = ?2",
            )?
            .query_row(params![bound(key.account.0), key.key], |row| {
                let status: Option<u16> = row.get(1)?;
                let (headers, body) = (row.get(4)?, row.get::<_, Option<Vec<u8>>>(5)?);
                Ok(Idempotency {
                    key: key.clone(),
                    fingerprint: row.get::<_, Vec<u8>>(0)?.into(),
                    answer: status.map(|status| Answer {
                        status,
                        headers,
                        body: body.map(Into::into),
                    }),
                    created_at: Timestamp::from_micros(row.get(2)?),
                    expires_at: Timestamp::from_micros(row.get(3)?),
                })
            })
            .optional()?;
        Ok(found)
    }

    /// When a fact from outside was taken.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn once(&self, source: &str, id: &str) -> Result<Option<Timestamp>, ReadError> {
        let lent = self.pool.take()?;
        let taken = lent
            .prepare_cached("SELECT at FROM once WHERE source = ?1 AND id = ?2")?
            .query_row([source, id], |row| row.get(0))
            .optional()?;
        Ok(taken.map(Timestamp::from_micros))
    }

    /// Shows roll-ups, told apart by what is asked for at least; one may come in parts, to be
    /// added up.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn rollups(
        &self,
        range: &RollupRange,
        apart: Apart,
        visit: impl FnMut(Rollup<'_>, Counters),
    ) -> Result<(), ReadError> {
        read_rollups(&*self.pool.take()?, range, apart, visit)
    }

    /// What all calls of one account come to, by interval: a small part of the rows that
    /// [`Reader::rollups`] reads.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn usage_totals(
        &self,
        range: &RollupRange,
        visit: impl FnMut(Timestamp, Counters),
    ) -> Result<(), ReadError> {
        read_totals(&*self.pool.take()?, range, visit)
    }

    /// Every account that has roll-ups after this one, in order: also one that is closed.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn rollup_accounts(&self, after: AccountId) -> Result<Vec<AccountId>, ReadError> {
        read_rollup_accounts(&*self.pool.take()?, after)
    }

    /// How much is stored.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn totals(&self) -> Result<Totals, ReadError> {
        let lent = self.pool.take()?;
        let count = |sql: &str| -> Result<u64, ReadError> {
            let number: i64 = lent.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
            Ok(read_id(number).unwrap_or(0))
        };
        Ok(Totals {
            indexed_seq: Seq(read_id(indexed_seq(&lent)?).unwrap_or(0)),
            last_seq: Seq(count("SELECT coalesce(max(seq), 0) FROM main.entry")?),
            events: count("SELECT count(*) FROM event")?,
            deliveries_pending: count("SELECT count(*) FROM delivery WHERE state = 'pending'")?,
            idempotency_bytes: count(
                "SELECT value FROM main.meta WHERE name = 'idempotency_bytes'",
            )?,
            ledger_bytes: count(
                "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size",
            )?,
        })
    }

    fn deliveries_by(&self, sql: &str, bounds: &[i64]) -> Result<Vec<Delivery>, ReadError> {
        let lent = self.pool.take()?;
        let mut some = lent.prepare_cached(sql)?;
        let mut rows = some.query(rusqlite::params_from_iter(bounds))?;
        let mut deliveries = Vec::new();
        while let Some(row) = rows.next()? {
            deliveries.push(read_delivery(row)?);
        }
        Ok(deliveries)
    }
}

/// A resource in the columns id, account, revision, created_at, updated_at, body.
pub(crate) fn read_resource(row: &Row<'_>) -> Result<Resource, ReadError> {
    let id: i64 = row.get(0)?;
    let number = |value: i64| read_id(value).ok_or(ReadError::Damaged { what: "resource", id });
    Ok(Resource {
        id: number(id)?,
        account: row.get::<_, Option<i64>>(1)?.map(number).transpose()?.map(AccountId),
        revision: number(row.get(2)?)?,
        created_at: Timestamp::from_micros(row.get(3)?),
        updated_at: Timestamp::from_micros(row.get(4)?),
        body: row.get(5)?,
    })
}

fn read_event(row: &Row<'_>) -> Result<Event, ReadError> {
    let id: i64 = row.get(0)?;
    let number = |value: i64| read_id(value).ok_or(ReadError::Damaged { what: "event", id });
    Ok(Event {
        id: EventId(number(id)?),
        at: Timestamp::from_micros(row.get(1)?),
        account: row.get::<_, Option<i64>>(2)?.map(number).transpose()?.map(AccountId),
        kind: row.get(3)?,
        body: row.get(4)?,
    })
}

fn read_delivery(row: &Row<'_>) -> Result<Delivery, ReadError> {
    let event: i64 = row.get(1)?;
    let damaged = || ReadError::Damaged { what: "delivery of event", id: event };
    let state: Box<str> = row.get(2)?;
    Ok(Delivery {
        webhook: WebhookId(read_id(row.get(0)?).ok_or_else(damaged)?),
        event: EventId(read_id(event).ok_or_else(damaged)?),
        state: DeliveryState::by_name(&state).ok_or_else(damaged)?,
        attempts: row.get(3)?,
        next_at: Timestamp::from_micros(row.get(4)?),
        last_status: row.get(5)?,
        last_error: row.get(6)?,
        last_at: row.get::<_, Option<i64>>(7)?.map(Timestamp::from_micros),
        last_ms: row.get(8)?,
    })
}

fn collect<const N: usize>(
    conn: &Connection,
    sql: &str,
    bounds: [i64; N],
    entries: &mut Vec<Entry>,
) -> Result<(), ReadError> {
    let mut some = conn.prepare_cached(sql)?;
    let mut rows = some.query(rusqlite::params_from_iter(bounds))?;
    while let Some(row) = rows.next()? {
        entries.push(read_entry(row)?);
    }
    Ok(())
}

fn indexed_seq(conn: &Connection) -> Result<i64, ReadError> {
    let indexed = conn
        .prepare_cached("SELECT value FROM idx.meta WHERE name = 'indexed_seq'")?
        .query_row([], |row| row.get(0))?;
    Ok(indexed)
}

/// Ids that are too large are in no store: nothing is found under the largest that could be.
fn bound(id: u64) -> i64 {
    i64::try_from(id).unwrap_or(i64::MAX)
}

fn page(limit: usize) -> i64 {
    i64::try_from(limit.min(PAGE_MAX)).unwrap_or(0)
}

/// What one call returns at most.
const PAGE_MAX: usize = 10_000;
