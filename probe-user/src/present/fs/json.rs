//! Files and journals as JSON: types of their own, as the rest of the format.

mod files;
mod journal;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    aggregate::{Team, Timed, files::Device},
    present::json::{Bucket, Text, buckets},
};

pub use files::{
    CreatedPointJson, CreatorJson, FileSystemJson, FilesJson, MountJson, RefusedJson, SizesJson,
    SpacePointJson, TrendJson, WorkJson,
};
pub use journal::{
    AsleepJson, ChangesJson, CommitPointJson, CommitsJson, DiskJson, JournalJson, SleepJson,
    SyncsJson,
};

/// Processes that do the same work: the workers of a PHP-FPM pool, or the processes of one name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TeamJson {
    /// The pool's name, or the process name; null for other processes.
    pub name: Option<Text>,
    /// True for a PHP-FPM pool.
    pub php_fpm: bool,
    /// How many there were.
    pub processes: u64,
    /// The busiest, at most 8.
    pub pids: Vec<u32>,
}

impl TeamJson {
    fn of(t: &Team) -> Self {
        Self {
            name: (!t.name.is_empty()).then(|| Text::name(&t.name)),
            php_fpm: t.php_fpm,
            processes: t.processes,
            pids: t.pids.clone(),
        }
    }
}

/// How often and how long.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TimedJson {
    /// How often.
    pub count: u64,
    /// Of these: failed.
    pub failed: u64,
    /// All together.
    pub total_ns: u64,
    /// The longest.
    pub max_ns: u64,
    /// Each.
    pub duration: Vec<Bucket>,
}

impl TimedJson {
    fn of(t: &Timed) -> Self {
        Self {
            count: t.count,
            failed: t.failed,
            total_ns: t.total_ns,
            max_ns: t.max_ns,
            duration: buckets(&t.durations),
        }
    }
}

/// `259:3`.
fn number(device: Device) -> Text {
    format!("{}:{}", device.major, device.minor).into()
}
