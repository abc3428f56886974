//! What the rules about storage share: who did it and where, in a sentence, and how full a file system is.

use probe_common::loss::slot;

use crate::{
    aggregate::{
        Group, Team, Window,
        files::{Device, FileSystem, Files, Mount},
        journal::Journal,
    },
    diagnose::{Piece, Place, Quantity},
};

/// Losses that bear on who created files where.
pub(super) const FILES: &[u32] = &[
    slot::DIRECTORIES_FULL,
    slot::PROGRAM_SKIPPED,
    slot::READ_FAILED,
];
/// Losses that bear on commits, fsync and sleeps.
pub(super) const JOURNAL: &[u32] = &[
    slot::RING_FULL,
    slot::PROGRAM_SKIPPED,
    slot::JOURNAL_SUMS_FULL,
    slot::SLEEPERS_FULL,
    slot::STACKS_FULL,
];

/// The files of a window.
pub(super) fn files(window: &Window) -> Result<&Files, String> {
    let files = window.files.as_deref();
    files.ok_or_else(|| "files were not watched".to_owned())
}

/// The journals of a window.
pub(super) fn journal(window: &Window) -> Result<&Journal, String> {
    let journal = window.journal.as_deref();
    journal.ok_or_else(|| "journals were not watched".to_owned())
}

/// A team in a sentence: `pool www (20 processes)`, `mysqld (pid 900)`.
pub(super) fn team(team: &Team) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    if team.name.is_empty() {
        pieces.push("other processes".into());
    } else {
        if team.php_fpm {
            pieces.push("pool ".into());
        }
        pieces.push(Piece::Name(team.name.clone()));
    }
    match (team.processes, team.pids.as_slice()) {
        (0, _) => {}
        (1, [pid, ..]) => pieces.push(format!(" (pid {pid})").into()),
        (n, _) => pieces.extend([
            " (".into(),
            Quantity::count(n as f64).into(),
            " processes)".into(),
        ]),
    }
    pieces
}

/// The group of requests that a team serves, if it serves any.
pub(super) fn group<'a>(window: &'a Window, team: &Team) -> Option<&'a Group> {
    let same = |g: &&Group| (&g.name, g.php_fpm) == (&team.name, team.php_fpm);
    window
        .groups
        .iter()
        .filter(|g| g.all_requests() > 0)
        .find(same)
}

/// The file system of a device.
pub(super) fn file_system(files: &Files, device: Device) -> Option<&FileSystem> {
    files.file_systems.iter().find(|f| f.device == device)
}

/// True for file systems in memory: neither fsync nor a disk slows them down, and a reboot empties them.
pub(super) fn in_memory(mount: &Mount) -> bool {
    [&b"tmpfs"[..], b"ramfs"].contains(&mount.fs_type.as_slice())
}

/// A mount in a sentence: `/var/www (/dev/sda1, ext4)`.
pub(super) fn mount(mount: &Mount) -> Vec<Piece> {
    vec![
        Piece::Name(mount.mount_point.clone()),
        " (".into(),
        Piece::Name(mount.source.clone()),
        ", ".into(),
        Piece::Name(mount.fs_type.clone()),
        ")".into(),
    ]
}

/// A culprit's place.
pub(super) fn place(mount: &Mount, directory: Option<&[u8]>) -> Place {
    Place {
        device: mount.device,
        source: mount.source.clone(),
        mount_point: mount.mount_point.clone(),
        directory: directory.map(<[u8]>::to_vec),
    }
}

/// A time in seconds, as a number in a sentence.
pub(super) fn time(seconds: f64) -> Quantity {
    // A cast from a float saturates.
    Quantity::ns((seconds * 1e9) as u64)
}
