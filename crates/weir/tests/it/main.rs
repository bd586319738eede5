//! Tests of the weir binary, started as its users start it and spoken to over HTTP.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and waits by the wall clock"
)]

mod config;
mod demo_upstream;
mod support;
