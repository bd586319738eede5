//! A charge that is waited for, and what counts only once it is stored.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use weir_core::admit::Grant;
use weir_core::money::Nano;
use weir_store::commit::{Commit, Committed};
use weir_store::error::CommitError;

use crate::cell::KeyCell;
use crate::engine::Engine;

/// A settled call on its way to the disk. It goes its way whether or not anybody waits.
#[derive(Debug)]
#[must_use = "the charge is durable only when this says so"]
pub struct Charging {
    commit: Commit,
    withheld: Option<Box<Withheld>>,
}

/// A charge whose answer waits for it: the call is charged and answered, or neither.
#[derive(Debug)]
pub(crate) struct Withheld {
    pub(crate) engine: Arc<Engine>,
    pub(crate) key: Arc<KeyCell>,
    pub(crate) grant: Grant,
    pub(crate) charged: Nano,
    /// What of that was taken as debt.
    pub(crate) debt: Nano,
}

impl Charging {
    /// A commit that changes nothing of what is counted.
    pub(crate) fn counted(commit: Commit) -> Self {
        Self { commit, withheld: None }
    }

    /// A commit with a charge that counts once it is stored.
    pub(crate) fn withheld(commit: Commit, withheld: Withheld) -> Self {
        Self { commit, withheld: Some(Box::new(withheld)) }
    }

    /// Blocks the thread until the charge is durable or failed. Not for async code.
    ///
    /// # Errors
    ///
    /// [`CommitError`]; the charge is not stored then.
    pub fn wait(self) -> Result<Committed, CommitError> {
        let outcome = self.commit.wait();
        if let Some(withheld) = self.withheld {
            withheld.end(outcome.is_ok());
        }
        outcome
    }
}

impl Future for Charging {
    type Output = Result<Committed, CommitError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = ready!(Pin::new(&mut self.commit).poll(context));
        if let Some(withheld) = self.withheld.take() {
            withheld.end(outcome.is_ok());
        }
        Poll::Ready(outcome)
    }
}

impl Withheld {
    /// Counts the charge, or takes it back from the limits that count money. Requests and tokens
    /// stay counted: the upstream was called.
    fn end(self, stored: bool) {
        let Self { engine, key, grant, charged, debt } = self;
        if stored {
            engine.meters().charged_more(charged);
            engine.count_debt(debt);
            return;
        }
        engine.meters().given_up(charged);
        let mut live = key.account.live.lock();
        let clock = engine.now();
        live.account.unspend(&grant, &key.state.load().limits, charged, clock);
        drop(live);
        engine.touch(&key.account);
    }
}
