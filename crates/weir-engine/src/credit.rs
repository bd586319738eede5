//! Credit: topped up, given, adjusted; what the wallet shows.

use std::sync::Arc;

use serde_json::Value;
use weir_core::id::Seq;
use weir_core::ledger::{Category, EntryKind, Terms};
use weir_core::money::Nano;
use weir_core::time::Timestamp;
use weir_core::wallet::{ChangeRefused, Hold, Posting, Wallet};
use weir_store::commit::Commit;
use weir_store::error::CommitError;
use weir_store::op::{Once, Op, Urgency};

use crate::auto_top_up::AutoState;
use crate::auto_top_ups::answered;
use crate::cell::{AccountCell, Live};
use crate::change::ChangeError;
use crate::engine::Engine;
use crate::event::event;
use crate::idempotency::Answering;
use crate::trail::Change;

/// Credit that comes in, or a change by hand.
#[derive(Clone, Debug)]
pub struct NewCredit {
    /// How much; negative only for an adjustment.
    pub amount: Nano,
    /// Why it changes.
    pub kind: EntryKind,
    /// On what terms.
    pub terms: Terms,
    /// What caused it.
    pub reference: String,
    /// Words of whoever posts it.
    pub note: Option<String>,
    /// A fact from outside that counts once: its source and id there.
    pub once: Option<(String, String)>,
    /// The automatic top-up that it answers.
    pub answers: Option<String>,
}

/// A change of the balance that is durable.
#[derive(Clone, Copy, Debug)]
pub struct Posted {
    /// Its entry.
    pub entry: Seq,
    /// The balance after it.
    pub balance: Nano,
    /// What may be spent after it.
    pub available: Nano,
}

/// What is to be undone where a change cannot be stored.
struct Undo {
    reserved: Vec<Hold>,
    auto: Option<AutoState>,
}

/// A wallet as its owner sees it.
#[derive(Clone, Debug)]
pub struct WalletView {
    /// The sum of all entries.
    pub balance: Nano,
    /// What open holds reserve.
    pub held: Nano,
    /// What may be spent.
    pub available: Nano,
    /// How far the balance may go below zero.
    pub credit_line: Nano,
    /// Credit with something left, in the order in which it burns.
    pub grants: Vec<weir_core::grant::Grant>,
    /// The last entry.
    pub last_entry: Seq,
}

impl NewCredit {
    /// Credit that was paid for, without expiry.
    pub fn paid(amount: Nano, reference: &str) -> Self {
        Self {
            amount,
            kind: EntryKind::TopUp,
            terms: Terms { category: Category::Paid, priority: 50, expires_at: None },
            reference: reference.to_owned(),
            note: None,
            once: None,
            answers: None,
        }
    }
}

impl Engine {
    /// Posts credit or an adjustment. It can be spent once it is durable, which it is before this
    /// returns; what it takes away is gone at once.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]: an amount or terms that no wallet takes, or the store.
    pub async fn post_credit(
        &self,
        cell: &Arc<AccountCell>,
        new: &NewCredit,
    ) -> Result<Posted, ChangeError> {
        self.post_credit_answering(cell, new, None).await
    }

    /// As [`Engine::post_credit`]; the answer is kept in the same commit, so that a repeated
    /// request finds it whenever the process dies.
    ///
    /// # Errors
    ///
    /// As [`Engine::post_credit`].
    pub async fn post_credit_answering(
        &self,
        cell: &Arc<AccountCell>,
        new: &NewCredit,
        answering: Option<Answering<Posted>>,
    ) -> Result<Posted, ChangeError> {
        let _turn = self.changes.lock().await;
        let mut more = Vec::new();
        if let Some((source, id)) = &new.once {
            if self.taken_before(source, id).await? {
                return Err(ChangeError::Conflict(format!("{source} {id} was taken before")));
            }
            let (source, id) = (source.as_str().into(), id.as_str().into());
            more.push(Op::Once(Once { source, id, at: self.now() }));
        }
        self.post_in_turn(cell, std::slice::from_ref(new), more, answering).await
    }

    /// The same for one who has the turn to change things: several changes of one wallet, with
    /// more that is to be durable with them.
    pub(crate) async fn post_in_turn(
        &self,
        cell: &Arc<AccountCell>,
        all: &[NewCredit],
        more: Vec<Op>,
        answering: Option<Answering<Posted>>,
    ) -> Result<Posted, ChangeError> {
        let (commit, posted, Undo { reserved, auto }) =
            self.write_credit(cell, all, more, answering)?;
        let outcome = commit.await;
        let mut live = cell.live.lock();
        if let Err(error) = outcome {
            if let Some(auto) = auto {
                live.auto = auto;
            }
            // What was reserved stays so until the account is read anew: nothing of it may be spent.
            live.stranded.extend(reserved);
            tracing::error!(account = %cell.id, %error, "credit could not be made durable");
            return Err(error.into());
        }
        for hold in reserved {
            live.account.wallet.release(hold);
        }
        drop(live);
        self.touch(cell);
        Ok(posted)
    }

    fn write_credit(
        &self,
        cell: &Arc<AccountCell>,
        all: &[NewCredit],
        more: Vec<Op>,
        answering: Option<Answering<Posted>>,
    ) -> Result<(Commit, Posted, Undo), ChangeError> {
        let mut live = cell.live.lock();
        self.sound(cell)?;
        let now = live.account.observe(self.now());
        let mut ops = Vec::with_capacity(3);
        let mut turn = self.journal.turn();
        let auto = all.iter().any(|new| new.answers.is_some()).then(|| live.auto.clone());
        for new in all {
            if let Some(reference) = &new.answers {
                ops.push(answered(&mut live, cell.id, reference, new.amount, now)?);
            }
        }
        let postings = match post_all(&mut live.account.wallet, all, now, &mut || turn.seq()) {
            Ok(postings) => postings,
            Err(why) => {
                live.auto = auto.unwrap_or_else(|| live.auto.clone());
                return Err(why);
            }
        };
        let policy = self.policy.load().number();
        for (posting, new) in postings.iter().zip(all) {
            self.begin_notices(&mut live, posting.seq, now);
            live.last_entry = posting.seq;
            let note = new.note.as_deref();
            let entry = posting.clone().into_entry(cell.id, &new.reference, policy, note, None);
            ops.push(Op::Append(entry));
            ops.extend(self.audit(Change {
                action: audited_as(new.kind),
                subject: posting.seq.to_string(),
                account: Some(cell.id),
                before: Value::Null,
                after: serde_json::json!({
                    "amount": posting.amount.to_string(), "balance": posting.balance.to_string(),
                    "note": new.note,
                }),
            }));
            ops.extend(self.topped_up(cell, new.kind, posting));
        }
        ops.extend(more);
        self.read_levels(&mut live, cell.id, now, &mut ops);
        let wallet = &mut live.account.wallet;
        let posted = Posted {
            entry: postings.first().map_or(Seq(0), |posting| posting.seq),
            balance: wallet.balance(),
            available: wallet.available(now),
        };
        // It is in the books, but nothing may be spent of it before the disk has it.
        let reserved = postings.iter().map(|posting| wallet.restore_hold(posting.amount, now));
        let reserved = reserved.collect();
        ops.extend(answering.map(|answering| answering.of(&posted)));
        Ok((turn.commit(Urgency::Fresh, ops), posted, Undo { reserved, auto }))
    }

    fn topped_up(&self, cell: &AccountCell, kind: EntryKind, posting: &Posting) -> Option<Op> {
        let data = serde_json::json!({
            "account_id": cell.id.to_string(), "entry_id": posting.seq.to_string(),
            "amount": posting.amount.to_string(), "balance": posting.balance.to_string(),
            "kind": kind.name(),
        });
        (!posting.amount.is_negative())
            .then(|| Op::Event(event(self, "wallet.topped_up", Some(cell.id), &data)))
    }

    /// Refuses changes of an account that got ahead of its ledger, until it is read anew.
    pub(crate) fn sound(&self, cell: &Arc<AccountCell>) -> Result<(), ChangeError> {
        match self.is_sound(cell) {
            true => Ok(()),
            false => Err(CommitError::Unsound { account: cell.id }.into()),
        }
    }

    /// Takes note of new credit: notices whose day is past are never given of it.
    pub(crate) fn begin_notices(&self, live: &mut Live, seq: Seq, now: Timestamp) {
        let Live { account, levels, .. } = live;
        if let Some(grant) = account.wallet.grants().find(|grant| grant.seq == seq) {
            levels.notices.begin(grant, now);
        }
    }

    pub(crate) async fn taken_before(&self, source: &str, id: &str) -> Result<bool, ChangeError> {
        let reader = self.journal.store().reader();
        let (source, id) = (source.to_owned(), id.to_owned());
        let asked = tokio::task::spawn_blocking(move || reader.once(&source, &id)).await;
        match asked {
            Ok(Ok(found)) => Ok(found.is_some()),
            Ok(Err(error)) => Err(ChangeError::Unreadable(error)),
            Err(_) => Err(ChangeError::Store(CommitError::Closed)),
        }
    }

    /// What the wallet of an account shows.
    pub fn wallet_of(&self, cell: &AccountCell) -> WalletView {
        let mut live = cell.live.lock();
        let now: Timestamp = live.account.observe(self.now());
        let wallet = &live.account.wallet;
        WalletView {
            balance: wallet.balance(),
            held: wallet.held(),
            available: wallet.available(now),
            credit_line: wallet.credit_line(),
            grants: wallet.grants().copied().collect(),
            last_entry: live.last_entry,
        }
    }
}

/// Posts all or nothing.
fn post_all(
    wallet: &mut Wallet,
    all: &[NewCredit],
    now: Timestamp,
    seq: &mut dyn FnMut() -> Seq,
) -> Result<Vec<Posting>, ChangeError> {
    let before = (all.len() > 1).then(|| wallet.clone());
    let mut postings = Vec::with_capacity(all.len());
    for new in all {
        let posted = match new.kind {
            EntryKind::Grant => wallet.grant(new.amount, new.terms, now, seq),
            EntryKind::Adjustment => wallet.adjust(new.amount, new.terms, now, seq),
            EntryKind::Correction => wallet.correct(new.amount, new.terms, now, seq),
            EntryKind::TopUp
            | EntryKind::Charge
            | EntryKind::Debt
            | EntryKind::Refund
            | EntryKind::Expiry => wallet.top_up(new.amount, new.terms, now, seq),
        };
        match posted {
            Ok(posting) => postings.push(posting),
            Err(why) => {
                if let Some(before) = before {
                    *wallet = before;
                }
                return Err(refused(why));
            }
        }
    }
    Ok(postings)
}

fn audited_as(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::Grant => "wallet.granted",
        EntryKind::Adjustment => "wallet.adjusted",
        EntryKind::Correction => "wallet.corrected",
        EntryKind::TopUp
        | EntryKind::Charge
        | EntryKind::Debt
        | EntryKind::Refund
        | EntryKind::Expiry => "wallet.topped_up",
    }
}

fn refused(why: ChangeRefused) -> ChangeError {
    match why {
        ChangeRefused::NotPositive | ChangeRefused::TooLarge => ChangeError::invalid("amount", why),
        ChangeRefused::Priority => ChangeError::invalid("priority", why),
        ChangeRefused::AlreadyExpired => ChangeError::invalid("expires_at", why),
        ChangeRefused::TooManyGrants => ChangeError::Conflict(why.to_string()),
    }
}
