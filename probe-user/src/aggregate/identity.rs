//! Who is who.

use crate::collect::Process;

/// The group a process belongs to (a PHP-FPM pool's name, or the process name), and whether it is a pool.
pub fn group_name(process: &Process) -> (&[u8], bool) {
    match &process.pool {
        Some(pool) => (pool, true),
        None => (&process.comm, false),
    }
}
