//! Hand-made files of a window, for the tests of rules and outputs.

use super::*;
use crate::aggregate::{
    Window,
    fixture::{S, probe, window},
};

/// The probes that watch files, as they are named in a window's coverage.
pub const PROBES: [&str; 4] = ["files", "file_syncs", "file_unlinks", "no_space"];

/// A window of 10 s with these files in it, every probe of files active and nothing else.
pub fn window_with(files: Files) -> Window {
    Window {
        target: "this machine".to_owned(),
        duration_ns: 10 * S,
        files: Some(Box::new(files)),
        probes: PROBES.map(probe).to_vec(),
        ..window([])
    }
}

/// The disk that everything is on.
pub const ROOT: Device = Device { major: 8, minor: 1 };
/// A disk of its own for uploads.
pub const UPLOADS: Device = Device { major: 7, minor: 0 };
/// A file system in memory.
pub const RUN: Device = Device {
    major: 0,
    minor: 22,
};

/// A mount of the root of a file system.
pub fn mount(device: Device, fs_type: &str, source: &str, at: &str) -> Mount {
    Mount {
        device,
        mount_point: at.into(),
        root: b"/".to_vec(),
        fs_type: fs_type.into(),
        source: source.into(),
        options: b"rw,relatime".to_vec(),
        super_options: b"rw".to_vec(),
    }
}

/// Workers of one name, the first with this id.
pub fn team(name: &str, pid: u32, processes: u64) -> Team {
    Team {
        name: name.into(),
        php_fpm: false,
        processes,
        pids: (pid..).take(processes.min(8) as usize).collect(),
    }
}

/// A team created so many files of this size in a directory, none of which was removed.
pub fn work(team: Team, device: Device, path: &str, created: u64, bytes: u64) -> Work {
    Work {
        team,
        device,
        path: Some(path.into()),
        created,
        sizes: Sizes::of(&[(bytes, created)]),
        examples: vec![b"a1.css".to_vec(), b"b2.css".to_vec()],
        ..Work::default()
    }
}

/// The same as what the team did in the file system.
pub fn creator(work: Work) -> Creator {
    Creator {
        work,
        directories: 1,
    }
}

/// A file system with so many of its inodes free, looked at 11 times in 10 s, of which nothing is taken.
pub fn file_system(mount: Mount, inodes: u64, free_inodes: u64) -> FileSystem {
    FileSystem {
        device: mount.device,
        mount,
        total_bytes: 100_000_000_000,
        available_bytes: 55_000_000_000,
        inodes,
        free_inodes,
        bytes: Trend {
            range_per_s: Some((0.0, 0.0)),
            least: 55_000_000_000,
            ..Trend::default()
        },
        inodes_trend: Trend {
            range_per_s: Some((0.0, 0.0)),
            least: free_inodes,
            ..Trend::default()
        },
        looks: 11,
        span_ns: 10 * S,
        over_time: (0..11)
            .map(|second| SpacePoint {
                at_ns: second * S,
                available_bytes: 55_000_000_000,
                free_inodes,
            })
            .collect(),
        ..FileSystem::default()
    }
}

/// So many taken a second, steadily to a tenth.
pub fn taking(per_s: f64, free: u64) -> Trend {
    Trend {
        per_s,
        range_per_s: Some((0.9 * per_s, 1.1 * per_s)),
        least: free,
        seconds_left: Some(free as f64 / per_s),
    }
}

/// A busy node without trouble: sessions, uploads that are moved, logs, a mail queue.
pub fn healthy() -> Files {
    let php = || team("php-fpm8.2", 4711, 20);
    let mail = Work {
        unlinked: 198,
        syncs: Timed::of(&[(4_000_000, 200)]),
        ..work(
            team("cleanup", 812, 2),
            ROOT,
            "/var/spool/postfix/incoming",
            200,
            3_000,
        )
    };
    let sessions = work(php(), ROOT, "/var/lib/php/sessions", 300, 600);
    let uploads = Work {
        unlinked: 40,
        ..work(php(), ROOT, "/tmp", 40, 900_000)
    };
    let of_php = Work {
        path: Some(b"/".to_vec()),
        created: 340,
        ..sessions.clone()
    };
    Files {
        created: 540,
        peak_per_s: 90.0,
        places: vec![sessions, mail.clone(), uploads],
        creators: vec![
            Creator {
                work: of_php,
                directories: 2,
            },
            creator(mail),
        ],
        file_systems: vec![
            FileSystem {
                inodes_trend: taking(30.0, 6_000_000),
                bytes: taking(300_000.0, 55_000_000_000),
                ..file_system(mount(ROOT, "ext4", "/dev/sda1", "/"), 6_553_600, 6_000_000)
            },
            FileSystem {
                total_bytes: 800_000_000,
                available_bytes: 790_000_000,
                ..file_system(mount(RUN, "tmpfs", "tmpfs", "/run"), 1_000_000, 999_000)
            },
        ],
        ..Files::default()
    }
}
