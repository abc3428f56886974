//! What nginx and PHP-FPM still answer while they are watched: pages that wait for their peers, as in production, and pages that only
//! compute, on CPUs that are full.
//!
//! The servers run on through all rounds; what watches comes and goes, and each time all pages are asked for.

use std::{path::PathBuf, process::Command, time::Duration};

use anyhow::{Context as _, ensure};
use probe_tests::{
    netns,
    web::{self, FastCgi, Settings, Stack},
};
use serde_json::{Map, Value, json};
use stallscope::attach::tracefs;

use crate::{add, blocks::Blocks, calls, machine, order, peer::Peer, tool::Tool, variant};

/// How long `wrk` asks for a page.
const TIME: Duration = Duration::from_secs(2);
/// Workers, and connections of `wrk`.
const WORKERS: usize = 16;
/// What a slow peer takes for an answer.
const SLOW: Duration = Duration::from_millis(5);
/// nginx writes its log, and the last worker ends its request, within this.
const SETTLE: Duration = Duration::from_millis(500);
const POOL: &str = "bench-php";

/// Incident A's one-liner, as a whole machine is watched with it.
const ONE_LINER: &str = "tracepoint:syscalls:sys_enter_connect { @connects[comm] = count(); } \
                         tracepoint:syscalls:sys_enter_poll { @polls[comm] = count(); }";

/// Who watches.
#[derive(Clone, Copy)]
enum Variant {
    Nothing,
    Bpftrace,
    /// stallscope with these arguments.
    Stallscope(&'static [&'static str]),
}

const VARIANTS: &[(&str, Variant)] = &[
    ("nothing", Variant::Nothing),
    ("diagnose", Variant::Stallscope(&["diagnose"])),
    ("bpftrace", Variant::Bpftrace),
    // In every round nothing is attached twice: how much two equal blocks differ is what a ratio is worth.
    ("again", Variant::Nothing),
];

/// Measures.
pub fn run(rounds: usize, stallscope: PathBuf) -> anyhow::Result<Value> {
    // Before any thread and child: bpftrace needs it too.
    tracefs::ensure().map_err(|e| anyhow::anyhow!("{e}"))?;
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let bpftrace = variant::bpftrace();
    let _netns = netns::Netns::enter()?;
    calls::pin(0..cpus)?;
    let (slow, quick) = (Peer::start(SLOW)?, Peer::start(Duration::ZERO)?);
    let stack = Stack::start(Settings {
        pool: POOL,
        workers: WORKERS,
        fastcgi: FastCgi::Unix,
        keep_conn: false,
    })?;
    let page = |path: String| format!("http://{}/{path}", stack.addr);
    let calls = |n: u32, peer: &Peer| page(format!("calls.php?n={n}&url=http://{}/", peer.addr));
    let pages = [
        ("waits", calls(3, &slow)),
        ("torture", calls(24, &quick)),
        ("computes", page("fast.php".into())),
    ];
    // Compiled, and in the caches of the processor.
    for (_, url) in &pages {
        ask(url)?;
    }

    let mut blocks = Blocks::default();
    let mut rows = Map::new();
    let block = |variant: Variant| -> anyhow::Result<Option<Vec<(&'static str, f64)>>> {
        let before = logged(&stack)?;
        let tool = match (variant, &bpftrace) {
            (Variant::Nothing, _) => None,
            (Variant::Bpftrace, None) => return Ok(None),
            (Variant::Bpftrace, Some(bpftrace)) => Some(Tool::start_attached(
                bpftrace.command().args(["-e", ONE_LINER]),
            )?),
            (Variant::Stallscope(words), _) => {
                let mut command = Command::new(&stallscope);
                command.args(words).args(["--duration", "10m", "--json"]);
                Some(Tool::start_attached(&mut command)?)
            }
        };
        let answered = pages
            .iter()
            .map(|(name, url)| Ok((*name, ask(url)?)))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let Some(tool) = tool else {
            return Ok(Some(answered));
        };
        std::thread::sleep(SETTLE);
        let output = tool.interrupt()?;
        let answers = logged(&stack)? - before;
        match variant {
            Variant::Stallscope(_) => check(&output.stdout, answers)?,
            _ => ensure!(
                output.stdout.contains("@connects[php-fpm8.2]"),
                "it counted no page: {}",
                output.stdout
            ),
        }
        Ok(Some(answered))
    };
    for round in 0..rounds {
        for index in order(round, VARIANTS.len()) {
            let (id, variant) = VARIANTS[index];
            let found = blocks.run(id, || block(variant))?;
            eprintln!("bench: {id}: {found:?} requests/s");
            add(&mut rows, id, found.into_iter().flatten());
        }
        eprintln!("bench: round {} of {rounds}", round + 1);
    }
    let mut result = machine(cpus);
    result.extend([
        ("rounds".into(), json!(rounds)),
        (
            "bpftrace".into(),
            json!(bpftrace.as_ref().map(|tool| tool.version.as_str())),
        ),
        ("blocks".into(), json!(blocks.all)),
        ("disturbed_blocks".into(), json!(blocks.disturbed)),
        ("workers".into(), json!(WORKERS)),
        ("slow_ms".into(), json!(SLOW.as_millis() as u64)),
        ("per_s".into(), rows.into()),
    ]);
    Ok(result.into())
}

/// Lines of nginx's log: answers of pages.
fn logged(stack: &Stack) -> anyhow::Result<u64> {
    Ok(stack.access_log()?.len() as u64)
}

/// Answers a second. Each must be a page.
fn ask(url: &str) -> anyhow::Result<f64> {
    let text = web::wrk(url, WORKERS as u32, TIME)?;
    ensure!(!text.contains("Non-2xx"), "{url}: {text}");
    let rate = text.lines().find_map(|line| {
        let rate = line.strip_prefix("Requests/sec:")?.trim();
        rate.parse().ok()
    });
    rate.with_context(|| format!("wrk tells no rate: {text}"))
}

/// Every request that nginx logged was seen by the tool, or counted as lost: a tool that saw nothing would cost nothing.
fn check(report: &str, answers: u64) -> anyhow::Result<()> {
    let report: Value = serde_json::from_str(report).context("the report")?;
    let number = |group: &Value, field: &str| group[field].as_u64().unwrap_or(0);
    let groups = report["signals"]["requests"]
        .as_array()
        .into_iter()
        .flatten();
    let seen: u64 = groups
        .filter(|group| group["group"] == POOL)
        .map(|group| number(group, "requests") + number(group, "incomplete_requests"))
        .sum();
    let losses = report["losses"].as_array().into_iter().flatten();
    let lost: u64 = losses
        .filter(|loss| loss["id"] == "ring_full")
        .map(|loss| number(loss, "count"))
        .sum();
    ensure!(
        seen <= answers && seen + lost >= answers,
        "nginx logged {answers} requests; the tool saw {seen} and lost {lost}"
    );
    Ok(())
}
