//! Words on the wire: header names and the error document, shared by server and client.
//!
//! What this crate does not do: no logic beyond the shape of data.

pub mod error;
pub mod header;
