//! What U01 proposes, safest first, with the arithmetic.

use super::{
    Case,
    room::{self, Room},
};
use crate::diagnose::{Piece, Quantity, Remedy, Sentence, rules::tcp, sentence};

/// File of the settings.
const FILE: &str = "90-udp.conf";

/// What to try for a case.
pub(super) fn remedies(case: &Case<'_>) -> Vec<Remedy> {
    let mut list = vec![read_faster(case), send_less(case)];
    list.extend(larger_buffer(case));
    list.extend(larger_default(case));
    if case.memory() > 0 {
        list.push(more_memory(case));
    }
    list
}

/// True for the owner's name, only for the wording.
fn is(case: &Case<'_>, name: &str) -> bool {
    let owners = case.owners();
    owners.iter().any(|owner| tcp::is_called(owner, name))
}

fn read_faster(case: &Case<'_>) -> Remedy {
    let how = if is(case, "unbound") {
        " (unbound: num-threads, with so-reuseport: yes)"
    } else if is(case, "systemd-resolve") {
        " (systemd-resolved has one thread: put unbound or dnsmasq in its place where it does not keep up)"
    } else if is(case, "named") {
        " (named: -n threads; it has a socket for each)"
    } else if is(case, "rsyslogd") {
        " (rsyslog: imudp's threads and batchSize)"
    } else {
        ""
    };
    let mut text =
        sentence!["read faster, or let several processes read (SO_REUSEPORT gives each a queue)"];
    text.0.push(how.into());
    if let Some(owner) = case.owners().first() {
        text.0.push("; see what keeps ".into());
        text.0.extend(tcp::process(owner));
        text.0.push(" from reading".into());
    }
    Remedy {
        text,
        arithmetic: Some(sentence![
            Quantity::per_second(case.peak_per_s()),
            " more arrived in the worst tenth of a second than were read",
        ]),
        risk: "with SO_REUSEPORT a sender's datagrams stay with one reader: one busy sender still fills one queue"
            .to_owned(),
        ..Remedy::default()
    }
}

fn send_less(case: &Case<'_>) -> Remedy {
    let (text, risk) = if case.is_dns() {
        (
            "ask less: cache answers in the process that asks (U02 names it), or in nscd beside it",
            "an answer in a cache is as old as its time to live",
        )
    } else {
        (
            "send less: sample, or put several messages into one datagram, where the senders can",
            "the receiver must understand it",
        )
    };
    Remedy {
        text: text.into(),
        risk: risk.to_owned(),
        ..Remedy::default()
    }
}

/// `212,992 bytes hold 277 datagrams, 55 ms; 4,194,304 hold 5,461, 1.09 s`.
fn holds(case: &Case<'_>, proposed: &Room) -> Option<Sentence> {
    let present = room::present(case)?;
    let bytes = |room: &Room| Piece::from(Quantity::count(room.bytes as f64));
    let mut line = sentence![
        "at ",
        Quantity::per_second(case.peak_per_s()),
        " more than are read, ",
        bytes(&present),
        " bytes last for ",
    ];
    line.0.extend(present.words());
    line.0.push("; ".into());
    line.0.push(bytes(proposed));
    line.0.push(" for ".into());
    line.0.extend(proposed.words());
    Some(line)
}

/// What the program itself asks for.
fn larger_buffer(case: &Case<'_>) -> Option<Remedy> {
    let proposed = room::proposed(case)?;
    // The kernel doubles what is asked for.
    let asked = proposed.bytes / 2;
    let how = if is(case, "unbound") {
        format!("so-rcvbuf: {asked} in unbound.conf")
    } else if is(case, "rsyslogd") {
        format!("rcvbufSize=\"{asked}\" for rsyslog's imudp")
    } else if is(case, "nginx") {
        format!("listen ... rcvbuf={asked} in nginx")
    } else {
        format!("setsockopt(SO_RCVBUF, {asked}) in the program")
    };
    let mut text = sentence!["let the program ask for a larger buffer: ", how];
    text.0.push(
        "; the kernel doubles what is asked for, and cuts it to net.core.rmem_max before".into(),
    );
    let remedy = Remedy {
        text,
        arithmetic: holds(case, &proposed),
        risk: "it takes a restart of the program; a reader that is too slow all the time drops again when the \
               larger buffer is full, and what waits in it is answered later"
            .to_owned(),
        ..Remedy::default()
    };
    let most = case.udp.settings.rmem_max_bytes;
    let mut remedy = if most.is_some_and(|most| most < asked) {
        let now = most.map_or_else(String::new, |most| most.to_string());
        tcp::sysctl_in(
            FILE,
            remedy,
            &[("net.core.rmem_max", now, asked.to_string())],
        )
    } else {
        remedy
    };
    let present = case.worst().rcvbuf_bytes?;
    let (now, then) = (
        format!("buffer {present}"),
        format!("buffer {}", proposed.bytes),
    );
    remedy.change = Some(match remedy.change {
        Some((a, b)) => (format!("{now}, {a}"), format!("{then}, {b}")),
        None => (now, then),
    });
    Some(remedy)
}

/// For a program that cannot be told to ask.
fn larger_default(case: &Case<'_>) -> Option<Remedy> {
    let default = case.udp.settings.rmem_default_bytes?;
    // One that asked for a buffer of its own is not helped.
    let present = case.worst().rcvbuf_bytes.filter(|b| *b == default)?;
    let proposed = room::proposed(case)?;
    let key = (
        "net.core.rmem_default",
        default.to_string(),
        proposed.bytes.to_string(),
    );
    let mut arithmetic = holds(case, &proposed).unwrap_or_default();
    if let Some(sockets) = case.udp.total {
        arithmetic.0.extend([
            "; each of the ".into(),
            Quantity::count(sockets as f64).into(),
            " UDP sockets here may then hold ".into(),
            Quantity::bytes(proposed.bytes).into(),
            " in place of ".into(),
            Quantity::bytes(present).into(),
        ]);
    }
    let remedy = Remedy {
        text: "where the program cannot be told: raise net.core.rmem_default; it does not make a slow reader \
               faster, it buys the time below"
            .into(),
        arithmetic: Some(arithmetic),
        risk: "it costs memory for every socket that is opened later, of any protocol without a default of its own; \
               the program must open its socket again"
            .to_owned(),
        ..Remedy::default()
    };
    Some(tcp::sysctl_in(FILE, remedy, &[key]))
}

fn more_memory(case: &Case<'_>) -> Remedy {
    let remedy = Remedy {
        text: "find which sockets hold the memory (ss -uanm, rb and r of skmem), and make their readers read; \
               then raise net.ipv4.udp_mem, in pages"
            .into(),
        risk: "memory in socket buffers is taken from everything else on the node".to_owned(),
        ..Remedy::default()
    };
    let Some([low, pressure, high]) = case.udp.settings.udp_mem_bytes else {
        return remedy;
    };
    let pages = |bytes: u64| bytes / PAGE;
    let words = |times: u64| {
        let [a, b, c] = [low, pressure, high].map(|bytes| pages(bytes) * times);
        format!("{a} {b} {c}")
    };
    tcp::sysctl_in(FILE, remedy, &[("net.ipv4.udp_mem", words(1), words(2))])
}

/// Bytes of a page on x86-64.
const PAGE: u64 = 4096;
