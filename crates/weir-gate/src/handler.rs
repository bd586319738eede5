//! What the front hands a request to.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;

use crate::head::HeadRefusal;
use crate::idle_body::IdleBody;

/// Any error of a body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a request: an error when the client is silent for too long.
pub type RequestBody = IdleBody<Incoming>;

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Peer {
    /// The address of the socket, whatever headers say.
    pub addr: SocketAddr,
    /// Whether the connection is encrypted.
    pub tls: bool,
}

/// Renders refusals that come before a request is a request.
pub trait Refuser: Send + Sync + 'static {
    /// The whole answer to a request head that cannot be served.
    ///
    /// `Content-Length` and, where it must, `Connection: close` are added by the front.
    fn refuse(&self, refusal: HeadRefusal, peer: &Peer) -> Response<Bytes>;
}

/// Answers requests whose heads have passed all checks. One per core.
pub trait Handler: Refuser {
    /// The body of its answers.
    type Body: Body<Data = Bytes, Error = BoxError> + Send + 'static;

    /// Answers one request. Dropped when the client goes away before the head of the answer left;
    /// then and later the body of the answer is dropped unfinished.
    fn call(
        self: Arc<Self>,
        request: Request<RequestBody>,
        peer: Peer,
    ) -> impl Future<Output = Response<Self::Body>> + Send + 'static;

    /// How much work goes on detached from any connection; a drain waits for it, too.
    fn detached(&self) -> usize {
        0
    }
}
