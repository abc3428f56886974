//! `watch` on real servers: an incident is on disk with what led to it, told to a program, and nothing that goes wrong with
//! disk, file or program ends the watching.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use probe_tests::{
    ext4::Ext4,
    programs,
    soak::{self, Plan, names_the_peer},
    tool::{self, Tool},
    upstream::{Behaviour, Upstream},
    web::{self, FastCgi, Settings, Stack},
};
use serde_json::Value;
use stallscope::collect::recording::Recording;

const WORKERS: usize = 4;
/// Calls of a page, one after the other, as in incident A.
const CALLS: usize = 24;
/// How long a peer takes.
const DELAY: Duration = Duration::from_millis(20);
/// A finding is on disk within this time of the incident's beginning.
const FOUND: Duration = Duration::from_secs(60);
/// How `watch` is run here: quicker than usual.
const QUICK: [&str; 4] = ["--interval", "1s", "--span", "10s"];

/// Servers, and a place for what is saved.
struct Bench {
    stack: Option<Stack>,
    pool: String,
    place: tempfile::TempDir,
}

impl Bench {
    fn start() -> anyhow::Result<Self> {
        let pool = format!("watch{}", std::process::id());
        Ok(Self {
            stack: Some(stack(&pool)?),
            pool,
            place: tempfile::tempdir()?,
        })
    }

    /// Ends the servers, and starts them again after a while.
    fn restart(&mut self, after: Duration) -> anyhow::Result<()> {
        self.stack = None;
        std::thread::sleep(after);
        self.stack = Some(stack(&self.pool)?);
        Ok(())
    }

    fn addr(&self) -> anyhow::Result<SocketAddr> {
        Ok(self.stack.as_ref().context("no servers")?.addr)
    }

    fn dir(&self) -> PathBuf {
        self.place.path().join("saved")
    }

    /// Starts `watch` of the pool.
    fn watch(&self, dir: &Path, args: &[&str]) -> anyhow::Result<Tool> {
        let dir = dir.display().to_string();
        let first = ["watch", "--pool", &self.pool, "--dir", &dir];
        Tool::start_attached(&[&first[..], &QUICK, args].concat())
    }

    /// A program to be run on findings: it leaves what it got in the place, numbered.
    fn hook(&self) -> anyhow::Result<String> {
        let path = self.place.path().join("hook");
        let text = format!(
            "#!/bin/sh\ncd {}\nn=$(ls | grep -c '^got')\ncat > got.$n\nenv > env.$n\nfor f in /proc/$$/fd/*; do readlink $f; done > fds.$n\n",
            self.place.path().display()
        );
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(path.display().to_string())
    }

    /// Requests that have nothing to wait for.
    fn healthy(&self, time: Duration) -> anyhow::Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < time {
            web::get(self.addr()?, "/fast.php")?;
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Incident A with this peer, until `enough`.
    fn sick(
        &self,
        peer: &Upstream,
        enough: impl Fn() -> anyhow::Result<bool>,
    ) -> anyhow::Result<Duration> {
        let page = format!("/calls.php?n={CALLS}&url=http://{}/", peer.host_port());
        let begun = Instant::now();
        while !enough()? {
            ensure!(
                begun.elapsed() < FOUND,
                "not within {FOUND:?}: {:?}",
                files(&self.dir())
            );
            web::get_many(self.addr()?, &page, WORKERS, WORKERS)?;
        }
        Ok(begun.elapsed())
    }
}

fn stack(pool: &str) -> anyhow::Result<Stack> {
    Stack::start(Settings {
        pool,
        workers: WORKERS,
        fastcgi: FastCgi::Unix,
        keep_conn: false,
    })
}

/// Names in a directory, sorted.
fn files(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// What is there with this ending on pools that wait, without what is still being written. Whatever else goes on in the
/// network namespace may be found, too.
fn with_ending(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let names = files(dir).into_iter();
    let incidents = names.filter(|n| n.contains("-W01") && n.ends_with(ending));
    incidents.map(|name| dir.join(name)).collect()
}

fn peer() -> anyhow::Result<Upstream> {
    Upstream::tcp(Behaviour::http(DELAY, false))
}

pub fn an_incident_is_saved_with_what_led_to_it_and_told_once() -> anyhow::Result<()> {
    let (bench, peer) = (Bench::start()?, peer()?);
    let (dir, hook) = (bench.dir(), bench.hook()?);
    let args = ["--before", "20s", "--after", "5s", "--on-finding", &hook];
    let mut tool = bench.watch(&dir, &args)?;
    bench.healthy(Duration::from_secs(35))?;
    let quiet = with_ending(&dir, "").is_empty() && dir.join("ring.rec").exists();
    ensure!(quiet, "{:?}", files(&dir));
    let begun_unix_ns = soak::unix_ns();
    let found = bench.sick(&peer, || Ok(!with_ending(&dir, ".rec").is_empty()))?;
    println!(
        "report and recording are there after {:.1} s",
        found.as_secs_f64()
    );
    // It goes on for a while; that is no news.
    let begun = Instant::now();
    bench.sick(&peer, || Ok(begun.elapsed() > Duration::from_secs(35)))?;
    tool.signal(libc::SIGTERM);
    let end = tool.finish()?;
    ensure!(end.code == Some(0), "{:?}: {}", end.code, end.stderr);

    let reports = with_ending(&dir, ".json");
    ensure!(
        reports.len() == 1 && !dir.join("ring.rec").exists(),
        "{:?}",
        files(&dir)
    );
    let stem = reports[0].with_extension("");
    for file in files(&dir) {
        let mode = fs::metadata(dir.join(&file))?.mode() & 0o777;
        ensure!(mode == 0o600, "{file}: {mode:o}");
    }
    let text = fs::read_to_string(&reports[0])?;
    names_the_peer(
        &serde_json::from_str(&text)?,
        &bench.pool,
        &peer.host_port(),
    )?;
    ensure!(fs::read_to_string(stem.with_extension("html"))?.contains(&peer.host_port()));

    let recording = stem.with_extension("rec");
    let first = soak::first_look(Recording::open(&recording)?)?;
    let before = Duration::from_nanos(begun_unix_ns.saturating_sub(first));
    ensure!(
        before >= Duration::from_secs(20),
        "{before:?} before it\n{}",
        end.stderr
    );
    let name = recording.display().to_string();
    let replayed = tool::run(&["replay", &name, "--json"])?;
    ensure!(
        replayed.code == Some(1) && replayed.stderr.is_empty(),
        "{}",
        replayed.stderr
    );
    names_the_peer(&replayed.json()?, &bench.pool, &peer.host_port())?;

    let place = bench.place.path();
    let told: Vec<usize> = (0..files(place).len())
        .filter(|n| {
            fs::read_to_string(place.join(format!("env.{n}")))
                .is_ok_and(|env| env.contains("STALLSCOPE_RULE=W01"))
        })
        .collect();
    ensure!(
        told.len() == 1,
        "it was told {told:?} of {:?}",
        files(place)
    );
    let got = |what: &str| fs::read_to_string(place.join(format!("{what}.{}", told[0])));
    ensure!(got("got")? == text, "the program got something else");
    let env = got("env")?;
    for line in [
        "STALLSCOPE_RULE=W01".to_owned(),
        format!("STALLSCOPE_FILE={}", reports[0].display()),
        format!("STALLSCOPE_RECORDING={}", recording.display()),
    ] {
        ensure!(env.lines().any(|l| l == line), "no {line} in {env}");
    }
    // Nothing that `watch` has open: neither what it loaded, nor its directory.
    let fds = got("fds")?;
    let leaked = fds.contains("anon_inode") || fds.contains(&dir.display().to_string());
    ensure!(!leaked, "it has {fds}");
    for part in ["W01 blocking-upstream opened", "saved ", "before it)"] {
        ensure!(end.stderr.contains(part), "no {part}: {}", end.stderr);
    }
    Ok(())
}

pub fn a_pool_that_is_gone_and_back_is_watched_again() -> anyhow::Result<()> {
    let (mut bench, peer) = (Bench::start()?, peer()?);
    let dir = bench.dir();
    let mut tool = bench.watch(&dir, &["--before", "10s", "--after", "1s"])?;
    bench.healthy(Duration::from_secs(2))?;
    bench.restart(Duration::from_secs(6))?;
    bench.sick(&peer, || Ok(!with_ending(&dir, ".rec").is_empty()))?;
    tool.signal(libc::SIGTERM);
    let end = tool.finish()?;
    ensure!(end.code == Some(0), "{:?}: {}", end.code, end.stderr);
    let report = with_ending(&dir, ".json").pop().context("no report")?;
    let report: Value = serde_json::from_str(&fs::read_to_string(report)?)?;
    names_the_peer(&report, &bench.pool, &peer.host_port())
}

pub fn one_directory_is_for_one_and_kill_9_leaves_nothing_but_the_ring() -> anyhow::Result<()> {
    let bench = Bench::start()?;
    let dir = bench.dir();
    let (programs_before, maps_before) = (programs::programs(), programs::maps());
    let mut tool = bench.watch(&dir, &[])?;
    let second = [
        "watch",
        "--pool",
        &bench.pool,
        "--dir",
        &dir.display().to_string(),
    ];
    let second = tool::run(&second)?;
    ensure!(
        second.code == Some(2) && second.stderr.contains("another stallscope saves there"),
        "{:?}: {}",
        second.code,
        second.stderr
    );
    ensure!(second.stderr.lines().count() == 1, "{}", second.stderr);
    bench.healthy(Duration::from_secs(5))?;
    let (of_programs, of_maps) = programs::held_by(tool.pid());
    ensure!(!of_programs.is_subset(&programs_before) && !of_maps.is_subset(&maps_before));
    tool.signal(libc::SIGKILL);
    tool.finish()?;
    programs::wait_until_gone(&of_programs, &of_maps)?;
    ensure!(
        files(&dir).contains(&"ring.rec".to_owned()),
        "{:?}",
        files(&dir)
    );

    let mut again = bench.watch(&dir, &[])?;
    bench.healthy(Duration::from_secs(2))?;
    again.signal(libc::SIGINT);
    ensure!(again.finish()?.code == Some(0));
    ensure!(!dir.join("ring.rec").exists(), "{:?}", files(&dir));
    let ring = dir.join("before-restart.rec").display().to_string();
    let replayed = tool::run(&["replay", &ring, "--json"])?;
    ensure!(
        replayed.code == Some(0),
        "{:?}: {}",
        replayed.code,
        replayed.stderr
    );
    let seconds = replayed.json()?["window"]["duration_ns"]
        .as_u64()
        .unwrap_or(0)
        / 1_000_000_000;
    ensure!(seconds >= 3, "{seconds} s");
    Ok(())
}

pub fn a_bad_configuration_changes_nothing() -> anyhow::Result<()> {
    let bench = Bench::start()?;
    let config = bench.place.path().join("a.toml");
    let name = config.display().to_string();
    fs::write(&config, "severity = 'critical'\n")?;
    let mut tool = bench.watch(&bench.dir(), &["--config", &name])?;
    let second = Duration::from_secs(1);
    for text in [
        "severity = 'bad'\n",
        "\nspann = '10s'\n",
        "netns = 1\n",
        "severity = 'info'\n",
    ] {
        fs::write(&config, text)?;
        tool.signal(libc::SIGHUP);
        bench.healthy(second)?;
    }
    fs::remove_file(&config)?;
    tool.signal(libc::SIGHUP);
    bench.healthy(second)?;
    tool.signal(libc::SIGTERM);
    let end = tool.finish()?;
    ensure!(end.code == Some(0), "{:?}: {}", end.code, end.stderr);
    let lines: Vec<&str> = end
        .stderr
        .lines()
        .filter(|l| l.contains("onfiguration"))
        .collect();
    let parts = [
        "stays as it was: ",
        ":2: unknown field `spann`",
        "cannot change while it runs",
        "configuration read: findings saved to ",
        "cannot read ",
    ];
    ensure!(lines.len() == parts.len(), "{}", end.stderr);
    for (line, part) in lines.iter().zip(parts) {
        ensure!(line.contains(part), "no {part} in {line}");
    }
    // Before it is attached, it is an error.
    fs::write(&config, "severity = 'bad'\n")?;
    let refused = tool::run(&["watch", "--config", &name])?;
    ensure!(
        refused.code == Some(2) && refused.stderr.contains("a.toml:1: "),
        "{}",
        refused.stderr
    );
    Ok(())
}

pub fn a_full_disk_ends_no_watching_and_is_used_again() -> anyhow::Result<()> {
    let (bench, first, second) = (Bench::start()?, peer()?, peer()?);
    let disk = Ext4::fast()?;
    let dir = disk.dir.join("saved");
    let filler = disk.dir.join("filler");
    fill(&filler)?;
    let hook = bench.hook()?;
    let args = ["--before", "10s", "--after", "1s", "--on-finding", &hook];
    let mut tool = bench.watch(&dir, &args)?;
    bench.healthy(Duration::from_secs(12))?;
    let is_told = |peer: &Upstream| {
        let place = bench.place.path();
        let reports = files(place)
            .into_iter()
            .filter(|name| name.starts_with("got."));
        let texts = reports.filter_map(|name| fs::read_to_string(place.join(name)).ok());
        let reports = texts.filter_map(|text| serde_json::from_str(&text).ok());
        reports
            .into_iter()
            .any(|json: Value| names_the_peer(&json, &bench.pool, &peer.host_port()).is_ok())
    };
    bench.sick(&first, || Ok(is_told(&first)))?;
    bench.healthy(Duration::from_secs(5))?;
    ensure!(files(&dir).is_empty(), "{:?}", files(&dir));
    // There is room again: the ring is begun, and the next finding is saved.
    fs::remove_file(&filler)?;
    let begun = Instant::now();
    while files(&dir).is_empty() {
        ensure!(begun.elapsed() < FOUND, "no ring");
        bench.healthy(Duration::from_millis(500))?;
    }
    let names_second = |path: &PathBuf| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let json: Value = serde_json::from_str(&text).unwrap_or_default();
        names_the_peer(&json, &bench.pool, &second.host_port()).is_ok()
            && path.with_extension("rec").exists()
    };
    let saved = || with_ending(&dir, ".json").iter().any(names_second);
    bench.sick(&second, || Ok(saved()))?;
    tool.signal(libc::SIGTERM);
    let end = tool.finish()?;
    ensure!(end.code == Some(0), "{:?}: {}", end.code, end.stderr);
    for part in ["no recording is kept in", "the ring is written again"] {
        ensure!(end.stderr.matches(part).count() == 1, "{}", end.stderr);
    }
    for part in ["the report of", "the recording of"] {
        ensure!(end.stderr.contains(part), "{}", end.stderr);
    }
    Ok(())
}

/// Fills the disk that a file is on, but for a MB.
fn fill(file: &Path) -> anyhow::Result<()> {
    let filled = fs::File::create_new(file)?;
    let mut at = 0;
    let block = vec![1; 1 << 20];
    loop {
        use std::os::unix::fs::FileExt as _;
        match filled.write_all_at(&block, at) {
            Ok(()) => at += block.len() as u64,
            Err(error) => {
                ensure!(error.kind() == std::io::ErrorKind::StorageFull, "{error}");
                filled.set_len(at.saturating_sub(1 << 20))?;
                return Ok(());
            }
        }
    }
}

pub fn it_keeps_its_memory_under_churn() -> anyhow::Result<()> {
    let outcome = soak::run(&Plan {
        length: Duration::from_secs(75),
        incident_at: Duration::from_secs(40),
        incident: Duration::from_secs(30),
        before: Duration::from_secs(20),
        sample: Duration::from_secs(1),
        serve: true,
        binary: None,
    })?;
    ensure!(outcome.before >= Duration::from_secs(20), "{outcome:?}");
    for book in &outcome.books {
        ensure!(book.is_balanced(), "{book}");
    }
    let most = outcome.rss.iter().map(|(_, bytes)| *bytes).max();
    println!(
        "at most {:?} bytes of memory, found after {:?}",
        most, outcome.found_after
    );
    Ok(())
}
