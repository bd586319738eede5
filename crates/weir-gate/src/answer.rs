//! What goes back to a client: a body at hand, an upstream's, or one that a relay feeds.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use tokio::sync::mpsc;

use crate::handler::BoxError;

/// The body of an answer.
pub enum AnswerBody {
    /// All of it is here.
    Whole(Option<Bytes>),
    /// A relay feeds it; its length if that is known.
    Fed(mpsc::Receiver<Result<Bytes, BoxError>>, SizeHint),
    /// Another body is passed on.
    Passed(UnsyncBoxBody<Bytes, BoxError>),
}

/// A whole answer.
pub type Answer = Response<AnswerBody>;

impl AnswerBody {
    /// A body that is at hand.
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        Self::Whole(Some(bytes.into()))
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut *self {
            Self::Whole(bytes) => Poll::Ready(
                bytes.take().filter(|bytes| !bytes.is_empty()).map(|bytes| Ok(Frame::data(bytes))),
            ),
            Self::Fed(receiver, _) => {
                receiver.poll_recv(context).map(|fed| fed.map(|fed| fed.map(Frame::data)))
            }
            Self::Passed(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
            Self::Fed(..) => false,
            Self::Passed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Fed(_, hint) => *hint,
            Self::Passed(body) => body.size_hint(),
        }
    }
}
