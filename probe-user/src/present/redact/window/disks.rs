//! The same for file systems and their journals.

use super::{Each, Names, Plain, Redact, decide, stays};
use crate::aggregate::{
    files::{Creator, Device, FileSystem, Files, Mount, Refused, Sizes, SpacePoint, Trend, Work},
    journal::{
        Asleep, Changes, CommitPoint, Commits, Disk, Journal, Sleep, Syncs, WaitsFor as Reason,
    },
};

// Numbers alone.
impl Plain for Device {}
impl Plain for Trend {}
impl Plain for Sizes {}
impl Plain for SpacePoint {}
impl Plain for CommitPoint {}
impl Plain for Reason {}

decide!(Files =>
    parts: places, other, creators, file_systems, not_asked, refused;
    stays: timeline, created, peak_per_s;
);

decide!(Work =>
    parts: team, syncs;
    dir: path;
    file: examples;
    stays: device, deleted, created, sizes, unlinked;
);

decide!(Creator =>
    parts: work;
    stays: directories;
);

decide!(FileSystem =>
    parts: mount;
    stays: device, more_mounts, space_of, total_bytes, available_bytes, inodes, free_inodes, bytes, inodes_trend,
        looks, span_ns, over_time;
);

decide!(Mount =>
    dir: mount_point, root;
    file_system: fs_type;
    source: source;
    options: options, super_options;
    stays: device;
);

decide!(Refused =>
    parts: team;
    dir: mount_point;
    file: path;
    stays: call, errno, device, count, first_ns, last_ns;
);

decide!(Journal =>
    parts: disks, unwatched, sleeps, asleep;
    prose: no_symbols;
);

decide!(Disk =>
    source: name;
    parts: mount, commits, syncs, changes;
    stays: device;
);

decide!(Commits =>
    parts: total, locking, flushing, logging, interval;
    stays: timeline, quantiles_ns, exact, sync, blocks_logged, under_way_ns;
);

decide!(Syncs =>
    parts: team, calls;
    stays: under_way, under_way_ns;
);

decide!(Changes =>
    parts: team;
    stays: handles, sync, blocks;
);

decide!(Sleep =>
    parts: team, sleeps;
    function: stack;
    stays: waits_for, asleep, asleep_ns;
);

decide!(Asleep =>
    app: comm;
    function: stack;
    stays: pid, tid, waits_for, for_ns;
);
