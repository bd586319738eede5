//! What a request to a model asks for: the few members of its body that decide money, read in one
//! pass over the bytes, and the few edits that Weir may make to them.
//!
//! The body is forwarded as it came unless something must change; then every other byte stays. What
//! one parser and the next might read differently is reported: a member given twice, or spelled in
//! another letter case (Go's decoder takes `MAX_TOKENS` for `max_tokens`).

mod estimate;
mod request;

mod read;

mod edit;
mod multipart;

#[cfg(test)]
mod tests;

pub use edit::{Change, rewrite, with_include_usage, with_output_bound};
pub use estimate::{AUDIO_TOKENS, FILE_TOKENS, IMAGE_TOKENS};
pub use multipart::ask_multipart;
pub use request::{Ask, Bound, BoundName, Duplicate, Endpoint, Unreadable};
