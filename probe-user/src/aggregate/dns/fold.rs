//! Folds what readings say about DNS.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap, HashSet},
};

use probe_common::peer::{PeerKey, special};

use super::{
    Client, Dns, GroupId, GroupResolver, MAX_DNS_ROWS, Name, NameSums, Resolver, Row, Server, Sums,
    Waiting,
};
use crate::{
    aggregate::{
        Peer,
        identity::{Processes, group_name},
        lives::{Lives, Sum},
        peer::resolve,
        series::{Growth, Peak},
    },
    collect::dns::{DnsReading, OpenQuestion, Questions},
};

/// RCODE of a name that does not exist.
const NXDOMAIN: usize = 3;

/// A row's sums and the list of open questions are read a moment apart, in which questions are answered that then are
/// in neither. What was asked within this time of the window's end counts as unanswered only where that is
/// known: it was asked again, or nobody waits for it any more. Reading takes some milliseconds, more on a busy machine.
const UNSETTLED_NS: u64 = 1_000_000_000;

/// One row of the kernel side.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Key {
    pid: u32,
    server: u64,
    name: Option<Name>,
    qtype: u16,
}

/// What a row counts.
#[derive(Clone, Debug, Default)]
struct Asked {
    sums: Sums,
    /// When it was asked last, CLOCK_MONOTONIC ns.
    last_ns: u64,
}

impl From<&Questions> for Asked {
    fn from(row: &Questions) -> Self {
        Self {
            sums: row.into(),
            last_ns: row.last_ns,
        }
    }
}

impl Sum for Asked {
    type Key = Key;

    fn add(&mut self, more: &Self) {
        self.sums.add(&more.sums);
        self.last_ns = self.last_ns.max(more.last_ns);
    }

    fn since(&self, earlier: &Self) -> Self {
        Self {
            sums: self.sums.since(&earlier.sums, 0),
            last_ns: self.last_ns,
        }
    }

    fn other(_: &Key) -> Key {
        Key {
            pid: 0,
            server: special::OTHER,
            name: None,
            qtype: 0,
        }
    }
}

/// Sums by name and type, with the groups that ask.
type ByName<'a> = BTreeMap<(&'a Option<Name>, u16), (NameSums, HashSet<&'a GroupId>)>;

/// DNS in the window so far.
#[derive(Clone, Debug, Default)]
pub(in crate::aggregate) struct DnsFold {
    /// The rows; those at the start of the window with the questions that were waited for then.
    rows: Lives<Asked>,
    /// Questions that nobody waited for any more at the start of the window, as far as they are remembered.
    base_given_up: HashMap<Key, u64>,
    /// Process names by id.
    names: HashMap<u32, Vec<u8>>,
    open: Vec<OpenQuestion>,
    peak: Option<Peak>,
    timeline: Growth<2>,
    /// The last moment that was told, and what had been asked by then.
    last: Option<(u64, u64)>,
    resolvers: Vec<Resolver>,
}

impl DnsFold {
    /// Takes in the reading that the window starts at: its sums are the base.
    pub fn set_base(&mut self, reading: &DnsReading) {
        self.push(reading.clone());
        *self = self.successor();
    }

    /// Takes in a reading; in the order in which they were taken.
    pub fn push(&mut self, reading: DnsReading) {
        for step in &reading.steps {
            let peak = self.peak.get_or_insert_with(|| match self.last {
                Some((at_ns, asked)) => Peak::from(at_ns, asked),
                // The first one is sent when the first question is asked.
                None => Peak::from(step.at_ns, 0),
            });
            peak.step(step.at_ns, step.asked);
            self.timeline.step(step.at_ns, [step.asked, step.answered]);
            self.last = Some((step.at_ns, step.asked));
        }
        if !reading.resolvers.is_empty() {
            self.resolvers = reading.resolvers;
        }
        for row in reading.retired.iter().chain(&reading.sums) {
            if !row.comm.is_empty() {
                self.names.insert(row.pid, row.comm.clone());
            }
        }
        let asked = |row| (key_of(row), Asked::from(row));
        self.rows.end(reading.retired.iter().map(asked));
        self.rows.learn(reading.sums.iter().map(asked));
        if !reading.sums.is_empty() || !reading.open.is_empty() {
            self.open = reading.open;
        }
    }

    /// For a window that begins where this one ends: the sums so far are its base.
    pub fn successor(&self) -> Self {
        let mut rows = self.rows.successor();
        for (key, n) in self.count_open(true) {
            rows.base_mut().entry(key).or_default().sums.waiting += n;
        }
        let alive: HashSet<u32> = rows.keys().map(|key| key.pid).collect();
        let names = self.names.iter().filter(|(pid, _)| alive.contains(pid));
        Self {
            base_given_up: self.count_open(false),
            names: names.map(|(pid, name)| (*pid, name.clone())).collect(),
            rows,
            open: self.open.clone(),
            peak: self.last.map(|(at_ns, asked)| Peak::from(at_ns, asked)),
            timeline: self.timeline.successor(),
            last: self.last,
            resolvers: self.resolvers.clone(),
        }
    }

    /// The result. `span` is the window's start and end, CLOCK_MONOTONIC ns.
    pub fn finish(
        &self,
        (start_ns, end_ns): (u64, u64),
        peers: &HashMap<u64, PeerKey>,
        processes: &Processes,
    ) -> Dns {
        let groups: HashMap<u32, GroupId> = self
            .rows
            .sums()
            .map(|(key, ..)| key.pid)
            .chain(self.resolvers.iter().map(|r| r.pid))
            .map(|pid| (pid, self.group(pid, processes)))
            .collect();
        let rows = self.rows(end_ns);
        let mut dns = Dns {
            peak_per_s: self.peak.as_ref().map_or(0.0, Peak::per_s),
            timeline: self.timeline.points(start_ns),
            waiting: self.waiting((start_ns, end_ns), &groups, peers),
            resolvers: self.resolvers(&groups),
            ..Dns::default()
        };
        let mut clients: BTreeMap<GroupId, (Client, HashMap<u32, u64>)> = BTreeMap::new();
        let mut servers: BTreeMap<Peer, (Server, HashSet<&GroupId>)> = BTreeMap::new();
        let mut names: ByName<'_> = BTreeMap::new();
        let mut all: BTreeMap<(&GroupId, Peer, &Option<Name>, u16), Sums> = BTreeMap::new();
        for (key, sums) in &rows {
            let Some(group) = groups.get(&key.pid) else {
                continue;
            };
            dns.total.add(sums);
            let (client, pids) = clients.entry(group.clone()).or_default();
            client.sums.add(sums);
            *pids.entry(key.pid).or_default() += sums.asked;
            let peer = resolve(key.server, peers);
            let (server, by) = servers.entry(peer.clone()).or_default();
            server.sums.add(sums);
            by.insert(group);
            let (name, by) = names.entry((&key.name, key.qtype)).or_default();
            name.sums.add(sums);
            by.insert(group);
            all.entry((group, peer, &key.name, key.qtype))
                .or_default()
                .add(sums);
        }
        let expanded = expanded(&rows, &groups);
        let clients = clients.into_iter().map(|(group, (client, pids))| Client {
            processes: pids.len() as u64,
            // The lowest of those that asked most, so that it is the same in every run.
            example_pid: pids
                .into_iter()
                .max_by_key(|&(pid, asked)| (asked, Reverse(pid)))
                .map_or(0, |(pid, _)| pid),
            expanded: expanded.get(&group).copied().unwrap_or(0),
            group,
            ..client
        });
        // Groups and servers are few: a node has some names of processes, and some resolvers.
        (dns.clients, _) = bounded(clients.collect(), |c| &c.sums);
        let servers = servers.into_iter().map(|(peer, (server, by))| Server {
            peer,
            clients: by.len() as u64,
            ..server
        });
        (dns.servers, _) = bounded(servers.collect(), |s| &s.sums);
        let names = names
            .into_iter()
            .map(|((name, qtype), (row, by))| NameSums {
                name: name.clone(),
                qtype,
                clients: by.len() as u64,
                ..row
            });
        (dns.names, dns.other_names) = bounded(names.collect(), |n| &n.sums);
        let all = all
            .into_iter()
            .map(|((group, server, name, qtype), sums)| Row {
                group: group.clone(),
                server,
                name: name.clone(),
                qtype,
                sums,
            });
        (dns.rows, dns.other_rows) = bounded(all.collect(), |r| &r.sums);
        dns
    }

    /// What came in the window, by row of the kernel side.
    fn rows(&self, end_ns: u64) -> Vec<(&Key, Sums)> {
        let waiting = self.count_open(true);
        let given_up = self.count_open(false);
        let none = Sums::default();
        let mut rows: Vec<(&Key, Sums)> = self
            .rows
            .sums()
            .map(|(key, asked, base)| {
                let of = |open: &HashMap<Key, u64>| open.get(key).copied().unwrap_or(0);
                let earlier = base.map_or(&none, |base| &base.sums);
                let mut sums = asked.sums.since(earlier, of(&waiting));
                if asked.last_ns + UNSETTLED_NS > end_ns {
                    let known = of(&given_up).saturating_sub(of(&self.base_given_up));
                    sums.unanswered = sums.unanswered.min(sums.retried + known);
                }
                (key, sums)
            })
            .filter(|(_, sums)| !sums.is_empty())
            .collect();
        rows.sort_by_key(|row| row.0);
        rows
    }

    /// Questions without an answer, by the row that counts them: those that are waited for, or the others.
    fn count_open(&self, waiting: bool) -> HashMap<Key, u64> {
        let mut counts = HashMap::new();
        for open in self.open.iter().filter(|open| open.waiting == waiting) {
            let mut key = key_of_open(open);
            if !self.rows.contains(&key) {
                // Its name found no place among the sums.
                (key.name, key.qtype) = (None, 0);
            }
            *counts.entry(key).or_default() += 1;
        }
        counts
    }

    fn group(&self, pid: u32, processes: &Processes) -> GroupId {
        let known = processes.last_of(pid).map(group_name);
        let (name, php_fpm) = match known.filter(|(name, _)| !name.is_empty()) {
            Some((name, php_fpm)) => (name.to_vec(), php_fpm),
            None => (self.names.get(&pid).cloned().unwrap_or_default(), false),
        };
        GroupId { name, php_fpm }
    }

    /// Threads that wait; one that asked for two types at once is one.
    fn waiting(
        &self,
        (start_ns, end_ns): (u64, u64),
        groups: &HashMap<u32, GroupId>,
        peers: &HashMap<u64, PeerKey>,
    ) -> Vec<Waiting> {
        let mut by_thread: BTreeMap<(u32, u32), &OpenQuestion> = BTreeMap::new();
        for open in self.open.iter().filter(|open| open.waiting) {
            let first = by_thread.entry((open.pid, open.tid)).or_insert(open);
            if (open.asked_ns, open.qtype) < (first.asked_ns, first.qtype) {
                *first = open;
            }
        }
        let mut list: Vec<Waiting> = by_thread
            .into_values()
            .map(|open| Waiting {
                group: groups.get(&open.pid).cloned().unwrap_or_default(),
                pid: open.pid,
                tid: open.tid,
                server: resolve(open.server, peers),
                name: open.name.clone(),
                qtype: open.qtype,
                // What it waited before the window belongs to the one before.
                for_ns: end_ns.saturating_sub(open.asked_ns.max(start_ns)),
            })
            .collect();
        list.sort_by_key(|w| (Reverse(w.for_ns), w.tid));
        list.truncate(MAX_DNS_ROWS);
        list
    }

    fn resolvers(&self, groups: &HashMap<u32, GroupId>) -> Vec<GroupResolver> {
        let mut list: Vec<GroupResolver> = Vec::new();
        for resolver in &self.resolvers {
            let Some(group) = groups.get(&resolver.pid) else {
                continue;
            };
            let same = |known: &GroupResolver| {
                let as_this = Resolver {
                    pid: resolver.pid,
                    ..known.resolver.clone()
                };
                known.group == *group && as_this == *resolver
            };
            if !list.iter().any(same) && list.len() < MAX_DNS_ROWS {
                list.push(GroupResolver {
                    group: group.clone(),
                    resolver: resolver.clone(),
                });
            }
        }
        list.sort_by(|a, b| a.group.cmp(&b.group));
        list
    }
}

fn key_of(row: &Questions) -> Key {
    Key {
        pid: row.pid,
        server: row.server,
        name: row.name.clone(),
        qtype: row.qtype,
    }
}

fn key_of_open(open: &OpenQuestion) -> Key {
    Key {
        pid: open.pid,
        server: open.server,
        name: open.name.clone(),
        qtype: open.qtype,
    }
}

/// Questions for a name that does not exist and begins with another one that the group asked for: search domains.
fn expanded(rows: &[(&Key, Sums)], groups: &HashMap<u32, GroupId>) -> HashMap<GroupId, u64> {
    let mut asked: HashSet<(&GroupId, &[u8])> = HashSet::new();
    for (key, _) in rows {
        if let (Some(group), Some(name)) = (groups.get(&key.pid), &key.name) {
            asked.insert((group, name));
        }
    }
    let mut out = HashMap::new();
    for (key, sums) in rows {
        let missing = sums.rcodes[NXDOMAIN];
        let (Some(group), Some(name), 1..) = (groups.get(&key.pid), &key.name, missing) else {
            continue;
        };
        let dots = name.iter().enumerate().filter(|(_, byte)| **byte == b'.');
        let mut heads = dots.map(|(at, _)| &name[..at]);
        if heads.any(|head| asked.contains(&(group, head))) {
            *out.entry(group.clone()).or_default() += missing;
        }
    }
    out
}

/// The rows with most questions, and the sums of the others.
fn bounded<R>(mut rows: Vec<R>, sums: fn(&R) -> &Sums) -> (Vec<R>, Sums) {
    // A stable sort: equals stay in the order of their names.
    rows.sort_by_key(|row| Reverse((sums(row).asked, sums(row).answered)));
    let rest = rows.split_off(rows.len().min(MAX_DNS_ROWS));
    let mut other = Sums::default();
    rest.iter().for_each(|row| other.add(sums(row)));
    (rows, other)
}
