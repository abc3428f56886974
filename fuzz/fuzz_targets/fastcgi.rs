//! FastCGI records, however reads cut them.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| stallscope_fuzz::fastcgi::run(bytes));
