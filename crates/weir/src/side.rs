//! The customer API as the data plane calls it.

use std::io;
use std::net::IpAddr;

use axum::body::Body;
use futures_util::future::BoxFuture;
use http::Request;
use http_body_util::BodyExt;
use tower::ServiceExt;
use weir_api::settings::ClientAddress;
use weir_gate::answer::{Answer, AnswerBody};
use weir_gate::handler::{BoxError, RequestBody};
use weir_gate::idle_body::IdleBodyError;
use weir_gate::pipeline::Side;

/// The customer API as the data plane calls it.
pub(crate) struct ApiSide(axum::Router);

impl ApiSide {
    pub(crate) fn new(router: axum::Router) -> Self {
        Self(router)
    }
}

impl Side for ApiSide {
    fn call(&self, request: Request<RequestBody>, address: IpAddr) -> BoxFuture<'static, Answer> {
        let router = self.0.clone();
        let mut request = request.map(|body| Body::new(body.map_err(told)));
        request.extensions_mut().insert(ClientAddress(address));
        Box::pin(async move {
            let response = match router.oneshot(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            };
            response.map(|body| AnswerBody::Passed(body.map_err(BoxError::from).boxed_unsync()))
        })
    }
}

/// The control plane does not know the data plane's errors, but those of input and output.
fn told<E: std::error::Error + Send + Sync + 'static>(error: IdleBodyError<E>) -> io::Error {
    match error {
        IdleBodyError::Idle(_) => io::Error::new(io::ErrorKind::TimedOut, error),
        IdleBodyError::Broken(_) => io::Error::other(error),
    }
}
