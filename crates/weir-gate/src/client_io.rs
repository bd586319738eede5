//! The bytes of one client connection: watched, timed, and closed so that the client hears why.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::{StatusCode, header};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::framing::{FramingWatch, Phase, Verdict};
use crate::handler::{Peer, Refuser};
use crate::head::HeadRefusal;
use crate::idle_body::poll_deadline;
use crate::settings::ClientTimeouts;

/// What the socket side and the request side of one connection know of each other.
pub(crate) struct Exchange {
    state: Mutex<State>,
}

struct State {
    /// On HTTP/1 connections.
    watch: Option<FramingWatch>,
    /// Calls begun whose answers are not handed to the HTTP library completely.
    in_flight: usize,
    /// A call has begun since everything written was flushed.
    answering: bool,
    /// Any call was begun.
    served: bool,
    /// The client has sent what nobody will read.
    unread: bool,
    /// Begin of the silence that the client may be blamed for.
    quiet_since: Instant,
}

/// One call in flight; over when dropped.
pub(crate) struct InFlight(Arc<Exchange>);

/// The socket as the HTTP library sees it.
pub(crate) struct ClientIo<S> {
    inner: S,
    /// Read before the protocol was known.
    prefix: Bytes,
    exchange: Arc<Exchange>,
    refuser: Arc<dyn Refuser>,
    peer: Peer,
    timeouts: ClientTimeouts,
    /// Our own last words, instead of the HTTP library's.
    last_words: Option<Bytes>,
    stalled_since: Option<Instant>,
    lingering_until: Option<Instant>,
    read_timer: Option<Pin<Box<Sleep>>>,
    write_timer: Option<Pin<Box<Sleep>>>,
}

impl Exchange {
    pub(crate) fn new(watch: Option<FramingWatch>) -> Arc<Self> {
        let state = State {
            watch,
            in_flight: 0,
            answering: false,
            served: false,
            unread: false,
            quiet_since: Instant::now(),
        };
        Arc::new(Self { state: Mutex::new(state) })
    }

    /// Begins a call; with the watch's verdict on its head on an HTTP/1 connection.
    pub(crate) fn begin(self: &Arc<Self>) -> (InFlight, Option<Verdict>) {
        let mut state = self.state.lock();
        state.in_flight += 1;
        state.answering = true;
        state.served = true;
        let verdict = state.watch.as_mut().map(FramingWatch::verdict);
        drop(state);
        (InFlight(Arc::clone(self)), verdict)
    }

    /// Nothing more of this connection will be read: take time to let the client read the answer.
    pub(crate) fn give_up_reading(&self) {
        self.state.lock().unread = true;
    }

    /// The connection speaks another protocol from here.
    pub(crate) fn release(&self) {
        if let Some(watch) = &mut self.state.lock().watch {
            watch.release();
        }
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.state.lock().in_flight
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.in_flight -= 1;
        if state.in_flight == 0 {
            state.quiet_since = Instant::now();
        }
    }
}

impl State {
    fn feed(&mut self, bytes: &[u8]) {
        let Some(watch) = &mut self.watch else { return };
        let before = watch.phase();
        watch.feed(bytes);
        // The first head of a connection has been awaited since it was opened.
        let begins = before == Phase::Idle && watch.phase() == Phase::Head;
        if begins && self.served && self.in_flight == 0 {
            self.quiet_since = Instant::now();
        }
    }

    /// How long the client may stay silent now; `None`: it is not its turn.
    fn silence_max(&self, timeouts: &ClientTimeouts) -> Option<Duration> {
        if self.in_flight > 0 {
            return None;
        }
        let watch = self.watch.as_ref();
        match watch.map_or(Phase::Idle, FramingWatch::phase) {
            Phase::Lost if watch.is_some_and(|watch| watch.fault().is_none()) => None,
            Phase::Idle if self.served => Some(timeouts.idle),
            Phase::Body => Some(timeouts.body_idle),
            Phase::Idle | Phase::Head | Phase::Lost => Some(timeouts.head),
        }
    }
}

impl<S> ClientIo<S> {
    pub(crate) fn new(
        inner: S,
        prefix: Bytes,
        exchange: Arc<Exchange>,
        refuser: Arc<dyn Refuser>,
        peer: Peer,
        timeouts: ClientTimeouts,
    ) -> Self {
        Self {
            inner,
            prefix,
            exchange,
            refuser,
            peer,
            timeouts,
            last_words: None,
            stalled_since: None,
            lingering_until: None,
            read_timer: None,
            write_timer: None,
        }
    }

    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let deadline = {
            let state = self.exchange.state.lock();
            state.silence_max(&self.timeouts).map(|silence_max| state.quiet_since + silence_max)
        };
        // Nobody tells this side when a call ends: while one is in flight, a timer asks again; one
        // that runs already will.
        if deadline.is_none()
            && let Some(timer) = &mut self.read_timer
            && timer.as_mut().poll(cx).is_pending()
        {
            return Poll::Pending;
        }
        let now = Instant::now();
        let ask_at = deadline.unwrap_or(now + self.timeouts.idle);
        poll_deadline(&mut self.read_timer, ask_at, now, cx)
            .map(|()| Err(io::Error::new(io::ErrorKind::TimedOut, "the client was silent")))
    }

    /// `Pending` from a write: an error when the client has taken nothing for too long.
    fn poll_stall<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        let now = Instant::now();
        let deadline = *self.stalled_since.get_or_insert(now) + self.timeouts.send;
        poll_deadline(&mut self.write_timer, deadline, now, cx)
            .map(|()| Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing")))
    }

    /// Replaces an answer that the HTTP library gives on its own: an HTTP/1 answer that begins
    /// while no call is being answered.
    fn replaces(&mut self, written: &[u8]) -> bool {
        if self.last_words.is_some() {
            return true;
        }
        let mut state = self.exchange.state.lock();
        let Some(watch) = &state.watch else { return false };
        if state.answering || watch.phase() == Phase::Lost && watch.fault().is_none() {
            return false;
        }
        let status = written.strip_prefix(b"HTTP/1.").and_then(|rest| rest.get(2..5));
        let Some(status) = status.and_then(|code| StatusCode::from_bytes(code).ok()) else {
            return false;
        };
        let refusal = HeadRefusal::of_parser(status, watch.fault());
        state.unread = true;
        drop(state);
        self.last_words = Some(plain_answer(&self.refuser.refuse(refusal, &self.peer)));
        true
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> ClientIo<S> {
    fn poll_last_words(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(words) = self.last_words.as_mut().filter(|words| words.has_remaining()) {
            match Pin::new(&mut self.inner).poll_write(cx, words) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(n)) => words.advance(n),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return self.poll_stall(cx),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads away what the client still sends: a socket closed with unread bytes is reset, and the
    /// client might lose the answer (RFC 9112 section 9.6).
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let unread = {
            let state = self.exchange.state.lock();
            let phase = state.watch.as_ref().map(FramingWatch::phase);
            state.unread || matches!(phase, Some(Phase::Body))
        };
        if !unread {
            return Poll::Ready(Ok(()));
        }
        let now = Instant::now();
        let deadline = *self.lingering_until.get_or_insert(now + LINGER);
        let mut space = [0_u8; 8192];
        loop {
            if poll_deadline(&mut self.read_timer, deadline, Instant::now(), cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            let mut buffer = ReadBuf::new(&mut space);
            match ready!(Pin::new(&mut self.inner).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {}
                _ => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ClientIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.prefix.has_remaining() {
            let piece = this.prefix.split_to(this.prefix.len().min(buffer.remaining()));
            this.exchange.state.lock().feed(&piece);
            buffer.put_slice(&piece);
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        match Pin::new(&mut this.inner).poll_read(cx, buffer) {
            Poll::Pending => this.poll_silence(cx),
            Poll::Ready(Ok(())) => {
                let read = buffer.filled().get(before..).unwrap_or_default();
                this.exchange.state.lock().feed(read);
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for ClientIo<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.replaces(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        match Pin::new(&mut self.inner).poll_write(cx, bytes) {
            Poll::Pending => self.poll_stall(cx),
            ready => {
                self.stalled_since = None;
                ready
            }
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.replaces(slices.first().map_or(&[], |slice| slice)) {
            return Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()));
        }
        match Pin::new(&mut self.inner).poll_write_vectored(cx, slices) {
            Poll::Pending => self.poll_stall(cx),
            ready => {
                self.stalled_since = None;
                ready
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_last_words(cx))?;
        ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
        let mut state = self.exchange.state.lock();
        if state.in_flight == 0 {
            state.answering = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingering_until.is_none() {
            ready!(self.poll_last_words(cx))?;
            ready!(Pin::new(&mut self.inner).poll_shutdown(cx))?;
        }
        self.poll_linger(cx)
    }
}

/// An HTTP/1.1 answer as bytes, the last of its connection.
fn plain_answer(answer: &http::Response<Bytes>) -> Bytes {
    let status = answer.status();
    let reason = status.canonical_reason().unwrap_or_default();
    let mut text = format!("HTTP/1.1 {} {reason}\r\n", status.as_str()).into_bytes();
    for (name, value) in answer.headers() {
        if name == header::CONTENT_LENGTH || name == header::CONNECTION {
            continue;
        }
        text.extend_from_slice(name.as_str().as_bytes());
        text.extend_from_slice(b": ");
        text.extend_from_slice(value.as_bytes());
        text.extend_from_slice(b"\r\n");
    }
    let length = answer.body().len();
    text.extend_from_slice(
        format!("content-length: {length}\r\nconnection: close\r\n\r\n").as_bytes(),
    );
    text.extend_from_slice(answer.body());
    text.into()
}

/// How long a closed connection is read on.
const LINGER: Duration = Duration::from_secs(2);
