//! Requests that are made to be understood in two ways, and the answers to them.

use std::io::Write;

use crate::support::{Front, exchange, read_answer, read_to_close, settings, start};

/// The request is answered with `status` and our own words, the connection closed, and no handler
/// has seen anything.
#[track_caller]
fn refused(front: &Front, request: impl AsRef<[u8]>, status: u16) {
    let before = front.seen.calls.lock().len();
    let (mut stream, answer) = exchange(front, request.as_ref());
    let answer = answer.expect("an answer before the close");
    assert_eq!(answer.status, status, "{}{}", answer.head, answer.body);
    assert!(answer.body.starts_with("refused: "), "not our words: {answer:?}");
    assert!(answer.has("x-request-id: r1"), "{}", answer.head);
    assert!(answer.has("connection: close"), "{}", answer.head);
    assert_eq!(read_to_close(&mut stream), b"", "something after the refusal");
    assert_eq!(front.seen.calls.lock().len(), before, "a handler has seen it");
}

#[track_caller]
fn served(front: &Front, request: impl AsRef<[u8]>, line: &str) {
    let (_stream, answer) = exchange(front, request.as_ref());
    let answer = answer.expect("an answer");
    assert_eq!((answer.status, answer.body.as_str()), (200, line));
}

fn post(headers: &str, body: &str) -> String {
    format!("POST /a HTTP/1.1\r\nHost: a\r\n{headers}\r\n{body}")
}

#[test]
fn ambiguous_framing_is_refused() {
    let front = start(&settings());
    let (cl, te) = ("Content-Length: 4\r\n", "Transfer-Encoding: chunked\r\n");
    let smuggled = "0\r\n\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n";
    refused(&front, post(&format!("{cl}{te}"), smuggled), 400);
    refused(&front, post(&format!("{te}{cl}"), smuggled), 400);
    refused(&front, post("Content-Length: 3\r\nContent-Length: 4\r\n", "abcd"), 400);
    refused(&front, post("Content-Length: +5\r\n", "abcde"), 400);
    refused(&front, post("Content-Length: 5, 5\r\n", "abcde"), 400);
    refused(&front, post("Content-Length: -1\r\n", ""), 400);
    refused(&front, post("Transfer-Encoding: xchunked\r\n", smuggled), 400);
    refused(&front, post("Transfer-Encoding: chunked, identity\r\n", smuggled), 400);
    refused(&front, post("Transfer-Encoding: gzip, chunked\r\n", smuggled), 400);
    refused(
        &front,
        post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        400,
    );
    refused(&front, post("Transfer-Encoding : chunked\r\n", smuggled), 400);
    refused(&front, post("Transfer-Encoding:\x0bchunked\r\n", smuggled), 400);
    refused(&front, format!("POST /a HTTP/1.0\r\nHost: a\r\n{te}\r\n{smuggled}"), 400);
    served(&front, post("Content-Length: 2\r\nContent-Length: 2\r\n", "ab"), "POST /a 2");
    served(&front, post(te, "3;x=y\r\nabc\r\n0\r\nT: 1\r\n\r\n"), "POST /a 3");
}

#[test]
fn malformed_heads_are_refused() {
    let front = start(&settings());
    refused(&front, "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", 400);
    refused(&front, "GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", 400);
    refused(&front, "GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", 400);
    refused(&front, "GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", 400);
    refused(&front, "GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n", 400);
    refused(&front, "GET / HTTP/3.7\r\nHost: a\r\n\r\n", 400);
    refused(&front, "G\x01T / HTTP/1.1\r\nHost: a\r\n\r\n", 400);
    refused(&front, "GET / a HTTP/1.1\r\nHost: a\r\n\r\n", 400);
    refused(&front, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400);
    refused(&front, "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", 400);
}

#[test]
fn exactly_one_host_of_one_mind_is_wanted() {
    let front = start(&settings());
    refused(&front, "GET / HTTP/1.1\r\n\r\n", 400);
    refused(&front, "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400);
    refused(&front, "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400);
    refused(&front, "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400);
    refused(&front, "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400);
    served(&front, "GET http://a/x HTTP/1.1\r\nHost: A\r\n\r\n", "GET http://a/x 0");
    served(&front, "GET /x HTTP/1.0\r\n\r\n", "GET /x 0");
}

#[test]
fn tunnels_and_echoes_are_refused() {
    let front = start(&settings());
    refused(&front, "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", 405);
    refused(&front, "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405);
}

#[test]
fn ambiguous_paths_are_refused_and_the_connection_lives_on() {
    let front = start(&settings());
    for path in ["//a", "/a/../b", "/a/%2e%2e/b", "/a%2fb", "/a\\b", "/a%00", "*"] {
        let request = format!("OPTIONS {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        let (mut stream, answer) = exchange(&front, request.as_bytes());
        let answer = answer.unwrap();
        assert_eq!(answer.status, 400, "{path}: {answer:?}");
        assert!(answer.body.starts_with("refused: the path"), "{answer:?}");
        stream.write_all(b"GET /b HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        assert_eq!(read_answer(&mut stream).unwrap().body, "GET /b 0");
    }
}

#[test]
fn broken_chunks_are_the_clients_fault_and_end_the_connection() {
    let front = start(&settings());
    let te = "Transfer-Encoding: chunked\r\n";
    let long = format!("3;{}\r\nabc\r\n0\r\n\r\n", "x".repeat(20_000));
    for body in ["zz\r\n", "3\r\nabcd\r\n0\r\n\r\n", "3\nabc\r\n0\r\n\r\n", "-3\r\n", &long] {
        let request = post(te, &format!("{body}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"));
        let (mut stream, answer) = exchange(&front, request.as_bytes());
        let answer = answer.expect("an answer");
        assert_eq!((answer.status, answer.body.as_str()), (400, "broken"), "{body:.20}");
        let rest = read_to_close(&mut stream);
        assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 400"), "{rest:?}");
    }
    assert_eq!(*front.seen.calls.lock(), Vec::<String>::new());
}

#[test]
fn heads_beyond_the_bounds_get_431_in_our_words() {
    let front = start(&settings());
    let with = |headers: String| format!("GET /a HTTP/1.1\r\nHost: a\r\n{headers}\r\n");
    let many = |n: usize| with((0..n).map(|i| format!("X-{i}: 1\r\n")).collect());
    served(&front, many(99), "GET /a 0");
    refused(&front, many(100), 431);
    refused(&front, with(format!("X: {}\r\n", "x".repeat(64 << 10))), 431);
    refused(&front, with(format!("X: {}\r\n", "x".repeat(500 << 10))), 431);
    refused(&front, with(format!("X: {}\r\n", "x".repeat(1 << 20))), 431);
    served(&front, with(format!("X: {}\r\n", "x".repeat(60 << 10))), "GET /a 0");
}

#[test]
fn an_upgrade_that_nobody_opted_into_is_plain_http() {
    let front = start(&settings());
    let upgrade = "GET /a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let both = format!("{upgrade}GET /b HTTP/1.1\r\nHost: a\r\n\r\n");
    let (mut stream, first) = exchange(&front, both.as_bytes());
    assert_eq!(first.unwrap().body, "GET /a 0");
    assert_eq!(read_answer(&mut stream).unwrap().body, "GET /b 0");
}

#[test]
fn pipelined_requests_are_judged_one_by_one() {
    let front = start(&settings());
    let good = post("Content-Length: 3\r\n", "abc");
    let bad = post("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n");
    let (mut stream, first) = exchange(&front, format!("{good}{good}{bad}{good}").as_bytes());
    assert_eq!(first.unwrap().body, "POST /a 3");
    assert_eq!(read_answer(&mut stream).unwrap().body, "POST /a 3");
    assert_eq!(read_answer(&mut stream).unwrap().status, 400);
    assert_eq!(read_to_close(&mut stream), b"");
    assert_eq!(front.seen.calls.lock().len(), 2);
}

#[test]
fn a_head_may_come_byte_by_byte() {
    let front = start(&settings());
    let mut stream = crate::support::connect(front.serving.addr());
    for byte in post("Transfer-Encoding: chunked\r\n", "2\r\nab\r\n0\r\n\r\n").as_bytes() {
        stream.write_all(&[*byte]).unwrap();
    }
    assert_eq!(read_answer(&mut stream).unwrap().body, "POST /a 2");
}

#[test]
fn an_unknown_expectation_is_refused_and_a_known_one_met() {
    let front = start(&settings());
    let (_, answer) = exchange(&front, post("Expect: tea\r\n", "").as_bytes());
    assert_eq!(answer.unwrap().status, 417);
    let head = post("Expect: 100-continue\r\nContent-Length: 2\r\n", "");
    let (mut stream, answer) = exchange(&front, head.as_bytes());
    assert_eq!(answer.unwrap().status, 100);
    stream.write_all(b"ab").unwrap();
    assert_eq!(read_answer(&mut stream).unwrap().body, "POST /a 2");
}
