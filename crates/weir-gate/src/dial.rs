//! Opens connections to upstreams: TCP, TLS, and the HTTP handshake.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use hyper::client::conn::{http1, http2};
use hyper_rustls::ConfigBuilderExt;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::handler::BoxError;

/// Where to connect to.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) host: Box<str>,
    pub(crate) port: u16,
    /// With `https`.
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

/// Hands requests to one connection.
#[derive(Debug)]
pub(crate) enum Sender<B> {
    H1(http1::SendRequest<B>),
    H2(http2::SendRequest<B>),
}

/// Why no connection came about. Nothing was sent.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The name could not be resolved, or has no address.
    #[error("cannot resolve the name")]
    Resolve(#[source] io::Error),
    /// No address accepts the connection.
    #[error("cannot connect")]
    Connect(#[source] io::Error),
    /// The certificate is not valid for the name, or the handshake failed.
    #[error("the TLS handshake failed")]
    Tls(#[source] io::Error),
    /// The HTTP handshake failed.
    #[error("the HTTP handshake failed")]
    Http(#[source] hyper::Error),
    /// All that took too long.
    #[error("no connection within {} ms", .0.as_millis())]
    Timeout(Duration),
}

/// TLS towards upstreams: the system's roots, or Mozilla's where the system has none.
///
/// # Errors
///
/// When the cryptography offers no common protocol version; it does.
pub(crate) fn tls_config() -> Result<Arc<ClientConfig>, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = || {
        let provider = Arc::clone(&provider);
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()
    };
    let rooted = match builder()?.with_native_roots() {
        Ok(rooted) => rooted,
        Err(error) => {
            tracing::info!(%error, "the system has no root certificates; using Mozilla's");
            builder()?.with_webpki_roots()
        }
    };
    let mut config = rooted.with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Opens a connection, ready for a request, within the time.
pub(crate) async fn dial<B>(target: &Target, within: Duration) -> Result<Sender<B>, DialError>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    let dialling = async {
        let stream = connect(target, within).await?;
        // Only costs speed if it fails.
        let _nodelay = stream.set_nodelay(true);
        let _keepalive =
            SockRef::from(&stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE));
        let Some(tls) = &target.tls else { return h1(stream).await };
        let name = target.host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(name)
            .map_err(|error| DialError::Tls(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
        let connector = TlsConnector::from(Arc::clone(tls));
        let stream = connector.connect(name, stream).await.map_err(DialError::Tls)?;
        match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => h2(stream).await,
            _ => h1(stream).await,
        }
    };
    timeout(within, dialling).await.map_err(|_| DialError::Timeout(within))?
}

/// Tries the name's addresses in order, each for its share of the time.
async fn connect(target: &Target, within: Duration) -> Result<TcpStream, DialError> {
    let host = target.host.trim_start_matches('[').trim_end_matches(']');
    let addrs: Vec<_> = lookup_host((host, target.port))
        .await
        .map_err(DialError::Resolve)?
        .take(ADDRESSES_MAX)
        .collect();
    let share = within / u32::try_from(addrs.len().max(1)).unwrap_or(1);
    let mut last = DialError::Resolve(io::ErrorKind::NotFound.into());
    for addr in addrs {
        last = match timeout(share, TcpStream::connect(addr)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => DialError::Connect(error),
            Err(_) => DialError::Timeout(share),
        };
    }
    Err(last)
}

async fn h1<S, B>(stream: S) -> Result<Sender<B>, DialError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let (sender, connection) = http1::Builder::new()
        .max_header_size(ANSWER_HEAD_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(DialError::Http)?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(error = &error as &dyn std::error::Error, "upstream connection ended");
        }
    });
    Ok(Sender::H1(sender))
}

async fn h2<S, B>(stream: S) -> Result<Sender<B>, DialError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_INTERVAL)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(DialError::Http)?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(error = &error as &dyn std::error::Error, "upstream connection ended");
        }
    });
    Ok(Sender::H2(sender))
}

/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 4;

/// Bytes of the head of an answer.
const ANSWER_HEAD_MAX: usize = 256 * 1024;

const KEEPALIVE: Duration = Duration::from_secs(60);
const PING_INTERVAL: Duration = Duration::from_secs(20);
