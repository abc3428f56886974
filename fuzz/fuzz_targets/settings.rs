//! What users write: the configuration file, times, sizes, addresses, passwords.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| stallscope_fuzz::settings::run(bytes));
