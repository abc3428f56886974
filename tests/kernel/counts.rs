//! Counts are exact: every call, by its result.

use std::time::Duration;

use anyhow::ensure;
use probe_common::count::CountKey;
use probe_tests::{
    child::{self, Child},
    sys::{self, Addr},
    upstream::{Behaviour, Upstream},
    watch::{Watch, assert_between, counting},
};

use crate::steps::{closed_port, report_and_stay, timed};

const POLLS: u64 = 5_000;
const REFUSED: u64 = 300;
const MISSING: u64 = 200;
const MADE: u64 = 50;

/// A process that makes exactly these calls when it is told to go, under a name of its own.
fn caller(name: String, refused: Addr, made: Addr) -> anyhow::Result<Child> {
    child::fork(move |link| {
        sys::set_comm(name.as_bytes());
        link.send(&[]);
        link.wait();
        for _ in 0..POLLS {
            sys::poll(&mut [], 0).expect("poll");
        }
        for _ in 0..REFUSED {
            assert_eq!(sys::connected(&refused), Err(libc::ECONNREFUSED));
        }
        for _ in 0..MISSING {
            let gone = Addr::Unix("/nonexistent/socket".into());
            assert_eq!(sys::connected(&gone), Err(libc::ENOENT));
        }
        for _ in 0..MADE {
            let fd = sys::connected(&made).expect("connect");
            sys::close(fd).expect("close");
        }
        report_and_stay(link, &[]);
    })
}

fn count_of(watch: &mut Watch, name: &str, nr: i64, errno: i32) -> anyhow::Result<u64> {
    let mut comm = [0u8; 16];
    comm[..name.len()].copy_from_slice(name.as_bytes());
    let key = CountKey {
        comm,
        nr: nr as u32,
        errno: errno as u32,
    };
    let counts = watch.collector.counts()?;
    Ok(counts
        .iter()
        .filter(|c| c.key == key)
        .map(|c| c.count)
        .sum())
}

fn expect_counts(watch: &mut Watch, name: &str, times: u64) -> anyhow::Result<()> {
    for (what, nr, errno, expected) in [
        ("poll", libc::SYS_poll, 0, POLLS),
        (
            "refused connects",
            libc::SYS_connect,
            libc::ECONNREFUSED,
            REFUSED,
        ),
        (
            "connects to a missing path",
            libc::SYS_connect,
            libc::ENOENT,
            MISSING,
        ),
        ("connects made", libc::SYS_connect, 0, MADE),
    ] {
        let got = count_of(watch, name, nr, errno)?;
        ensure!(
            got == expected * times,
            "{what}: counted {got}, made {}; all rows: {:?}",
            expected * times,
            watch
                .collector
                .counts()?
                .iter()
                .filter(|c| c.key.comm.starts_with(name.as_bytes()))
                .collect::<Vec<_>>()
        );
    }
    Ok(())
}

pub fn count_mode_counts_every_call_by_result() -> anyhow::Result<()> {
    let name = format!("cnt-{}", std::process::id());
    let up = Upstream::tcp(Behaviour::bytes(0))?;
    let (_held, refused) = closed_port();
    let mut caller = caller(name.clone(), refused, up.addr.clone())?;
    caller.recv()?;
    let mut watch = Watch::start(&counting(&["connect", "poll"]))?;
    watch.step(&mut caller)?;
    expect_counts(&mut watch, &name, 1)
}

pub fn count_mode_counts_four_processes_at_once() -> anyhow::Result<()> {
    let name = format!("par-{}", std::process::id());
    let up = Upstream::tcp(Behaviour::bytes(0))?;
    let (_held, refused) = closed_port();
    let mut callers = (0..4)
        .map(|_| caller(name.clone(), refused.clone(), up.addr.clone()))
        .collect::<anyhow::Result<Vec<_>>>()?;
    for caller in &mut callers {
        caller.recv()?;
    }
    let mut watch = Watch::start(&counting(&["connect", "poll"]))?;
    for caller in &mut callers {
        caller.go()?;
    }
    for caller in &mut callers {
        watch.recv(caller)?;
    }
    expect_counts(&mut watch, &name, 4)
}

pub fn count_mode_times_calls() -> anyhow::Result<()> {
    use stallscope::attach::{Mode, Options};
    let name = format!("tim-{}", std::process::id());
    let worker_name = name.clone();
    let mut worker = child::fork(move |link| {
        sys::set_comm(worker_name.as_bytes());
        link.send(&[]);
        link.wait();
        let ns = timed(|| {
            for _ in 0..5 {
                sys::poll(&mut [], 20).expect("poll");
            }
        });
        report_and_stay(link, &[ns]);
    })?;
    worker.recv()?;
    let mut watch = Watch::start(&Options {
        mode: Mode::Count {
            syscalls: vec!["poll".into()],
            wait: true,
            follow_all: true,
        },
        ..Options::default()
    })?;
    let measured = watch.step(&mut worker)?[0];
    let waits = watch.collector.waits()?;
    let of_it: Vec<_> = waits
        .iter()
        .filter(|(k, _)| k.comm.starts_with(name.as_bytes()))
        .collect();
    ensure!(of_it.len() == 1, "one row expected: {}", of_it.len());
    let sum = of_it[0].1;
    ensure!(sum.count == 5, "{} calls instead of 5", sum.count);
    ensure!(
        sum.hist.iter().sum::<u32>() == 5,
        "histogram: {:?}",
        sum.hist
    );
    assert_between("sum of the waits", sum.total_ns, measured, measured);
    assert_between("longest wait", sum.max_ns, 20_000_000, measured / 2);
    Ok(())
}

pub fn ledger_counts_every_call() -> anyhow::Result<()> {
    let up = Upstream::tcp(Behaviour::bytes(0))?;
    let (_held, refused) = closed_port();
    let mut callers = (0..4)
        .map(|_| caller("ledger".into(), refused.clone(), up.addr.clone()))
        .collect::<anyhow::Result<Vec<_>>>()?;
    for caller in &mut callers {
        caller.recv()?;
    }
    let mut watch = Watch::of(&callers.iter().collect::<Vec<_>>())?;
    for caller in &mut callers {
        caller.go()?;
    }
    for caller in &mut callers {
        watch.recv(caller)?;
    }
    let seen = watch.read()?;
    for caller in &callers {
        let polls = seen.all(caller.pid, "poll");
        let connects = seen.all(caller.pid, "connect");
        ensure!(
            polls.count == POLLS && polls.in_histogram == POLLS,
            "{} polls counted, {} in the histogram, {POLLS} made{}",
            polls.count,
            polls.in_histogram,
            seen.dump(caller.pid)
        );
        ensure!(
            connects.count == REFUSED + MISSING + MADE
                && connects.errors == [(libc::ENOENT, MISSING), (libc::ECONNREFUSED, REFUSED)],
            "connects: {connects:?}{}",
            seen.dump(caller.pid)
        );
        let refused = seen.call(caller.pid, "connect", &refused.text("tcp"));
        ensure!(
            refused.count == REFUSED,
            "by peer: {refused:?}{}",
            seen.dump(caller.pid)
        );
        let made = seen.call(caller.pid, "connect", &up.text());
        ensure!(
            made.count == MADE && made.errors.is_empty(),
            "by peer: {made:?}"
        );
        let gone = seen.call(caller.pid, "connect", "unix /nonexistent/socket");
        ensure!(
            gone.count == MISSING,
            "by peer: {gone:?}{}",
            seen.dump(caller.pid)
        );
    }
    Ok(())
}

pub fn ledger_leaves_out_who_is_not_followed() -> anyhow::Result<()> {
    let work = |link: &mut child::Link| {
        link.wait();
        for _ in 0..100 {
            sys::poll(&mut [], 0).expect("poll");
        }
        report_and_stay(link, &[]);
    };
    let (mut followed, mut other) = (child::fork(work)?, child::fork(work)?);
    let mut watch = Watch::of(&[&followed])?;
    watch.step(&mut followed)?;
    watch.step(&mut other)?;
    let seen = watch.read()?;
    ensure!(
        seen.all(followed.pid, "poll").count == 100,
        "{}",
        seen.dump(followed.pid)
    );
    ensure!(
        seen.stats.iter().all(|(key, _)| key.tgid != other.pid),
        "calls of others are counted{}",
        seen.dump(other.pid)
    );
    ensure!(
        seen.tasks.iter().all(|t| t.tgid != other.pid),
        "threads of others are followed"
    );
    Ok(())
}

pub fn errors_are_told_apart() -> anyhow::Result<()> {
    let up = Upstream::tcp(Behaviour::bytes(0))?;
    let addr = up.addr.clone();
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("full");
    let full = Addr::Unix(path.clone());
    let mut worker = child::fork(|link| {
        // A Unix listener whose queue (backlog 0: one connection) is full.
        let listener = sys::socket(libc::AF_UNIX, libc::SOCK_STREAM).expect("socket");
        sys::bind(listener, &full).expect("bind");
        sys::listen(listener, 0).expect("listen");
        sys::connected(&full).expect("the first connect");
        link.send(&[]);
        link.wait();
        for _ in 0..2 {
            let fd = sys::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_NONBLOCK)
                .expect("socket");
            assert_eq!(sys::connect(fd, &addr), Err(libc::EINPROGRESS));
            let mut set = [sys::pollfd(fd, libc::POLLOUT)];
            assert_eq!(sys::poll(&mut set, 10_000), Ok(1));
            assert_eq!(sys::so_error(fd), 0);
            for _ in 0..5 {
                assert_eq!(sys::recvfrom(fd, &mut [0; 1], 0), Err(libc::EAGAIN));
            }
        }
        for _ in 0..3 {
            let fd = sys::socket(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_NONBLOCK)
                .expect("socket");
            assert_eq!(sys::connect(fd, &full), Err(libc::EAGAIN));
        }
        std::thread::sleep(Duration::from_millis(1));
        report_and_stay(link, &[]);
    })?;
    // The queue is full before anybody watches.
    worker.recv()?;
    let mut watch = Watch::of(&[&worker])?;
    watch.step(&mut worker)?;
    let seen = watch.read()?;
    let (pid, up) = (worker.pid, up.text());
    let under_way = seen.call(pid, "connect", &up);
    ensure!(
        under_way.errors == [(libc::EINPROGRESS, 2)],
        "{under_way:?}{}",
        seen.dump(pid)
    );
    let empty = seen.call(pid, "recvfrom", &up);
    ensure!(
        empty.count == 10 && empty.errors == [(libc::EAGAIN, 10)],
        "{empty:?}{}",
        seen.dump(pid)
    );
    let queue_full = seen.call(pid, "connect", &format!("unix {}", path.display()));
    ensure!(
        queue_full.count == 3 && queue_full.errors == [(libc::EAGAIN, 3)],
        "{queue_full:?}{}",
        seen.dump(pid)
    );
    Ok(())
}
