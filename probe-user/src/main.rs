//! stallscope.
fn main() {}
