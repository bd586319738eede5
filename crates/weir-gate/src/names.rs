//! Names of our headers, ready to be looked up: a name given as text is parsed each time.

use http::HeaderName;
use weir_wire::header as ours;

pub(crate) static IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static(ours::IDEMPOTENCY_KEY);
pub(crate) static PRIORITY: HeaderName = HeaderName::from_static(ours::PRIORITY);
pub(crate) static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub(crate) static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(crate) static X_PRIORITY: HeaderName = HeaderName::from_static(ours::X_PRIORITY);
pub(crate) static X_REQUEST_ID: HeaderName = HeaderName::from_static(ours::X_REQUEST_ID);
pub(crate) static X_WALLET_AVAILABLE: HeaderName =
    HeaderName::from_static(ours::X_WALLET_AVAILABLE);
pub(crate) static X_WEIR_CHARGE: HeaderName = HeaderName::from_static(ours::X_WEIR_CHARGE);
pub(crate) static X_WEIR_MAX_OUTPUT_TOKENS: HeaderName =
    HeaderName::from_static(ours::X_WEIR_MAX_OUTPUT_TOKENS);
pub(crate) static X_WEIR_USAGE: HeaderName = HeaderName::from_static(ours::X_WEIR_USAGE);
