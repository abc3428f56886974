//! Epoll registrations that were made before we came, from /proc/PID/fdinfo.
//!
//! epoll_wait hands back only the program's own data; which descriptor it stands for is known to the kernel
//! side from epoll_ctl, and here from what the kernel tells of an epoll instance (proc_pid_fdinfo(5)).

use std::fs;

use probe_common::peer::EpollKey;

/// Registrations looked at in one process, and descriptors among which its epoll instances are sought: an
/// event loop with more has a peer that is unknown, not a start that takes seconds.
const MAX: usize = 4096;

/// The registrations of a process, and the descriptor that each stands for.
pub fn registrations(pid: u32) -> Vec<(EpollKey, u32)> {
    let mut found = Vec::new();
    let Ok(dir) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return found;
    };
    for entry in dir.filter_map(Result::ok).take(MAX) {
        let is_epoll =
            fs::read_link(entry.path()).is_ok_and(|to| to.as_os_str() == "anon_inode:[eventpoll]");
        let Some(epfd) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else {
            continue;
        };
        if !is_epoll {
            continue;
        }
        let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{epfd}")).unwrap_or_default();
        found.extend(
            info.lines()
                .filter_map(registration)
                .take(MAX)
                .map(|(fd, data)| {
                    (
                        EpollKey {
                            data,
                            tgid: pid,
                            epfd,
                        },
                        fd,
                    )
                }),
        );
    }
    found
}

/// Descriptor and data of a line such as `tfd:        5 events:       19 data:  7f00dead0005  pos:0 ...`.
pub fn registration(line: &str) -> Option<(u32, u64)> {
    let mut words = line.strip_prefix("tfd:")?.split_ascii_whitespace();
    let fd = words.next()?.parse().ok()?;
    let data = words.skip_while(|w| *w != "data:").nth(1)?;
    Some((fd, u64::from_str_radix(data, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_descriptor_and_data() {
        let line = "tfd:        5 events:       19 data: 7f00dead0005  pos:0 ino:1f sdev:8";
        assert_eq!(registration(line), Some((5, 0x7f00_dead_0005)));
        assert_eq!(registration("pos:\t0"), None);
        assert_eq!(registration("tfd: x data: 1"), None);
    }
}
