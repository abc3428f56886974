//! What was measured of processes, as JSON: requests, calls, and what each process did.

use probe_common::part;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Bucket, ErrorJson, GroupJson, PartsJson, PeerJson, RequestJson, Text, buckets};
use crate::{
    aggregate::{Calls, ProcessTime, WaitsFor, Window},
    present::{escape, names},
};

/// What was measured of the processes that were watched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Signals {
    /// Requests by group of processes, the one with most request time first.
    pub requests: Vec<GroupJson>,
    /// Calls by process, operation and peer, most time first.
    pub calls: Vec<CallsJson>,
    /// The processes followed, by id.
    pub processes: Vec<ProcessJson>,
    /// Processes followed that `processes` has no place for.
    pub processes_left_out: u64,
}

impl Signals {
    pub(super) fn of(window: &Window) -> Self {
        Self {
            requests: window.groups.iter().map(GroupJson::of).collect(),
            calls: window.calls.iter().map(CallsJson::of).collect(),
            processes: window.processes.iter().map(ProcessJson::of).collect(),
            processes_left_out: window.processes_left_out,
        }
    }
}

/// Calls of one operation by one process to one peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CallsJson {
    /// Null for the processes of a group that have no row of their own.
    #[serde(rename = "process.pid")]
    pub pid: Option<u32>,
    /// Process name, or the group's.
    #[serde(rename = "process.executable.name")]
    pub comm: Text,
    /// A system call's name; `established` for the time from connect() to the connection being there, `exchange` for the
    /// time from sending to the last byte of the answer.
    pub op: Text,
    /// With whom.
    pub peer: PeerJson,
    /// Calls that returned in the window.
    pub count: u64,
    /// How long they took together.
    pub total_ns: u64,
    /// Of it blocked.
    pub blocked_ns: u64,
    /// The longest since watching began.
    pub max_ns: u64,
    /// Those that failed.
    pub errors: Vec<ErrorJson>,
    /// How long each took.
    pub duration: Vec<Bucket>,
}

impl CallsJson {
    fn of(c: &Calls) -> Self {
        let errors = c.errors.iter().map(|&(errno, count)| match errno {
            0 => ErrorJson {
                name: "_OTHER".into(),
                count,
            },
            errno => ErrorJson::of(errno, count),
        });
        Self {
            pid: c.pid,
            comm: Text::name(&c.comm),
            op: c.op.into(),
            peer: PeerJson::of(&c.peer),
            count: c.count,
            total_ns: c.total_ns,
            blocked_ns: c.blocked_ns,
            max_ns: c.max_ns,
            errors: errors.collect(),
            duration: buckets(&c.durations),
        }
    }
}

/// A process, and what it does at the window's end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProcessJson {
    /// Its id.
    #[serde(rename = "process.pid")]
    pub pid: u32,
    /// Its parent's id.
    #[serde(rename = "process.parent_pid")]
    pub ppid: u32,
    /// Its name.
    #[serde(rename = "process.executable.name")]
    pub comm: Text,
    /// The group it belongs to: a PHP-FPM pool's name, or the process name.
    pub group: Text,
    /// True when it ended in the window.
    pub ended: bool,
    /// Threads followed.
    pub threads: u32,
    /// True for an event loop: its requests cannot be told apart.
    pub event_driven: bool,
    /// Requests that it finished in the window.
    pub requests: u64,
    /// Wall time of its threads in the window.
    pub parts: PartsJson,
    /// The request that it is in; null when it is in none.
    pub current: Option<RequestJson>,
    /// What it waits for; null when it is not blocked.
    pub waits_for: Option<WaitsForJson>,
}

/// What a process is blocked on at the window's end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WaitsForJson {
    /// The part that the wait is charged to so far: `network`, `disk`, ...
    pub part: Text,
    /// The name of the peer, where one is known or assumed.
    pub peer: Option<Text>,
    /// How long already.
    pub for_ns: u64,
}

impl ProcessJson {
    pub(in crate::present) fn of(p: &ProcessTime) -> Self {
        Self {
            pid: p.process.pid,
            ppid: p.process.ppid,
            comm: Text::name(&p.process.comm),
            group: Text::name(&p.group),
            ended: p.process.ended,
            threads: p.threads,
            event_driven: p.event_driven,
            requests: p.requests,
            parts: PartsJson::of(&p.parts),
            current: p.current.as_deref().map(RequestJson::of),
            waits_for: p.waits_for.as_ref().map(WaitsForJson::of),
        }
    }
}

impl WaitsForJson {
    fn of(w: &WaitsFor) -> Self {
        Self {
            part: part::NAMES[w.part].into(),
            peer: w.peer.as_ref().map(|p| names::peer(p, escape::MAX).into()),
            for_ns: w.for_ns,
        }
    }
}
