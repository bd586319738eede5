//! The store as its users see it: what is acknowledged, what a crash leaves, what a fault costs.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "helpers of tests fail a test by a panic, and tell what was skipped"
)]

mod backup;
mod behind;
mod commits;
mod faults;
mod packed;
mod recovery;
mod support;
mod verify;
