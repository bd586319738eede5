//! Credentials: what a key may do, before any limit or balance is asked.

use std::net::IpAddr;

use crate::id::{AccountId, KeyId};
use crate::limit::Rule;
use crate::model::ModelPattern;
use crate::money::Nano;
use crate::operation::is_safe;
use crate::time::Timestamp;

/// What kind of credential a key is.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum KeyType {
    /// GET, HEAD and OPTIONS only.
    Read,
    /// Every method.
    ReadWrite,
    /// Every method, on routes whose scope it names.
    Service,
}

impl KeyType {
    /// Every type.
    pub const ALL: [Self; 3] = [Self::Read, Self::ReadWrite, Self::Service];

    /// The name in configuration and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::ReadWrite => "read_write",
            Self::Service => "service",
        }
    }

    /// The type of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// A credential of an account. The secret itself is nowhere in it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Key {
    /// Its id.
    pub id: KeyId,
    /// Whose it is.
    pub account: AccountId,
    /// What kind it is.
    pub kind: KeyType,
    /// The scopes it may use; `None`: all of them (never for a service key).
    pub scopes: Option<Box<[Box<str>]>>,
    /// The models it may name; `None`: all.
    pub models: Option<Box<[ModelPattern]>>,
    /// The addresses it may be used from; `None`: all.
    pub allowed_ips: Option<Box<[AddressBlock]>>,
    /// When it stops being valid.
    pub expires_at: Option<Timestamp>,
    /// When it was withdrawn: at once, or at the end of a rotation's overlap.
    pub revoked_at: Option<Timestamp>,
    /// How much it may spend, and how often that begins anew.
    pub spend_cap: Option<SpendCap>,
    /// The most urgent priority that it may use.
    pub urgency: Urgency,
}

/// How much money the calls of one key may cost in a period.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SpendCap {
    /// The most that may be spent.
    pub amount: Nano,
    /// The rule that counts it, in credits.
    pub rule: Rule,
}

/// How urgent a call is. `Critical` may use the reserve of a limit and passes first.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Urgency {
    /// After all others.
    Low,
    /// What a call is if it says nothing.
    #[default]
    Normal,
    /// Before normal calls.
    High,
    /// First, and into the reserve.
    Critical,
}

/// Why a key is not valid now: the call is not authenticated (401).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyInvalid {
    /// Its time is over.
    Expired {
        /// Since when.
        at: Timestamp,
    },
    /// It was withdrawn.
    Revoked {
        /// Since when.
        at: Timestamp,
    },
}

/// Why a valid key may not make this call (403).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyForbids {
    /// A read key and a method that writes.
    Method,
    /// The route's scope is not among the key's; `None`: a service key on a route without scope.
    Scope,
    /// The model is not among the key's.
    Model,
    /// The address is not among the key's.
    Address,
}

impl Key {
    /// Whether the key is valid at `now`.
    ///
    /// # Errors
    ///
    /// [`KeyInvalid`] once it is revoked or expired.
    pub fn check_valid(&self, now: Timestamp) -> Result<(), KeyInvalid> {
        match (self.revoked_at, self.expires_at) {
            (Some(at), _) if at <= now => Err(KeyInvalid::Revoked { at }),
            (_, Some(at)) if at <= now => Err(KeyInvalid::Expired { at }),
            _ => Ok(()),
        }
    }

    /// Whether the key may use this method on a route of this scope from this address.
    ///
    /// # Errors
    ///
    /// [`KeyForbids`] names the first permission that is missing.
    pub fn check_request(
        &self,
        method: &str,
        scope: Option<&str>,
        address: IpAddr,
    ) -> Result<(), KeyForbids> {
        if self.kind == KeyType::Read && !is_safe(method) {
            return Err(KeyForbids::Method);
        }
        let in_scope = match (scope, &self.scopes) {
            (Some(scope), Some(scopes)) => scopes.iter().any(|known| **known == *scope),
            (Some(_), None) => self.kind != KeyType::Service,
            (None, _) => self.kind != KeyType::Service,
        };
        if !in_scope {
            return Err(KeyForbids::Scope);
        }
        match &self.allowed_ips {
            Some(blocks) if !blocks.iter().any(|block| block.contains(address)) => {
                Err(KeyForbids::Address)
            }
            _ => Ok(()),
        }
    }

    /// Whether the key may name this model.
    ///
    /// # Errors
    ///
    /// [`KeyForbids::Model`] if not.
    pub fn check_model(&self, model: &str) -> Result<(), KeyForbids> {
        match &self.models {
            Some(models) if !models.iter().any(|pattern| pattern.covers(model)) => {
                Err(KeyForbids::Model)
            }
            _ => Ok(()),
        }
    }
}

/// A block of addresses: `10.0.0.0/8`, `2001:db8::/32`, or one address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AddressBlock {
    base: u128,
    bits: u8,
}

/// Text that is no address block.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not an address or block such as \"10.0.0.0/8\"")]
pub struct InvalidBlock;

impl AddressBlock {
    /// Reads an address with an optional prefix length. IPv4 and IPv4-mapped IPv6 are the same.
    ///
    /// # Errors
    ///
    /// [`InvalidBlock`] for anything else.
    pub fn parse(text: &str) -> Result<Self, InvalidBlock> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => {
                (address, Some(length.parse::<u8>().map_err(|_| InvalidBlock)?))
            }
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| InvalidBlock)?;
        let (width, offset) = if address.is_ipv4() { (32, 96) } else { (128, 0) };
        let length = length.unwrap_or(width);
        if length > width {
            return Err(InvalidBlock);
        }
        let bits = length + offset;
        Ok(Self { base: to_v6_bits(address) & mask(bits), bits })
    }

    /// Whether the address lies in the block.
    pub fn contains(&self, address: IpAddr) -> bool {
        to_v6_bits(address) & mask(self.bits) == self.base
    }
}

fn to_v6_bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

const fn mask(bits: u8) -> u128 {
    if bits == 0 { 0 } else { u128::MAX << (128 - bits) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(kind: KeyType) -> Key {
        Key {
            id: KeyId(1),
            account: AccountId(1),
            kind,
            scopes: None,
            models: None,
            allowed_ips: None,
            expires_at: None,
            revoked_at: None,
            spend_cap: None,
            urgency: Urgency::Normal,
        }
    }

    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn a_read_key_only_reads() {
        let key = key(KeyType::Read);
        assert_eq!(key.check_request("HEAD", Some("ai"), HOME), Ok(()));
        assert_eq!(key.check_request("POST", Some("ai"), HOME), Err(KeyForbids::Method));
    }

    #[test]
    fn a_service_key_needs_its_scope_named() {
        let mut key = key(KeyType::Service);
        assert_eq!(key.check_request("POST", Some("ai"), HOME), Err(KeyForbids::Scope));
        key.scopes = Some(Box::new(["ai".into()]));
        assert_eq!(key.check_request("POST", Some("ai"), HOME), Ok(()));
        assert_eq!(key.check_request("POST", Some("billing"), HOME), Err(KeyForbids::Scope));
        assert_eq!(key.check_request("POST", None, HOME), Err(KeyForbids::Scope));
    }

    #[test]
    fn a_key_ends_exactly_when_it_says() {
        let mut key = key(KeyType::ReadWrite);
        let at = Timestamp::from_secs(100);
        key.expires_at = Some(at);
        assert_eq!(key.check_valid(Timestamp::from_micros(99_999_999)), Ok(()));
        assert_eq!(key.check_valid(at), Err(KeyInvalid::Expired { at }));
        key.revoked_at = Some(at);
        assert_eq!(key.check_valid(at), Err(KeyInvalid::Revoked { at }));
    }

    #[test]
    fn blocks_cover_their_addresses_in_both_families() {
        let block = |text| AddressBlock::parse(text).unwrap();
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(block("10.0.0.0/8").contains(address("10.255.0.1")));
        assert!(block("10.0.0.0/8").contains(address("::ffff:10.1.2.3")));
        assert!(!block("10.0.0.0/8").contains(address("11.0.0.1")));
        assert!(block("2001:db8::/32").contains(address("2001:db8:1::1")));
        assert!(block("127.0.0.1").contains(HOME));
        assert!(block("0.0.0.0/0").contains(HOME));
        assert!(!block("0.0.0.0/0").contains(address("2001:db8::1")));
        for text in ["", "10.0.0.0/33", "10.0.0/8", "::/129", "10.0.0.0/-1", "host"] {
            assert_eq!(AddressBlock::parse(text), Err(InvalidBlock), "{text}");
        }
    }
}
