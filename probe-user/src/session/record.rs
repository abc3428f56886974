//! `stallscope record`: watch, and write what is seen to a file.

use super::Setup;
use crate::{cli::Record, error::Error, target::Target};

/// Runs it.
///
/// # Errors
/// Why it could not do its job.
pub async fn run(_args: &Record, _target: Target, _setup: Setup) -> Result<u8, Error> {
    Err(Error::Usage("not there yet".to_owned()))
}
