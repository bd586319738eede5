//! One HTTP/1.1 call on a connection of its own, whole or watched as it comes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

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

    /// The sum of the lines of this metric.
    pub(super) fn sum(&self, metric: &str) -> u64 {
        let lines = self.body.lines().filter(|line| line.starts_with(metric));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
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
    let mut stream = sent(to, line, headers, body)?;
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

/// A stream of events as its client saw it.
#[derive(Clone, Debug, Default)]
pub(super) struct Watched {
    /// How many events came, with output or without.
    pub(super) events: usize,
    /// When each event with output came, until the connection ended.
    pub(super) output: Vec<Instant>,
    /// When the terminal event came.
    pub(super) done: Option<Instant>,
    /// The status of its head; 0: none came.
    pub(super) status: u16,
}

/// Makes a call whose answer is a stream of events, and watches it to its end, or goes away after
/// so many events.
pub(super) fn watch(
    to: SocketAddr,
    line: &str,
    headers: &[String],
    body: &str,
    events_max: usize,
) -> Watched {
    let mut watched = Watched::default();
    // However it ends: what was seen until then counts.
    let _ended = follow(to, line, headers, body, events_max, &mut watched);
    watched
}

fn follow(
    to: SocketAddr,
    line: &str,
    headers: &[String],
    body: &str,
    events_max: usize,
    watched: &mut Watched,
) -> std::io::Result<()> {
    let mut stream = sent(to, line, headers, body)?;
    let mut held = Vec::new();
    let mut chunk = [0; 4096];
    while watched.events < events_max {
        let count = stream.read(&mut chunk)?;
        if count == 0 {
            return Ok(());
        }
        held.extend_from_slice(&chunk[..count]);
        let now = now();
        while let Some(end) = held.windows(2).position(|pair| pair == b"\n\n") {
            let event: Vec<u8> = held.drain(..end + 2).collect();
            let event = String::from_utf8_lossy(&event);
            if let Some((_, head)) = event.split_once("HTTP/1.1 ") {
                watched.status = head.get(..3).and_then(|code| code.parse().ok()).unwrap_or(0);
            }
            watched.events += 1;
            if ENDS.iter().any(|end| event.contains(end)) {
                watched.done = Some(now);
            } else if is_output(&event) {
                watched.output.push(now);
            }
        }
    }
    Ok(())
}

/// Whether an event brings output, in any of the three shapes.
fn is_output(event: &str) -> bool {
    let chat = event.contains(r#""content":""#) && !event.contains(r#""content":"""#);
    chat || event.contains("response.output_text.delta") || event.contains("text_delta")
}

/// What only the terminal event of a stream has.
const ENDS: [&str; 4] =
    ["[DONE]", "event: message_stop", "event: response.completed", "event: response.incomplete"];

pub(super) fn sent(
    to: SocketAddr,
    line: &str,
    headers: &[String],
    body: &str,
) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
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
    Ok(stream)
}

#[expect(clippy::disallowed_methods, reason = "an experiment measures by the clock of the machine")]
pub(super) fn now() -> Instant {
    Instant::now()
}
