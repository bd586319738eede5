//! s
use std::sync::Arc;
/// s
pub fn router(
    _e: Arc<weir_engine::engine::Engine>,
    _s: Arc<crate::settings::ApiSettings>,
) -> axum::Router {
    axum::Router::new()
}
