//! Plain HTTP/1.1 as bytes: requests as they are written, answers as they come.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// The bytes of a request that asks for the connection to be closed after it.
pub(crate) fn request(method: &str, target: &str, headers: &[&str], body: &str) -> String {
    let mut lines = vec!["connection: close"];
    lines.extend(headers);
    kept_request(method, target, &lines, body)
}

/// The bytes of a request whose connection goes on.
pub(crate) fn kept_request(method: &str, target: &str, headers: &[&str], body: &str) -> String {
    let mut text = format!("{method} {target} HTTP/1.1\r\nhost: weir\r\n");
    for header in headers {
        text.push_str(header);
        text.push_str("\r\n");
    }
    text.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
    text
}

/// A connection that is used for one call after the other.
pub(crate) struct Line(BufReader<TcpStream>);

impl Line {
    pub(crate) fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("it accepts");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout can be set");
        stream.set_write_timeout(Some(Duration::from_secs(30))).expect("a timeout can be set");
        stream.set_nodelay(true).expect("an option can be set");
        Self(BufReader::new(stream))
    }

    /// Sends a request and reads its answer; an answer with status 0 is none.
    pub(crate) fn call(
        &mut self,
        method: &str,
        target: &str,
        headers: &[&str],
        body: &str,
    ) -> Answer {
        let sent = self.send(kept_request(method, target, headers, body).as_bytes());
        if sent.is_err() {
            return Answer::none();
        }
        Answer::next(&mut self.0, method == "HEAD").unwrap_or_else(Answer::none)
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.get_mut().write_all(bytes)
    }

    /// The next answer, if one comes before the end of the connection.
    pub(crate) fn answer(&mut self) -> Option<Answer> {
        Answer::next(&mut self.0, false)
    }

    /// Everything up to the end of the connection; an end by reset is an end.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self.0.read_to_end(&mut bytes) {
            Err(error) if is_timeout(&error) => panic!("the connection is not closed: {error}"),
            _ => bytes,
        }
    }

    /// Says that nothing more comes from this side.
    pub(crate) fn hang_up_half(&mut self) {
        let _gone = self.0.get_mut().shutdown(std::net::Shutdown::Write);
    }

    /// The lines of an answer as they come.
    pub(crate) fn reader(&mut self) -> &mut BufReader<TcpStream> {
        &mut self.0
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// An answer as it came over the wire.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    /// Decoded, where it was chunked.
    pub(crate) body: Vec<u8>,
    /// The body came to its proper end.
    pub(crate) complete: bool,
    /// The connection ended by reset or in silence.
    pub(crate) failed: bool,
}

impl Answer {
    /// What there is of an answer when the connection ends before its head.
    pub(crate) fn none() -> Self {
        Self { failed: true, ..Self::default() }
    }

    /// Reads one answer; `None` if the connection ends before a whole head came.
    pub(crate) fn next(reader: &mut impl BufRead, head_only: bool) -> Option<Self> {
        let mut answer = Self::default();
        loop {
            let mut line = Vec::new();
            let read = reader.read_until(b'\n', &mut line);
            if !matches!(read, Ok(count) if count > 0) {
                return None;
            }
            let line = String::from_utf8(line).expect("a head is text");
            if line == "\r\n" {
                break;
            }
            answer.head.push_str(&line);
        }
        answer.status = answer.head[9..12].parse().expect("a status");
        answer.complete = true;
        if head_only || matches!(answer.status, 100..200 | 204 | 304) {
            return Some(answer);
        }
        if answer.header("transfer-encoding") == Some("chunked") {
            answer.read_chunks(reader);
        } else if let Some(length) = answer.header("content-length") {
            let length: u64 = length.parse().expect("a length");
            answer.failed = reader.by_ref().take(length).read_to_end(&mut answer.body).is_err();
            answer.complete = answer.body.len() as u64 == length;
        } else {
            answer.failed = reader.read_to_end(&mut answer.body).is_err();
        }
        Some(answer)
    }

    fn read_chunks(&mut self, reader: &mut impl BufRead) {
        self.complete = false;
        loop {
            let mut line = String::new();
            match reader.read_line(&mut line) {
                Ok(count) if count > 0 => {}
                ended => {
                    self.failed = ended.is_err();
                    return;
                }
            }
            let size = u64::from_str_radix(line.trim_end(), 16).expect("a chunk size");
            let before = self.body.len() as u64;
            let read = reader.by_ref().take(size).read_to_end(&mut self.body);
            let mut end = [0; 2];
            if read.is_err() || reader.read_exact(&mut end).is_err() {
                self.failed = read.is_err();
                return;
            }
            if self.body.len() as u64 != before + size {
                return;
            }
            if size == 0 {
                self.complete = true;
                return;
            }
        }
    }

    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head
            .split("\r\n")
            .filter_map(|line| line.split_once(": "))
            .find_map(|(known, value)| (known.eq_ignore_ascii_case(name)).then_some(value))
    }

    /// What is left of a limit, as the `RateLimit` field tells.
    pub(crate) fn remaining(&self, limit: &str) -> Option<u64> {
        let start = format!("\"{limit}\";r=");
        let told =
            self.header("ratelimit")?.split(", ").find_map(|one| one.strip_prefix(&start))?;
        told.split(';').next()?.parse().ok()
    }

    /// Our code for an error.
    pub(crate) fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
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
