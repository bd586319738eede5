//! A receiver of webhooks, and of e-mail, as tests want it to behave.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::HeaderMap;
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
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (manner, messages) = (Arc::new(Mutex::new(manner)), Arc::new(Mutex::default()));
        let receiver = Self { address, manner, messages };
        let (manner, messages) = (Arc::clone(&receiver.manner), Arc::clone(&receiver.messages));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (manner, messages) = (Arc::clone(&manner), Arc::clone(&messages));
                std::thread::spawn(move || serve(&stream, &manner, &messages));
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

fn serve(stream: &TcpStream, manner: &Mutex<Manner>, messages: &Mutex<Vec<Message>>) {
    let mut reader = BufReader::new(stream);
    while let Some(message) = read(&mut reader) {
        let manner = manner.lock().expect("no panic").clone();
        messages.lock().expect("no panic").push(message);
        match manner {
            Manner::Answer(status, lines) => {
                let head = format!("HTTP/1.1 {status} X\r\n{lines}content-length: 0\r\n\r\n");
                let mut out = stream;
                if out.write_all(head.as_bytes()).is_err() {
                    return;
                }
            }
            Manner::Hang => std::thread::sleep(Duration::from_secs(60)),
            Manner::Drip => {
                for byte in b"HTTP/1.1 200 fine, but late".chunks(1) {
                    let mut out = stream;
                    if out.write_all(byte).is_err() {
                        return;
                    }
                    std::thread::sleep(Duration::from_secs(1));
                }
            }
        }
    }
}

fn read(reader: &mut BufReader<&TcpStream>) -> Option<Message> {
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

/// A mail server that takes everything and keeps what it was sent; it refuses the first messages
/// with a temporary error.
pub(crate) struct MailSink {
    pub(crate) address: SocketAddr,
    mails: Arc<Mutex<Vec<String>>>,
}

impl MailSink {
    pub(crate) fn start(refused_at_first: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let mails: Arc<Mutex<Vec<String>>> = Arc::default();
        let kept = Arc::clone(&mails);
        std::thread::spawn(move || {
            let mut refuse = refused_at_first;
            for stream in listener.incoming().flatten() {
                // The client closes when it is done, or earlier.
                let _ = mail(&stream, &kept, &mut refuse);
            }
        });
        Self { address, mails }
    }

    /// Waits for as many mails and gives them back, each with its envelope first.
    pub(crate) fn wait_for(&self, count: usize) -> Vec<String> {
        let mails = || self.mails.lock().expect("no panic").clone();
        within(PATIENCE, &format!("{count} mails arrive"), || mails().len() >= count);
        mails()
    }
}

fn mail(
    mut stream: &TcpStream,
    mails: &Mutex<Vec<String>>,
    refuse: &mut usize,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    stream.write_all(b"220 sink ESMTP\r\n")?;
    let mut mail = String::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let command = line.to_ascii_uppercase();
        let answer = if command.starts_with("EHLO") {
            "250-sink\r\n250 AUTH PLAIN\r\n"
        } else if command.starts_with("AUTH") {
            "235 welcome\r\n"
        } else if command.starts_with("MAIL") && *refuse > 0 {
            *refuse -= 1;
            "451 try again later\r\n"
        } else if command.starts_with("DATA") {
            stream.write_all(b"354 go on\r\n")?;
            loop {
                line.clear();
                reader.read_line(&mut line)?;
                if line == ".\r\n" {
                    break;
                }
                mail.push_str(&line);
            }
            mails.lock().expect("no panic").push(std::mem::take(&mut mail));
            "250 kept\r\n"
        } else if command.starts_with("QUIT") {
            return stream.write_all(b"221 bye\r\n");
        } else {
            if command.starts_with("MAIL") || command.starts_with("RCPT") {
                mail.push_str(&line);
            }
            "250 fine\r\n"
        };
        stream.write_all(answer.as_bytes())?;
    }
}
