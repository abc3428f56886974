//! UDP: sockets that drop datagrams because they are full.

use crate::shared;

shared! {
    /// What the programs need of the running kernel, a part of [`crate::config::Config`].
    pub struct UdpConfig {
        /// 1: UDP sockets are watched.
        pub on: u32,
    }
}
