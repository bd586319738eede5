//! Starts the binary, and speaks plain HTTP/1.1 to it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

/// A running mock upstream, killed when dropped.
pub(crate) struct Mock {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Mock {
    /// Starts `weir demo-upstream` on a free port.
    pub(crate) fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_weir"))
            .arg("demo-upstream")
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("stdout is piped");
        BufReader::new(stdout).read_line(&mut line).expect("it prints a line");
        let address = line.trim().strip_prefix("listening on ").expect("the line says where");
        Self { child, address: address.parse().expect("an address") }
    }

    /// Opens a connection with a read timeout that ends a hanging test.
    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("it accepts");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout can be set");
        stream
    }

    /// One request on a connection of its own, read to the end of the connection.
    pub(crate) fn call(&self, method: &str, target: &str, headers: &[&str], body: &str) -> Answer {
        let mut stream = self.connect();
        stream.write_all(request(method, target, headers, body).as_bytes()).expect("it is sent");
        let mut bytes = Vec::new();
        let end = stream.read_to_end(&mut bytes);
        Answer::read(&bytes, end.is_err())
    }

    /// `GET /__mock/stats`.
    pub(crate) fn stats(&self) -> Value {
        self.call("GET", "/__mock/stats", &[], "").json()
    }

    /// The process id, for signals.
    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The bytes of a request that asks for the connection to be closed after it.
pub(crate) fn request(method: &str, target: &str, headers: &[&str], body: &str) -> String {
    let mut text = format!("{method} {target} HTTP/1.1\r\nhost: mock\r\nconnection: close\r\n");
    for header in headers {
        text.push_str(header);
        text.push_str("\r\n");
    }
    text.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
    text
}

/// An answer as it came over the wire.
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    /// Decoded, where it was chunked.
    pub(crate) body: Vec<u8>,
    /// The body came to its proper end.
    pub(crate) complete: bool,
    /// The connection ended by reset or in silence.
    pub(crate) failed: bool,
}

impl Answer {
    fn read(bytes: &[u8], failed: bool) -> Self {
        let split = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        let Some(split) = split else {
            let (head, body) = (String::new(), Vec::new());
            return Self { status: 0, head, body, complete: false, failed };
        };
        let head = String::from_utf8(bytes[..split].to_vec()).expect("a head is text");
        let status = head[9..12].parse().expect("a status");
        let mut answer =
            Self { status, head, body: bytes[split + 4..].to_vec(), complete: true, failed };
        if answer.header("transfer-encoding") == Some("chunked") {
            (answer.body, answer.complete) = unchunked(&answer.body);
        } else if let Some(length) = answer.header("content-length") {
            answer.complete = length.parse() == Ok(answer.body.len());
        }
        answer
    }

    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head
            .split("\r\n")
            .filter_map(|line| line.split_once(": "))
            .find_map(|(known, value)| (known.eq_ignore_ascii_case(name)).then_some(value))
    }

    /// The body as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is text")
    }

    /// The body as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.text()))
    }

    /// The data of a stream's events, without `[DONE]`.
    #[track_caller]
    pub(crate) fn events(&self) -> Vec<Value> {
        self.text()
            .lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .filter(|data| *data != "[DONE]")
            .map(|data| serde_json::from_str(data).expect("data is JSON"))
            .collect()
    }
}

fn unchunked(mut rest: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        let Some(line) = rest.windows(2).position(|two| two == b"\r\n") else {
            return (body, false);
        };
        let size = std::str::from_utf8(&rest[..line]).expect("a chunk size is text");
        let size = usize::from_str_radix(size, 16).expect("a chunk size");
        if size == 0 {
            return (body, true);
        }
        let data = &rest[line + 2..];
        if data.len() < size + 2 {
            body.extend_from_slice(&data[..data.len().min(size)]);
            return (body, false);
        }
        body.extend_from_slice(&data[..size]);
        rest = &data[size + 2..];
    }
}
