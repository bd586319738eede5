//! The engine on a real store in a folder of its own, by a clock that is moved by hand.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says what makes it fail again"
)]

mod accounts;
mod alerts;
mod auto_top_up;
mod clock;
mod commitments;
mod flood;
mod holds;
mod money;
mod retention;
mod room;
mod sim;
mod sound;
mod support;
mod trail;
mod usage;
