//! What S03 proposes, safest first.

use super::{Case, Resource};
use crate::diagnose::{Piece, Quantity, Remedy, Sentence, rules::storage, sentence};

/// A file of the ordinary size for which ext4 has an inode (`inode_ratio` in mke2fs.conf), bytes.
const EXT4_RATIO: u64 = 16_384;
/// Inodes are never proposed closer than a block each.
const SMALLEST_RATIO: u64 = 4096;

/// What to try for a case.
pub(super) fn remedies(case: &Case<'_>) -> Vec<Remedy> {
    match case.resource {
        Resource::Inodes => {
            let mut list = vec![remove(case), stop(case), apart(case)];
            list.extend(more_inodes(case));
            list
        }
        Resource::Blocks => vec![
            Remedy {
                text: "find what takes the space, and remove what nobody needs".into(),
                command: Some("du -xh / --max-depth=3 2>/dev/null | sort -rh | head -20".to_owned()),
                risk: "du reads every directory: on a busy disk run it under ionice -c3; files that are deleted \
                       but still open give their space back when their process ends (lsof +L1)"
                    .to_owned(),
                ..Remedy::default()
            },
            Remedy {
                text: "grow the file system, or give what grows one of its own".into(),
                risk: "a larger one fills as well when nothing is removed".to_owned(),
                ..Remedy::default()
            },
        ],
    }
}

fn directory(case: &Case<'_>) -> Vec<Piece> {
    let path = case.creators.first().and_then(|c| c.work.path.clone());
    match path {
        Some(path) => vec![Piece::Name(path)],
        None => vec!["the directory with most files".into()],
    }
}

fn remove(case: &Case<'_>) -> Remedy {
    let mut text: Vec<Piece> = vec!["remove what nobody needs from ".into()];
    text.extend(directory(case));
    text.push(
        ", and from now on by age (find DIR -xdev -type f -mmin +1440 -delete, hourly)".into(),
    );
    Remedy {
        text: Sentence(text),
        arithmetic: Some("each file that goes gives one inode back, at once".into()),
        risk: "make sure that nobody needs them; try with -print in place of -delete first. Removing millions of \
               files takes minutes and keeps the journal busy"
            .to_owned(),
        ..Remedy::default()
    }
}

fn stop(case: &Case<'_>) -> Remedy {
    let mut text: Vec<Piece> = vec!["stop ".into()];
    match case.creators.first() {
        Some(creator) => text.extend(storage::team(&creator.work.team)),
        None => text.push("what creates them".into()),
    }
    text.push(" from creating a file for each visit: one file for all, names that are used again, or a cache \
               (see rule S02)".into());
    Remedy {
        text: Sentence(text),
        risk: "none here; it takes a change of the program".to_owned(),
        ..Remedy::default()
    }
}

fn apart(case: &Case<'_>) -> Remedy {
    let mut text: Vec<Piece> = vec!["give ".into()];
    text.extend(directory(case));
    text.push(" a file system of its own, or tmpfs where the files may be lost".into());
    Remedy {
        text: Sentence(text),
        risk: "tmpfs takes RAM, and is empty after a reboot; bound it with size= and nr_inodes="
            .to_owned(),
        ..Remedy::default()
    }
}

fn more_inodes(case: &Case<'_>) -> Option<Remedy> {
    let fs = case.fs;
    let used_bytes = fs.total_bytes.saturating_sub(fs.available_bytes);
    let used = fs.inodes.saturating_sub(fs.free_inodes);
    let mean = used_bytes.checked_div(used).unwrap_or(EXT4_RATIO);
    match fs.mount.fs_type.as_slice() {
        b"ext4" | b"ext3" | b"ext2" => {
            let now = fs.total_bytes / fs.inodes.max(1);
            // What is on it now may be large, as the small files are only coming.
            let ratio = mean
                .next_power_of_two()
                .min(1 << (now / 2).max(1).ilog2())
                .clamp(SMALLEST_RATIO, EXT4_RATIO);
            let more = fs.total_bytes / ratio;
            (more > fs.inodes).then(|| Remedy {
                text: sentence![
                    "make it again with more inodes, mkfs.ext4 -i ",
                    ratio.to_string(),
                    ": their number is fixed at mkfs, and grows only with the file system",
                ],
                arithmetic: Some(sentence![
                    "the files on it take ",
                    Quantity::bytes(mean),
                    " each on average; now there is an inode for ",
                    Quantity::bytes(now),
                    ", and ",
                    Quantity::count(more as f64),
                    " instead of ",
                    Quantity::count(fs.inodes as f64),
                    " then",
                ]),
                risk: "mkfs destroys what is on it: copy it away and back, with a backup; each inode takes 256 bytes"
                    .to_owned(),
                ..Remedy::default()
            })
        }
        b"xfs" => Some(Remedy {
            text: "let inodes take a larger share of the space (xfs_growfs -m PERCENT on the mount point)".into(),
            risk: "what inodes take is not there for data; xfs does not give it back".to_owned(),
            ..Remedy::default()
        }),
        b"tmpfs" => Some(Remedy {
            text: "allow more inodes on it (mount -o remount,nr_inodes=N)".into(),
            change: Some((
                format!("nr_inodes={}", fs.inodes),
                format!("nr_inodes={}", fs.inodes.saturating_mul(2)),
            )),
            arithmetic: Some(sentence![
                "each takes about 1 kB of memory that cannot be swapped out: up to ",
                Quantity::bytes(fs.inodes.saturating_mul(1024)),
                " more",
            ]),
            risk: "memory; it only buys time when nothing is removed".to_owned(),
            ..Remedy::default()
        }),
        _ => None,
    }
}
