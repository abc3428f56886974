//! Readings that nobody but a forger would write, through all that is made of them.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| stallscope_fuzz::replay::run(bytes));
