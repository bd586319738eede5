//! Tests of the weir binary, started as its users start it and spoken to over HTTP.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and waits by the wall clock"
)]

mod wire;

mod support;

mod seed;

mod server;

mod priced;

mod config;
mod demo;
mod demo_upstream;
mod hangups;
mod keys;
mod ledger;
mod limits;
mod queue;
mod usage_lies;
mod wallet;

mod crash;
mod startup;

mod recorder;

mod hostile;

mod sdk;

mod foreign;
