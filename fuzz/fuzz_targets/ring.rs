//! Records of the ring, and what iterators write out.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| stallscope_fuzz::ring::run(bytes));
