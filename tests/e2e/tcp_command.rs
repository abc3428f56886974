//! `stallscope tcp` as a command: single transitions with their owner, namespaces, rights, and what is left behind.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    os::unix::process::CommandExt as _,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use probe_tests::{
    child::{self, Child, Spawned},
    netns::Netns,
    programs,
    sys::Addr,
    tcp::{self, Manner, Plan, Then},
    tool::{self, Output, Tool},
};
use serde_json::Value;

fn server_and_client(connects: u64, then: Then) -> anyhow::Result<(Child, Child)> {
    let to = Addr::Inet(([127, 0, 0, 2], 8080).into());
    let server = tcp::server("serves", std::slice::from_ref(&to), Manner::CloseLast)?;
    let plan = Plan {
        to: vec![to],
        times: connects,
        every: Duration::from_millis(2),
        non_blocking: false,
        then,
    };
    let client = tcp::client("asks", &plan)?;
    Ok((server, client))
}

/// The client's owner is known from connect() on, the server's from accept() on; until then nobody owns it,
/// whoever was interrupted.
pub fn events_show_each_transition_with_its_owner() -> anyhow::Result<()> {
    let _netns = Netns::enter()?;
    let (server, mut client) = server_and_client(1, Then::Keep)?;
    let tool = Tool::start_attached(&["tcp", "--events", "--duration", "60s", "--json"])?;
    tcp::run_client(&mut client)?;
    // The server accepts it, then the client closes it.
    std::thread::sleep(Duration::from_millis(200));
    client.go()?;
    client.recv()?;
    std::thread::sleep(Duration::from_millis(300));
    let output = tool.interrupt()?;
    let lines: Vec<Value> = output
        .stdout
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()
        .with_context(|| output.stdout.clone())?;
    let (ours, theirs) = (client.pid, server.pid);
    for (end, wanted) in [
        (
            "network.peer.port",
            [
                ("closed", "syn_sent", Some(ours)),
                ("syn_sent", "established", Some(ours)),
                ("established", "fin_wait_1", Some(ours)),
                ("fin_wait_1", "fin_wait_2", Some(ours)),
                ("fin_wait_2", "closed", Some(ours)),
            ],
        ),
        (
            "network.local.port",
            [
                ("listen", "syn_received", None),
                ("syn_received", "established", None),
                ("established", "close_wait", Some(theirs)),
                ("close_wait", "last_ack", Some(theirs)),
                ("last_ack", "closed", Some(theirs)),
            ],
        ),
    ] {
        let side: Vec<&Value> = lines
            .iter()
            .filter(|l| l["type"] == "transition" && l[end] == 8080)
            .collect();
        ensure!(
            side.len() == wanted.len(),
            "{} transitions with {end} 8080:\n{}",
            side.len(),
            output.stdout
        );
        for (line, (from, to, owner)) in side.iter().zip(wanted) {
            let pid = line["process"]["process.pid"].as_u64();
            let right = pid == owner.map(u64::from);
            ensure!(
                line["from"] == from && line["to"] == to && right,
                "{from} -> {to} of {owner:?}, it says {line}"
            );
        }
    }
    Ok(())
}

/// Reads one line of its output and goes away, while there is more to print.
pub fn events_end_quietly_when_the_reader_goes() -> anyhow::Result<()> {
    let _netns = Netns::enter()?;
    let (_server, mut client) = server_and_client(u64::MAX, Then::CloseFirst)?;
    let stderr = tempfile::NamedTempFile::new()?;
    let mut tool = Spawned::start(
        Command::new(tool::path()?)
            .args(["tcp", "--events"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr.reopen()?),
    )?;
    client.go()?;
    let stdout = tool.process.stdout.take().context("no pipe")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    ensure!(!line.trim().is_empty(), "it printed {line:?}");
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = tool.process.try_wait()? {
            break status;
        }
        ensure!(
            begun.elapsed() < Duration::from_secs(10),
            "it goes on without a reader"
        );
        std::thread::sleep(Duration::from_millis(10));
    };
    let said = std::fs::read_to_string(stderr.path())?;
    ensure!(
        status.success() && said.is_empty(),
        "{status}, it said {said:?}"
    );
    Ok(())
}

/// One line on standard error, nothing on standard output, and this exit code.
fn one_line(output: &Output, code: i32, about: &str) -> anyhow::Result<()> {
    ensure!(
        output.code == Some(code)
            && output.stdout.is_empty()
            && output.stderr.lines().count() == 1
            && output.stderr.contains(about),
        "exit code {:?}, stdout {:?}, stderr {:?}",
        output.code,
        output.stdout,
        output.stderr
    );
    Ok(())
}

pub fn the_namespace_of_a_dead_process_is_one_clear_line() -> anyhow::Result<()> {
    let mut dead = child::fork(|_| {})?;
    dead.wait()?;
    let pid = dead.pid.to_string();
    for command in ["tcp", "diagnose"] {
        let output = tool::run(&[command, "--netns", &pid, "--duration", "1s"])?;
        one_line(&output, 2, &pid)?;
    }
    Ok(())
}

/// Its sockets are counted from outside, and the caller's are not.
pub fn another_namespace_is_watched_from_outside() -> anyhow::Result<()> {
    let netns = Netns::enter()?;
    let (server, mut client) = server_and_client(40, Then::Keep)?;
    tcp::run_client(&mut client)?;
    drop(netns);
    let pid = server.pid.to_string();
    let output = tool::run(&["tcp", "--netns", &pid, "--duration", "1s", "--json"])?;
    let census = &output.json()?["census"];
    ensure!(
        census["established"] == 80 && census["listen"] == 1,
        "{census} {}",
        output.stderr
    );
    Ok(())
}

pub fn without_rights_it_says_so_in_one_line() -> anyhow::Result<()> {
    const NOBODY: u32 = 65_534;
    // Where nobody may run it.
    let dir = tempfile::tempdir()?;
    probe_tests::web::open_to_all(dir.path())?;
    let copy = dir.path().join("stallscope");
    std::fs::copy(tool::path()?, &copy)?;
    let mut command = Command::new(copy);
    command
        .args(["tcp", "--duration", "1s"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .uid(NOBODY)
        .gid(NOBODY);
    let mut tool = Spawned::start(&mut command)?;
    let code = tool.process.wait()?.code();
    let (mut stdout, mut stderr) = (String::new(), String::new());
    if let (Some(out), Some(err)) = (&mut tool.process.stdout, &mut tool.process.stderr) {
        out.read_to_string(&mut stdout)?;
        err.read_to_string(&mut stderr)?;
    }
    let output = Output {
        code,
        stdout,
        stderr,
    };
    one_line(&output, 2, "CAP_")
}

pub fn nothing_is_left_after_its_end_or_kill_9() -> anyhow::Result<()> {
    let _netns = Netns::enter()?;
    let (_server, mut client) = server_and_client(20, Then::CloseFirst)?;
    tcp::run_client(&mut client)?;
    let before = std::fs::read_to_string("/proc/1/mounts")?;
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGKILL] {
        for args in [
            &["tcp", "--duration", "60s"][..],
            &["tcp", "--events", "--duration", "60s"][..],
        ] {
            let mut tool = Tool::start_attached(args)?;
            let (of_programs, of_maps) = programs::held_by(tool.pid());
            ensure!(
                !of_programs.is_empty() && !of_maps.is_empty(),
                "nothing is loaded"
            );
            tool.signal(signal);
            let output = tool.finish()?;
            let wanted = (signal != libc::SIGKILL).then_some(0);
            ensure!(
                output.code == wanted,
                "{args:?}: {:?} {}",
                output.code,
                output.stderr
            );
            match signal {
                libc::SIGKILL => programs::wait_until_gone(&of_programs, &of_maps)?,
                _ => programs::wait_until_let_go(&of_programs, &of_maps)?,
            }
        }
    }
    ensure!(
        std::fs::read_to_string("/proc/1/mounts")? == before,
        "a mount stays behind"
    );
    Ok(())
}
