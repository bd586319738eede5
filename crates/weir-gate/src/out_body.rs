//! The body of a request on its way to an upstream.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Limited;

use crate::handler::{BoxError, RequestBody};

/// The body of a request on its way to an upstream.
#[derive(Debug)]
pub enum OutBody {
    /// All of it is here.
    Whole(Option<Bytes>),
    /// It is passed on as it comes, up to the most that is allowed.
    Passed(Limited<RequestBody>),
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
        Self::Passed(Limited::new(body, max))
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
            Self::Passed(body) => Pin::new(body)
                .poll_frame(context)
                .map(|frame| frame.map(|frame| frame.map_err(OutError))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Passed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Passed(body) => body.size_hint(),
        }
    }
}
