//! Refunds: a charge taken back, wholly or in part, in the reverse order of what it took.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use weir_core::id::{AccountId, Seq};
use weir_core::ledger::{Entry, EntryKind, Terms};
use weir_core::money::Nano;
use weir_core::wallet::{Hold, RefundRefused, Refundable};
use weir_store::commit::Commit;
use weir_store::error::ReadError;
use weir_store::op::{Expected, Op, Put, Urgency};
use weir_store::read::Reader;

use crate::cell::AccountCell;
use crate::change::ChangeError;
use crate::credit::Posted;
use crate::engine::Engine;
use crate::idempotency::Answering;
use crate::trail::Change;

/// A charge to be taken back.
#[derive(Clone, Copy, Debug)]
pub struct NewRefund<'a> {
    /// Its entry.
    pub charge: Seq,
    /// How much of it; `None`: all that is left.
    pub amount: Option<Nano>,
    /// Why, for the ledger.
    pub reason: &'a str,
}

/// Which entries took parts of a charge back.
#[derive(Debug, Default, Deserialize, Serialize)]
struct RefundRecord {
    entries: Vec<u64>,
}

/// What the ledger says of a charge.
struct Charged {
    charged: Vec<Entry>,
    refunded: Vec<Entry>,
    terms: HashMap<Seq, Terms>,
}

impl Engine {
    /// Takes `amount` of a charge back, or all that is left of it. The credit can be spent once
    /// it is durable, which it is before this returns.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]: no such charge, more than is left of it, the store.
    pub async fn refund(
        &self,
        cell: &Arc<AccountCell>,
        charge: Seq,
        amount: Option<Nano>,
        reason: &str,
    ) -> Result<Posted, ChangeError> {
        let refund = NewRefund { charge, amount, reason };
        self.refund_answering(cell, refund, None).await
    }

    /// As [`Engine::refund`]; the answer is kept in the same commit.
    ///
    /// # Errors
    ///
    /// As [`Engine::refund`].
    pub async fn refund_answering(
        &self,
        cell: &Arc<AccountCell>,
        refund: NewRefund<'_>,
        answering: Option<Answering<Posted>>,
    ) -> Result<Posted, ChangeError> {
        let NewRefund { charge, amount, .. } = refund;
        let _turn = self.changes.lock().await;
        self.sound(cell)?;
        let account = cell.id;
        let known = self.read(move |reader| charged(&reader, account, charge)).await?;
        let known = known.ok_or(ChangeError::NotFound)?;
        let terms_of = |seq: Seq| known.terms.get(&seq).copied();
        let left = Refundable::new(&known.charged, &known.refunded, terms_of).map_err(refused)?;
        let refund = NewRefund { amount: Some(amount.unwrap_or_else(|| left.total())), ..refund };
        let mut record = RefundRecord::default();
        record.entries.extend(known.refunded.iter().map(|entry| entry.seq.0));
        let (commit, posted, reserved) =
            self.write_refund(cell, refund, &left, record, answering)?;
        let outcome = commit.await;
        let mut live = cell.live.lock();
        if let Err(error) = outcome {
            live.stranded.push(reserved);
            return Err(error.into());
        }
        live.account.wallet.release(reserved);
        drop(live);
        self.touch(cell);
        Ok(posted)
    }

    fn write_refund(
        &self,
        cell: &Arc<AccountCell>,
        refund: NewRefund<'_>,
        left: &Refundable,
        mut record: RefundRecord,
        answering: Option<Answering<Posted>>,
    ) -> Result<(Commit, Posted, Hold), ChangeError> {
        let NewRefund { charge, amount, reason } = refund;
        let amount = amount.unwrap_or_default();
        let mut live = cell.live.lock();
        let now = live.account.observe(self.now());
        let mut turn = self.journal.turn();
        let wallet = &mut live.account.wallet;
        let postings = wallet.refund(left, amount, now, &mut || turn.seq()).map_err(refused)?;
        let policy = self.policy.load().number();
        let mut ops = Vec::with_capacity(postings.len() + 3);
        for posting in postings {
            record.entries.push(posting.seq.0);
            live.last_entry = posting.seq;
            let reference = charge.to_string();
            let entry = posting.into_entry(cell.id, &reference, policy, Some(reason), None);
            ops.push(Op::Append(entry));
        }
        ops.push(Op::Put(Put {
            kind: KIND,
            id: charge.0,
            account: Some(cell.id),
            at: now,
            body: serde_json::to_string(&record)?,
            expected: Expected::Any,
        }));
        self.read_levels(&mut live, cell.id, now, &mut ops);
        let wallet = &live.account.wallet;
        let (balance, available) = (wallet.balance(), wallet.available(now));
        let posted = Posted { entry: live.last_entry, balance, available };
        let reserved = live.account.wallet.restore_hold(amount, now);
        ops.extend(self.audit(Change {
            action: "wallet.refunded",
            subject: posted.entry.to_string(),
            account: Some(cell.id),
            before: Value::Null,
            after: serde_json::json!({
                "charge": charge.to_string(), "amount": amount.to_string(),
                "balance": balance.to_string(), "note": reason,
            }),
        }));
        ops.extend(answering.map(|answering| answering.of(&posted)));
        Ok((turn.commit(Urgency::Fresh, ops), posted, reserved))
    }
}

/// The entries of a charge (with the debt of the same call), and what was taken back of it.
fn charged(reader: &Reader, account: AccountId, charge: Seq) -> Result<Option<Charged>, ReadError> {
    let own = |entry: &Entry| entry.account == account;
    let Some(first) = reader.entry(charge)?.filter(own) else { return Ok(None) };
    if !matches!(first.kind, EntryKind::Charge | EntryKind::Debt) {
        return Ok(None);
    }
    let mut charged = vec![first];
    // The debt of a call is posted right behind its charge.
    let next = reader.entry(Seq(charge.0 + 1))?.filter(own);
    charged.extend(next.filter(|next| {
        next.kind == EntryKind::Debt
            && charged[0].kind == EntryKind::Charge
            && next.reference == charged[0].reference
    }));
    let record = reader.resource(KIND, charge.0)?;
    let record: RefundRecord =
        record.and_then(|resource| serde_json::from_str(&resource.body).ok()).unwrap_or_default();
    let mut refunded = Vec::new();
    for seq in record.entries {
        refunded.extend(reader.entry(Seq(seq))?);
    }
    let mut terms = HashMap::new();
    for draw in charged.iter().flat_map(|entry| entry.draws.clone()) {
        if let Some(found) = reader.entry(draw.from)?.and_then(|entry| entry.terms) {
            terms.insert(draw.from, found);
        }
    }
    Ok(Some(Charged { charged, refunded, terms }))
}

fn refused(why: RefundRefused) -> ChangeError {
    match why {
        RefundRefused::NotPositive | RefundRefused::TooLarge | RefundRefused::TooMuch { .. } => {
            ChangeError::invalid("amount", why)
        }
        RefundRefused::Foreign(_) | RefundRefused::UnknownCredit(_) => {
            ChangeError::Conflict(why.to_string())
        }
    }
}

const KIND: &str = "refund";
