//! Data plane: HTTP in and out, the pipeline, SSE relay.

pub mod json;
pub mod sse;

pub mod tally;

pub mod ask;
