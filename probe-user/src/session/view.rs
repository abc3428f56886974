//! `stallscope` without a command: the live view.

use super::Setup;
use crate::{cli::View, error::Error, target::Target};

/// Runs it.
///
/// # Errors
/// Why it could not do its job.
pub async fn run(_args: &View, _target: Target, _setup: Setup) -> Result<u8, Error> {
    Err(Error::Usage("not there yet".to_owned()))
}
