//! Waiting for a batch to be durable.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::sync::oneshot;

use crate::error::CommitError;

/// What is known of a batch once it is durable.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Committed {
    /// The new revisions of the resources it put, in order.
    pub revisions: Vec<u64>,
}

/// A batch on its way to the disk. It goes its way whether or not anybody waits.
#[derive(Debug)]
#[must_use = "the batch is durable only when this says so"]
pub struct Commit(State);

#[derive(Debug)]
enum State {
    Refused(CommitError),
    Waiting(oneshot::Receiver<Outcome>),
}

/// What becomes of a batch.
pub(crate) type Outcome = Result<Committed, CommitError>;

impl Commit {
    /// A commit that was refused at the door.
    pub fn refused(error: CommitError) -> Self {
        Self(State::Refused(error))
    }

    pub(crate) fn waiting(outcome: oneshot::Receiver<Outcome>) -> Self {
        Self(State::Waiting(outcome))
    }

    /// Blocks the thread until the batch is durable or failed. Not for async code.
    ///
    /// # Errors
    ///
    /// [`CommitError`]; nothing of the batch is stored then.
    pub fn wait(self) -> Result<Committed, CommitError> {
        match self.0 {
            State::Refused(error) => Err(error),
            State::Waiting(outcome) => outcome.blocking_recv().unwrap_or(Err(CommitError::Fenced)),
        }
    }
}

impl Future for Commit {
    type Output = Result<Committed, CommitError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Refused(error) => Poll::Ready(Err(error.clone())),
            State::Waiting(outcome) => {
                // A sender that is gone without a word means that its thread is.
                let outcome = ready!(Pin::new(outcome).poll(context));
                Poll::Ready(outcome.unwrap_or(Err(CommitError::Fenced)))
            }
        }
    }
}
