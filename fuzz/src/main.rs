//! `mutate`: runs one target without a fuzzer, see [`stallscope_fuzz::chance`]. What it says has the form of libFuzzer's words, so that
//! one reader serves for both.

use std::{env, process::ExitCode};

use stallscope_fuzz::{TARGETS, chance};

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    match chance::run(TARGETS, &args) {
        Ok(inputs) => {
            eprintln!("stat::number_of_executed_units: {inputs}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}
