//! `count` against the program's own numbers and against bpftrace beside it.

use std::time::Duration;

use anyhow::ensure;
use probe_tests::{
    bpftrace::Bpftrace,
    child::{self, Child},
    sys::{self, Addr},
    tool::{self, Tool},
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
    let bpftrace = Bpftrace::start(&script, 2)?;
    let tool = Tool::start_attached(&["count", "connect", "poll", "--duration", "60s", "--json"])?;
    caller.go()?;
    caller.recv()?;
    let output = tool.interrupt()?;
    let text = bpftrace.end()?;
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
