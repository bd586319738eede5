//! The control plane over a real engine on a folder of its own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that fails panics"
)]

mod accounts;
mod boosts;
mod customer;
mod declared;
mod errors;
mod increases;
mod keys;
mod openapi;
mod operators;
mod outage;
mod own_keys;
mod records;
mod repeat;
mod serve;
mod support;
mod usage;
mod usage_events;
mod wallet;
