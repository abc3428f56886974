//! What watching files costs: an ordinary open of a file that is there, one that creates a file, and the watcher's
//! own CPU time while files are created at a steady rate.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use probe_tests::{
    child::{self, Child, Link},
    sys,
};
use serde_json::{Map, Value, json};
use stallscope::attach::tracefs;

use crate::{add, blocks::Blocks, calls, floor, machine, order, tool::Tool};

/// Opens between two looks at the clock.
const BATCH: u64 = 200;
/// Batches in a sample.
const BATCHES: u64 = 200;
/// Files created per second while the watcher's own time is measured, and for how long.
const PER_S: u64 = 5000;
const STEADY: Duration = Duration::from_secs(5);
/// What a floor has to see of an open and its close.
const CALLS: [&str; 2] = ["openat", "close"];

/// What is attached.
const VARIANTS: [&str; 4] = ["nothing", "empty", "fs", "diagnose"];

/// Measures all of it.
pub fn run(rounds: usize, stallscope: &Path) -> anyhow::Result<Value> {
    let tracefs = tracefs::ensure().map_err(|e| anyhow::anyhow!("{e}"))?;
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    calls::pin(0..1)?;
    // On a tmpfs where there is one, so that no disk is measured.
    let shm = Path::new("/dev/shm");
    let place = match shm.is_dir() {
        true => tempfile::tempdir_in(shm)?,
        false => tempfile::tempdir()?,
    };
    let at = place.path().to_owned();
    let mut worker = child::fork(move |link| work(link, &at, cpus - 1))?;
    worker.recv()?;
    let (mut opens, mut steady) = (Map::new(), Map::new());
    let mut blocks = Blocks::default();
    for round in 0..rounds {
        for index in order(round, VARIANTS.len()) {
            let variant = VARIANTS[index];
            let (row, own) = blocks.run(variant, || {
                let attached = Attached::new(variant, &tracefs.path, stallscope)?;
                let row = sample(&mut worker)?;
                let own = match attached {
                    Attached::Tool(tool) => Some(own_time(&mut worker, *tool)?),
                    Attached::Nothing | Attached::Floor { .. } => None,
                };
                Ok((row, own))
            })?;
            eprintln!("bench: {variant}: {row:?} ns, {own:?}");
            add(&mut opens, variant, row);
            if let Some(own) = own {
                add(&mut steady, variant, own);
            }
        }
        eprintln!("bench: round {} of {rounds}", round + 1);
    }
    let mut result = machine(cpus);
    result.extend([
        ("rounds".into(), json!(rounds)),
        ("blocks".into(), json!(blocks.all)),
        ("disturbed_blocks".into(), json!(blocks.disturbed)),
        ("per_s".into(), json!(PER_S)),
        ("opens".into(), opens.into()),
        ("steady".into(), steady.into()),
    ]);
    calls::pin(0..cpus)?;
    Ok(result.into())
}

/// Attached until it is dropped or taken.
enum Attached {
    Nothing,
    Floor { _floor: floor::Floor },
    Tool(Box<Tool>),
}

impl Attached {
    fn new(variant: &str, tracefs: &Path, stallscope: &Path) -> anyhow::Result<Self> {
        Ok(match variant {
            "nothing" => Self::Nothing,
            "empty" => Self::Floor {
                _floor: floor::attach(tracefs, &CALLS)?,
            },
            _ => {
                let mut command = Command::new(stallscope);
                command.args([variant, "--duration", "10m", "--json"]);
                Self::Tool(Box::new(Tool::start_attached(&mut command)?))
            }
        })
    }
}

/// CPU time of an open and close of a file that is there, and of one that creates it (with its unlink), ns.
fn sample(worker: &mut Child) -> anyhow::Result<[(&'static str, f64); 2]> {
    worker.tell(Job::Opens as u64)?;
    let told = worker.recv()?;
    ensure!(told.len() == 2, "the worker says {told:?}");
    let ns = |batch: u64| batch as f64 / BATCH as f64;
    Ok([("open_ns", ns(told[0])), ("create_ns", ns(told[1]))])
}

/// CPU time that the watcher needs, as a share of one CPU: at rest, and while files are created.
fn own_time(worker: &mut Child, tool: Tool) -> anyhow::Result<[(&'static str, f64); 3]> {
    let share = |work: &mut dyn FnMut() -> anyhow::Result<u64>| -> anyhow::Result<(f64, u64)> {
        let (began, before) = (Instant::now(), tool.cpu_ns());
        let made = work()?;
        let spent = (tool.cpu_ns() - before) as f64 / 1e9;
        Ok((100.0 * spent / began.elapsed().as_secs_f64(), made))
    };
    let (rest, _) = share(&mut || {
        std::thread::sleep(STEADY);
        Ok(0)
    })?;
    let (busy, made) = share(&mut || {
        worker.tell(Job::Steady as u64)?;
        worker.recv()?.first().copied().context("how many")
    })?;
    let report: Value = serde_json::from_str(&tool.interrupt()?.stdout).context("the report")?;
    // What the sample before created counts as well.
    let counted = report["files"]["created"].as_u64();
    let created = made + BATCHES * BATCH;
    ensure!(
        counted.is_some_and(|n| n >= created),
        "{created} files were created, but it says {counted:?}"
    );
    let per_s = made as f64 / STEADY.as_secs_f64();
    Ok([
        ("rest_percent", rest),
        ("busy_percent", busy),
        ("per_s", per_s),
    ])
}

/// What the worker is told.
#[derive(Clone, Copy)]
enum Job {
    Opens = 1,
    Steady = 2,
}

fn work(link: &mut Link, at: &Path, cpu: usize) {
    calls::pin(cpu..cpu + 1).expect("pin the worker");
    sys::set_comm(calls::COMM.as_bytes());
    link.send(&[]);
    loop {
        if link.wait() == Job::Opens as u64 {
            link.send(&opens(at));
        } else {
            link.send(&[steady(at)]);
        }
    }
}

/// Medians of the CPU time of a batch.
fn opens(at: &Path) -> [u64; 2] {
    let there = at.join("there");
    let new: Vec<PathBuf> = (0..BATCH).map(|i| at.join(format!("new-{i}"))).collect();
    create(&there);
    let (mut open, mut made) = (Vec::new(), Vec::new());
    for _ in 0..BATCHES {
        let began = sys::thread_cpu_ns();
        for _ in 0..BATCH {
            let fd = sys::openat(sys::HERE, &there, libc::O_RDONLY).expect("openat");
            sys::close(fd).expect("close");
        }
        open.push(sys::thread_cpu_ns() - began);
        let began = sys::thread_cpu_ns();
        new.iter().for_each(|path| create(path));
        made.push(sys::thread_cpu_ns() - began);
        new.iter()
            .for_each(|path| sys::unlink(path).expect("unlink"));
    }
    [open, made].map(|mut batches| {
        batches.sort_unstable();
        batches[batches.len() / 2]
    })
}

fn create(path: &Path) {
    let flags = libc::O_CREAT | libc::O_WRONLY;
    let fd = sys::openat(sys::HERE, path, flags).expect("openat");
    sys::close(fd).expect("close");
}

/// Creates files at a steady rate, some each millisecond; how many.
fn steady(at: &Path) -> u64 {
    let began = Instant::now();
    let mut made = 0;
    while began.elapsed() < STEADY {
        while made < began.elapsed().as_micros() as u64 * PER_S / 1_000_000 {
            let path = at.join(format!("steady-{}", made % 1000));
            if made >= 1000 {
                sys::unlink(&path).expect("unlink");
            }
            create(&path);
            made += 1;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    for i in 0..made.min(1000) {
        sys::unlink(&at.join(format!("steady-{i}"))).expect("unlink");
    }
    made
}
