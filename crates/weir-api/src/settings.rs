//! s
use std::sync::Arc;
/// s
pub trait ConfigControl: Send + Sync {}
/// s
pub struct ApiSettings {
    /// s
    pub api_prefix: String,
    /// s
    pub links: weir_wire::error::Links,
    /// s
    pub top_up_url: Option<String>,
    /// s
    pub auth_headers: Vec<http::HeaderName>,
    /// s
    pub admin_key: weir_engine::secret::SecretDigest,
    /// s
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// s
    pub config: Option<Arc<dyn ConfigControl>>,
}
