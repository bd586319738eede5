//! A server of a measurement: started by us, stopped by its id, its processor time and memory.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// A running server; ended when dropped.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    pub(super) address: SocketAddr,
}

/// Where a process may run.
#[derive(Clone, Copy, Debug)]
pub(super) enum Core {
    Any,
    Only(u8),
}

impl Server {
    /// Starts a program that will listen on `address`, and waits until it does.
    pub(super) fn start(command: &mut Command, address: SocketAddr) -> anyhow::Result<Self> {
        let shown = format!("{command:?}");
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {shown}"))?;
        let mut server = Self { child, address };
        let began = now();
        while TcpStream::connect(address).is_err() {
            if let Some(status) = server.child.try_wait()? {
                bail!("{shown}: {status}");
            }
            if began.elapsed() > START_MAX {
                bail!("{shown} does not listen on {address}");
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        Ok(server)
    }

    /// Processor time of all its threads and children so far, in nanoseconds.
    pub(super) fn cpu_ns(&self) -> u64 {
        self.processes().iter().map(|&pid| cpu_ns_of(pid)).sum()
    }

    /// Resident memory of it and its children, in KiB.
    pub(super) fn rss_kib(&self) -> u64 {
        self.processes().iter().map(|&pid| rss_kib_of(pid)).sum()
    }

    fn processes(&self) -> Vec<u32> {
        let pid = self.child.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.unwrap_or_default();
        let children = children.split_whitespace().filter_map(|text| text.parse().ok());
        std::iter::once(pid).chain(children).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGTERM, so that nginx takes its workers along; what is left undone ends with us.
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        let _ = self.child.wait();
    }
}

/// A program, bound to a core if that is wanted.
pub(super) fn on_core(core: Core, program: impl AsRef<Path>) -> Command {
    match core {
        Core::Any => Command::new(program.as_ref()),
        Core::Only(core) => {
            let mut command = Command::new("taskset");
            command.args(["-c", &core.to_string()]).arg(program.as_ref());
            command
        }
    }
}

/// An address that was free a moment ago.
pub(super) fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// One request on an open connection; its whole answer, which must be a 200 with a length.
pub(super) fn call(stream: &mut TcpStream, request: &str) -> anyhow::Result<()> {
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let read = stream.read(&mut piece)?;
        if read == 0 {
            bail!("the connection ended: {}", String::from_utf8_lossy(&answer));
        }
        answer.extend_from_slice(&piece[..read]);
        let text = String::from_utf8_lossy(&answer);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        if !head.starts_with("HTTP/1.1 200") {
            bail!("{text}");
        }
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.trim().parse::<usize>().ok())?
        });
        if body.len() >= length.context("an answer without a length")? {
            return Ok(());
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
pub(super) fn now() -> Instant {
    Instant::now()
}

fn cpu_ns_of(pid: u32) -> u64 {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return 0 };
    let spent = tasks.flatten().filter_map(|task| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    spent.sum()
}

fn rss_kib_of(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

const START_MAX: Duration = Duration::from_secs(30);
