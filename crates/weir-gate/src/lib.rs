//! Data plane: HTTP in and out, the pipeline, SSE relay.
