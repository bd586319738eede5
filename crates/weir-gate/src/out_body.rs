//! The body of a request on its way to an upstream.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{LengthLimitError, Limited};
use hyper::body::Incoming;

use crate::handler::{BoxError, RequestBody};
use crate::idle_body::IdleBodyError;
use crate::sent_mark::SentMark;

/// The body of a request on its way to an upstream.
#[derive(Debug)]
pub enum OutBody {
    /// All of it is here.
    Whole(Option<Bytes>),
    /// It is passed on as it comes, up to the most that is allowed; what became of it is kept for
    /// whoever must tell.
    Passed(Limited<RequestBody>, BodyFate),
}

/// What became of a client's body. If something was wrong with it the upstream's connection breaks,
/// and is not to blame.
#[derive(Clone, Debug, Default)]
pub struct BodyFate(Arc<Fate>);

#[derive(Debug, Default)]
struct Fate {
    fault: OnceLock<Fault>,
    bytes: AtomicU64,
    /// Whoever waits for the answer to it.
    mark: OnceLock<SentMark>,
}

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

impl BodyFate {
    /// What was wrong, if something was.
    pub fn fault(&self) -> Option<Fault> {
        self.0.fault.get().copied()
    }

    /// How many bytes of it were passed on.
    pub fn bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }

    fn passed(&self, bytes: usize) {
        self.0.bytes.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
        if let Some(mark) = self.0.mark.get() {
            mark.uploaded(bytes);
        }
    }

    fn ended(&self) {
        if let Some(mark) = self.0.mark.get() {
            mark.uploading(false);
        }
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
        Self::Passed(Limited::new(body, max), BodyFate::default())
    }

    /// Tells whoever waits for the answer how far it has come, if it is still on its way.
    pub fn tell(&self, mark: &SentMark) {
        if let Self::Passed(body, fate) = self
            && !body.is_end_stream()
        {
            mark.uploading(true);
            fate.0.mark.get_or_init(|| mark.clone());
        }
    }

    /// Where it will be told what became of a client's body.
    pub fn fate(&self) -> BodyFate {
        match self {
            Self::Whole(bytes) => {
                let fate = BodyFate::default();
                fate.passed(bytes.as_ref().map_or(0, Bytes::len));
                fate
            }
            Self::Passed(_, fate) => fate.clone(),
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
            Self::Passed(body, fate) => {
                let polled = Pin::new(&mut *body).poll_frame(context);
                if let Poll::Ready(Some(Ok(frame))) = &polled {
                    fate.passed(frame.data_ref().map_or(0, Bytes::len));
                }
                if polled.is_ready()
                    && (body.is_end_stream() || !matches!(polled, Poll::Ready(Some(Ok(_)))))
                {
                    fate.ended();
                }
                polled.map_err(|error| {
                    fate.0.fault.get_or_init(|| Fault::of(&error));
                    OutError(error)
                })
            }
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
