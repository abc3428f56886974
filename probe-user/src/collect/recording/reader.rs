//! Reads a recording: whatever stands in the file, it is an error with its place or a frame, and memory is bounded.

use std::path::Path;

use super::{Frame, Header};
use crate::error::Error;

/// A recording that is being read.
pub struct Recording {
    header: Header,
}

impl Recording {
    /// Opens a file.
    ///
    /// # Errors
    /// It cannot be read, or is no recording of a version that is understood.
    pub fn open(_path: &Path) -> Result<Self, Error> {
        Err(Error::Usage("recordings cannot be read yet".to_owned()))
    }

    /// What it is about.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The next frame; `None` at the end. Where older frames were dropped to keep the newest, the first one is a
    /// [`Frame::Full`]: the state that everything begins at.
    ///
    /// # Errors
    /// What stands there is damaged; the text says where.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, Error> {
        Ok(None)
    }
}
