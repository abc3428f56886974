//! What watching UDP costs where it is dearest: datagrams that are dropped as fast as this machine can send them, to a
//! socket whose buffer is full.
//!
//! Over loopback a datagram is dropped within the call that sends it, so the sender's CPU time has all of it. Everything
//! runs in network namespaces of this program's own.

use std::{net::UdpSocket, os::fd::AsRawFd as _, path::PathBuf, process::Command};

use anyhow::{Context as _, ensure};
use probe_tests::{
    child::{self, Child, Link},
    netns::{self, Netns},
    sys,
};
use serde_json::{Map, Value, json};

use crate::{add, blocks::Blocks, bpf, calls, machine, order, tool::Tool};

/// Datagrams between two looks at the clocks.
const BATCH: u64 = 6_400;
/// Datagrams in a sample.
const DATAGRAMS: u64 = 50 * BATCH;
/// What one call hands over at once where the kernel cuts it up (UDP_SEGMENT, 4.18).
const SEGMENTS: u64 = 64;
const BYTES: usize = 100;
/// setsockopt: level and name (include/uapi/linux/udp.h).
const SOL_UDP: i32 = 17;
const UDP_SEGMENT: i32 = 103;

/// What is attached while datagrams are dropped.
struct Variant {
    /// Its name in the result.
    id: &'static str,
    attach: Attach,
}

enum Attach {
    Nothing,
    /// An empty program on the raw tracepoint: whoever wants to see drops cannot cost less.
    Empty,
    /// stallscope with these arguments.
    Stallscope(&'static [&'static str]),
}

const VARIANTS: &[Variant] = &[
    Variant {
        id: "nothing",
        attach: Attach::Nothing,
    },
    Variant {
        id: "empty",
        attach: Attach::Empty,
    },
    Variant {
        id: "udp",
        attach: Attach::Stallscope(&["udp"]),
    },
    Variant {
        id: "diagnose",
        attach: Attach::Stallscope(&["diagnose"]),
    },
];

/// What a sample gives.
struct Sample {
    /// CPU time of the sender for a datagram, by how it is sent: alone, and 64 at once.
    ns: [f64; 2],
    /// Drops a second, likewise.
    per_s: [f64; 2],
    /// CPU time of the tool's own threads, of one CPU, in the time in which drops came.
    own: Option<f64>,
}

/// Measures.
pub fn run(rounds: usize, stallscope: PathBuf) -> anyhow::Result<Value> {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let mut blocks = Blocks::default();
    let mut found = Map::new();
    for round in 0..rounds {
        for index in order(round, VARIANTS.len()) {
            let variant = &VARIANTS[index];
            let sample = blocks.run(variant.id, || measure(variant, &stallscope, cpus))?;
            let ([alone_ns, burst_ns], [alone_per_s, burst_per_s]) = (sample.ns, sample.per_s);
            eprintln!(
                "bench: {}: {alone_ns:.0} and {burst_ns:.0} ns, {burst_per_s:.0} drops/s",
                variant.id
            );
            let values = [
                ("alone_ns", alone_ns),
                ("burst_ns", burst_ns),
                ("alone_per_s", alone_per_s),
                ("burst_per_s", burst_per_s),
            ];
            let own = sample.own.map(|own| ("own_cpu", own));
            add(&mut found, variant.id, values.into_iter().chain(own));
        }
        eprintln!("bench: round {} of {rounds}", round + 1);
    }
    let mut result = machine(cpus);
    result.extend([
        ("rounds".into(), json!(rounds)),
        ("blocks".into(), json!(blocks.all)),
        ("disturbed_blocks".into(), json!(blocks.disturbed)),
        ("datagrams".into(), json!(2 * DATAGRAMS)),
        ("drops".into(), found.into()),
    ]);
    calls::pin(0..cpus)?;
    Ok(result.into())
}

fn measure(variant: &Variant, stallscope: &PathBuf, cpus: usize) -> anyhow::Result<Sample> {
    let _netns = Netns::enter()?;
    calls::pin(0..1)?;
    let mut worker = child::fork(move |link| work(link, cpus - 1))?;
    worker.recv()?;
    let sample = match variant.attach {
        Attach::Nothing => sent(&mut worker)?,
        Attach::Empty => {
            let _attached = bpf::attach_empty(c"udp_fail_queue_rcv_skb")?;
            sent(&mut worker)?
        }
        Attach::Stallscope(words) => {
            let before = netns::counter("Udp", "RcvbufErrors")?;
            let mut command = Command::new(stallscope);
            command.args(words).args(["--duration", "10m", "--json"]);
            let tool = Tool::start_attached(&mut command)?;
            let (cpu, wall) = (tool.cpu_ns(), sys::now_ns());
            let mut sample = sent(&mut worker)?;
            let (cpu, wall) = (tool.cpu_ns() - cpu, sys::now_ns() - wall);
            sample.own = Some(cpu as f64 / wall as f64);
            let json: Value =
                serde_json::from_str(&tool.interrupt()?.stdout).context("the report")?;
            let counted = counted(&json);
            let dropped = netns::counter("Udp", "RcvbufErrors")? - before;
            ensure!(
                counted == dropped && dropped == 2 * DATAGRAMS,
                "{dropped} datagrams were dropped, but it says {counted}"
            );
            sample
        }
    };
    calls::pin(0..cpus)?;
    Ok(sample)
}

/// Drops that a report counts.
fn counted(json: &Value) -> u64 {
    let rows = json["udp"]["sockets"].as_array();
    let rows = rows.or(json["sockets"].as_array());
    let rows = rows.map_or(&[][..], Vec::as_slice);
    rows.iter().filter_map(|row| row["drops"].as_u64()).sum()
}

fn sent(worker: &mut Child) -> anyhow::Result<Sample> {
    worker.go()?;
    let told = worker.recv()?;
    let [alone_cpu, alone_wall, burst_cpu, burst_wall] = told[..] else {
        anyhow::bail!("the worker says {told:?}");
    };
    let per_s = |wall: u64| BATCH as f64 * 1e9 / wall as f64;
    Ok(Sample {
        ns: [alone_cpu, burst_cpu].map(|cpu| cpu as f64 / BATCH as f64),
        per_s: [per_s(alone_wall), per_s(burst_wall)],
        own: None,
    })
}

fn work(link: &mut Link, cpu: usize) {
    calls::pin(cpu..cpu + 1).expect("pin the worker");
    let full = UdpSocket::bind("127.0.0.1:0").expect("bind");
    sys::set_socket_option(full.as_raw_fd(), libc::SO_RCVBUF, 4096).expect("SO_RCVBUF");
    let alone = UdpSocket::bind("127.0.0.1:0").expect("bind");
    let burst = UdpSocket::bind("127.0.0.1:0").expect("bind");
    for sender in [&alone, &burst] {
        sender
            .connect(full.local_addr().expect("address"))
            .expect("connect");
    }
    let segment = BYTES as i32;
    // SAFETY: reads one number of this size.
    let set = unsafe {
        libc::setsockopt(
            burst.as_raw_fd(),
            SOL_UDP,
            UDP_SEGMENT,
            (&raw const segment).cast(),
            size_of_val(&segment) as u32,
        )
    };
    assert_eq!(set, 0, "UDP_SEGMENT");
    let send = |sender: &UdpSocket, times: u64, bytes: usize| {
        for _ in 0..times {
            assert_eq!(
                sender
                    .send(&[7; BYTES * SEGMENTS as usize][..bytes])
                    .expect("send"),
                bytes
            );
        }
    };
    // Fills the buffer, and warms up.
    send(&alone, 2_000, BYTES);
    send(&burst, 500, BYTES * SEGMENTS as usize);
    link.send(&[]);
    link.wait();
    let mut numbers = Vec::new();
    for (sender, at_once) in [(&alone, 1), (&burst, SEGMENTS)] {
        let mut batches: Vec<[u64; 2]> = (0..DATAGRAMS / BATCH)
            .map(|_| {
                let (cpu, wall) = (sys::thread_cpu_ns(), sys::now_ns());
                send(sender, BATCH / at_once, BYTES * at_once as usize);
                [sys::thread_cpu_ns() - cpu, sys::now_ns() - wall]
            })
            .collect();
        for column in [0, 1] {
            batches.sort_unstable_by_key(|batch| batch[column]);
            numbers.push(batches[batches.len() / 2][column]);
        }
    }
    link.send(&numbers);
    link.wait();
}
