//! What a count of very many sockets takes, beside `ss`: time by the clock, and CPU time.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use probe_tests::{
    child::{self, Child, Link},
    netns,
    sys::{self, Addr},
    tcp,
};
use serde_json::{Map, Value, json};

use crate::{add, blocks::Blocks, calls, machine, tool};

/// Sockets in TIME_WAIT, and in how many rounds so many are counted at most. In each they are made anew: they live 60 s.
const COUNTS: [(u64, usize); 3] = [
    (10_000, usize::MAX),
    (90_000, usize::MAX),
    // They take long to make, and are there to show that the cost grows with their number and no faster.
    (500_000, 1),
];

/// Ports in the range that is set.
const PORTS: u64 = 64_000;
/// Sockets to one destination: the search for a free port grows long when few are left.
const PER_DESTINATION: u64 = PORTS / 4;
/// How often each form of `ss` is run: so many are left where counting takes long, as the sockets do not wait.
const SS_RUNS: usize = 3;
const SS_RUNS_OF_MANY: usize = 1;
const MANY: u64 = 200_000;
/// How long the tool counts, which it does once a second or less often.
const WATCHED: Duration = Duration::from_millis(3500);

/// How engineers count by hand: its name in the result, and the command.
const BY_HAND: [(&str, &str, &str); 3] = [
    ("ss_s_ms", "ss_s_cpu_ms", "ss -s"),
    ("ss_tan_ms", "ss_tan_cpu_ms", "ss -Htan"),
    (
        "ss_sum_ms",
        "ss_sum_cpu_ms",
        "ss -tan | awk '{print $1}' | sort | uniq -c",
    ),
];

/// Measures.
pub fn run(rounds: usize, stallscope: &Path) -> anyhow::Result<Value> {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let mut blocks = Blocks::default();
    let (mut rows, mut missing) = (Map::new(), Map::new());
    for (count, at_most) in COUNTS {
        for round in 0..rounds.min(at_most) {
            let found = match blocks.run("census", || measure(stallscope, cpus, count)) {
                Ok(found) => found,
                // Not every machine makes so many within the time that they live.
                Err(error) if count >= MANY => {
                    missing.insert(count.to_string(), json!(error.root_cause().to_string()));
                    continue;
                }
                Err(error) => return Err(error),
            };
            eprintln!("bench: census of {count}, {}: {found:?}", round + 1);
            add(&mut rows, &count.to_string(), found);
        }
    }
    let mut result = machine(cpus);
    result.extend([
        ("rounds".into(), json!(rounds)),
        ("blocks".into(), json!(blocks.all)),
        ("disturbed_blocks".into(), json!(blocks.disturbed)),
        ("census".into(), rows.into()),
        ("missing".into(), missing.into()),
    ]);
    calls::pin(0..cpus)?;
    Ok(result.into())
}

/// Makes the sockets, counts them in all ways, and checks every count.
fn measure(stallscope: &Path, cpus: usize, count: u64) -> anyhow::Result<Vec<(&'static str, f64)>> {
    let _netns = netns::Netns::enter()?;
    netns::set("net/ipv4/tcp_max_tw_buckets", "2000000")?;
    netns::set("net/ipv4/tcp_tw_reuse", "0")?;
    netns::set_ports(1_024, 1_024 + PORTS as u16 - 1)?;
    calls::pin(0..cpus)?;
    let begun = Instant::now();
    // One for each CPU: all must be there before the first are gone.
    let makers = cpus as u64;
    let mut makers: Vec<Child> = (0..makers)
        .map(|n| {
            child::fork(move |link| make(link, count * (n + 1) / makers - count * n / makers, n))
        })
        .collect::<Result<_, _>>()?;
    for maker in &mut makers {
        maker.recv()?;
    }
    eprintln!("bench: {count} sockets made in {:?}", begun.elapsed());

    let mut found = Vec::new();
    let mut by_ss = Vec::new();
    for (wall, cpu, command) in BY_HAND {
        let times = if count < MANY {
            SS_RUNS
        } else {
            SS_RUNS_OF_MANY
        };
        let mut runs = (0..times)
            .map(|_| tool::to_its_end(Command::new("sh").args(["-c", command])))
            .collect::<anyhow::Result<Vec<_>>>()?;
        runs.sort_by(|a, b| a.wall_ms.total_cmp(&b.wall_ms));
        let middle = &runs[times / 2];
        found.extend([(wall, middle.wall_ms), (cpu, middle.cpu_ms)]);
        let counted = time_wait(command, &middle.stdout);
        by_ss.push(counted.with_context(|| format!("{command} says {:.300}", middle.stdout))?);
    }

    let mut command = Command::new(stallscope);
    command.args(["tcp", "--duration", "10m", "--json"]);
    let tool = tool::Tool::start_attached(&mut command)?;
    let (watching, spent) = (Instant::now(), tool.cpu_ns());
    std::thread::sleep(WATCHED);
    let spent_ms = (tool.cpu_ns() - spent) as f64 / 1e6;
    let watching = watching.elapsed();
    let json: Value = serde_json::from_str(&tool.interrupt()?.stdout).context("the report")?;
    ensure!(
        begun.elapsed() < Duration::from_secs(60),
        "the first sockets were gone before the last count, {:.0} s later",
        begun.elapsed().as_secs_f64()
    );
    let counted = json["census"]["time_wait"].as_u64();
    // When both sides close at the same moment on two CPUs, the kernel now and then keeps nothing.
    let least = count - count / 100;
    ensure!(
        by_ss
            .iter()
            .all(|n| Some(*n) == counted && (least..=count).contains(n)),
        "{count} sockets were made, ss says {by_ss:?}, stallscope {}",
        json["census"]
    );
    let timeline = json["timeline"].as_array().context("no time line")?;
    // Where a count takes long, the tool makes fewer of them.
    let window = json["window"]["duration_ns"]
        .as_u64()
        .context("no window")?;
    let since = window.saturating_sub(watching.as_nanos() as u64);
    let counts = timeline
        .iter()
        .filter(|point| point["offset_ns"].as_u64().is_some_and(|at| at >= since))
        .count();
    ensure!(counts > 0, "no census in {watching:?}");
    let mut took_ms: Vec<f64> = timeline
        .iter()
        .filter_map(|point| Some(point["took_ns"].as_f64()? / 1e6))
        .collect();
    took_ms.sort_by(f64::total_cmp);
    let middle = took_ms.get(took_ms.len() / 2).context("no census")?;
    found.extend([
        ("stallscope_ms", *middle),
        // With all else that the tool does meanwhile.
        ("stallscope_cpu_ms", spent_ms / counts as f64),
    ]);
    Ok(found)
}

/// What a form of `ss` says of TIME_WAIT.
fn time_wait(command: &str, text: &str) -> Option<u64> {
    match command {
        // TCP:   90001 (estab 0, closed 90000, orphaned 0, timewait 90000)
        "ss -s" => {
            let line = text.lines().find(|line| line.starts_with("TCP:"))?;
            let (_, rest) = line.split_once("timewait ")?;
            let digits = rest.find(|c: char| !c.is_ascii_digit());
            rest[..digits.unwrap_or(rest.len())].parse().ok()
        }
        "ss -Htan" => {
            let lines = text.lines().filter(|line| line.starts_with("TIME-WAIT"));
            Some(lines.count() as u64)
        }
        _ => text.lines().find_map(|line| {
            let (n, state) = line.trim().split_once(' ')?;
            (state == "TIME-WAIT").then(|| n.parse().ok())?
        }),
    }
}

fn make(link: &mut Link, count: u64, maker: u64) {
    // Any address of 127.0.0.0/8.
    let port = 1 + maker as u16;
    let any = Addr::Inet(([0, 0, 0, 0], port).into());
    let listener = tcp::listen(&any, 16).expect("listen");
    for n in 0..count {
        let [.., third, fourth] = (n / PER_DESTINATION + 1).to_be_bytes();
        let to = Addr::Inet(([127, 0, third, fourth], port).into());
        let client = sys::connected(&to).expect("connect");
        let server = sys::accept(listener).expect("accept");
        sys::close(client).expect("close");
        sys::close(server).expect("close");
    }
    sys::close(listener).expect("close");
    link.send(&[]);
    link.wait();
}
