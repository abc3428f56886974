//! What watching TCP yields, as a table of lines that a case can write down.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    time::Duration,
};

use anyhow::ensure;
use probe_common::{
    loss,
    tcp::{Connect, Listening, state, state_name},
};
use probe_tests::{
    child::Child,
    harness::Unseen,
    netns::Netns,
    watch::{self, Seen},
};
use stallscope::{
    attach::{self, Mode, Options, ProbeStatus, Signals},
    collect::{
        Collector,
        tcp::{TcpReading, TransitionSum},
    },
};

/// TCP watched in a network namespace of the case's own.
pub struct TcpWatch {
    collector: Collector,
    names: Seen,
    owners: Vec<(u32, &'static str)>,
    /// Everything so far.
    pub tcp: TcpReading,
    /// Lost so far, by slot.
    pub losses: Vec<u64>,
    _netns: Netns,
}

/// To watch TCP alone.
pub fn tcp() -> Options {
    Options {
        mode: Mode::Signals,
        signals: Signals {
            tcp: true,
            ..Signals::default()
        },
        ..Options::default()
    }
}

impl TcpWatch {
    /// Attaches, in a namespace that the caller has entered. `owners` names the workloads in the tables.
    pub fn start(netns: Netns, owners: &[(&Child, &'static str)]) -> anyhow::Result<Self> {
        Self::with(netns, owners, tcp())
    }

    /// The same with options.
    pub fn with(
        netns: Netns,
        owners: &[(&Child, &'static str)],
        options: Options,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            collector: Collector::new(attach::attach(&options)?)?,
            names: Seen::default(),
            owners: owners
                .iter()
                .map(|(child, name)| (child.pid, *name))
                .collect(),
            tcp: TcpReading::default(),
            losses: Vec::new(),
            _netns: netns,
        })
    }

    /// What became of a probe.
    pub fn probe(&self, id: &str) -> Option<ProbeStatus> {
        self.collector.probes().into_iter().find(|p| p.id == id)
    }

    /// Lets a workload go on and waits for its answer.
    pub fn step(&mut self, child: &mut Child) -> anyhow::Result<Vec<u64>> {
        child.go()?;
        self.recv(child)
    }

    /// Waits for a workload's answer.
    pub fn recv(&mut self, child: &mut Child) -> anyhow::Result<Vec<u64>> {
        child.recv_while(|| self.collector.drain())
    }

    /// Reads everything.
    pub fn read(&mut self) -> anyhow::Result<()> {
        let reading = self.collector.read()?;
        let tcp = *reading.tcp.unwrap_or_default();
        self.tcp.transitions = tcp.transitions;
        self.tcp.retired.extend(tcp.retired);
        let retired = self.tcp.retired.iter().cloned();
        self.tcp.transitions.extend(retired);
        self.tcp.timewait = tcp.timewait;
        self.tcp.events.extend(tcp.events);
        self.tcp.connects.extend(tcp.connects);
        self.tcp.listening.extend(tcp.listening);
        self.names.peers.extend(reading.peers);
        self.losses = reading.losses.to_vec();
        Ok(())
    }

    /// Who a process id is in the tables.
    fn owner(&self, pid: u32) -> String {
        match self.owners.iter().find(|(known, _)| *known == pid) {
            Some((_, name)) => (*name).to_owned(),
            None if pid == 0 => "-".to_owned(),
            None => format!("process {pid}"),
        }
    }

    /// A peer in the words of the tests.
    pub fn peer(&self, id: u64) -> String {
        self.names.peer(id)
    }

    /// All transitions: `owner peer old>new`, and how many.
    pub fn table(&self) -> BTreeMap<String, u64> {
        let mut out = BTreeMap::new();
        for (key, sum) in &self.tcp.transitions {
            let new = match key.new {
                state::ACCEPTED => "accepted",
                new => state_name(new),
            };
            let line = format!(
                "{} {} {}>{new}",
                self.owner(key.tgid),
                self.peer(key.peer),
                state_name(key.old)
            );
            *out.entry(line).or_default() += sum.sum.count;
        }
        out
    }

    /// The sum behind a line of [`TcpWatch::table`].
    pub fn sum(&self, line: &str) -> TransitionSum {
        let found = self.tcp.transitions.iter().find(|(key, _)| {
            let new = match key.new {
                state::ACCEPTED => "accepted",
                new => state_name(new),
            };
            let (owner, peer) = (self.owner(key.tgid), self.peer(key.peer));
            line == format!("{owner} {peer} {}>{new}", state_name(key.old))
        });
        found.map(|(_, sum)| sum.clone()).unwrap_or_default()
    }

    /// Reads until the table is this one, and nothing else, with nothing lost; fails after a while.
    pub fn expect(&mut self, lines: &[(&str, u64)]) -> anyhow::Result<()> {
        self.expect_of(lines, Self::table)
    }

    /// The same for the sums over all owners and peers: `old>new`, and how many.
    pub fn expect_pairs(&mut self, lines: &[(&str, u64)]) -> anyhow::Result<()> {
        self.expect_of(lines, |watch| {
            let mut pairs = BTreeMap::new();
            for (line, count) in watch.table() {
                let pair = line.rsplit(' ').next().unwrap_or_default();
                *pairs.entry(pair.to_owned()).or_default() += count;
            }
            pairs
        })
    }

    fn expect_of(
        &mut self,
        lines: &[(&str, u64)],
        table: impl Fn(&Self) -> BTreeMap<String, u64>,
    ) -> anyhow::Result<()> {
        let want: BTreeMap<String, u64> = lines
            .iter()
            .map(|(line, count)| ((*line).to_owned(), *count))
            .collect();
        self.read_until(|watch| table(watch) == want)?;
        let got = table(self);
        let all: BTreeSet<_> = got.keys().chain(want.keys()).collect();
        let too_few = |line| got.get(line).unwrap_or(&0) <= want.get(line).unwrap_or(&0);
        if got != want && all.into_iter().all(too_few) {
            let text = differences(&got, &want);
            return Err(Unseen(format!("{text}\nlosses by slot: {:?}", self.losses)).into());
        }
        ensure!(got == want, "{}", differences(&got, &want));
        // Programs on classic tracepoints may be skipped while another tool's are busy; the table says whether it mattered.
        let lost: HashSet<_> = (0..self.losses.len())
            .filter(|slot| self.losses[*slot] > 0 && *slot != loss::slot::PROGRAM_SKIPPED as usize)
            .collect();
        ensure!(lost.is_empty(), "losses by slot: {:?}", self.losses);
        Ok(())
    }

    /// Reads until `done` says so, at most five seconds.
    pub fn read_until(&mut self, done: impl Fn(&Self) -> bool) -> anyhow::Result<()> {
        for _ in 0..100 {
            self.read()?;
            if done(self) {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Connects that failed or worked again, in order: `owner errno peer`.
    pub fn connects(&self) -> Vec<String> {
        let line =
            |c: &Connect| format!("{} {} {}", self.owner(c.tgid), c.errno, self.peer(c.peer));
        self.tcp.connects.iter().map(line).collect()
    }

    /// Connects that failed, as numbers: how many by [`TcpWatch::connects`].
    pub fn connects_counted(&self) -> BTreeMap<String, u64> {
        let mut out = BTreeMap::new();
        for line in self.connects() {
            *out.entry(line).or_default() += 1;
        }
        out
    }

    /// Listeners that began or ended, in order: `owner begins|ends peer backlog`.
    pub fn listening(&self) -> Vec<String> {
        let line = |l: &Listening| {
            let what = if l.begins == 1 { "begins" } else { "ends" };
            let (owner, peer) = (self.owner(l.tgid), self.peer(l.peer));
            format!("{owner} {what} {peer} {}", l.backlog)
        };
        self.tcp.listening.iter().map(line).collect()
    }
}

fn differences(got: &BTreeMap<String, u64>, want: &BTreeMap<String, u64>) -> String {
    let mut out = String::new();
    for line in got.keys().chain(want.keys()).collect::<HashSet<_>>() {
        let (got, want) = (got.get(line).unwrap_or(&0), want.get(line).unwrap_or(&0));
        if got != want {
            out += &format!("\n    {line}: {got}, not {want}");
        }
    }
    out
}

/// That the time of all `count` transitions behind a line is known and adds up to something between the two, ns.
pub fn assert_time(watch: &TcpWatch, line: &str, count: u64, [low, high]: [u64; 2]) {
    let sum = watch.sum(line);
    assert_eq!(
        (sum.sum.count, sum.timed),
        (count, count),
        "{line}: {sum:?}"
    );
    let in_histogram: u64 = sum.sum.hist.iter().map(|(_, n)| u64::from(*n)).sum();
    assert_eq!(in_histogram, count, "{line}");
    watch::assert_between(line, sum.sum.total_ns, low, high);
}
