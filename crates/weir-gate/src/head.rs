//! Checks of a parsed request head, and which headers pass in either direction.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::Authority;
use http::{Method, StatusCode, Version};
use weir_core::operation::{InvalidPath, check_path};

use crate::framing::{FramingFault, HeadShape, Verdict};

/// Why a request is refused before anybody asks whose it is.
///
/// Everything but [`HeadRefusal::Method`] and [`HeadRefusal::Path`] also ends the connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum HeadRefusal {
    /// RFC 9112 sections 5, 6 and 7.
    #[error("{0}")]
    Framing(FramingFault),
    /// The parser could not read the head at all.
    #[error("the request could not be read as HTTP")]
    Malformed,
    /// RFC 9112 section 3.2: HTTP/1.1 must have one.
    #[error("the request has no Host header")]
    HostMissing,
    /// RFC 9112 section 3.2.
    #[error("the request has more than one Host header")]
    HostRepeated,
    /// Not `name` or `name:port`.
    #[error("the Host header is not a host name with an optional port")]
    HostInvalid,
    /// The target or `:authority` names another host than `Host` does.
    #[error("the request target and the Host header name different hosts")]
    HostMismatch,
    /// CONNECT and TRACE: Weir is no tunnel, and echoes no credentials.
    #[error("CONNECT and TRACE are not served here")]
    Method,
    /// The path could be understood in two ways.
    #[error("{0}")]
    Path(InvalidPath),
    /// Anything but one `chunked`: the upstream would get a body it cannot know the coding of.
    #[error("the only supported Transfer-Encoding is chunked")]
    Coding,
    /// RFC 9113 section 8.2.2: headers of an HTTP/1 connection within HTTP/2.
    #[error("an HTTP/2 request must not have connection headers")]
    ConnectionHeader,
    /// RFC 9110 section 10.1.1: nothing but `100-continue` can be met.
    #[error("the only supported Expect is 100-continue")]
    Expectation,
    /// More header lines or bytes than allowed.
    #[error("the request's headers are too many or too large")]
    HeadersTooLarge,
    /// The request target is longer than the parser bears (65534 bytes).
    #[error("the request target is too long")]
    TargetTooLong,
}

impl HeadRefusal {
    /// The status to answer with.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Expectation => StatusCode::EXPECTATION_FAILED,
            Self::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::Framing(_)
            | Self::Malformed
            | Self::HostMissing
            | Self::HostRepeated
            | Self::HostInvalid
            | Self::HostMismatch
            | Self::Path(_)
            | Self::Coding
            | Self::ConnectionHeader => StatusCode::BAD_REQUEST,
        }
    }

    /// Whether what follows on an HTTP/1 connection cannot be trusted.
    pub fn ends_connection(self) -> bool {
        !matches!(self, Self::Path(_) | Self::Expectation)
    }

    /// The refusal behind an answer that the parser gave on its own.
    pub fn of_parser(status: StatusCode, fault: Option<FramingFault>) -> Self {
        match (status, fault) {
            (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, _) => Self::HeadersTooLarge,
            (StatusCode::URI_TOO_LONG, _) => Self::TargetTooLong,
            (_, Some(fault)) => Self::Framing(fault),
            (_, None) => Self::Malformed,
        }
    }
}

/// Checks a head; `verdict` is the watch's on an HTTP/1 connection.
///
/// # Errors
///
/// [`HeadRefusal`], the first that applies.
pub fn check_head(parts: &Parts, verdict: Option<Verdict>) -> Result<(), HeadRefusal> {
    match verdict {
        Some(Verdict::Refused(fault)) => return Err(HeadRefusal::Framing(fault)),
        Some(Verdict::Clear(shape)) => check_in_step(parts, shape)?,
        None => {}
    }
    if parts.method == Method::CONNECT || parts.method == Method::TRACE {
        return Err(HeadRefusal::Method);
    }
    check_host(parts)?;
    check_transfer(parts)?;
    let mut expected = parts.headers.get_all(header::EXPECT).iter();
    if !expected.all(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        return Err(HeadRefusal::Expectation);
    }
    check_path(parts.uri.path()).map_err(HeadRefusal::Path)
}

/// Removes the headers of one connection (RFC 9110 section 7.6.1), first those that `Connection`
/// names; to be called before any of our own are set, so that nobody can name those.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(header::CONNECTION)
            .iter()
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
            .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    remove_where(headers, |name| HOP_BY_HOP.contains(&name));
}

/// Removes from a request what only Weir may say to an upstream, and what is meant for Weir alone.
///
/// Names spelt with `_` count as their `-` twins: many servers cannot tell them apart.
pub fn strip_client_headers(headers: &mut HeaderMap) {
    strip_hop_by_hop(headers);
    headers.remove(header::EXPECT);
    remove_where(headers, |name| {
        is_ours(name) || FROM_CLIENT.contains(&name) || name.contains('_') && is_spoof(name)
    });
}

/// Removes from an upstream's answer what only Weir may say to a client.
///
/// `Retry-After` stays on 429 and 503: the upstream alone knows when to come back to it.
pub fn strip_upstream_headers(status: StatusCode, headers: &mut HeaderMap) {
    strip_hop_by_hop(headers);
    let retry = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
    remove_where(headers, |name| {
        is_ours(name)
            || FROM_UPSTREAM.contains(&name)
            || !retry && matches!(name, "retry-after" | "retry-after-ms")
    });
}

/// The watch and the parser must have read the same request.
fn check_in_step(parts: &Parts, shape: HeadShape) -> Result<(), HeadRefusal> {
    let length = parts.headers.get(header::CONTENT_LENGTH).map(HeaderValue::as_bytes);
    let length_agrees = match (length, shape.content_length) {
        (None, None) => true,
        (Some(text), Some(number)) => {
            std::str::from_utf8(text).is_ok_and(|text| text.parse() == Ok(number))
        }
        _ => false,
    };
    let agrees = length_agrees
        && parts.headers.len() == shape.headers
        && parts.headers.contains_key(header::TRANSFER_ENCODING) == shape.chunked;
    if agrees { Ok(()) } else { Err(HeadRefusal::Framing(FramingFault::OutOfStep)) }
}

fn check_host(parts: &Parts) -> Result<(), HeadRefusal> {
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(HeadRefusal::HostRepeated);
    }
    let target = parts.uri.authority();
    if target.is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(HeadRefusal::HostInvalid);
    }
    let Some(host) = host else {
        let optional = match parts.version {
            Version::HTTP_09 | Version::HTTP_10 => true,
            Version::HTTP_11 => false,
            _ => target.is_some(),
        };
        return if optional { Ok(()) } else { Err(HeadRefusal::HostMissing) };
    };
    let host = Authority::try_from(host.as_bytes()).map_err(|_| HeadRefusal::HostInvalid)?;
    if host.as_str().contains('@') {
        return Err(HeadRefusal::HostInvalid);
    }
    let default_port = match parts.uri.scheme_str() {
        Some("https") => 443,
        _ => 80,
    };
    let port = |authority: &Authority| authority.port_u16().unwrap_or(default_port);
    match target {
        Some(target)
            if !target.host().eq_ignore_ascii_case(host.host()) || port(target) != port(&host) =>
        {
            Err(HeadRefusal::HostMismatch)
        }
        _ => Ok(()),
    }
}

fn check_transfer(parts: &Parts) -> Result<(), HeadRefusal> {
    let is_h1 = parts.version <= Version::HTTP_11;
    if !is_h1 && CONNECTION_ONLY.iter().any(|name| parts.headers.contains_key(*name)) {
        return Err(HeadRefusal::ConnectionHeader);
    }
    let mut codings = parts.headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(only), None) if only.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
        _ => Err(HeadRefusal::Coding),
    }
}

fn is_ours(name: &str) -> bool {
    name.starts_with("x-weir-")
        || name.starts_with("x-ratelimit-")
        || name.starts_with("x-wallet-")
        || OURS.contains(&name)
}

fn is_spoof(name: &str) -> bool {
    let twin = name.replace('_', "-");
    is_ours(&twin)
        || FROM_CLIENT.contains(&twin.as_str())
        || HOP_BY_HOP.contains(&twin.as_str())
        || matches!(twin.as_str(), "host" | "content-length" | "authorization" | "x-api-key")
}

fn remove_where(headers: &mut HeaderMap, unwanted: impl Fn(&str) -> bool) {
    let names: Vec<HeaderName> =
        headers.keys().filter(|name| unwanted(name.as_str())).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

const HOP_BY_HOP: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-connection",
    "http2-settings",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

const CONNECTION_ONLY: &[&str] =
    &["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"];

/// Said by Weir only, in both directions (CONTRACT section 3).
const OURS: &[&str] = &["x-request-id", "ratelimit", "ratelimit-policy", "x-should-retry"];

/// Who the client is, is said by Weir; `proxy` becomes `HTTP_PROXY` in CGI programs (httpoxy).
const FROM_CLIENT: &[&str] = &[
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-real-ip",
    "proxy",
];

/// `alt-svc` would lead clients past Weir.
const FROM_UPSTREAM: &[&str] = &["cache-status", "age", "alt-svc"];

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn parts(method: &str, uri: &str, version: Version, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().method(method).uri(uri).version(version);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[track_caller]
    fn check(uri: &str, headers: &[(&str, &str)], expected: Result<(), HeadRefusal>) {
        assert_eq!(check_head(&parts("GET", uri, Version::HTTP_11, headers), None), expected);
    }

    #[test]
    fn exactly_one_host_is_wanted() {
        check("/", &[("host", "a")], Ok(()));
        check("/", &[("host", "[::1]:80")], Ok(()));
        check("/", &[], Err(HeadRefusal::HostMissing));
        check("/", &[("host", "a"), ("host", "a")], Err(HeadRefusal::HostRepeated));
        for host in ["", "a b", "user@a", "a/b", "a,b/"] {
            check("/", &[("host", host)], Err(HeadRefusal::HostInvalid));
        }
        let old = parts("GET", "/", Version::HTTP_10, &[]);
        assert_eq!(check_head(&old, None), Ok(()));
    }

    #[test]
    fn target_and_host_must_name_the_same() {
        check("http://A:80/x", &[("host", "a")], Ok(()));
        check("http://b/x", &[("host", "a")], Err(HeadRefusal::HostMismatch));
        check("http://a:81/x", &[("host", "a")], Err(HeadRefusal::HostMismatch));
        check("http://u@a/x", &[("host", "a")], Err(HeadRefusal::HostInvalid));
        let h2 = |headers| parts("GET", "http://a/", Version::HTTP_2, headers);
        assert_eq!(check_head(&h2(&[]), None), Ok(()));
        assert_eq!(check_head(&h2(&[("host", "b")]), None), Err(HeadRefusal::HostMismatch));
        let bare = parts("GET", "/", Version::HTTP_2, &[]);
        assert_eq!(check_head(&bare, None), Err(HeadRefusal::HostMissing));
        let upgrade = h2(&[("upgrade", "websocket")]);
        assert_eq!(check_head(&upgrade, None), Err(HeadRefusal::ConnectionHeader));
    }

    #[test]
    fn methods_paths_codings_and_expectations_are_checked() {
        for method in ["CONNECT", "TRACE"] {
            let head = parts(method, "a:80", Version::HTTP_11, &[("host", "a:80")]);
            assert_eq!(check_head(&head, None), Err(HeadRefusal::Method));
        }
        let host = ("host", "a");
        check("/a//b", &[host], Err(HeadRefusal::Path(InvalidPath::EmptySegment)));
        check("*", &[host], Err(HeadRefusal::Path(InvalidPath::NotAbsolute)));
        check("/", &[host, ("transfer-encoding", "Chunked")], Ok(()));
        check("/", &[host, ("transfer-encoding", "gzip, chunked")], Err(HeadRefusal::Coding));
        check("/", &[host, ("expect", "100-Continue")], Ok(()));
        check("/", &[host, ("expect", "tea")], Err(HeadRefusal::Expectation));
    }

    #[test]
    fn a_head_that_the_watch_read_otherwise_is_refused() {
        let head = parts("POST", "/", Version::HTTP_11, &[("host", "a"), ("content-length", "3")]);
        let shape = HeadShape { headers: 2, chunked: false, content_length: Some(3) };
        let with = |shape| check_head(&head, Some(Verdict::Clear(shape)));
        assert_eq!(with(shape), Ok(()));
        let refused = Err(HeadRefusal::Framing(FramingFault::OutOfStep));
        assert_eq!(with(HeadShape { headers: 3, ..shape }), refused);
        assert_eq!(with(HeadShape { chunked: true, ..shape }), refused);
        assert_eq!(with(HeadShape { content_length: Some(4), ..shape }), refused);
        assert_eq!(with(HeadShape { content_length: None, ..shape }), refused);
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn hop_by_hop_headers_and_what_connection_names_are_removed() {
        let mut headers = parts(
            "GET",
            "/",
            Version::HTTP_11,
            &[
                ("connection", "close, X-Own ,,"),
                ("connection", "x-other"),
                ("x-own", "1"),
                ("x-other", "1"),
                ("x-own", "2"),
                ("keep-alive", "1"),
                ("te", "trailers"),
                ("upgrade", "websocket"),
                ("x-stays", "1"),
            ],
        )
        .headers;
        strip_hop_by_hop(&mut headers);
        assert_eq!(names(&headers), ["x-stays"]);
    }

    #[test]
    fn clients_cannot_speak_for_weir() {
        let mut headers = HeaderMap::new();
        for name in [
            "x-weir-charge",
            "x_weir_charge",
            "x-request-id",
            "forwarded",
            "x-forwarded-for",
            "x_forwarded_for",
            "expect",
            "content_length",
            "my_header",
            "content-type",
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static("1"));
        }
        strip_client_headers(&mut headers);
        assert_eq!(names(&headers), ["content-type", "my_header"]);
    }

    #[test]
    fn upstreams_cannot_speak_for_weir() {
        let all = ["ratelimit", "x-ratelimit-limit", "x-wallet-available", "x-weir-a", "age"];
        for (status, left) in [(200, vec!["etag"]), (503, vec!["etag", "retry-after"])] {
            let mut headers = HeaderMap::new();
            for name in all.into_iter().chain(["retry-after", "etag"]) {
                headers.insert(HeaderName::from_static(name), HeaderValue::from_static("1"));
            }
            strip_upstream_headers(StatusCode::from_u16(status).unwrap(), &mut headers);
            assert_eq!(names(&headers), left);
        }
    }
}
