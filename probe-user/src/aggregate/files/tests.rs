//! Readings in, files of a window out.

use super::*;
use crate::{
    aggregate::{
        fixture::{MS, S, START, worker},
        identity::Processes,
    },
    collect::{
        CallSum,
        files::{self, Directory, FilesReading, FsUse, Step, Uses},
    },
};

const DISK: Device = Device { major: 8, minor: 1 };

fn directory(pid: u32, inode: u64, path: &str, created: u64) -> Directory {
    Directory {
        pid,
        comm: b"php-fpm8.2".to_vec(),
        device: DISK,
        inode,
        path: Some(path.into()),
        created,
        sized: created,
        sizes: CallSum {
            count: created,
            total_ns: created * 1200,
            max_ns: 1300,
            hist: [(probe_common::files::size_bucket(1200) as u8, created as u32)].into(),
            ..CallSum::default()
        },
        examples: vec![b"x.css".to_vec()],
        ..Directory::default()
    }
}

fn uses(second: u64, free_inodes: u64) -> Uses {
    Uses {
        at_ns: START + second * S,
        file_systems: vec![FsUse {
            device: DISK,
            total_bytes: 1_000_000,
            free_bytes: 600_000,
            available_bytes: 550_000,
            inodes: 5000,
            free_inodes,
        }],
        not_asked: Vec::new(),
    }
}

fn reading(directories: Vec<Directory>) -> FilesReading {
    FilesReading {
        directories,
        mounts: vec![fixture::mount(DISK, "ext4", "/dev/sda1", "/var")],
        ..FilesReading::default()
    }
}

fn pool() -> Processes {
    let mut processes = Processes::default();
    processes.learn(&[worker(7), worker(8)]);
    processes
}

#[test]
fn workers_of_a_pool_are_one_row_and_only_what_grew_counts() {
    let mut fold = FilesFold::default();
    fold.set_base(&reading(vec![
        directory(7, 2, "/css", 100),
        directory(9, 3, "/old", 9),
    ]));
    let mut later = reading(vec![
        directory(7, 2, "/css", 400),
        directory(8, 2, "/css", 200),
        directory(9, 3, "/old", 9),
    ]);
    later.directories[1].unlinked = 50;
    fold.push(later);
    let files = fold.finish((START, START + 10 * S), &pool());
    assert_eq!(files.created, 500);
    let [place] = files.places.as_slice() else {
        panic!("{:?}", files.places)
    };
    assert_eq!(place.path.as_deref(), Some(&b"/var/css"[..]));
    assert_eq!(
        (place.team.name.as_slice(), place.team.php_fpm),
        (&b"www"[..], true)
    );
    assert_eq!(
        (place.team.processes, place.team.pids.as_slice()),
        (2, &[7, 8][..])
    );
    assert_eq!(
        (place.created, place.unlinked, place.grown()),
        (500, 50, 450)
    );
    assert_eq!((place.sizes.count, place.sizes.mean_bytes()), (500, 1200));
    assert!((1024..=1300).contains(&place.sizes.quantile(0.5)));
    assert_eq!(place.examples, [b"x.css", b"x.css"]);
    // A window that follows starts from here.
    let next = fold
        .successor()
        .finish((START + 10 * S, START + 11 * S), &pool());
    assert_eq!((next.created, next.places.len()), (0, 0));
}

#[test]
fn directories_known_by_their_paths_are_told_apart() {
    let by_path = |path: &str| Directory {
        unlinked: 3,
        ..directory(7, 0, path, 0)
    };
    let mut fold = FilesFold::default();
    fold.push(reading(vec![by_path("/a"), by_path("/b")]));
    let files = fold.finish((START, START + S), &pool());
    let paths: Vec<_> = files
        .places
        .iter()
        .map(|p| p.path.clone().unwrap())
        .collect();
    assert_eq!(paths, [b"/var/a".to_vec(), b"/var/b".to_vec()]);
}

#[test]
fn many_directories_are_bounded_and_nothing_is_dropped() {
    let rows = (0..1000).map(|n| directory(7, n, &format!("/cache/{n:03x}"), 1 + n % 3));
    let mut fold = FilesFold::default();
    fold.push(reading(rows.collect()));
    let files = fold.finish((START, START + S), &pool());
    assert_eq!(files.places.len(), MAX_FILE_ROWS);
    let listed: u64 = files.places.iter().map(|p| p.created).sum();
    assert_eq!(listed + files.other.created, files.created);
    let [creator] = files.creators.as_slice() else {
        panic!("{:?}", files.creators.len())
    };
    assert_eq!(creator.work.path.as_deref(), Some(&b"/var/cache"[..]));
    assert_eq!(
        (creator.work.created, creator.directories),
        (files.created, 1000)
    );
}

#[test]
fn the_time_left_comes_from_the_looks() {
    let mut fold = FilesFold::default();
    for second in 0..=10 {
        let mut reading = reading(Vec::new());
        reading.uses = vec![uses(second, 1000 - 30 * second)];
        fold.push(reading);
    }
    let files = fold.finish((START, START + 10 * S), &Processes::default());
    let [fs] = files.file_systems.as_slice() else {
        panic!("{:?}", files.file_systems)
    };
    assert_eq!((fs.looks, fs.span_ns), (11, 10 * S));
    assert_eq!(fs.inodes_trend.per_s, 30.0);
    assert_eq!(fs.inodes_trend.seconds_left, Some(700.0 / 30.0));
    assert_eq!(fs.bytes.seconds_left, None);
    assert_eq!(fs.ends(), Some((700.0 / 30.0, true)));
    assert_eq!(fs.mount.mount_point, b"/var");
    // The next window has the last look as its first.
    let mut next = fold.successor();
    let mut last = reading(Vec::new());
    last.uses = vec![uses(12, 600)];
    next.push(last);
    let files = next.finish((START + 10 * S, START + 12 * S), &Processes::default());
    assert_eq!(files.file_systems[0].inodes_trend.per_s, 50.0);
    assert_eq!(files.file_systems[0].looks, 2);
    let free = files.file_systems[0].over_time.iter();
    let free: Vec<(u64, u64)> = free.map(|p| (p.at_ns, p.free_inodes)).collect();
    assert_eq!(free[0].0, 0, "{free:?}");
    assert_eq!(free.len(), 2);
}

#[test]
fn what_was_unmounted_is_gone() {
    let mut fold = FilesFold::default();
    let mut first = reading(Vec::new());
    first.uses = vec![
        uses(0, 10),
        Uses {
            at_ns: START + S,
            ..Uses::default()
        },
    ];
    fold.push(first);
    let files = fold.finish((START, START + S), &Processes::default());
    assert!(files.file_systems.is_empty());
}

#[test]
fn an_overlay_has_the_space_of_what_it_lies_on() {
    let overlay = Device {
        major: 0,
        minor: 50,
    };
    let mut reading = reading(Vec::new());
    reading
        .mounts
        .push(fixture::mount(overlay, "overlay", "overlay", "/merged"));
    let mut look = uses(0, 10);
    look.file_systems.push(FsUse {
        device: overlay,
        ..look.file_systems[0]
    });
    reading.uses = vec![look];
    let mut fold = FilesFold::default();
    fold.push(reading);
    let files = fold.finish((START, START + S), &Processes::default());
    let of = |device| {
        files
            .file_systems
            .iter()
            .find(|f| f.device == device)
            .unwrap()
    };
    assert_eq!(of(overlay).space_of, Some(DISK));
    assert_eq!(of(DISK).space_of, None);
}

#[test]
fn the_peak_is_that_of_the_steps() {
    let mut fold = FilesFold::default();
    let mut reading = reading(Vec::new());
    reading.steps = (0..=5)
        .map(|n| Step {
            at_ns: START + n * 100 * MS,
            created: 60 * n,
        })
        .collect();
    fold.push(reading);
    let files = fold.finish((START, START + S), &Processes::default());
    assert_eq!(files.peak_per_s, 600.0);
    assert_eq!(
        fold.successor()
            .finish((START, START), &Processes::default())
            .peak_per_s,
        0.0
    );
}

#[test]
fn refused_calls_are_counted_by_team_and_file_system() {
    let refused = |pid, device, path: &str, count| files::Refused {
        pid,
        comm: b"php-fpm8.2".to_vec(),
        call: "openat",
        errno: libc::ENOSPC as u32,
        device,
        path: path.into(),
        count,
        first_ns: START + S,
        last_ns: START + 2 * S,
    };
    let mut fold = FilesFold::default();
    let mut base = reading(Vec::new());
    base.refused = vec![refused(7, None, "/var/css/a", 4)];
    fold.set_base(&base);
    let mut later = reading(Vec::new());
    later.refused = vec![
        refused(7, None, "/var/css/a", 5),
        refused(8, Some(DISK), "/var/css/b", 10),
        refused(8, None, "relative", 1),
    ];
    fold.push(later);
    let files = fold.finish((START, START + 10 * S), &pool());
    let [most, unknown] = files.refused.as_slice() else {
        panic!("{:?}", files.refused)
    };
    assert_eq!((most.count, most.device), (11, Some(DISK)));
    assert_eq!(most.mount_point.as_deref(), Some(&b"/var"[..]));
    assert_eq!(most.path, b"/var/css/a");
    assert_eq!((most.first_ns, most.last_ns), (S, 2 * S));
    assert_eq!((unknown.count, unknown.device), (1, None));
}
