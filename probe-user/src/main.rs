//! `stallscope`: parse, run, exit code.

use std::{ffi::OsString, process::ExitCode, time::Instant};

use stallscope::{cli, error::Error, session};

fn main() -> ExitCode {
    // First of all, so that the time to the first data is told truly.
    let started = Instant::now();
    give_memory_back();
    let args: Vec<OsString> = std::env::args_os().collect();
    match run(&args, started) {
        Ok(code) => code.into(),
        Err(error) => {
            session::complain(&session::plain(&error.to_string()));
            session::FAILED.into()
        }
    }
}

fn run(args: &[OsString], started: Instant) -> Result<u8, Error> {
    match cli::parse(args) {
        Ok(cli) => session::run(cli, started),
        Err(stop) => stop.finish().map(|()| session::CLEAR),
    }
}

/// Attaching reads megabytes of type information, once. glibc would keep that memory; what is freed goes
/// back to the node instead.
fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets two parameters of the allocator, before any other thread exists.
    unsafe {
        libc::mallopt(libc::M_TRIM_THRESHOLD, 64 << 10);
        libc::mallopt(libc::M_MMAP_THRESHOLD, 64 << 10);
    }
}
