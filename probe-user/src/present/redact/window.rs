//! What becomes of every field of a [`Window`]. Each struct is taken apart whole, without `..`: a new field does not
//! compile before somebody has decided about it here.

use std::net::{IpAddr, SocketAddr};

use super::Names;
use crate::{
    aggregate::{
        Calls, Cost, Durations, Group, Grown, Histogram, Peer, PeerTime, ProcessTime, RequestPeer,
        RequestSpan, RequestSummary, Team, Timed, Use, WaitsFor, Window,
    },
    attach::{ProbeStatus, State},
    collect,
};

mod disks;
mod sockets;

/// Something that holds names.
pub(super) trait Redact {
    /// Replaces them.
    fn redact(&mut self, names: &mut Names);
}

impl<T: Redact> Redact for Vec<T> {
    fn redact(&mut self, names: &mut Names) {
        self.iter_mut().for_each(|one| one.redact(names));
    }
}

impl<T: Redact> Redact for Option<T> {
    fn redact(&mut self, names: &mut Names) {
        self.iter_mut().for_each(|one| one.redact(names));
    }
}

impl<T: Redact> Redact for Box<T> {
    fn redact(&mut self, names: &mut Names) {
        (**self).redact(names);
    }
}

/// Something with a number behind it.
impl<T: Redact, N: Plain> Redact for (T, N) {
    fn redact(&mut self, names: &mut Names) {
        self.0.redact(names);
    }
}

/// Something with two numbers behind it.
impl<T: Redact, N: Plain, M: Plain> Redact for (T, N, M) {
    fn redact(&mut self, names: &mut Names) {
        self.0.redact(names);
    }
}

/// What holds no name: numbers, and words of our own. Not `u8`: a list of them is a name.
trait Plain {}

macro_rules! plain {
    ($( $type:ty ),+ $(,)?) => { $( impl Plain for $type {} )+ };
}
plain!(bool, u16, u32, i32, u64, i64, usize, f64, &'static str);
plain!(Durations, Histogram, Cost, Use);

impl<T: Plain> Plain for Vec<T> {}
impl<T: Plain> Plain for Option<T> {}
impl<T: Plain, const N: usize> Plain for [T; N] {}
impl<T: Plain, U: Plain> Plain for (T, U) {}
impl<const N: usize> Plain for Grown<N> {}

/// A name, or several that are redacted alike.
trait Each<T> {
    fn each(&mut self, one: impl FnMut(&mut T));
}

macro_rules! each {
    ($( $type:ty ),+) => { $(
        impl Each<$type> for $type {
            fn each(&mut self, mut one: impl FnMut(&mut $type)) {
                one(self);
            }
        }
        impl Each<$type> for Option<$type> {
            fn each(&mut self, one: impl FnMut(&mut $type)) {
                self.iter_mut().for_each(one);
            }
        }
        impl Each<$type> for Vec<$type> {
            fn each(&mut self, one: impl FnMut(&mut $type)) {
                self.iter_mut().for_each(one);
            }
        }
    )+ };
}
each!(Vec<u8>, String, IpAddr, SocketAddr);

/// How a field is redacted: `app: name, group;` calls [`Names::app`] for both. `parts` are redacted field by field,
/// and of what `stays` the compiler sees that it holds no name.
macro_rules! decide {
    ($type:ty => $( $how:ident: $( $field:ident ),+; )+) => {
        impl Redact for $type {
            fn redact(&mut self, names: &mut Names) {
                let Self { $( $( $field ),+ ),+ } = self;
                $( $( decide!(@ $how, $field, names); )+ )+
            }
        }
    };
    (@ parts, $field:ident, $names:ident) => { Redact::redact($field, $names) };
    (@ stays, $field:ident, $names:ident) => { stays($field, $names) };
    (@ address, $field:ident, $names:ident) => { $field.each(|one| $names.addresses.redact(one)) };
    (@ $how:ident, $field:ident, $names:ident) => { $field.each(|one| $names.$how(one)) };
}
use decide;

fn stays<T: Plain>(_: &mut T, _: &mut Names) {}

decide!(Window =>
    host: host;
    kernel_release: kernel;
    target: target;
    parts: groups, calls, processes, tcp, udp, dns, files, journal, probes;
    stays: redacted, start_unix_ns, duration_ns, processes_left_out, losses, cost;
);

decide!(ProcessTime =>
    parts: process, current, waits_for;
    app: group;
    stays: parts, threads, event_driven, requests;
);

decide!(collect::Process =>
    app: comm, pool;
    stays: pid, start_ticks, ppid, ended;
);

decide!(WaitsFor =>
    parts: peer;
    stays: part, for_ns;
);

decide!(Group =>
    app: name;
    parts: peers, slowest;
    stays: php_fpm, workers, event_driven, example_pid, worker_parts, requests, fastcgi_requests, incomplete,
        empty_connections, forked_requests, wall, wall_ns, parts, incomplete_parts, connects, polls;
);

decide!(PeerTime =>
    parts: peer;
    stays: done, open, assumed_ns, mostly_since_ns, wait_per_request, exchange;
);

decide!(RequestSummary =>
    file: script;
    uri: uri;
    parts: peers, spans;
    stays: pid, start_ns, wall_ns, unfinished, partial, parts, connects, spans_lost;
);

decide!(RequestPeer =>
    parts: peer;
    stays: wait_ns, connects, exchanges;
);

decide!(RequestSpan =>
    parts: peer;
    stays: start_ns, length_ns, part;
);

decide!(Calls =>
    app: comm;
    parts: peer;
    stays: pid, op, count, total_ns, blocked_ns, max_ns, errors, durations;
);

decide!(Team =>
    app: name;
    stays: php_fpm, processes, pids;
);

decide!(Timed =>
    stays: count, failed, total_ns, max_ns, durations;
);

decide!(ProbeStatus =>
    prose: source;
    parts: state;
    stays: id, summary, seen;
);

impl Redact for State {
    fn redact(&mut self, names: &mut Names) {
        match self {
            Self::Active => {}
            Self::Off(why) => names.prose(why),
        }
    }
}

impl Redact for Peer {
    fn redact(&mut self, names: &mut Names) {
        match self {
            Self::Inet {
                transport,
                address,
                port,
            } => {
                names.transport(transport);
                names.addresses.redact(address);
                stays(port, names);
            }
            Self::Unix { path } => names.socket(path),
            Self::Inbound { on, address } => {
                names.our_side(on);
                address.each(|one| names.addresses.redact(one));
            }
            Self::Listener { on } => names.our_side(on),
            Self::Family(number) => stays(number, names),
            Self::Special(id) => stays(id, names),
        }
    }
}
