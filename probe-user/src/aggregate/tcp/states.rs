//! From the kernel side's columns, keys and names to [`States`], [`Peer`]s and processes.

use probe_common::{
    count::COMM_LEN,
    peer::{PeerKey, flag, kind},
    tcp::{CensusKey, Connect, column, state},
};

use super::{Process, States};
use crate::{
    aggregate::{Peer, peer::from_key},
    collect::tcp::Counts,
};

impl States {
    /// Sockets counted by [`column`].
    pub(super) fn of(counts: &Counts) -> Self {
        let of = |state: u8| counts[usize::from(state)];
        let orphaned = counts[column::FIN_WAIT2_ORPHAN] + counts[column::FIN_WAIT2_TIMEWAIT];
        Self {
            established: of(state::ESTABLISHED),
            syn_sent: of(state::SYN_SENT),
            syn_received: of(state::SYN_RECV) + of(state::NEW_SYN_RECV),
            fin_wait_1: of(state::FIN_WAIT1),
            fin_wait_2: counts[column::FIN_WAIT2_HELD] + orphaned,
            fin_wait_2_orphaned: orphaned,
            time_wait: of(state::TIME_WAIT),
            close_wait: of(state::CLOSE_WAIT),
            last_ack: of(state::LAST_ACK),
            listen: of(state::LISTEN),
            closing: of(state::CLOSING),
            closed: of(state::CLOSE),
        }
    }

    /// The same of a row's narrower counts.
    pub(super) fn of_row(counts: &[u32; column::COUNT]) -> Self {
        Self::of(&counts.map(u64::from))
    }

    /// Adds the counts of `other`.
    pub(super) fn add(&mut self, other: &Self) {
        self.established += other.established;
        self.syn_sent += other.syn_sent;
        self.syn_received += other.syn_received;
        self.fin_wait_1 += other.fin_wait_1;
        self.fin_wait_2 += other.fin_wait_2;
        self.fin_wait_2_orphaned += other.fin_wait_2_orphaned;
        self.time_wait += other.time_wait;
        self.close_wait += other.close_wait;
        self.last_ack += other.last_ack;
        self.listen += other.listen;
        self.closing += other.closing;
        self.closed += other.closed;
    }
}

/// Whose row it is, whichever address on this side: rows of one peer have equal keys.
pub(super) fn whose(key: &CensusKey) -> CensusKey {
    CensusKey {
        local: [0; 2],
        ..*key
    }
}

/// The other end that a census row is about; for a listener, itself.
pub(super) fn peer_of(key: &CensusKey) -> Peer {
    let inbound = key.flags & (flag::INBOUND | flag::LISTENER) != 0;
    let mut peer = PeerKey {
        kind: key.kind,
        protocol: 6,
        flags: key.flags,
        port: if inbound { 0 } else { key.port },
        local_port: if inbound { key.port } else { 0 },
        ..PeerKey::ZERO
    };
    let address = if key.flags & flag::LISTENER != 0 {
        key.local
    } else {
        key.remote
    };
    peer.set_address(&bytes(key.kind, address));
    from_key(&peer)
}

/// The address on this side.
pub(super) fn local_of(key: &CensusKey) -> Option<std::net::IpAddr> {
    let mut address = PeerKey {
        kind: key.kind,
        protocol: 6,
        ..PeerKey::ZERO
    };
    address.set_address(&bytes(key.kind, key.local));
    match from_key(&address) {
        Peer::Inet { address, .. } => Some(address),
        _ => None,
    }
}

fn bytes(kind: u8, address: [u64; 2]) -> Vec<u8> {
    let length = if kind == kind::INET { 4 } else { 16 };
    let words = address.map(u64::to_ne_bytes);
    words.as_flattened()[..length].to_vec()
}

/// The process of a record, as it is looked up a million times a second: in no memory of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Who {
    pid: u32,
    comm: [u8; COMM_LEN],
}

impl Who {
    /// Who connected. What may lie behind the end of the name is left out.
    pub fn connected(connect: &Connect) -> Self {
        let mut comm = connect.comm;
        let length = comm.iter().position(|&b| b == 0).unwrap_or(COMM_LEN);
        comm[length..].fill(0);
        Self {
            pid: connect.tgid,
            comm,
        }
    }
}

impl From<Who> for Process {
    fn from(who: Who) -> Self {
        Self {
            pid: who.pid,
            comm: name(&who.comm),
        }
    }
}

/// A process name as the kernel keeps it, without the padding.
pub(super) fn name(comm: &[u8; COMM_LEN]) -> Vec<u8> {
    let length = comm.iter().position(|&b| b == 0).unwrap_or(COMM_LEN);
    comm[..length].to_vec()
}
