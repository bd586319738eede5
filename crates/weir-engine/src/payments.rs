//! Payments that a provider tells of: each becomes credit once, and is taken back once.
//!
//! Providers promise no order. What is told of a payment before the payment itself is kept, and
//! taken back in the commit that credits it. How much is taken back in all follows from what was
//! told in all, not from the order: what was refunded, plus what is disputed, at most what was
//! paid.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use weir_core::id::AccountId;
use weir_core::ledger::EntryKind;
use weir_core::money::Nano;
use weir_core::time::Span;
use weir_store::error::ReadError;
use weir_store::op::{Delete, Expected, Once, Op, Put, Urgency};
use weir_store::read::{Reader, Resource};

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
        /// The automatic top-up that it answers.
        answers: Option<String>,
    },
    /// So much of it was given back so far, in all; what is disputed is not part of it.
    RefundedTo(Nano),
    /// So much of it is disputed.
    Disputed {
        /// The dispute's id.
        dispute: String,
        /// How much.
        amount: Nano,
    },
    /// A dispute ended well: what it took is credit again.
    DisputeWon {
        /// The dispute's id.
        dispute: String,
    },
}

/// What an event came to.
#[derive(Clone, Copy, Debug)]
pub enum Taken {
    /// It changed the balance.
    Posted(Posted),
    /// It, or another event that says the same, was taken before.
    Before,
    /// It is about a payment that was not told yet: it takes effect if that comes.
    Kept,
}

/// A payment, as it is kept.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
struct PaymentRecord {
    source: String,
    payment: String,
    /// Zero as long as the payment itself was not told.
    paid: i64,
    /// What was posted of all that was told.
    taken_back: i64,
    /// What was given back in all.
    #[serde(default)]
    refunded: i64,
    /// What each dispute takes; nothing once it is won.
    #[serde(default)]
    disputes: BTreeMap<String, i64>,
}

impl Engine {
    /// Takes an event of a payment provider, each once, and each payment once whichever events
    /// tell of it, in whatever order. What is taken back may lead below zero.
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
        let ask = move |reader: Reader| -> Result<_, ReadError> {
            Ok((reader.resource(KIND, number)?, reader.resource(EARLY, number)?))
        };
        let (known, early) = self.read(ask).await?;
        match (known, &event.what) {
            (Some(known), what) => self.take_known(event, &known, what).await,
            (None, PaymentFact::Paid { account, amount, answers }) => {
                let credit = NewCredit::paid(*amount, &event.payment);
                let credit = NewCredit { answers: answers.clone(), ..credit };
                self.take_paid(event, early, account, credit).await
            }
            (None, what) => self.take_early(event, early, what).await,
        }
    }

    /// Something that happened to a payment which was credited.
    async fn take_known(
        &self,
        event: &PaymentEvent,
        known: &Resource,
        what: &PaymentFact,
    ) -> Result<Taken, ChangeError> {
        let mut record: PaymentRecord = serde_json::from_str(&known.body)?;
        record.note(what)?;
        let account = known.account.unwrap_or_default();
        let Some(change) = record.settle(what) else {
            let ops = vec![self.kept_payment(KIND, Some(account), &record)?, self.once_of(event)];
            self.journal.commit(Urgency::Fresh, ops).await?;
            return Ok(Taken::Before);
        };
        let cell = self.account(account).ok_or(ChangeError::NotFound)?;
        let more = vec![self.kept_payment(KIND, Some(account), &record)?, self.once_of(event)];
        self.post_in_turn(&cell, &[change], more, None).await.map(Taken::Posted)
    }

    /// A payment that was not credited yet, with what was told of it before.
    async fn take_paid(
        &self,
        event: &PaymentEvent,
        early: Option<Resource>,
        account: &str,
        mut credit: NewCredit,
    ) -> Result<Taken, ChangeError> {
        let cell = self.account_named(account).ok_or(ChangeError::NotFound)?;
        let mut record = match &early {
            Some(early) => serde_json::from_str(&early.body)?,
            None => PaymentRecord::of(event),
        };
        record.paid = credit.amount.get();
        // A payment counts, whether or not it is one that was asked for.
        credit.answers = credit.answers.filter(|reference| cell.live.lock().auto.knows(reference));
        let mut changes = vec![credit];
        changes.extend(record.settle(&event.what));
        let mut more = vec![self.kept_payment(KIND, Some(cell.id), &record)?, self.once_of(event)];
        more.extend(
            early.map(|early| Op::Delete(Delete { kind: EARLY, id: early.id, expected: None })),
        );
        self.post_in_turn(&cell, &changes, more, None).await.map(Taken::Posted)
    }

    /// Something that happened to a payment which was not told yet, or is none of ours. The event
    /// itself needs no note: told again, it says the same.
    async fn take_early(
        &self,
        event: &PaymentEvent,
        early: Option<Resource>,
        what: &PaymentFact,
    ) -> Result<Taken, ChangeError> {
        let mut record = match &early {
            Some(early) => serde_json::from_str(&early.body)?,
            None => PaymentRecord::of(event),
        };
        record.note(what)?;
        let put = self.kept_payment(EARLY, None, &record)?;
        self.journal.commit(Urgency::Fresh, vec![put]).await?;
        Ok(Taken::Kept)
    }

    /// Forgets what was told of payments that never came. Looks at a bounded part of them.
    pub(crate) fn sweep_early_payments(&self) -> Result<(), ReadError> {
        let after = self.early_payments_swept.load(Ordering::Relaxed);
        let page = self.store_reader().resources(EARLY, None, Some(after), SWEPT_AT_ONCE)?;
        let next = page.last().filter(|_| page.len() == SWEPT_AT_ONCE);
        self.early_payments_swept.store(next.map_or(0, |last| last.id), Ordering::Relaxed);
        let before = self.now().minus(EARLY_KEPT);
        for old in page.iter().filter(|early| early.updated_at < before) {
            let expected = Some(old.revision);
            let delete = Op::Delete(Delete { kind: EARLY, id: old.id, expected });
            drop(self.journal.commit(Urgency::Settlement, vec![delete]));
        }
        Ok(())
    }

    fn once_of(&self, event: &PaymentEvent) -> Op {
        let (source, id) = (event.source.into(), event.id.as_str().into());
        Op::Once(Once { source, id, at: self.now() })
    }

    fn kept_payment(
        &self,
        kind: &'static str,
        account: Option<AccountId>,
        record: &PaymentRecord,
    ) -> Result<Op, ChangeError> {
        let body = serde_json::to_string(record)?;
        let (id, at) = (number(&record.source, &record.payment), self.now());
        Ok(Op::Put(Put { kind, id, account, at, body, expected: Expected::Any }))
    }
}

impl PaymentRecord {
    fn of(event: &PaymentEvent) -> Self {
        let (source, payment) = (event.source.to_owned(), event.payment.clone());
        Self { source, payment, ..Self::default() }
    }

    /// Takes in what happened; whatever was told before may be told again, and in any order.
    fn note(&mut self, what: &PaymentFact) -> Result<(), ChangeError> {
        match what {
            PaymentFact::Paid { .. } => {}
            PaymentFact::RefundedTo(total) => self.refunded = self.refunded.max(total.get()),
            PaymentFact::Disputed { dispute, amount } => {
                // One that is won already stays won.
                self.disputes.entry(dispute.clone()).or_insert(amount.get());
            }
            PaymentFact::DisputeWon { dispute } => {
                self.disputes.insert(dispute.clone(), 0);
            }
        }
        if self.disputes.len() > DISPUTES_MAX {
            let why = format!("the payment has more than {DISPUTES_MAX} disputes");
            return Err(ChangeError::Conflict(why));
        }
        Ok(())
    }

    /// The change that brings what was taken back to what is to be; `None`: there is none.
    fn settle(&mut self, what: &PaymentFact) -> Option<NewCredit> {
        let disputed = self.disputes.values().fold(0_i64, |sum, one| sum.saturating_add(*one));
        let due = self.refunded.saturating_add(disputed).clamp(0, self.paid.max(0));
        let back = due - self.taken_back;
        self.taken_back = due;
        let note = match what {
            PaymentFact::Disputed { .. } => "payment disputed",
            PaymentFact::DisputeWon { .. } => "dispute won",
            PaymentFact::RefundedTo(_) => "payment refunded",
            PaymentFact::Paid { .. } => "payment refunded or disputed before it was told",
        };
        (back != 0).then(|| NewCredit {
            kind: EntryKind::Adjustment,
            note: Some(note.to_owned()),
            ..NewCredit::paid(Nano::new(-back), &self.payment)
        })
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
/// What was told of payments that were not told themselves.
const EARLY: &str = "payment_early";
/// Longer than any provider repeats an event; what comes later is not about a payment of ours.
const EARLY_KEPT: Span = Span::from_secs(90 * 86_400);
const SWEPT_AT_ONCE: usize = 500;
const DISPUTES_MAX: usize = 64;
