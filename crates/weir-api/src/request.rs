//! What a request says: its body, query, path and preconditions, read strictly.

use std::error::Error;
use std::io;
use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts, Request};
use http::header::{CONTENT_TYPE, IF_MATCH};
use http::request::Parts;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use weir_wire::error::Code;

use crate::problem::{Problem, sentence};
use crate::settings::App;
use crate::unique::Unique;

/// A JSON body. Members that the type does not know are refused by name.
#[derive(Debug)]
pub(crate) struct Body<T>(pub(crate) T);

/// The query. Parameters that the type does not know are refused by name.
#[derive(Debug)]
pub(crate) struct Query<T>(pub(crate) T);

/// The id in the path; one that cannot be an id is as unknown as one that is not in use.
#[derive(Debug)]
pub(crate) struct Id<T>(pub(crate) T);

/// The revision that `If-Match` names; `None` without the header or with `*`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IfMatch(pub(crate) Option<u64>);

/// A member of a partial change: left out, set to nothing, or set.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) enum Change<T> {
    /// It stays.
    #[default]
    Absent,
    /// It goes.
    Null,
    /// It becomes this.
    To(T),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Change<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.map_or(Self::Null, Self::To))
    }
}

impl<T> Change<T> {
    /// Makes the change to an optional value.
    pub(crate) fn apply(self, to: &mut Option<T>) {
        match self {
            Self::Absent => {}
            Self::Null => *to = None,
            Self::To(value) => *to = Some(value),
        }
    }

    /// The same with another kind of value.
    pub(crate) fn try_map<U, E>(self, map: impl FnOnce(T) -> Result<U, E>) -> Result<Change<U>, E> {
        Ok(match self {
            Self::Absent => Change::Absent,
            Self::Null => Change::Null,
            Self::To(value) => Change::To(map(value)?),
        })
    }
}

impl<T: DeserializeOwned> FromRequest<App> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _app: &App) -> Result<Self, Problem> {
        let bytes = read_json(request).await?;
        // The reader of a struct would take an array for its members in their order.
        if bytes.trim_ascii_start().first().is_some_and(|first| *first == b'[') {
            return Err(Problem::new(Code::InvalidRequest, NO_OBJECT));
        }
        serde_json::from_slice(&bytes).map(Self).map_err(|why| unreadable(&why.to_string()))
    }
}

impl<T: DeserializeOwned> Body<T> {
    /// Reads a part of a body.
    pub(crate) fn parse(part: serde_json::Value) -> Result<T, Problem> {
        if part.is_array() {
            return Err(Problem::new(Code::InvalidRequest, NO_OBJECT));
        }
        serde_json::from_value(part).map_err(|why| unreadable(&why.to_string()))
    }
}

/// Reads any JSON.
pub(crate) async fn read_value(request: Request) -> Result<serde_json::Value, Problem> {
    let bytes = read_json(request).await?;
    serde_json::from_slice(&bytes).map_err(|why| unreadable(&why.to_string()))
}

/// Reads the body of a request whose type is JSON, and refuses one that says something twice: the
/// readers of maps would take the last.
async fn read_json(request: Request) -> Result<bytes::Bytes, Problem> {
    let kind = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    if !kind.is_some_and(is_json) {
        let detail = "The body must be JSON, with `Content-Type: application/json`.";
        return Err(Problem::new(Code::UnsupportedMediaType, detail));
    }
    let bytes = read_body(request).await?;
    serde_json::from_slice::<Unique>(&bytes).map_err(|why| unreadable(&why.to_string()))?;
    Ok(bytes)
}

/// Reads a body in full.
pub(crate) async fn read_body(request: Request) -> Result<bytes::Bytes, Problem> {
    let limited = Limited::new(request.into_body(), BODY_BYTES_MAX);
    match tokio::time::timeout(BODY_TIMEOUT, limited.collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Problem::new(
            Code::RequestTooLarge,
            format!("The body may have at most {BODY_BYTES_MAX} bytes."),
        )),
        Ok(Err(error)) if came_late(&*error) => {
            Err(Problem::new(Code::RequestTimeout, "The body did not arrive in time."))
        }
        Ok(Err(_)) => Err(Problem::new(Code::InvalidRequest, "The body broke off before its end.")),
        Err(_) => Err(Problem::new(
            Code::RequestTimeout,
            format!("The body did not arrive within {} s.", BODY_TIMEOUT.as_secs()),
        )),
    }
}

/// Whether somewhere below it is that nothing arrived in time.
fn came_late(error: &(dyn Error + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |&error| error.source());
    causes.any(|cause| {
        let io = cause.downcast_ref::<io::Error>();
        io.is_some_and(|io| io.kind() == io::ErrorKind::TimedOut)
    })
}

impl<T: DeserializeOwned> FromRequestParts<App> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _app: &App) -> Result<Self, Problem> {
        axum::extract::Query::try_from_uri(&parts.uri).map(|query| Self(query.0)).map_err(|why| {
            let text = why.body_text();
            let text = text.rsplit_once("query string: ").map_or(&*text, |(_, reason)| reason);
            unreadable(text)
        })
    }
}

impl<T: std::str::FromStr + Send> FromRequestParts<App> for Id<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let path = axum::extract::Path::<String>::from_request_parts(parts, app).await;
        let text = path.map_err(|_| Problem::not_found("resource"))?;
        text.parse().map(Self).map_err(|_| Problem::not_found("resource"))
    }
}

impl FromRequestParts<App> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _app: &App) -> Result<Self, Problem> {
        let Some(value) = parts.headers.get(IF_MATCH) else { return Ok(Self(None)) };
        let text = value.to_str().unwrap_or_default().trim();
        if text == "*" {
            return Ok(Self(None));
        }
        // An ETag is the revision and a digest of what is shown; only the first is matched, since
        // what is shown beside it (when a key was used last) is nobody's change.
        let revision = text
            .strip_prefix('"')
            .and_then(|text| text.strip_suffix('"'))
            .and_then(|tag| tag.split('.').next()?.parse().ok());
        // RFC 9110, section 13.2.1: what is wrong with the request itself is told first, so that a
        // tag that is none is one that nothing has.
        Ok(Self(Some(revision.unwrap_or(NO_REVISION))))
    }
}

fn is_json(kind: &str) -> bool {
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// What a reader of JSON or of a query could not read; names the member if the reader does.
fn unreadable(why: &str) -> Problem {
    let problem = Problem::new(Code::InvalidRequest, sentence(why));
    let named = ["unknown field `", "missing field `", "duplicate field `"];
    let param = named.iter().find_map(|start| {
        let (_, rest) = why.split_once(start)?;
        rest.split_once('`').map(|(name, _)| name)
    });
    match param {
        Some(param) => problem.param(param),
        None => problem,
    }
}

const NO_OBJECT: &str = "The body must be a JSON object, not an array.";
/// A revision that no resource comes to.
const NO_REVISION: u64 = u64::MAX;
/// The largest JSON body.
pub(crate) const BODY_BYTES_MAX: usize = 1 << 20;
const BODY_TIMEOUT: Duration = Duration::from_secs(15);
