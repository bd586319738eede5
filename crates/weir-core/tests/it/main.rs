//! Tests of the core as its users see it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod admission;
mod limits;
