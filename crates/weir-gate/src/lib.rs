//! Data plane: HTTP in and out, the pipeline, SSE relay.

pub mod ask;
pub mod json;
pub mod sse;
pub mod tally;
