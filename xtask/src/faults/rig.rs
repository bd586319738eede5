//! The gateway of an experiment with its mock upstream, account and key.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use super::wire::{Reply, Watched, call, now, watch};
use crate::step::program;

/// A folder with a store, the upstream before which it is used, and the key of its one customer.
#[derive(Debug)]
pub(super) struct Rig {
    binary: PathBuf,
    pub(super) folder: PathBuf,
    _upstream: Process,
    pub(super) upstream: SocketAddr,
    pub(super) account: String,
    pub(super) bearer: String,
}

/// Someone with credit and a key.
#[derive(Clone, Debug)]
pub(super) struct Customer {
    pub(super) account: String,
    pub(super) bearer: String,
}

/// A running process of ours; ended when dropped.
#[derive(Debug)]
pub(super) struct Process(Child);

/// A running gateway.
#[derive(Debug)]
pub(super) struct Weir {
    pub(super) process: Process,
    pub(super) data: SocketAddr,
    pub(super) admin: SocketAddr,
}

impl Process {
    pub(super) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Ends it as a power cut would, and does not wait.
    pub(super) fn power_cut(&self) {
        let id = self.0.id().to_string();
        // It runs until then, since nobody else ends it.
        let _sent = Command::new("kill").args(["-KILL", &id]).status();
    }

    /// Ends it as a power cut would.
    pub(super) fn kill(&mut self) {
        // What runs under strace would outlive it.
        let id = self.0.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
        for child in children.unwrap_or_default().split_whitespace() {
            let _sent = Command::new("kill").args(["-KILL", child]).status();
        }
        // One that has ended by itself is what is wanted, too.
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Rig {
    /// Builds the binary for debugging and says where it is.
    pub(super) fn build(root: &Path) -> anyhow::Result<PathBuf> {
        let status = program("cargo", root)
            .args(["build", "-q", "-p", "weir"])
            .stderr(Stdio::null())
            .status()?;
        ensure!(status.success(), "the binary does not build");
        let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
        Ok(target.unwrap_or_else(|| root.join("target")).join("debug/weir"))
    }

    /// A customer with credit, whose calls cost 0.01 each; the store lies in `store` of the folder.
    pub(super) fn new(binary: &Path, folder: PathBuf, credit: &str) -> anyhow::Result<Self> {
        Self::selling(binary, folder, credit, CONFIG)
    }

    /// A customer with credit, under a configuration of its own: plans, prices and routes, in front
    /// of an upstream named `mock`.
    pub(super) fn selling(
        binary: &Path,
        folder: PathBuf,
        credit: &str,
        config: &str,
    ) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&folder)?;
        let mut command = Command::new(binary);
        command.arg("demo-upstream").stdout(Stdio::piped());
        let (upstream, lines) = started(&mut command, "listening on ")?;
        let address = lines.trim().rsplit(' ').next().unwrap_or_default();
        let config = format!("{HOUSE}{config}").replace("UPSTREAM", address);
        std::fs::write(folder.join("weir.toml"), config)?;
        let mut rig = Self {
            binary: binary.to_owned(),
            folder,
            _upstream: upstream,
            upstream: address.trim_start_matches("http://").parse().context("no upstream")?,
            account: String::new(),
            bearer: String::new(),
        };
        let weir = rig.serve(&[])?;
        let Customer { account, bearer } = weir.customer(credit)?;
        (rig.account, rig.bearer) = (account, bearer);
        Ok(rig)
    }

    /// Serves, under another program if one is given.
    pub(super) fn serve(&self, under: &[&str]) -> anyhow::Result<Weir> {
        let mut command = match under.split_first() {
            Some((tool, arguments)) => {
                let mut command = Command::new(tool);
                command.args(arguments).arg(&self.binary);
                command
            }
            None => Command::new(&self.binary),
        };
        let log = File::options().create(true).append(true).open(self.folder.join("log"))?;
        command.current_dir(&self.folder).args(["serve", "--config", "weir.toml"]);
        command.stdout(Stdio::piped()).stderr(log);
        let (process, lines) = started(&mut command, "admin API")?;
        let address = |word: &str| {
            let line = lines.lines().find(|line| line.starts_with(word))?;
            line.split("http://").nth(1)?.trim().parse().ok()
        };
        let (data, admin) = (address("data plane"), address("admin API"));
        Ok(Weir { process, data: data.context("no address")?, admin: admin.context("no address")? })
    }

    /// One priced call under an id, which its ledger entry then refers to.
    pub(super) fn pay(&self, weir: &Weir, id: &str) -> Reply {
        let headers = [self.bearer.clone(), format!("x-request-id: {id}")];
        call(weir.data, "PUT /clusters/a", &headers, "{}")
    }

    /// One priced stream of so many tokens at so many milliseconds each, watched to its end.
    pub(super) fn stream(&self, weir: &Weir, id: &str, tokens: u64, pace_ms: u64) -> Watched {
        let headers = [
            self.bearer.clone(),
            format!("x-request-id: {id}"),
            format!("x-mock-tokens: {tokens}"),
            format!("x-mock-chunk-delay-ms: {pace_ms}"),
            "x-mock-usage: every-chunk".to_owned(),
        ];
        let body = r#"{"model":"m","stream":true,"max_tokens":4000,"messages":[]}"#;
        watch(weir.data, "POST /chat", &headers, body, usize::MAX)
    }

    /// What the wallet of the customer says, to its operator.
    pub(super) fn wallet(&self, weir: &Weir) -> anyhow::Result<Value> {
        weir.wallet(&self.account)
    }

    /// A call that costs nothing.
    pub(super) fn look(&self, weir: &Weir) -> Reply {
        call(weir.data, "GET /clusters/x", std::slice::from_ref(&self.bearer), "")
    }

    /// What the books say, offline.
    pub(super) fn verify(&self) -> anyhow::Result<String> {
        let mut command = Command::new(&self.binary);
        command.current_dir(&self.folder).args(["ledger", "verify", "--path", "store"]);
        let output = command.output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}

impl Weir {
    /// Someone new with credit; `0` is none.
    pub(super) fn customer(&self, credit: &str) -> anyhow::Result<Customer> {
        let made = self.operator("POST", "accounts", r#"{"name":"a","plan":"payg"}"#)?;
        let account = made.json()["id"].as_str().context("no account")?.to_owned();
        if credit != "0" {
            let amount = format!(r#"{{"amount":"{credit}"}}"#);
            self.operator("POST", &format!("accounts/{account}/wallet/top-ups"), &amount)?;
        }
        let key = r#"{"name":"k","type":"read_write"}"#;
        let key = self.operator("POST", &format!("accounts/{account}/keys"), key)?;
        let secret = key.json()["secret"].as_str().context("no key")?.to_owned();
        Ok(Customer { account, bearer: format!("authorization: Bearer {secret}") })
    }

    /// The newest entries of an account, at most so many.
    pub(super) fn entries(&self, account: &str, count: usize) -> anyhow::Result<Vec<Value>> {
        let mut found: Vec<Value> = Vec::new();
        let mut cursor = String::new();
        while found.len() < count {
            let limit = (count - found.len()).min(PAGE);
            let path = format!("accounts/{account}/wallet/entries?limit={limit}{cursor}");
            let page = self.operator("GET", &path, "")?.json();
            found.extend(page["data"].as_array().context("no entries")?.iter().cloned());
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        Ok(found)
    }

    /// What the wallet of an account says, to its operator.
    pub(super) fn wallet(&self, account: &str) -> anyhow::Result<Value> {
        Ok(self.operator("GET", &format!("accounts/{account}/wallet"), "")?.json())
    }

    /// One call of the operator, which must succeed.
    pub(super) fn operator(&self, method: &str, path: &str, body: &str) -> anyhow::Result<Reply> {
        let key = format!("authorization: Bearer {ADMIN_KEY}");
        let reply = call(self.admin, &format!("{method} /admin/v1/{path}"), &[key], body);
        if !(200..300).contains(&reply.status) {
            bail!("{method} {path}: {reply:?}");
        }
        Ok(reply)
    }
}

fn started(command: &mut Command, ready: &str) -> anyhow::Result<(Process, String)> {
    let mut child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
    let mut out = BufReader::new(child.stdout.take().context("no output")?);
    let process = Process(child);
    let mut lines = String::new();
    while !lines.lines().next_back().is_some_and(|line| line.starts_with(ready)) {
        ensure!(out.read_line(&mut lines)? > 0, "it ended before it was ready: {lines}");
    }
    // What it prints later is nobody's business, but it must be able to print it.
    std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()));
    Ok((process, lines))
}

/// Waits until something is so.
pub(super) fn within(
    patience: Duration,
    what: &str,
    mut holds: impl FnMut() -> bool,
) -> anyhow::Result<()> {
    let end = now() + patience;
    while !holds() {
        ensure!(now() < end, "still not after {patience:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

pub(super) const ADMIN_KEY: &str = "weir_admin_for_experiments_only_0123";
const PAGE: usize = 200;
/// What every configuration begins with.
const HOUSE: &str = r#"
[server]
listen = "127.0.0.1:0"
admin_listen = "127.0.0.1:0"

[store]
path = "store"

[auth]
admin_key = "weir_admin_for_experiments_only_0123"

[upstreams.mock]
urls = ["http://UPSTREAM"]
response_timeout = "2s"
stream_idle_timeout = "2s"
"#;
const CONFIG: &str = r#"
[plans.payg]
billing = "wallet"
limits = { read = "1000000000/day" }
alerts = ["5.00"]

[prices.call]
request = "0.01"

[prices.tiny]
request = "0.0000132"

[prices.m]
output_tokens = "1.00/1k"

[[routes]]
match = "POST /chat"
upstream = "mock"
usage = "openai"
price = "m"
hold_output_tokens = 100

[[routes]]
match = "PUT /tiny/*"
upstream = "mock"
price = "tiny"

[[routes]]
match = "PUT /clusters/*"
upstream = "mock"
price = "call"

[[routes]]
match = "GET /clusters/*"
upstream = "mock"
price = "free"
"#;
