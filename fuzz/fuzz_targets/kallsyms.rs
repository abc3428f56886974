//! /proc/kallsyms.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| stallscope_fuzz::kallsyms::run(bytes));
