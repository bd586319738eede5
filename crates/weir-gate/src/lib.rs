//! Data plane: HTTP in and out, the pipeline, SSE relay.

pub mod settings;

pub mod framing;
pub mod head;
pub mod idle_body;

pub mod handler;

mod client_io;

mod connection;
pub mod listen;

pub mod serve;

mod endpoint;

pub mod dial;
mod pool;

pub mod upstream;

pub mod json;
pub mod sse;

pub mod tally;

pub mod ask;
