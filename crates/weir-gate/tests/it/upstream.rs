//! Calls to upstreams that are well, slow, broken or dead.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request};
use http_body_util::{BodyExt, Full};
use parking_lot::Mutex;
use weir_gate::dial::DialError;
use weir_gate::idle_body::IdleBodyError;
use weir_gate::sent_mark::SentMark;
use weir_gate::settings::UpstreamSettings;
use weir_gate::upstream::{UpstreamError, Upstreams};

use crate::support::eventually;

type Back = Upstreams<Full<Bytes>>;

/// An upstream that does what the path's last segment says, and keeps what it was sent.
struct Fake {
    addr: SocketAddr,
    connections: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let fake = Self {
            addr: listener.local_addr().unwrap(),
            connections: Arc::default(),
            open: Arc::default(),
            requests: Arc::default(),
        };
        let (connections, open) = (Arc::clone(&fake.connections), Arc::clone(&fake.open));
        let requests = Arc::clone(&fake.requests);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                connections.fetch_add(1, Ordering::SeqCst);
                open.fetch_add(1, Ordering::SeqCst);
                let (open, requests) = (Arc::clone(&open), Arc::clone(&requests));
                std::thread::spawn(move || {
                    converse(&mut stream.unwrap(), &requests);
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        fake
    }

    fn url(&self) -> String {
        format!("http://{}", self.addr)
    }
}

fn converse(stream: &mut TcpStream, requests: &Mutex<Vec<String>>) -> Option<()> {
    loop {
        let mut bytes = Vec::new();
        let mut piece = [0_u8; 4096];
        while !bytes.windows(4).any(|four| four == b"\r\n\r\n") {
            match stream.read(&mut piece).ok()? {
                0 => return None,
                n => bytes.extend_from_slice(&piece[..n]),
            }
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let path = text.split(' ').nth(1)?.to_owned();
        requests.lock().push(text);
        match path.rsplit('/').next()? {
            "close" => return None,
            "garbage" => stream.write_all(b"nonsense\r\n\r\n").ok()?,
            "hang" => return stream.read(&mut piece).ok().map(drop),
            "stall" => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc").ok()?;
                return stream.read(&mut piece).ok().map(drop);
            }
            "bye" => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").ok()?;
                return None;
            }
            "fail" => stream.write_all(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n").ok()?,
            _ => stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").ok()?,
        }
    }
}

fn settings(urls: &[&str]) -> UpstreamSettings {
    let urls = urls.iter().map(|url| url.parse().unwrap()).collect();
    let mut settings = UpstreamSettings::new("u", urls);
    settings.connect_timeout = Duration::from_millis(300);
    settings.response_timeout = Duration::from_millis(300);
    settings.stream_idle_timeout = Duration::from_millis(300);
    settings
}

fn back(urls: &[&str]) -> Back {
    Upstreams::new(vec![settings(urls)]).unwrap()
}

/// A port that nobody listens on.
fn dead() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// What a call came to, and whether anything may have been sent.
async fn call(back: &Back, path: &str) -> (Result<String, UpstreamError>, bool) {
    let request = Request::get(path).body(Full::default()).unwrap();
    let mark = SentMark::default();
    let result = match back.by_name("u").unwrap().send(request, &mark).await {
        Ok(answer) => {
            let status = answer.status();
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            Ok(format!("{} {}", status.as_u16(), String::from_utf8_lossy(&body)))
        }
        Err(error) => {
            assert_eq!(error.was_sent(), mark.is_set(), "{error:?}");
            Err(error)
        }
    };
    (result, mark.is_set())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_target_is_base_and_path_and_the_headers_are_set() {
    let fake = Fake::start();
    let mut settings = settings(&[&format!("{}/base/", fake.url())]);
    let (name, value) = ("authorization", "Bearer ours");
    settings.headers = vec![(HeaderName::from_static(name), HeaderValue::from_static(value))];
    let back: Back = Upstreams::new(vec![settings]).unwrap();
    let request = Request::post("http://weir/ai/chat?q=1&r")
        .header("host", "weir")
        .header("authorization", "Bearer theirs")
        .body(Full::new(Bytes::from_static(b"{}")))
        .unwrap();
    let mark = SentMark::default();
    back.by_name("u").unwrap().send(request, &mark).await.unwrap();
    assert!(mark.is_set());
    let sent = fake.requests.lock()[0].clone();
    assert!(sent.starts_with("POST /base/ai/chat?q=1&r HTTP/1.1\r\n"), "{sent}");
    let mut lines: Vec<_> = sent.lines().skip(1).take_while(|line| !line.is_empty()).collect();
    lines.sort_unstable();
    let host = format!("host: {}", fake.addr);
    assert_eq!(lines, ["authorization: Bearer ours", "content-length: 2", &host]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn connections_are_used_again_and_closed_ones_are_not() {
    let fake = Fake::start();
    let back = back(&[&fake.url()]);
    for _ in 0..20 {
        assert_eq!(call(&back, "/a").await.0.unwrap(), "200 ok");
    }
    assert_eq!(fake.connections.load(Ordering::SeqCst), 1);
    for _ in 0..3 {
        assert_eq!(call(&back, "/bye").await.0.unwrap(), "200 ok");
        eventually(|| fake.open.load(Ordering::SeqCst) == 0);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(call(&back, "/a").await.0.unwrap(), "200 ok");
    let other = back.for_another_core();
    let before = fake.connections.load(Ordering::SeqCst);
    assert_eq!(call(&other, "/a").await.0.unwrap(), "200 ok");
    assert_eq!(fake.connections.load(Ordering::SeqCst), before + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_dead_upstream_is_unreachable_and_nothing_was_sent() {
    let back = back(&[&dead(), &dead()]);
    for _ in 0..3 {
        let (result, sent) = call(&back, "/a").await;
        let error = result.unwrap_err();
        assert!(matches!(error, UpstreamError::Unreachable { .. }), "{error:?}");
        assert!(!sent);
        assert_eq!(error.to_string(), "upstream u cannot be reached");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_upstream_that_never_finishes_the_handshake_is_unreachable() {
    let fake = Fake::start();
    let url = format!("https://{}", fake.addr);
    let (result, sent) = call(&back(&[&url]), "/a").await;
    let error = result.unwrap_err();
    let timeout = matches!(error, UpstreamError::Unreachable { source: DialError::Timeout(_), .. });
    assert!(timeout && !sent, "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_hanging_upstream_times_out_and_is_left_aside() {
    let fake = Fake::start();
    let back = back(&[&fake.url()]);
    let (result, sent) = call(&back, "/hang").await;
    assert!(matches!(result, Err(UpstreamError::Timeout { .. })) && sent, "{result:?}");
    let state = &back.by_name("u").unwrap().addresses()[0];
    assert_eq!((state.ejected, state.in_flight), (true, 0));
    assert_eq!(call(&back, "/a").await.0.unwrap(), "200 ok", "the only address is never aside");
    assert!(!back.by_name("u").unwrap().addresses()[0].ejected);
    eventually(|| fake.open.load(Ordering::SeqCst) <= 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_may_have_been_sent_is_never_sent_again() {
    let (one, two) = (Fake::start(), Fake::start());
    let back = back(&[&one.url(), &two.url()]);
    for path in ["/close", "/garbage", "/hang"] {
        // Once over a new connection, once over one that was used before.
        for _ in 0..2 {
            let before = one.requests.lock().len() + two.requests.lock().len();
            let (result, sent) = call(&back, path).await;
            assert!(result.is_err() && sent, "{path}: {result:?}");
            let after = one.requests.lock().len() + two.requests.lock().len();
            assert_eq!(after, before + 1, "{path} was sent twice");
            call(&back, "/a").await.0.unwrap();
            call(&back, "/a").await.0.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn with_one_address_dead_every_call_succeeds_and_it_is_left_aside() {
    let fake = Fake::start();
    let back = back(&[&dead(), &fake.url()]);
    for _ in 0..20 {
        assert_eq!(call(&back, "/a").await.0.unwrap(), "200 ok");
    }
    let state = back.by_name("u").unwrap().addresses();
    assert!(state[0].ejected && !state[1].ejected, "{state:?}");
    let other = back.for_another_core();
    assert!(other.by_name("u").unwrap().addresses()[0].ejected, "health is shared");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn answers_with_5xx_are_answers() {
    let fake = Fake::start();
    let back = back(&[&fake.url()]);
    for _ in 0..5 {
        assert_eq!(call(&back, "/fail").await.0.unwrap(), "500 ");
    }
    assert!(!back.by_name("u").unwrap().addresses()[0].ejected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn calls_go_where_least_is_in_flight() {
    let (one, two) = (Fake::start(), Fake::start());
    let back = back(&[&one.url(), &two.url()]);
    let upstream = back.by_name("u").unwrap();
    let mut open = Vec::new();
    for _ in 0..6 {
        let request = Request::get("/stall").body(Full::default()).unwrap();
        open.push(upstream.send(request, &SentMark::default()).await.unwrap());
    }
    assert!(upstream.addresses().iter().all(|state| state.in_flight == 3));
    drop(open);
    assert!(upstream.addresses().iter().all(|state| state.in_flight == 0));
    eventually(|| one.open.load(Ordering::SeqCst) + two.open.load(Ordering::SeqCst) == 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_body_that_stalls_is_an_error() {
    let fake = Fake::start();
    let back = back(&[&fake.url()]);
    let request = Request::get("/stall").body(Full::default()).unwrap();
    let answer = back.by_name("u").unwrap().send(request, &SentMark::default()).await.unwrap();
    let mut body = answer.into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(first, "abc");
    let error = body.frame().await.unwrap().unwrap_err();
    assert!(matches!(error, IdleBodyError::Idle(_)), "{error:?}");
    drop(body);
    eventually(|| fake.open.load(Ordering::SeqCst) == 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_dropped_call_says_whether_it_was_sent() {
    let fake = Fake::start();
    let back = back(&[&fake.url()]);
    let request = Request::get("/hang").body(Full::default()).unwrap();
    let mark = SentMark::default();
    let sending = back.by_name("u").unwrap().send(request, &mark);
    let cut = tokio::time::timeout(Duration::from_millis(100), sending).await;
    assert!(cut.is_err() && mark.is_set());
    eventually(|| fake.open.load(Ordering::SeqCst) == 0);
    assert_eq!(back.by_name("u").unwrap().addresses()[0].in_flight, 0);
}

#[test]
fn wrong_addresses_are_refused_by_name() {
    let check = |url: &str, expected: &str| {
        let error = Back::new(vec![settings(&[url])]).unwrap_err();
        assert_eq!(error.to_string(), format!("url {url} of upstream u {expected}"));
    };
    check("ftp://a/", "begins neither with http:// nor with https://");
    check("/base", "begins neither with http:// nor with https://");
    check("http://u:p@a/", "has credentials; set an authorization header instead");
    check("http://a/?q", "has a query; only a base path may follow the host");
    let none = Back::new(vec![settings(&[])]).unwrap_err();
    assert_eq!(none.to_string(), "upstream u has no url");
}
