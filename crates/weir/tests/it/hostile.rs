//! Bytes that are made to be understood in two ways, through the whole binary.
//!
//! Every request carries a valid key and would be forwarded if it were sound. The upstream keeps
//! what it gets and fails a test that lets anything ambiguous through.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::time::{Duration, Instant};

use crate::recorder::Recorder;
use crate::seed::{on, paying};
use crate::server::Weir;
use crate::support::{Mock, eventually};

/// What must become of a connection with these bytes.
enum Want {
    /// One refusal with this status in our words, then the end; nothing reaches the upstream.
    Refused(u16),
    /// These answers, and these requests at the upstream.
    Served(&'static [u16], &'static [&'static str]),
    /// No answer is owed; nothing whole reaches the upstream.
    Dropped,
}
use Want::{Dropped, Refused, Served};

struct House {
    weir: Weir,
    upstream: Recorder,
}

impl House {
    fn start() -> Self {
        let upstream = Recorder::start();
        let config = format!(
            "[server]\nheader_timeout = \"1s\"\nbody_timeout = \"1s\"\n\
             [upstreams.r]\nurls = [\"http://{}\"]\n[plans.open]\n\
             [[routes]]\nmatch = \"* /*\"\nupstream = \"r\"\n\
             [[routes]]\nmatch = \"POST /ai/chat\"\nupstream = \"r\"\nusage = \"openai\"\n",
            upstream.address
        );
        Self { weir: Weir::start(&config, &[on("open")]), upstream }
    }

    /// A request of this method, with the headers after `Host` and the key.
    fn ask(&self, line: &str, headers: &str, body: &str) -> String {
        format!("{line}\r\nHost: a\r\n{}\r\n{headers}\r\n{body}", self.weir.bearer(0))
    }

    fn check(&self, name: &str, bytes: &[u8], want: &Want) {
        let mut reached = self.upstream.requests();
        let mut line = self.weir.line();
        // A refusal may come while we still send.
        let _refused_early = line.send(bytes);
        let mut statuses = Vec::new();
        let expected = match want {
            Refused(_) => 1,
            Served(statuses, _) => statuses.len(),
            Dropped => 0,
        };
        if matches!(want, Dropped) {
            line.hang_up_half();
        }
        while statuses.len() < expected {
            let Some(answer) = line.answer() else { break };
            assert!(answer.header("x-request-id").is_some(), "{name}: {answer:?}");
            if answer.status >= 400 {
                assert_eq!(answer.json()["status"], answer.status, "{name}: {answer:?}");
            }
            statuses.push(answer.status);
        }
        match want {
            Refused(status) => {
                assert_eq!(statuses, [*status], "{name}");
                assert_eq!(line.rest(), b"", "{name}: something after the refusal");
            }
            Served(wanted, forwarded) => {
                assert_eq!(statuses, *wanted, "{name}");
                reached.extend(forwarded.iter().map(|&one| one.to_owned()));
            }
            Dropped => drop(line.rest()),
        }
        reached.sort();
        assert_eq!(self.upstream.requests(), reached, "{name}: what the upstream got");
    }
}

const SMUGGLED: &str = "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

type Row = (&'static str, Vec<u8>, Want);

/// Every row of the measured table, and what lies beside it.
fn rows(house: &House) -> Vec<Row> {
    let all = [framing_rows, head_rows, chunk_rows, size_rows, end_rows];
    all.into_iter().flat_map(|rows| rows(house)).collect()
}

/// Lengths and codings that disagree.
fn framing_rows(house: &House) -> Vec<Row> {
    let post = "POST /a HTTP/1.1";
    let ask = |line: &str, headers: &str, body: &str| house.ask(line, headers, body).into_bytes();
    let te = "Transfer-Encoding: chunked\r\n";
    vec![
        (
            "length and coding",
            ask(post, &format!("Content-Length: 4\r\n{te}"), SMUGGLED),
            Refused(400),
        ),
        (
            "coding and length",
            ask(post, &format!("{te}Content-Length: 4\r\n"), SMUGGLED),
            Refused(400),
        ),
        (
            "two lengths",
            ask(post, "Content-Length: 3\r\nContent-Length: 4\r\n", "abcd"),
            Refused(400),
        ),
        ("length +5", ask(post, "Content-Length: +5\r\n", "abcde"), Refused(400)),
        ("length list", ask(post, "Content-Length: 5, 5\r\n", "abcde"), Refused(400)),
        ("length below zero", ask(post, "Content-Length: -1\r\n", ""), Refused(400)),
        ("unknown coding", ask(post, "Transfer-Encoding: xchunked\r\n", SMUGGLED), Refused(400)),
        ("coding twice", ask(post, &format!("{te}{te}"), SMUGGLED), Refused(400)),
        ("coding list", ask(post, "Transfer-Encoding: gzip, chunked\r\n", SMUGGLED), Refused(400)),
        (
            "space before colon",
            ask(post, "Transfer-Encoding : chunked\r\n", SMUGGLED),
            Refused(400),
        ),
        ("coding on HTTP/1.0", ask("POST /a HTTP/1.0", te, SMUGGLED), Refused(400)),
    ]
}

/// Heads that are malformed, or name no host or two.
fn head_rows(house: &House) -> Vec<Row> {
    let get = "GET /a HTTP/1.1";
    let ask = |line: &str, headers: &str, body: &str| house.ask(line, headers, body).into_bytes();
    let key = house.weir.bearer(0);
    vec![
        ("folded line", ask(get, "X: a\r\n b\r\n", ""), Refused(400)),
        ("NUL in a value", ask(get, "X: a\0b\r\n", ""), Refused(400)),
        ("bare CR in a value", ask(get, "X: a\rb\r\n", ""), Refused(400)),
        ("two hosts", ask(get, "Host: b\r\n", ""), Refused(400)),
        ("the same host twice", ask(get, "Host: a\r\n", ""), Refused(400)),
        ("no host", format!("{get}\r\n{key}\r\n\r\n").into_bytes(), Refused(400)),
        ("CONNECT", ask("CONNECT a:80 HTTP/1.1", "", ""), Refused(405)),
        ("TRACE", ask("TRACE /a HTTP/1.1", "", ""), Refused(405)),
        ("target of another host", ask("GET http://b/a HTTP/1.1", "", ""), Refused(400)),
        (
            "target of this host",
            ask("GET http://a/a HTTP/1.1", "", ""),
            Served(&[200], &["GET /a 0"]),
        ),
    ]
}

/// Chunks that are none.
fn chunk_rows(house: &House) -> Vec<Row> {
    let post = "POST /a HTTP/1.1";
    let ask = |line: &str, headers: &str, body: &str| house.ask(line, headers, body).into_bytes();
    let te = "Transfer-Encoding: chunked\r\n";
    let extension = format!("3;{}\r\nabc\r\n0\r\n\r\n", "x".repeat(20_000));
    vec![
        ("chunk size of no number", ask(post, te, &format!("zz\r\n{SMUGGLED}")), Refused(400)),
        (
            "chunk longer than told",
            ask(post, te, &format!("3\r\nabcd\r\n{SMUGGLED}")),
            Refused(400),
        ),
        ("chunk line with bare LF", ask(post, te, &format!("3\nabc\r\n{SMUGGLED}")), Refused(400)),
        ("chunk size below zero", ask(post, te, &format!("-3\r\n{SMUGGLED}")), Refused(400)),
        (
            "broken chunks where the body is read",
            ask("POST /ai/chat HTTP/1.1", te, "zz\r\n"),
            Refused(400),
        ),
        ("20 KB chunk extension", ask(post, te, &extension), Refused(400)),
        (
            "a short chunk extension",
            ask(post, te, "3;x=y\r\nabc\r\n0\r\n\r\n"),
            Served(&[200], &["POST /a 3"]),
        ),
        (
            "trailers",
            ask(post, te, "3\r\nabc\r\n0\r\nHost: b\r\n\r\n"),
            Served(&[200], &["POST /a 3"]),
        ),
    ]
}

/// Heads that are too large.
fn size_rows(house: &House) -> Vec<Row> {
    let get = "GET /a HTTP/1.1";
    let ask = |line: &str, headers: &str, body: &str| house.ask(line, headers, body).into_bytes();
    let many = |count: usize| (0..count).map(|n| format!("X-{n}: 1\r\n")).collect::<String>();
    let long = |kib: usize| format!("X: {}\r\n", "x".repeat(kib << 10));
    vec![
        ("101 headers", ask(get, &many(99), ""), Refused(431)),
        ("100 headers", ask(get, &many(98), ""), Served(&[200], &["GET /a 0"])),
        ("64 KB header", ask(get, &long(64), ""), Refused(431)),
        ("500 KB header", ask(get, &long(500), ""), Refused(431)),
        ("1 MB header", ask(get, &long(1_024), ""), Refused(431)),
        ("1 MB of headers", ask(get, &long(8).repeat(128), ""), Refused(431)),
    ]
}

/// Connections that bring more, or less, than was told.
fn end_rows(house: &House) -> Vec<Row> {
    let get = "GET /a HTTP/1.1";
    let post = "POST /a HTTP/1.1";
    let ask = |line: &str, headers: &str, body: &str| house.ask(line, headers, body).into_bytes();
    let te = "Transfer-Encoding: chunked\r\n";
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    let after = ask("GET /b HTTP/1.1", "", "");
    vec![
        (
            "upgrade and one more",
            [ask(get, upgrade, ""), after.clone()].concat(),
            Served(&[200, 200], &["GET /a 0", "GET /b 0"]),
        ),
        (
            "body longer than told",
            ask(post, "Content-Length: 3\r\n", "abcGARBAGE\r\n\r\n"),
            Served(&[200, 400], &["POST /a 3"]),
        ),
        (
            "a sound request, then a split one",
            [after.clone(), ask(post, &format!("Content-Length: 3\r\n{te}"), SMUGGLED)].concat(),
            Served(&[200, 400], &["GET /b 0"]),
        ),
        ("body shorter than told", ask(post, "Content-Length: 30\r\n", "abc"), Dropped),
        ("body that breaks off in a chunk", ask(post, te, "ff\r\nabc"), Dropped),
        ("half a head", ask(get, "X: y", "")[..60].to_vec(), Dropped),
        (
            "TLS on a plain port",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec(),
            Refused(400),
        ),
        ("no HTTP at all", b"\0\x01\x02\x03\r\n\r\n".to_vec(), Refused(400)),
        ("another preface", b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n".to_vec(), Refused(400)),
        ("a version from the future", ask("GET /a HTTP/3.7", "", ""), Refused(400)),
    ]
}

#[test]
fn every_hostile_row_is_answered_as_it_must_be() {
    let house = House::start();
    for (name, bytes, want) in rows(&house) {
        house.check(name, &bytes, &want);
    }
}

#[test]
fn hostile_bytes_by_the_thousand_leave_no_growth() {
    let house = House::start();
    let rows = rows(&house);
    let round = |times: usize| {
        std::thread::scope(|scope| {
            for part in rows.chunks(rows.len().div_ceil(8)) {
                scope.spawn(|| {
                    for (name, bytes, _) in part.iter().cycle().take(part.len() * times) {
                        let mut line = house.weir.line();
                        let _refused_early = line.send(bytes);
                        line.hang_up_half();
                        let rest = line.rest();
                        assert!(!rest.starts_with(b"HTTP/1.1 5"), "{name}");
                    }
                });
            }
        });
    };
    round(5);
    let before = house.weir.process.resident_kib();
    round(20);
    let after = house.weir.process.resident_kib();
    assert!(after < before + 16 * 1_024, "{before} KiB grew to {after} KiB");
    house.upstream.requests();
    assert_eq!(house.weir.call(0, "GET", "/a", "").status, 200);
}

#[test]
fn ambiguous_paths_are_refused_before_anything_is_forwarded() {
    let house = House::start();
    for path in ["//a", "/a/../b", "/a/%2e%2e/b", "/a%2fb", "/a%5cb", "/a\\b", "/a/./b", "/a/%2E/b"]
    {
        let answer = house.weir.call(0, "GET", path, "");
        assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_request"), "{path}");
    }
    assert_eq!(house.upstream.requests().len(), 0);
}

#[test]
fn clients_that_take_their_time_are_closed() {
    let house = House::start();
    let head = house.ask("POST /a HTTP/1.1", "Content-Length: 10\r\n", "abc");
    let begun: [(&str, &[u8], &[u8]); 5] = [
        ("silence", b"", b""),
        ("half a head", b"GET /a HTTP/1.1\r\nHost: ", b""),
        ("half a preface", b"PRI * HTTP/2.0\r\n", b""),
        ("a head that drips", b"GET /a HTTP/1.1\r\n", b"X: 1\r\n"),
        ("a body that stalls", head.as_bytes(), b""),
    ];
    std::thread::scope(|scope| {
        for (name, first, drip) in begun {
            let weir = &house.weir;
            scope.spawn(move || {
                let began = Instant::now();
                let mut line = weir.line();
                line.send(first).expect("it is sent");
                let stream = line.reader().get_ref().try_clone().expect("a second handle");
                if !drip.is_empty() {
                    scope.spawn(move || {
                        while std::io::Write::write_all(&mut &stream, drip).is_ok() {
                            std::thread::sleep(Duration::from_millis(50));
                            if began.elapsed() > Duration::from_secs(20) {
                                let _ = stream.shutdown(Shutdown::Both);
                            }
                        }
                    });
                }
                let rest = line.rest();
                let took = began.elapsed();
                assert!(took > Duration::from_millis(900), "{name}: closed after {took:?}");
                assert!(took < Duration::from_secs(15), "{name}: closed after {took:?}");
                if name == "a body that stalls" {
                    assert!(
                        rest.starts_with(b"HTTP/1.1 408"),
                        "{}",
                        String::from_utf8_lossy(&rest)
                    );
                }
            });
        }
    });
    eventually("it serves on", || house.weir.call(0, "GET", "/a", "").status == 200);
    let whole = house.upstream.requests();
    assert!(whole.iter().all(|request| request == "GET /a 0"), "{whole:?}");
}

#[test]
fn headers_that_only_weir_may_say_do_not_pass() {
    let house = House::start();
    let spoofed = "X-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\n\
                   Connection: X-Request-Id, X-Mine\r\nX-Mine: 1\r\nX-Weir-Usage: 1\r\n\
                   X_Forwarded_For: 6.6.6.6\r\nProxy: http://6.6.6.6\r\nTE: trailers\r\n\
                   X-Api-Key: other\r\n";
    let mut line = house.weir.line();
    line.send(house.ask("GET /a HTTP/1.1", spoofed, "").as_bytes()).expect("it is sent");
    assert_eq!(line.answer().map(|answer| answer.status), Some(200));
    let heads = house.upstream.text().to_lowercase();
    for name in ["6.6.6.6", "x-mine", "x-weir", "proxy:", "x-api-key", "\r\nte:", "weir_w_"] {
        assert!(!heads.contains(name), "{name} in {heads}");
    }
    assert!(heads.contains("x-forwarded-for: 127.0.0.1\r\n"), "{heads}");
    assert!(heads.contains("x-request-id: "), "{heads}");
}

/// An upstream that must answer within 400 ms, and takes bodies as they come.
fn impatient(mock: &Mock) -> Weir {
    let config = format!(
        "[upstreams.mock]\nurls = [\"http://{}\"]\nresponse_timeout = \"400ms\"\n\
         [plans.free]\nlimits = {{}}\n\
         [[routes]]\nmatch = \"PUT /clusters/*\"\nupstream = \"mock\"\n",
        mock.address
    );
    Weir::start(&config, &[on("free")])
}

/// Uploads so many bytes every 20 ms, `count` times, and tells the answer's status and code.
fn upload(weir: &Weir, bytes: usize, count: usize) -> (u16, String) {
    let mut line = weir.line();
    let (bearer, length) = (weir.bearer(0), bytes * count);
    let head = format!(
        "PUT /clusters/a HTTP/1.1\r\nhost: weir\r\n{bearer}\r\ncontent-length: {length}\r\n\r\n"
    );
    line.send(head.as_bytes()).expect("it is sent");
    for _ in 0..count {
        if line.send(" ".repeat(bytes).as_bytes()).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    line.answer().map_or((0, String::new()), |answer| (answer.status, answer.code()))
}

#[test]
fn a_client_that_uploads_slowly_is_told_so_and_its_upstream_is_not_blamed() {
    let mock = Mock::start();
    let weir = impatient(&mock);
    let began = Instant::now();
    assert_eq!(upload(&weir, 1, 500), (408, "request_timeout".to_owned()));
    assert!(began.elapsed() < Duration::from_secs(15), "it was cut off");
    let log = weir.process.log();
    assert!(!log.contains("left aside"), "{log}");
}

#[test]
fn an_upload_that_goes_on_may_take_longer_than_an_answer() {
    let mock = Mock::start();
    let weir = impatient(&mock);
    assert_eq!(upload(&weir, 100, 60).0, 200);
    let slow =
        weir.line().call("PUT", "/clusters/a", &[&weir.bearer(0), "x-mock-delay-ms: 3000"], "{}");
    assert_eq!((slow.status, slow.code().as_str()), (504, "upstream_timeout"));
}

#[test]
fn an_upstream_that_switches_protocols_unasked_broke_off_and_is_not_paid() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = [0; 2048];
            let read = stream.read(&mut head).expect("a request");
            assert!(head.starts_with(b"POST /paid") && read > 0);
            let answer = b"HTTP/1.1 101 Go\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nhello";
            stream.write_all(answer).expect("it is taken");
        }
    });
    let config = format!(
        "[upstreams.odd]\nurls = [\"http://{address}\"]\n[plans.payg]\nbilling = \"wallet\"\n\
         [prices.call]\nrequest = \"0.01\"\n\
         [[routes]]\nmatch = \"POST /paid\"\nupstream = \"odd\"\nprice = \"call\"\n"
    );
    let weir = Weir::start(&config, &[paying("payg", "1.00")]);
    let answer = weir.call(0, "POST", "/paid", "{}");
    assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_broke"));
    assert_eq!(answer.header("x-wallet-available"), Some("1.00"));
}
