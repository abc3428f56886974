//! The probes of UDP: sockets that drop, their queues, who holds them.

use super::Group;

/// All of them.
pub const GROUP: Group = Group {
    probes: &[],
    maps: &[],
};
