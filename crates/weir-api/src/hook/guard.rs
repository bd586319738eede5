//! Where webhooks may go: a customer who names a URL must not reach what only the server reaches.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::Uri;

/// Reads the URL of a webhook.
///
/// # Errors
///
/// What is wrong with it, for whoever set it.
pub fn check_url(text: &str, allow_private: bool) -> Result<Uri, String> {
    if text.len() > URL_BYTES_MAX {
        return Err(format!("it must have at most {URL_BYTES_MAX} characters"));
    }
    let sane = text.bytes().all(|byte| byte.is_ascii_graphic());
    if !sane || text.contains('#') {
        return Err("it must be a URL of visible ASCII characters without a fragment".to_owned());
    }
    let uri: Uri = text.parse().map_err(|_| "it must be a URL: https://host/path".to_owned())?;
    match uri.scheme_str() {
        Some("https") => {}
        Some("http") if allow_private => {}
        Some("http") => {
            return Err("it must begin with https:// (webhooks.allow_private allows http)".into());
        }
        _ => return Err("it must begin with https://".to_owned()),
    }
    let authority = uri.authority().ok_or("it must name a host")?;
    if authority.as_str().contains('@') {
        return Err("it must not hold a user name or password".to_owned());
    }
    let bare = authority.host().len();
    if authority.as_str().len() > bare && authority.port_u16().is_none_or(|port| port == 0) {
        return Err("its port must be from 1 to 65535".to_owned());
    }
    if uri.host().is_none_or(str::is_empty) {
        return Err("it must name a host".to_owned());
    }
    let host = host_of(&uri);
    let local = host.eq_ignore_ascii_case("localhost")
        || host.to_ascii_lowercase().trim_end_matches('.').ends_with(".localhost");
    let private = match host.parse::<IpAddr>() {
        Ok(address) => !is_public(address),
        Err(_) => local,
    };
    if private && !allow_private {
        return Err(format!("`{host}` is not a public address (webhooks.allow_private allows it)"));
    }
    Ok(uri)
}

/// The host without the brackets of IPv6.
pub(crate) fn host_of(uri: &Uri) -> &str {
    let host = uri.host().unwrap_or_default();
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// Whether an address is one of the public Internet, by IANA's special-purpose registries
/// (RFC 6890): neither private, loopback, link-local, shared (RFC 6598), multicast, for
/// documentation, for benchmarks nor reserved; IPv4 inside IPv6 is judged as what it is.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
        || address.is_documentation()
        || a == 0
        || (a == 100 && (64..128).contains(&b)) // shared by carriers, RFC 6598
        || (a == 192 && b == 0 && c == 0) // protocol assignments, RFC 6890
        || (a == 192 && b == 88 && c == 99) // 6to4 relays, RFC 7526
        || (a == 198 && (18..20).contains(&b)) // benchmarks, RFC 2544
        || a >= 240; // reserved, RFC 1112
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let low = || {
        let [.., a, b, c, d] = address.octets();
        Ipv4Addr::new(a, b, c, d)
    };
    if address.to_ipv4_mapped().is_some() {
        return is_public_v4(low());
    }
    match segments {
        // NAT64, RFC 6052: what it leads to counts. RFC 8215's is for local use.
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => is_public_v4(low()),
        // 6to4, RFC 3056.
        [0x2002, high, rest, ..] => {
            let [[a, b], [c, d]] = [high.to_be_bytes(), rest.to_be_bytes()];
            is_public_v4(Ipv4Addr::new(a, b, c, d))
        }
        // Documentation (RFC 3849, RFC 9637) and protocol assignments with Teredo and ORCHID.
        [0x2001, 0xdb8, ..] => false,
        [0x3fff, second, ..] if second < 0x1000 => false,
        [0x2001, second, ..] if second < 0x200 => false,
        // Only global unicast, 2000::/3, is the public Internet.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

const URL_BYTES_MAX: usize = 2_048;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_only_the_server_reaches_are_not_public() {
        let private = "0.0.0.0 0.1.2.3 10.0.0.1 100.64.0.1 100.127.255.255 127.0.0.1 127.8.8.8 \
            169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.8 192.0.2.1 192.88.99.1 192.168.1.1 \
            198.18.0.1 198.51.100.7 203.0.113.9 224.0.0.1 240.0.0.1 255.255.255.255 :: ::1 \
            ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::127.0.0.1 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe \
            64:ff9b:1::1 100::1 fe80::1 fc00::1 fd12:3456::1 fec0::1 ff02::1 2001:db8::1 2001::1 \
            2002:7f00:1::1 2002:a00:1::1 3fff:1::1 5f00::1";
        for text in private.split_whitespace() {
            assert!(!is_public(text.parse().unwrap()), "{text}");
        }
        let public = "1.1.1.1 8.8.8.8 100.63.0.1 100.128.0.1 172.15.0.1 172.32.0.1 192.0.1.1 \
            198.17.0.1 198.20.0.1 223.255.255.1 2606:4700::1111 2a00:1450::1 ::ffff:8.8.8.8 \
            64:ff9b::808:808 2002:808:808::1";
        for text in public.split_whitespace() {
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn urls_are_refused_with_a_reason() {
        let refused = [
            "http://example.com/",
            "ftp://example.com/",
            "example.com",
            "/path",
            "https://",
            "https://user:pw@example.com/",
            "https://user@example.com/",
            "https://example.com:0/",
            "https://example.com:/",
            "https://example.com:99999/",
            "https://example.com/#x",
            "https://example.com/ü",
            "https://127.0.0.1/",
            "https://[::1]/",
            "https://[::ffff:10.0.0.1]/",
            "https://localhost/",
            "https://x.localhost./",
            "https://169.254.169.254/latest/meta-data",
            "",
        ];
        for text in refused {
            assert!(check_url(text, false).is_err(), "{text}");
        }
        for text in ["https://example.com", "https://example.com:8443/a?b=c", "https://8.8.8.8/"] {
            assert!(check_url(text, false).is_ok(), "{text}");
        }
        for text in ["http://127.0.0.1:9/x", "http://localhost:9", "https://[::1]:9/"] {
            assert!(check_url(text, true).is_ok(), "{text}");
        }
        for text in ["https://user@127.0.0.1/", "http://127.0.0.1:0/", "ftp://127.0.0.1/"] {
            assert!(check_url(text, true).is_err(), "{text}");
        }
    }
}
