#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tokengate_fuzz::proxy_protocol::run(bytes));
