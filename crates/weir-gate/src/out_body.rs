//! The body of a request on its way to an upstream.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{LengthLimitError, Limited};
use hyper::body::Incoming;

use crate::handler::{BoxError, RequestBody};
use crate::idle_body::IdleBodyError;

/// The body of a request on its way to an upstream.
#[derive(Debug)]
pub enum OutBody {
    /// All of it is here.
    Whole(Option<Bytes>),
    /// It is passed on as it comes, up to the most that is allowed; what was wrong with it is kept
    /// for whoever must tell.
    Passed(Limited<RequestBody>, BodyFault),
}

/// What was wrong with a client's body, once something is: the upstream's connection then breaks,
/// and is not to blame.
#[derive(Clone, Debug, Default)]
pub struct BodyFault(Arc<OnceLock<Fault>>);

/// What was wrong with a client's body.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// More than is allowed.
    TooLarge,
    /// Nothing of it came for too long.
    Late,
    /// It broke off, or is malformed.
    Broken,
}

impl Fault {
    /// What is wrong with a body that ended with this error.
    pub fn of(error: &BoxError) -> Self {
        if error.is::<LengthLimitError>() {
            return Self::TooLarge;
        }
        match error.downcast_ref::<IdleBodyError<<Incoming as Body>::Error>>() {
            Some(IdleBodyError::Idle(_)) => Self::Late,
            _ => Self::Broken,
        }
    }
}

impl BodyFault {
    /// What was wrong, if something was.
    pub fn told(&self) -> Option<Fault> {
        self.0.get().copied()
    }
}

/// A client's body could not be passed on.
#[derive(Debug, thiserror::Error)]
#[error("the body of the request broke off")]
pub struct OutError(#[source] pub BoxError);

impl OutBody {
    /// A body that is at hand.
    pub fn whole(bytes: Bytes) -> Self {
        Self::Whole(Some(bytes).filter(|bytes| !bytes.is_empty()))
    }

    /// A client's body, of at most `max` bytes.
    pub fn passed(body: RequestBody, max: usize) -> Self {
        Self::Passed(Limited::new(body, max), BodyFault::default())
    }

    /// Where it will be told what was wrong with a client's body.
    pub fn fault(&self) -> BodyFault {
        match self {
            Self::Whole(_) => BodyFault::default(),
            Self::Passed(_, fault) => fault.clone(),
        }
    }
}

impl Body for OutBody {
    type Data = Bytes;
    type Error = OutError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, OutError>>> {
        match &mut *self {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Passed(body, fault) => Pin::new(body).poll_frame(context).map_err(|error| {
                fault.0.get_or_init(|| Fault::of(&error));
                OutError(error)
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Passed(body, _) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Passed(body, _) => body.size_hint(),
        }
    }
}
