//! Payments that a provider tells of: each becomes credit once, and is taken back once.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use weir_core::id::AccountId;
use weir_core::ledger::EntryKind;
use weir_core::money::Nano;
use weir_store::op::{Expected, Once, Op, Put};
use weir_store::read::Reader;

use crate::change::ChangeError;
use crate::credit::{NewCredit, Posted};
use crate::engine::Engine;

/// What a provider tells.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PaymentEvent {
    /// The provider: `stripe`.
    pub source: &'static str,
    /// The event's id there.
    pub id: String,
    /// The payment's id there.
    pub payment: String,
    /// What happened to it.
    pub what: PaymentFact,
}

/// What happened to a payment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PaymentFact {
    /// It was made.
    Paid {
        /// For whom: an account's id or the operator's own id for it.
        account: String,
        /// How much.
        amount: Nano,
    },
    /// So much of it was given back so far, in all.
    RefundedTo(Nano),
    /// So much of it is disputed.
    Disputed(Nano),
}

/// What an event came to.
#[derive(Clone, Copy, Debug)]
pub enum Taken {
    /// It changed the balance.
    Posted(Posted),
    /// It, or another event of the same payment, was taken before.
    Before,
    /// It is about a payment that was never credited here.
    Foreign,
}

/// A payment that became credit, as it is kept.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct PaymentRecord {
    source: String,
    payment: String,
    paid: i64,
    taken_back: i64,
}

impl Engine {
    /// Takes an event of a payment provider, each once, and each payment once whichever events
    /// tell of it. What is taken back may lead below zero.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]: no such account, an amount out of range, the store.
    pub async fn take_payment(&self, event: &PaymentEvent) -> Result<Taken, ChangeError> {
        let _turn = self.changes.lock().await;
        if self.taken_before(event.source, &event.id).await? {
            return Ok(Taken::Before);
        }
        let number = number(event.source, &event.payment);
        let known = self.read(move |reader: Reader| reader.resource(KIND, number)).await?;
        let Some(known) = known else {
            return match &event.what {
                PaymentFact::Paid { account, amount } => {
                    self.take_paid(event, number, account, *amount).await
                }
                // Of a payment that is not ours. One that is told before its payment is not told
                // again by the provider, and is not taken back: see docs/guarantees.md.
                PaymentFact::RefundedTo(_) | PaymentFact::Disputed(_) => Ok(Taken::Foreign),
            };
        };
        let mut record: PaymentRecord = serde_json::from_str(&known.body)?;
        let left = record.paid.saturating_sub(record.taken_back).max(0);
        let back = match &event.what {
            PaymentFact::Paid { .. } => 0,
            PaymentFact::RefundedTo(total) => total.get().saturating_sub(record.taken_back),
            PaymentFact::Disputed(amount) => amount.get(),
        };
        let back = back.clamp(0, left);
        if back == 0 {
            return Ok(Taken::Before);
        }
        let account = known.account.unwrap_or_default();
        let cell = self.account(account).ok_or(ChangeError::NotFound)?;
        record.taken_back += back;
        let kept = self.kept_payment(number, account, &record)?;
        let what = match event.what {
            PaymentFact::Disputed(_) => "payment disputed",
            PaymentFact::Paid { .. } | PaymentFact::RefundedTo(_) => "payment refunded",
        };
        let credit = NewCredit {
            kind: EntryKind::Adjustment,
            note: Some(what.to_owned()),
            ..NewCredit::paid(Nano::new(-back), &event.payment)
        };
        let more = vec![kept, self.once_of(event)];
        self.post_credit_in_turn(&cell, &credit, more).await.map(Taken::Posted)
    }

    async fn take_paid(
        &self,
        event: &PaymentEvent,
        number: u64,
        account: &str,
        amount: Nano,
    ) -> Result<Taken, ChangeError> {
        let by_id = account.parse::<AccountId>().ok().and_then(|id| self.account(id));
        let cell =
            by_id.or_else(|| self.account_by_external_id(account)).ok_or(ChangeError::NotFound)?;
        let record = PaymentRecord {
            source: event.source.to_owned(),
            payment: event.payment.clone(),
            paid: amount.get(),
            taken_back: 0,
        };
        let more = vec![self.kept_payment(number, cell.id, &record)?, self.once_of(event)];
        let credit = NewCredit::paid(amount, &event.payment);
        self.post_credit_in_turn(&cell, &credit, more).await.map(Taken::Posted)
    }

    fn once_of(&self, event: &PaymentEvent) -> Op {
        let (source, id) = (event.source.into(), event.id.as_str().into());
        Op::Once(Once { source, id, at: self.now() })
    }

    fn kept_payment(
        &self,
        id: u64,
        account: AccountId,
        record: &PaymentRecord,
    ) -> Result<Op, ChangeError> {
        let body = serde_json::to_string(record)?;
        let (kind, account, at) = (KIND, Some(account), self.now());
        Ok(Op::Put(Put { kind, id, account, at, body, expected: Expected::Any }))
    }
}

/// A payment's number in the store: 63 bits of a digest, so that no two meet by accident.
fn number(source: &str, payment: &str) -> u64 {
    let digest = Sha256::new().chain_update(source).chain_update([0]).chain_update(payment);
    let bytes = digest.finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&bytes[..8]);
    u64::from_be_bytes(first) >> 1
}

const KIND: &str = "payment";
