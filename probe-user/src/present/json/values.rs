//! What many parts of a report are made of: histograms, time by part, peers, errors.

use probe_common::part;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Text;
use crate::{
    aggregate::{Durations, Histogram, Parts, Peer},
    present::{errno, escape, names},
};

/// One bucket of a histogram: durations of at most `le_ns` and more than the bucket before. Buckets have counts of their
/// own (not cumulative), stand in order, and empty ones are left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Bucket {
    /// The longest duration that it takes, ns; null for the last one, which takes everything longer.
    pub le_ns: Option<u64>,
    /// Durations in it.
    pub count: u64,
}

/// A kernel histogram's buckets in use.
pub(in crate::present) fn buckets(durations: &Durations) -> Vec<Bucket> {
    durations
        .iter()
        .map(|(_, end, count)| Bucket {
            le_ns: (end != u64::MAX).then(|| end - 1),
            count,
        })
        .collect()
}

/// The same of an HDR histogram.
pub(super) fn hdr_buckets(histogram: &Histogram) -> Vec<Bucket> {
    histogram
        .iter_recorded()
        .map(|v| Bucket {
            le_ns: Some(v.value_iterated_to()),
            count: v.count_at_value().into(),
        })
        .collect()
}

/// A number that JSON can hold: a rule's or a rate's arithmetic gives no other, but should it, the report stays readable.
pub(in crate::present) fn finite(value: f64) -> f64 {
    if value.is_nan() {
        0.0
    } else {
        value.clamp(f64::MIN, f64::MAX)
    }
}

/// Wall time by part; each nanosecond is in one of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PartsJson {
    /// Running on a CPU.
    pub on_cpu_ns: u64,
    /// Runnable, waiting for a CPU.
    pub run_queue_ns: u64,
    /// Blocked on a peer (a socket that is not the request's own).
    pub network_ns: u64,
    /// Blocked on the connection that the request came in on.
    pub client_ns: u64,
    /// Uninterruptible sleep (D), or a read or write of a file that blocked.
    pub disk_ns: u64,
    /// Blocked in futex, flock or a file lock of fcntl.
    pub lock_ns: u64,
    /// Blocked in nanosleep and its kin: the program asked for it.
    pub sleep_ns: u64,
    /// Blocked on a pipe, a child process, or another local descriptor.
    pub local_ns: u64,
    /// Waiting for the next request: accept, or a poll that a listening socket ended.
    pub idle_ns: u64,
    /// Blocked in a way that is not known.
    pub unexplained_ns: u64,
}

impl PartsJson {
    pub(super) fn of(parts: &Parts) -> Self {
        Self {
            on_cpu_ns: parts[part::ON_CPU],
            run_queue_ns: parts[part::RUN_QUEUE],
            network_ns: parts[part::NETWORK],
            client_ns: parts[part::CLIENT],
            disk_ns: parts[part::DISK],
            lock_ns: parts[part::LOCK],
            sleep_ns: parts[part::SLEEP],
            local_ns: parts[part::LOCAL],
            idle_ns: parts[part::IDLE],
            unexplained_ns: parts[part::UNEXPLAINED],
        }
    }

    /// The same as a list, by [`part`].
    pub fn parts(&self) -> Parts {
        let mut parts = Parts::default();
        parts[part::ON_CPU] = self.on_cpu_ns;
        parts[part::RUN_QUEUE] = self.run_queue_ns;
        parts[part::NETWORK] = self.network_ns;
        parts[part::CLIENT] = self.client_ns;
        parts[part::DISK] = self.disk_ns;
        parts[part::LOCK] = self.lock_ns;
        parts[part::SLEEP] = self.sleep_ns;
        parts[part::LOCAL] = self.local_ns;
        parts[part::IDLE] = self.idle_ns;
        parts[part::UNEXPLAINED] = self.unexplained_ns;
        parts
    }
}

/// A peer: its name as text outputs show it, and its address in OpenTelemetry's terms.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub struct PeerJson {
    /// Its name as text outputs show it: `203.0.113.5:443`, a path, or words.
    pub name: Text,
    /// `inet` (an address that was connected to), `unix` (a socket that was connected to), `inbound` (who connected to
    /// us), `listener`, `other_family` (such as netlink) or `special` (nobody in particular: several, unknown, others).
    pub kind: Text,
    /// `tcp`, `udp`, `ip-proto-N` or `unix`; absent where it has none.
    #[serde(rename = "network.transport", skip_serializing_if = "Option::is_none")]
    pub transport: Option<Text>,
    /// IP address, or the path of a Unix socket; absent where it has none.
    #[serde(
        rename = "network.peer.address",
        skip_serializing_if = "Option::is_none"
    )]
    pub address: Option<Text>,
    /// Port; absent where it has none.
    #[serde(rename = "network.peer.port", skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

impl PeerJson {
    /// Of a window's peer.
    pub fn of(peer: &Peer) -> Self {
        let (kind, transport, address, port) = match peer {
            Peer::Inet {
                transport,
                address,
                port,
            } => (
                "inet",
                Some(transport.clone().into()),
                Some(address.to_string().into()),
                Some(*port),
            ),
            Peer::Unix { path } => ("unix", Some("unix".into()), Some(Text::name(path)), None),
            Peer::Inbound { address, .. } => {
                ("inbound", None, address.map(|a| a.to_string().into()), None)
            }
            Peer::Listener { .. } => ("listener", None, None, None),
            Peer::Family(_) => ("other_family", None, None, None),
            Peer::Special(_) => ("special", None, None, None),
        };
        Self {
            name: names::peer(peer, escape::MAX).into(),
            kind: kind.into(),
            transport,
            address,
            port,
        }
    }
}

/// Calls that failed with one errno.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorJson {
    /// Its name, such as `ECONNREFUSED`; `_OTHER` for all that found no place.
    #[serde(rename = "error.type")]
    pub name: Text,
    /// Calls.
    pub count: u64,
}

impl ErrorJson {
    pub(in crate::present) fn of(errno: u32, count: u64) -> Self {
        Self {
            name: errno::name(errno).into(),
            count,
        }
    }
}
