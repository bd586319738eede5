//! Connections to one address that wait for their next request. One pool per core and address.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::Either;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use crate::dial::{DialError, Sender, Target, dial};
use crate::handler::BoxError;

/// Idle HTTP/1 connections, and the one HTTP/2 connection that all calls share.
#[derive(Debug)]
pub(crate) struct Pool<B> {
    target: Target,
    connect_timeout: Duration,
    idle_max: Duration,
    idle: Mutex<Idle<B>>,
}

#[derive(Debug)]
struct Idle<B> {
    h1: VecDeque<(http1::SendRequest<B>, Instant)>,
    h2: Option<http2::SendRequest<B>>,
}

/// A connection for one call.
#[derive(Debug)]
pub(crate) struct Lease<B> {
    sender: Sender<B>,
    /// It has served before: it may be gone without our knowing.
    pub(crate) reused: bool,
}

impl<B> Lease<B> {
    pub(crate) fn is_h2(&self) -> bool {
        matches!(self.sender, Sender::H2(_))
    }
}

impl<B> Pool<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    pub(crate) fn new(target: Target, connect_timeout: Duration, idle_max: Duration) -> Arc<Self> {
        let idle = Mutex::new(Idle { h1: VecDeque::new(), h2: None });
        Arc::new(Self { target, connect_timeout, idle_max, idle })
    }

    /// An idle connection, else (or if `fresh`) a new one.
    pub(crate) async fn lease(&self, fresh: bool) -> Result<Lease<B>, DialError> {
        while !fresh && let Some(sender) = self.take() {
            let sender = match sender {
                Sender::H1(mut sender) => {
                    // It was put back with the end of its answer; the connection's own task may
                    // still have to notice.
                    let ready = sender.is_ready()
                        || matches!(timeout(SETTLE, sender.ready()).await, Ok(Ok(())));
                    if !ready {
                        continue;
                    }
                    Sender::H1(sender)
                }
                shared @ Sender::H2(_) => shared,
            };
            return Ok(Lease { sender, reused: true });
        }
        // Boxed: calls that find a connection, nearly all, do not carry the room for a handshake.
        let sender = Box::pin(dial(&self.target, self.connect_timeout)).await?;
        if let Sender::H2(shared) = &sender {
            self.idle.lock().h2 = Some(shared.clone());
        }
        Ok(Lease { sender, reused: false })
    }

    /// Takes the connection back when its answer has ended.
    pub(crate) fn put(&self, lease: Lease<B>) {
        let Sender::H1(sender) = lease.sender else { return };
        if sender.is_closed() {
            return;
        }
        let now = Instant::now();
        let mut idle = self.idle.lock();
        while idle.h1.front().is_some_and(|(_, since)| now - *since > self.idle_max) {
            idle.h1.pop_front();
        }
        if idle.h1.len() < IDLE_COUNT_MAX {
            idle.h1.push_back((sender, now));
        }
    }

    fn take(&self) -> Option<Sender<B>> {
        let mut idle = self.idle.lock();
        if let Some(shared) = &idle.h2 {
            if !shared.is_closed() {
                return Some(Sender::H2(shared.clone()));
            }
            idle.h2 = None;
        }
        let now = Instant::now();
        while let Some((sender, since)) = idle.h1.pop_back() {
            if !sender.is_closed() && now - since <= self.idle_max {
                return Some(Sender::H1(sender));
            }
        }
        None
    }
}

impl<B> Lease<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    /// Sends a request; the error carries it back if nothing of it was written.
    pub(crate) fn send(
        &mut self,
        request: Request<B>,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<B>>>> + use<B> {
        match &mut self.sender {
            Sender::H1(sender) => Either::Left(sender.try_send_request(request)),
            Sender::H2(sender) => Either::Right(sender.try_send_request(request)),
        }
    }
}

/// For a connection's task to notice that its answer has ended.
const SETTLE: Duration = Duration::from_millis(50);

/// Idle connections to one address and core.
const IDLE_COUNT_MAX: usize = 4096;
