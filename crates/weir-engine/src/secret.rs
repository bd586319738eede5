//! Key secrets: drawn once, shown once, kept only as a digest.
//!
//! `weir_w_<43 base62 digits><6 base62 digits of the CRC-32 of what is before them>`: the form that
//! GitHub introduced, so that typos and scanners' false positives are told apart offline.

use sha2::{Digest, Sha256};
use weir_core::key::KeyType;

/// SHA-256 of a secret: what the key index is searched by. Secrets carry 256 random bits, so that
/// one fast hash is enough.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct SecretDigest(pub [u8; 32]);

impl SecretDigest {
    /// The digest of a secret as it was sent.
    pub fn of(secret: &[u8]) -> Self {
        Self(Sha256::digest(secret).into())
    }

    /// Reads 64 hex digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut digest = [0; 32];
        hex::decode_to_slice(text, &mut digest).ok()?;
        Some(Self(digest))
    }

    /// 64 hex digits.
    pub fn to_hex(self) -> String {
        hex::encode(self.0)
    }
}

/// What a new key's secret is shown as, once, and remembered by.
#[derive(Debug)]
pub struct NewSecret {
    /// The secret itself.
    pub secret: String,
    /// What it is found by.
    pub digest: SecretDigest,
    /// Beginning and end, for people to tell keys apart.
    pub hint: String,
}

/// The system gave no random bytes.
#[derive(Debug, thiserror::Error)]
#[error("the system gave no random bytes")]
pub struct NoRandomness;

/// Draws the secret of a new key.
///
/// # Errors
///
/// [`NoRandomness`] when the system has none to give.
pub fn draw(prefix: &str, kind: KeyType) -> Result<NewSecret, NoRandomness> {
    let letter = match kind {
        KeyType::Read => 'r',
        KeyType::ReadWrite => 'w',
        KeyType::Service => 's',
    };
    draw_with(&format!("{prefix}_{letter}_"))
}

/// Draws the operator's own key.
///
/// # Errors
///
/// [`NoRandomness`] when the system has none to give.
pub fn draw_admin(prefix: &str) -> Result<NewSecret, NoRandomness> {
    draw_with(&format!("{prefix}_admin_"))
}

fn draw_with(head: &str) -> Result<NewSecret, NoRandomness> {
    let mut secret = head.to_owned();
    while secret.len() < head.len() + RANDOM_DIGITS {
        let mut bytes = [0_u8; 64];
        getrandom::fill(&mut bytes).map_err(|_| NoRandomness)?;
        // Bytes of 248 and above would make the first eight digits likelier than the rest.
        let fair = bytes.iter().filter(|byte| **byte < 248).map(|byte| usize::from(byte % 62));
        let missing = head.len() + RANDOM_DIGITS - secret.len();
        secret.extend(fair.take(missing).map(digit));
    }
    secret.push_str(&checksum(&secret));
    let digest = SecretDigest::of(secret.as_bytes());
    let hint = format!("{}…{}", &secret[..head.len() + 4], &secret[secret.len() - 4..]);
    Ok(NewSecret { secret, digest, hint })
}

/// Whether a secret that begins like ours is surely not ours: its checksum is wrong. A secret of
/// another form (an imported key) is never refused here.
pub fn is_surely_wrong(secret: &str, prefix: &str) -> bool {
    let Some(rest) = secret.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('_')) else {
        return false;
    };
    let Some((letter, digits)) = rest.split_once('_') else { return false };
    if !matches!(letter, "r" | "w" | "s") {
        return false;
    }
    if digits.len() != RANDOM_DIGITS + CHECK_DIGITS || !digits.is_ascii() {
        return true;
    }
    let (body, check) = secret.split_at(secret.len() - CHECK_DIGITS);
    checksum(body) != check
}

fn checksum(text: &str) -> String {
    let mut value = crc32fast::hash(text.as_bytes()) as usize;
    let mut digits = ['0'; CHECK_DIGITS];
    for place in digits.iter_mut().rev() {
        *place = digit(value % 62);
        value /= 62;
    }
    digits.iter().collect()
}

fn digit(value: usize) -> char {
    char::from(ALPHABET[value % ALPHABET.len()])
}

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const RANDOM_DIGITS: usize = 43;
const CHECK_DIGITS: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drawn_secret_has_its_form_and_checksum() {
        let new = draw("weir", KeyType::ReadWrite).unwrap();
        assert!(new.secret.starts_with("weir_w_"));
        assert_eq!(new.secret.len(), 7 + 49);
        assert!(!is_surely_wrong(&new.secret, "weir"));
        assert_eq!(SecretDigest::of(new.secret.as_bytes()), new.digest);
        assert!(!new.hint.contains(&new.secret[12..40]));
    }

    #[test]
    fn any_typo_is_caught_before_a_lookup() {
        let secret = draw("weir", KeyType::Read).unwrap().secret;
        for at in 7..secret.len() {
            let mut typo: Vec<char> = secret.chars().collect();
            typo[at] = if typo[at] == 'x' { 'y' } else { 'x' };
            assert!(is_surely_wrong(&typo.iter().collect::<String>(), "weir"), "{at}");
        }
        assert!(is_surely_wrong(&secret[..secret.len() - 1], "weir"));
    }

    #[test]
    fn imported_secrets_of_any_form_are_looked_up() {
        for secret in ["sk-abc", "weir", "weir_x_abc", "", "weirdo_r_1"] {
            assert!(!is_surely_wrong(secret, "weir"), "{secret}");
        }
    }
}
