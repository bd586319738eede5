//! Control plane.
pub mod admin;
pub mod customer;
pub mod serve;
pub mod settings;
