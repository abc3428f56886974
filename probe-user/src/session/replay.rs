//! `stallscope replay` and `demo`: a recording as a report, or in the live view.

use super::Setup;
use crate::{
    cli::{Demo, Replay},
    error::Error,
};

/// Runs `replay`.
///
/// # Errors
/// Why it could not do its job.
pub fn run(_args: &Replay, _setup: Setup) -> Result<u8, Error> {
    Err(Error::Usage("not there yet".to_owned()))
}

/// Runs `demo`.
///
/// # Errors
/// Likewise.
pub fn demo(_args: &Demo, _setup: Setup) -> Result<u8, Error> {
    Err(Error::Usage("not there yet".to_owned()))
}
