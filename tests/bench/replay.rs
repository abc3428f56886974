//! How fast recordings are read, and in how much memory: one that is full of requests, and one of ten minutes of incident A's
//! load. Both are made here; the report of the first one must count every request.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, ensure};
use probe_common::{
    part,
    peer::{self, PeerKey},
    request::{PeerUse, Request, Span, flag},
    stat::StatKey,
    task::{self, Task},
};
use serde_json::{Map, Value, json};
use stallscope::collect::{
    CallSum, Cost, Process, Reading,
    recording::{Frame, Full, Header, Writer},
};

use crate::tool;

const MS: u64 = 1_000_000;
const S: u64 = 1000 * MS;
/// CLOCK_MONOTONIC when recording begins.
const START: u64 = 1000 * S;

/// What a recording holds.
struct Shape {
    seconds: u64,
    workers: u32,
    /// Requests in a quarter of a second.
    requests: u64,
}

/// As many requests as a very busy node has.
const DENSE: Shape = Shape {
    seconds: 100,
    workers: 64,
    requests: 5000,
};
/// Incident A: 1,024 workers that all wait.
const INCIDENT: Shape = Shape {
    seconds: 600,
    workers: 1024,
    requests: 28,
};

/// Measures.
pub fn run(rounds: usize, stallscope: &Path) -> anyhow::Result<Value> {
    let folder = tempfile::tempdir()?;
    let mut result = super::machine(std::thread::available_parallelism().map_or(1, usize::from));
    let mut rows = Map::new();
    for (name, shape) in [("dense", DENSE), ("incident", INCIDENT)] {
        let file = folder.path().join(name);
        let events = write(&file, &shape)?;
        let bytes = std::fs::metadata(&file)?.len();
        for _ in 0..rounds {
            let replay = Replay::run(stallscope, &file)?;
            ensure!(
                replay.requests == events,
                "{} of {events} requests",
                replay.requests
            );
            super::add(
                &mut rows,
                name,
                [
                    ("wall_s", replay.wall_s),
                    ("cpu_s", replay.cpu_s),
                    ("peak_rss", replay.peak_rss),
                    ("events", events as f64),
                    ("bytes", bytes as f64),
                ],
            );
        }
    }
    result.insert("rounds".into(), json!(rounds));
    result.insert("replay".into(), Value::Object(rows));
    Ok(Value::Object(result))
}

/// What one replay took.
struct Replay {
    wall_s: f64,
    cpu_s: f64,
    peak_rss: f64,
    requests: u64,
}

impl Replay {
    fn run(stallscope: &Path, file: &Path) -> anyhow::Result<Self> {
        let mut stdout = tempfile::tempfile()?;
        let begun = Instant::now();
        let process = Command::new(stallscope)
            .arg("replay")
            .arg(file)
            .arg("--json")
            .stdin(Stdio::null())
            .stdout(stdout.try_clone()?)
            .spawn()?;
        let ended = tool::wait(&process, 0)?;
        let (_, usage) = ended.context("it did not end")?;
        let wall_s = begun.elapsed().as_secs_f64();
        std::io::Seek::rewind(&mut stdout)?;
        let report: Value = serde_json::from_reader(stdout).context("the report")?;
        let groups = report["signals"]["requests"].as_array();
        let groups = groups.context("no groups in the report")?;
        Ok(Self {
            wall_s,
            cpu_s: tool::cpu_ms(&usage) / 1e3,
            peak_rss: usage.ru_maxrss as f64 * 1024.0,
            requests: groups.iter().filter_map(|g| g["requests"].as_u64()).sum(),
        })
    }
}

/// Writes a recording; says how many requests it has.
fn write(file: &Path, shape: &Shape) -> anyhow::Result<u64> {
    let header = Header {
        tool_version: "0".to_owned(),
        host: "web-07".to_owned(),
        kernel: "6.1.0".to_owned(),
        target: "pool www".to_owned(),
        start_unix_ns: 1_700_000_000 * S,
        start_ns: START,
    };
    let mut writer = Writer::create(file, &header, 1 << 40)?;
    let mut number = 0;
    for quarter in 0..=shape.seconds * 4 {
        let at_ns = START + quarter * S / 4;
        let requests = (0..shape.requests).map(|_| {
            number += 1;
            request(number, at_ns, shape.workers)
        });
        let events = Reading {
            at_ns,
            requests: if quarter == 0 {
                Vec::new()
            } else {
                requests.collect()
            },
            ..Reading::default()
        };
        let frame = if quarter.is_multiple_of(20) {
            Frame::Full(Box::new(full(events, quarter, shape)))
        } else {
            Frame::Events(Box::new(events))
        };
        writer.push(&frame)?;
    }
    writer.finish()?;
    Ok(number)
}

/// Numbers that look like measured ones.
fn noise(of: u64) -> u64 {
    (of.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20) % MS
}

fn peer_key(n: u64) -> PeerKey {
    let mut key = PeerKey {
        kind: peer::kind::INET,
        protocol: 6,
        port: 443,
        ..PeerKey::ZERO
    };
    key.set_address(&[203, 0, 113, n as u8]);
    key
}

/// A page that asks three peers, 24 times.
pub fn request(number: u64, end_ns: u64, workers: u32) -> Request {
    let pid = 1000 + (number % u64::from(workers)) as u32;
    let mut request = Request {
        flags: flag::GOT_DATA | flag::FASTCGI,
        tgid: pid,
        tid: pid,
        start_ticks: pid,
        end_ns: end_ns - noise(number),
        comm: *b"php-fpm8.2\0\0\0\0\0\0",
        connects: 24,
        polls: 48,
        npeers: 3,
        nspans: 24,
        ..Request::ZERO
    };
    let mut wall = 0;
    for (i, used) in request.peers.iter_mut().take(3).enumerate() {
        let wait_ns = 80 * MS + noise(number * 3 + i as u64);
        wall += wait_ns;
        *used = PeerUse {
            peer: peer::id(&peer_key(5 + i as u64)),
            wait_ns,
            longest_ns: wait_ns / 8,
            waits: 8,
            connects: 8,
            exchanges: 8,
            ..PeerUse::ZERO
        };
    }
    for (i, span) in request.spans.iter_mut().take(24).enumerate() {
        *span = Span {
            start_us: i as u32 * 10_000 + noise(number + i as u64) as u32 / 1000,
            length_us: 9000 + noise(number * 7 + i as u64) as u32 / 1000,
            peer: i as u8 % 3,
            part: part::NETWORK as u8,
            op: 3,
        };
    }
    request.parts[part::NETWORK] = wall;
    request.parts[part::ON_CPU] = 3 * MS + noise(number * 11);
    request.start_ns = request.end_ns - request.parts.iter().sum::<u64>();
    let uri = format!("/catalog.php?cat=excavators&page={}", number % 1000);
    request.uri[..uri.len()].copy_from_slice(uri.as_bytes());
    request.uri_len = uri.len() as u16;
    request
}

/// A look at everything: a row for each worker, and its calls.
fn full(events: Reading, quarter: u64, shape: &Shape) -> Full {
    let pids = 1000..1000 + shape.workers;
    let at_ns = events.at_ns;
    let task = |pid: u32| {
        let mut task = Task {
            tid: pid,
            tgid: pid,
            start_ticks: pid,
            flags: task::flag::IDENTIFIED | task::flag::ACCEPTS,
            state: task::state::BLOCKED,
            since_ns: at_ns - noise(u64::from(pid) + quarter),
            blocked_nr: -1,
            comm: *b"php-fpm8.2\0\0\0\0\0\0",
            ..Task::ZERO
        };
        task.life[part::NETWORK] = quarter * S / 4 - noise(u64::from(pid) + quarter).min(quarter);
        task
    };
    let calls = pids.clone().flat_map(|pid| {
        (0..8).map(move |i| {
            let n = quarter * 10 + u64::from(pid) % 7;
            let key = StatKey {
                tid: pid,
                start_ticks: pid,
                tgid: pid,
                op: 1 + i as u32 % 4,
                peer: peer::id(&peer_key(5 + i % 3)),
            };
            let sum = CallSum {
                count: n,
                total_ns: n * 40 * MS,
                blocked_ns: n * 39 * MS,
                max_ns: 90 * MS,
                hist: (80..90).map(|bucket| (bucket, n as u32 / 10)).collect(),
                ..CallSum::default()
            };
            (key, sum)
        })
    });
    let worker = |pid| Process {
        pid,
        start_ticks: pid,
        ppid: 1,
        comm: b"php-fpm8.2".to_vec(),
        pool: Some(b"www".to_vec()),
        ended: false,
    };
    let peers = (5..8).map(peer_key).map(|key| (peer::id(&key), key));
    Full {
        reading: Reading {
            tasks: pids.clone().map(task).collect(),
            stats: calls.collect(),
            processes: pids.map(worker).collect(),
            peers: peers.collect(),
            ..events
        },
        probes: Vec::new(),
        cost: Cost::default(),
        unix_ns: 1_700_000_000 * S + quarter * S / 4,
    }
}
