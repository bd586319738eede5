//! Data plane: HTTP in and out, the pipeline, SSE relay.
//!
//! The way through: [`serve`] accepts and checks heads, [`pipeline`] knows the order of everything,
//! [`job`](crate) makes an admitted call, [`relay`](crate) pumps what is not whole; [`refuse`] is the one
//! place that turns refusals into answers.
//!
//! What this crate does not do: it neither stores nor does arithmetic on money.

mod names;

pub mod cors;

pub mod settings;

pub mod meters;

pub mod framing;
pub mod head;
pub mod idle_body;

pub mod handler;

mod client_io;

mod connection;
pub mod listen;

pub mod serve;

pub mod dial;
mod endpoint;
mod pool;
pub mod waiting;

pub mod sent_mark;

pub mod upstream;

pub mod json;
pub mod sse;

pub mod tally;

pub mod ask;

pub mod identify;
pub mod limit_headers;
pub mod priority;

pub mod refuse;

pub mod answer;
pub mod out_body;

mod idempotency;

mod carried;

mod lane;

mod duty;

mod buffer;
mod intake;
mod outbound;
mod relay;

mod job;

pub mod pipeline;
mod unsent;

pub mod gate;

pub mod explain;
