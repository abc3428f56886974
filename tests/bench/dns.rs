//! What watching DNS costs a question with its answer, and stallscope itself at 20,000 questions a second.
//!
//! One thread asks and answers over loopback, so its CPU time has all of an exchange: four calls, of which stallscope looks
//! into two. The same exchange with another port tells what DNS adds to watching the calls. Everything runs in network
//! namespaces of this program's own.

use std::{net::UdpSocket, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context as _, ensure};
use probe_tests::{
    child::{self, Child, Link},
    netns::Netns,
    sys,
};
use serde_json::{Map, Value, json};

use crate::{add, blocks::Blocks, calls, machine, order, tool::Tool};

/// Exchanges between two looks at the clock.
const BATCH: u64 = 1000;
/// Batches with each port.
const BATCHES: usize = 60;
/// Names that are asked for in turn, each for A and AAAA.
const NAMES: u64 = 500;
/// Questions a second, for the cost of stallscope itself ...
const RATE: u64 = 20_000;
/// ... for so long: the time of some live pages.
const PACED: Duration = Duration::from_secs(4);
/// Another port: the calls are the same.
const OTHER_PORT: u16 = 54;

/// What is attached: its name in the result, and stallscope's arguments.
const VARIANTS: &[(&str, Option<&[&str]>)] = &[
    ("nothing", None),
    ("dns", Some(&["--duration", "10m"])),
    // It reads all sums each second.
    ("live", Some(&["--interval", "1s"])),
];

/// What a sample gives.
struct Sample {
    /// CPU time of an exchange, ns: with the port of DNS, and with another.
    ns: [f64; 2],
    /// Questions a second in the paced part.
    rate: f64,
    /// CPU time of the tool's own threads in it, of one CPU.
    own: Option<f64>,
}

/// Measures.
pub fn run(rounds: usize, stallscope: PathBuf) -> anyhow::Result<Value> {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let mut blocks = Blocks::default();
    let mut found = Map::new();
    for round in 0..rounds {
        for index in order(round, VARIANTS.len()) {
            let (id, arguments) = VARIANTS[index];
            let sample = blocks.run(id, || measure(arguments, &stallscope, cpus))?;
            let [dns, other] = sample.ns;
            eprintln!(
                "bench: {id}: {dns:.0} and {other:.0} ns, {:.0} questions/s, own {:?}",
                sample.rate, sample.own
            );
            let values = [("dns_ns", dns), ("other_ns", other), ("per_s", sample.rate)];
            let own = sample.own.map(|own| ("own_cpu", own));
            add(&mut found, id, values.into_iter().chain(own));
        }
        eprintln!("bench: round {} of {rounds}", round + 1);
    }
    let mut result = machine(cpus);
    result.extend([
        ("rounds".into(), json!(rounds)),
        ("blocks".into(), json!(blocks.all)),
        ("disturbed_blocks".into(), json!(blocks.disturbed)),
        ("names".into(), json!(NAMES)),
        ("exchanges".into(), found.into()),
    ]);
    calls::pin(0..cpus)?;
    Ok(result.into())
}

fn measure(
    arguments: Option<&[&str]>,
    stallscope: &PathBuf,
    cpus: usize,
) -> anyhow::Result<Sample> {
    let _netns = Netns::enter()?;
    calls::pin(0..1)?;
    let mut worker = child::fork(move |link| work(link, cpus - 1))?;
    worker.recv()?;
    let sample = match arguments {
        None => exchanged(&mut worker, None)?,
        Some(words) => {
            let mut command = Command::new(stallscope);
            command.args(["dns", "--pid", &worker.pid.to_string(), "--json"]);
            command.args(words);
            let tool = Tool::start_attached(&mut command)?;
            let sample = exchanged(&mut worker, Some(&tool))?;
            let output = tool.interrupt()?;
            if words.contains(&"--duration") {
                let json: Value = serde_json::from_str(&output.stdout).context("the report")?;
                let total = &json["dns"]["total"];
                let counted = [&total["asked"], &total["answered"]].map(Value::as_u64);
                let sent = BATCH * BATCHES as u64 + RATE * PACED.as_secs();
                ensure!(
                    counted == [Some(sent); 2],
                    "{sent} questions, but it says {counted:?}"
                );
            }
            sample
        }
    };
    calls::pin(0..cpus)?;
    Ok(sample)
}

fn exchanged(worker: &mut Child, tool: Option<&Tool>) -> anyhow::Result<Sample> {
    worker.go()?;
    let told = worker.recv()?;
    let [dns, other] = told[..] else {
        anyhow::bail!("the worker says {told:?}");
    };
    let before = tool.map(Tool::cpu_ns);
    worker.go()?;
    let wall = worker.recv()?[0] as f64;
    let after = tool.map(Tool::cpu_ns);
    let own = before.zip(after).map(|(b, a)| (a - b) as f64 / wall);
    Ok(Sample {
        ns: [dns, other].map(|ns| ns as f64 / BATCH as f64),
        rate: (RATE * PACED.as_secs()) as f64 * 1e9 / wall,
        own,
    })
}

/// A question for one of [`NAMES`] names, A or AAAA.
fn question(n: u64) -> Vec<u8> {
    let mut bytes = (n as u16).to_be_bytes().to_vec();
    bytes.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    let host = format!("host{}", n / 2 % NAMES);
    for label in [host.as_str(), "some", "example", "org"] {
        bytes.push(label.len() as u8);
        bytes.extend(label.bytes());
    }
    let kind = if n.is_multiple_of(2) { 1 } else { 28 };
    bytes.extend([0, 0, kind, 0, 1]);
    bytes
}

/// One thread that asks and answers.
struct Pair {
    client: UdpSocket,
    server: UdpSocket,
}

impl Pair {
    fn at(port: u16) -> Self {
        let server = UdpSocket::bind(("127.0.0.1", port)).expect("bind");
        let client = UdpSocket::bind("127.0.0.1:0").expect("bind");
        client.connect(("127.0.0.1", port)).expect("connect");
        Self { client, server }
    }

    fn exchange(&self, message: &[u8]) {
        let mut bytes = [0; 512];
        self.client.send(message).expect("send");
        let (n, from) = self.server.recv_from(&mut bytes).expect("receive");
        bytes[2] |= 0x80;
        self.server.send_to(&bytes[..n], from).expect("answer");
        self.client.recv(&mut bytes).expect("receive");
    }
}

fn work(link: &mut Link, cpu: usize) {
    calls::pin(cpu..cpu + 1).expect("pin the worker");
    let messages: Vec<Vec<u8>> = (0..2 * NAMES).map(question).collect();
    let (dns, other) = (Pair::at(53), Pair::at(OTHER_PORT));
    let mut sent = 0usize;
    let mut next = || {
        sent += 1;
        &messages[sent % messages.len()]
    };
    link.send(&[]);
    link.wait();
    let mut batches = [Vec::new(), Vec::new()];
    for _ in 0..BATCHES {
        for (pair, times) in [&dns, &other].into_iter().zip(&mut batches) {
            let begin = sys::thread_cpu_ns();
            for _ in 0..BATCH {
                pair.exchange(next());
            }
            times.push(sys::thread_cpu_ns() - begin);
        }
    }
    let medians = batches.map(|mut times| {
        times.sort_unstable();
        times[times.len() / 2]
    });
    link.send(&medians);
    link.wait();
    let begin = sys::now_ns();
    for n in 0..RATE * PACED.as_secs() {
        // A burst each millisecond.
        if n.is_multiple_of(RATE / 1000) {
            let due = begin + n * 1_000_000_000 / RATE;
            let left = due.saturating_sub(sys::now_ns());
            if left > 0 {
                sys::nanosleep(Duration::from_nanos(left)).expect("nanosleep");
            }
        }
        dns.exchange(next());
    }
    link.send(&[sys::now_ns() - begin]);
    link.wait();
}
