//! A body that does not wait for ever for its next piece.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

/// Passes on the frames of another body; an error when none arrives in time.
///
/// Only time in which somebody waits counts: a slow reader of this body is not its sender's fault.
#[derive(Debug)]
pub struct IdleBody<B> {
    inner: B,
    idle_max: Duration,
    waiting_since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
pub enum IdleBodyError<E: Error + 'static> {
    /// Nothing arrived in time.
    #[error("nothing of the body arrived for {} ms", .0.as_millis())]
    Idle(Duration),
    /// The body was malformed, or its connection broke.
    #[error("the body broke off or is malformed")]
    Broken(#[source] E),
}

impl<B> IdleBody<B> {
    /// Allows `idle_max` between two frames.
    pub fn new(inner: B, idle_max: Duration) -> Self {
        Self { inner, idle_max, waiting_since: None, timer: None }
    }

    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let now = Instant::now();
        let deadline = *self.waiting_since.get_or_insert(now) + self.idle_max;
        poll_deadline(&mut self.timer, deadline, now, cx)
    }
}

impl<B> Body for IdleBody<B>
where
    B: Body + Unpin,
    B::Error: Error + 'static,
{
    type Data = B::Data;
    type Error = IdleBodyError<B::Error>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, Self::Error>>> {
        let this = &mut *self;
        match Pin::new(&mut this.inner).poll_frame(cx) {
            Poll::Ready(frame) => {
                this.waiting_since = None;
                Poll::Ready(frame.map(|frame| frame.map_err(IdleBodyError::Broken)))
            }
            Poll::Pending => {
                this.poll_idle(cx).map(|()| Some(Err(IdleBodyError::Idle(this.idle_max))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Whether a client's body, of which so many bytes came in so long, comes too slowly to be waited for.
pub(crate) fn is_too_slow(bytes: u64, taken: Duration) -> bool {
    u128::from(bytes) < taken.as_millis() * SLOWEST_BYTES_PER_S / 1_000
}

const SLOWEST_BYTES_PER_S: u128 = 500;

/// Ready at the deadline. The timer is only moved when it goes off too early or stands too late,
/// so that a deadline that keeps moving away costs nothing.
pub(crate) fn poll_deadline(
    timer: &mut Option<Pin<Box<Sleep>>>,
    deadline: Instant,
    now: Instant,
    cx: &mut Context<'_>,
) -> Poll<()> {
    if now >= deadline {
        return Poll::Ready(());
    }
    let sleep = timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
    if sleep.deadline() > deadline {
        sleep.as_mut().reset(deadline);
    }
    while sleep.as_mut().poll(cx).is_ready() {
        if sleep.deadline() >= deadline {
            return Poll::Ready(());
        }
        sleep.as_mut().reset(deadline);
    }
    Poll::Pending
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::stream;
    use http_body_util::{BodyExt, StreamBody};
    use tokio::sync::mpsc;

    use super::*;

    #[test]
    fn a_body_may_take_its_time_but_not_for_ever() {
        assert!(!is_too_slow(0, Duration::ZERO));
        assert!(!is_too_slow(500, Duration::from_secs(1)));
        assert!(is_too_slow(499, Duration::from_secs(1)));
        assert!(!is_too_slow(32 << 20, Duration::from_secs(60_000)));
    }

    #[tokio::test(start_paused = true)]
    async fn only_waiting_for_too_long_is_an_error() {
        let (sender, receiver) = mpsc::channel::<std::io::Result<Frame<Bytes>>>(4);
        let frames =
            stream::unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver)));
        let mut body = IdleBody::new(StreamBody::new(Box::pin(frames)), Duration::from_secs(10));
        for _ in 0..3 {
            sender.send(Ok(Frame::data(Bytes::from_static(b"x")))).await.unwrap();
            tokio::time::sleep(Duration::from_secs(60)).await;
            assert!(body.frame().await.unwrap().unwrap().is_data());
            let early = tokio::time::timeout(Duration::from_secs(9), body.frame()).await;
            assert!(early.is_err());
        }
        let error = body.frame().await.unwrap().unwrap_err();
        assert!(matches!(error, IdleBodyError::Idle(_)));
    }
}
