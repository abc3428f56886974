//! Files: who creates, writes, syncs and removes them, and where.

use crate::shared;

shared! {
    /// What the programs need of the running kernel, a part of [`crate::config::Config`].
    pub struct FilesConfig {
        /// 1: files are watched.
        pub on: u32,
    }
}
