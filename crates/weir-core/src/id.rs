//! Names of things: numbers made outside (the engine draws them), written with a prefix.

use std::fmt;
use std::str::FromStr;

/// Text that is not an id of the expected kind.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a valid id")]
pub struct InvalidId;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $name(pub u64);

        impl $name {
            /// What the written form begins with.
            pub const PREFIX: &'static str = $prefix;
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($prefix)?;
                write_base32(self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                text.strip_prefix($prefix).and_then(parse_base32).map(Self).ok_or(InvalidId)
            }
        }
    };
}

id!(
    /// The paying party.
    AccountId, "acct_"
);
id!(
    /// A credential.
    KeyId, "key_"
);
id!(
    /// A durable reservation of credit, made through the API.
    HoldId, "hold_"
);
id!(
    /// A credential of the operator's people.
    AdminKeyId, "admin_"
);
id!(
    /// A temporary change of a limit.
    BoostId, "boost_"
);
id!(
    /// A customer's request for a higher limit.
    IncreaseId, "incr_"
);
id!(
    /// A receiver of webhooks.
    WebhookId, "wh_"
);
id!(
    /// A told fact: the id of a webhook message, the same on every delivery.
    EventId, "evt_"
);
id!(
    /// Position of an entry in the ledger: ascending, without gaps within one node's journal.
    Seq, "entry_"
);

/// Number of an immutable policy: every accepted configuration gets the next one.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PolicyNumber(pub u32);

/// Thirteen Crockford base32 digits, most significant first, so that text sorts as numbers do.
fn write_base32(value: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for place in (0..DIGITS).rev() {
        let digit = (value >> (5 * place)) & 31;
        f.write_str(&ALPHABET[digit as usize..=digit as usize])?;
    }
    Ok(())
}

fn parse_base32(text: &str) -> Option<u64> {
    if text.len() != DIGITS {
        return None;
    }
    let mut value: u64 = 0;
    for (index, byte) in text.bytes().enumerate() {
        let digit = ALPHABET.bytes().position(|known| known == byte)? as u64;
        if index == 0 && digit > 15 {
            return None;
        }
        value = (value << 5) | digit;
    }
    Some(value)
}

const DIGITS: usize = 13;
const ALPHABET: &str = "0123456789abcdefghjkmnpqrstvwxyz";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_as_written_and_sorts_as_its_number() {
        let ids = [0, 1, 31, 32, 1 << 40, u64::MAX];
        for pair in ids.windows(2) {
            assert!(AccountId(pair[0]).to_string() < AccountId(pair[1]).to_string());
        }
        for id in ids {
            assert_eq!(AccountId(id).to_string().parse(), Ok(AccountId(id)));
        }
    }

    #[test]
    fn foreign_text_is_no_id() {
        for text in ["", "acct_", "key_0000000000001", "acct_000000000000u", "acct_z000000000000"] {
            assert_eq!(text.parse::<AccountId>(), Err(InvalidId), "{text}");
        }
    }
}
