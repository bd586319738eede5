//! docs/quickstart.md as a newcomer types it: every line, in its order, and what is printed.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;

use crate::support::eventually;

const PAGE: &str = include_str!("../../../../docs/quickstart.md");

/// What stands in the page and differs from run to run, with what stood there this time.
type Bindings = BTreeMap<String, String>;

/// A command that goes on, and what it has printed so far.
struct Terminal {
    child: Child,
    printed: Arc<Mutex<String>>,
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Newcomer {
    folder: TempDir,
    environment: BTreeMap<String, String>,
    known: Bindings,
    terminals: Vec<Terminal>,
}

impl Newcomer {
    fn shell(&self, line: &str) -> Command {
        let binaries = std::path::Path::new(env!("CARGO_BIN_EXE_weir")).parent().expect("a folder");
        let path = format!("{}:{}", binaries.display(), env!("PATH"));
        let mut command = Command::new("sh");
        command.args(["-c", &format!("exec 2>&1; {line}")]).current_dir(self.folder.path());
        command.env("PATH", path).env("XDG_CONFIG_HOME", self.folder.path().join("config"));
        command.env_remove("WEIR_CONTEXT").env_remove("RUST_LOG").env("NO_COLOR", "1");
        command.envs(&self.environment).stdin(Stdio::null());
        if let Some(admin) = self.known.get("127.0.0.1:8081") {
            command.env("WEIR_ADMIN_URL", format!("http://{admin}"));
        }
        command
    }

    /// A line with the addresses of this run.
    fn here(&self, line: &str) -> String {
        let addresses = self.known.iter().filter(|(written, _)| written.starts_with("127."));
        addresses.fold(line.to_owned(), |line, (written, actual)| line.replace(written, actual))
    }

    fn type_in(&mut self, line: &str, expected: &str) {
        if let Some((name, value)) = line.strip_prefix("export ").and_then(|it| it.split_once('='))
        {
            let value = self.known.get(value).unwrap_or_else(|| panic!("where is {value} from?"));
            self.environment.insert(name.to_owned(), value.clone());
            return;
        }
        if LASTING.iter().any(|start| line.starts_with(start)) {
            return self.open(line, expected);
        }
        let line = self.here(line);
        eventually(&format!("{line} prints\n{expected}"), || {
            let ran = self.shell(&line).output().expect("a shell");
            let printed = String::from_utf8_lossy(&ran.stdout).into_owned();
            assert!(ran.status.success(), "{line}: {printed}");
            // What was used is counted with a delay, as the command itself says.
            self.compare(expected, &printed) || {
                let counting = line.starts_with("weir usage") && printed.starts_with("nothing");
                assert!(counting, "{line} printed\n{printed}not\n{expected}");
                false
            }
        });
    }

    /// Starts what goes on in a terminal of its own, on addresses that nobody else has.
    fn open(&mut self, line: &str, expected: &str) {
        let (mut line, file) = (self.here(line), self.folder.path().join("weir.toml"));
        line = line.replace("--port 9000", "--port 0");
        if line == "weir demo" {
            line.push_str(" --port 0");
        }
        if let Some(receiver) = self.known.get("127.0.0.1:3000") {
            let port = receiver.rsplit(':').next().unwrap_or_default();
            line = line.replace("--port 3000", &format!("--port {port}"));
        }
        if line == "weir serve" {
            let text = std::fs::read_to_string(&file).expect("a configuration");
            let text = text.replace(":8080\"", ":0\"").replace(":8081\"", ":0\"");
            std::fs::write(&file, self.here(&text)).expect("written");
        }
        let mut command = self.shell(&format!("exec {line}"));
        let mut child = command.stdout(Stdio::piped()).spawn().expect("a shell");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let printed: Arc<Mutex<String>> = Arc::default();
        let kept = Arc::clone(&printed);
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                *kept.lock().expect("no panic") += &format!("{line}\n");
            }
        });
        self.terminals.push(Terminal { child, printed: Arc::clone(&printed) });
        eventually(&format!("{line} prints\n{expected}"), || {
            let printed = printed.lock().expect("no panic").clone();
            self.compare(&format!("{expected}\n…"), &printed)
        });
    }

    /// Waits until a line is printed in one of the terminals.
    fn look_for(&mut self, expected: &str) {
        eventually(&format!("somewhere is printed\n{expected}"), || {
            let lines: Vec<String> = self.terminals.iter().flat_map(Terminal::lines).collect();
            lines.iter().any(|line| self.compare(expected, line))
        });
    }

    fn compare(&mut self, expected: &str, printed: &str) -> bool {
        let mut known = self.known.clone();
        let fits = fits(&tokens(expected), &tokens(printed), &mut known);
        if fits {
            self.known = known;
        }
        fits
    }
}

impl Terminal {
    fn lines(&self) -> Vec<String> {
        self.printed.lock().expect("no panic").lines().map(str::to_owned).collect()
    }
}

/// Words, and the marks of JSON by themselves.
fn tokens(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    for word in text.split_whitespace() {
        let mut rest = word;
        while let Some(at) = rest.find(['"', '{', '}', '[', ']', ',']) {
            tokens.extend([&rest[..at], &rest[at..=at]]);
            rest = &rest[at + 1..];
        }
        tokens.push(rest);
    }
    tokens.retain(|token| !token.is_empty());
    tokens
}

/// Whether what was printed is what is expected, in which `…` stands for anything.
fn fits(expected: &[&str], printed: &[&str], known: &mut Bindings) -> bool {
    let Some((first, rest)) = expected.split_first() else { return printed.is_empty() };
    if first.trim_start_matches(':') == "…" {
        return (0..=printed.len()).any(|skipped| {
            let mut tried = known.clone();
            let fits = fits(rest, &printed[skipped..], &mut tried);
            if fits {
                *known = tried;
            }
            fits
        });
    }
    let Some((word, more)) = printed.split_first() else { return false };
    is_same(first, word, known) && fits(rest, more, known)
}

fn is_same(expected: &str, printed: &str, known: &mut Bindings) -> bool {
    if expected == printed {
        return true;
    }
    let is_time = |text: &str| text.parse::<jiff::Timestamp>().is_ok();
    let is_hour = |text: &str| text.len() == 8 && text.parse::<jiff::civil::Time>().is_ok();
    if is_time(expected) && is_time(printed) || is_hour(expected) && is_hour(printed) {
        return true;
    }
    if let Some(kind) = CHANGING.iter().find(|kind| expected.starts_with(**kind)) {
        let before = known.entry(expected.to_owned()).or_insert_with(|| printed.to_owned());
        return printed.starts_with(kind) && before == printed;
    }
    let address = |text: &str| {
        let from = text.find("127.0.0.1:")?;
        let rest = &text[from..];
        let end = rest.find(['/', ';']).unwrap_or(rest.len());
        Some((text.replace(&rest[..end], ""), rest[..end].to_owned()))
    };
    let (Some((around, written)), Some((other, actual))) = (address(expected), address(printed))
    else {
        return false;
    };
    around == other && *known.entry(written).or_insert_with(|| actual.clone()) == actual
}

#[test]
fn the_quickstart_is_what_happens() {
    let known = Bindings::from([("127.0.0.1:3000".to_owned(), free_address())]);
    let folder = tempfile::tempdir().expect("a folder");
    let environment = BTreeMap::new();
    let mut newcomer = Newcomer { folder, environment, known, terminals: Vec::new() };
    let mut typed = 0;
    for block in PAGE.split("\n```").skip(1).step_by(2) {
        let (language, text) = block.split_once('\n').expect("a block");
        if language == "text" {
            newcomer.look_for(text);
            continue;
        }
        assert_eq!(language, "console", "{text}");
        for step in text.trim_start_matches("$ ").split("\n$ ") {
            let (line, expected) = step.split_once('\n').unwrap_or((step, ""));
            newcomer.type_in(line, expected);
            typed += 1;
        }
        if text.starts_with("$ weir demo\n") {
            newcomer.terminals.clear();
            newcomer.known.retain(|written, _| written == "127.0.0.1:3000");
        }
    }
    assert!((15..25).contains(&typed), "{typed} lines: too many for five minutes?");
}

/// Below the ports that the system gives away by itself.
fn free_address() -> String {
    let mut ports = (20_000..30_000).map(|port| format!("127.0.0.1:{port}"));
    let skipped = usize::try_from(std::process::id()).unwrap_or_default() % 9_000;
    let free = ports.by_ref().skip(skipped).find(|address| TcpListener::bind(address).is_ok());
    free.expect("a free port")
}

/// What is not over when it has printed something.
const LASTING: [&str; 4] =
    ["weir demo", "weir serve", "weir webhook listen", "weir webhook receive"];
/// What is different each time begins so.
const CHANGING: [&str; 8] =
    ["weir_admin_", "weir_w_", "acct_", "key_", "entry_", "evt_", "req_", "whsec_"];
