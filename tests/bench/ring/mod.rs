//! How many events a second go through the ring, and what becomes of those that do not: every one is either seen or counted as lost.
//!
//! Two things are asked. The ring alone, with the barest reader: what the kernel side's way of sending can do. And the tool: its own ring, its
//! own reader, everything up to the report, which must then say exactly how many there were.

mod reader;
mod storm;

use std::{
    path::Path,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use probe_common::{
    loss,
    peer::special,
    request::{Request, event},
    tcp::Connect,
};
use probe_tests::{netns, sys};
use serde_json::{Map as Json, Value, json};

use self::{
    reader::Reader,
    storm::{Made, Storm},
};
use crate::{
    add,
    blocks::Blocks,
    bpf::{self, Map},
    calls, machine, replay,
    tool::{self, Tool},
};

/// What is to go through the ring, events a second.
const GOAL: f64 = 4e6;
/// For so long.
const LONG: Duration = Duration::from_secs(10);
/// A try of a rate.
const TRY: Duration = Duration::from_millis(1500);
/// As fast as it goes.
const BEYOND: Duration = Duration::from_secs(3);
/// What lies in the ring and in the tool's memory is dealt with by then.
const SETTLE: Duration = Duration::from_millis(700);
/// A storm ends when the tool's memory comes to this, bytes.
const MEMORY: u64 = 1 << 30;
/// The pace is kept when no more than this share of it is missing.
const PACE: f64 = 0.97;

/// A record that the tool knows, and how its report says how many there were.
struct Kind {
    /// Its name in the result.
    id: &'static str,
    /// The command that is asked.
    command: &'static [&'static str],
    record: fn() -> Vec<u8>,
    seen: fn(&Value) -> u64,
    /// Rates that are tried, one after the other, events a second.
    rates: &'static [f64],
}

const KINDS: &[Kind] = &[
    Kind {
        id: "connects",
        command: &["tcp"],
        record: connect,
        seen: connects,
        rates: &[50e3, 100e3, 250e3, 500e3, 1e6, 1.5e6, 2e6, 3e6, GOAL],
    },
    Kind {
        id: "requests",
        command: &["diagnose"],
        record: request,
        seen: requests,
        rates: &[5e3, 10e3, 25e3, 50e3, 100e3, 150e3, 200e3, 300e3, 400e3],
    },
];

/// Measures.
pub fn run(rounds: usize, stallscope: &Path) -> anyhow::Result<Value> {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    ensure!(cpus > 1, "one CPU cannot send and read at once");
    let _netns = netns::Netns::enter()?;
    let mut blocks = Blocks::default();
    let mut rows = Json::new();
    for round in 0..rounds {
        let found = blocks.run("the ring alone", || alone(cpus))?;
        eprintln!("bench: the ring alone: {found:?}");
        add(&mut rows, "alone", found);
        for kind in KINDS {
            let found = blocks.run(kind.id, || through_the_tool(kind, stallscope, cpus))?;
            eprintln!("bench: {}: {found:?}", kind.id);
            add(&mut rows, kind.id, found);
        }
        eprintln!("bench: round {} of {rounds}", round + 1);
    }
    calls::pin(0..cpus)?;
    let mut result = machine(cpus);
    result.extend([
        ("rounds".into(), json!(rounds)),
        ("blocks".into(), json!(blocks.all)),
        ("disturbed_blocks".into(), json!(blocks.disturbed)),
        ("goal_per_s".into(), json!(GOAL)),
        ("long_s".into(), json!(LONG.as_secs())),
        ("rows".into(), rows.into()),
    ]);
    Ok(result.into())
}

/// What was found: names and numbers.
type Found = Vec<(&'static str, f64)>;

/// The ring of the tool's size, and nobody but the barest reader.
fn alone(cpus: usize) -> anyhow::Result<Found> {
    const TOOLS_RING: u32 = 1 << 21;
    let ring = Map::make(bpf::RING, 0, TOOLS_RING)?;
    let record = connect();
    let storm = Storm::new(&ring, None, &record)?;
    let mut found = vec![
        ("record_bytes", record.len() as f64),
        ("ring_bytes", f64::from(ring.entries)),
    ];
    let paced = read_alone(&ring, cpus, || storm.blow(LONG, Some(GOAL), || true))?;
    found.extend(long(paced.0, GOAL));
    found.push(("reader_percent", paced.1));
    let beyond = read_alone(&ring, cpus, || storm.blow(BEYOND, None, || true))?;
    found.extend(fast(beyond.0, 0));
    Ok(found)
}

/// Runs a storm on the last CPU while a thread on the first reads; what was made, all of which was read or lost, and the reader's CPU time,
/// percent of one CPU.
fn read_alone(
    ring: &Map,
    cpus: usize,
    storm: impl FnOnce() -> anyhow::Result<Made>,
) -> anyhow::Result<(Made, f64)> {
    let stop = AtomicBool::new(false);
    let mut reader = Reader::new(ring)?;
    calls::pin(cpus - 1..cpus)?;
    let (made, read) = std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            let pinned = calls::pin(0..1);
            let (records, sum) = reader.read(&stop);
            pinned.map(|()| (records, sum, sys::thread_cpu_ns()))
        });
        let made = storm();
        stop.store(true, Ordering::Release);
        (made, reading.join())
    });
    let made = made?;
    let (records, sum, cpu_ns) = read.map_err(|_| anyhow::anyhow!("the reader ended"))??;
    ensure!(
        records + made.lost == made.made && sum == records * u64::from(event::CONNECT),
        "{made:?}, and {records} were read, whose first words add up to {sum}"
    );
    Ok((made, cpu_ns as f64 / 1e7 / made.took))
}

/// The tool's own ring and reader: the highest rate of those tried at which nothing is lost for ten seconds, and what becomes of what is more than
/// that.
fn through_the_tool(kind: &Kind, stallscope: &Path, cpus: usize) -> anyhow::Result<Found> {
    calls::pin(0..1)?;
    let mut command = Command::new(stallscope);
    command
        .args(kind.command)
        .args(["--duration", "10m", "--json"]);
    let tool = Tool::start_attached(&mut command)?;
    let pid = tool.pid();
    calls::pin(cpus - 1..cpus)?;
    // Requests are whole only when they began after watching did.
    std::thread::sleep(SETTLE);
    let record = (kind.record)();
    let ring = Map::of_process(pid, "EVENTS")?;
    let losses = Map::of_process(pid, "LOSSES")?;
    let storm = Storm::new(&ring, Some((&losses, loss::slot::RING_FULL)), &record)?;
    let mut all = Made::default();
    let mut blow = |time: Duration, rate: Option<f64>| -> anyhow::Result<(Made, f64)> {
        let before = tool::cpu_ns(pid);
        let made = storm.blow(time, rate, || resident(pid) < MEMORY)?;
        let spent = tool::cpu_ns(pid).saturating_sub(before) as f64 / 1e7 / made.took;
        std::thread::sleep(SETTLE);
        (all.made, all.lost) = (all.made + made.made, all.lost + made.lost);
        eprintln!(
            "bench: {rate:?} a second: {made:?}, {spent:.0} % of a CPU, {} MB",
            resident(pid) >> 20
        );
        Ok((made, spent))
    };
    // A rate that is kept and loses nothing for a moment may still do so in the long run.
    let mut good = kind.rates.len();
    for (index, rate) in kind.rates.iter().enumerate() {
        // Once may be the machine's doing.
        let mut keeps = || -> anyhow::Result<bool> {
            let (made, _) = blow(TRY, Some(*rate))?;
            Ok(made.lost == 0 && made.per_s() >= rate * PACE)
        };
        if !keeps()? && !keeps()? {
            good = index;
            break;
        }
    }
    let mut found = vec![
        ("record_bytes", record.len() as f64),
        ("ring_bytes", f64::from(ring.entries)),
    ];
    let mut kept = None;
    for rate in kind.rates[..good].iter().rev() {
        let (made, spent) = blow(LONG, Some(*rate))?;
        if made.lost == 0 && made.per_s() >= rate * PACE {
            kept = Some((made, spent, *rate));
            break;
        }
    }
    // On a machine that others use something may be lost at every rate: then there is no such rate, and what is lost is counted all the same.
    let (made, spent, rate) = kept.unwrap_or_default();
    found.extend(long(made, rate));
    found.extend([
        ("reader_percent", spent),
        ("resident_bytes", resident(pid) as f64),
    ]);
    let (beyond, _) = blow(BEYOND, None)?;
    found.push(("resident_beyond_bytes", resident(pid) as f64));

    // Its end is waited for, and its maps last for as long as they are open here.
    drop((storm, ring, losses));
    let output = tool.interrupt()?;
    let report: Value = serde_json::from_str(&output.stdout).context("the report")?;
    let seen = (kind.seen)(&report);
    let told = report["losses"].as_array().into_iter().flatten();
    let told = told.filter(|loss| loss["id"] == "ring_full");
    let told: u64 = told.filter_map(|loss| loss["count"].as_u64()).sum();
    // What others sent meanwhile may have found no place either.
    ensure!(
        told >= all.lost,
        "{} found no place on the ring, and the report says {told}",
        all.lost
    );
    found.extend(fast(beyond, (all.made - all.lost).abs_diff(seen)));
    found.extend([
        ("all_made", all.made as f64),
        ("all_seen", seen as f64),
        ("all_lost", all.lost as f64),
        ("told_lost", told as f64),
        ("peak_bytes", output.peak_rss as f64),
    ]);
    Ok(found)
}

/// What a long stretch at a pace is in the result.
fn long(made: Made, rate: f64) -> [(&'static str, f64); 3] {
    [
        ("rate", rate),
        ("per_s", made.per_s()),
        ("lost", made.lost as f64),
    ]
}

/// What a stretch as fast as it goes is in the result; with how many of all are neither seen nor counted as lost.
fn fast(made: Made, unaccounted: u64) -> [(&'static str, f64); 4] {
    [
        ("beyond_per_s", made.per_s()),
        ("beyond_s", made.took),
        ("beyond_lost", made.lost as f64),
        ("unaccounted", unaccounted as f64),
    ]
}

/// Resident memory of a process now, bytes.
fn resident(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let pages: Option<u64> = text.split(' ').nth(1).and_then(|n| n.parse().ok());
    // SAFETY: takes a number.
    pages.unwrap_or(0) * unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as u64
}

/// A connect that was refused.
fn connect() -> Vec<u8> {
    let mut connect = Connect {
        event: event::CONNECT,
        errno: libc::ECONNREFUSED as u32,
        at_ns: sys::now_ns(),
        peer: special::UNKNOWN,
        tgid: std::process::id(),
        tid: sys::gettid(),
        ..Connect::ZERO
    };
    connect.comm[..10].copy_from_slice(b"bench-ring");
    bytes(&connect, size_of::<Connect>())
}

fn connects(report: &Value) -> u64 {
    let rows = report["failed_connects"].as_array().into_iter().flatten();
    let ours = rows.filter(|row| row["process.pid"] == std::process::id());
    ours.filter_map(|row| row["count"].as_u64()).sum()
}

/// A request with 24 waits for three peers.
fn request() -> Vec<u8> {
    let mut request = replay::request(1, sys::now_ns(), 1);
    request.event = event::REQUEST;
    // It began after watching did.
    request.parts.fill(0);
    request.parts[probe_common::part::NETWORK] = 1_000_000;
    request.start_ns = request.end_ns - 1_000_000;
    (request.tgid, request.tid) = (std::process::id(), sys::gettid());
    request.comm = [0; 16];
    request.comm[..10].copy_from_slice(b"bench-ring");
    let spans = request.nspans as usize * size_of::<probe_common::request::Span>();
    bytes(&request, std::mem::offset_of!(Request, spans) + spans)
}

fn requests(report: &Value) -> u64 {
    let groups = report["signals"]["requests"]
        .as_array()
        .into_iter()
        .flatten();
    let ours = groups.filter(|group| group["group"] == "bench-ring");
    ours.filter_map(|group| {
        Some(group["requests"].as_u64()? + group["incomplete_requests"].as_u64()?)
    })
    .sum()
}

/// The first bytes of a record.
fn bytes<T: Copy>(of: &T, length: usize) -> Vec<u8> {
    assert!(length <= size_of::<T>());
    // SAFETY: records are integers and arrays of them, without padding (`probe_common::shared!`).
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(of).cast::<u8>(), length) }.to_vec()
}
