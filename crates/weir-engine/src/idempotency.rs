//! Idempotency keys: a repeated request takes effect once and gets the first answer again.

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use weir_core::id::AccountId;
use weir_core::time::{Span, Timestamp};
use weir_store::error::CommitError;
use weir_store::op::{Answer, Idempotency, IdempotencyKey, Op, Urgency};

use crate::change::ChangeError;
use crate::engine::Engine;

/// What a request with an idempotency key shall do.
#[derive(Debug)]
pub enum Claimed {
    /// It is the first: do it, then [`Engine::keep_answer`] or [`Engine::release`].
    Fresh(Claim),
    /// It was done: give this answer again.
    Done(Kept),
    /// The first is still running.
    Running,
    /// The key was used for another request.
    Mismatch,
}

/// The duty to answer under an idempotency key, or to release it.
#[derive(Clone, Debug)]
#[must_use = "a claim that is neither answered nor released blocks its key for a day"]
pub struct Claim {
    key: IdempotencyKey,
    fingerprint: Box<[u8]>,
    created_at: Timestamp,
}

/// An answer as it is given again.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Kept {
    /// The status.
    pub status: u16,
    /// The headers that are given again.
    pub headers: Map<String, Value>,
    /// The body; `None` if it was too large to keep.
    pub body: Option<Vec<u8>>,
}

/// Keeps the answer to a request in the commit that makes its effect `T` durable: whenever the
/// process dies, either both are there or neither is.
pub struct Answering<T> {
    claim: Claim,
    make: Box<dyn FnOnce(&T) -> Kept + Send>,
}

impl<T> Answering<T> {
    /// The answer under a claimed key, made once the effect is known.
    pub fn new(claim: Claim, make: impl FnOnce(&T) -> Kept + Send + 'static) -> Self {
        Self { claim, make: Box::new(make) }
    }

    pub(crate) fn of(self, effect: &T) -> Op {
        self.claim.answered((self.make)(effect))
    }
}

impl<T> std::fmt::Debug for Answering<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Answering")
    }
}

impl Engine {
    /// Takes a key for a request of `owner` (account 0 is the operator) whose `fingerprint` tells
    /// it from others. Durable before it is returned, so that it holds across a crash; a key whose
    /// request died with the process is taken anew.
    ///
    /// # Errors
    ///
    /// [`ChangeError`] where the store fails.
    pub async fn claim(
        &self,
        owner: AccountId,
        key: &str,
        fingerprint: &[u8],
    ) -> Result<Claimed, ChangeError> {
        let key = IdempotencyKey { account: owner, key: key.into() };
        let claim = Claim { key, fingerprint: fingerprint.into(), created_at: self.now() };
        let taken = self.journal.commit(Urgency::Fresh, vec![Op::Claim(claim.row(None))]).await;
        match taken {
            Ok(_) => return Ok(Claimed::Fresh(claim)),
            Err(CommitError::AlreadyClaimed { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let key = claim.key.clone();
        let Some(found) = self.read(move |reader| reader.idempotency(&key)).await? else {
            return Ok(Claimed::Running); // released in this moment
        };
        if found.fingerprint != claim.fingerprint {
            return Ok(Claimed::Mismatch);
        }
        match found.answer {
            Some(answer) => Ok(Claimed::Done(answer.into())),
            None if found.created_at < self.started_at => self.take_over(claim).await,
            None => Ok(Claimed::Running),
        }
    }

    /// Keeps the answer for a day.
    ///
    /// # Errors
    ///
    /// [`ChangeError`] where the store fails.
    pub async fn keep_answer(&self, claim: Claim, kept: Kept) -> Result<(), ChangeError> {
        self.journal.commit(Urgency::Settlement, vec![claim.answered(kept)]).await?;
        Ok(())
    }

    /// Frees the key: its request changed nothing.
    ///
    /// # Errors
    ///
    /// [`ChangeError`] where the store fails.
    pub async fn release(&self, claim: Claim) -> Result<(), ChangeError> {
        self.journal.commit(Urgency::Settlement, vec![claim.released()]).await?;
        Ok(())
    }

    /// What became of a key before, without taking it: cheap, so that calls that are refused
    /// anyway leave no trace on the disk. `None`: nothing, it is free.
    ///
    /// # Errors
    ///
    /// [`ChangeError`] where the store fails.
    pub async fn claimed_before(
        &self,
        owner: AccountId,
        key: &str,
        fingerprint: &[u8],
    ) -> Result<Option<Claimed>, ChangeError> {
        let key = IdempotencyKey { account: owner, key: key.into() };
        let Some(found) = self.read(move |reader| reader.idempotency(&key)).await? else {
            return Ok(None);
        };
        if found.expires_at <= self.now() {
            return Ok(None);
        }
        Ok(match found.answer {
            _ if *found.fingerprint != *fingerprint => Some(Claimed::Mismatch),
            Some(answer) => Some(Claimed::Done(answer.into())),
            None if found.created_at < self.started_at => None,
            None => Some(Claimed::Running),
        })
    }

    async fn take_over(&self, claim: Claim) -> Result<Claimed, ChangeError> {
        let _turn = self.changes.lock().await;
        let key = claim.key.clone();
        let found = self.read(move |reader| reader.idempotency(&key)).await?;
        if found.is_some_and(|found| found.created_at >= self.started_at) {
            return Ok(Claimed::Running); // another repetition was faster
        }
        let ops = vec![Op::Release(claim.key.clone()), Op::Claim(claim.row(None))];
        match self.journal.commit(Urgency::Fresh, ops).await {
            Ok(_) => Ok(Claimed::Fresh(claim)),
            Err(error) => Err(error.into()),
        }
    }
}

impl From<Answer> for Kept {
    fn from(answer: Answer) -> Self {
        Self {
            status: answer.status,
            headers: serde_json::from_str(&answer.headers).unwrap_or_default(),
            body: answer.body.map(Into::into),
        }
    }
}

/// The digest of what a request consists of; it depends on where the parts begin.
pub fn fingerprint(parts: &[&[u8]]) -> Box<[u8]> {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
        digest.update(part);
    }
    digest.finalize().as_slice().into()
}

impl Claim {
    /// Keeps the answer for a day, in the batch that makes its effects durable.
    pub(crate) fn answered(&self, kept: Kept) -> Op {
        let answer = Answer {
            status: kept.status,
            headers: Value::Object(kept.headers).to_string(),
            body: kept.body.map(Into::into),
        };
        Op::Answer(self.row(Some(answer)))
    }

    /// Frees the key.
    pub(crate) fn released(self) -> Op {
        Op::Release(self.key)
    }

    fn row(&self, answer: Option<Answer>) -> Idempotency {
        Idempotency {
            key: self.key.clone(),
            fingerprint: self.fingerprint.clone(),
            answer,
            created_at: self.created_at,
            expires_at: self.created_at.plus(KEPT_FOR),
        }
    }
}

const KEPT_FOR: Span = Span::from_secs(86_400);
