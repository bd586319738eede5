//! The end of serving.

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::time::Duration;

use weir_gate::serve::Drained;

use crate::support::{connect, eventually, exchange, read_answer, read_to_close, settings, start};

const LONG: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn calls_in_flight_end_and_idle_connections_close() {
    let front = start(&settings());
    let addr = front.serving.addr();
    let (mut idle, _) = exchange(&front, b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut silent = connect(addr);
    let mut busy = connect(addr);
    busy.write_all(b"GET /sleep HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    eventually(|| front.serving.connections() == 3);
    eventually(|| front.seen.calls.lock().iter().any(|call| call == "sleep"));
    let drain = tokio::spawn(front.serving.drain(LONG));
    assert_eq!(read_to_close(&mut idle), b"");
    assert_eq!(read_to_close(&mut silent), b"");
    let answer = read_answer(&mut busy).unwrap();
    assert_eq!(answer.status, 200);
    assert!(answer.has("connection: close"), "{}", answer.head);
    assert_eq!(drain.await.unwrap(), Drained::default());
    assert!(TcpStream::connect(addr).is_err(), "still listening");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_request_of_who_had_connected_is_answered() {
    let front = start(&settings());
    let addr = front.serving.addr();
    let (mut idle, _) = exchange(&front, b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut late = connect(addr);
    eventually(|| front.serving.connections() == 2);
    let drain = tokio::spawn(front.serving.drain(LONG));
    assert_eq!(read_to_close(&mut idle), b"", "the drain has begun");
    late.write_all(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let answer = read_answer(&mut late).expect("an answer");
    assert_eq!(answer.status, 200);
    assert!(answer.has("connection: close"), "{}", answer.head);
    assert_eq!(drain.await.unwrap(), Drained::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_in_the_queue_of_a_busy_core_is_answered() {
    let mut settings = settings();
    settings.threads = Some(1);
    let front = start(&settings);
    let (mut first, _) =
        exchange(&front, b"GET /busy HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert_eq!(read_to_close(&mut first), b"");
    eventually(|| front.seen.calls.lock().iter().any(|call| call == "busy"));
    assert_eq!(front.serving.connections(), 0);
    let mut waiting = connect(front.serving.addr());
    waiting.write_all(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let drain = tokio::spawn(front.serving.drain(LONG));
    let answer = read_answer(&mut waiting).expect("an answer");
    assert_eq!(answer.status, 200);
    assert_eq!(drain.await.unwrap(), Drained::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_not_ended_by_the_deadline_is_cut_and_counted() {
    let front = start(&settings());
    let mut stream = connect(front.serving.addr());
    stream.write_all(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(read_answer(&mut stream).unwrap().status, 200);
    let drained = front.serving.drain(Duration::from_millis(100)).await;
    assert_eq!(drained, Drained { cut: 1, detached: 0 });
    let rest = read_to_close(&mut stream);
    assert!(!rest.ends_with(b"0\r\n\r\n"), "a cut stream must not look complete");
}

#[tokio::test(flavor = "multi_thread")]
async fn detached_work_is_waited_for() {
    let front = start(&settings());
    front.seen.detached.store(1, Ordering::SeqCst);
    let seen = std::sync::Arc::clone(&front.seen);
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(200)).await;
        seen.detached.store(0, Ordering::SeqCst);
    });
    assert_eq!(front.serving.drain(LONG).await, Drained::default());
    assert_eq!(front.seen.detached.load(Ordering::SeqCst), 0);
}

#[test]
fn a_front_that_is_dropped_ends() {
    let front = start(&settings());
    let addr = front.serving.addr();
    let (mut stream, _) = exchange(&front, b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
    drop(front);
    assert_eq!(read_to_close(&mut stream), b"");
    eventually(|| TcpStream::connect(addr).is_err());
}
