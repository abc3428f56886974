//! Target resolution on a `/proc` and a `/sys/fs/cgroup` made of plain files.

use std::{ffi::OsString, fs, path::Path};

use super::*;

struct Fixture {
    dir: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("proc/self")).unwrap();
        fs::create_dir_all(dir.path().join("cgroup")).unwrap();
        Self { dir }
    }

    fn proc(&self) -> Proc {
        Proc {
            root: self.dir.path().join("proc"),
            cgroups: self.dir.path().join("cgroup"),
        }
    }

    fn process(&self, pid: u32, ppid: u32, start: u64, comm: &[u8], cmdline: &[u8]) -> &Self {
        self.state(pid, ppid, start, comm, cmdline, "S")
    }

    fn state(
        &self,
        pid: u32,
        ppid: u32,
        start: u64,
        comm: &[u8],
        cmdline: &[u8],
        state: &str,
    ) -> &Self {
        let dir = self.dir.path().join("proc").join(pid.to_string());
        fs::create_dir_all(&dir).unwrap();
        let mut stat = format!("{pid} (").into_bytes();
        stat.extend_from_slice(comm);
        stat.extend_from_slice(
            format!(") {state} {ppid} 1 1 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 {start} 1 1\n")
                .as_bytes(),
        );
        fs::write(dir.join("stat"), stat).unwrap();
        fs::write(dir.join("comm"), [comm, b"\n"].concat()).unwrap();
        fs::write(dir.join("cmdline"), cmdline).unwrap();
        fs::write(
            dir.join("status"),
            format!("Name:\tx\nTgid:\t{pid}\nPid:\t{pid}\n"),
        )
        .unwrap();
        self
    }

    fn end(&self, pid: u32) {
        fs::remove_dir_all(self.dir.path().join("proc").join(pid.to_string())).unwrap();
    }

    fn cgroup(&self, path: &str, procs: &str) -> &Self {
        let dir = self.dir.path().join("cgroup").join(path);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("cgroup.procs"), procs).unwrap();
        self
    }

    /// A PHP-FPM with pools www (two workers) and api (one), padded titles, and another one with www only.
    fn fpm() -> Self {
        let fixture = Self::new();
        fixture
            .process(1, 0, 1, b"systemd", b"/sbin/init\0")
            .process(
                100,
                1,
                50,
                b"php-fpm8.2",
                b"php-fpm: master process (/etc/php/8.2/fpm/php-fpm.conf)\0",
            )
            .process(101, 100, 60, b"php-fpm8.2", b"php-fpm: pool www\0\0\0\0")
            .process(102, 100, 61, b"php-fpm8.2", b"php-fpm: pool www     ")
            .process(103, 100, 62, b"php-fpm8.2", b"php-fpm: pool api\0")
            .process(
                200,
                1,
                70,
                b"php-fpm8.3",
                b"php-fpm: master process (/etc/php/8.3/fpm/php-fpm.conf)\0",
            )
            .process(201, 200, 71, b"php-fpm8.3", b"php-fpm: pool www\0");
        fixture
    }

    fn resolve(&self, named: &Targets) -> Result<Target, String> {
        Target::resolve(self.proc(), named).map_err(|error| {
            let text = error.to_string();
            assert!(!text.contains('\n'), "{text:?}");
            text
        })
    }
}

fn pids(pids: &[u32]) -> Targets {
    Targets {
        pids: pids.to_vec(),
        ..Targets::default()
    }
}

fn comm(name: &[u8]) -> Targets {
    Targets {
        comms: vec![OsString::from_vec(name.to_vec())],
        ..Targets::default()
    }
}

fn pool(name: &str) -> Targets {
    Targets {
        pools: vec![name.into()],
        ..Targets::default()
    }
}

fn cgroup(path: impl AsRef<Path>) -> Targets {
    Targets {
        cgroups: vec![path.as_ref().into()],
        ..Targets::default()
    }
}

#[test]
fn nothing_named_means_all() {
    let fixture = Fixture::fpm();
    let target = fixture.resolve(&Targets::default()).unwrap();
    assert!(target.is_all());
    assert_eq!(target.words(), "all processes");
    assert!(target.pids().unwrap().is_empty());
}

#[test]
fn an_unknown_pid_is_refused() {
    let fixture = Fixture::fpm();
    assert_eq!(
        fixture.resolve(&pids(&[101, 4711])).unwrap_err(),
        "no process 4711: it ended or never was"
    );
}

#[test]
fn a_pid_that_is_reused_is_another_process() {
    let fixture = Fixture::fpm();
    let target = fixture.resolve(&pids(&[101, 103])).unwrap();
    assert!(target.is_pids_only());
    assert_eq!(target.words(), "pid 101, pid 103");
    assert_eq!(target.pids().unwrap(), [101, 103]);
    fixture.process(101, 1, 999, b"cron", b"cron\0");
    assert_eq!(target.pids().unwrap(), [103]);
    fixture.end(103);
    assert!(target.pids().unwrap().is_empty());
}

#[test]
fn a_zombie_and_a_thread_are_not_processes() {
    let fixture = Fixture::fpm();
    fixture.state(300, 1, 80, b"gone", b"", "Z");
    let error = fixture.resolve(&pids(&[300])).unwrap_err();
    assert!(error.contains("process 300 has ended"), "{error}");
    assert!(fixture.resolve(&comm(b"gone")).is_err());
    fs::write(
        fixture.dir.path().join("proc/101/status"),
        "Name:\tx\nTgid:\t100\n",
    )
    .unwrap();
    let error = fixture.resolve(&pids(&[101])).unwrap_err();
    assert_eq!(error, "101 is a thread of process 100; use --pid 100");
}

#[test]
fn a_name_matches_exactly_and_later_processes_too() {
    let fixture = Fixture::fpm();
    let target = fixture.resolve(&comm(b"php-fpm8.3")).unwrap();
    assert!(!target.is_pids_only());
    assert_eq!(target.pids().unwrap(), [200, 201]);
    fixture.process(202, 200, 99, b"php-fpm8.3", b"php-fpm: pool www\0");
    assert_eq!(target.pids().unwrap(), [200, 201, 202]);
    let error = fixture.resolve(&comm(b"php-fpm")).unwrap_err();
    assert_eq!(
        error,
        "no process named php-fpm: running are php-fpm8.2, php-fpm8.3"
    );
    let error = fixture.resolve(&comm(b"postgres")).unwrap_err();
    assert_eq!(
        error,
        "no process named postgres: `ps -eo comm` lists the names"
    );
}

#[test]
fn a_name_of_any_bytes_is_found_and_never_shown_raw() {
    let fixture = Fixture::fpm();
    fixture.process(400, 1, 90, b"ev) S\xff\x1b[31m", b"x\0");
    let target = fixture.resolve(&comm(b"ev) S\xff\x1b[31m")).unwrap();
    assert_eq!(target.pids().unwrap(), [400]);
    let error = fixture.resolve(&comm(b"ev) S\xff\x1b[32m")).unwrap_err();
    assert!(!error.contains('\u{1b}'), "{error:?}");
    assert!(error.contains(r"ev) S\xFF\u{1b}[31m"), "{error}");
}

#[test]
fn a_name_longer_than_the_kernel_keeps_is_cut_as_the_kernel_does() {
    let fixture = Fixture::fpm();
    fixture.process(400, 1, 90, b"a-very-long-nam", b"x\0");
    let target = fixture.resolve(&comm(b"a-very-long-name-indeed")).unwrap();
    assert_eq!(target.pids().unwrap(), [400]);
}

#[test]
fn a_pool_is_its_workers_and_a_master_that_serves_no_other() {
    let fixture = Fixture::fpm();
    let target = fixture.resolve(&pool("www")).unwrap();
    assert_eq!(target.words(), "pool www");
    // Master 100 also runs pool api, 200 only www.
    assert_eq!(target.pids().unwrap(), [101, 102, 200, 201]);
    fixture.process(104, 100, 99, b"php-fpm8.2", b"php-fpm: pool www\0");
    assert_eq!(target.pids().unwrap(), [101, 102, 104, 200, 201]);
}

#[test]
fn an_unknown_pool_is_answered_with_those_found() {
    let fixture = Fixture::fpm();
    assert_eq!(
        fixture.resolve(&pool("ww")).unwrap_err(),
        "no PHP-FPM pool ww: found api, www"
    );
    for worker in [101, 102, 103, 201] {
        fixture.end(worker);
    }
    let error = fixture.resolve(&pool("www")).unwrap_err();
    assert!(error.contains("ondemand"), "{error}");
    assert!(error.contains("--pid 100"), "{error}");
    let error = Fixture::new().resolve(&pool("www")).unwrap_err();
    assert_eq!(error, "no PHP-FPM pool www: no PHP-FPM process runs here");
}

#[test]
fn a_title_that_only_looks_like_a_pool_is_none() {
    let fixture = Fixture::new();
    fixture
        .process(10, 1, 1, b"vim", b"vim\0php-fpm: pool www\0")
        .process(11, 1, 1, b"php-fpm8.2", b"php-fpm: pool \0")
        .process(12, 1, 1, b"kthread", b"");
    assert!(fixture.resolve(&pool("www")).is_err());
    assert!(fixture.resolve(&pool("")).is_err());
}

#[test]
fn a_cgroup_is_found_in_v2_and_v1_with_its_children() {
    let fixture = Fixture::fpm();
    fixture
        .cgroup("", "1\n")
        .cgroup("system.slice/php.service", "100\n101\n0\n")
        .cgroup("system.slice/php.service/workers", "102\n");
    let whole = fixture.dir.path().join("cgroup/system.slice/php.service");
    for path in [
        Path::new("system.slice/php.service"),
        Path::new("/system.slice/php.service"),
        &whole,
    ] {
        let target = fixture.resolve(&cgroup(path)).unwrap();
        assert_eq!(target.pids().unwrap(), [100, 101, 102], "{path:?}");
    }
    let v1 = Fixture::fpm();
    v1.cgroup("cpu/php", "100\n")
        .cgroup("unified/php", "100\n101\n");
    let target = v1.resolve(&cgroup("php")).unwrap();
    assert_eq!(target.pids().unwrap(), [100, 101]);
}

#[test]
fn an_unknown_or_empty_cgroup_is_refused() {
    let fixture = Fixture::fpm();
    fixture.cgroup("empty", "").cgroup("other", "0\n");
    for (path, part) in [
        ("nowhere", "no cgroup \"nowhere\""),
        ("../proc/101", "no cgroup"),
        ("/etc", "no cgroup"),
        ("empty", "nothing to watch"),
        ("other", "nothing to watch"),
        ("a\u{1b}[2J", r"no cgroup"),
    ] {
        let error = fixture.resolve(&cgroup(path)).unwrap_err();
        assert!(error.contains(part), "{path}: {error}");
        assert!(!error.contains('\u{1b}'), "{error:?}");
    }
}

#[test]
fn selectors_add_up_without_doubles() {
    let fixture = Fixture::fpm();
    let named = Targets {
        pids: vec![101],
        comms: vec!["systemd".into()],
        pools: vec!["api".into(), "www".into()],
        cgroups: Vec::new(),
    };
    let target = fixture.resolve(&named).unwrap();
    assert_eq!(target.words(), "pool api, pool www, comm systemd, pid 101");
    assert_eq!(target.pids().unwrap(), [1, 100, 101, 102, 103, 200, 201]);
}
