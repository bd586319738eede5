//! One HTTP/1.1 call on a connection of its own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// An answer, as far as it came.
#[derive(Debug, Default)]
pub(super) struct Reply {
    /// 0: none came.
    pub(super) status: u16,
    head: String,
    body: String,
    /// Its end came.
    pub(super) complete: bool,
}

impl Reply {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    /// A header's value.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find_map(|(known, value)| known.eq_ignore_ascii_case(name).then_some(value.trim()))
    }
}

/// Makes a call; whatever goes wrong is an answer that did not come whole.
pub(super) fn call(to: SocketAddr, line: &str, headers: &[String], body: &str) -> Reply {
    exchange(to, line, headers, body).unwrap_or_default()
}

fn exchange(to: SocketAddr, line: &str, headers: &[String], body: &str) -> std::io::Result<Reply> {
    let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut text = format!("{line} HTTP/1.1\r\nhost: weir\r\nconnection: close\r\n");
    for header in headers {
        text.push_str(header);
        text.push_str("\r\n");
    }
    text.push_str(&format!(
        "content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    ));
    stream.write_all(text.as_bytes())?;
    let mut bytes = Vec::new();
    let ended = stream.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return Ok(Reply::default()) };
    let status = head.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0);
    let mut reply = Reply { status, head: head.to_owned(), body: body.to_owned(), complete: false };
    reply.complete = ended.is_ok()
        && match reply.header("content-length").and_then(|length| length.parse::<usize>().ok()) {
            Some(length) => reply.body.len() == length,
            None => reply.body.ends_with("0\r\n\r\n"),
        };
    Ok(reply)
}
