//! Builds, tests and measures stallscope.
fn main() {}
