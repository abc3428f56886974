//! What stallscope itself takes while it runs on: `serve` at rest, under many requests and with very many peers, and the live view at rest and
//! beside hundreds of workers.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use probe_tests::{
    child::Child,
    netns,
    pty::Terminal,
    sys::Addr,
    tcp::{self, Manner, Plan, Then},
    web,
};
use serde_json::{Map, Value, json};

use crate::{add, blocks::Blocks, load::Load, machine, tool};

/// What comes before a sample: the first looks cost what no later one does.
const SETTLE: Duration = Duration::from_secs(6);
/// A sample of [`serve`]: two looks.
const SERVE_SAMPLE: Duration = Duration::from_secs(10);
/// A sample of [`view`].
const VIEW_SAMPLE: Duration = Duration::from_secs(10);
/// Workers and requests of `serve`'s load.
const SERVE_LOAD: (usize, u64) = (16, 20_000);
/// Workers and requests beside the view.
const VIEW_LOAD: (usize, u64) = (256, 700);
/// The terminal of the view: columns and rows.
const SCREEN: (u16, u16) = (200, 60);
/// Addresses to which a connection is open while metrics are asked for.
const PEERS: u32 = 10_000;
/// How often they are asked for once a look has made them new, and how long that takes at most.
const FRESH: usize = 3;
const LOOK: Duration = Duration::from_millis(5200);
/// How often they are asked for in a row.
const SCRAPES: usize = 99;

/// Samples: the row, and its names and numbers.
type Samples = Vec<(&'static str, Vec<(&'static str, f64)>)>;

/// Measures `stallscope serve`.
pub fn serve(rounds: usize, stallscope: &Path) -> anyhow::Result<Value> {
    measure(rounds, SERVE_LOAD, || serve_once(stallscope))
}

/// Measures the live view.
pub fn view(rounds: usize, stallscope: &Path) -> anyhow::Result<Value> {
    // SAFETY: this program has one thread here.
    unsafe { std::env::set_var("STALLSCOPE_BIN", stallscope) };
    measure(rounds, VIEW_LOAD, view_once)
}

fn measure(
    rounds: usize,
    load: (usize, u64),
    once: impl Fn() -> anyhow::Result<Samples>,
) -> anyhow::Result<Value> {
    let _netns = netns::Netns::enter()?;
    let mut blocks = Blocks::default();
    let mut rows = Map::new();
    for round in 0..rounds {
        for (row, found) in blocks.run("the tool itself", &once)? {
            add(&mut rows, row, found);
        }
        eprintln!("bench: round {} of {rounds}", round + 1);
    }
    let mut result = machine(thread::available_parallelism().map_or(1, usize::from));
    result.extend([
        ("rounds".into(), json!(rounds)),
        ("blocks".into(), json!(blocks.all)),
        ("disturbed_blocks".into(), json!(blocks.disturbed)),
        ("workers".into(), json!(load.0)),
        ("per_s".into(), json!(load.1)),
        ("peers".into(), json!(PEERS)),
        ("rows".into(), rows.into()),
    ]);
    Ok(result.into())
}

fn serve_once(stallscope: &Path) -> anyhow::Result<Samples> {
    let address = SocketAddr::from(([127, 0, 0, 1], web::free_port()?));
    let mut command = Command::new(stallscope);
    command.args([
        "serve",
        "--listen",
        &address.to_string(),
        "--duration",
        "1h",
    ]);
    let tool = tool::Tool::start_attached(&mut command)?;
    let pid = tool.pid();
    let mut samples = Samples::new();
    thread::sleep(SETTLE);
    samples.push(("quiet", sample("quiet", pid, || rest(SERVE_SAMPLE))?));

    let (workers, per_s) = SERVE_LOAD;
    let mut load = Load::start(workers)?;
    load.ask(per_s, SETTLE)?;
    let mut answered = 0;
    let mut busy = sample("busy", pid, || {
        answered = load.ask(per_s, SERVE_SAMPLE)?;
        Ok(())
    })?;
    busy.push(("per_s", answered as f64 / SERVE_SAMPLE.as_secs_f64()));
    samples.push(("busy", busy));
    drop(load);

    let peers = Peers::start()?;
    // They are in what is told from the next look on.
    thread::sleep(SETTLE);
    let beside = sample("peers", pid, || rest(SERVE_SAMPLE))?;
    let percent = beside.iter().find(|(name, _)| *name == "percent");
    let percent = percent.map_or(0.0, |(_, percent)| *percent);
    samples.push(("peers", beside));
    samples.push(("scrape", scrapes(address, pid, percent)?));
    drop(peers);
    tool.kill()?;
    Ok(samples)
}

fn view_once() -> anyhow::Result<Samples> {
    let mut terminal = Terminal::start(&["-i", "250ms"], SCREEN, None)?;
    terminal.wait_for("workers")?;
    let mut samples = Samples::new();
    let mut look = |row: &'static str, screen: &str| -> anyhow::Result<()> {
        terminal.keys(screen)?;
        // What is drawn must be read all the time: it waits for its terminal.
        terminal.read_for(SETTLE)?;
        let found = sample(row, terminal.pid(), || terminal.read_for(VIEW_SAMPLE))?;
        samples.push((row, found));
        Ok(())
    };
    look("quiet", "1")?;
    let (workers, per_s) = VIEW_LOAD;
    let mut load = Load::start(workers)?;
    look("idle_workers", "1")?;
    let time = (SETTLE + VIEW_SAMPLE) * 2 + Duration::from_secs(2);
    let answered = thread::scope(|scope| {
        let asking = scope.spawn(|| load.ask(per_s, time));
        look("busy_overview", "1")?;
        look("busy_workers", "2")?;
        let asked = asking.join();
        asked.map_err(|_| anyhow::anyhow!("whoever asks has ended"))?
    })?;
    for (row, found) in &mut samples {
        if row.starts_with("busy") {
            found.push(("per_s", answered as f64 / time.as_secs_f64()));
        }
    }
    terminal.keys("q")?;
    terminal.finish()?;
    Ok(samples)
}

fn rest(time: Duration) -> anyhow::Result<()> {
    thread::sleep(time);
    Ok(())
}

/// CPU time of a process while something is done, percent of one CPU, and its largest memory by then.
fn sample(
    row: &str,
    pid: u32,
    work: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<Vec<(&'static str, f64)>> {
    let (begun, before) = (Instant::now(), tool::cpu_ns(pid));
    work()?;
    let took = begun.elapsed().as_secs_f64();
    let spent = tool::cpu_ns(pid).saturating_sub(before) as f64 / 1e9;
    let found = vec![
        ("percent", 100.0 * spent / took),
        ("rss", memory(pid)? as f64),
    ];
    eprintln!("bench: {row}: {found:?}");
    Ok(found)
}

/// Resident memory of a process at its largest, bytes.
fn memory(pid: u32) -> anyhow::Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    let kib = line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok());
    kib.map(|kib| kib * 1024)
        .ok_or_else(|| anyhow::anyhow!("process {pid} has no memory"))
}

/// A process with a connection to each of very many addresses, and the one that they all lead to.
struct Peers {
    _client: Child,
    _server: Child,
}

impl Peers {
    fn start() -> anyhow::Result<Self> {
        let port = web::free_port()?;
        let server = tcp::server(
            "bench-server",
            &[Addr::Inet(([0, 0, 0, 0], port).into())],
            Manner::Keep,
        )?;
        let address = |n: u32| {
            let [_, a, b, c] = n.to_be_bytes();
            Addr::Inet(([127, 1 + a, b, c], port).into())
        };
        let plan = Plan {
            to: (1..=PEERS).map(address).collect(),
            times: PEERS.into(),
            every: Duration::ZERO,
            non_blocking: false,
            then: Then::Keep,
        };
        let mut client = tcp::client("bench-clients", &plan)?;
        let account = tcp::run_client(&mut client)?;
        ensure!(
            account.made == u64::from(PEERS),
            "of {PEERS} connects: {account:?}"
        );
        Ok(Self {
            _client: client,
            _server: server,
        })
    }
}

/// Asks for all metrics many times: how long it takes, what it costs the tool beyond the `percent` of a CPU that it takes anyhow, and how much is told.
fn scrapes(
    address: SocketAddr,
    pid: u32,
    percent: f64,
) -> anyhow::Result<Vec<(&'static str, f64)>> {
    let mut text = String::new();
    let mut timed = |pause: Duration| -> anyhow::Result<f64> {
        thread::sleep(pause);
        let begun = Instant::now();
        text = scrape(address)?;
        Ok(begun.elapsed().as_secs_f64() * 1e3)
    };
    let fresh = (0..FRESH).map(|_| timed(LOOK));
    let mut fresh_ms = fresh.collect::<anyhow::Result<Vec<f64>>>()?;
    fresh_ms.sort_by(f64::total_cmp);
    let (all, before) = (Instant::now(), tool::cpu_ns(pid));
    let row = (0..SCRAPES).map(|_| timed(Duration::ZERO));
    let mut took_ms = row.collect::<anyhow::Result<Vec<f64>>>()?;
    let spent_ms = (tool::cpu_ns(pid) - before) as f64 / 1e6;
    let anyhow_ms = all.elapsed().as_secs_f64() * 1e3 * percent / 100.0;
    let cpu_ms = (spent_ms - anyhow_ms) / SCRAPES as f64;
    took_ms.sort_by(f64::total_cmp);
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    // Rows that have an address of these are told apart; all others are in rows that say so.
    let apart = samples.clone().filter(|line| line.contains("\"127."));
    let lost = samples.clone().filter_map(|line| {
        let (what, value) = line
            .strip_prefix("stallscope_losses_total{")?
            .rsplit_once(' ')?;
        let count = value.parse::<f64>().ok()?;
        if count > 0.0 {
            eprintln!("bench: lost: {what}: {count}");
        }
        Some(count)
    });
    let lost: f64 = lost.sum();
    Ok(vec![
        ("fresh_ms", fresh_ms[FRESH / 2]),
        ("ms", took_ms[SCRAPES / 2]),
        ("most_ms", took_ms[SCRAPES - 1]),
        ("cpu_ms", cpu_ms),
        ("bytes", text.len() as f64),
        ("samples", samples.clone().count() as f64),
        ("apart", apart.count() as f64),
        ("lost", lost),
    ])
}

/// One scrape, as Prometheus makes it.
fn scrape(address: SocketAddr) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    write!(
        stream,
        "GET /metrics HTTP/1.1\r\nHost: bench\r\nConnection: close\r\nAccept: application/openmetrics-text;version=1.0.0\r\n\r\n"
    )?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n").context("no head")?;
    ensure!(head.starts_with("HTTP/1.1 200"), "{head}");
    ensure!(body.trim_end().ends_with("# EOF"), "the answer is cut off");
    Ok(body.to_owned())
}
