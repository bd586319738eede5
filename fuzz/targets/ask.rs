#![no_main]

#[path = "../checks/ask.rs"]
mod ask;

libfuzzer_sys::fuzz_target!(|data: &[u8]| ask::check(data));
