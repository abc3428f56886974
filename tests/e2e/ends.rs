//! How a run ends, and what it leaves: a report, and nothing else.

use std::{
    collections::BTreeSet,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use probe_tests::{
    child::{self, Spawned},
    memory::{self, MemoryGroup},
    prefork, programs,
    report::Report,
    sys,
    tool::{self, Tool},
    upstream::{Behaviour, Upstream},
    web::{FastCgi, Settings, Stack},
};

/// A name that would clear the screen, turn text around, and break a line, and is not UTF-8.
const HOSTILE: &[u8] = b"\x1b[2J\n\xff\xe2\x80\xae<b>";

pub fn the_text_report_names_the_cause_and_holds_no_raw_bytes() -> anyhow::Result<()> {
    use std::os::fd::AsRawFd as _;
    let peer = Upstream::tcp(Behaviour::bytes(60))?;
    let addr = peer.addr.clone();
    let (listener, server) = prefork::listener(16)?;
    let fd = listener.as_raw_fd();
    let mut worker = child::fork(move |link| {
        sys::set_comm(HOSTILE);
        link.send(&[]);
        let plan = prefork::Plan {
            peer: Some(addr),
            calls: 3,
            fastcgi: true,
            ..prefork::Plan::NOTHING
        };
        prefork::serve(link, fd, &plan);
    })?;
    worker.recv()?;
    let pid = worker.pid.to_string();
    let tool = Tool::start_attached(&["diagnose", "--pid", &pid, "--duration", "60s"])?;
    let uri = "/\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}?q=<script>\n";
    let wire = probe_tests::fastcgi::Wire::PLAIN;
    for _ in 0..3 {
        let request = probe_tests::fastcgi::request(wire, "/srv/\u{1b}c.php", uri);
        prefork::ask(&server, &request, usize::MAX)?;
        worker.recv()?;
    }
    let output = tool.interrupt()?;
    ensure!(
        output.code == Some(1),
        "{:?}\n{}",
        output.code,
        output.stdout
    );
    for text in [&output.stdout, &output.stderr] {
        let raw = text
            .chars()
            .find(|c| (c.is_control() && *c != '\n') || matches!(*c, '\u{202e}' | '\u{fffd}'));
        ensure!(raw.is_none(), "raw {raw:?} in the output: {text:?}");
    }
    ensure!(
        output.stdout.contains("W01") && output.stdout.contains(&peer.host_port()),
        "{}",
        output.stdout
    );
    Ok(())
}

fn loaded(tool: &Tool) -> anyhow::Result<(BTreeSet<u32>, BTreeSet<u32>)> {
    let held = programs::held_by(tool.pid());
    ensure!(
        !held.0.is_empty() && !held.1.is_empty(),
        "nothing is loaded: {held:?}"
    );
    Ok(held)
}

fn mounts() -> anyhow::Result<String> {
    Ok(std::fs::read_to_string("/proc/1/mounts")?)
}

pub fn sigterm_ends_with_a_report_and_leaves_nothing() -> anyhow::Result<()> {
    let before = mounts()?;
    let mut tool = Tool::start_attached(&["diagnose", "--duration", "60s", "--json"])?;
    let (of_programs, of_maps) = loaded(&tool)?;
    tool.signal(libc::SIGTERM);
    let output = tool.finish()?;
    ensure!(
        matches!(output.code, Some(0 | 1)),
        "{:?} {}",
        output.code,
        output.stderr
    );
    Report::of(&output)?;
    programs::wait_until_let_go(&of_programs, &of_maps)?;
    ensure!(mounts()? == before, "a mount stays behind");
    Ok(())
}

pub fn kill_9_leaves_nothing() -> anyhow::Result<()> {
    let before = mounts()?;
    for args in [
        &["diagnose", "--duration", "60s"][..],
        &["count", "connect", "poll", "--duration", "60s"][..],
        &["workers", "--duration", "60s"][..],
    ] {
        let mut tool = Tool::start_attached(args)?;
        let (of_programs, of_maps) = loaded(&tool)?;
        tool.signal(libc::SIGKILL);
        let output = tool.finish()?;
        ensure!(output.code.is_none(), "{:?}", output.code);
        programs::wait_until_gone(&of_programs, &of_maps)?;
    }
    ensure!(mounts()? == before, "a mount stays behind");
    Ok(())
}

/// Memory that the group of a case may take, bytes, and what something in it asks for.
const LITTLE: u64 = 16 << 20;
const MUCH: usize = 256 << 20;

pub fn the_oom_killer_leaves_nothing() -> anyhow::Result<()> {
    let before = mounts()?;
    for args in [
        &["diagnose", "--duration", "60s"][..],
        &["count", "connect", "poll", "--duration", "60s"][..],
    ] {
        let mut tool = Tool::start_attached(args)?;
        let (of_programs, of_maps) = loaded(&tool)?;
        match MemoryGroup::make() {
            Some(group) => run_out_of_memory(&mut tool, &group)?,
            None => {
                print!("(no memory cgroup here: the next allocation fails instead) ");
                memory::refuse_more(tool.pid())?;
                // What it writes now takes memory. It aborts, or panics where a thread has no stack.
                tool.signal(libc::SIGINT);
                let output = tool.finish()?;
                let words = ["allocat", "spawn thread"];
                let said = words.iter().any(|word| output.stderr.contains(word));
                ensure!(
                    matches!(output.code, None | Some(101)) && said,
                    "{}",
                    output.stderr
                );
            }
        }
        programs::wait_until_gone(&of_programs, &of_maps)?;
    }
    ensure!(mounts()? == before, "a mount stays behind");
    Ok(())
}

/// Has the kernel kill the tool for want of memory, which something else in its group takes.
fn run_out_of_memory(tool: &mut Tool, group: &MemoryGroup) -> anyhow::Result<()> {
    // tail keeps a line that does not end. It begins small: of a fork of ours the kernel would think more than of the tool.
    let mut hog = Command::new("sh")
        .args(["-c", "read go && head -c \"$0\" /dev/zero | tail | wc -c"])
        .arg(MUCH.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    group.add(tool.pid())?;
    group.add(hog.id())?;
    memory::kill_first(tool.pid())?;
    group.set_limit(LITTLE)?;
    hog.stdin.take().context("no pipe")?.write_all(b"go\n")?;
    hog.wait()?;
    let output = tool.finish()?;
    ensure!(
        output.code.is_none(),
        "{:?}: {}",
        output.code,
        output.stderr
    );
    ensure!(group.kills()? > 0, "something else ended it");
    Ok(())
}

pub fn a_pool_that_ends_while_watched_ends_the_run() -> anyhow::Result<()> {
    let pool = format!("gone{}", std::process::id());
    let stack = Stack::start(Settings {
        pool: &pool,
        workers: 2,
        fastcgi: FastCgi::Unix,
        keep_conn: false,
    })?;
    let mut tool =
        Tool::start_attached(&["diagnose", "--pool", &pool, "--duration", "60s", "--json"])?;
    probe_tests::web::get(stack.addr, "/fast.php")?;
    drop(stack);
    let begun = Instant::now();
    let output = tool.finish()?;
    ensure!(
        begun.elapsed() < Duration::from_secs(10),
        "it went on for {:?}",
        begun.elapsed()
    );
    ensure!(
        output.code == Some(0),
        "{:?} {}",
        output.code,
        output.stderr
    );
    let report = Report::of(&output)?;
    let group = report
        .group(&pool)
        .map_err(|_| anyhow::anyhow!("no group {pool}: {}", report.brief()))?;
    let requests = group.number("requests")?;
    ensure!(
        requests == 1,
        "{requests} requests, made 1\n{}",
        report.brief()
    );
    Ok(())
}

pub fn a_closed_stdout_is_no_panic() -> anyhow::Result<()> {
    for args in [
        &["diagnose", "--duration", "200ms"][..],
        &["diagnose", "--duration", "200ms", "--json"][..],
        &["count", "poll", "--duration", "200ms"][..],
        &["tcp", "--duration", "200ms"][..],
        &["tcp", "--duration", "200ms", "--json"][..],
        &["workers", "--duration", "1s", "--interval", "100ms"][..],
    ] {
        let (reader, writer) = std::io::pipe().context("pipe")?;
        drop(reader);
        let stderr = tempfile::NamedTempFile::new()?;
        let mut tool = Spawned::start(
            Command::new(tool::path()?)
                .args(args)
                .stdin(Stdio::null())
                .stdout(writer)
                .stderr(stderr.reopen()?),
        )?;
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = tool.process.try_wait()? {
                break status;
            }
            ensure!(
                begun.elapsed() < Duration::from_secs(15),
                "{args:?} does not end"
            );
            std::thread::sleep(Duration::from_millis(10));
        };
        let complaint = std::fs::read_to_string(Path::new(stderr.path()))?;
        ensure!(
            matches!(status.code(), Some(0 | 1)) && !complaint.contains("panicked"),
            "{args:?}: {status}, {complaint}"
        );
    }
    Ok(())
}
