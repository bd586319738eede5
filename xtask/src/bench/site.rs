//! What a measurement runs on: mock upstream, nginx and Weir before it, in a folder of their own.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use super::options::{Binaries, Options};
use super::server::{Core, Server, free_address, on_core};

/// All servers of a measurement.
pub(super) struct Site {
    mock: Server,
    nginx: Server,
    weir: Server,
    keys: Keys,
    _folder: Folder,
}

/// One key of each plan.
pub(super) struct Keys {
    pub(super) free: String,
    pub(super) paying: String,
}

/// How an answer streams.
#[derive(Clone, Copy)]
pub(super) struct Stream {
    pub(super) tokens: u32,
    pub(super) delay_ms: u32,
}

/// A folder that goes with its owner.
pub(super) struct Folder(PathBuf);

impl Site {
    pub(super) fn open(binaries: &Binaries, options: &Options) -> anyhow::Result<Self> {
        let folder = Folder::new("site")?;
        let (mock, weir, keys) = without_nginx(binaries, folder.path(), options)?;
        let nginx = start_nginx(folder.path(), mock.address, cores(options).0)?;
        Ok(Self { mock, nginx, weir, keys, _folder: folder })
    }

    pub(super) fn mock(&self) -> &Server {
        &self.mock
    }

    pub(super) fn nginx(&self) -> &Server {
        &self.nginx
    }

    pub(super) fn weir(&self) -> &Server {
        &self.weir
    }

    pub(super) fn free_key(&self) -> &str {
        &self.keys.free
    }

    pub(super) fn paying_key(&self) -> &str {
        &self.keys.paying
    }
}

impl Folder {
    pub(super) fn new(name: &str) -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("weir-bench-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A folder left in the temporary folder harms nobody.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The mock upstream, Weir before it, and keys.
pub(super) fn without_nginx(
    binaries: &Binaries,
    folder: &Path,
    options: &Options,
) -> anyhow::Result<(Server, Server, Keys)> {
    let (proxies, others) = cores(options);
    let mock = start_mock(binaries, others)?;
    let keys = seed(binaries, &folder.join("store"), 1, 0)?;
    let weir = start_weir(binaries, folder, mock.address, proxies)?;
    Ok((mock, weir, keys))
}

/// Where proxies run, and where load and upstream do.
pub(super) fn cores(options: &Options) -> (Core, Core) {
    if options.pinned { (Core::Only(0), Core::Only(1)) } else { (Core::Any, Core::Any) }
}

pub(super) fn start_mock(binaries: &Binaries, core: Core) -> anyhow::Result<Server> {
    let address = free_address()?;
    let mut command = on_core(core, &binaries.weir);
    command.args(["demo-upstream", "--threads", "2", "--port", &address.port().to_string()]);
    Server::start(&mut command, address)
}

pub(super) fn start_nginx(
    folder: &Path,
    upstream: SocketAddr,
    core: Core,
) -> anyhow::Result<Server> {
    let address = free_address()?;
    let workers = match core {
        Core::Any => std::thread::available_parallelism().map_or(1, usize::from),
        Core::Only(_) => 1,
    };
    let config = NGINX
        .replace("FOLDER", &folder.display().to_string())
        .replace("WORKERS", &workers.to_string())
        .replace("UPSTREAM", &upstream.to_string())
        .replace("LISTEN", &address.to_string());
    let path = folder.join("nginx.conf");
    fs::write(&path, config)?;
    Server::start(on_core(core, "nginx").arg("-p").arg(folder).arg("-c").arg(&path), address)
}

/// Fills the store with `keys` keys of either plan; one of each is given back.
pub(super) fn seed(
    binaries: &Binaries,
    store: &Path,
    keys: usize,
    charges: u64,
) -> anyhow::Result<Keys> {
    let mut wishes = vec![format!("free:{keys}"), format!("paying:{keys}:1000000")];
    wishes.extend((charges > 0).then(|| format!("charges:{charges}")));
    let output = Command::new(&binaries.seed).arg(store).args(wishes).output()?;
    if !output.status.success() {
        bail!("seed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let text = String::from_utf8(output.stdout)?;
    let mut lines = text.lines().map(str::to_owned);
    let mut next = || lines.next().context("seed printed too few keys");
    Ok(Keys { free: next()?, paying: next()? })
}

pub(super) fn start_weir(
    binaries: &Binaries,
    folder: &Path,
    upstream: SocketAddr,
    core: Core,
) -> anyhow::Result<Server> {
    let (address, admin) = (free_address()?, free_address()?);
    let config = WEIR
        .replace("LISTEN", &address.to_string())
        .replace("ADMIN", &admin.to_string())
        .replace("UPSTREAM", &upstream.to_string());
    let path = folder.join("weir.toml");
    fs::write(&path, config)?;
    Server::start(on_core(core, &binaries.weir).arg("serve").arg("--config").arg(&path), address)
}

/// The body of a chat, as small ones are: some 500 bytes.
pub(super) fn chat(stream: Option<Stream>) -> String {
    let text =
        "The quick brown fox jumps over the lazy dog and thinks about rate limits. ".repeat(5);
    let shape = match stream {
        None => "\"max_tokens\":20".to_owned(),
        Some(Stream { tokens, .. }) => format!("\"max_tokens\":{tokens},\"stream\":true"),
    };
    format!(
        "{{\"model\":\"llama-3-8b\",{shape},\"messages\":[{{\"role\":\"system\",\
         \"content\":\"Be brief.\"}},{{\"role\":\"user\",\"content\":\"{text}\"}}]}}"
    )
}

/// A call as it goes over the wire.
pub(super) fn request(key: &str, body: &str) -> String {
    format!(
        "POST {CHAT} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {key}\r\ncontent-type: \
         application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Metered: the body is read, and the usage in the answer.
pub(super) const CHAT: &str = "/v1/chat/completions";
/// The same answer by a route that reads no body, and has only the limit of all calls.
pub(super) const PLAIN: &str = "/plain/chat/completions";
/// The same by a route that reads no body, and has all four limits.
pub(super) const LIMITED: &str = "/limited/chat/completions";

const NGINX: &str = "\
daemon off;
worker_processes WORKERS;
pid FOLDER/nginx.pid;
error_log FOLDER/nginx.log;
events { worker_connections 8192; }
http {
  access_log off;
  client_body_temp_path FOLDER/body;
  proxy_temp_path FOLDER/proxy;
  fastcgi_temp_path FOLDER/fastcgi;
  uwsgi_temp_path FOLDER/uwsgi;
  scgi_temp_path FOLDER/scgi;
  client_body_buffer_size 64k;
  keepalive_requests 100000000;
  upstream mock { server UPSTREAM; keepalive 1024; keepalive_requests 100000000; }
  server {
    listen LISTEN reuseport;
    location / {
      proxy_pass http://mock;
      proxy_http_version 1.1;
      proxy_set_header Connection \"\";
      proxy_buffering off;
    }
  }
}
";

const WEIR: &str = r#"
[server]
listen = "LISTEN"
admin_listen = "ADMIN"

[store]
path = "store"

[auth]
admin_key = "bench-admin-key-bench-admin-key"

[upstreams.mock]
urls = ["http://UPSTREAM"]

[plans.free.limits]
all = "100000000/second"
ai = [
  "1000000000/hour",
  "2000000000/day",
  { limit = 1000000000000, window = "1h", unit = "tokens" },
]

[plans.paying]
billing = "wallet"
limits = {}

[[routes]]
match = "POST /v1/chat/completions"
upstream = "mock"
class = "ai"
usage = "openai"
price = "model"

[[routes]]
match = "POST /plain/chat/completions"
upstream = "mock"
price = "free"

[[routes]]
match = "POST /limited/chat/completions"
upstream = "mock"
class = "ai"
price = "free"

[prices."llama-3-8b"]
input_tokens = "0.15/1M"
output_tokens = "0.60/1M"
"#;
