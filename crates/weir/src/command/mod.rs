//! One file per command: its arguments, and `run`.

pub(crate) mod demo_upstream;
