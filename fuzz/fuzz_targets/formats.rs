//! Format files of tracepoints.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| stallscope_fuzz::formats::run(bytes));
