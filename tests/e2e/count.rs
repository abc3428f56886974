//! `count` against the program's own numbers and against bpftrace beside it.

use std::{
    io::Read as _,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use probe_tests::{
    child::{self, Child, Spawned},
    programs,
    sys::{self, Addr},
    tool::{self, Tool},
    web,
};
use serde_json::Value;

const POLLS: u64 = 20_000;
const CONNECTS: u64 = 700;

/// Makes the calls when told to go, under this name.
fn caller(name: String) -> anyhow::Result<Child> {
    let mut caller = child::fork(move |link| {
        sys::set_comm(name.as_bytes());
        link.send(&[]);
        link.wait();
        for _ in 0..POLLS {
            sys::poll(&mut [], 0).expect("poll");
        }
        for _ in 0..CONNECTS {
            let gone = Addr::Unix("/nonexistent/socket".into());
            assert_eq!(sys::connected(&gone), Err(libc::ENOENT));
        }
        link.send(&[]);
        link.wait();
    })?;
    caller.recv()?;
    Ok(caller)
}

/// The count of one call by one process name in the JSON of `count`: all rows that name both.
fn counted(json: &Value, name: &str, call: &str) -> u64 {
    let rows = json["counts"].as_array().map_or(&[][..], Vec::as_slice);
    rows.iter()
        .filter(|row| row["process.executable.name"] == name)
        .filter(|row| row["syscall"] == call)
        .filter_map(|row| row["count"].as_u64())
        .sum()
}

pub fn count_equals_the_program_and_bpftrace() -> anyhow::Result<()> {
    let name = format!("one-{}", std::process::id());
    let mut caller = caller(name.clone())?;
    let script = format!(
        "tracepoint:syscalls:sys_enter_connect /comm == \"{name}\"/ {{ @connect = count(); }} \
         tracepoint:syscalls:sys_enter_poll /comm == \"{name}\"/ {{ @poll = count(); }}"
    );
    // It looks for tracefs, which need not be mounted: a mount of its own, which ends with it.
    let mount = "mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null; exec \"$@\"";
    let mut bpftrace = Spawned::start(
        Command::new("unshare")
            .args(["-m", "sh", "-c", mount, "sh"])
            .arg(web::program("bpftrace", "bpftrace")?)
            .args(["-e", &script])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null()),
    )?;
    let ended = programs::wait_until(&mut bpftrace.process, |pid| {
        programs::held_by(pid).0.len() == 2
    })?;
    ensure!(!ended, "bpftrace ended at once");
    // From loaded to attached.
    std::thread::sleep(Duration::from_millis(500));
    let tool = Tool::start_attached(&["count", "connect", "poll", "--duration", "60s", "--json"])?;
    caller.go()?;
    caller.recv()?;
    let output = tool.interrupt()?;
    bpftrace.signal(libc::SIGINT);
    let mut text = String::new();
    let stdout = bpftrace.process.stdout.as_mut().context("no pipe")?;
    stdout.read_to_string(&mut text)?;
    ensure!(
        output.code == Some(0),
        "exit code {:?}: {}",
        output.code,
        output.stderr
    );
    let json = output.json()?;
    for (call, made) in [("connect", CONNECTS), ("poll", POLLS)] {
        let got = counted(&json, &name, call);
        let beside: Option<u64> = text
            .lines()
            .find_map(|l| l.strip_prefix(&format!("@{call}: "))?.trim().parse().ok());
        ensure!(
            got == made && beside == Some(made),
            "{call}: made {made}, stallscope says {got}, bpftrace {beside:?}\n{json:#}"
        );
    }
    Ok(())
}

pub fn count_takes_what_it_is_asked_for() -> anyhow::Result<()> {
    let name = format!("two-{}", std::process::id());
    let mut caller = caller(name.clone())?;
    let pid = caller.pid.to_string();
    let args = [
        "count",
        "poll",
        "--pid",
        &pid,
        "--wait",
        "--duration",
        "60s",
        "--json",
    ];
    let tool = Tool::start_attached(&args)?;
    caller.go()?;
    caller.recv()?;
    let json = tool.interrupt()?.json()?;
    ensure!(counted(&json, &name, "poll") == POLLS, "{json:#}");
    ensure!(
        counted(&json, &name, "connect") == 0,
        "connect was not asked for: {json:#}"
    );
    let text = tool::run(&["count", "poll", "--duration", "500ms"])?;
    ensure!(text.code == Some(0), "{:?} {}", text.code, text.stderr);
    std::thread::sleep(Duration::from_millis(10));
    Ok(())
}
