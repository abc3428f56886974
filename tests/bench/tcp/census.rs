//! How long a count of very many sockets takes, beside `ss` and its pipe.

use std::{
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
use serde_json::Value;

use super::Bench;
use crate::calls;

/// How many sockets in TIME_WAIT.
pub const COUNTS: [u64; 2] = [90_000, 500_000];
/// How often each is measured. Each time the sockets are made anew: they live 60 s.
pub const RUNS: usize = 3;

/// Ports in the range that is set.
const PORTS: u64 = 64_000;
/// Sockets to one destination: the search for a free port grows long when few are left.
const PER_DESTINATION: u64 = PORTS / 4;
/// How often `ss` is timed.
const SS_RUNS: usize = 3;
/// How engineers count by hand.
const SS: &str = "ss -tan | awk '{print $1}' | sort | uniq -c";

/// Makes the sockets, counts them in both ways, and checks both counts.
pub fn measure(bench: &Bench, count: u64) -> anyhow::Result<Vec<(&'static str, f64)>> {
    let _netns = netns::Netns::enter()?;
    netns::set("net/ipv4/tcp_max_tw_buckets", "2000000")?;
    netns::set("net/ipv4/tcp_tw_reuse", "0")?;
    netns::set_ports(1_024, 1_024 + PORTS as u16 - 1)?;
    calls::pin(0..bench.cpus)?;
    let begun = Instant::now();
    // One for each CPU: all must be there before the first are gone.
    let makers = bench.cpus as u64;
    let mut makers: Vec<Child> = (0..makers)
        .map(|n| {
            child::fork(move |link| make(link, count * (n + 1) / makers - count * n / makers, n))
        })
        .collect::<Result<_, _>>()?;
    for maker in &mut makers {
        maker.recv()?;
    }
    eprintln!("bench: {count} sockets made in {:?}", begun.elapsed());

    let (mut ss_ms, mut by_ss) = (Vec::new(), 0);
    for _ in 0..SS_RUNS {
        let begun = Instant::now();
        let output = Command::new("sh").args(["-c", SS]).output()?;
        ss_ms.push(begun.elapsed().as_secs_f64() * 1e3);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let counted = text.lines().find_map(|line| {
            let (n, state) = line.trim().split_once(' ')?;
            (state == "TIME-WAIT").then(|| n.parse::<u64>().ok())?
        });
        by_ss = counted.with_context(|| format!("ss says {text}"))?;
    }
    ss_ms.sort_by(f64::total_cmp);

    let output = Command::new(&bench.stallscope)
        .args(["tcp", "--duration", "3s", "--json"])
        .output()?;
    let json: Value = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("the report; {}", String::from_utf8_lossy(&output.stderr)))?;
    let counted = json["census"]["time_wait"].as_u64();
    // When both sides close at the same moment on two CPUs, the kernel now and then keeps nothing.
    ensure!(
        counted == Some(by_ss) && by_ss <= count && by_ss > count - count / 100,
        "{count} sockets were made, ss says {by_ss}, stallscope {}",
        json["census"]
    );
    let timeline = json["timeline"].as_array().context("no time line")?;
    let mut took_ms: Vec<f64> = timeline
        .iter()
        .filter_map(|point| Some(point["took_ns"].as_f64()? / 1e6))
        .collect();
    took_ms.sort_by(f64::total_cmp);
    let middle = took_ms.get(took_ms.len() / 2).context("no census")?;
    ensure!(
        begun.elapsed() < Duration::from_secs(60),
        "the first sockets were gone before the last count"
    );
    Ok(vec![
        ("ss_ms", ss_ms[SS_RUNS / 2]),
        ("stallscope_ms", *middle),
    ])
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
