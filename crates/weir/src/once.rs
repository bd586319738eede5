//! What makes a command take effect once, though its answer be lost.

use std::io::ErrorKind;

use ureq::{Error, Timeout};

/// The idempotency key of a command that makes one change.
#[derive(Debug, clap::Args)]
pub(crate) struct Once {
    /// Say again what may or may not have taken effect; the error that says so names the key.
    #[arg(long, value_name = "KEY", value_parser = sound)]
    idempotency_key: Option<String>,
}

/// How far a request came that got no answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Failing {
    /// Nothing of it was sent.
    Unsent,
    /// The connection broke off; whether it took effect nobody knows.
    BrokenOff,
    /// The same, and another attempt would fare no better.
    Unknown,
}

impl Once {
    /// The key that is said, else a fresh one.
    ///
    /// # Errors
    ///
    /// When there are no random bytes.
    pub(crate) fn key(&self) -> anyhow::Result<String> {
        self.idempotency_key.clone().map_or_else(fresh_key, Ok)
    }
}

impl Failing {
    pub(crate) fn of(error: &Error) -> Self {
        match error {
            Error::HostNotFound
            | Error::ConnectionFailed
            | Error::BadUri(_)
            | Error::Http(_)
            | Error::Timeout(Timeout::Resolve | Timeout::Connect) => Self::Unsent,
            // The handshake comes with the first bytes, and as an error of theirs.
            Error::Io(error) if is_of_handshake(error) => Self::Unsent,
            Error::Io(error) => match error.kind() {
                ErrorKind::ConnectionRefused
                | ErrorKind::HostUnreachable
                | ErrorKind::NetworkUnreachable => Self::Unsent,
                _ => Self::BrokenOff,
            },
            Error::Protocol(_) => Self::BrokenOff,
            _ => Self::Unknown,
        }
    }
}

/// A key that nobody else has.
///
/// # Errors
///
/// When there are no random bytes.
pub(crate) fn fresh_key() -> anyhow::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|_| anyhow::anyhow!("there are no random bytes"))?;
    Ok(format!("cli-{}", hex::encode(bytes)))
}

fn is_of_handshake(error: &std::io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(inner, Some(rustls::Error::InvalidCertificate(_)))
}

/// What the API takes as a key, and a shell as a word.
fn sound(text: &str) -> Result<String, String> {
    let takes = |byte: u8| byte.is_ascii_graphic() && byte != b'"';
    match (1..=KEY_MAX).contains(&text.len()) && text.bytes().all(takes) {
        true => Ok(text.to_owned()),
        false => Err(format!("it must be 1 to {KEY_MAX} visible ASCII characters, without `\"`")),
    }
}

const KEY_MAX: usize = 255;
