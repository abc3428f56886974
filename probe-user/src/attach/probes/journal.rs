//! The probes of the ext4 journal, of fsync, and of tasks in uninterruptible sleep.

use super::Group;

/// All of them.
pub const GROUP: Group = Group {
    probes: &[],
    maps: &[],
};
