//! The request as it goes to an upstream: edited where it must be, without what is not the
//! upstream's business.

use std::net::IpAddr;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request, header};
use http_body::Body;
use smallvec::SmallVec;
use weir_core::policy::{Route, UsageSource};

use crate::ask::{Ask, Change, Duplicate, Endpoint, rewrite};
use crate::head::strip_client_headers;
use crate::names;
use crate::out_body::OutBody;

/// What the request needs besides its own head.
#[derive(Debug)]
pub(crate) struct Outbound<'a> {
    /// The client's head; its headers are taken out of it.
    pub(crate) parts: &'a mut Parts,
    pub(crate) request_id: &'a str,
    pub(crate) address: IpAddr,
    /// Headers that may hold the key.
    pub(crate) auth_headers: &'a [HeaderName],
    /// Whether usage is read from the answer's body, which must then be plain.
    pub(crate) reads_answer: bool,
}

/// The body as it is forwarded, and whether Weir asked for the usage chunk itself.
pub(crate) fn edit(
    route: &Route,
    body: OutBody,
    bytes: Option<Bytes>,
    ask: Option<&Ask>,
    output_bound: Option<u64>,
) -> Result<(OutBody, bool), Duplicate> {
    let (Some(bytes), Some(ask)) = (bytes, ask) else { return Ok((body, false)) };
    let wants_usage = route.usage == UsageSource::OpenAi
        && ask.stream
        && matches!(ask.endpoint, Endpoint::Chat | Endpoint::Completions);
    let include_usage = wants_usage && ask.include_usage != Some(true);
    let change = Change { include_usage, output_bound };
    if !change.include_usage && change.output_bound.is_none() {
        return Ok((body, false));
    }
    let edited = rewrite(&bytes, ask, change)?;
    Ok((OutBody::whole(edited), include_usage))
}

impl Outbound<'_> {
    /// The request as it goes to the upstream.
    pub(crate) fn request(self, body: OutBody) -> Request<OutBody> {
        let mut headers = std::mem::take(&mut self.parts.headers);
        strip_client_headers(&mut headers);
        for name in self.auth_headers {
            headers.remove(name);
        }
        if let Some(length) = body.size_hint().exact() {
            let has_body = length > 0 || headers.contains_key(header::CONTENT_LENGTH);
            headers.remove(header::CONTENT_LENGTH);
            if has_body {
                headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
            }
        }
        if self.reads_answer {
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        insert(&mut headers, &names::X_FORWARDED_FOR, &written(self.address));
        insert(&mut headers, &names::X_REQUEST_ID, self.request_id.as_bytes());
        let mut request = Request::new(body);
        *request.method_mut() = self.parts.method.clone();
        *request.uri_mut() = self.parts.uri.clone();
        *request.headers_mut() = headers;
        request
    }
}

fn insert(headers: &mut HeaderMap, name: &'static HeaderName, value: &[u8]) {
    if let Ok(value) = HeaderValue::from_bytes(value) {
        headers.insert(name, value);
    }
}

fn written(address: IpAddr) -> SmallVec<[u8; 16]> {
    let IpAddr::V4(address) = address else {
        return address.to_string().into_bytes().into();
    };
    let mut text = SmallVec::new();
    for octet in address.octets() {
        if !text.is_empty() {
            text.push(b'.');
        }
        let digits = [octet / 100, octet / 10 % 10, octet % 10];
        let leading = digits.iter().take(2).take_while(|digit| **digit == 0).count();
        text.extend(digits.iter().skip(leading).map(|digit| b'0' + digit));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_written_as_it_is_everywhere() {
        for text in
            ["0.0.0.0", "255.255.255.255", "10.9.100.101", "1.20.200.5", "::1", "2001:db8::7"]
        {
            assert_eq!(&*written(text.parse().unwrap()), text.as_bytes());
        }
    }
}
