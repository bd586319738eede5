//! Signatures of Standard Webhooks 1.0.0: `v1`, HMAC-SHA256 over `id.timestamp.body`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Why a message is not what it says.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unverified {
    /// The secret is none: `whsec_` and base64 of at least 24 bytes.
    #[error("the secret must be `whsec_` and base64")]
    Secret,
    /// The time of the attempt is no number.
    #[error("webhook-timestamp must be seconds since 1970")]
    Timestamp,
    /// It was sent too long ago, or in the future.
    #[error("the message was sent more than five minutes from now")]
    TooFar,
    /// No signature fits.
    #[error("no signature fits the message")]
    Signature,
}

/// A message as it travels.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    /// `webhook-id`.
    pub id: &'a str,
    /// `webhook-timestamp`.
    pub timestamp: &'a str,
    /// The body, byte for byte.
    pub body: &'a [u8],
}

impl Signed<'_> {
    /// One signature by that secret, as it stands in `webhook-signature`.
    ///
    /// # Errors
    ///
    /// [`Unverified::Secret`].
    pub fn sign(&self, secret: &str) -> Result<String, Unverified> {
        let digest = self.mac(secret)?.finalize().into_bytes();
        Ok(format!("v1,{}", BASE64.encode(digest)))
    }

    /// Whether one of these signatures is by that secret, at `now_s` seconds since 1970.
    ///
    /// # Errors
    ///
    /// [`Unverified`]: what is wrong.
    pub fn verify(&self, secret: &str, signatures: &str, now_s: i64) -> Result<(), Unverified> {
        let mac = self.mac(secret)?;
        let sent: i64 = self.timestamp.parse().map_err(|_| Unverified::Timestamp)?;
        if now_s.abs_diff(sent) > TOLERANCE_S {
            return Err(Unverified::TooFar);
        }
        let candidates = signatures.split(' ').filter_map(|one| one.strip_prefix("v1,"));
        for candidate in candidates {
            let Ok(digest) = BASE64.decode(candidate) else { continue };
            if mac.clone().verify_slice(&digest).is_ok() {
                return Ok(());
            }
        }
        Err(Unverified::Signature)
    }

    fn mac(&self, secret: &str) -> Result<Hmac<Sha256>, Unverified> {
        let encoded = secret.strip_prefix("whsec_").ok_or(Unverified::Secret)?;
        let key = BASE64.decode(encoded).map_err(|_| Unverified::Secret)?;
        if key.len() < KEY_BYTES_MIN {
            return Err(Unverified::Secret);
        }
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).map_err(|_| Unverified::Secret)?;
        mac.update(self.id.as_bytes());
        mac.update(b".");
        mac.update(self.timestamp.as_bytes());
        mac.update(b".");
        mac.update(self.body);
        Ok(mac)
    }
}

const TOLERANCE_S: u64 = 300;
const KEY_BYTES_MIN: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=";
    const OTHER: &str = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

    fn headers(id: &str, timestamp: &str, signature: &str) -> http::HeaderMap {
        let mut headers = http::HeaderMap::new();
        let mut put = |name: &'static str, value: &str| {
            headers.insert(name, value.parse().unwrap());
        };
        put("webhook-id", id);
        put("webhook-timestamp", timestamp);
        put("webhook-signature", signature);
        headers
    }

    #[test]
    fn the_library_of_the_standard_accepts_our_signatures_and_no_altered_message() {
        let oracle = standardwebhooks::Webhook::new(SECRET).unwrap();
        let now = std::process::Command::new("date").arg("+%s").output().unwrap();
        let timestamp = String::from_utf8(now.stdout).unwrap().trim().to_owned();
        let body = br#"{"type":"wallet.low","data":{"name":"Zo\u00eb"}}"#;
        let signed = Signed { id: "evt_1", timestamp: &timestamp, body };
        let old_and_new =
            format!("{} {}", signed.sign(OTHER).unwrap(), signed.sign(SECRET).unwrap());
        let good = headers("evt_1", &timestamp, &old_and_new);
        oracle.verify(body, &good).unwrap();
        assert!(oracle.verify(b"{}", &good).is_err());
        assert!(oracle.verify(body, &headers("evt_2", &timestamp, &old_and_new)).is_err());
    }

    #[test]
    fn we_accept_what_the_library_of_the_standard_signs() {
        let oracle = standardwebhooks::Webhook::new(SECRET).unwrap();
        let signature = oracle.sign("evt_9", 1_700_000_000, b"{}").unwrap();
        let signed = Signed { id: "evt_9", timestamp: "1700000000", body: b"{}" };
        assert_eq!(signed.verify(SECRET, &signature, 1_700_000_299), Ok(()));
        let too_far = signed.verify(SECRET, &signature, 1_700_000_301);
        assert_eq!(too_far, Err(Unverified::TooFar));
        assert_eq!(signed.verify(OTHER, &signature, 1_700_000_000), Err(Unverified::Signature));
        let altered = Signed { body: b"{ }", ..signed };
        assert_eq!(altered.verify(SECRET, &signature, 1_700_000_000), Err(Unverified::Signature));
        for wrong in ["", "v1,", "v1,!!", "v2,abc", "v1a,abc"] {
            assert_eq!(
                signed.verify(SECRET, wrong, 1_700_000_000),
                Err(Unverified::Signature),
                "{wrong}"
            );
        }
    }

    #[test]
    fn secrets_that_are_none_sign_nothing() {
        let signed = Signed { id: "evt_9", timestamp: "1", body: b"{}" };
        for wrong in ["", "whsec_", "whsec_c2hvcnQ=", "secret", "whsec_%%%"] {
            assert_eq!(signed.sign(wrong), Err(Unverified::Secret), "{wrong}");
        }
    }
}
