//! What the TCP programs put on the ring and iterators write out, and their sums of transitions.

use aya::{
    Ebpf,
    maps::{Array, HashMap, MapData, MapError},
};
use probe_common::{
    peer::special,
    request::event,
    tcp::{
        self, Connect, FinWait2, Holder, Listener, Listening, Transition, TransitionKey, record,
        state::*,
    },
};

use super::{TcpReading, Timewait, TransitionSum};
use crate::{
    collect::{
        CallSum, iterator,
        table::{self, Fate, Look},
    },
    error::Error,
};

/// What an iterator wrote out.
#[derive(Default)]
pub struct Written {
    /// Sockets in FIN_WAIT_2.
    pub fin_wait2: Vec<FinWait2>,
    /// Listening sockets.
    pub listeners: Vec<Listener>,
    /// Who holds half-closed sockets.
    pub holders: Vec<Holder>,
}

impl iterator::Written for Written {
    fn take(&mut self, kind: u32, bytes: &[u8]) -> Option<usize> {
        match kind {
            record::FIN_WAIT2 => Some(iterator::push(bytes, &mut self.fin_wait2)),
            record::LISTENER => Some(iterator::push(bytes, &mut self.listeners)),
            record::HOLDER => Some(iterator::push(bytes, &mut self.holders)),
            _ => None,
        }
    }
}

/// Pairs of states that occur. When the table is full, the kernel side adds a transition to its pair's row for
/// "other peers", which is there from the start.
const PAIRS: &[(u8, u8)] = &[
    (CLOSE, SYN_SENT),
    (CLOSE, LISTEN),
    (LISTEN, SYN_RECV),
    (LISTEN, CLOSE),
    (SYN_SENT, ESTABLISHED),
    (SYN_SENT, SYN_RECV),
    (SYN_SENT, CLOSE),
    (SYN_RECV, ESTABLISHED),
    (SYN_RECV, FIN_WAIT1),
    (SYN_RECV, CLOSE_WAIT),
    (SYN_RECV, CLOSE),
    (ESTABLISHED, FIN_WAIT1),
    (ESTABLISHED, CLOSE_WAIT),
    (ESTABLISHED, CLOSE),
    (ESTABLISHED, ACCEPTED),
    (FIN_WAIT1, FIN_WAIT2),
    (FIN_WAIT1, CLOSING),
    (FIN_WAIT1, CLOSE),
    (FIN_WAIT2, CLOSE),
    (CLOSING, CLOSE),
    (CLOSE_WAIT, LAST_ACK),
    (CLOSE_WAIT, CLOSE),
    (LAST_ACK, CLOSE),
];

/// The kernel's table of sums.
pub type Table<'a> = HashMap<&'a mut MapData, TransitionKey, tcp::TransitionSum>;

/// Makes the rows for what finds no other place.
pub fn make_other_rows(table: &mut Table<'_>) {
    for (old, new) in PAIRS {
        let key = TransitionKey {
            peer: special::OTHER,
            old: *old,
            new: *new,
            ..TransitionKey::ZERO
        };
        // A table that is too small for them has losses, which the kernel side counts.
        let _ = table.insert(key, tcp::TransitionSum::ZERO, 0);
    }
}

/// All sums that are not zero, when they are `wanted`, and those that were taken out of the table.
pub fn sums(
    table: &mut table::Table<TransitionKey>,
    ebpf: &Ebpf,
    now_ns: u64,
    wanted: bool,
) -> Result<Look<TransitionKey, TransitionSum>, Error> {
    // The rows for what finds no other place were made by us.
    let fate = |key: &TransitionKey| match key.peer {
        special::OTHER => Fate::Stays,
        _ => Fate::Alive,
    };
    let mark = |sum: &tcp::TransitionSum| sum.count;
    let mut sums = table.look(ebpf, now_ns, wanted, mark, fate, |_, sum| {
        TransitionSum::from(sum)
    })?;
    sums.rows.retain(|(_, sum)| sum.sum.count > 0);
    Ok(sums)
}

/// FIN_WAIT_2 and TIME_WAIT, as the kernel side follows them.
pub fn timewait(sums: &Array<&mut MapData, tcp::TimewaitSum>) -> Result<[Timewait; 2], MapError> {
    let read = |state| {
        sums.get(&state, 0).map(|sum| Timewait {
            begun: sum.begun,
            left: TransitionSum::from(&sum.left),
        })
    };
    Ok([read(0)?, read(1)?])
}

impl From<&tcp::TransitionSum> for TransitionSum {
    fn from(sum: &tcp::TransitionSum) -> Self {
        let buckets = sum.hist.iter().enumerate().filter(|(_, n)| **n > 0);
        let comm = sum.comm.split(|byte| *byte == 0).next();
        Self {
            sum: CallSum {
                count: sum.count,
                total_ns: sum.total_ns,
                max_ns: sum.max_ns,
                hist: buckets.map(|(bucket, n)| (bucket as u8, *n)).collect(),
                ..CallSum::default()
            },
            timed: sum.timed,
            last_ns: sum.last_ns,
            comm: comm.unwrap_or_default().to_vec(),
        }
    }
}

impl TcpReading {
    /// The peer ids that it names.
    pub(in crate::collect) fn named_peers(&self) -> impl Iterator<Item = u64> + '_ {
        let transitions = self.transitions.iter().chain(&self.retired);
        let transitions = transitions.map(|(key, _)| key.peer);
        let connects = self.connects.iter().map(|connect| connect.peer);
        let listening = self.listening.iter().map(|listening| listening.peer);
        transitions.chain(connects).chain(listening)
    }
}

/// Decodes one record of the ring, if it is of TCP. What it is entered in is made when there is something to enter.
pub fn decode(kind: u32, bytes: &[u8], into: &mut Option<Box<TcpReading>>) {
    match kind {
        event::TRANSITION => push(bytes, into, |tcp| &mut tcp.events),
        event::CONNECT => push(bytes, into, |tcp| &mut tcp.connects),
        event::LISTENING => push(bytes, into, |tcp| &mut tcp.listening),
        _ => {}
    }
}

fn push<T: Record>(
    bytes: &[u8],
    into: &mut Option<Box<TcpReading>>,
    list: impl FnOnce(&mut TcpReading) -> &mut Vec<T>,
) {
    if bytes.len() >= size_of::<T>() {
        // SAFETY: the length was just checked; every bit pattern is a valid record.
        let record = unsafe { std::ptr::read_unaligned(bytes.as_ptr().cast::<T>()) };
        list(into.get_or_insert_default()).push(record);
    }
}

/// Integers and arrays of them only.
trait Record: Copy {}
impl Record for Transition {}
impl Record for Connect {}
impl Record for Listening {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_is_too_short_is_left_out() {
        let connect = Connect {
            event: event::CONNECT,
            errno: 111,
            ..Connect::ZERO
        };
        // SAFETY: integers without padding, read as bytes.
        let bytes = unsafe {
            std::slice::from_raw_parts((&raw const connect).cast::<u8>(), size_of::<Connect>())
        };
        let mut reading = None;
        decode(event::CONNECT, &bytes[..8], &mut reading);
        decode(event::REQUEST, bytes, &mut reading);
        assert!(reading.is_none());
        decode(event::CONNECT, bytes, &mut reading);
        assert_eq!(reading.unwrap().connects, [connect]);
    }

    #[test]
    fn a_sum_keeps_what_is_not_zero() {
        let mut row = tcp::TransitionSum::ZERO;
        (row.count, row.timed, row.last_ns) = (3, 2, 9);
        row.hist[7] = 2;
        row.comm[..3].copy_from_slice(b"php");
        let sum = TransitionSum::from(&row);
        assert_eq!((sum.sum.count, sum.timed, sum.last_ns), (3, 2, 9));
        assert_eq!(
            (&*sum.sum.hist, sum.comm.as_slice()),
            (&[(7, 2)][..], &b"php"[..])
        );
    }
}
