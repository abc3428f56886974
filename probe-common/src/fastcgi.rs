//! Reads script and URI out of the FastCGI records of a request, however the reads cut them.

use crate::shared;

shared! {
    /// Progress of one request.
    pub struct Reader {
        /// Placeholder.
        pub phase: u64,
    }
}
