//! `stallscope diff`: what got better or worse from one run to another.

use super::Setup;
use crate::{cli::Diff, error::Error};

/// Runs it.
///
/// # Errors
/// Why it could not do its job.
pub fn run(_args: &Diff, _setup: Setup) -> Result<u8, Error> {
    Err(Error::Usage("not there yet".to_owned()))
}
