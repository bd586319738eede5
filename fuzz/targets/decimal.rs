#![no_main]

#[path = "../checks/decimal.rs"]
mod decimal;

libfuzzer_sys::fuzz_target!(|data: &[u8]| decimal::check(data));
