//! Who calls: the secret in a request's headers, and the address behind trusted proxies.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue};
use weir_core::key::AddressBlock;

use crate::names;

/// The secret in the first of `names` that is present; `Bearer ` before it is optional.
///
/// `None`: no such header. `Some("")`: one that can hold no secret.
pub fn secret<'a>(headers: &'a HeaderMap, names: &[HeaderName]) -> Option<&'a str> {
    let value = names.iter().find_map(|name| headers.get(name))?;
    let text = value.to_str().unwrap_or_default().trim();
    let scheme = text.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("bearer "));
    Some(scheme.map_or(text, |_| text[7..].trim_start()))
}

/// Where a request comes from: the peer, or, if that is a trusted proxy, the last address in
/// `X-Forwarded-For` that is not one.
pub fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[AddressBlock]) -> IpAddr {
    let is_trusted = |address| trusted.iter().any(|block| block.contains(address));
    let mut known = peer.to_canonical();
    if !is_trusted(known) {
        return known;
    }
    let hops = headers.get_all("x-forwarded-for").iter().rev().flat_map(|value| {
        value.to_str().unwrap_or_default().rsplit(',').map(str::trim).collect::<Vec<_>>()
    });
    for hop in hops {
        // What a trusted proxy did not write as an address cannot be trusted further.
        let Ok(address) = hop.parse::<IpAddr>() else { return known };
        known = address.to_canonical();
        if !is_trusted(known) {
            return known;
        }
    }
    known
}

/// The request's id: the client's if it is a sane token, else a new one.
pub fn request_id(headers: &HeaderMap) -> String {
    let sane = |value: &HeaderValue| {
        let text = value.to_str().ok()?;
        let ok = !text.is_empty()
            && text.len() <= 128
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(&byte));
        ok.then(|| text.to_owned())
    };
    headers.get(&names::X_REQUEST_ID).and_then(sane).unwrap_or_else(new_request_id)
}

fn new_request_id() -> String {
    let mut id = String::with_capacity(28);
    id.push_str("req_");
    let drawn = u128::from(fastrand::u64(..)) << 32 | u128::from(fastrand::u32(..));
    for place in (0..24_u32).rev() {
        let digit = drawn >> (place * 4) & 0xf;
        id.push(char::from_digit(u32::try_from(digit).unwrap_or(0), 16).unwrap_or('0'));
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        map
    }

    #[test]
    fn the_first_header_present_holds_the_secret() {
        let names =
            [HeaderName::from_static("authorization"), HeaderName::from_static("x-api-key")];
        let found = |pairs: &[(&str, &str)]| secret(&headers(pairs), &names).map(str::to_owned);
        assert_eq!(found(&[("authorization", "Bearer abc")]).as_deref(), Some("abc"));
        assert_eq!(found(&[("authorization", "bearer  abc ")]).as_deref(), Some("abc"));
        assert_eq!(found(&[("x-api-key", "abc")]).as_deref(), Some("abc"));
        let both = [("authorization", "one"), ("x-api-key", "two")];
        assert_eq!(found(&both).as_deref(), Some("one"));
        assert_eq!(found(&[]), None);
        assert_eq!(found(&[("authorization", "Bearer ")]).as_deref(), Some("Bearer"));
    }

    #[test]
    fn only_trusted_proxies_say_where_a_request_comes_from() {
        let trusted = [AddressBlock::parse("10.0.0.0/8").unwrap()];
        let from = |peer: &str, forwarded: &str| {
            let headers = headers(&[("x-forwarded-for", forwarded)]);
            client_address(peer.parse().unwrap(), &headers, &trusted).to_string()
        };
        assert_eq!(from("1.2.3.4", "9.9.9.9"), "1.2.3.4");
        assert_eq!(from("10.0.0.1", "9.9.9.9"), "9.9.9.9");
        assert_eq!(from("10.0.0.1", "6.6.6.6, 9.9.9.9, 10.0.0.2"), "9.9.9.9");
        assert_eq!(from("10.0.0.1", "unknown"), "10.0.0.1");
        assert_eq!(from("::ffff:10.0.0.1", "9.9.9.9"), "9.9.9.9");
    }

    #[test]
    fn a_sane_request_id_is_kept() {
        assert_eq!(request_id(&headers(&[("x-request-id", "abc-1")])), "abc-1");
        for bad in ["", "a b", &"x".repeat(129), "a\"b"] {
            assert!(request_id(&headers(&[("x-request-id", bad)])).starts_with("req_"));
        }
    }
}
