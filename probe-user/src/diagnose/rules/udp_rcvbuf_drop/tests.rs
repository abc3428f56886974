//! Sick and healthy windows.

use probe_common::loss::slot;

use super::*;
use crate::{
    aggregate::{
        tcp::fixture::process,
        udp::{
            Reasons,
            fixture::{at, dropping, healthy, sick, window_with},
        },
    },
    attach::State,
    diagnose::rules::tcp::test::{only, quiet, remedies, summary},
};

const S: u64 = 1_000_000_000;

fn found(socket: Dropping) -> Finding {
    only(check(&window_with(sick(socket))))
}

#[test]
fn a_reader_that_is_too_slow_is_told_to_read_faster_before_anything_else() {
    let mut socket = dropping("127.0.0.1:53", 4400);
    socket.peak_per_s = 5000.0;
    let f = found(socket);
    assert_eq!(
        f.title,
        "Datagrams are dropped: the process reads them too slowly"
    );
    assert_eq!(
        (f.severity, f.confidence.level),
        (Severity::Critical, Level::High)
    );
    assert_eq!(f.culprit.pid, Some(812));
    assert_eq!(f.culprit.group.as_deref(), Some(&b"unbound"[..]));
    assert_eq!(f.measured[0].observed.value, 4400.0);
    let text = summary(&f);
    for words in [
        "4400 datagrams to 127.0.0.1:53 (unbound (pid 812)) were dropped for want of room: 440/s, up to 5000/s in the \
         worst tenth of a second, 4 % of the UDP datagrams that arrived.",
        "One of the last came from 127.0.0.1:40000.",
        // 212,992 / 768 = 277, at 5,000 a second 55 ms.
        "Its buffer has 212992 bytes (net.core.rmem_default: the program asked for no other), 768 a datagram with the \
         kernel's overhead: room for 277 datagrams, 55 ms of such a burst.",
        "at 3 of the 5 looks while it dropped, for up to 2000 ms: the process is too slow in reading",
        "agree exactly: RcvbufErrors grew by 4400, the drops of the sockets by 4400.",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let all = remedies(&f);
    assert!(all.starts_with("read faster"), "{all}");
    // 212,992 + 5,000 x 1 s x 768 B = 4.05 MB, as a power of two; the program asks for half.
    let asks = "so-rcvbuf: 2097152 in unbound.conf; the kernel doubles what is asked for, and cuts it to \
                net.core.rmem_max before [buffer 212992, net.core.rmem_max = 212992 -> buffer 4194304, \
                net.core.rmem_max = 2097152] at 5000/s more than are read, 212992 bytes last for 277 datagrams, \
                55 ms; 4194304 for 5461 datagrams, 1092 ms";
    assert!(all.contains(asks), "{all}");
    let last = f.remedies.last().unwrap();
    assert_eq!(
        last.command.as_deref(),
        Some("sysctl -w net.core.rmem_default=4194304")
    );
    assert!(
        last.persistent
            .as_ref()
            .unwrap()
            .ends_with("/etc/sysctl.d/90-udp.conf")
    );
    assert!(all.contains("does not make a slow reader faster"), "{all}");
    assert!(all.contains("each of the 14 UDP sockets"), "{all}");
}

#[test]
fn bursts_are_told_from_a_slow_reader() {
    let mut socket = dropping("127.0.0.1:8125", 200);
    socket.queue.iter_mut().for_each(|p| p.bytes = 0);
    socket.queue[3].bytes = 200_000;
    let f = found(socket);
    assert_eq!(
        f.title,
        "Datagrams are dropped: bursts are larger than the socket's buffer"
    );
    assert!(
        summary(&f).contains("at 1 of the 5 looks"),
        "{}",
        summary(&f)
    );

    let mut unseen = dropping("127.0.0.1:8125", 200);
    unseen.queue.clear();
    assert_eq!(
        found(unseen).title,
        "Datagrams are dropped: the socket's buffer is full"
    );
}

#[test]
fn severity_follows_the_share_and_what_the_socket_is_for() {
    let severity = |local: &str, drops: u64, standing: bool| {
        let mut socket = dropping(local, drops);
        if !standing {
            socket.queue.iter_mut().for_each(|p| p.bytes = 0);
        }
        found(socket).severity
    };
    // Of 100,000 that were read.
    assert_eq!(severity("10.0.0.1:514", 1, false), Severity::Info);
    assert_eq!(severity("10.0.0.1:514", 90, false), Severity::Info);
    assert_eq!(severity("10.0.0.1:514", 110, false), Severity::Warning);
    assert_eq!(severity("10.0.0.1:514", 9000, false), Severity::Warning);
    assert_eq!(severity("10.0.0.1:514", 12_000, false), Severity::Critical);
    assert_eq!(severity("127.0.0.53:53", 900, false), Severity::Warning);
    assert_eq!(severity("127.0.0.53:53", 1100, false), Severity::Critical);
    // A quiet socket on a busy node whose queue stands full.
    let mut standing = dropping("10.0.0.1:514", 5);
    standing.queue.iter_mut().for_each(|p| p.bytes = 212_000);
    assert_eq!(found(standing).severity, Severity::Warning);
}

#[test]
fn sockets_that_share_a_port_are_one_finding() {
    let mut udp = sick(dropping("0.0.0.0:53", 30));
    let other = Dropping {
        owners: vec![(process(813, "unbound"), 6)],
        ..dropping("0.0.0.0:53", 14)
    };
    udp.sockets.push(other);
    udp.sockets.push(dropping("0.0.0.0:514", 3));
    let verdict = check(&window_with(udp));
    assert_eq!(verdict.findings.len(), 2);
    let f = &verdict.findings[0];
    let text = summary(f);
    assert!(
        text.starts_with(
            "44 datagrams to 0.0.0.0:53 (2 sockets) (unbound (pid 812), unbound (pid 813)) were"
        ),
        "{text}"
    );
    assert!(receives(f, "127.0.0.53".parse().unwrap(), 53));
    assert!(receives(f, "::1".parse().unwrap(), 53));
    assert!(!receives(f, "127.0.0.53".parse().unwrap(), 54));
    let one = found(dropping("[::1]:53", 1));
    assert!(receives(&one, "::1".parse().unwrap(), 53));
    assert!(!receives(&one, "127.0.0.53".parse().unwrap(), 53));
}

#[test]
fn counters_that_differ_are_told_with_the_reason() {
    let mut udp = sick(dropping("127.0.0.1:53", 100));
    udp.agreement.rcvbuf_errors = Some(130);
    let f = only(check(&window_with(udp.clone())));
    assert_eq!(f.confidence.level, Level::Medium);
    assert!(
        summary(&f).contains("RcvbufErrors grew by 130"),
        "{}",
        summary(&f)
    );
    udp.agreement.rcvbuf_errors = Some(100);
    udp.agreement.sockets = Some(60);
    assert!(
        summary(&only(check(&window_with(udp.clone()))))
            .contains("sockets that dropped were closed")
    );
    // The belief that every receive error is a full buffer.
    udp.counters.v4.in_errors = Some(150);
    udp.counters.v4.csum_errors = Some(50);
    let text = summary(&only(check(&window_with(udp))));
    assert!(
        text.contains("\"packet receive errors\" (InErrors) grew by 150: it counts more than full buffers, here 50 bad checksums"),
        "{text}"
    );
}

#[test]
fn used_up_memory_is_not_a_small_buffer() {
    let mut socket = dropping("127.0.0.1:53", 100);
    socket.reasons = Some(Reasons {
        buffer_full: 10,
        memory: 90,
        other: 0,
    });
    let f = found(socket);
    assert_eq!(
        f.title,
        "Datagrams are dropped: the memory of all UDP sockets is used up"
    );
    let all = remedies(&f);
    assert!(
        all.contains("net.ipv4.udp_mem = 22949 30761 46142"),
        "{all}"
    );
}

#[test]
fn what_was_dropped_for_another_reason_is_no_finding() {
    let mut socket = dropping("127.0.0.1:53", 100);
    socket.reasons = Some(Reasons {
        other: 100,
        ..Reasons::default()
    });
    quiet(&check(&window_with(sick(socket))));
}

#[test]
fn a_busy_node_that_reads_everything_is_left_alone() {
    quiet(&check(&window_with(healthy())));
}

#[test]
fn what_could_not_be_seen_is_said() {
    let mut window = window_with(sick(dropping("127.0.0.1:53", 100)));
    let owners = window.probes.iter_mut().find(|p| p.id == "udp_owners");
    owners.unwrap().state = State::Off("no task_file".to_owned());
    window.losses[slot::UDP_SOCKETS_FULL as usize] = 3;
    let udp = window.udp.as_mut().unwrap();
    udp.sockets[0].owners.clear();
    udp.other_drops = 40;
    let verdict = check(&window);
    assert_eq!(verdict.not_judged.len(), 2, "{:?}", verdict.not_judged);
    assert!(verdict.not_judged[1].starts_with("40 datagrams"));
    let f = &verdict.findings[0];
    assert_eq!((f.confidence.level, f.culprit.pid), (Level::Medium, None));
    assert!(summary(f).contains("user id 102; no process holds it now"));
    window.udp = None;
    assert_eq!(check(&window).not_judged, ["UDP was not watched"]);
}

#[test]
fn a_connected_socket_names_the_other_side() {
    let mut socket = dropping("10.0.0.2:41000", 100);
    socket.remote = Some(at("10.0.0.9:53"));
    socket.first_ns = S;
    let text = summary(&found(socket));
    assert!(text.contains("It is connected to 10.0.0.9:53."), "{text}");
}
