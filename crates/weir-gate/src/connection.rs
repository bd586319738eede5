//! Serves one client connection: which protocol, which requests, until when.

use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use futures_util::future::{Either, ready};
use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::client_io::{ClientIo, Exchange, InFlight};
use crate::framing::{FramingWatch, Verdict};
use crate::handler::{BoxError, Handler, Peer, Refuser};
use crate::head::{HeadRefusal, check_head};
use crate::idle_body::IdleBody;
use crate::settings::{H2Limits, HeadLimits, ServerSettings};

/// How far the end of serving has come.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Stage {
    /// New connections and requests are welcome.
    Open,
    /// Calls in flight may end.
    Draining,
    /// Nothing may go on.
    Cut,
    /// The threads end.
    Stopped,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Ended {
    /// By either side, in order or not.
    Closed,
    /// A call was in flight when the drain's deadline came.
    Cut,
}

/// What all connections of one core share.
pub(crate) struct Core<H> {
    handler: Arc<H>,
    settings: ServerSettings,
    h1: http1::Builder,
    h2: http2::Builder<TokioExecutor>,
}

impl<H: Handler> Core<H> {
    pub(crate) fn new(handler: Arc<H>, settings: ServerSettings) -> Self {
        let h1 = h1_builder(settings.head);
        let h2 = h2_builder(settings.h2, settings.head);
        Self { handler, settings, h1, h2 }
    }

    /// For a client to say the first thing of its own.
    pub(crate) fn head_timeout(&self) -> Duration {
        self.settings.timeouts.head
    }

    /// Serves a connection until it ends or has to.
    pub(crate) async fn serve<S>(
        self: Arc<Self>,
        mut stream: S,
        peer: Peer,
        mut stage: watch::Receiver<Stage>,
    ) -> Ended
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let first = first_bytes(&mut stream, self.settings.timeouts.head, &mut stage).await;
        let Some((prefix, protocol)) = first else { return Ended::Closed };
        let last = protocol == Protocol::H1 && *stage.borrow() != Stage::Open;
        let watch = match protocol {
            Protocol::H1 => Some(FramingWatch::new(self.settings.head.bytes_max)),
            Protocol::H2 => None,
        };
        let exchange = Exchange::new(watch);
        let refuser: Arc<dyn Refuser> = Arc::clone(&self.handler) as Arc<dyn Refuser>;
        let timeouts = self.settings.timeouts;
        let io = ClientIo::new(stream, prefix, Arc::clone(&exchange), refuser, peer, timeouts);
        let service = {
            let (core, exchange) = (Arc::clone(&self), Arc::clone(&exchange));
            service_fn(move |request| {
                let (call, verdict) = exchange.begin();
                // Boxed: hyper moves it into its place.
                Box::pin(answer(&core, Arc::clone(&exchange), (call, verdict), request, peer, last))
            })
        };
        let io = TokioIo::new(io);
        match protocol {
            Protocol::H1 => {
                let connection = self.h1.serve_connection(io, service).with_upgrades();
                drive(connection, |c| c.graceful_shutdown(), &exchange, stage).await
            }
            Protocol::H2 => {
                let connection = self.h2.serve_connection(io, service);
                drive(connection, |c| c.graceful_shutdown(), &exchange, stage).await
            }
        }
    }
}

/// Waits for a stage or a later one.
pub(crate) async fn reached(stage: &mut watch::Receiver<Stage>, wanted: Stage) {
    // Without a sender nobody will ever say so: it counts as said.
    let _there = stage.wait_for(|stage| *stage >= wanted).await;
}

/// Drives a connection to its end, told by `shut_down` to come to it.
async fn drive<C>(
    connection: C,
    shut_down: impl Fn(Pin<&mut C>),
    exchange: &Exchange,
    mut stage: watch::Receiver<Stage>,
) -> Ended
where
    C: Future<Output = hyper::Result<()>>,
{
    let mut connection = pin!(connection);
    let mut next = Stage::Draining;
    loop {
        tokio::select! {
            biased;
            result = connection.as_mut() => {
                if let Err(error) = result {
                    tracing::debug!(error = &error as &dyn std::error::Error, "connection ended");
                }
                return Ended::Closed;
            }
            () = reached(&mut stage, next) => {
                if next == Stage::Draining {
                    shut_down(connection.as_mut());
                    next = Stage::Cut;
                } else if exchange.in_flight() > 0 {
                    return Ended::Cut;
                } else {
                    return Ended::Closed;
                }
            }
        }
    }
}

/// Answers one request, the `last` of its connection or not.
fn answer<H: Handler>(
    core: &Core<H>,
    exchange: Arc<Exchange>,
    (call, verdict): (InFlight, Option<Verdict>),
    request: Request<Incoming>,
    peer: Peer,
    last: bool,
) -> impl Future<Output = Result<Response<Answer<H::Body>>, Infallible>> + use<H> {
    let (parts, body) = request.into_parts();
    if let Err(refusal) = check_head(&parts, verdict) {
        let response = refused(&*core.handler, refusal, parts.version, &exchange, &peer);
        let response = response.map(|body| Answer::Whole { body: Full::new(body), call });
        return Either::Left(ready(Ok(closing(response, last))));
    }
    let body = IdleBody::new(body, core.settings.timeouts.body_idle);
    let request = Request::from_parts(parts, body);
    let answering = Arc::clone(&core.handler).call(request, peer);
    Either::Right(answering.map(move |response| {
        let response = response.map(|body| Answer::Streamed { body, call });
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            exchange.release();
            return Ok(response);
        }
        Ok(closing(response, last))
    }))
}

fn closing<B>(mut response: Response<B>, last: bool) -> Response<B> {
    if last {
        response.headers_mut().insert(CONNECTION, CLOSE);
    }
    response
}

fn refused(
    refuser: &impl Refuser,
    refusal: HeadRefusal,
    version: Version,
    exchange: &Exchange,
    peer: &Peer,
) -> Response<Bytes> {
    let mut response = refuser.refuse(refusal, peer);
    if version <= Version::HTTP_11 && refusal.ends_connection() {
        response.headers_mut().insert(CONNECTION, CLOSE);
        exchange.give_up_reading();
    }
    response
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Protocol {
    H1,
    H2,
}

/// The first bytes of a connection; `None` if they do not come in time. Who had connected when the
/// drain began did so in good faith: the first request is still waited for, a little.
async fn first_bytes<S>(
    stream: &mut S,
    within: Duration,
    stage: &mut watch::Receiver<Stage>,
) -> Option<(Bytes, Protocol)>
where
    S: AsyncRead + Unpin,
{
    let mut sniffed = pin!(sniff(stream, within));
    tokio::select! {
        biased;
        sniffed = sniffed.as_mut() => return sniffed.ok(),
        () = reached(stage, Stage::Draining) => {}
    }
    tokio::select! {
        biased;
        sniffed = timeout(LATE_HEAD, sniffed) => sniffed.ok()?.ok(),
        () = reached(stage, Stage::Cut) => None,
    }
}

/// Reads until it is clear which protocol the client speaks. hyper-util's own detection waits for
/// ever, and hides the bytes it has read.
async fn sniff<S>(stream: &mut S, within: Duration) -> io::Result<(Bytes, Protocol)>
where
    S: AsyncRead + Unpin,
{
    let read = async {
        let mut bytes = BytesMut::with_capacity(FIRST_READ);
        loop {
            if stream.read_buf(&mut bytes).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if bytes.starts_with(PREFACE) {
                return Ok((bytes.freeze(), Protocol::H2));
            }
            if !PREFACE.starts_with(&bytes) {
                return Ok((bytes.freeze(), Protocol::H1));
            }
        }
    };
    timeout(within, read).await?
}

fn h1_builder(head: HeadLimits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    if head.headers_max != HYPER_HEADERS_MAX {
        // Told a number, hyper clears the room for that many with each request.
        builder.max_headers(head.headers_max);
    }
    builder
        .max_header_size(head.bytes_max)
        .max_buf_size(head.bytes_max.max(H1_BUFFER_MIN))
        // `ClientIo` has the timers: hyper's also counts the time between two requests.
        .header_read_timeout(None);
    builder
}

fn h2_builder(limits: H2Limits, head: HeadLimits) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams_max)
        .max_header_list_size(u32::try_from(head.bytes_max).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(limits.pending_resets_max)
        .max_local_error_reset_streams(limits.local_resets_max)
        .keep_alive_interval(limits.ping_interval)
        .keep_alive_timeout(limits.ping_interval);
    builder
}

pin_project! {
    /// The body of an answer; with its end the call is no longer in flight.
    #[project = AnswerProjection]
    enum Answer<B> {
        Whole { body: Full<Bytes>, call: InFlight },
        Streamed { #[pin] body: B, call: InFlight },
    }
}

impl<B: Body<Data = Bytes, Error = BoxError>> Body for Answer<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.project() {
            AnswerProjection::Whole { body, .. } => {
                Pin::new(body).poll_frame(cx).map_err(|never| match never {})
            }
            AnswerProjection::Streamed { body, .. } => body.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole { body, .. } => body.is_end_stream(),
            Self::Streamed { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole { body, .. } => body.size_hint(),
            Self::Streamed { body, .. } => body.size_hint(),
        }
    }
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// What the first read of a connection may bring: most requests whole.
const FIRST_READ: usize = 2048;

/// For the first bytes of a connection once a drain has begun.
const LATE_HEAD: Duration = Duration::from_secs(2);

/// How many headers hyper takes unless it is told a number.
const HYPER_HEADERS_MAX: usize = 100;

/// hyper's least buffer.
const H1_BUFFER_MIN: usize = 8192;
