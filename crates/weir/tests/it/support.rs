//! Starts the mock upstream, and waits for what must come true.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

pub(crate) use crate::wire::{Answer, request};

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
        Answer::next(&mut BufReader::new(stream), method == "HEAD").unwrap_or_else(Answer::none)
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

/// Waits until something is so; a test that waits in vain fails and says for what.
#[track_caller]
pub(crate) fn eventually(what: &str, holds: impl FnMut() -> bool) {
    within(PATIENCE, what, holds);
}

/// Waits for at most so long until something is so; asks forty times a second, less often than the
/// customer API allows a key.
#[track_caller]
pub(crate) fn within(patience: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < patience, "still not after {patience:?}: {what}");
        std::thread::sleep(Duration::from_millis(25));
    }
}

/// Longer than anything takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
