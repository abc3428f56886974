//! Files created are counted when an open() really created them, with their sizes, where they are.

use std::{
    fs,
    os::{fd::IntoRawFd as _, unix::ffi::OsStrExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::ensure;
use probe_common::{files::size_bucket, loss};
use probe_tests::{
    child::{self, Child},
    sys::{self, HERE},
};

use crate::{
    files_seen::{FilesWatch, Place, inode, mount, own_mounts},
    steps::report_and_stay,
};

const NEW: i32 = libc::O_CREAT | libc::O_WRONLY;

/// Runs a workload in a directory of its own, once on the file system of temporary files and once on a tmpfs of its
/// own; `check` is told what it sent, and the directory's inode first.
fn on_both(
    work: fn(&Path) -> Vec<u64>,
    check: impl Fn(&FilesWatch, u32, &[u64]) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    for tmpfs in [false, true] {
        let place = Place::new()?;
        let mut child = workload(place.0.clone(), tmpfs, work)?;
        let mut watch = FilesWatch::start()?;
        let answer = watch.watch(&mut child)?;
        check(&watch, child.pid, &answer)?;
    }
    Ok(())
}

fn workload(at: PathBuf, tmpfs: bool, work: fn(&Path) -> Vec<u64>) -> anyhow::Result<Child> {
    child::fork(move |link| {
        if tmpfs {
            own_mounts();
            mount("tmpfs", "tmpfs", &at, "size=64m");
        }
        sys::set_comm(b"maker");
        link.wait();
        let mut answer = vec![inode(&at)];
        answer.extend(work(&at));
        report_and_stay(link, &answer);
    })
}

fn close(fd: sys::Result<i32>) {
    sys::close(fd.expect("open")).expect("close");
}

pub fn only_what_open_really_created_counts() -> anyhow::Result<()> {
    fn work(at: &Path) -> Vec<u64> {
        for _ in 0..2 {
            // The second time they are there.
            close(sys::open(&at.join("open"), NEW));
            close(sys::creat(&at.join("creat")));
            close(sys::openat(HERE, &at.join("openat"), NEW));
            close(sys::openat2(HERE, &at.join("openat2"), NEW));
        }
        let dir = sys::open(at, libc::O_RDONLY | libc::O_DIRECTORY).expect("open");
        close(sys::openat(dir, Path::new("below"), NEW | libc::O_EXCL));
        let again = sys::openat(dir, Path::new("below"), NEW | libc::O_EXCL);
        assert_eq!(again, Err(libc::EEXIST));
        close(sys::openat(dir, Path::new("below"), libc::O_RDONLY));
        assert_eq!(
            sys::open(&at.join("none"), libc::O_RDONLY),
            Err(libc::ENOENT)
        );
        // Has no name, and is gone when it is closed.
        if let Ok(fd) = sys::open(at, libc::O_TMPFILE | libc::O_WRONLY) {
            sys::close(fd).expect("close");
        }
        Vec::new()
    }
    on_both(work, |watch, pid, answer| {
        let seen = watch.directory(pid, answer[0]);
        ensure!((seen.created, seen.sized) == (5, 5), "{seen:#?}");
        ensure!(
            seen.sizes.total_ns == 0 && seen.comm == b"maker",
            "{seen:#?}"
        );
        ensure!(
            seen.first_ns > 0 && seen.last_ns > seen.first_ns,
            "{seen:#?}"
        );
        let mut examples = seen.examples.clone();
        examples.sort();
        let expected: [&[u8]; 4] = [b"below", b"creat", b"openat", b"openat2"];
        ensure!(examples == expected, "{seen:#?}");
        ensure!(watch.of(pid).len() == 1, "{:#?}", watch.of(pid));
        Ok(())
    })
}

pub fn sizes_are_taken_at_the_close_of_their_creator() -> anyhow::Result<()> {
    const SIZES: [u64; 5] = [0, 1, 300, 5000, 100_000];
    fn work(at: &Path) -> Vec<u64> {
        let create = |name: &str, size: u64| {
            let fd = sys::open(&at.join(name), NEW).expect("open");
            let bytes = vec![b'x'; size as usize];
            assert_eq!(sys::write(fd, &bytes), Ok(size as i64));
            fd
        };
        for (i, size) in SIZES.iter().enumerate() {
            sys::close(create(&i.to_string(), *size)).expect("close");
        }
        // Closed by being replaced, and with a range of others.
        let null = sys::open(Path::new("/dev/null"), libc::O_RDONLY).expect("open");
        let fd = create("dup2", 7);
        assert_eq!(sys::dup2(null, fd), Ok(fd));
        let fd = create("dup3", 7);
        assert_eq!(sys::dup3(null, fd), Ok(fd));
        let (first, last) = (create("range", 7), create("range2", 7));
        // 5.9 has it, and a filter of the machine may not let it through.
        if sys::close_range(first, last).is_err() {
            sys::close(first).expect("close");
            sys::close(last).expect("close");
        }
        // Not known: somebody else has the file, or nobody closes it.
        let fd = create("dup", 7);
        let other = sys::dup(fd).expect("dup");
        sys::close(fd).expect("close");
        sys::write(other, b"more").expect("write");
        sys::close(other).expect("close");
        create("open", 7);
        Vec::new()
    }
    on_both(work, |watch, pid, answer| {
        let seen = watch.directory(pid, answer[0]);
        let known = SIZES.len() as u64 + 4;
        ensure!(
            (seen.created, seen.sized) == (known + 2, known),
            "{seen:#?}"
        );
        let total = SIZES.iter().sum::<u64>() + 4 * 7;
        ensure!(seen.sizes.total_ns == total, "{seen:#?}");
        ensure!(seen.sizes.max_ns == 100_000, "{seen:#?}");
        let mut hist = vec![0u32; 200];
        for size in SIZES.iter().chain([&7; 4]) {
            hist[size_bucket(*size) as usize] += 1;
        }
        let hist: Vec<_> = (0..).zip(hist).filter(|(_, n)| *n > 0).collect();
        ensure!(
            *seen.sizes.hist == hist,
            "{:?}, not {hist:?}",
            seen.sizes.hist
        );
        Ok(())
    })
}

pub fn threads_and_processes_are_added_up_exactly() -> anyhow::Result<()> {
    const THREADS: u64 = 4;
    const EACH: u64 = 500;
    fn work(at: &Path) -> Vec<u64> {
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                scope.spawn(move || {
                    for i in 0..EACH {
                        let fd = sys::openat(HERE, &at.join(format!("{thread}-{i}")), NEW);
                        let fd = fd.expect("openat");
                        assert_eq!(sys::write(fd, b"0123456789"), Ok(10));
                        sys::close(fd).expect("close");
                        if i % 2 == 0 {
                            sys::unlink(&at.join(format!("{thread}-{i}"))).expect("unlink");
                        }
                    }
                });
            }
        });
        Vec::new()
    }
    on_both(work, |watch, pid, answer| {
        let seen = watch.directory(pid, answer[0]);
        let all = THREADS * EACH;
        ensure!(seen.created == all && seen.sized == all, "{seen:#?}");
        ensure!(seen.sizes.total_ns == 10 * all, "{seen:#?}");
        ensure!(seen.unlinked == all / 2, "{seen:#?}");
        ensure!(
            *seen.sizes.hist == [(size_bucket(10) as u8, all as u32)],
            "{seen:#?}"
        );
        let steps = &watch.files.steps;
        ensure!(!steps.is_empty(), "no step");
        let told = steps
            .windows(2)
            .all(|w| w[1].at_ns - w[0].at_ns >= 99_000_000 && w[1].created > w[0].created);
        ensure!(told, "{steps:?}");
        Ok(())
    })
}

pub fn paths_are_deep_and_long_and_of_any_bytes() -> anyhow::Result<()> {
    fn work(at: &Path) -> Vec<u64> {
        use std::os::unix::ffi::OsStrExt as _;
        let odd = at.join(std::ffi::OsStr::from_bytes(b"a\n\xff\x1b[31m b"));
        fs::create_dir(&odd).expect("mkdir");
        let long = odd.join("l".repeat(255));
        fs::create_dir(&long).expect("mkdir");
        let mut deep = at.to_owned();
        for i in 0..30 {
            deep = deep.join(format!("d{i}"));
            fs::create_dir(&deep).expect("mkdir");
        }
        for dir in [&odd, &long, &deep] {
            // Relative, so that the path that is passed tells nothing.
            std::env::set_current_dir(dir).expect("chdir");
            close(sys::openat(HERE, Path::new("f"), NEW));
        }
        vec![inode(&odd), inode(&long), inode(&deep)]
    }
    on_both(work, |watch, pid, answer| {
        let path = |inode| {
            let seen = watch.directory(pid, inode);
            assert_eq!(seen.created, 1, "{seen:#?}");
            seen.path.unwrap_or_default()
        };
        let odd = b"/a\n\xff\x1b[31m b".to_vec();
        ensure!(path(answer[1]).ends_with(&odd), "{:?}", path(answer[1]));
        let long = [odd, b"/".to_vec(), vec![b'l'; 255]].concat();
        ensure!(path(answer[2]).ends_with(&long), "{:?}", path(answer[2]));
        let deep = String::from_utf8(path(answer[3]))?;
        ensure!(
            deep.starts_with(".../d6/d7/") && deep.ends_with("/d28/d29"),
            "{deep}"
        );
        Ok(())
    })
}

pub fn a_path_and_a_mount_make_the_path_that_the_process_uses() -> anyhow::Result<()> {
    fn work(at: &Path) -> Vec<u64> {
        let dir = at.join("a/b");
        fs::create_dir_all(&dir).expect("mkdir");
        close(sys::openat(HERE, &dir.join("f"), NEW));
        vec![inode(&dir)]
    }
    for tmpfs in [false, true] {
        let place = Place::new()?;
        let mut child = workload(place.0.clone(), tmpfs, work)?;
        let mut watch = FilesWatch::start()?;
        let answer = watch.watch(&mut child)?;
        let seen = watch.directory(child.pid, answer[1]);
        let path = seen.path.clone().unwrap_or_default();
        let mounts = watch
            .files
            .mounts
            .iter()
            .filter(|m| m.device == seen.device);
        let shown: Vec<PathBuf> = mounts
            .filter_map(|m| {
                let rest = match m.root.as_slice() {
                    b"/" => &path[..],
                    root => path.strip_prefix(root)?,
                };
                let rest = std::ffi::OsStr::from_bytes(rest.strip_prefix(b"/")?);
                Some(Path::new(std::ffi::OsStr::from_bytes(&m.mount_point)).join(rest))
            })
            .collect();
        ensure!(shown.contains(&place.0.join("a/b")), "{shown:?} {seen:#?}");
        if tmpfs {
            let mut uses = watch.files.uses.iter().flat_map(|u| &u.file_systems);
            let last = uses.rfind(|u| u.device == seen.device);
            ensure!(last.is_some_and(|u| u.total_bytes == 64 << 20), "{last:?}");
        }
    }
    Ok(())
}

pub fn a_removed_directory_is_marked() -> anyhow::Result<()> {
    fn work(at: &Path) -> Vec<u64> {
        let dir = at.join("gone");
        fs::create_dir(&dir).expect("mkdir");
        let number = inode(&dir);
        let fd = sys::openat(HERE, &dir.join("f"), NEW).expect("openat");
        sys::unlink(&dir.join("f")).expect("unlink");
        fs::remove_dir(&dir).expect("rmdir");
        sys::fsync(fd).expect("fsync");
        sys::close(fd).expect("close");
        vec![number]
    }
    on_both(work, |watch, pid, answer| {
        let seen = watch.directory(pid, answer[1]);
        ensure!(
            seen.deleted && seen.created == 1 && seen.syncs.count == 1,
            "{seen:#?}"
        );
        // Its path is looked up when the directory is gone: by its text.
        ensure!(seen.unlinked == 1, "{:#?}", watch.of(pid));
        Ok(())
    })
}

pub fn every_unlink_finds_its_directory() -> anyhow::Result<()> {
    fn work(at: &Path) -> Vec<u64> {
        let real = at.join("real");
        fs::create_dir(&real).expect("mkdir");
        std::os::unix::fs::symlink(&real, at.join("link")).expect("symlink");
        for name in ["1", "2", "3", "4", "5", "6"] {
            close(sys::openat(HERE, &real.join(name), NEW));
        }
        let dir = fs::File::open(&real).expect("open").into_raw_fd();
        std::env::set_current_dir(at).expect("chdir");
        sys::unlink(&real.join("1")).expect("unlink");
        sys::unlinkat(dir, Path::new("2"), 0).expect("unlinkat");
        sys::unlink(&at.join("link//3")).expect("unlink");
        sys::unlink(Path::new("real/4")).expect("unlink");
        std::env::set_current_dir(&real).expect("chdir");
        sys::unlink(Path::new("5")).expect("unlink");
        std::env::set_current_dir(at).expect("chdir");
        // No file goes with these.
        assert_eq!(sys::unlink(&real.join("none")), Err(libc::ENOENT));
        fs::create_dir(at.join("empty")).expect("mkdir");
        let removed = sys::unlinkat(HERE, &at.join("empty"), libc::AT_REMOVEDIR);
        removed.expect("unlinkat");
        vec![inode(&real)]
    }
    on_both(work, |watch, pid, answer| {
        let seen = watch.directory(pid, answer[1]);
        ensure!(
            (seen.created, seen.unlinked) == (6, 5),
            "{:#?}",
            watch.of(pid)
        );
        let elsewhere = watch.of(pid).iter().any(|d| d.inode != answer[1]);
        ensure!(!elsewhere, "{:#?}", watch.of(pid));
        Ok(())
    })
}

pub fn syncs_are_timed_by_directory() -> anyhow::Result<()> {
    fn work(at: &Path) -> Vec<u64> {
        let dir = at.join("synced");
        fs::create_dir(&dir).expect("mkdir");
        // There before; and without a creation in it.
        let fd = sys::openat(HERE, &at.join("f"), libc::O_CREAT | libc::O_RDWR).expect("openat");
        fs::rename(at.join("f"), dir.join("f")).expect("rename");
        let folder = sys::open(&dir, libc::O_RDONLY).expect("open");
        let mut longest = 0;
        let began = sys::now_ns();
        let mut took = |one: sys::Result<()>, since: u64| {
            one.expect("sync");
            longest = longest.max(sys::now_ns() - since);
        };
        for _ in 0..7 {
            sys::write(fd, b"x").expect("write");
            let since = sys::now_ns();
            took(sys::fsync(fd), since);
            let since = sys::now_ns();
            took(sys::fdatasync(fd), since);
        }
        let since = sys::now_ns();
        took(sys::fsync(folder), since);
        let all = sys::now_ns() - began;
        assert_eq!(sys::fsync(9999), Err(libc::EBADF));
        let mut pipe = [0; 2];
        // SAFETY: writes two descriptors.
        assert_eq!(unsafe { libc::pipe(pipe.as_mut_ptr()) }, 0);
        assert_eq!(sys::fsync(pipe[0]), Err(libc::EINVAL));
        vec![inode(&dir), longest, all]
    }
    on_both(work, |watch, pid, answer| {
        let seen = watch.directory(pid, answer[1]);
        let syncs = &seen.syncs;
        ensure!((seen.created, syncs.count) == (0, 15), "{seen:#?}");
        ensure!(syncs.max_ns <= answer[2] && syncs.max_ns > 0, "{seen:#?}");
        ensure!(
            syncs.total_ns <= answer[3] && syncs.total_ns >= syncs.max_ns,
            "{seen:#?}"
        );
        let counted: u32 = syncs.hist.iter().map(|(_, n)| n).sum();
        ensure!(counted == 15, "{seen:#?}");
        Ok(())
    })
}

pub fn a_full_table_adds_up_under_other_directories() -> anyhow::Result<()> {
    const DIRECTORIES: u64 = 3000;
    fn work(at: &Path) -> Vec<u64> {
        for i in 0..DIRECTORIES {
            let dir = at.join(i.to_string());
            fs::create_dir(&dir).expect("mkdir");
            let fd = sys::openat(HERE, &dir.join("f"), NEW).expect("openat");
            sys::write(fd, b"abc").expect("write");
            sys::close(fd).expect("close");
        }
        Vec::new()
    }
    let place = Place::new()?;
    let mut child = workload(place.0.clone(), true, work)?;
    let mut watch = FilesWatch::start()?;
    // Nobody makes room meanwhile.
    child.go()?;
    child.recv()?;
    watch.read()?;
    let told_apart = watch.of(child.pid);
    let own: u64 = told_apart.iter().map(|d| d.created).sum();
    let other = watch.directory(0, 0);
    let lost = watch.losses[loss::slot::DIRECTORIES_FULL as usize];
    ensure!(
        own == told_apart.len() as u64 && own > 1900,
        "{own} told apart"
    );
    // Others of this machine may have created files there meanwhile.
    let rest = DIRECTORIES - own;
    ensure!(
        other.created >= rest && other.sized >= rest,
        "{own} and {other:#?}"
    );
    ensure!(
        lost >= other.created && other.path.is_none(),
        "{lost} lost, {other:#?}"
    );
    Ok(())
}

pub fn we_are_not_seen() -> anyhow::Result<()> {
    let place = Place::new()?;
    let mut watch = FilesWatch::start()?;
    fs::write(place.0.join("ours"), b"x")?;
    std::thread::sleep(Duration::from_millis(10));
    fs::remove_file(place.0.join("ours"))?;
    watch.read()?;
    ensure!(
        watch.of(std::process::id()).is_empty(),
        "{:#?}",
        watch.of(std::process::id())
    );
    Ok(())
}
