//! What is recorded on incident A's stack: a replay says what the run said, byte for byte, to anybody, in every format.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use probe_tests::{
    report::{Report, culprit},
    tool::{self, Tool},
    upstream::{Behaviour, Upstream},
    web::{self, FastCgi, Settings, Stack},
};

const WORKERS: usize = 4;
/// Calls of a page, one after the other, as in incident A.
const CALLS: usize = 24;
/// How long the peer takes.
const DELAY: Duration = Duration::from_millis(20);
/// The user that nobody is.
const NOBODY: &str = "65534";
/// A minute of incident A's load may take so many bytes.
const MINUTE_BYTES: u64 = 5_000_000;

/// Incident A: the servers, the peer, and what asks for the page.
struct Incident {
    stack: Stack,
    peer: Upstream,
    pool: String,
    page: String,
}

impl Incident {
    fn start() -> anyhow::Result<Self> {
        let peer = Upstream::tcp(Behaviour::http(DELAY, false))?;
        let pool = format!("e2e{}", std::process::id());
        let stack = Stack::start(Settings {
            pool: &pool,
            workers: WORKERS,
            fastcgi: FastCgi::Unix,
            keep_conn: false,
        })?;
        let page = format!("/calls.php?n={CALLS}&url=http://{}/", peer.host_port());
        Ok(Self {
            stack,
            peer,
            pool,
            page,
        })
    }

    fn ask(&self, times: usize) -> anyhow::Result<()> {
        web::get_many(self.stack.addr, &self.page, times, WORKERS).map(|_| ())
    }
}

/// Runs `replay` as a user without any rights.
fn replay(file: &Path, format: &str) -> anyhow::Result<tool::Output> {
    let copy = tempfile::Builder::new().prefix("replay-").tempdir()?;
    fs::set_permissions(copy.path(), fs::Permissions::from_mode(0o755))?;
    let binary = copy.path().join("stallscope");
    fs::copy(tool::path()?, &binary)?;
    let recording = copy.path().join("a.rec");
    fs::copy(file, &recording)?;
    for path in [&binary, &recording] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    }
    let output = Command::new("setpriv")
        .args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"])
        .arg(&binary)
        .arg("replay")
        .arg(&recording)
        .arg(format)
        .stdin(Stdio::null())
        .output()
        .context("setpriv (util-linux) does not start")?;
    Ok(tool::Output {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout)?,
        stderr: String::from_utf8(output.stderr)?,
    })
}

pub fn a_replay_says_what_the_run_said_byte_for_byte() -> anyhow::Result<()> {
    let incident = Incident::start()?;
    let folder = tempfile::tempdir()?;
    for format in ["--color=never", "--json", "--html", "--markdown"] {
        let file = folder.path().join(format!("{format}.rec"));
        let record = file.display().to_string();
        let args = ["--duration", "60s", "--record", &record, format];
        let tool =
            Tool::start_attached(&[&["diagnose", "--pool", &incident.pool], &args[..]].concat())?;
        incident.ask(16)?;
        let live = tool.interrupt()?;
        ensure!(live.code == Some(1), "{:?}: {}", live.code, live.stderr);
        let again = replay(&file, format)?;
        ensure!(
            again.code == live.code,
            "{:?}: {}",
            again.code,
            again.stderr
        );
        ensure!(again.stderr.is_empty(), "{}", again.stderr);
        let same = live.stdout == again.stdout;
        ensure!(same, "{format}:\n{}\n{}", live.stdout, again.stdout);
        if format == "--json" {
            let report = Report::of(&again)?;
            let finding = report.finding("W01")?;
            ensure!(culprit(finding) == incident.peer.host_port());
        }
        if format == "--color=never" {
            // What somebody reads who reads no further: the cause, its weight, the first remedy.
            let first: Vec<&str> = live.stdout.lines().take(10).collect();
            let first = first.join("\n");
            for words in ["W01", "%", &incident.peer.host_port(), "Do first"] {
                ensure!(first.contains(words), "no {words} in\n{first}");
            }
        }
    }
    Ok(())
}

pub fn a_killed_recording_can_be_replayed_and_a_minute_is_small() -> anyhow::Result<()> {
    let incident = Incident::start()?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("a.rec");
    let name = file.display().to_string();
    let mut tool = Tool::start_attached(&["record", &name, "--pool", &incident.pool])?;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(12) {
        incident.ask(8)?;
    }
    let recorded = begun.elapsed();
    tool.signal(libc::SIGKILL);
    let end = tool.finish()?;
    ensure!(end.code.is_none(), "{:?}: {}", end.code, end.stderr);
    let bytes = fs::metadata(&file)?.len();
    let minute = bytes * 60 / recorded.as_secs().max(1);
    ensure!(minute < MINUTE_BYTES, "{minute} bytes a minute");
    println!("{minute} bytes a minute of incident A's load");

    let output = replay(&file, "--json")?;
    ensure!(output.stderr.contains("was not ended"), "{}", output.stderr);
    let report = Report::of(&output)?;
    report.finding("W01")?;
    let seconds = report.0["window"]["duration_ns"].as_u64().unwrap_or(0) / 1_000_000_000;
    ensure!(seconds >= 4, "{seconds} s of {recorded:?}");

    // It does not overwrite what it wrote.
    let refused = tool::run(&["record", &name, "--pool", &incident.pool])?;
    ensure!(refused.code == Some(2) && refused.stderr.contains("it is there already"));
    Ok(())
}

/// Starts the binary with a file system of 8 KiB on `place`, which nobody else sees.
fn on_a_small_disk(place: &Path, args: &[&str]) -> anyhow::Result<Child> {
    let script = "mount -t tmpfs -o size=8k small \"$0\" && exec \"$@\"";
    Command::new("unshare")
        .args(["--mount", "sh", "-c", script])
        .arg(place)
        .arg(tool::path()?)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("unshare (util-linux) does not start")
}

pub fn a_full_disk_ends_a_recording_but_no_report() -> anyhow::Result<()> {
    let incident = Incident::start()?;
    let place = tempfile::tempdir()?;
    let file = place.path().join("a.rec").display().to_string();
    let run = |args: &[&str]| -> anyhow::Result<(Option<i32>, String, String)> {
        let child = on_a_small_disk(place.path(), args)?;
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(10) {
            incident.ask(8)?;
        }
        let output = child.wait_with_output()?;
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Ok((
            output.status.code(),
            text(&output.stdout),
            text(&output.stderr),
        ))
    };
    let (code, _, stderr) = run(&["record", &file, "--pool", &incident.pool, "-d", "50s"])?;
    ensure!(code == Some(2), "{code:?}: {stderr}");
    ensure!(stderr.contains("No space left on device"), "{stderr}");

    let args = [
        "diagnose",
        "--pool",
        &incident.pool,
        "-d",
        "12s",
        "--record",
        &file,
    ];
    let (code, stdout, stderr) = run(&args)?;
    ensure!(
        code == Some(1) && stdout.contains("W01"),
        "{code:?}: {stdout}{stderr}"
    );
    ensure!(stderr.contains("No space left on device"), "{stderr}");
    Ok(())
}
