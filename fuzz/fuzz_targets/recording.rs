//! Recordings, as files.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| stallscope_fuzz::recording::run(bytes));
