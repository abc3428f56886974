//! DNS as the kernel side sees processes ask: what a [`Reading`](super::Reading) says about it.
//!
//! Everything is added up in the kernel; a reading copies the sums, and costs nothing for a single question. Lookups
//! that never become a message to port 53 are not seen: encrypted ones, those over io_uring, and those that glibc hands
//! to nscd or systemd-resolved over a Unix socket ([`Resolver::nss_resolve`]; the daemon's own questions are seen).

mod records;
pub(super) mod resolver;

use aya::Ebpf;
use probe_common::{dns, request::event, table::Made};
use serde::{Deserialize, Serialize};

use super::CallSum;
use crate::error::Error;
use resolver::Resolvers;

/// Everything DNS in a reading.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct DnsReading {
    /// Questions since attach, by process, server, name and type.
    pub sums: Vec<Questions>,
    /// Rows of `sums` that were taken out since the last reading, as in [`super::Reading::retired`].
    pub retired: Vec<Questions>,
    /// Questions without an answer yet, at this moment, with their process still waiting or not.
    pub open: Vec<OpenQuestion>,
    /// How questions grew, since the last reading, in order: at most ten a second. The last one is of this reading.
    pub steps: Vec<Step>,
    /// How the processes in `sums` resolve names, as far as their files could be read.
    pub resolvers: Vec<Resolver>,
}

/// A question's name as it is written: labels with dots between, lower case, no dot at the end, any bytes (a dot or
/// a byte that is not printable inside a label is written `\DDD`, RFC 1035 section 5.1). Empty: the root.
pub type Name = Vec<u8>;

/// Questions of one process for one name and type to one server.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Questions {
    /// Process id.
    pub pid: u32,
    /// Process name, any bytes.
    pub comm: Vec<u8>,
    /// Peer id of the server (see [`Reading::peers`](super::Reading)): address, port 53, transport.
    pub server: u64,
    /// The name; `None` for names that found no place in the table.
    pub name: Option<Name>,
    /// QTYPE: 1 is A, 28 is AAAA; 0 without a name.
    pub qtype: u16,
    /// Messages sent that ask it, retries included.
    pub asked: u64,
    /// Of these: the same thread (or socket) asked it before and had no answer, and it is the same lookup: the id is
    /// the same, or no wait for the first one has ended. A resolver library that takes another socket, id and thread
    /// for another attempt (Go) has none; its first question stays without an answer.
    pub retried: u64,
    /// Of `asked`: anyone on the node asked for the same name and type less than a second before. Retries are none,
    /// nor is the question over TCP that follows a truncated answer.
    pub duplicates: u64,
    /// Answers received.
    pub answered: u64,
    /// Ended at once, without an answer: an ICMP error (nobody listens, no route), or the server closed the connection.
    pub refused: u64,
    /// The answers by response code (RCODE 0 to 15).
    pub rcodes: [u64; 16],
    /// Of the answers: NOERROR without a record (NODATA).
    pub empty: u64,
    /// Of the answers: truncated (TC); a resolver asks again over TCP.
    pub truncated: u64,
    /// From the question (the last retry of it) to its answer being received.
    pub latency: CallSum,
    /// Waits for an answer that ended without one, and the time they took. A wait for two questions (A and AAAA) is
    /// one, with the question that was sent first. Event loops have none: what they wait for is not to be told.
    pub timed_out: CallSum,
    /// First and last question, CLOCK_MONOTONIC ns.
    pub first_ns: u64,
    /// See `first_ns`.
    pub last_ns: u64,
}

/// A question that has no answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenQuestion {
    /// Process and thread.
    pub pid: u32,
    /// See `pid`.
    pub tid: u32,
    /// As in [`Questions`].
    pub server: u64,
    /// As in [`Questions`].
    pub name: Option<Name>,
    /// As in [`Questions`].
    pub qtype: u16,
    /// When it was asked last, CLOCK_MONOTONIC ns.
    pub asked_ns: u64,
    /// It may yet be answered: no wait for it has ended, its process is there, and it is younger than the resolver's
    /// time-out.
    pub waiting: bool,
}

/// How far all questions had come at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// When, CLOCK_MONOTONIC ns.
    pub at_ns: u64,
    /// Asked since attach.
    pub asked: u64,
    /// Answered since attach.
    pub answered: u64,
}

/// How a process resolves names (its own /etc, seen through /proc/PID/root).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolver {
    /// Process id.
    pub pid: u32,
    /// `nameserver` lines of resolv.conf, in order.
    pub servers: Vec<std::net::IpAddr>,
    /// `options timeout:`, seconds (resolv.conf(5): 5 when absent).
    pub timeout_s: u32,
    /// `options attempts:` (2 when absent).
    pub attempts: u32,
    /// `options ndots:` (1 when absent).
    pub ndots: u32,
    /// `search` or `domain`: how many domains are tried.
    pub search: u32,
    /// `options single-request` or `single-request-reopen`: A and AAAA one after the other.
    pub single_request: bool,
    /// `options use-vc`: TCP.
    pub use_vc: bool,
    /// The `hosts:` line of nsswitch.conf names `resolve`: glibc asks systemd-resolved over its Unix socket, and
    /// such lookups are no DNS messages of the process.
    pub nss_resolve: bool,
    /// nscd's or systemd-resolved's stub is what the servers are: an address in 127.0.0.0/8 or ::1.
    pub local_stub: bool,
}

/// Follows DNS.
pub(super) struct DnsReader {
    tables: records::Tables,
    resolvers: Resolvers,
}

impl DnsReader {
    /// Begins to follow.
    pub fn start(ebpf: &mut Ebpf) -> Result<Self, Error> {
        records::make_other_rows(ebpf)?;
        Ok(Self {
            tables: records::Tables::default(),
            resolvers: Resolvers::start()?,
        })
    }

    /// Decodes a record of the ring; false when it is none of ours.
    pub fn decode(kind: u32, bytes: &[u8], into: &mut Option<Box<DnsReading>>) -> bool {
        if kind != event::DNS || bytes.len() < size_of::<dns::Step>() {
            return false;
        }
        // SAFETY: the length was just checked; every bit pattern is a valid `Step`.
        let step = unsafe { std::ptr::read_unaligned(bytes.as_ptr().cast::<dns::Step>()) };
        into.get_or_insert_default().steps.push(Step {
            at_ns: step.at_ns,
            asked: step.asked,
            answered: step.answered,
        });
        true
    }

    /// The kernel side says that so many rows were made.
    pub fn told(&mut self, made: &Made) {
        self.tables.told(made);
    }

    /// Is there to be made room in the tables?
    pub fn is_crowded(&self) -> bool {
        self.tables.is_crowded()
    }

    /// Takes rows out of the tables.
    pub fn make_room(&mut self, ebpf: &Ebpf, into: &mut DnsReading) -> Result<(), Error> {
        let open = records::open(ebpf)?;
        let (_, retired) = self.tables.look(ebpf, &open, false)?;
        into.retired.extend(retired);
        Ok(())
    }

    /// Everything.
    pub fn read(&mut self, ebpf: &mut Ebpf, into: &mut DnsReading) -> Result<(), Error> {
        let open = records::open(ebpf)?;
        let (sums, retired) = self.tables.look(ebpf, &open, true)?;
        into.sums = sums;
        into.retired.extend(retired);
        let mut pids: Vec<u32> = into.sums.iter().map(|q| q.pid).collect();
        pids.sort_unstable();
        pids.dedup();
        into.resolvers = self.resolvers.of(&pids);
        into.open = records::waiting(&open, &self.tables, &into.resolvers);
        into.steps.push(records::totals(ebpf)?);
        Ok(())
    }
}

impl DnsReading {
    /// Peer ids that it names.
    pub(super) fn named_peers(&self) -> impl Iterator<Item = u64> + '_ {
        let asked = self.sums.iter().chain(&self.retired).map(|q| q.server);
        asked.chain(self.open.iter().map(|q| q.server))
    }
}
