//! The errors at the border of a stage. Messages are one line: what, why, and what to do.

/// Why stallscope could not do its job (exit code 2).
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not allowed to: names the missing capability.
    #[error("{0}")]
    Privilege(String),
    /// The kernel lacks what everything rests on.
    #[error("{0}")]
    Kernel(String),
    /// The target does not exist, or ended.
    #[error("{0}")]
    Target(String),
    /// Bad argument.
    #[error("{0}")]
    Usage(String),
    /// A system call or file failed.
    #[error("{what}: {source}")]
    Io {
        /// What was tried, in words.
        what: String,
        /// The error.
        source: std::io::Error,
    },
}
