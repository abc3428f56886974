//! Calls refused for want of space or inodes are counted exactly, by process, call and file system.

use std::{collections::BTreeMap, fs, os::unix::fs::MetadataExt as _, path::Path};

use anyhow::ensure;
use probe_tests::{
    child,
    ext4::Ext4,
    sys::{self, HERE},
};
use stallscope::collect::files::Device;

use crate::{
    files_seen::{FilesWatch, Place, mount, own_mounts},
    steps::report_and_stay,
};

const NEW: i32 = libc::O_CREAT | libc::O_WRONLY;
const FULL: sys::Result<i32> = Err(libc::ENOSPC);

/// The device number of a path's file system, taken apart as libc has it.
fn device(path: &Path) -> [u64; 2] {
    let dev = fs::metadata(path).expect("metadata").dev();
    [u64::from(libc::major(dev)), u64::from(libc::minor(dev))]
}

/// Every call that makes something new, on a file system without inodes left.
fn every_maker(at: &Path) {
    let dir = sys::open(at, libc::O_RDONLY | libc::O_DIRECTORY).expect("open");
    let (there, new) = (at.join("0"), Path::new("new"));
    std::env::set_current_dir(at).expect("chdir");
    let full = Err(libc::ENOSPC);
    assert_eq!(sys::open(&at.join("new"), NEW), FULL);
    assert_eq!(sys::creat(new), FULL);
    for _ in 0..3 {
        assert_eq!(sys::openat(HERE, &at.join("new"), NEW), FULL);
    }
    assert_eq!(sys::openat2(dir, new, NEW), FULL);
    assert_eq!(sys::make(libc::SYS_mkdir, &at.join("new")), full);
    assert_eq!(sys::make(libc::SYS_mknod, new), full);
    assert_eq!(sys::make_at(libc::SYS_mkdirat, dir, new), full);
    assert_eq!(sys::make_at(libc::SYS_mknodat, dir, new), full);
    assert_eq!(sys::name(libc::SYS_symlink, &there, new), full);
    assert_eq!(sys::symlinkat(&there, dir, new), full);
    // What was there already can be opened.
    sys::close(sys::open(&there, NEW).expect("open")).expect("close");
}

const MAKERS: &[(&str, u64)] = &[
    ("creat", 1),
    ("mkdir", 1),
    ("mkdirat", 1),
    ("mknod", 1),
    ("mknodat", 1),
    ("open", 1),
    ("openat", 3),
    ("openat2", 1),
    ("symlink", 1),
    ("symlinkat", 1),
];

fn expected(list: &[&[(&str, u64)]]) -> BTreeMap<String, u64> {
    let all = list.iter().flat_map(|part| part.iter());
    all.map(|(call, n)| ((*call).to_owned(), *n)).collect()
}

/// Checks what was refused to a process: counts by call, and every row's file system.
fn check(
    watch: &FilesWatch,
    pid: u32,
    on: &[u64],
    expected: &BTreeMap<String, u64>,
) -> anyhow::Result<()> {
    let rows = watch.files.refused.iter().filter(|r| r.pid == pid);
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let device = Device {
        major: on[0] as u32,
        minor: on[1] as u32,
    };
    for row in rows {
        *counts.entry(row.call.to_owned()).or_default() += row.count;
        ensure!(row.errno == libc::ENOSPC as u32, "{row:?}");
        ensure!(row.device == Some(device), "{row:?}, not on {device:?}");
        ensure!(row.first_ns > 0 && row.last_ns >= row.first_ns, "{row:?}");
        let writes = row.call.contains("write") || row.call == "fallocate";
        ensure!(writes == row.path.is_empty(), "{row:?}");
        ensure!(writes || row.path.ends_with(b"new"), "{row:?}");
    }
    ensure!(counts == *expected, "{counts:#?}, not {expected:#?}");
    Ok(())
}

pub fn a_full_tmpfs_is_counted_exactly() -> anyhow::Result<()> {
    let place = Place::new()?;
    let at = place.0.clone();
    let mut child = child::fork(move |link| {
        own_mounts();
        mount("tmpfs", "tmpfs", &at, "size=64k,nr_inodes=8");
        link.wait();
        // One inode is the root's.
        for i in 0..7 {
            let fd = sys::openat(HERE, &at.join(i.to_string()), NEW).expect("openat");
            sys::close(fd).expect("close");
        }
        every_maker(&at);
        // Names cost inodes on tmpfs; on most others they do not.
        assert_eq!(
            sys::name(libc::SYS_link, &at.join("0"), Path::new("new")),
            Err(libc::ENOSPC)
        );
        let linked = sys::name_at(libc::SYS_linkat, &at.join("0"), HERE, &at.join("new"));
        assert_eq!(linked, Err(libc::ENOSPC));
        let fd = sys::open(&at.join("1"), NEW).expect("open");
        assert_eq!(sys::write(fd, &[0; 64 << 10]), Ok(64 << 10));
        for _ in 0..5 {
            assert_eq!(sys::write(fd, b"x"), Err(libc::ENOSPC));
        }
        assert_eq!(sys::pwrite64(fd, b"x", 64 << 10), Err(libc::ENOSPC));
        assert_eq!(sys::writev(fd, &mut [0; 2]), Err(libc::ENOSPC));
        assert_eq!(sys::fallocate(fd, 128 << 10), Err(libc::ENOSPC));
        report_and_stay(link, &device(&at));
    })?;
    let mut watch = FilesWatch::start()?;
    let on = watch.watch(&mut child)?;
    let writes = &[
        ("fallocate", 1),
        ("link", 1),
        ("linkat", 1),
        ("pwrite64", 1),
        ("write", 5),
        ("writev", 1),
    ];
    check(&watch, child.pid, &on, &expected(&[MAKERS, writes]))
}

pub fn a_small_ext4_runs_out_of_inodes_with_blocks_free() -> anyhow::Result<()> {
    let disk = Ext4::with_inodes(64)?;
    let at = disk.dir.clone();
    let mut child = child::fork(move |link| {
        link.wait();
        let mut created = 0;
        loop {
            match sys::openat(HERE, &at.join(created.to_string()), NEW) {
                Ok(fd) => sys::close(fd).expect("close"),
                Err(errno) => {
                    assert_eq!(errno, libc::ENOSPC);
                    break;
                }
            }
            created += 1;
        }
        every_maker(&at);
        let on = device(&at);
        report_and_stay(link, &[on[0], on[1], created]);
    })?;
    let mut watch = FilesWatch::start()?;
    let answer = watch.watch(&mut child)?;
    let mut expected = expected(&[MAKERS]);
    // The one that found the end; its path ends otherwise, so it is taken out first.
    watch.files.refused.retain_mut(|row| {
        if row.call == "openat" && row.pid == child.pid && !row.path.ends_with(b"new") {
            row.path = b"new".to_vec();
        }
        true
    });
    *expected.entry("openat".to_owned()).or_default() += 1;
    check(&watch, child.pid, &answer[..2], &expected)?;
    let created: u64 = watch.of(child.pid).iter().map(|d| d.created).sum();
    ensure!(created == answer[2], "{created}, not {}", answer[2]);
    let mut uses = watch.files.uses.iter().flat_map(|u| &u.file_systems);
    let device = Device {
        major: answer[0] as u32,
        minor: answer[1] as u32,
    };
    let last = uses.rfind(|u| u.device == device);
    let Some(last) = last else {
        anyhow::bail!("{device:?} was not asked: {:#?}", watch.files.uses.last());
    };
    ensure!(last.free_inodes == 0 && last.inodes >= 64, "{last:?}");
    ensure!(last.free_bytes > 8 << 20, "{last:?}");
    Ok(())
}
