//! Protocols, bounds and addresses of the front.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use weir_gate::serve::{ServeError, serve};
use weir_gate::settings::RuntimeKind;

use crate::support::{Front, connect, eventually, exchange, read_answer, settings, start};

const GET: &[u8] = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n";

async fn h2(front: &Front) -> http2::SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(front.serving.addr()).await.unwrap();
    let (sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn post(uri: &str) -> Request<Full<Bytes>> {
    Request::post(uri).body(Full::new(Bytes::from_static(b"abc"))).unwrap()
}

#[tokio::test]
async fn http2_is_served_on_the_same_port() {
    let front = start(&settings());
    let mut client = h2(&front).await;
    let answer = client.send_request(post("http://a/x?y")).await.unwrap();
    assert_eq!((answer.status(), answer.version()), (StatusCode::OK, Version::HTTP_2));
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "POST http://a/x?y 3");
    let mut other_host = post("http://a/x");
    other_host.headers_mut().insert("host", "b".parse().unwrap());
    let refused = client.send_request(other_host).await.unwrap();
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    let refused = client.send_request(post("http://a//x")).await.unwrap();
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn an_http2_connection_without_streams_is_closed_and_a_busy_one_is_not() {
    let mut settings = settings();
    settings.timeouts.head = Duration::from_millis(100);
    settings.timeouts.idle = Duration::from_millis(200);
    let front = start(&settings);
    let mut client = h2(&front).await;
    let answer = client.send_request(post("http://a/sleep")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    eventually(|| front.serving.connections() == 0);
    let _never_asks = h2(&front).await;
    eventually(|| front.serving.connections() == 1);
    eventually(|| front.serving.connections() == 0);
}

#[test]
fn a_port_in_use_is_an_error_that_names_the_address() {
    let front = start(&settings());
    let mut again = settings();
    again.listen = front.serving.addr();
    let seen = Arc::clone(&front.seen);
    let error = serve(&again, move || Arc::new(crate::support::Probe::new(&seen))).err().unwrap();
    assert!(matches!(error, ServeError::Listen(_)));
    assert_eq!(error.to_string(), format!("cannot listen on {}", front.serving.addr()));
}

#[test]
fn the_shared_runtime_serves_too() {
    let mut settings = settings();
    settings.runtime = RuntimeKind::Shared;
    let front = start(&settings);
    assert_eq!(exchange(&front, GET).1.unwrap().status, 200);
}

#[test]
fn connections_above_the_bound_wait_until_one_ends() {
    let mut settings = settings();
    settings.connections_max = 2;
    settings.threads = Some(1);
    let front = start(&settings);
    let (first, _) = exchange(&front, GET);
    let (_second, _) = exchange(&front, GET);
    let mut third = connect(front.serving.addr());
    third.write_all(GET).unwrap();
    third.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert!(third.peek(&mut [0]).is_err(), "served above the bound");
    assert_eq!(front.serving.connections(), 2);
    drop(first);
    third.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    assert_eq!(read_answer(&mut third).unwrap().status, 200);
}

#[test]
fn a_handler_that_panics_harms_its_own_connection_only() {
    let front = start(&settings());
    let (mut other, _) = exchange(&front, GET);
    let (_, answer) = exchange(&front, b"GET /panic HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(answer.is_none());
    other.write_all(GET).unwrap();
    assert_eq!(read_answer(&mut other).unwrap().status, 200);
    drop(other);
    eventually(|| front.serving.connections() == 0);
}

#[test]
fn many_requests_on_one_connection_are_served_in_order() {
    let front = start(&settings());
    let mut stream = connect(front.serving.addr());
    for n in 0..200 {
        let body = "x".repeat(n * 7);
        let head = format!("POST /n HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
        assert_eq!(read_answer(&mut stream).unwrap().body, format!("POST /n {}", body.len()));
    }
}
