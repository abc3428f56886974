//! Forked processes, threads and new programs are followed; ends are reported; a reused pid is another.

use std::{collections::BTreeSet, process::ExitCode, time::Duration};

use anyhow::ensure;
use probe_tests::{
    child::{self, Link},
    sys,
    watch::{Watch, assert_between},
};
use stallscope::attach::Options;

use crate::steps::{exchange, report_and_stay};

/// First argument of this binary when a workload executes it anew.
pub const EXEC: &str = "--exec-workload";

/// Replaces the calling workload by this binary, which goes on in [`exec_workload`] with `fd`.
pub fn exec_self(link: &Link, fd: i32) -> ! {
    let (from, to) = link.descriptors();
    for fd in [from, to, fd] {
        if fd >= 0 {
            sys::keep_on_exec(fd).expect("fcntl");
        }
    }
    use std::os::unix::process::CommandExt as _;
    let exe = std::env::current_exe().expect("the path of this binary");
    let numbers = [from, to, fd].map(|n| n.to_string());
    let error = std::process::Command::new(exe)
        .arg(EXEC)
        .args(numbers)
        .exec();
    panic!("exec: {error}");
}

/// The new program: three exchanges over the descriptor that it was given, if any, and three polls.
pub fn exec_workload() -> ExitCode {
    let numbers: Vec<i32> = std::env::args()
        .skip(2)
        .filter_map(|n| n.parse().ok())
        .collect();
    let [from, to, fd] = numbers[..] else {
        return ExitCode::FAILURE;
    };
    // SAFETY: the program before exec left them open for this one, which uses them nowhere else.
    let mut link = unsafe { Link::from_descriptors(from, to) };
    for _ in 0..3 {
        if fd >= 0 {
            exchange(fd);
        }
        sys::poll(&mut [], 0).expect("poll");
    }
    report_and_stay(&mut link, &[]);
    ExitCode::SUCCESS
}

fn polls(n: u64) {
    for _ in 0..n {
        sys::poll(&mut [], 0).expect("poll");
    }
}

pub fn a_forked_child_is_followed() -> anyhow::Result<()> {
    let mut worker = child::fork(|link| {
        link.wait();
        let mut grandchild = child::fork(|link| {
            let mut last = child::fork(|link| {
                polls(7);
                report_and_stay(link, &[]);
            })
            .expect("fork");
            polls(5);
            last.recv().expect("the last one");
            report_and_stay(link, &[last.pid.into()]);
        })
        .expect("fork");
        polls(3);
        let last = grandchild.recv().expect("the grandchild")[0];
        report_and_stay(link, &[grandchild.pid.into(), last]);
    })?;
    let mut watch = Watch::of(&[&worker])?;
    let pids = watch.step(&mut worker)?;
    let seen = watch.read()?;
    // The two parents poll once or more for their children's answers; with a peer, a pipe.
    for (pid, expected) in [(worker.pid, 3), (pids[0] as u32, 5), (pids[1] as u32, 7)] {
        let call = seen.call(pid, "poll", "none");
        ensure!(
            call.count == expected,
            "process {pid}: {call:?}{}",
            seen.dump(pid)
        );
    }
    Ok(())
}

pub fn threads_are_followed_old_and_new() -> anyhow::Result<()> {
    use std::sync::mpsc;
    let mut worker = child::fork(|link| {
        // A thread that was there before, and one that comes after.
        let (go, wait) = mpsc::channel::<()>();
        std::thread::scope(|scope| {
            let old = scope.spawn(move || {
                let _ = wait.recv();
                polls(11);
                sys::gettid()
            });
            link.send(&[]);
            link.wait();
            let new = scope.spawn(|| {
                polls(13);
                sys::gettid()
            });
            go.send(()).expect("the old thread");
            let (old, new) = (old.join().expect("join"), new.join().expect("join"));
            polls(2);
            report_and_stay(link, &[old.into(), new.into()]);
        });
    })?;
    worker.recv()?;
    let mut watch = Watch::of(&[])?;
    // Twice, as the tool does each second: nothing may be counted twice.
    ensure!(
        watch.follow(&[worker.pid])? == 1 && watch.follow(&[worker.pid])? == 1,
        "one process is followed"
    );
    let tids = watch.step(&mut worker)?;
    let seen = watch.read()?;
    for (tid, expected) in [(worker.pid, 2), (tids[0] as u32, 11), (tids[1] as u32, 13)] {
        let count: u64 = seen
            .stats
            .iter()
            .filter(|(k, _)| k.tid == tid && k.tgid == worker.pid && seen.peer(k.peer) == "none")
            .filter(|(k, _)| probe_common::op::name(k.op) == "poll")
            .map(|(_, s)| s.count)
            .sum();
        ensure!(
            count == expected,
            "thread {tid}: {count} polls{}",
            seen.dump(worker.pid)
        );
    }
    Ok(())
}

pub fn a_new_program_keeps_its_row_and_changes_its_name() -> anyhow::Result<()> {
    let mut worker = child::fork(|link| {
        sys::set_comm(b"before-exec");
        link.wait();
        polls(4);
        exec_self(link, -1);
    })?;
    let mut watch = Watch::of(&[&worker])?;
    watch.step(&mut worker)?;
    let name = std::fs::read(format!("/proc/{}/comm", worker.pid))?;
    let seen = watch.read()?;
    let polls = seen.call(worker.pid, "poll", "none");
    ensure!(polls.count == 7, "{polls:?}{}", seen.dump(worker.pid));
    let starts: BTreeSet<u32> = seen
        .stats
        .iter()
        .filter(|(k, _)| k.tgid == worker.pid)
        .map(|(k, _)| k.start_ticks)
        .collect();
    ensure!(starts.len() == 1, "one process, several starts: {starts:?}");
    let task = seen.tasks.iter().find(|t| t.tid == worker.pid);
    let comm = task.map(|t| {
        String::from_utf8_lossy(&t.comm)
            .trim_end_matches('\0')
            .to_owned()
    });
    let name = String::from_utf8_lossy(&name).trim_end().to_owned();
    ensure!(
        comm.as_deref() == Some(&name),
        "{comm:?} instead of {name:?}"
    );
    Ok(())
}

pub fn the_end_of_a_thread_is_reported() -> anyhow::Result<()> {
    let mut worker = child::fork(|link| {
        sys::set_comm(b"short-lived");
        link.send(&[]);
        link.wait();
        let times = std::thread::spawn(|| {
            let begin = sys::now_ns();
            sys::burn(Duration::from_millis(10));
            sys::nanosleep(Duration::from_millis(20)).expect("nanosleep");
            [sys::gettid().into(), sys::now_ns() - begin]
        });
        link.send(&times.join().expect("join"));
    })?;
    worker.recv()?;
    let mut watch = Watch::of(&[&worker])?;
    let [tid, lived] = watch.step(&mut worker)?[..] else {
        anyhow::bail!("two numbers expected");
    };
    let status = worker.wait()?;
    ensure!(status == "exit code 0", "the workload: {status}");
    let pid = worker.pid;
    let seen = watch.read_until(|seen| seen.exits.iter().any(|e| e.tid == pid))?;
    for tid in [tid as u32, pid] {
        let ends: Vec<_> = seen.exits.iter().filter(|e| e.tid == tid).collect();
        ensure!(
            ends.len() == 1,
            "thread {tid}: {} ends{}",
            ends.len(),
            seen.dump(pid)
        );
        ensure!(ends[0].tgid == pid, "{:?}", ends[0]);
        ensure!(ends[0].start_ticks != 0, "no start: {:?}", ends[0]);
    }
    let end = seen
        .exits
        .iter()
        .find(|e| e.tid == tid as u32)
        .expect("looked at above");
    ensure!(end.comm.starts_with(b"short-lived"), "{:?}", end.comm);
    assert_between(
        "lifetime of the thread",
        end.life.iter().sum(),
        lived,
        lived,
    );
    let slept = end.life[probe_common::part::SLEEP];
    assert_between("sleep of the thread", slept, 20_000_000, lived);
    ensure!(
        seen.tasks.iter().all(|t| t.tgid != pid),
        "the row is still there{}",
        seen.dump(pid)
    );
    Ok(())
}

pub fn a_reused_pid_is_another_process() -> anyhow::Result<()> {
    let work = |n: u64| {
        move |link: &mut Link| {
            link.wait();
            polls(n);
            link.send(&[]);
        }
    };
    let mut watch = Watch::of(&[])?;
    let mut first = child::fork(work(3))?;
    let pid = first.pid;
    watch.follow(&[pid])?;
    watch.step(&mut first)?;
    first.wait()?;
    // Starts are told apart in ticks of 10 ms.
    std::thread::sleep(Duration::from_millis(50));
    watch.read()?;
    let mut second = child::fork_as(pid, work(5))?;
    ensure!(second.pid == pid, "the kernel gave another pid");
    watch.follow(&[pid])?;
    watch.step(&mut second)?;
    second.wait()?;
    let seen = watch.read_until(|seen| seen.exits.iter().filter(|e| e.tid == pid).count() == 2)?;
    let mut rows: Vec<(u32, u64)> = seen
        .stats
        .iter()
        .filter(|(k, _)| k.tgid == pid && probe_common::op::name(k.op) == "poll")
        .map(|(k, s)| (k.start_ticks, s.count))
        .collect();
    rows.sort_unstable();
    ensure!(
        rows.len() == 2 && rows[0].1 == 3 && rows[1].1 == 5,
        "rows by start: {rows:?}{}",
        seen.dump(pid)
    );
    Ok(())
}

pub fn follow_all_finds_who_makes_a_call() -> anyhow::Result<()> {
    let mut worker = child::fork(|link| {
        link.wait();
        polls(9);
        report_and_stay(link, &[]);
    })?;
    let mut watch = Watch::start(&Options::default())?;
    watch.step(&mut worker)?;
    let own = std::process::id();
    let seen = watch.read()?;
    let call = seen.call(worker.pid, "poll", "none");
    ensure!(call.count == 9, "{call:?}{}", seen.dump(worker.pid));
    ensure!(
        seen.stats.iter().all(|(k, _)| k.tgid != own),
        "the tool measures itself{}",
        seen.dump(own)
    );
    Ok(())
}
