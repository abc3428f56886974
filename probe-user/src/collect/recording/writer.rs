//! Writes a recording.

use std::path::Path;

use super::{Frame, Header};
use crate::error::Error;

/// A recording that is being written.
pub struct Writer {}

impl Writer {
    /// Begins a recording in a new file, which keeps the newest `max_bytes`.
    ///
    /// # Errors
    /// The file exists, or cannot be made.
    pub fn create(_path: &Path, _header: &Header, _max_bytes: u64) -> Result<Self, Error> {
        Err(Error::Usage("recordings cannot be written yet".to_owned()))
    }

    /// Adds a frame.
    ///
    /// # Errors
    /// It cannot be written (a full disk); what was written before stays readable.
    pub fn push(&mut self, _frame: &Frame) -> Result<(), Error> {
        Ok(())
    }

    /// Ends the recording.
    ///
    /// # Errors
    /// As [`Writer::push`].
    pub fn finish(self) -> Result<(), Error> {
        Ok(())
    }
}
