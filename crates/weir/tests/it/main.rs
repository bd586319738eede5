//! Tests of the weir binary, started as its users start it and spoken to over HTTP.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and waits by the wall clock"
)]

mod wire;

mod support;

mod receiver;
mod seed;

mod mail_sink;

mod server;

mod priced;

mod activation;
mod analytics;
mod billing;
mod broken_off;
mod commands;
mod config;
mod contracts;
mod crash;
mod demo;
mod demo_upstream;
mod docs_limits;
mod doctor;
mod documents;
mod explain;
mod figures;
mod foreign;
mod fuzz;
mod hanging;
mod hangups;
mod hostile;
mod idempotency;
mod import;
mod import_prices;
mod isolation;
mod keys;
mod ledger;
mod limits;
mod metrics;
mod mission;
mod operating;
#[cfg(feature = "otlp")]
mod otlp;
mod outward;
mod packaging;
mod polling;
mod promises;
mod queue;
mod quickstart;
mod recorder;
mod refusals;
mod reload;
mod restart;
mod schema;
mod sdk;
mod secrets;
mod spending;
mod startup;
mod tls;
mod trace;
mod usage_lies;
mod wallet;
mod webhooks;
