#![no_main]

#[allow(dead_code)]
#[path = "../../crates/weir/src/config/mod.rs"]
mod config;

#[path = "../checks/config.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|data: &[u8]| check::check(data));
