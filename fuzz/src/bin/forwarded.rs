#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tokengate_fuzz::forwarded::run(bytes));
