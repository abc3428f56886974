//! The catalogue of what is compared: one record each. What a report holds of it is taken out in `present`.

use crate::diagnose::Unit;

/// Something that two reports are compared by.
#[derive(Debug)]
pub struct What {
    /// Its name in JSON; stable.
    pub id: &'static str,
    /// In words.
    pub words: &'static str,
    /// What it belongs to.
    pub section: Section,
    /// Its unit.
    pub unit: Unit,
    /// The probes without which it is not known.
    pub needs: &'static [&'static str],
    /// What a change means.
    pub role: Role,
    /// It grows with the load: where that differs, a change in the same direction says nothing.
    pub by_load: bool,
    /// A change is at least so many times as much, or as little.
    pub least: f64,
    /// And more than this.
    pub floor: f64,
    /// What it means that one side does not have it.
    pub absent: Absent,
}

/// Where it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Section {
    /// Requests of a group of processes.
    Requests,
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// DNS.
    Dns,
    /// Files.
    Files,
    /// Journals.
    Journal,
}

impl Section {
    /// As JSON spells it.
    pub fn id(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Dns => "dns",
            Self::Files => "files",
            Self::Journal => "journal",
        }
    }

    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Requests => "Requests",
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Dns => "DNS",
            Self::Files => "Files",
            Self::Journal => "Journal",
        }
    }
}

/// What a change means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Users feel it, or something was lost: less is better, more is worse.
    Counts,
    /// It tells why; by itself it is neither better nor worse.
    Explains,
}

/// What it means that one side does not have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// There was none: reports list all there is.
    None,
    /// It is not known.
    Unknown,
}

/// A change of less is no matter, even where it is sure.
const TENTH: f64 = 1.1;
/// Rates of what comes by chance one by one.
const QUARTER: f64 = 1.25;
/// Events that come in bursts: what chance varies is the number of bursts, which nobody counted.
const DOUBLE: f64 = 2.0;
/// Times that differ by less than 0.1 ms are alike.
const FLOOR_NS: f64 = 1e5;

const REQUEST_TIME: What = What {
    id: "",
    words: "",
    section: Section::Requests,
    unit: Unit::Ns,
    needs: &["requests"],
    role: Role::Counts,
    by_load: false,
    least: TENTH,
    floor: FLOOR_NS,
    absent: Absent::Unknown,
};

const PER_REQUEST: What = What {
    unit: Unit::Count,
    needs: &["requests", "calls"],
    role: Role::Explains,
    floor: 0.02,
    absent: Absent::None,
    ..REQUEST_TIME
};

const RATE: What = What {
    section: Section::Tcp,
    unit: Unit::PerSecond,
    role: Role::Counts,
    by_load: true,
    least: DOUBLE,
    floor: 0.05,
    absent: Absent::None,
    ..REQUEST_TIME
};

const LATENCY: What = What {
    role: Role::Explains,
    ..REQUEST_TIME
};

/// Half of the requests took at most so long.
pub const WALL_P50: What = What {
    id: "request_p50",
    words: "request time p50",
    ..REQUEST_TIME
};
/// 90 % of them.
pub const WALL_P90: What = What {
    id: "request_p90",
    words: "request time p90",
    role: Role::Explains,
    ..REQUEST_TIME
};
/// 95 % of them.
pub const WALL_P95: What = What {
    id: "request_p95",
    words: "request time p95",
    ..REQUEST_TIME
};
/// 99 % of them.
pub const WALL_P99: What = What {
    id: "request_p99",
    words: "request time p99",
    role: Role::Explains,
    ..REQUEST_TIME
};
/// connect() calls.
pub const CONNECTS: What = What {
    id: "connects_per_request",
    words: "connects per request",
    ..PER_REQUEST
};
/// poll() and its kin.
pub const POLLS: What = What {
    id: "polls_per_request",
    words: "polls per request",
    ..PER_REQUEST
};
/// Time per request by part.
pub const PART: What = What {
    id: "part_per_request",
    words: "per request",
    unit: Unit::Ns,
    needs: &["requests", "scheduler"],
    floor: FLOOR_NS,
    ..PER_REQUEST
};
/// Time waiting for a peer.
pub const PEER_TIME: What = What {
    id: "peer_time_per_request",
    words: "waited for it per request",
    unit: Unit::Ns,
    needs: &["requests", "peers"],
    floor: FLOOR_NS,
    ..PER_REQUEST
};
/// Rounds with a peer.
pub const PEER_EXCHANGES: What = What {
    id: "peer_exchanges_per_request",
    words: "rounds with it per request",
    needs: &["requests", "peers"],
    ..PER_REQUEST
};
/// connect() calls to a peer.
pub const PEER_CONNECTS: What = What {
    id: "peer_connects_per_request",
    words: "connects to it per request",
    needs: &["requests", "peers"],
    ..PER_REQUEST
};
/// A round with a peer.
pub const PEER_P50: What = What {
    id: "peer_exchange_p50",
    words: "one round p50",
    needs: &["peers"],
    ..LATENCY
};
/// Likewise.
pub const PEER_P95: What = What {
    id: "peer_exchange_p95",
    words: "one round p95",
    needs: &["peers"],
    ..LATENCY
};
/// Likewise.
pub const PEER_P99: What = What {
    id: "peer_exchange_p99",
    words: "one round p99",
    needs: &["peers"],
    ..LATENCY
};

/// Sockets in a state.
pub const STATE: What = What {
    id: "tcp_sockets",
    words: "sockets",
    unit: Unit::Count,
    needs: &["tcp_census"],
    role: Role::Explains,
    least: QUARTER,
    floor: 20.0,
    ..RATE
};
/// Ports used towards a destination, at most.
pub const PORTS: What = What {
    id: "tcp_ports_used",
    words: "ports used, at most",
    ..STATE
};
/// Connects that failed.
pub const FAILED: What = What {
    id: "failed_connects",
    words: "failed connects",
    needs: &["connects"],
    ..RATE
};
/// Connections turned away by a full queue.
pub const OVERFLOWS: What = What {
    id: "listen_overflows",
    words: "turned away, queue full",
    needs: &["tcp_census"],
    ..RATE
};
/// Time until accept().
pub const ACCEPT_P95: What = What {
    id: "accept_wait_p95",
    words: "wait for accept p95",
    section: Section::Tcp,
    needs: &["accepts"],
    ..LATENCY
};

/// Datagrams dropped by a socket.
pub const DROPS: What = What {
    id: "udp_drops",
    words: "datagrams dropped",
    section: Section::Udp,
    needs: &["udp_drops"],
    ..RATE
};

/// Questions.
pub const QUESTIONS: What = What {
    id: "dns_questions",
    words: "questions",
    section: Section::Dns,
    needs: &["dns"],
    role: Role::Explains,
    least: QUARTER,
    ..RATE
};
/// Waits for an answer that timed out.
pub const TIMEOUTS: What = What {
    id: "dns_time_outs",
    words: "time-outs",
    section: Section::Dns,
    needs: &["dns"],
    ..RATE
};
/// Time lost in these.
pub const LOST: What = What {
    id: "dns_time_lost",
    words: "time lost to time-outs, per time",
    unit: Unit::Ratio,
    role: Role::Explains,
    floor: 0.001,
    ..TIMEOUTS
};
/// Time to an answer.
pub const DNS_P50: What = What {
    id: "dns_latency_p50",
    words: "answer p50",
    section: Section::Dns,
    needs: &["dns"],
    ..REQUEST_TIME
};
/// Likewise.
pub const DNS_P95: What = What {
    id: "dns_latency_p95",
    words: "answer p95",
    ..DNS_P50
};

/// Files created.
pub const CREATED: What = What {
    id: "files_created",
    words: "files created",
    section: Section::Files,
    needs: &["files"],
    role: Role::Explains,
    least: QUARTER,
    floor: 0.5,
    ..RATE
};
/// Calls refused for want of space.
pub const REFUSED: What = What {
    id: "files_refused",
    words: "calls refused, no space",
    section: Section::Files,
    needs: &["no_space"],
    ..RATE
};

/// A commit of a journal.
pub const COMMIT_P99: What = What {
    id: "commit_p99",
    words: "commit p99",
    section: Section::Journal,
    needs: &["journal_commits"],
    ..REQUEST_TIME
};
/// fsync() and its kin.
pub const FSYNC_P99: What = What {
    id: "fsync_p99",
    words: "fsync p99",
    section: Section::Journal,
    needs: &["file_system_syncs"],
    ..REQUEST_TIME
};
/// Uninterruptible sleep.
pub const ASLEEP: What = What {
    id: "uninterruptible_sleep",
    words: "tasks in D sleep, on average",
    section: Section::Journal,
    unit: Unit::Count,
    needs: &["sleepers"],
    role: Role::Explains,
    floor: 0.005,
    ..RATE
};

/// All of them, in the order in which they are shown.
pub const CATALOGUE: &[&What] = &[
    &WALL_P50,
    &WALL_P90,
    &WALL_P95,
    &WALL_P99,
    &CONNECTS,
    &POLLS,
    &PART,
    &PEER_TIME,
    &PEER_EXCHANGES,
    &PEER_CONNECTS,
    &PEER_P50,
    &PEER_P95,
    &PEER_P99,
    &FAILED,
    &OVERFLOWS,
    &ACCEPT_P95,
    &STATE,
    &PORTS,
    &DROPS,
    &TIMEOUTS,
    &LOST,
    &DNS_P50,
    &DNS_P95,
    &QUESTIONS,
    &REFUSED,
    &CREATED,
    &COMMIT_P99,
    &FSYNC_P99,
    &ASLEEP,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attach::probe_ids;

    #[test]
    fn every_record_is_whole_and_its_probes_exist() {
        let mut ids: Vec<_> = CATALOGUE.iter().map(|what| what.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), CATALOGUE.len());
        for what in CATALOGUE {
            assert!(!what.id.is_empty() && !what.words.is_empty(), "{what:?}");
            assert!(what.least > 1.0 && what.floor >= 0.0, "{what:?}");
            for need in what.needs {
                assert!(probe_ids().any(|id| id == *need), "{}: {need}", what.id);
            }
        }
        let order: Vec<_> = CATALOGUE.iter().map(|what| what.section).collect();
        assert!(order.is_sorted());
    }
}
