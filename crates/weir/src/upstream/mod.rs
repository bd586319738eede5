//! The demo upstream: an AI platform that answers the same request with the same answer.
//!
//! `weir demo` runs it in-process, tests and load runs start it as `weir demo-upstream`. It speaks
//! OpenAI's and Anthropic's shapes (JSON and streams), plain REST resources, and can be told by
//! `x-mock-*` headers or query members to misbehave in every way that a proxy must survive
//! ([`knobs`] lists them). `/__mock/stats` tells what reached it.
//!
//! It has no notion of keys, limits or prices, and no clock or randomness in its answers.

mod knobs;
mod text;
mod usage;

mod call;
mod stats;

mod reply;

mod body;

mod chat;
mod completion;
mod embedding;
mod media;
mod message;
mod model;
mod resource;
mod response;

mod dispatch;
mod line;
mod serve;

pub(crate) use serve::{Options, spawn};
