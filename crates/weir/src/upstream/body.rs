//! The body of an answer on its way out: paced, stopped or broken as the knobs say.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

use crate::upstream::knobs::{Cut, Hang, Knobs};
use crate::upstream::reply::Content;
use crate::upstream::stats::Visit;

/// The mock was told to break the connection.
#[derive(Debug, thiserror::Error)]
#[error("the mock was told to break the connection")]
pub(crate) struct Broken;

/// A body that hyper can send.
#[derive(Debug)]
pub(crate) struct ReplyBody {
    content: Content,
    visit: Visit,
    /// Absent for the well-behaved answers, which are nearly all.
    script: Option<Box<Script>>,
}

impl ReplyBody {
    /// Wraps the content of an answer; the visit ends with it.
    pub(crate) fn new(content: Content, mut visit: Visit, knobs: &Knobs) -> Self {
        let script = Script::new(&content, knobs).map(Box::new);
        if script.is_none() && content.length() == Some(0) {
            visit.end();
        }
        Self { content, visit, script }
    }

    fn next_chunk(&mut self) -> Option<Bytes> {
        match &mut self.content {
            Content::Whole(bytes) if bytes.is_empty() => None,
            Content::Whole(bytes) => Some(std::mem::take(bytes)),
            Content::Chunks { left, chunks } => {
                let chunk = chunks.next()?;
                if let Some(left) = left {
                    *left = left.saturating_sub(chunk.len() as u64);
                }
                Some(chunk)
            }
        }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = self.get_mut();
        let step = match &mut this.script {
            Some(script) => ready!(script.poll(context)),
            None => Step::Send,
        };
        if step == Step::Break {
            this.visit.end();
            return Poll::Ready(Some(Err(Broken)));
        }
        let chunk = this.next_chunk().map(|chunk| match step {
            Step::SendHalf => chunk.slice(..chunk.len() / 2),
            Step::Send | Step::Break => chunk,
        });
        if chunk.is_none() || (this.script.is_none() && this.content.length() == Some(0)) {
            this.visit.end();
        }
        Poll::Ready(chunk.map(|chunk| Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        // A script may still have to break or hang behind the last byte.
        self.script.is_none() && self.content.length() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.content.length().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// What to do with the next chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Send,
    SendHalf,
    Break,
}

/// Waits between chunks, and the point where the answer stops or breaks.
#[derive(Debug)]
struct Script {
    first_delay: Duration,
    chunk_delay: Duration,
    /// Break in place of this chunk, counted from 0.
    break_at: Option<u64>,
    /// Send half of this chunk, then break.
    halve_at: Option<u64>,
    hang_at: Option<u64>,
    sent: u64,
    waited: bool,
    flushed: bool,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Script {
    /// None when the knobs ask for nothing that concerns the body.
    fn new(content: &Content, knobs: &Knobs) -> Option<Self> {
        let hang_at = match knobs.hang {
            Some(Hang::After(chunks)) => Some(chunks),
            Some(Hang::BeforeHead) | None => None,
        };
        let second = match content {
            Content::Whole(_) => 0,
            Content::Chunks { .. } => 1,
        };
        let (break_at, halve_at) = match knobs.cut {
            Some(Cut::After(chunks)) => (Some(chunks), None),
            Some(Cut::MidEvent) => (Some(second + 1), Some(second)),
            None => (None, None),
        };
        let paced = !knobs.first_delay.is_zero() || !knobs.chunk_delay.is_zero();
        (paced || hang_at.is_some() || break_at.is_some()).then_some(Self {
            first_delay: knobs.first_delay,
            chunk_delay: knobs.chunk_delay,
            break_at,
            halve_at,
            hang_at,
            sent: 0,
            waited: false,
            flushed: false,
            sleep: None,
        })
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Step> {
        loop {
            if let Some(sleep) = &mut self.sleep {
                ready!(sleep.as_mut().poll(context));
                self.sleep = None;
            }
            if self.hang_at == Some(self.sent) {
                // Nobody wakes this body again; it is dropped with its connection.
                return Poll::Pending;
            }
            if self.break_at == Some(self.sent) {
                if self.flushed {
                    return Poll::Ready(Step::Break);
                }
                // hyper throws away what it has not flushed when a body fails.
                self.flushed = true;
                self.sleep = Some(Box::pin(sleep(FLUSH_WAIT)));
                continue;
            }
            let delay = if self.sent == 0 { self.first_delay } else { self.chunk_delay };
            if !self.waited && !delay.is_zero() {
                self.waited = true;
                self.sleep = Some(Box::pin(sleep(delay)));
                continue;
            }
            let halve = self.halve_at == Some(self.sent);
            self.sent += 1;
            self.waited = false;
            return Poll::Ready(if halve { Step::SendHalf } else { Step::Send });
        }
    }
}

const FLUSH_WAIT: Duration = Duration::from_millis(5);
