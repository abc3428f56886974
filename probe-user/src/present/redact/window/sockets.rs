//! The same for sockets and name servers: TCP, UDP, DNS.

use super::{Each, Names, Plain, Redact, decide, stays};
use crate::aggregate::{
    dns::{
        Client, Dns, GroupId, GroupResolver, NameSums, Resolver, Row, Server, Sums, Waiting, Waits,
    },
    tcp::{
        self, Dwell, FailedConnects, Gap, HalfClosed, ListenQueue, PeerSockets, Point, Ports,
        Process, ProcessSockets, StateDwell, States, Tcp,
    },
    udp::{self, Agreement, Dropping, QueuePoint, QueueUse, Reasons, Udp},
};

// Numbers alone.
impl Plain for Point {}
impl Plain for States {}
impl Plain for tcp::Counters {}
impl Plain for udp::Counters {}
impl Plain for udp::Settings {}
impl Plain for Agreement {}
impl Plain for QueuePoint {}
impl Plain for Reasons {}

decide!(Tcp =>
    parts: peers, processes, dwell, dwell_by_state, ports, half_closed, listeners, failed, gaps, settings;
    stays: timeline, slowed_to_ns, census_ns, other, owners_known, half_closed_left_out, listeners_left_out,
        gaps_left_out, counters;
);

decide!(tcp::Settings =>
    stays: port_range, reserved_ports, tw_reuse, timestamps, fin_timeout_s, somaxconn, max_syn_backlog, syncookies,
        max_tw_buckets, max_orphans, abort_on_overflow;
);

decide!(PeerSockets =>
    parts: peer, closer;
    stays: states, closed_by_us, closed_by_peer;
);

decide!(Process =>
    app: comm;
    stays: pid;
);

decide!(ProcessSockets =>
    parts: process;
    stays: states;
);

decide!(Dwell =>
    parts: peer, process;
    stays: state, to, count, durations;
);

decide!(StateDwell =>
    stays: state, entered, count, durations, source, present, oldest_ns;
);

decide!(Ports =>
    parts: peer, closer, opener;
    address: local;
    stays: usable, states, peak, reusable, opened_per_s, closed_by_us_per_s, growth_per_s, levels_off_at, seconds_left,
        failures, first_failure_ns;
);

decide!(HalfClosed =>
    parts: peer, holders;
    stays: orphaned, held, peak, left, age, entered_per_s;
);

decide!(ListenQueue =>
    parts: address, owners;
    stays: tcp, queue, queue_max, limit, syn_queue_max, queue_sum, looks, full, overflows, overflows_inexact, first_overflow_ns,
        accepted, wait;
);

decide!(FailedConnects =>
    parts: process, peer;
    stays: errno, count, first_ns, last_ns;
);

decide!(Gap =>
    parts: peer, refused, back;
    stays: start_ns, start_seen, end_ns, failed, served_before;
);

decide!(Udp =>
    parts: sockets, queues;
    stays: other_drops, total, censuses, census_ns, census_left_out, counters, agreement, settings;
);

decide!(Dropping =>
    socket_address: local, remote, sender;
    parts: owners;
    stays: uid, drops, reasons, peak_per_s, first_ns, last_ns, rcvbuf_bytes, queue, datagram_bytes, datagram_at_most,
        counted, before, timeline;
);

decide!(QueueUse =>
    socket_address: local, remote;
    stays: bytes, max_bytes, rcvbuf_bytes;
);

decide!(Dns =>
    parts: total, clients, servers, names, other_names, rows, other_rows, waiting, resolvers;
    stays: timeline, peak_per_s;
);

decide!(GroupId =>
    app: name;
    stays: php_fpm;
);

decide!(Client =>
    parts: group, sums;
    stays: processes, example_pid, expanded;
);

decide!(Server =>
    parts: peer, sums;
    stays: clients;
);

decide!(NameSums =>
    domain: name;
    parts: sums;
    stays: qtype, clients;
);

decide!(Row =>
    parts: group, server, sums;
    domain: name;
    stays: qtype;
);

decide!(Waiting =>
    parts: group, server;
    domain: name;
    stays: pid, tid, qtype, for_ns;
);

decide!(GroupResolver =>
    parts: group, resolver;
);

decide!(Resolver =>
    address: servers;
    stays: pid, timeout_s, attempts, ndots, search, single_request, use_vc, nss_resolve, local_stub;
);

decide!(Sums =>
    parts: latency, timed_out;
    stays: asked, retried, duplicates, answered, refused, rcodes, empty, truncated, waiting, unanswered;
);

decide!(Waits =>
    stays: count, total_ns, durations;
);
