//! Starts `weir serve` and `weir demo` as their users do, kills and restarts them.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::seed::{Wish, ledger, seed, stored_use};
use crate::support::eventually;
use crate::wire::{Answer, Line};

/// A running process of the binary; killed when dropped, and a test fails whose process panicked.
pub(crate) struct Process {
    child: Child,
    /// What it printed until it was ready.
    pub(crate) printed: String,
    /// From its start until it was ready.
    pub(crate) took: Duration,
    errors: PathBuf,
    // Kept open: a process whose output nobody takes would fail to print.
    _stdout: BufReader<ChildStdout>,
}

impl Process {
    /// Starts the binary and reads what it prints up to a line that begins with `ready`.
    fn start(command: &mut Command, errors: &Path, ready: &str) -> Self {
        let log = File::options().create(true).append(true).open(errors).expect("a log file");
        Self::ready(command.stderr(log), errors, ready)
    }

    /// Serves from a folder on sockets that are handed over as systemd does it.
    pub(crate) fn serve_on(folder: &Path, data: &TcpListener, admin: &TcpListener) -> Self {
        let script = "exec 3<&0 4<&2 2>>stderr.log </dev/null; \
                      LISTEN_PID=$$ exec \"$WEIR\" serve --config weir.toml";
        let socket = |socket: &TcpListener| OwnedFd::from(socket.try_clone().expect("a copy"));
        let mut command = Command::new("sh");
        command.current_dir(folder).args(["-c", script]).env("WEIR", env!("CARGO_BIN_EXE_weir"));
        command.env("LISTEN_FDS", "2").env("LISTEN_FDNAMES", "data:admin");
        command.stdin(socket(data)).stderr(socket(admin));
        Self::ready(&mut command, &folder.join("stderr.log"), "admin API")
    }

    fn ready(command: &mut Command, errors: &Path, ready: &str) -> Self {
        // A process that another test is just starting has, until it runs, what this one had open
        // when it filled the store: its lock too.
        let ours = format!("is in use by process {}\n", std::process::id());
        let mut left = 100;
        let (began, child, stdout, printed) = loop {
            let began = Instant::now();
            let mut child = command.stdout(Stdio::piped()).spawn().expect("the binary starts");
            let mut stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
            let mut printed = String::new();
            while !printed.lines().next_back().is_some_and(|line| line.starts_with(ready))
                && stdout.read_line(&mut printed).expect("it prints text") > 0
            {}
            if printed.lines().next_back().is_some_and(|line| line.starts_with(ready)) {
                break (began, child, stdout, printed);
            }
            child.wait().expect("it ended");
            let log = std::fs::read_to_string(errors).unwrap_or_default();
            left -= 1;
            assert!(
                log.ends_with(&ours) && left > 0,
                "it ended before it was ready:\n{printed}{log}"
            );
        };
        let errors = errors.to_owned();
        Self { child, printed, took: began.elapsed(), errors, _stdout: stdout }
    }

    /// What it wrote to standard error so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.errors).unwrap_or_default()
    }

    /// The address behind a word in what it printed.
    fn address(&self, word: &str) -> SocketAddr {
        let line = self.printed.lines().find(|line| line.trim().starts_with(word));
        let rest = line.and_then(|line| line.split("http://").nth(1)).expect("an address");
        let text = rest.split_whitespace().next().expect("an address");
        text.parse().expect("an address")
    }

    /// Ends it without a warning while others still call it.
    pub(crate) fn kill_now(&self) {
        self.signal("-KILL");
    }

    fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &id]).status().expect("kill is there");
        assert!(sent.success(), "it is gone already:\n{}", self.log());
    }

    /// Ends it without a warning, as a power cut would.
    fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it ended");
    }

    /// Asks it to end, and waits for it.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        self.signal("-TERM");
        self.child.wait().expect("it ended")
    }

    /// Resident memory in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("the process is there");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if !std::thread::panicking() {
            let log = self.log();
            assert!(!log.contains("panicked"), "it panicked:\n{log}");
        }
    }
}

/// A running `weir serve` with a folder of its own.
pub(crate) struct Weir {
    pub(crate) process: Process,
    pub(crate) data: SocketAddr,
    pub(crate) admin: SocketAddr,
    /// One per wish, in their order.
    pub(crate) keys: Vec<String>,
    folder: TempDir,
}

impl Weir {
    /// Serves a configuration, which is completed by listening on free ports, a store in the
    /// folder and an admin key, with these accounts.
    pub(crate) fn start(config: &str, wishes: &[Wish]) -> Self {
        Self::start_whole(&complete(config), wishes)
    }

    /// Serves one of the presets in front of an upstream, with these accounts.
    pub(crate) fn start_preset(preset: &str, upstream: SocketAddr, wishes: &[Wish]) -> Self {
        let config = preset
            .replace("127.0.0.1:8080", "127.0.0.1:0")
            .replace("127.0.0.1:8081", "127.0.0.1:0")
            .replace("\"weir-data\"", "\"store\"")
            .replacen("[auth]\n", &format!("[auth]\nadmin_key = \"{ADMIN_KEY}\"\n"), 1)
            .replace("http://127.0.0.1:9000", &format!("http://{upstream}"));
        Self::start_whole(&config, wishes)
    }

    /// Serves a configuration with another number of unknown keys that an address may send.
    pub(crate) fn start_guarded(config: &str, failed_keys: u32, wishes: &[Wish]) -> Self {
        let line = format!("[auth]\nfailed_keys_per_minute = {failed_keys}\n");
        Self::start_whole(&complete(config).replacen("[auth]\n", &line, 1), wishes)
    }

    fn start_whole(config: &str, wishes: &[Wish]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let keys = seed(&folder.path().join("store"), wishes);
        std::fs::write(folder.path().join("weir.toml"), config).expect("written");
        let errors = folder.path().join("stderr.log");
        let process = Process::start(&mut command(folder.path(), &[]), &errors, "admin API");
        let (data, admin) = (process.address("data plane"), process.address("admin API"));
        Self { process, data, admin, keys, folder }
    }

    /// Ends it without a warning and serves again from the same folder.
    pub(crate) fn kill_and_restart(&mut self) {
        self.process.kill();
        self.serve_again();
    }

    /// Serves again after [`Self::stop`].
    pub(crate) fn serve_again(&mut self) {
        self.serve_again_with(&[]);
    }

    /// Serves again after [`Self::stop`] with more in its environment.
    pub(crate) fn serve_again_with(&mut self, environment: &[(&str, &str)]) {
        self.run(&mut command(self.folder.path(), environment));
    }

    fn run(&mut self, command: &mut Command) {
        let errors = self.folder.path().join("stderr.log");
        self.process = Process::start(command, &errors, "admin API");
        self.data = self.process.address("data plane");
        self.admin = self.process.address("admin API");
    }

    /// Serves again after [`Self::stop`], able to write only so much into any file.
    pub(crate) fn serve_again_with_files_of(&mut self, kib: u32) {
        let limited = format!("trap '' XFSZ; ulimit -f {}; exec \"$WEIR\" serve", kib * 2);
        let mut command = Command::new("sh");
        command.args(["-c", &limited]).current_dir(self.folder.path());
        command.env("WEIR", env!("CARGO_BIN_EXE_weir"));
        self.run(&mut command);
    }

    /// Writes another configuration, for when it serves again.
    pub(crate) fn configure(&self, config: &str) {
        std::fs::write(self.folder.path().join("weir.toml"), complete(config)).expect("written");
    }

    /// Where its configuration is.
    pub(crate) fn config_path(&self) -> PathBuf {
        self.folder.path().join("weir.toml")
    }

    /// Stops it in order.
    pub(crate) fn stop(&mut self) {
        let status = self.process.terminate();
        assert_eq!(status.code(), Some(0), "{}", self.process.log());
    }

    /// Stops it in order and reads its ledger.
    pub(crate) fn stop_and_read(&mut self) -> Vec<weir_core::ledger::Entry> {
        self.stop();
        ledger(&self.folder.path().join("store"))
    }

    /// Waits until a kill would not forget that so much of the only account's limit is used.
    #[track_caller]
    pub(crate) fn until_stored(&self, limit: &str, rule: &str, used: u64) {
        let (store, rule) = (self.folder.path().join("store"), rule.parse().expect("a rule"));
        eventually(&format!("{used} of {limit} are on disk"), || {
            stored_use(&store, limit, &rule) == used
        });
    }

    /// Where its configuration, its store and its log are.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A connection of its own.
    pub(crate) fn line(&self) -> Line {
        Line::open(self.data)
    }

    /// One call with a key, on a connection of its own.
    pub(crate) fn call(&self, key: usize, method: &str, target: &str, body: &str) -> Answer {
        self.line().call(method, target, &[&self.bearer(key), JSON], body)
    }

    /// One call of the operator.
    pub(crate) fn admin(&self, method: &str, target: &str, body: &str) -> Answer {
        let key = format!("authorization: Bearer {ADMIN_KEY}");
        Line::open(self.admin).call(method, target, &[&key, JSON], body)
    }

    /// The header with a key.
    pub(crate) fn bearer(&self, key: usize) -> String {
        format!("authorization: Bearer {}", self.keys[key])
    }
}

fn complete(config: &str) -> String {
    let server = "[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n";
    let (own, rest) = match config.split_once("[server]\n") {
        Some((before, after)) => (after, before),
        None => ("\n", config),
    };
    format!(
        "{rest}{server}{own}\n[store]\npath = \"store\"\n\n[auth]\nadmin_key = \"{ADMIN_KEY}\"\n"
    )
}

fn command(folder: &Path, environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.envs(environment.iter().copied());
    command.current_dir(folder).args(["serve", "--config", "weir.toml"]);
    command
}

/// A running `weir demo`.
pub(crate) struct Demo {
    pub(crate) process: Process,
    pub(crate) data: SocketAddr,
    _folder: TempDir,
}

impl Demo {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.current_dir(folder.path()).args(["demo", "--port", "0", "--quiet"]);
        // Killed, it leaves its own folder behind.
        command.env("TMPDIR", folder.path());
        let process = Process::start(&mut command, &folder.path().join("stderr.log"), "Ctrl-C");
        let data = process.address("customers call");
        Self { process, data, _folder: folder }
    }

    /// The key of the account on a plan.
    pub(crate) fn key(&self, plan: &str) -> String {
        let lines = self.process.printed.lines().map(str::split_whitespace);
        let found = lines.filter_map(|mut words| (words.next()? == plan).then(|| words.next())?);
        found.into_iter().next().expect("a key for the plan").to_owned()
    }

    /// The lines that are to be typed, with what they are about.
    pub(crate) fn samples(&self) -> Vec<(String, String)> {
        let lines: Vec<&str> = self.process.printed.lines().collect();
        let pairs = lines.windows(2).filter(|pair| pair[1].starts_with("curl "));
        pairs.map(|pair| (pair[0].to_owned(), pair[1].to_owned())).collect()
    }
}

/// The header of a JSON body.
pub(crate) const JSON: &str = "content-type: application/json";

/// The operator's key in tests.
pub(crate) const ADMIN_KEY: &str = "weir_admin_for_tests_only_0123456789";
