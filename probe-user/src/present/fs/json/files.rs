//! Files as JSON: who creates them where, how full file systems are, and what was refused.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{TeamJson, TimedJson, number};
use crate::{
    aggregate::{
        Grown,
        files::{Creator, FileSystem, Files, Mount, Refused, Sizes, SpacePoint, Trend, Work},
    },
    present::{
        errno,
        json::{Text, finite},
    },
};

/// Files created by the processes that were watched, and the space of all file systems.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FilesJson {
    /// Files created, everywhere.
    pub created: u64,
    /// The same per second in the worst tenth of a second.
    pub created_peak_per_s: f64,
    /// How many had been created at moments of the window. Since 1.1.
    #[serde(default)]
    pub timeline: Vec<CreatedPointJson>,
    /// By team and directory, most created first.
    pub directories: Vec<WorkJson>,
    /// What is in no row of `directories`.
    pub directories_other: WorkJson,
    /// By team and file system, most created first.
    pub creators: Vec<CreatorJson>,
    /// File systems: those that end first, then the fullest.
    pub file_systems: Vec<FileSystemJson>,
    /// Not asked how full they are, because asking may hang, or without an answer.
    pub not_asked: Vec<MountJson>,
    /// Calls refused for want of space, most first.
    pub refused: Vec<RefusedJson>,
}

impl FilesJson {
    pub(in crate::present) fn of(f: &Files) -> Self {
        Self {
            created: f.created,
            created_peak_per_s: finite(f.peak_per_s),
            timeline: f.timeline.iter().map(CreatedPointJson::of).collect(),
            directories: f.places.iter().map(WorkJson::of).collect(),
            directories_other: WorkJson::of(&f.other),
            creators: f.creators.iter().map(CreatorJson::of).collect(),
            file_systems: f.file_systems.iter().map(FileSystemJson::of).collect(),
            not_asked: f.not_asked.iter().map(MountJson::of).collect(),
            refused: f.refused.iter().map(RefusedJson::of).collect(),
        }
    }
}

/// Files created up to a moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CreatedPointJson {
    /// When, after the window's start.
    pub offset_ns: u64,
    /// Files created since the window's start.
    pub created: u64,
}

impl CreatedPointJson {
    fn of(g: &Grown<1>) -> Self {
        let [created] = g.since_start;
        Self {
            offset_ns: g.at_ns,
            created,
        }
    }
}

/// Sizes of files when their creator closed them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SizesJson {
    /// Files whose size is known.
    pub count: u64,
    /// Their sizes together.
    pub total_bytes: u64,
    /// Half of them are at most so large.
    pub p50_bytes: u64,
    /// 95 of 100 are at most so large.
    pub p95_bytes: u64,
    /// The largest.
    pub max_bytes: u64,
}

impl SizesJson {
    fn of(s: &Sizes) -> Self {
        Self {
            count: s.count,
            total_bytes: s.total_bytes,
            p50_bytes: s.quantile(0.5),
            p95_bytes: s.quantile(0.95),
            max_bytes: s.max_bytes,
        }
    }
}

/// What a team did in one directory, or in several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkJson {
    /// Who.
    pub who: TeamJson,
    /// Device number of the file system; `0:0` where it is not known.
    pub device: Text,
    /// The directory; null where it is not known.
    #[serde(rename = "file.directory")]
    pub path: Option<Text>,
    /// True when the directory had been removed when it was last used.
    pub deleted: bool,
    /// Files created.
    pub created: u64,
    /// Their sizes.
    pub sizes: SizesJson,
    /// Calls of fsync() and fdatasync() on files in it.
    pub syncs: TimedJson,
    /// Files removed.
    pub unlinked: u64,
    /// Names of some that were created.
    pub examples: Vec<Text>,
}

impl WorkJson {
    fn of(w: &Work) -> Self {
        Self {
            who: TeamJson::of(&w.team),
            device: number(w.device),
            path: w.path.as_deref().map(Text::name),
            deleted: w.deleted,
            created: w.created,
            sizes: SizesJson::of(&w.sizes),
            syncs: TimedJson::of(&w.syncs),
            unlinked: w.unlinked,
            examples: w.examples.iter().map(|name| Text::name(name)).collect(),
        }
    }
}

/// What a team did in one file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CreatorJson {
    /// All of it; the directory is the deepest that holds nearly all files created.
    #[serde(flatten)]
    pub work: WorkJson,
    /// Directories in and below it that files were created in.
    pub directories: u64,
}

impl CreatorJson {
    fn of(c: &Creator) -> Self {
        Self {
            work: WorkJson::of(&c.work),
            directories: c.directories,
        }
    }
}

/// A mounted file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MountJson {
    /// Its device number: `259:3`.
    pub device: Text,
    /// Where it is mounted.
    #[serde(rename = "system.filesystem.mountpoint")]
    pub mount_point: Text,
    /// `ext4`, `xfs`, ...
    #[serde(rename = "system.filesystem.type")]
    pub fs_type: Text,
    /// What is mounted, such as `/dev/sda1`.
    #[serde(rename = "system.device")]
    pub source: Text,
    /// Options of the mount.
    pub options: Text,
    /// Options of the file system.
    pub super_options: Text,
}

impl MountJson {
    pub(super) fn of(m: &Mount) -> Self {
        Self {
            device: number(m.device),
            mount_point: Text::name(&m.mount_point),
            fs_type: Text::name(&m.fs_type),
            source: Text::name(&m.source),
            options: Text::name(&m.options),
            super_options: Text::name(&m.super_options),
        }
    }
}

/// A file system and how full it is at the window's end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FileSystemJson {
    /// What and where it is; the first of several mounts.
    #[serde(flatten)]
    pub mount: MountJson,
    /// Further places where it is mounted.
    pub more_mounts: u64,
    /// Of an overlay: device number of the file system whose space it has; null for others.
    pub space_of: Option<Text>,
    /// Its size.
    pub total_bytes: u64,
    /// Free for users without privileges.
    pub available_bytes: u64,
    /// Inodes; null where there is no fixed number.
    pub inodes: Option<u64>,
    /// Free inodes; null where there is no fixed number.
    pub free_inodes: Option<u64>,
    /// How bytes went.
    pub bytes_trend: TrendJson,
    /// How inodes went; null where there is no fixed number.
    pub inodes_trend: Option<TrendJson>,
    /// What was free at moments of the window. Since 1.1.
    #[serde(default)]
    pub timeline: Vec<SpacePointJson>,
    /// How often it was asked.
    pub looks: u64,
    /// From the first look to the last.
    pub span_ns: u64,
}

impl FileSystemJson {
    fn of(f: &FileSystem) -> Self {
        let fixed = f.inodes > 0;
        Self {
            mount: MountJson {
                device: number(f.device),
                ..MountJson::of(&f.mount)
            },
            more_mounts: f.more_mounts,
            space_of: f.space_of.map(number),
            total_bytes: f.total_bytes,
            available_bytes: f.available_bytes,
            inodes: fixed.then_some(f.inodes),
            free_inodes: fixed.then_some(f.free_inodes),
            bytes_trend: TrendJson::of(&f.bytes),
            inodes_trend: fixed.then(|| TrendJson::of(&f.inodes_trend)),
            timeline: f
                .over_time
                .iter()
                .map(|point| SpacePointJson::of(point, fixed))
                .collect(),
            looks: f.looks,
            span_ns: f.span_ns,
        }
    }
}

/// What was free of a file system at a moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SpacePointJson {
    /// When, after the window's start.
    pub offset_ns: u64,
    /// Free for users without privileges.
    pub available_bytes: u64,
    /// Free inodes; null where there is no fixed number.
    pub free_inodes: Option<u64>,
}

impl SpacePointJson {
    fn of(p: &SpacePoint, fixed: bool) -> Self {
        Self {
            offset_ns: p.at_ns,
            available_bytes: p.available_bytes,
            free_inodes: fixed.then_some(p.free_inodes),
        }
    }
}

/// Taken per second, and how long the rest lasts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TrendJson {
    /// Taken per second from the first look to the last; negative when it was given back.
    pub per_s: f64,
    /// The same in the slowest quarter of that time; null with fewer than five looks.
    pub slowest_per_s: Option<f64>,
    /// The same in the fastest quarter of that time; null with fewer than five looks.
    pub fastest_per_s: Option<f64>,
    /// The least that was free at any look: bytes, or inodes.
    pub least_free: u64,
    /// Time until nothing is left at `per_s`; null when it does not shrink.
    pub time_left_ns: Option<u64>,
    /// The same at the fastest pace seen.
    pub soonest_ns: Option<u64>,
    /// The same at the slowest pace seen; null when it did not shrink all the time.
    pub latest_ns: Option<u64>,
}

impl TrendJson {
    fn of(t: &Trend) -> Self {
        // A cast from a float saturates.
        let ns = |seconds: f64| (seconds * 1e9) as u64;
        let between = t.left_between();
        Self {
            per_s: finite(t.per_s),
            slowest_per_s: t.range_per_s.map(|r| finite(r.0)),
            fastest_per_s: t.range_per_s.map(|r| finite(r.1)),
            least_free: t.least,
            time_left_ns: t.seconds_left.map(ns),
            soonest_ns: between.map(|(soonest, _)| ns(soonest)),
            latest_ns: between.and_then(|(_, latest)| latest).map(ns),
        }
    }
}

/// Calls of a team that were refused for want of space.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RefusedJson {
    /// Who.
    pub who: TeamJson,
    /// The system call.
    pub call: Text,
    /// `ENOSPC` or `EDQUOT`.
    #[serde(rename = "error.type")]
    pub error: Text,
    /// Device number of the file system; null where it is not known.
    pub device: Option<Text>,
    /// Where it is mounted; null where it is not known.
    pub mount_point: Option<Text>,
    /// What one of the calls was asked to create; null where none was.
    #[serde(rename = "file.path")]
    pub path: Option<Text>,
    /// How many.
    pub count: u64,
    /// The first, after the window's start.
    pub first_offset_ns: u64,
    /// The last, after the window's start.
    pub last_offset_ns: u64,
}

impl RefusedJson {
    fn of(r: &Refused) -> Self {
        Self {
            who: TeamJson::of(&r.team),
            call: r.call.into(),
            error: errno::name(r.errno).into(),
            device: r.device.map(number),
            mount_point: r.mount_point.as_deref().map(Text::name),
            path: (!r.path.is_empty()).then(|| Text::name(&r.path)),
            count: r.count,
            first_offset_ns: r.first_ns,
            last_offset_ns: r.last_ns,
        }
    }
}
