//! Cross-origin calls from web pages (WHATWG Fetch, "CORS protocol"), where the operator allows them.

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};

/// Whose pages may call from a browser.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Cors {
    /// Every page's.
    Any,
    /// Pages of these origins, as browsers send them: `https://app.example.com`.
    Origins(Vec<String>),
}

impl Cors {
    /// The origin of a request, if its pages may call.
    pub fn allowed(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = headers.get(header::ORIGIN)?;
        let known = match self {
            Self::Any => true,
            Self::Origins(origins) => origins.iter().any(|known| origin == known.as_str()),
        };
        known.then(|| origin.clone())
    }

    /// The answer to a preflight, which comes without a key; `None`: it is none, or not allowed.
    pub fn preflight(&self, parts: &Parts) -> Option<Response<Bytes>> {
        let asked = parts.headers.get(header::ACCESS_CONTROL_REQUEST_METHOD)?;
        if parts.method != Method::OPTIONS {
            return None;
        }
        let origin = self.allowed(&parts.headers)?;
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, asked.clone());
        if let Some(names) = parts.headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
        }
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
        allow(headers, origin);
        Some(response)
    }
}

/// Lets pages of this origin read an answer and all of its headers.
pub fn allow(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("*"));
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(method: Method, pairs: &[(&'static str, &'static str)]) -> Parts {
        let mut request = http::Request::new(()).into_parts().0;
        request.method = method;
        for (name, value) in pairs {
            request.headers.insert(*name, HeaderValue::from_static(value));
        }
        request
    }

    #[test]
    fn only_allowed_origins_get_a_preflight() {
        let cors = Cors::Origins(vec!["https://a.example".to_owned()]);
        let method = ("access-control-request-method", "POST");
        let ask = |origin| cors.preflight(&parts(Method::OPTIONS, &[("origin", origin), method]));
        let headers = ask("https://a.example").unwrap().into_parts().0.headers;
        assert_eq!(headers["access-control-allow-origin"], "https://a.example");
        assert_eq!(headers["access-control-allow-methods"], "POST");
        assert!(ask("https://b.example").is_none());
        let plain = parts(Method::OPTIONS, &[("origin", "https://a.example")]);
        assert!(cors.preflight(&plain).is_none());
        let post = parts(Method::POST, &[("origin", "https://a.example"), method]);
        assert!(cors.preflight(&post).is_none());
    }
}
