//! The customer API as the data plane calls it.

use axum::body::Body;
use futures_util::future::BoxFuture;
use http::Request;
use http_body_util::BodyExt;
use tower::ServiceExt;
use weir_api::settings::ClientAddress;
use weir_core::key::AddressBlock;
use weir_gate::answer::{Answer, AnswerBody};
use weir_gate::handler::{BoxError, Peer, RequestBody};
use weir_gate::identify::client_address;
use weir_gate::pipeline::Side;

/// The customer API as the data plane calls it.
pub(crate) struct ApiSide {
    router: axum::Router,
    /// Whose `X-Forwarded-For` is believed.
    trusted_proxies: Vec<AddressBlock>,
}

impl ApiSide {
    pub(crate) fn new(router: axum::Router, trusted_proxies: Vec<AddressBlock>) -> Self {
        Self { router, trusted_proxies }
    }
}

impl Side for ApiSide {
    fn call(&self, request: Request<RequestBody>, peer: Peer) -> BoxFuture<'static, Answer> {
        let router = self.router.clone();
        let mut request = request.map(Body::new);
        let address = client_address(peer.addr.ip(), request.headers(), &self.trusted_proxies);
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
