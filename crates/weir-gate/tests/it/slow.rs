//! Clients that take their time.

use std::io::{Read, Write};
use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::support::{connect, eventually, exchange, read_answer, read_to_close, settings, start};

const SHORT: Duration = Duration::from_millis(400);

#[track_caller]
fn closes_after(stream: &mut std::net::TcpStream, least: Duration) -> Vec<u8> {
    let begin = now();
    let bytes = read_to_close(stream);
    let took = begin.elapsed();
    assert!(took + Duration::from_millis(60) >= least, "too early: {took:?}");
    assert!(took < least * 2 + Duration::from_millis(300), "too late: {took:?}");
    bytes
}

#[allow(clippy::disallowed_methods, reason = "a test of real time")]
fn now() -> Instant {
    Instant::now()
}

#[test]
fn silence_and_partial_heads_are_cut() {
    let mut settings = settings();
    settings.timeouts.head = SHORT;
    let front = start(&settings);
    for begin in ["", "P", "PRI * HTTP/2.0\r\n", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: "] {
        let mut stream = connect(front.serving.addr());
        stream.write_all(begin.as_bytes()).unwrap();
        closes_after(&mut stream, SHORT);
    }
}

#[test]
fn a_head_that_drips_is_cut_however_steadily() {
    let mut settings = settings();
    settings.timeouts.head = SHORT;
    let front = start(&settings);
    let mut stream = connect(front.serving.addr());
    stream.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    let mut dripper = stream.try_clone().unwrap();
    let drip = std::thread::spawn(move || {
        for n in 0.. {
            if dripper.write_all(format!("X-{n}: 1\r\n").as_bytes()).is_err() {
                break;
            }
            sleep(Duration::from_millis(20));
        }
    });
    closes_after(&mut stream, SHORT);
    drip.join().unwrap();
}

#[test]
fn idle_connections_are_kept_longer_than_heads_and_then_closed() {
    let mut settings = settings();
    settings.timeouts.head = SHORT;
    settings.timeouts.idle = SHORT * 3;
    let front = start(&settings);
    let request = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
    let (mut stream, first) = exchange(&front, request);
    assert_eq!(first.unwrap().status, 200);
    sleep(SHORT * 2);
    stream.write_all(request).unwrap();
    assert_eq!(read_answer(&mut stream).unwrap().status, 200);
    let rest = closes_after(&mut stream, SHORT * 3);
    assert_eq!(rest, b"");
    // A later head has its own deadline, from its own first byte.
    let (mut stream, _) = exchange(&front, request);
    sleep(SHORT * 2);
    stream.write_all(b"GET /a HTTP").unwrap();
    closes_after(&mut stream, SHORT);
}

#[test]
fn a_slow_handler_is_not_the_clients_fault() {
    let mut settings = settings();
    settings.timeouts.head = Duration::from_millis(100);
    settings.timeouts.idle = Duration::from_millis(100);
    let front = start(&settings);
    let (_, answer) = exchange(&front, b"GET /sleep HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(answer.unwrap().status, 200);
}

#[test]
fn a_body_that_stalls_ends_the_wait() {
    let mut settings = settings();
    settings.timeouts.body_idle = SHORT;
    let front = start(&settings);
    let head = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc";
    let (mut stream, answer) = exchange(&front, head);
    assert_eq!(answer.unwrap().status, 408);
    read_to_close(&mut stream);
}

#[test]
fn a_client_that_takes_nothing_is_cut() {
    let mut settings = settings();
    settings.timeouts.send = SHORT;
    let front = start(&settings);
    let mut stream = connect(front.serving.addr());
    stream.write_all(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    eventually(|| front.serving.connections() == 1);
    eventually(|| front.serving.connections() == 0);
    let mut got = Vec::new();
    let _reset = stream.read_to_end(&mut got);
    assert!(got.len() < 64 << 20);
}

#[test]
fn a_client_that_hangs_up_drops_its_call() {
    let front = start(&settings());
    for path in ["/hang", "/stream"] {
        let before = front.seen.dropped.load(Ordering::SeqCst);
        let mut stream = connect(front.serving.addr());
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).unwrap();
        match path {
            "/hang" => eventually(|| !front.seen.calls.lock().is_empty()),
            _ => assert_eq!(read_answer(&mut stream).unwrap().status, 200),
        }
        drop(stream);
        eventually(|| front.seen.dropped.load(Ordering::SeqCst) == before + 1);
    }
    eventually(|| front.serving.connections() == 0);
}

#[test]
fn an_early_answer_reaches_a_client_that_is_still_sending() {
    let front = start(&settings());
    let mut stream = connect(front.serving.addr());
    let size = 4 << 20;
    let head = format!("POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&vec![b'x'; size]).expect("the server reads on while we send");
    let answer = read_answer(&mut stream).expect("the answer is not lost to a reset");
    assert_eq!((answer.status, answer.body.as_str()), (401, "no key"));
}
