//! Names of the headers that Weir reads and writes.

/// Unique name of one request: the client's if it is sane, else drawn by Weir.
pub const X_REQUEST_ID: &str = "x-request-id";
/// Quota of the limit nearest to exhaustion.
pub const X_RATELIMIT_LIMIT: &str = "x-ratelimit-limit";
/// What is left of it.
pub const X_RATELIMIT_REMAINING: &str = "x-ratelimit-remaining";
/// When its window ends, in Unix seconds.
pub const X_RATELIMIT_RESET: &str = "x-ratelimit-reset";
/// How long its window is, in seconds.
pub const X_RATELIMIT_WINDOW: &str = "x-ratelimit-window";
/// `true` where no finite limit applies.
pub const X_RATELIMIT_UNLIMITED: &str = "x-ratelimit-unlimited";
/// Every finite limit that applies, draft-ietf-httpapi-ratelimit-headers-11.
pub const RATELIMIT: &str = "ratelimit";
/// The rules behind them, draft-ietf-httpapi-ratelimit-headers-11.
pub const RATELIMIT_POLICY: &str = "ratelimit-policy";
/// Milliseconds after which the same call may pass, as the official OpenAI SDKs read it.
pub const RETRY_AFTER_MS: &str = "retry-after-ms";
/// `true` or `false`: whether the official SDKs shall try again by themselves.
pub const X_SHOULD_RETRY: &str = "x-should-retry";
/// Balance − held + credit line, as a decimal string.
pub const X_WALLET_AVAILABLE: &str = "x-wallet-available";
/// What this call cost, as a decimal string.
pub const X_WEIR_CHARGE: &str = "x-weir-charge";
/// The output bound that Weir forwarded, where it lowered the client's.
pub const X_WEIR_MAX_OUTPUT_TOKENS: &str = "x-weir-max-output-tokens";
/// `1`: the client wants `usage.cost` in the answer.
pub const X_WEIR_USAGE: &str = "x-weir-usage";
/// Priority by word: `critical`, `high`, `normal`, `low`.
pub const X_PRIORITY: &str = "x-priority";
/// Priority by number, RFC 9218.
pub const PRIORITY: &str = "priority";
/// Makes a repeated call take effect once, draft-ietf-httpapi-idempotency-key-header-07.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Whether an idempotent answer was given again.
pub const IDEMPOTENCY_REPLAYED: &str = "idempotency-replayed";
/// What a cache did, RFC 9211.
pub const CACHE_STATUS: &str = "cache-status";

/// Headers that only Weir may set on a response: an upstream's own are dropped.
pub const OURS: [&str; 19] = [
    X_REQUEST_ID,
    X_RATELIMIT_LIMIT,
    X_RATELIMIT_REMAINING,
    X_RATELIMIT_RESET,
    X_RATELIMIT_WINDOW,
    X_RATELIMIT_UNLIMITED,
    RATELIMIT,
    RATELIMIT_POLICY,
    "retry-after",
    RETRY_AFTER_MS,
    X_SHOULD_RETRY,
    X_WALLET_AVAILABLE,
    X_WEIR_CHARGE,
    X_WEIR_MAX_OUTPUT_TOKENS,
    CACHE_STATUS,
    "age",
    PRIORITY,
    X_PRIORITY,
    IDEMPOTENCY_REPLAYED,
];
