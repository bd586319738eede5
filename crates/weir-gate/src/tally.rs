//! Watches the bytes of a response and counts what it used: bytes in, usage out.
//!
//! Two counts run side by side: what the upstream *reports*, and what it *produced* as far as the
//! bytes show. Reported figures are untrusted: each is clamped to 0..=[`PLAUSIBLE_MAX`], and whatever
//! is odd about them sets [`IMPLAUSIBLE`](weir_core::ledger::Flags::IMPLAUSIBLE). Nothing here fails: bytes that make no sense count
//! for nothing.

mod count;

mod seen;

mod anthropic;
mod cost;
mod generic;
mod openai;

mod skim;

mod plain;

mod watch;

#[cfg(test)]
mod tests;

#[cfg(test)]
mod properties;

pub use cost::rewrite_usage_cost;
pub use count::{PLAUSIBLE_MAX, estimated_tokens};
pub use generic::{InvalidPointer, Pointer};
pub use seen::EventKind;
pub use watch::{Shape, Tallied, Tally};
