//! Answers of a collector.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| stallscope_fuzz::otlp::run(bytes));
