//! A connection that is kept, on which calls follow each other.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{bail, ensure};

/// A connection that is kept.
#[derive(Debug)]
pub(super) struct Line {
    stream: TcpStream,
    /// What came behind the last answer.
    held: Vec<u8>,
}

impl Line {
    /// Opens one.
    pub(super) fn open(to: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect_timeout(&to, Duration::from_secs(5))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok(Self { stream, held: Vec::new() })
    }

    /// Makes a call with an empty object as its body, which must be answered with 2xx, whole and
    /// with the connection kept.
    pub(super) fn call(&mut self, line: &str, header: &str) -> anyhow::Result<()> {
        let request =
            format!("{line} HTTP/1.1\r\nhost: weir\r\n{header}\r\ncontent-length: 2\r\n\r\n{{}}");
        self.stream.write_all(request.as_bytes())?;
        let mut chunk = [0; 8_192];
        let end = loop {
            if let Some(end) = end_of_answer(&self.held)? {
                break end;
            }
            let read = self.stream.read(&mut chunk)?;
            ensure!(read > 0, "the connection ends");
            self.held.extend_from_slice(&chunk[..read]);
        };
        self.held.drain(..end);
        Ok(())
    }
}

/// Where a good answer ends, if all of it is there.
fn end_of_answer(bytes: &[u8]) -> anyhow::Result<Option<usize>> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    if !head.starts_with("http/1.1 2") {
        bail!("{}", String::from_utf8_lossy(bytes));
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let whole = end + 4 + length.map_or(Ok(0), str::parse)?;
    Ok((bytes.len() >= whole).then_some(whole))
}
