//! Upstreams that we did not write: nginx with files, Python's own HTTP server with streams.

use std::io::{BufRead, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use weir_core::ledger::EntryKind;
use weir_core::money::Nano;

use crate::sdk::place;
use crate::seed::{on, paying};
use crate::server::Weir;
use crate::support::within;
use crate::wire::{Answer, Line, kept_request};

/// A program that serves on a port of ours; ended when dropped.
struct Program {
    child: Child,
    address: SocketAddr,
}

impl Program {
    /// Starts a program that is told a free port, and waits until it listens there, however long
    /// its start takes.
    fn start(make: impl FnOnce(u16) -> Command) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
        let address = free.expect("a free port");
        let child = make(address.port()).stdout(Stdio::null()).spawn().expect("it starts");
        let program = Self { child, address };
        within(Duration::from_secs(120), "it listens", || TcpStream::connect(address).is_ok());
        program
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn nginx(folder: &Path) -> Program {
    let file = folder.join("nginx.conf");
    Program::start(|port| {
        let config = format!(
            "daemon off; master_process off; pid nginx.pid; error_log stderr crit;\n\
             events {{}}\nhttp {{ access_log off; client_body_temp_path tmp; proxy_temp_path tmp;\n\
             fastcgi_temp_path tmp; uwsgi_temp_path tmp; scgi_temp_path tmp;\n\
             gzip on; gzip_types *; gzip_min_length 256; gzip_proxied any;\n\
             server {{ listen 127.0.0.1:{port}; root files; }} }}\n"
        );
        std::fs::write(&file, config).expect("written");
        let mut command = Command::new("nginx");
        command.arg("-p").arg(folder).arg("-c").arg(&file).stderr(Stdio::null());
        command
    })
}

/// Everything passes, nothing is limited or priced.
fn open_house(upstream: SocketAddr) -> Weir {
    let config = format!(
        "[upstreams.u]\nurls = [\"http://{upstream}\"]\n[plans.open]\n\
         [[routes]]\nmatch = \"* /*\"\nupstream = \"u\"\n"
    );
    Weir::start(&config, &[on("open")])
}

/// The headers that tell what an answer is; those of a connection may differ.
fn told(answer: &Answer) -> Vec<(&'static str, Option<&str>)> {
    let names = ["content-length", "content-type", "content-range", "content-encoding", "etag"];
    let more = ["last-modified", "accept-ranges", "vary", "location", "allow"];
    names.into_iter().chain(more).map(|name| (name, answer.header(name))).collect()
}

#[test]
fn files_of_nginx_pass_byte_for_byte() {
    let there = Command::new("nginx").arg("-v").stderr(Stdio::null()).status().is_ok();
    if !there && place("nginx").is_none() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let files = folder.path().join("files");
    std::fs::create_dir(&files).expect("a folder");
    for size in [0, 1, 65_536, 20 << 20] {
        let bytes: Vec<u8> = (0..=250_u8).cycle().take(size).collect();
        std::fs::write(files.join(format!("{size}.bin")), bytes).expect("written");
    }
    std::fs::write(files.join("words.txt"), "a weir holds back water\n".repeat(4_000))
        .expect("written");
    let nginx = nginx(folder.path());
    let weir = open_house(nginx.address);
    let bearer = weir.bearer(0);
    let (mut direct, mut through) = (Line::open(nginx.address), weir.line());
    let mut same = |method: &str, path: &str, headers: &[&str]| {
        let plain = direct.call(method, path, headers, "");
        let headers: Vec<&str> = headers.iter().copied().chain([&*bearer]).collect();
        let proxied = through.call(method, path, &headers, "");
        assert_eq!(proxied.status, plain.status, "{method} {path}: {}", proxied.head);
        assert_eq!(told(&proxied), told(&plain), "{method} {path}");
        assert!(proxied.body == plain.body, "{method} {path}: other bytes");
        assert!(plain.complete && proxied.complete, "{method} {path}");
        plain
    };
    let mut etag = String::new();
    let mut modified = String::new();
    for size in [0, 1, 65_536, 20 << 20] {
        let path = format!("/{size}.bin");
        let plain = same("GET", &path, &[]);
        assert_eq!((plain.status, plain.body.len()), (200, size));
        same("HEAD", &path, &[]);
        etag = plain.header("etag").unwrap_or_default().to_owned();
        modified = plain.header("last-modified").unwrap_or_default().to_owned();
    }
    let large = format!("/{}.bin", 20 << 20);
    for (range, status) in [("0-0", 206), ("1000000-3000000", 206), ("-5", 206), ("99999999-", 416)]
    {
        let header = format!("range: bytes={range}");
        assert_eq!(same("GET", &large, &[&header]).status, status, "{range}");
    }
    assert_eq!(same("GET", &large, &[&format!("if-modified-since: {modified}")]).status, 304);
    assert_eq!(same("GET", &large, &[&format!("if-none-match: {etag}")]).status, 304);
    let packed = same("GET", "/words.txt", &["accept-encoding: gzip"]);
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    assert_eq!(same("HEAD", "/words.txt", &["accept-encoding: gzip"]).status, 200);
    assert_eq!(same("GET", "/none", &[]).status, 404);
    assert_eq!(same("POST", "/words.txt", &[]).status, 405);
}

/// Sends one piece, waits until it is told to go on, and sends the rest.
const STEPWISE: &str = r#"
import http.server, sys, threading

go = threading.Event()

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def piece(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def do_GET(self):
        if self.path == "/go":
            go.set()
            self.send_response(204)
            self.end_headers()
            return
        go.clear()
        kind, first, last = {
            "/events": ("text/event-stream", b"data: one\n\n", b"data: two\n\ndata: [DONE]\n\n"),
            "/lines": ("application/x-ndjson", b'{"n":1}\n', b'{"n":2}\n'),
            "/json": ("application/json", b'[1,\n', b'2]\n'),
        }[self.path]
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        self.piece(first)
        if not go.wait(20):
            raise SystemExit("nobody said go")
        self.piece(last)
        self.wfile.write(b"0\r\n\r\n")

http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"#;

#[test]
fn what_a_python_server_sends_first_arrives_before_it_sends_the_rest() {
    let upstream = Program::start(|port| {
        let mut command = Command::new("python3");
        command.args(["-c", STEPWISE, &port.to_string()]);
        command
    });
    let weir = open_house(upstream.address);
    let bearer = weir.bearer(0);
    for (path, first, rest) in [
        ("/events", "data: one\n", "\ndata: two\n\ndata: [DONE]\n\n"),
        ("/lines", "{\"n\":1}\n", "{\"n\":2}\n"),
        ("/json", "[1,\n", "2]\n"),
    ] {
        let mut line = weir.line();
        line.send(kept_request("GET", path, &[&bearer], "").as_bytes()).expect("it is sent");
        let mut seen = String::new();
        while !seen.ends_with(first) {
            // Nothing more comes than the first piece: the upstream waits for us.
            assert!(line.reader().read_line(&mut seen).expect("a line") > 0, "{path}: {seen}");
        }
        assert!(!seen.contains(rest), "{path}: the rest came unasked");
        assert_eq!(weir.call(0, "GET", "/go", "").status, 204);
        let mut whole = seen.into_bytes();
        while !whole.ends_with(b"\r\n0\r\n\r\n") {
            assert!(line.reader().read_until(b'\n', &mut whole).expect("a line") > 0, "{path}");
        }
        let answer = Answer::next(&mut whole.as_slice(), false).expect("an answer");
        assert_eq!(answer.text(), [first, rest].concat(), "{path}");
    }
}

#[test]
fn a_large_upload_passes_byte_for_byte() {
    let upstream = crate::recorder::Recorder::start();
    let weir = open_house(upstream.address);
    let body: Vec<u8> = (0..=250_u8).cycle().take(5_000_000).collect();
    let head = format!("PUT /a HTTP/1.1\r\nhost: a\r\n{}\r\n", weir.bearer(0));
    let mut line = weir.line();
    line.send(format!("{head}content-length: {}\r\n\r\n", body.len()).as_bytes()).expect("sent");
    line.send(&body).expect("it is sent");
    assert_eq!(line.answer().map(|answer| answer.status), Some(200));
    let mut line = weir.line();
    let mut chunked = format!("{head}transfer-encoding: chunked\r\n\r\n").into_bytes();
    for piece in body.chunks(70_001) {
        write!(chunked, "{:x}\r\n", piece.len()).expect("written");
        chunked.extend_from_slice(piece);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    line.send(&chunked).expect("it is sent");
    assert_eq!(line.answer().map(|answer| answer.status), Some(200));
    assert_eq!(upstream.requests(), ["PUT /a 5000000", "PUT /a 5000000"]);
    assert!(upstream.bodies().iter().all(|got| *got == body), "other bytes");
}

/// A model that answers what its configuration says.
const LITELLM: &str = "model_list:\n  - model_name: mock\n    litellm_params:\n      \
                       model: openai/gpt-4o-mini\n      api_key: none\n      \
                       mock_response: one two three four five\n";

#[test]
fn the_litellm_proxy_is_read_and_charged_by_what_it_reports() {
    let Some(program) = place("the LiteLLM proxy").map(|place| place.join("litellm/bin/litellm"))
    else {
        return;
    };
    if !program.exists() {
        let said = format!("SKIPPED: the LiteLLM proxy: no {}\n", program.display());
        let _ = std::io::stderr().write_all(said.as_bytes());
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("config.yaml"), LITELLM).expect("written");
    let proxy = Program::start(|port| {
        let mut command = Command::new(program);
        command.current_dir(folder.path()).stderr(Stdio::null());
        command.args(["--config", "config.yaml", "--host", "127.0.0.1"]);
        command.args(["--port", &port.to_string()]);
        // It neither asks the network for anything, nor wants a key of its own.
        for (name, value) in [
            ("LITELLM_LOCAL_MODEL_COST_MAP", "True"),
            ("LITELLM_TELEMETRY", "False"),
            ("LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY", "true"),
        ] {
            command.env(name, value);
        }
        command
    });
    let config = format!(
        "[upstreams.u]\nurls = [\"http://{}\"]\n[plans.payg]\nbilling = \"wallet\"\n\
         [[routes]]\nmatch = \"GET /*\"\nupstream = \"u\"\nprice = \"free\"\n\
         [[routes]]\nmatch = \"POST /v1/chat/completions\"\nupstream = \"u\"\n\
         usage = \"openai\"\nprice = \"model\"\n\
         [prices.mock]\ninput_tokens = \"1.00/1k\"\noutput_tokens = \"1.00/1k\"\n",
        proxy.address
    );
    let mut weir = Weir::start(&config, &[paying("payg", "100")]);
    let models = Line::open(proxy.address).call("GET", "/v1/models", &[], "");
    let through = weir.call(0, "GET", "/v1/models", "");
    assert_eq!((through.status, through.text()), (200, models.text()));
    let body = |stream: &str| {
        format!(r#"{{"model":"mock",{stream}"messages":[{{"role":"user","content":"Hi"}}]}}"#)
    };
    let whole = weir.call(0, "POST", "/v1/chat/completions", &body(""));
    assert_eq!(whole.status, 200, "{}", whole.text());
    let total = whole.json()["usage"]["total_tokens"].as_i64().expect("a count");
    let charge: Nano =
        whole.header("x-weir-charge").and_then(|text| text.parse().ok()).expect("a charge");
    assert_eq!(charge.get(), total * 1_000_000);
    let stream = weir.call(0, "POST", "/v1/chat/completions", &body("\"stream\":true,"));
    let events = stream.events();
    let said: String = events
        .iter()
        .filter_map(|event| event["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(said, "one two three four five");
    assert!(stream.complete && stream.text().trim_end().ends_with("data: [DONE]"));
    assert!(events.iter().all(|event| event["usage"].is_null()), "{}", stream.text());
    let entries = weir.stop_and_read();
    let charges = entries.iter().filter(|entry| entry.kind == EntryKind::Charge);
    let charges: Vec<_> = charges.map(|entry| -entry.amount.get()).collect();
    assert_eq!(charges[0], total * 1_000_000);
    assert!(charges.len() == 2 && charges[1] > 0, "{charges:?}");
}
