//! Losses are counted, hostile bytes come through as bytes, and nothing stays behind.

use std::{process::ExitCode, time::Duration};

use anyhow::ensure;
use probe_common::loss::slot;
use probe_tests::{
    child::{self, Spawned},
    programs, sys,
    watch::{Watch, only_followed},
};

use crate::steps::report_and_stay;

/// First argument of this binary when it is to attach and wait for its end.
pub const ATTACH: &str = "--attach-workload";

/// Attaches and stays.
pub fn attach_workload() -> ExitCode {
    match Watch::start(&stallscope::attach::Options::default()) {
        Ok(_watch) => {
            println!("attached");
            std::thread::sleep(Duration::from_secs(120));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

pub fn a_full_thread_table_is_counted() -> anyhow::Result<()> {
    const THREADS: usize = 200;
    let mut worker = child::fork(|link| {
        link.wait();
        let barrier = std::sync::Barrier::new(THREADS);
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    sys::poll(&mut [], 0).expect("poll");
                    // All of them live at the same time.
                    barrier.wait();
                });
            }
        });
        report_and_stay(link, &[]);
    })?;
    let mut options = only_followed();
    options.max_threads = 16;
    let mut watch = Watch::start(&options)?;
    watch.follow(&[worker.pid])?;
    watch.step(&mut worker)?;
    let seen = watch.read()?;
    let lost = seen.losses[slot::TASKS_FULL as usize];
    let counted = seen.all(worker.pid, "poll").count;
    ensure!(
        lost > 0 && counted + lost >= THREADS as u64,
        "{counted} of {THREADS} threads counted, {lost} losses{}",
        seen.dump(worker.pid)
    );
    Ok(())
}

pub fn hostile_names_come_through_as_bytes() -> anyhow::Result<()> {
    const NAME: &[u8] = b"\x1b[31m<b>\xff\xfe\n'";
    let mut worker = child::fork(|link| {
        sys::set_comm(NAME);
        link.send(&[]);
        link.wait();
        sys::poll(&mut [], 0).expect("poll");
        report_and_stay(link, &[]);
    })?;
    worker.recv()?;
    let mut watch = Watch::of(&[&worker])?;
    watch.step(&mut worker)?;
    let seen = watch.read()?;
    let task = seen.tasks.iter().find(|t| t.tid == worker.pid);
    let task = task.ok_or_else(|| anyhow::anyhow!("no row{}", seen.dump(worker.pid)))?;
    ensure!(
        task.comm.starts_with(NAME) && task.comm[NAME.len()] == 0,
        "{:?}",
        task.comm
    );
    let process = seen.processes.iter().find(|p| p.pid == worker.pid);
    ensure!(
        process.is_some_and(|p| p.comm == NAME),
        "from /proc: {:?}",
        process.map(|p| &p.comm)
    );
    Ok(())
}

pub fn nothing_stays_after_the_end() -> anyhow::Result<()> {
    let own = std::process::id();
    let shared = programs::held_by(own);
    let watch = Watch::start(&stallscope::attach::Options::default())?;
    let held = programs::held_by(own);
    let (of_programs, of_maps) = (&held.0 - &shared.0, &held.1 - &shared.1);
    ensure!(!of_maps.is_empty(), "nothing is loaded while attached");
    drop(watch);
    programs::wait_until_gone(&of_programs, &of_maps)
}

pub fn an_end_that_is_not_waited_for_leaves_nothing_either() -> anyhow::Result<()> {
    let own = std::process::id();
    let shared = programs::held_by(own);
    let mut attached = stallscope::attach::attach(&stallscope::attach::Options::default())?;
    attached.leave_behind();
    let held = programs::held_by(own);
    let (of_programs, of_maps) = (&held.0 - &shared.0, &held.1 - &shared.1);
    ensure!(!of_programs.is_empty(), "nothing is loaded while attached");
    drop(attached);
    ensure!(programs::held_by(own) == shared, "the process holds them");
    programs::wait_until_let_go(&of_programs, &of_maps)?;
    // Whoever let go of them ends; as a zombie, where process 1 does not look after orphans.
    let holder = || {
        let stats = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        stats
            .filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok())
            .any(|stat| stat.contains("(stallscope-end) ") && !stat.contains("(stallscope-end) Z"))
    };
    for _ in 0..500 {
        if !holder() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    anyhow::bail!("a process is left behind for 10 s after its programs are gone")
}

pub fn nothing_stays_after_kill_9() -> anyhow::Result<()> {
    use std::io::{BufRead as _, BufReader};
    let exe = std::env::current_exe()?;
    let mut tool = Spawned::start(
        std::process::Command::new(exe)
            .arg(ATTACH)
            .stdout(std::process::Stdio::piped()),
    )?;
    let stdout = tool.process.stdout.take();
    let stdout = stdout.ok_or_else(|| anyhow::anyhow!("no pipe"))?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    ensure!(line == "attached\n", "it does not attach: {line:?}");
    let (of_programs, of_maps) = programs::held_by(tool.process.id());
    ensure!(!of_maps.is_empty(), "nothing is loaded while attached");
    ensure!(
        of_maps.is_subset(&programs::maps()) && of_programs.is_subset(&programs::programs()),
        "the kernel does not list what the process holds"
    );
    let mounts = std::fs::read_to_string("/proc/1/mounts")?;
    tool.signal(libc::SIGKILL);
    tool.process.wait()?;
    programs::wait_until_gone(&of_programs, &of_maps)?;
    ensure!(
        std::fs::read_to_string("/proc/1/mounts")? == mounts,
        "a mount stays behind"
    );
    Ok(())
}
