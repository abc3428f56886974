//! The signals beside calls and requests, each with a fold of its own.

use std::collections::HashMap;

use probe_common::peer::PeerKey;

use crate::{
    aggregate::{
        Window, dns::DnsFold, files::FilesFold, identity::Processes, journal::JournalFold,
        tcp::TcpFold, udp::UdpFold,
    },
    attach::{ProbeStatus, State},
    collect::Reading,
};

/// What a reading says of signals, and nothing of it is left there.
pub fn take(reading: &mut Reading) -> Reading {
    Reading {
        at_ns: reading.at_ns,
        tcp: reading.tcp.take(),
        udp: reading.udp.take(),
        dns: reading.dns.take(),
        files: reading.files.take(),
        journal: reading.journal.take(),
        ..Reading::default()
    }
}

/// What a reading says of signals.
pub fn of(reading: &Reading) -> Reading {
    Reading {
        at_ns: reading.at_ns,
        tcp: reading.tcp.clone(),
        udp: reading.udp.clone(),
        dns: reading.dns.clone(),
        files: reading.files.clone(),
        journal: reading.journal.clone(),
        ..Reading::default()
    }
}

/// What the readings so far say of each signal; `None` where none said anything.
#[derive(Clone, Debug, Default)]
pub struct SignalFolds {
    tcp: Option<Box<TcpFold>>,
    udp: Option<Box<UdpFold>>,
    dns: Option<Box<DnsFold>>,
    files: Option<Box<FilesFold>>,
    journal: Option<Box<JournalFold>>,
}

impl SignalFolds {
    /// Takes in the reading that the window starts at.
    pub fn set_base(&mut self, base: &Reading) {
        if let Some(tcp) = &base.tcp {
            self.tcp.get_or_insert_default().set_base(tcp);
        }
        if let Some(udp) = &base.udp {
            self.udp.get_or_insert_default().set_base(udp);
        }
        if let Some(dns) = &base.dns {
            self.dns.get_or_insert_default().set_base(dns);
        }
        if let Some(files) = &base.files {
            self.files.get_or_insert_default().set_base(files);
        }
        if let Some(journal) = &base.journal {
            self.journal.get_or_insert_default().set_base(journal);
        }
    }

    /// Takes in what a reading says, and leaves nothing of it there.
    pub fn push(&mut self, reading: &mut Reading, peers: &HashMap<u64, PeerKey>) {
        if let Some(tcp) = reading.tcp.take() {
            self.tcp.get_or_insert_default().push(*tcp, peers);
        }
        if let Some(udp) = reading.udp.take() {
            self.udp.get_or_insert_default().push(*udp);
        }
        if let Some(dns) = reading.dns.take() {
            self.dns.get_or_insert_default().push(*dns);
        }
        if let Some(files) = reading.files.take() {
            self.files.get_or_insert_default().push(*files);
        }
        if let Some(journal) = reading.journal.take() {
            self.journal.get_or_insert_default().push(*journal);
        }
    }

    /// Writes what was seen into `window`, whose probes are set. `span` is its start and end, CLOCK_MONOTONIC ns.
    pub fn finish(
        &self,
        window: &mut Window,
        span: (u64, u64),
        peers: &HashMap<u64, PeerKey>,
        processes: &Processes,
    ) {
        let active = |id| active(&window.probes, id);
        let tcp = self.tcp.as_ref();
        window.tcp = tcp.map(|f| Box::new(f.finish(span, peers, active("tcp_states"))));
        let udp = self.udp.as_ref();
        window.udp = udp.map(|f| Box::new(f.finish(span, active("udp_drops"))));
        let dns = self.dns.as_ref();
        window.dns = dns.map(|f| Box::new(f.finish(span, peers, processes)));
        window.files = self
            .files
            .as_ref()
            .map(|f| Box::new(f.finish(span, processes)));
        window.journal = self
            .journal
            .as_ref()
            .map(|f| Box::new(f.finish(span, processes)));
    }

    /// For a window that begins where this one ends: what lasts, and the sums so far, are known to it.
    pub fn successor(&self) -> Self {
        Self {
            tcp: self.tcp.as_ref().map(|f| Box::new(f.successor())),
            udp: self.udp.as_ref().map(|f| Box::new(f.successor())),
            dns: self.dns.as_ref().map(|f| Box::new(f.successor())),
            files: self.files.as_ref().map(|f| Box::new(f.successor())),
            journal: self.journal.as_ref().map(|f| Box::new(f.successor())),
        }
    }
}

fn active(probes: &[ProbeStatus], id: &str) -> bool {
    let mut probes = probes.iter();
    probes.any(|p| p.id == id && p.state == State::Active)
}
