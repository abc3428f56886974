//! DNS: questions that processes ask, and what becomes of them.

use crate::shared;

shared! {
    /// What the programs need of the running kernel, a part of [`crate::config::Config`].
    pub struct DnsConfig {
        /// 1: DNS questions are watched.
        pub on: u32,
    }
}
