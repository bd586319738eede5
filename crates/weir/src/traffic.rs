//! The demo's light traffic: a few calls a minute, so that there is something to look at.

use std::net::SocketAddr;
use std::time::Duration;

use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

/// Calls the data plane with this key every few seconds, for ever.
pub(crate) async fn flow(data: SocketAddr, secret: String) {
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<bytes::Bytes>>();
    let mut turn = 0_usize;
    loop {
        tokio::time::sleep(PAUSE).await;
        let (method, path, body) = CALLS[turn % CALLS.len()];
        turn += 1;
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{data}{path}"))
            .header("authorization", format!("Bearer {secret}"))
            .header("content-type", "application/json")
            .body(Full::from(body));
        let Ok(request) = request else { continue };
        if let Ok(response) = client.request(request).await {
            // Read to the end, so that the connection is used again.
            let _body = response.into_body().collect().await;
        }
    }
}

const PAUSE: Duration = Duration::from_secs(3);
const CHAT: &str =
    r#"{"model":"llama-3-8b","max_tokens":16,"messages":[{"role":"user","content":"Hi"}]}"#;
const CALLS: [(&str, &str, &str); 4] = [
    ("GET", "/accounts/me", ""),
    ("POST", "/ai/chat", CHAT),
    ("GET", "/clusters/c-1", ""),
    ("POST", "/v1/chat/completions", CHAT),
];
