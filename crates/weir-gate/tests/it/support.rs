//! A front with a handler that says what it saw, and a client that sends raw bytes.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use parking_lot::Mutex;
use weir_gate::handler::{BoxError, Handler, Peer, Refuser, RequestBody};
use weir_gate::head::HeadRefusal;
use weir_gate::idle_body::IdleBodyError;
use weir_gate::serve::{Serving, serve};
use weir_gate::settings::ServerSettings;

/// What a handler was given, in order: `METHOD target body-length`.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) calls: Mutex<Vec<String>>,
    pub(crate) refusals: Mutex<Vec<HeadRefusal>>,
    pub(crate) dropped: AtomicUsize,
    pub(crate) detached: AtomicUsize,
}

pub(crate) struct Probe(Arc<Seen>);

impl Probe {
    pub(crate) fn new(seen: &Arc<Seen>) -> Self {
        Self(Arc::clone(seen))
    }
}

struct CountDrop(Arc<Seen>);

impl Drop for CountDrop {
    fn drop(&mut self) {
        self.0.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

impl Refuser for Probe {
    fn refuse(&self, refusal: HeadRefusal, _: &Peer) -> Response<Bytes> {
        self.0.refusals.lock().push(refusal);
        let body = Bytes::from(format!("refused: {refusal}"));
        Response::builder()
            .status(refusal.status())
            .header("x-request-id", "r1")
            .body(body)
            .unwrap()
    }
}

impl Handler for Probe {
    type Body = UnsyncBoxBody<Bytes, BoxError>;

    async fn call(self: Arc<Self>, request: Request<RequestBody>, _: Peer) -> Response<Self::Body> {
        let (parts, body) = request.into_parts();
        let whole = |status, text: String| {
            let body = Full::new(Bytes::from(text)).map_err(|never| match never {});
            Response::builder().status(status).body(body.boxed_unsync()).unwrap()
        };
        match parts.uri.path() {
            "/unread" => return whole(StatusCode::UNAUTHORIZED, "no key".into()),
            "/panic" => panic!("the handler's own"),
            "/hang" => {
                let _count = CountDrop(Arc::clone(&self.0));
                self.0.calls.lock().push("hang".into());
                tokio::time::sleep(Duration::from_secs(3600)).await;
            }
            "/stream" => {
                let count = CountDrop(Arc::clone(&self.0));
                let chunks = stream::unfold(count, async |count| {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    Some((Ok(Frame::data(Bytes::from_static(b"tick\n"))), count))
                });
                return Response::new(BodyExt::boxed_unsync(StreamBody::new(chunks)));
            }
            "/large" => return whole(StatusCode::OK, "x".repeat(64 << 20)),
            // Its core does nothing else for a while, once the connection is closed.
            "/busy" => {
                let seen = Arc::clone(&self.0);
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    seen.calls.lock().push("busy".into());
                    std::thread::sleep(Duration::from_millis(400));
                });
            }
            "/sleep" => {
                self.0.calls.lock().push("sleep".into());
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
            _ => {}
        }
        match body.collect().await {
            Ok(body) => {
                let body = body.to_bytes();
                let line = format!("{} {} {}", parts.method, parts.uri, body.len());
                self.0.calls.lock().push(line.clone());
                whole(StatusCode::OK, line)
            }
            Err(IdleBodyError::Idle(_)) => whole(StatusCode::REQUEST_TIMEOUT, "idle".into()),
            Err(IdleBodyError::Broken(_)) => whole(StatusCode::BAD_REQUEST, "broken".into()),
        }
    }

    fn detached(&self) -> usize {
        self.0.detached.load(Ordering::SeqCst)
    }
}

pub(crate) struct Front {
    pub(crate) serving: Serving,
    pub(crate) seen: Arc<Seen>,
}

pub(crate) fn settings() -> ServerSettings {
    let mut settings = ServerSettings::new("127.0.0.1:0".parse().unwrap());
    settings.threads = Some(2);
    settings
}

pub(crate) fn start(settings: &ServerSettings) -> Front {
    let seen = Arc::new(Seen::default());
    let probe_of = Arc::clone(&seen);
    let serving = serve(settings, move || Arc::new(Probe::new(&probe_of))).unwrap();
    Front { serving, seen }
}

pub(crate) fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// One answer and whether the server closed the connection after it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn has(&self, header: &str) -> bool {
        self.head.lines().any(|line| line.eq_ignore_ascii_case(header))
    }
}

/// Reads one answer with a `Content-Length`; `None`: the server closed without any.
pub(crate) fn read_answer(stream: &mut TcpStream) -> Option<Answer> {
    let mut bytes = Vec::new();
    let mut byte = [0_u8; 1];
    while !bytes.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(0) => return None,
            Ok(_) => bytes.push(byte[0]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
            Err(error) => {
                panic!("no answer: {error}; so far {:?}", String::from_utf8_lossy(&bytes))
            }
        }
    }
    let head = String::from_utf8(bytes).unwrap();
    let length = head
        .lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(0, |(_, value)| value.parse().unwrap());
    let mut body = vec![0_u8; length];
    stream.read_exact(&mut body).unwrap();
    let status = head[9..12].parse().unwrap();
    Some(Answer { status, head, body: String::from_utf8(body).unwrap() })
}

/// Waits for the server to close; everything that came before.
pub(crate) fn read_to_close(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => bytes,
        Err(error) if error.kind() == ErrorKind::ConnectionReset => bytes,
        Err(error) => panic!("not closed: {error}"),
    }
}

/// Sends bytes on a connection of their own and reads the answer.
pub(crate) fn exchange(front: &Front, bytes: &[u8]) -> (TcpStream, Option<Answer>) {
    let mut stream = connect(front.serving.addr());
    // The server may close before it has read everything.
    let _sent = stream.write_all(bytes);
    let answer = read_answer(&mut stream);
    (stream, answer)
}

/// Waits until `done`, for at most five seconds; blocks its thread.
#[track_caller]
pub(crate) fn eventually(done: impl Fn() -> bool) {
    for _ in 0..500 {
        if done() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("it never came to that");
}
