#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tokengate_fuzz::forward_auth::run(bytes));
