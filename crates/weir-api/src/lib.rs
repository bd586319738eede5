//! Control plane.
pub mod settings;
pub mod admin;
pub mod customer;
pub mod serve;
