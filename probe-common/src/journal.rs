//! The ext4 journal (jbd2), fsync, and tasks in uninterruptible sleep behind them.

use crate::shared;

shared! {
    /// What the programs need of the running kernel, a part of [`crate::config::Config`].
    pub struct JournalConfig {
        /// 1: the journal are watched.
        pub on: u32,
    }
}
