//! What watching DNS yields, as lines that a case can write down.

use std::collections::HashMap;

use anyhow::ensure;
use probe_common::{loss, peer::PeerKey};
use probe_tests::{
    child::{self, Child, Link},
    netns::Netns,
    watch,
};
use stallscope::{
    attach::{self, Options, Signals},
    collect::{
        Collector,
        dns::{DnsReading, Questions},
    },
};

/// DNS watched in a network namespace of the case's own.
pub struct DnsWatch {
    collector: Collector,
    peers: HashMap<u64, PeerKey>,
    /// The last reading.
    pub dns: DnsReading,
    /// Steps of all readings.
    pub steps: Vec<stallscope::collect::dns::Step>,
    /// Lost so far, by slot.
    pub losses: Vec<u64>,
    _netns: Netns,
}

impl DnsWatch {
    /// Attaches, in a namespace that the caller has entered, and follows the workloads.
    pub fn start(netns: Netns, children: &[&Child]) -> anyhow::Result<Self> {
        let options = Options {
            signals: Signals {
                dns: true,
                ..Signals::default()
            },
            ..watch::only_followed()
        };
        let mut collector = Collector::new(attach::attach(&options)?)?;
        let probe = collector.probes().into_iter().find(|p| p.id == "dns");
        ensure!(
            probe
                .as_ref()
                .is_some_and(|p| p.state == attach::State::Active),
            "{probe:?}"
        );
        let pids: Vec<u32> = children.iter().map(|c| c.pid).collect();
        collector.follow(&pids)?;
        Ok(Self {
            collector,
            peers: HashMap::new(),
            dns: DnsReading::default(),
            steps: Vec::new(),
            losses: Vec::new(),
            _netns: netns,
        })
    }

    /// Lets a workload go on and waits for its answer.
    pub fn step(&mut self, child: &mut Child) -> anyhow::Result<Vec<u64>> {
        child.go()?;
        child.recv_while(|| self.collector.drain())
    }

    /// Takes a reading.
    pub fn read(&mut self) -> anyhow::Result<()> {
        let reading = self.collector.read()?;
        self.peers.extend(reading.peers);
        self.losses = reading.losses.to_vec();
        let retired = std::mem::take(&mut self.dns.retired);
        self.dns = *reading.dns.unwrap_or_default();
        self.dns.retired.extend(retired);
        self.dns.sums.extend(self.dns.retired.iter().cloned());
        self.steps.extend(self.dns.steps.iter().copied());
        Ok(())
    }

    /// Messages that could not be read, or were none.
    pub fn unreadable(&self) -> u64 {
        self.losses[loss::slot::DNS_UNREADABLE as usize]
    }

    /// A row by its name and type.
    pub fn row(&self, name: &str, qtype: u16) -> anyhow::Result<&Questions> {
        let mut rows = self.dns.sums.iter().filter(|q| {
            q.qtype == qtype && q.name.as_deref() == Some(name.as_bytes()) && q.asked > 0
        });
        let row = rows.next();
        ensure!(rows.next().is_none(), "two rows for {name}");
        row.ok_or_else(|| anyhow::anyhow!("no row for {name}: {:#?}", self.lines()))
    }

    fn server(&self, id: u64) -> String {
        let Some(key) = self.peers.get(&id) else {
            return "?".to_owned();
        };
        let transport = if key.protocol == 6 { "tcp" } else { "udp" };
        let ip: std::net::IpAddr = match <[u8; 4]>::try_from(key.address()) {
            Ok(v4) => v4.into(),
            Err(_) => <[u8; 16]>::try_from(key.address())
                .unwrap_or_default()
                .into(),
        };
        format!("{transport} {ip} {}", key.port)
    }

    /// Every row in words, sorted: `udp 127.0.0.1 53 example.org A asked 2 retried 1 ...`, what is 0 left out.
    pub fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.dns.sums.iter().map(|q| self.line(q)).collect();
        lines.sort();
        lines
    }

    fn line(&self, q: &Questions) -> String {
        let name = match &q.name {
            Some(name) => String::from_utf8_lossy(name).into_owned(),
            None => "(other)".to_owned(),
        };
        let mut line = format!("{} {name} {}", self.server(q.server), q.qtype);
        let mut add = |what: &str, n: u64| {
            if n > 0 {
                line += &format!(" {what} {n}");
            }
        };
        add("asked", q.asked);
        add("retried", q.retried);
        add("duplicates", q.duplicates);
        add("answered", q.answered);
        add("refused", q.refused);
        for (rcode, n) in q.rcodes.iter().enumerate().skip(1) {
            add(&format!("rcode{rcode}"), *n);
        }
        add("empty", q.empty);
        add("truncated", q.truncated);
        add("timed out", q.timed_out.count);
        line
    }

    /// Questions without an answer: name, type, and whether it may yet come.
    pub fn open(&self) -> Vec<String> {
        let mut lines: Vec<String> = self
            .dns
            .open
            .iter()
            .map(|o| {
                let name = String::from_utf8_lossy(o.name.as_deref().unwrap_or(b"?"));
                let waiting = if o.waiting { " waiting" } else { "" };
                format!("{} {name} {}{waiting}", self.server(o.server), o.qtype)
            })
            .collect();
        lines.sort();
        lines
    }
}

/// Runs one workload in a namespace of its own, and checks the rows that come of it.
pub fn rows(
    work: impl FnOnce(&mut Link) + 'static,
    expected: &[&str],
) -> anyhow::Result<(DnsWatch, Vec<u64>)> {
    let netns = Netns::enter()?;
    let mut client = child::fork(move |link| {
        link.wait();
        work(link);
        link.wait();
    })?;
    let mut watch = DnsWatch::start(netns, &[&client])?;
    let numbers = watch.step(&mut client)?;
    watch.read()?;
    ensure!(
        watch.lines() == expected,
        "{:#?}, not {expected:#?}; losses {:?}",
        watch.lines(),
        watch.losses
    );
    Ok((watch, numbers))
}
