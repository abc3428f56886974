//! Texts of /proc and /etc.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| stallscope_fuzz::proc::run(bytes));
