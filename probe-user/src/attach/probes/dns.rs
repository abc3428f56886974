//! The probes of DNS: questions, answers, time-outs by asking process.

use super::Group;

/// All of them.
pub const GROUP: Group = Group {
    probes: &[],
    maps: &[],
};
