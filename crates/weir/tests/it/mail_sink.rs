//! A mail server as tests want it to behave.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use rustls::ServerConfig;

use crate::receiver::secured;
use crate::support::{PATIENCE, within};

/// How the way to a mail server is kept secret.
#[derive(Clone)]
pub(crate) enum Secrecy {
    /// Not at all.
    None,
    /// From the client's STARTTLS on, and nothing is taken before it.
    StartTls(Arc<ServerConfig>),
    /// From the first byte.
    Wrapped(Arc<ServerConfig>),
}

/// A mail server that takes everything and keeps what it was sent; it refuses the first messages
/// with a temporary error.
pub(crate) struct MailSink {
    pub(crate) address: SocketAddr,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Kept {
    mails: Vec<String>,
    commands: String,
    refuse: usize,
}

impl MailSink {
    pub(crate) fn start(refused_at_first: usize) -> Self {
        Self::start_with(refused_at_first, Secrecy::None)
    }

    pub(crate) fn start_with(refused_at_first: usize, secrecy: Secrecy) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let kept = Arc::new(Mutex::new(Kept { refuse: refused_at_first, ..Kept::default() }));
        let sink = Self { address, kept: Arc::clone(&kept) };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // The client closes when it is done, or earlier.
                let _ = serve(stream, &secrecy, &kept);
            }
        });
        sink
    }

    /// Waits for as many mails and gives them back, each with its envelope first, and before that
    /// how its sender made himself known.
    pub(crate) fn wait_for(&self, count: usize) -> Vec<String> {
        let mails = || self.kept.lock().expect("no panic").mails.clone();
        within(PATIENCE, &format!("{count} mails arrive"), || mails().len() >= count);
        mails()
    }

    /// Every command that came, on whatever connection.
    pub(crate) fn commands(&self) -> String {
        self.kept.lock().expect("no panic").commands.clone()
    }
}

fn serve(mut stream: TcpStream, secrecy: &Secrecy, kept: &Mutex<Kept>) -> io::Result<()> {
    const HELLO: &[u8] = b"220 sink ESMTP\r\n";
    match secrecy {
        Secrecy::None => {
            stream.write_all(HELLO)?;
            talk(stream, false, kept).map(drop)
        }
        Secrecy::Wrapped(tls) => {
            let mut stream = secured(stream, Arc::clone(tls));
            stream.write_all(HELLO)?;
            stream.flush()?;
            talk(stream, false, kept).map(drop)
        }
        Secrecy::StartTls(tls) => {
            stream.write_all(HELLO)?;
            match talk(stream, true, kept)? {
                Some(stream) => talk(secured(stream, Arc::clone(tls)), false, kept).map(drop),
                None => Ok(()),
            }
        }
    }
}

/// Talks until the client leaves, or gives the stream back when it asks for TLS.
fn talk<S: Read + Write>(stream: S, tls_first: bool, kept: &Mutex<Kept>) -> io::Result<Option<S>> {
    let mut reader = BufReader::new(stream);
    let mut mail = String::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        kept.lock().expect("no panic").commands.push_str(&line);
        let command = line.to_ascii_uppercase();
        let answer = if command.starts_with("EHLO") {
            if tls_first {
                "250-sink\r\n250 STARTTLS\r\n"
            } else {
                "250-sink\r\n250 AUTH PLAIN\r\n"
            }
        } else if command.starts_with("STARTTLS") {
            say(&mut reader, "220 go on\r\n")?;
            return Ok(Some(reader.into_inner()));
        } else if command.starts_with("QUIT") {
            return say(&mut reader, "221 bye\r\n").map(|()| None);
        } else if tls_first {
            "530 TLS first\r\n"
        } else if command.starts_with("AUTH") {
            mail.push_str(&line);
            "235 welcome\r\n"
        } else if command.starts_with("MAIL") && must_refuse(kept) {
            "451 try again later\r\n"
        } else if command.starts_with("DATA") {
            say(&mut reader, "354 go on\r\n")?;
            loop {
                line.clear();
                reader.read_line(&mut line)?;
                if line == ".\r\n" {
                    break;
                }
                mail.push_str(&line);
            }
            kept.lock().expect("no panic").mails.push(std::mem::take(&mut mail));
            "250 kept\r\n"
        } else {
            if command.starts_with("MAIL") || command.starts_with("RCPT") {
                mail.push_str(&line);
            }
            "250 fine\r\n"
        };
        say(&mut reader, answer)?;
    }
}

fn say<S: Read + Write>(reader: &mut BufReader<S>, answer: &str) -> io::Result<()> {
    reader.get_mut().write_all(answer.as_bytes())?;
    reader.get_mut().flush()
}

fn must_refuse(kept: &Mutex<Kept>) -> bool {
    let mut kept = kept.lock().expect("no panic");
    let refuse = kept.refuse > 0;
    kept.refuse = kept.refuse.saturating_sub(1);
    refuse
}
