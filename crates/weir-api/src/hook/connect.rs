//! Connections to receivers: the name is resolved, every address checked, and the connection goes
//! to a checked address, so that a name cannot change its mind in between.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Uri;
use http_body_util::Full;
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::{ClientConfig, ConfigBuilder, WantsVerifier};
use tokio::net::TcpStream;

use crate::hook::guard::{host_of, is_public};

/// An HTTP client that cannot be led to private addresses.
pub(crate) type GuardedClient = Client<HttpsConnector<Guarded>, Full<bytes::Bytes>>;

/// Connects to checked addresses only.
#[derive(Clone, Debug)]
pub(crate) struct Guarded {
    allow_private: bool,
}

/// A client for webhooks.
///
/// # Errors
///
/// When the TLS library lacks what it needs.
pub(crate) fn client(allow_private: bool) -> io::Result<GuardedClient> {
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls_config()?)
        .https_or_http()
        .enable_http1()
        .wrap_connector(Guarded { allow_private });
    let client = Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(std::time::Duration::from_secs(20))
        .pool_max_idle_per_host(2)
        .http1_max_buf_size(64 * 1_024)
        .build(connector);
    Ok(client)
}

/// TLS towards receivers: the system's roots, or Mozilla's where the system has none.
fn tls_config() -> io::Result<ClientConfig> {
    let rooted = match builder()?.with_native_roots() {
        Ok(rooted) => rooted,
        Err(_) => builder()?.with_webpki_roots(),
    };
    Ok(rooted.with_no_client_auth())
}

/// Whether the system says which authorities it trusts.
pub(crate) fn has_native_roots() -> bool {
    builder().is_ok_and(|builder| builder.with_native_roots().is_ok())
}

fn builder() -> io::Result<ConfigBuilder<ClientConfig, WantsVerifier>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    builder.with_safe_default_protocol_versions().map_err(io::Error::other)
}

impl tower::Service<Uri> for Guarded {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<TcpStream>>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(connect(uri, self.allow_private))
    }
}

async fn connect(uri: Uri, allow_private: bool) -> io::Result<TokioIo<TcpStream>> {
    let https = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
    let found = tokio::net::lookup_host((host_of(&uri), port)).await;
    let found = found.map_err(|_| io::Error::other("the host has no address"))?;
    let addresses: Vec<SocketAddr> = found.take(ADDRESSES_MAX).collect();
    if !allow_private && addresses.iter().any(|address| !is_public(address.ip())) {
        return Err(io::Error::other("the host leads to a private address"));
    }
    let mut last = io::Error::other("the host has no address");
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // A message is one write: waiting to fill a packet would only delay it.
                let _ = stream.set_nodelay(true);
                return Ok(TokioIo::new(stream));
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

const ADDRESSES_MAX: usize = 8;
