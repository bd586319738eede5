//! A receiver of webhooks, as tests want it to behave.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::HeaderMap;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

use crate::support::{PATIENCE, within};

/// How a receiver answers.
#[derive(Clone, Debug)]
pub(crate) enum Manner {
    /// With this status and these header lines.
    Answer(u16, String),
    /// Not at all.
    Hang,
    /// A byte of its head each second.
    Drip,
}

/// A message as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Message {
    pub(crate) fn id(&self) -> &str {
        self.header("webhook-id")
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a message is JSON")
    }

    pub(crate) fn kind(&self) -> String {
        self.json()["type"].as_str().unwrap_or_default().to_owned()
    }

    /// Whether the library of the standard accepts it.
    pub(crate) fn is_signed_by(&self, secret: &str) -> bool {
        let oracle = standardwebhooks::Webhook::new(secret).expect("a secret");
        oracle.verify(&self.body, &self.headers).is_ok()
    }
}

/// A receiver on a port of its own.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    manner: Arc<Mutex<Manner>>,
    messages: Arc<Mutex<Vec<Message>>>,
}

impl Receiver {
    pub(crate) fn start(manner: Manner) -> Self {
        Self::start_with(manner, None)
    }

    /// Behind TLS.
    pub(crate) fn start_secure(manner: Manner, tls: Arc<ServerConfig>) -> Self {
        Self::start_with(manner, Some(tls))
    }

    fn start_with(manner: Manner, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (manner, messages) = (Arc::new(Mutex::new(manner)), Arc::new(Mutex::default()));
        let receiver = Self { address, manner, messages };
        let (manner, messages) = (Arc::clone(&receiver.manner), Arc::clone(&receiver.messages));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (manner, messages) = (Arc::clone(&manner), Arc::clone(&messages));
                let tls = tls.clone();
                std::thread::spawn(move || match tls {
                    Some(tls) => serve(secured(stream, tls), &manner, &messages),
                    None => serve(stream, &manner, &messages),
                });
            }
        });
        receiver
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    pub(crate) fn behave(&self, manner: Manner) {
        *self.manner.lock().expect("no panic") = manner;
    }

    pub(crate) fn messages(&self) -> Vec<Message> {
        self.messages.lock().expect("no panic").clone()
    }

    /// Waits for as many messages and gives them back.
    pub(crate) fn wait_for(&self, count: usize) -> Vec<Message> {
        within(PATIENCE, &format!("{count} messages arrive"), || self.messages().len() >= count);
        self.messages()
    }
}

/// The server's side of TLS; the handshake comes with the first bytes.
pub(crate) fn secured(
    stream: TcpStream,
    tls: Arc<ServerConfig>,
) -> StreamOwned<ServerConnection, TcpStream> {
    StreamOwned::new(ServerConnection::new(tls).expect("a connection"), stream)
}

fn serve(stream: impl Read + Write, manner: &Mutex<Manner>, messages: &Mutex<Vec<Message>>) {
    let mut reader = BufReader::new(stream);
    while let Some(message) = read(&mut reader) {
        let manner = manner.lock().expect("no panic").clone();
        messages.lock().expect("no panic").push(message);
        match manner {
            Manner::Answer(status, lines) => {
                let head = format!("HTTP/1.1 {status} X\r\n{lines}content-length: 0\r\n\r\n");
                let out = reader.get_mut();
                if out.write_all(head.as_bytes()).and_then(|()| out.flush()).is_err() {
                    return;
                }
            }
            Manner::Hang => std::thread::sleep(Duration::from_secs(60)),
            Manner::Drip => {
                for byte in b"HTTP/1.1 200 fine, but late".chunks(1) {
                    if reader.get_mut().write_all(byte).is_err() {
                        return;
                    }
                    std::thread::sleep(Duration::from_secs(1));
                }
            }
        }
    }
}

fn read(reader: &mut impl BufRead) -> Option<Message> {
    let mut headers = HeaderMap::new();
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    assert!(line.starts_with("POST /hook HTTP/1.1"), "{line}");
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        let name: http::HeaderName = name.parse().expect("a name");
        headers.insert(name, value.parse().expect("a value"));
    }
    let length = headers.get("content-length")?.to_str().ok()?.parse().ok()?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Message { headers, body })
}
