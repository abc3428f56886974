//! System call numbers, and what blocking in one means.

use probe_common::{
    config::{MAX_NR, WAIT_CLASS},
    op::OPS,
    part,
};

/// The number of a system call that the kernel side accounts or classifies, on this architecture.
fn number(name: &str) -> Option<i64> {
    macro_rules! numbers {
        ($($name:literal => $nr:ident $($arch:literal)?,)*) => {
            match name {
                $( $(#[cfg(target_arch = $arch)])? $name => Some(libc::$nr), )*
                _ => None,
            }
        };
    }
    numbers! {
        "connect" => SYS_connect,
        "accept" => SYS_accept,
        "accept4" => SYS_accept4,
        "poll" => SYS_poll "x86_64",
        "ppoll" => SYS_ppoll,
        "select" => SYS_select "x86_64",
        "pselect6" => SYS_pselect6,
        "epoll_wait" => SYS_epoll_wait "x86_64",
        "epoll_pwait" => SYS_epoll_pwait,
        "epoll_pwait2" => SYS_epoll_pwait2,
        "recvfrom" => SYS_recvfrom,
        "recvmsg" => SYS_recvmsg,
        "recvmmsg" => SYS_recvmmsg,
        "read" => SYS_read,
        "readv" => SYS_readv,
        "sendto" => SYS_sendto,
        "sendmsg" => SYS_sendmsg,
        "sendmmsg" => SYS_sendmmsg,
        "write" => SYS_write,
        "writev" => SYS_writev,
        "sendfile64" => SYS_sendfile,
    }
}

/// System calls that are not accounted but block: what their wait is.
const CLASSES: &[(i64, usize)] = &[
    (libc::SYS_futex, part::LOCK),
    (libc::SYS_flock, part::LOCK),
    (libc::SYS_fcntl, part::LOCK),
    (libc::SYS_semop, part::LOCK),
    (libc::SYS_semtimedop, part::LOCK),
    (libc::SYS_nanosleep, part::SLEEP),
    (libc::SYS_clock_nanosleep, part::SLEEP),
    (libc::SYS_wait4, part::LOCAL),
    (libc::SYS_waitid, part::LOCAL),
    (libc::SYS_fsync, part::DISK),
    (libc::SYS_fdatasync, part::DISK),
    (libc::SYS_sync_file_range, part::DISK),
    (libc::SYS_pread64, part::DISK),
    (libc::SYS_pwrite64, part::DISK),
    (libc::SYS_preadv, part::DISK),
    (libc::SYS_pwritev, part::DISK),
    (libc::SYS_openat, part::DISK),
    (libc::SYS_renameat2, part::DISK),
    (libc::SYS_unlinkat, part::DISK),
    (libc::SYS_newfstatat, part::DISK),
];

/// The table [`probe_common::config::Config::ops`].
pub fn table() -> [u8; MAX_NR] {
    let mut table = [0; MAX_NR];
    for (i, op) in OPS.iter().enumerate() {
        if let Some(nr) = number(op.name)
            && let Some(slot) = table.get_mut(nr as usize)
        {
            *slot = i as u8;
        }
    }
    for (nr, part) in CLASSES {
        if let Some(slot) = table.get_mut(*nr as usize) {
            *slot = WAIT_CLASS | *part as u8;
        }
    }
    table
}

/// The [`part`] that blocking in a system call belongs to which is not accounted; none when it is not known.
pub fn class_of_nr(nr: i64) -> Option<usize> {
    let class = CLASSES.iter().find(|(known, _)| *known == nr);
    class.map(|(_, part)| *part)
}

/// The number of the operation that a system call is (see [`probe_common::op`]), 0 when it is none.
pub fn op_of_nr(nr: u64) -> u32 {
    (1..OPS.len())
        .find(|i| number(OPS[*i].name) == Some(nr as i64))
        .unwrap_or(0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use probe_common::op;

    #[test]
    fn calls_and_classes_do_not_overlap() {
        let table = table();
        assert_eq!(table[libc::SYS_connect as usize], op::CONNECT as u8);
        assert_eq!(table[libc::SYS_sendfile as usize], op::SENDFILE64 as u8);
        assert_eq!(
            table[libc::SYS_futex as usize],
            WAIT_CLASS | part::LOCK as u8
        );
        let ops = table
            .iter()
            .filter(|v| **v != 0 && **v & WAIT_CLASS == 0)
            .count();
        let known = OPS.iter().filter(|op| number(op.name).is_some()).count();
        assert_eq!(ops, known);
    }
}
