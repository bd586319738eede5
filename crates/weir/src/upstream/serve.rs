//! Accepts connections and answers their requests, HTTP/1.1 and HTTP/2 on one port.

use std::future::pending;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioExecutor;
use hyper_util::server::conn::auto::Builder;
use tokio::sync::watch;

use crate::upstream::body::{Broken, ReplyBody};
use crate::upstream::call::Call;
use crate::upstream::dispatch::{self, State};
use crate::upstream::knobs::{Hang, Knobs};
use crate::upstream::line::{Line, ResetFlag};
use crate::upstream::reply::{Content, Reply};
use crate::upstream::stats::Visit;

/// How the mock is run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// Threads, each with an event loop of its own on the same socket; 0 counts as 1.
    pub(crate) threads: usize,
}

/// A running mock; dropping it stops it without waiting.
#[derive(Debug)]
pub(crate) struct Handle {
    address: SocketAddr,
    stop: watch::Sender<()>,
    threads: Vec<JoinHandle<()>>,
}

impl Handle {
    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes the listener and every connection, and waits for the threads to end.
    pub(crate) fn stop(self) {
        drop(self.stop);
        for thread in self.threads {
            // A thread that panicked has said so on stderr; it is ended all the same.
            let _ = thread.join();
        }
    }
}

/// Serves the mock on threads of its own.
///
/// # Errors
///
/// When a thread or its event loop cannot be made.
pub(crate) fn spawn(listener: TcpListener, options: Options) -> io::Result<Handle> {
    let address = listener.local_addr()?;
    listener.set_nonblocking(true)?;
    let (stop, stopped) = watch::channel(());
    let state = Arc::new(State::default());
    let mut threads = Vec::new();
    for number in 0..options.threads.max(1) {
        let listener = listener.try_clone()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let state = Arc::clone(&state);
        let mut stopped = stopped.clone();
        let serve = move || {
            runtime.block_on(async {
                tokio::select! {
                    () = accept(listener, state) => {}
                    // Ends with an error when the handle is gone: that is the sign.
                    _ = stopped.changed() => {}
                }
            });
        };
        threads.push(std::thread::Builder::new().name(format!("mock-{number}")).spawn(serve)?);
    }
    Ok(Handle { address, stop, threads })
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
    let mut builder = Builder::new(TokioExecutor::new());
    // Idle connections stay open: clients of a mock decide when to leave.
    builder.http1().header_read_timeout(None).pipeline_flush(true);
    builder.http2().max_concurrent_streams(10_000);
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors, most likely; connections that end free some.
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        // Without it answers are only slower.
        let _ = stream.set_nodelay(true);
        let reset = ResetFlag::default();
        let line = Line::new(stream, Arc::clone(&reset));
        let (builder, state) = (builder.clone(), Arc::clone(&state));
        tokio::spawn(async move {
            let service =
                service_fn(|request| answer(Arc::clone(&state), Arc::clone(&reset), request));
            // Clients that leave and connections broken on purpose end here; neither is news.
            let _ = builder.serve_connection(line, service).await;
        });
    }
}

async fn answer(
    state: Arc<State>,
    reset: ResetFlag,
    request: Request<Incoming>,
) -> Result<Response<ReplyBody>, Broken> {
    let mut visit = state.visit(request.uri().path());
    let (head, body) = request.into_parts();
    let body = match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            let reply = dispatch::too_large(head.uri.path());
            return Ok(response(reply, false, visit, &Knobs::default()));
        }
        // The client broke off its own request: the visit counts as cancelled.
        Err(_) => return Err(Broken),
    };
    let call = Arc::new(Call { method: head.method, uri: head.uri, headers: head.headers, body });
    state.remember(&call);
    let (knobs, reply) = match Knobs::read(&call.headers, call.uri.query()) {
        Ok(knobs) => {
            let reply = dispatch::reply(&state, &call, &knobs);
            (knobs, reply)
        }
        Err(message) => (Knobs::default(), dispatch::bad_knob(call.path(), &message)),
    };
    if knobs.reset && head.version != Version::HTTP_2 {
        // On HTTP/2 the connection carries other streams; only this one is reset.
        reset.store(true, Ordering::Relaxed);
    }
    if !knobs.delay.is_zero() {
        tokio::time::sleep(knobs.delay).await;
    }
    if knobs.hang == Some(Hang::BeforeHead) {
        pending::<()>().await;
    }
    if knobs.reset && knobs.cut.is_none() {
        visit.end();
        return Err(Broken);
    }
    Ok(response(reply, call.method == Method::HEAD, visit, &knobs))
}

/// Puts the head together; the body of an answer to HEAD is left out, its length is not.
fn response(reply: Reply, is_head: bool, visit: Visit, knobs: &Knobs) -> Response<ReplyBody> {
    let Reply { status, mut headers, mut content } = reply;
    for (name, value) in &knobs.headers {
        headers.insert(name, value.clone());
    }
    if status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED {
        content = Content::Whole(Bytes::new());
    } else if is_head {
        if let Some(length) = content.length() {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        content = Content::Whole(Bytes::new());
    }
    let mut response = Response::new(ReplyBody::new(content, visit, knobs));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(10);
const BODY_BYTES_MAX: usize = 64 << 20;
