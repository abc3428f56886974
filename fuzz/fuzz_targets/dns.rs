//! Messages to and from port 53.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| stallscope_fuzz::dns::run(bytes));
