//! Frames of a recording, unpacked.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| stallscope_fuzz::frames::run(bytes));
