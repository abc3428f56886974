//! Files in a [`Window`](super::Window): who creates them where, and how long the space lasts.

mod fold;
mod places;
mod refused;
mod sizes;
mod space;

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;

use super::{Grown, Team, Timed};
pub use crate::collect::mounts::{Device, Mount};
pub(super) use fold::FilesFold;
pub use sizes::Sizes;
pub(super) use space::mount_of;

/// Rows of [`Files::places`], [`Files::creators`] and [`Files::refused`] each.
pub const MAX_FILE_ROWS: usize = 256;

/// All about files in one stretch of time.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// Files created, everywhere.
    pub created: u64,
    /// In the worst tenth of a second, per second.
    pub peak_per_s: f64,
    /// Files created over time, everywhere.
    pub timeline: Vec<Grown<1>>,
    /// By team and directory; most created first.
    pub places: Vec<Work>,
    /// What is in no row of `places`.
    pub other: Work,
    /// By team and file system, in the directory that nearly all of it is in; most created first.
    pub creators: Vec<Creator>,
    /// File systems: those that end first, then the fullest.
    pub file_systems: Vec<FileSystem>,
    /// Mounted, but not asked how full they are, because asking may hang (network, FUSE), or without an answer.
    pub not_asked: Vec<Mount>,
    /// Calls refused for want of space; most first.
    pub refused: Vec<Refused>,
}

/// What a team did in one directory, or in several.
#[derive(Clone, Debug, Default)]
pub struct Work {
    /// Who.
    pub team: Team,
    /// The file system; 0:0 when it is not known.
    pub device: Device,
    /// The directory, as it is mounted, any bytes; `None` when it is not known.
    pub path: Option<Vec<u8>>,
    /// It had been removed when it was last used.
    pub deleted: bool,
    /// Files created.
    pub created: u64,
    /// Their sizes when their creator closed them, as far as it did.
    pub sizes: Sizes,
    /// fsync() and fdatasync() on files in it.
    pub syncs: Timed,
    /// Files unlinked.
    pub unlinked: u64,
    /// Names of some that were created, any bytes, cut to 64.
    pub examples: Vec<Vec<u8>>,
}

impl Work {
    /// Files that are there now and were not before; negative when more were unlinked.
    pub fn grown(&self) -> i64 {
        self.created as i64 - self.unlinked as i64
    }
}

/// What a team did in one file system.
#[derive(Clone, Debug, Default)]
pub struct Creator {
    /// All of it; `path` is the deepest directory that holds nearly all files created.
    pub work: Work,
    /// Directories below `work.path` (and itself) in which it created files.
    pub directories: u64,
}

/// A file system and how full it is.
#[derive(Clone, Debug, Default)]
pub struct FileSystem {
    /// Super block's device.
    pub device: Device,
    /// Where it is mounted, and as what; the first of several mounts.
    pub mount: Mount,
    /// Further places where it is mounted.
    pub more_mounts: u64,
    /// An overlay, whose space is that of this other file system.
    pub space_of: Option<Device>,
    /// How full it is at the end.
    pub total_bytes: u64,
    /// Free for users without privileges.
    pub available_bytes: u64,
    /// Inodes; 0 where there is no fixed number.
    pub inodes: u64,
    /// Free inodes.
    pub free_inodes: u64,
    /// How bytes went.
    pub bytes: Trend,
    /// How inodes went.
    pub inodes_trend: Trend,
    /// How often it was asked.
    pub looks: u64,
    /// From the first to the last look, ns.
    pub span_ns: u64,
    /// What was free, oldest first.
    pub over_time: Vec<SpacePoint>,
}

/// What was free of a file system at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpacePoint {
    /// When, ns after the window's start.
    pub at_ns: u64,
    /// Free for users without privileges.
    pub available_bytes: u64,
    /// Free inodes; 0 where there is no fixed number.
    pub free_inodes: u64,
}

impl FileSystem {
    /// Share of the inodes in use; `None` where there is no fixed number.
    pub fn inodes_used(&self) -> Option<f64> {
        let used = self.inodes.saturating_sub(self.free_inodes);
        (self.inodes > 0).then(|| used as f64 / self.inodes as f64)
    }

    /// Share of the bytes that users without privileges cannot have any more.
    pub fn bytes_used(&self) -> f64 {
        let used = self.total_bytes.saturating_sub(self.available_bytes);
        used as f64 / self.total_bytes.max(1) as f64
    }

    /// Time until nothing is left, s, and whether it is inodes that end first.
    pub fn ends(&self) -> Option<(f64, bool)> {
        match (self.inodes_trend.seconds_left, self.bytes.seconds_left) {
            (Some(i), Some(b)) => Some((i.min(b), i <= b)),
            (Some(i), None) => Some((i, true)),
            (None, Some(b)) => Some((b, false)),
            (None, None) => None,
        }
    }
}

/// How something that is finite was used up.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Trend {
    /// Taken per second, from the first to the last look; negative when it was given back.
    pub per_s: f64,
    /// The slowest and the fastest quarter of that time: how steady it is. `None` with fewer than five looks.
    pub range_per_s: Option<(f64, f64)>,
    /// The least that was free at any look.
    pub least: u64,
    /// Time until none is left at `per_s`, s; `None` when it does not shrink.
    pub seconds_left: Option<f64>,
}

impl Trend {
    /// The time left at the fastest and at the slowest pace seen, s; the later is `None` when it did not shrink
    /// all the time.
    pub fn left_between(&self) -> Option<(f64, Option<f64>)> {
        let free = self.seconds_left? * self.per_s;
        let (slow, fast) = self.range_per_s?;
        Some((free / fast, (slow > 0.0).then(|| free / slow)))
    }
}

/// Calls of a team that were refused for want of space.
#[derive(Clone, Debug, Default)]
pub struct Refused {
    /// Who.
    pub team: Team,
    /// System call.
    pub call: &'static str,
    /// ENOSPC or EDQUOT.
    pub errno: u32,
    /// The file system, where it is known.
    pub device: Option<Device>,
    /// Where it is mounted, any bytes.
    pub mount_point: Option<Vec<u8>>,
    /// What one of the calls was asked to create, any bytes; empty where none was.
    pub path: Vec<u8>,
    /// How many.
    pub count: u64,
    /// First and last, ns after the window's start.
    pub first_ns: u64,
    /// See `first_ns`.
    pub last_ns: u64,
}
