//! s
/// s
pub async fn serve(
    _l: tokio::net::TcpListener,
    _r: axum::Router,
    s: impl Future<Output = ()> + Send + 'static,
) {
    s.await
}
