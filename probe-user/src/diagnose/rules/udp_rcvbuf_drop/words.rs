//! What U01 says: the sentences and the proof.

use super::{Case, room};
use crate::{
    aggregate::udp::Udp,
    diagnose::{Evidence, Piece, Quantity, Sentence, rules::tcp, sentence},
};

/// One line for the finding.
pub(super) fn title(case: &Case<'_>) -> String {
    if case.memory() * 2 > case.drops() {
        return "Datagrams are dropped: the memory of all UDP sockets is used up".to_owned();
    }
    match case.slow() {
        Some(true) => "Datagrams are dropped: the process reads them too slowly",
        Some(false) => "Datagrams are dropped: bursts are larger than the socket's buffer",
        None => "Datagrams are dropped: the socket's buffer is full",
    }
    .to_owned()
}

/// That more sockets are in the same state.
pub(super) fn more(n: usize) -> Sentence {
    sentence![
        "So it is with ",
        Quantity::count(n as f64),
        " more sockets."
    ]
}

/// The headline, the buffer, how long it lasts, and the queue.
pub(super) fn summary(case: &Case<'_>) -> Vec<Sentence> {
    let mut lines = vec![headline(case)];
    lines.extend(buffer(case));
    lines.extend(queue(case));
    lines.extend(memory(case));
    lines
}

/// What the kernel's counters say of all sockets together.
pub(super) fn counters(udp: &Udp) -> Vec<Sentence> {
    agreement(udp).into_iter().chain(errors(udp)).collect()
}

fn count(n: u64) -> Quantity {
    Quantity::count(n as f64)
}

fn per_second(case: &Case<'_>, n: u64) -> Quantity {
    Quantity::per_second(n as f64 / tcp::seconds(case.window))
}

fn headline(case: &Case<'_>) -> Sentence {
    let s = case.worst();
    let mut line = Vec::from(tcp::number_of(case.drops(), "datagram", "datagrams"));
    line.push(format!(" to {}", s.local).into());
    if case.sockets.len() > 1 {
        line.push(format!(" ({} sockets)", case.sockets.len()).into());
    }
    let owners = case.owners();
    if owners.is_empty() {
        line.push(format!(" (user id {}; no process holds it now)", s.uid).into());
    } else {
        line.push(" (".into());
        line.extend(tcp::processes(owners));
        line.push(")".into());
    }
    line.push(
        if case.drops() == 1 {
            " was dropped for want of room: "
        } else {
            " were dropped for want of room: "
        }
        .into(),
    );
    line.push(per_second(case, case.drops()).into());
    if case.drops() > 1 {
        line.push(", up to ".into());
        line.push(Quantity::per_second(case.peak_per_s()).into());
        line.push(" in the worst tenth of a second".into());
    }
    if let Some(share) = case.share() {
        line.push(", ".into());
        line.push(Quantity::ratio(share).into());
        line.push(" of the UDP datagrams that arrived".into());
    }
    line.push(".".into());
    if let Some(sender) = s.sender.filter(|_| s.remote.is_none()) {
        line.push(format!(" One of the last came from {sender}.").into());
    }
    if let Some(remote) = s.remote {
        line.push(format!(" It is connected to {remote}.").into());
    }
    Sentence(line)
}

/// The limit, where it comes from, and how long it lasts.
fn buffer(case: &Case<'_>) -> Option<Sentence> {
    let limit = case.worst().rcvbuf_bytes?;
    let mut line = sentence!["Its buffer has ", count(limit), " bytes"];
    if case.udp.settings.rmem_default_bytes == Some(limit) {
        let why = " (net.core.rmem_default: the program asked for no other)";
        line.0.push(why.into());
    }
    if let Some(room) = room::present(case) {
        let each = case.worst().datagram_bytes.unwrap_or_default();
        let about = if case.worst().datagram_at_most {
            ", at most "
        } else {
            ", "
        };
        line.0.extend([
            about.into(),
            Quantity::count(each.round()).into(),
            " a datagram with the kernel's overhead: room for ".into(),
        ]);
        line.0.extend(room.words());
        line.0.push(" of such a burst".into());
    }
    line.0.push(".".into());
    Some(line)
}

/// Whether the reader is slow, or the bursts are short.
fn queue(case: &Case<'_>) -> Option<Sentence> {
    let looks = case.looks();
    let slow = case.slow()?;
    let full = looks.iter().filter(|p| case.is_full(p)).count() as u64;
    let mut line = sentence![
        "The queue was full, or nearly, at ",
        count(full),
        " of the ",
        count(looks.len() as u64),
        " looks while it dropped",
    ];
    match case.full_for_ns() {
        0 => {}
        ns => line
            .0
            .extend([", for up to ".into(), Quantity::ns(ns).into()]),
    }
    line.0.push(
        if slow {
            ": the process is too slow in reading; a larger buffer only puts that off."
        } else {
            ": the process keeps up, but for bursts that are larger than the buffer."
        }
        .into(),
    );
    Some(line)
}

/// Drops because all UDP sockets together had too much.
fn memory(case: &Case<'_>) -> Option<Sentence> {
    let n = case.memory();
    if n == 0 {
        return None;
    }
    let mut line = sentence![
        count(n),
        " of them for another reason: the memory of all UDP sockets together was used up (net.ipv4.udp_mem",
    ];
    let settings = &case.udp.settings;
    if let Some([_, _, high]) = settings.udp_mem_bytes {
        line.0
            .extend([" allows ".into(), Quantity::bytes(high).into()]);
    }
    if let Some(used) = settings.udp_mem_used_bytes {
        line.0.extend([
            "; ".into(),
            Quantity::bytes(used).into(),
            " in use at the end".into(),
        ]);
    }
    line.0.push(").".into());
    Some(line)
}

/// Whether three counts say the same.
fn agreement(udp: &Udp) -> Option<Sentence> {
    let of = &udp.agreement;
    let (traced, counted) = (of.traced?, of.rcvbuf_errors?);
    let sockets = of.sockets;
    if traced == counted && sockets.is_none_or(|n| n == traced) {
        let mut line = sentence![
            "The kernel's counters agree exactly: RcvbufErrors grew by ",
            count(counted),
        ];
        if let Some(n) = sockets {
            line.0.extend([
                ", the drops of the sockets by ".into(),
                Piece::from(count(n)),
            ]);
        }
        line.0.push(".".into());
        return Some(line);
    }
    let mut line = sentence![
        "The kernel's counters differ: ",
        count(traced),
        " drops at full buffers were seen, RcvbufErrors grew by ",
        count(counted),
    ];
    if let Some(n) = sockets {
        line.0.extend([
            ", the drops of the sockets that are there by ".into(),
            Piece::from(count(n)),
        ]);
    }
    let why = if counted > traced {
        ": some were dropped before each was watched"
    } else if counted < traced {
        ": they were first read a moment after watching began"
    } else if sockets < Some(traced) {
        ": sockets that dropped were closed, and took their counters with them"
    } else {
        ": a socket also counts bad checksums, and what a filter refuses"
    };
    line.0.push(why.into());
    line.0.push(".".into());
    Some(line)
}

/// `packet receive errors` and what else is in it, where it differs.
fn errors(udp: &Udp) -> Option<Sentence> {
    let sum = |a: Option<u64>, b: Option<u64>| a.or(b).map(|_| a.unwrap_or(0) + b.unwrap_or(0));
    let (v4, v6) = (&udp.counters.v4, &udp.counters.v6);
    let all = sum(v4.in_errors, v6.in_errors)?;
    let full = sum(v4.rcvbuf_errors, v6.rcvbuf_errors)?;
    let checksums = sum(v4.csum_errors, v6.csum_errors).unwrap_or(0);
    if all <= full {
        return None;
    }
    let mut line = sentence![
        "\"packet receive errors\" (InErrors) grew by ",
        count(all),
        ": it counts more than full buffers",
    ];
    if checksums > 0 {
        line.0.extend([
            ", here ".into(),
            count(checksums).into(),
            " bad checksums".into(),
        ]);
    }
    line.0.push(".".into());
    Some(line)
}

/// Numbers with the commands that confirm them.
pub(super) fn evidence(case: &Case<'_>) -> Vec<Evidence> {
    let s = case.worst();
    let mut list = vec![
        tcp::item(
            "dropped",
            "datagrams",
            count(case.drops()),
            Some(
                "nstat -az UdpRcvbufErrors Udp6RcvbufErrors UdpInErrors UdpInCsumErrors".to_owned(),
            ),
        ),
        tcp::item("dropped", "rate", per_second(case, case.drops()), None),
        tcp::item(
            "dropped",
            "worst tenth of a second",
            Quantity::per_second(case.peak_per_s()),
            None,
        ),
    ];
    if let Some(before) = s.before.filter(|n| *n > 0) {
        list.push(tcp::item(
            "dropped",
            "before we watched",
            count(before),
            None,
        ));
    }
    let look = format!("ss -uanmp 'sport = :{}'", s.local.port());
    if let Some(limit) = s.rcvbuf_bytes {
        list.push(tcp::item("buffer", "bytes", count(limit), Some(look)));
    }
    if let Some(room) = room::present(case) {
        list.push(tcp::item(
            "buffer",
            "datagrams",
            Quantity::count(room.datagrams),
            None,
        ));
        let lasts = Quantity::ns((room.lasts_s * 1e9) as u64);
        list.push(tcp::item("buffer", "lasts", lasts, None));
    }
    if !s.queue.is_empty() {
        let full = s.queue.iter().filter(|p| case.is_full(p)).count();
        list.extend([
            tcp::item("queue", "most, bytes", count(s.queue_max_bytes()), None),
            tcp::item("queue", "full at looks", count(full as u64), None),
            tcp::item("queue", "of", count(s.queue.len() as u64), None),
        ]);
    }
    let settings = &case.udp.settings;
    if let (Some(default), Some(most)) = (settings.rmem_default_bytes, settings.rmem_max_bytes) {
        let command = "sysctl net.core.rmem_default net.core.rmem_max".to_owned();
        list.extend([
            tcp::item("limits", "rmem_default", count(default), Some(command)),
            tcp::item("limits", "rmem_max", count(most), None),
        ]);
    }
    list
}
