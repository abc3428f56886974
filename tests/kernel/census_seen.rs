//! What a census of TCP sockets yields, once they are still, and what /proc says of the same sockets.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, ensure};
use probe_common::tcp::{CensusKey, column, state, state_name};
use stallscope::{
    attach::{self, Options},
    collect::{
        Collector,
        tcp::{Census, Counts, Owners, TcpReading},
    },
};

use crate::tcp_seen::tcp;

/// Something that takes censuses of the calling thread's namespace.
pub struct Watch(Collector);

impl Watch {
    pub fn start() -> anyhow::Result<Self> {
        Self::with(tcp())
    }

    pub fn with(options: Options) -> anyhow::Result<Self> {
        let watch = Self(Collector::new(attach::attach(&options)?)?);
        for id in ["tcp_census", "socket_owners"] {
            let status = watch.0.probes().into_iter().find(|p| p.id == id);
            let status = status.with_context(|| format!("no probe {id}"))?;
            ensure!(
                status.state == attach::State::Active && status.source.starts_with("iterator"),
                "{status:?}"
            );
        }
        Ok(watch)
    }

    /// What is there, once it is still.
    pub fn read(&mut self) -> anyhow::Result<TcpReading> {
        settle()?;
        Ok(*self.0.read()?.tcp.context("nothing about TCP")?)
    }

    /// What is there now.
    pub fn census(&mut self) -> anyhow::Result<Census> {
        self.read()?.censuses.pop().context("no census")
    }

    pub fn owners(&mut self) -> anyhow::Result<Owners> {
        self.read()?.owners.pop().context("no walk")
    }
}

pub fn totals(what: &[(usize, u64)]) -> Counts {
    let mut out = Counts::default();
    for (column, n) in what {
        out[*column] += n;
    }
    out
}

/// What /proc says of the calling thread's namespace, by state.
pub fn in_proc() -> anyhow::Result<BTreeMap<&'static str, u64>> {
    let mut out = BTreeMap::new();
    for file in ["tcp", "tcp6"] {
        let path = format!("/proc/thread-self/net/{file}");
        for line in std::fs::read_to_string(path)
            .unwrap_or_default()
            .lines()
            .skip(1)
        {
            let word = line.split_whitespace().nth(3).context("no state")?;
            *out.entry(state_name(u8::from_str_radix(word, 16)?))
                .or_default() += 1;
        }
    }
    Ok(out)
}

/// Waits until no socket is on its way from one state to the next: a FIN may be acknowledged late.
fn settle() -> anyhow::Result<()> {
    const PASSING: [u8; 4] = [
        state::SYN_RECV,
        state::FIN_WAIT1,
        state::CLOSING,
        state::LAST_ACK,
    ];
    for _ in 0..500 {
        let now = in_proc()?;
        if PASSING.iter().all(|s| !now.contains_key(state_name(*s))) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    anyhow::bail!("sockets do not come to rest: {:?}", in_proc()?)
}

pub fn by_state(counts: &Counts) -> BTreeMap<&'static str, u64> {
    let mut out = BTreeMap::new();
    for (i, n) in counts.iter().enumerate().filter(|(_, n)| **n > 0) {
        let state = match i {
            column::FIN_WAIT2_ORPHAN | column::FIN_WAIT2_TIMEWAIT => state::FIN_WAIT2,
            state => state as u8,
        };
        *out.entry(state_name(state)).or_default() += n;
    }
    out
}

/// Rows add up to the totals, whatever found no row.
pub fn ensure_sums(census: &Census) -> anyhow::Result<()> {
    let mut sums = census.other;
    for (_, counts) in &census.rows {
        for (sum, n) in sums.iter_mut().zip(counts) {
            *sum += u64::from(*n);
        }
    }
    ensure!(sums == census.totals, "{sums:?} {:?}", census.totals);
    ensure!(census.unreadable == 0, "{} unreadable", census.unreadable);
    Ok(())
}

/// The only row with these flags, kind and port.
pub fn row(census: &Census, flags: u8, kind: u8, port: u16) -> anyhow::Result<(CensusKey, Counts)> {
    let mut found = census
        .rows
        .iter()
        .filter(|(key, _)| (key.flags, key.kind, key.port) == (flags, kind, port));
    let (key, counts) = found.next().context("no such row")?;
    ensure!(found.next().is_none(), "two such rows: {:?}", census.rows);
    Ok((*key, counts.map(u64::from)))
}

pub fn bytes(address: [u64; 2]) -> [u8; 16] {
    let mut out = [0; 16];
    out[..8].copy_from_slice(&address[0].to_ne_bytes());
    out[8..].copy_from_slice(&address[1].to_ne_bytes());
    out
}
