//! Serves a router on a listener: bounded connections, heads and patience; ends gracefully.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use http::Request;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use crate::first_word::FirstWord;

/// Serves until `shutdown` resolves, then lets running requests end, at most [`GRACE`].
///
/// At most [`CONNECTIONS_MAX`] connections are open at a time; others wait unaccepted. A request
/// head may have 64 KiB and must be there within 10 s; so must a connection's first bytes. Who had
/// connected when the end began is answered if the first request comes within [`LATE_HEAD`].
pub async fn serve(listener: TcpListener, router: Router, shutdown: impl Future<Output = ()>) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let (end, ending) = watch::channel(false);
    let builder = Arc::new(builder());
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = async {
            let place = Arc::clone(&connections).acquire_owned().await;
            (listener.accept().await, place)
        };
        let (accepted, place) = tokio::select! {
            accepted = accepted => accepted,
            () = &mut shutdown => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                pause_after(&error).await;
                continue;
            }
        };
        // Answers are small: waiting to fill a packet would only delay them.
        let _ = stream.set_nodelay(true);
        let (builder, router, ending) = (Arc::clone(&builder), router.clone(), ending.clone());
        tokio::spawn(async move {
            let _place = place;
            if let Err(error) = converse(&builder, stream, router, ending).await {
                tracing::debug!(error, "a connection to the API ended early");
            }
        });
    }
    drop(listener);
    end.send_replace(true);
    let all = u32::try_from(CONNECTIONS_MAX).unwrap_or(u32::MAX);
    if tokio::time::timeout(GRACE, connections.acquire_many(all)).await.is_err() {
        tracing::warn!("requests to the API were cut off at the end");
    }
}

/// Serves one connection to its end. One that is told to end before its first request is there
/// would be closed by the HTTP library, whatever is on its way.
async fn converse(
    builder: &Builder<TokioExecutor>,
    stream: TcpStream,
    router: Router,
    mut ending: watch::Receiver<bool>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let (begin, mut begun) = watch::channel(false);
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |request: Request<Incoming>| {
        begin.send_replace(true);
        router.call(request)
    });
    let stream = TokioIo::new(FirstWord::new(stream, HEAD_TIMEOUT));
    let mut connection = pin!(builder.serve_connection(stream, service));
    let told = async {
        said(&mut ending).await;
        let _late = timeout(LATE_HEAD, said(&mut begun)).await;
    };
    tokio::select! {
        biased;
        result = connection.as_mut() => return result,
        () = told => connection.as_mut().graceful_shutdown(),
    }
    connection.await
}

/// Waits until it is said; without a sender nobody ever will: it counts as said.
async fn said(word: &mut watch::Receiver<bool>) {
    let _said = word.wait_for(|said| *said).await;
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .keep_alive(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(Duration::from_secs(20)))
        .max_concurrent_streams(64)
        .max_header_list_size(64 << 10);
    builder
}

/// Errors of one connection pass; without file descriptors, some must close first.
async fn pause_after(error: &io::Error) {
    let of_peer = matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    );
    if !of_peer {
        tracing::error!(%error, "cannot accept connections to the API");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// How many connections are open at most.
pub const CONNECTIONS_MAX: usize = 512;
/// How long running requests may take to end.
pub const GRACE: Duration = Duration::from_secs(10);
/// For the first request of a connection once the end has begun.
pub const LATE_HEAD: Duration = Duration::from_secs(2);
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
const HEAD_BYTES_MAX: usize = 64 << 10;
