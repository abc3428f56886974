//! The probes of files: created, closed, synced, removed, refused for want of space.

use super::Group;

/// All of them.
pub const GROUP: Group = Group {
    probes: &[],
    maps: &[],
};
