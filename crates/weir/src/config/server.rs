//! `[server]`: where it listens, whom it trusts, what it bears.

use std::net::SocketAddr;
use std::time::Duration;

use weir_core::key::AddressBlock;
use weir_gate::cors::Cors;
use weir_gate::settings::{RuntimeKind, ServerSettings as FrontSettings};

use super::place::{At, Place};
use super::read::{Read, Reading, Section, Value};
use super::tls::{Certificate, read_tls};
use super::values::{Bytes, Url};

/// What `[server]` says.
#[derive(Clone, Debug)]
pub(crate) struct ServerSettings {
    /// The front of the data plane and the customer API: address, bounds, timeouts, TLS.
    pub(crate) front: FrontSettings,
    /// What the front shows to clients, where it speaks TLS.
    pub(crate) certificate: Option<Certificate>,
    /// Admin API, metrics, health.
    pub(crate) admin_listen: SocketAddr,
    /// How customers reach the front, without a slash at its end.
    pub(crate) public_url: Option<String>,
    /// Where customers find help.
    pub(crate) support_url: Option<String>,
    /// First path segment of Weir's own resources: `/weir`.
    pub(crate) api_prefix: String,
    /// Whose `X-Forwarded-For` is believed.
    pub(crate) trusted_proxies: Vec<AddressBlock>,
    /// The largest request body in bytes.
    pub(crate) max_body_bytes: u64,
    /// How long running calls have after the order to stop.
    pub(crate) drain_timeout: Duration,
    /// Whose web pages may call from a browser.
    pub(crate) cors: Option<Cors>,
}

impl ServerSettings {
    /// Reads `[server]`.
    pub(crate) fn read(section: &mut Section<'_, '_>, reading: &mut Reading<'_>) -> Self {
        let listen = section.get("listen", reading);
        let admin = section.get("admin_listen", reading);
        check_apart(listen.as_ref(), admin.as_ref(), reading);
        let public_url = section.get("public_url", reading);
        let support_url = section.get::<Url>("support_url", reading);
        let (front, certificate) =
            read_front(listen.map_or(LISTEN, |at| at.value), section, reading);
        Self {
            front,
            certificate,
            admin_listen: admin.map_or(ADMIN_LISTEN, |at| at.value),
            public_url: public_url.and_then(|url| origin_and_path(&url, "public_url", reading)),
            support_url: support_url.map(|at| at.value.0.to_string()),
            api_prefix: read_prefix(section, reading),
            trusted_proxies: read_list(section, "trusted_proxies", reading),
            max_body_bytes: section.or("max_body", Bytes(32_000_000), reading).0,
            drain_timeout: section.or("drain_timeout", Duration::from_secs(30), reading),
            cors: read_cors(section, reading),
        }
    }
}

fn read_front(
    listen: SocketAddr,
    section: &mut Section<'_, '_>,
    reading: &mut Reading<'_>,
) -> (FrontSettings, Option<Certificate>) {
    let mut front = FrontSettings::new(listen);
    let connections = section.get::<u64>("max_connections", reading);
    let connections = bounded(connections, "max_connections", 1_000_000, reading);
    front.connections_max = connections.unwrap_or(front.connections_max);
    let headers = section.get::<u64>("max_headers", reading);
    let headers = bounded(headers, "max_headers", 1_000, reading);
    front.head.headers_max = headers.unwrap_or(front.head.headers_max);
    front.timeouts.head = section.or("header_timeout", front.timeouts.head, reading);
    front.timeouts.body_idle = section.or("body_timeout", front.timeouts.body_idle, reading);
    front.runtime = section.or("runtime", front.runtime, reading);
    let tls = section
        .value("tls")
        .and_then(|value| reading.under("tls", |reading| read_tls(value, reading)));
    let (tls, certificate) = tls.unzip();
    front.tls = tls;
    (front, certificate)
}

impl Read for RuntimeKind {
    fn read(value: &Value<'_>, reading: &mut Reading<'_>) -> Option<Self> {
        reading.choice(value, &[("per-core", Self::PerCore), ("shared", Self::Shared)])
    }
}

/// The values of a list, without their places.
pub(crate) fn read_list<T: super::read::Read>(
    section: &mut Section<'_, '_>,
    key: &'static str,
    reading: &mut Reading<'_>,
) -> Vec<T> {
    let list: Option<At<Vec<At<T>>>> = section.get(key, reading);
    list.map(|list| list.value.into_iter().map(|at| at.value).collect()).unwrap_or_default()
}

/// A number that was read, if it is from 1 to `most`.
pub(crate) fn bounded<T: TryFrom<u64>>(
    found: Option<At<u64>>,
    key: &str,
    most: u64,
    reading: &mut Reading<'_>,
) -> Option<T> {
    let At { value, place } = found?;
    if (1..=most).contains(&value) {
        return T::try_from(value).ok();
    }
    reading.under(key, |reading| {
        reading.object(place, format!("must be from 1 to {most}"), None);
    });
    None
}

/// A web address without query, as text without a slash at its end.
pub(crate) fn origin_and_path(
    url: &At<Url>,
    key: &str,
    reading: &mut Reading<'_>,
) -> Option<String> {
    if url.value.0.query().is_some() {
        reading.under(key, |reading| {
            reading.object(url.place, "a query (`?…`) cannot stand here", None);
        });
        return None;
    }
    Some(url.value.0.to_string().trim_end_matches('/').to_owned())
}

fn check_apart(
    listen: Option<&At<SocketAddr>>,
    admin: Option<&At<SocketAddr>>,
    reading: &mut Reading<'_>,
) {
    let data = listen.map_or(LISTEN, |at| at.value);
    let control = admin.map_or(ADMIN_LISTEN, |at| at.value);
    let same_host =
        data.ip() == control.ip() || data.ip().is_unspecified() || control.ip().is_unspecified();
    if data.port() != 0 && data.port() == control.port() && same_host {
        let place = admin.or(listen).map_or(Place::default(), |at| at.place);
        let hint = "the admin API has an address of its own, so that it can be kept from the world";
        reading.object(place, "listen and admin_listen are the same address", hint);
    }
}

fn read_prefix(section: &mut Section<'_, '_>, reading: &mut Reading<'_>) -> String {
    let default = "/weir".to_owned();
    let Some(found) = section.get::<String>("api_prefix", reading) else { return default };
    let name = found.value.strip_prefix('/').unwrap_or("");
    let sound = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if name.is_empty() || !sound {
        reading.under("api_prefix", |reading| {
            let hint = "a slash and one word of letters, digits, - and _: \"/weir\"";
            reading.object(found.place, "not a path of one segment", hint);
        });
        return default;
    }
    found.value
}

fn read_cors(section: &mut Section<'_, '_>, reading: &mut Reading<'_>) -> Option<Cors> {
    let value = section.value("cors")?;
    reading.under("cors", |reading| {
        let mut cors = Section::of(value, reading)?;
        let example = "origins = [\"https://app.example.com\"]";
        let origins: Option<At<Vec<At<String>>>> = cors.need("origins", example, reading);
        cors.finish(reading);
        let origins = origins?.value;
        if origins.iter().any(|origin| origin.value == "*") {
            return Some(Cors::Any);
        }
        for origin in &origins {
            check_origin(origin, reading);
        }
        Some(Cors::Origins(origins.into_iter().map(|at| at.value).collect()))
    })
}

fn check_origin(origin: &At<String>, reading: &mut Reading<'_>) {
    let uri = origin.value.parse::<http::Uri>().ok();
    let sound = uri.is_some_and(|uri| {
        let ends_at_host = uri.path_and_query().is_none_or(|path| path.as_str() == "/");
        matches!(uri.scheme_str(), Some("http" | "https")) && ends_at_host
    });
    if !sound || origin.value.ends_with('/') {
        let hint = "scheme, host and perhaps a port, without a slash at the end; \"*\" is any";
        reading.under("origins", |reading| reading.object(origin.place, "not an origin", hint));
    }
}

/// Where relative paths begin.
pub(crate) const RELATIVE_HINT: &str = "a relative path begins at the folder of this file";

const LISTEN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8080);
const ADMIN_LISTEN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8081);
