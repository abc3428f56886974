//! The kernel's own counters and settings of TCP, of the network namespace of the calling thread.
//!
//! /proc/net leads to the namespace of the process's first thread, /proc/thread-self/net to the caller's;
//! /proc/sys/net always shows that of whoever reads.

use std::{fs, str::FromStr};

use super::{Counters, Settings};

/// Reads the counters.
pub fn counters() -> Counters {
    let read = |file: &str| fs::read_to_string(format!("/proc/thread-self/net/{file}"));
    let [netstat, snmp, sockstat] =
        ["netstat", "snmp", "sockstat"].map(|file| read(file).unwrap_or_default());
    from_texts(&netstat, &snmp, &sockstat)
}

/// The counters in the texts of these files.
pub fn from_texts(netstat: &str, snmp: &str, sockstat: &str) -> Counters {
    let ext = |name| counter(netstat, "TcpExt:", name);
    let tcp = |name| counter(snmp, "Tcp:", name);
    Counters {
        listen_overflows: ext("ListenOverflows"),
        listen_drops: ext("ListenDrops"),
        syn_queue_drops: ext("TCPReqQFullDrop"),
        syncookies_sent: ext("SyncookiesSent"),
        time_wait_expired: ext("TW"),
        time_wait_reused: ext("TWRecycled"),
        time_wait_overflow: ext("TCPTimeWaitOverflow"),
        active_opens: tcp("ActiveOpens"),
        passive_opens: tcp("PassiveOpens"),
        attempt_fails: tcp("AttemptFails"),
        orphans: orphans(sockstat),
    }
}

/// A counter of a group that has its names in one line and the values in the next.
pub(in crate::collect) fn counter(text: &str, group: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(group));
    let (names, values) = (lines.next()?, lines.next()?);
    let mut pairs = names.split_whitespace().zip(values.split_whitespace());
    pairs.find(|(n, _)| *n == name)?.1.parse().ok()
}

/// `TCP: inuse 5 orphan 0 tw 0 alloc 7 mem 1`
fn orphans(sockstat: &str) -> Option<u64> {
    let line = sockstat.lines().find_map(|l| l.strip_prefix("TCP:"))?;
    let mut words = line.split_whitespace();
    words.find(|w| *w == "orphan")?;
    words.next()?.parse().ok()
}

/// Reads the settings.
pub fn settings() -> Settings {
    let read = |name: &str| fs::read_to_string(format!("/proc/sys/net/{name}")).ok();
    Settings {
        port_range: read("ipv4/ip_local_port_range").and_then(|text| pair(&text)),
        reserved_ports: read("ipv4/ip_local_reserved_ports")
            .map(|text| ranges(&text))
            .unwrap_or_default(),
        tw_reuse: read("ipv4/tcp_tw_reuse").and_then(number),
        timestamps: read("ipv4/tcp_timestamps").and_then(number),
        fin_timeout_s: read("ipv4/tcp_fin_timeout").and_then(number),
        somaxconn: read("core/somaxconn").and_then(number),
        max_syn_backlog: read("ipv4/tcp_max_syn_backlog").and_then(number),
        syncookies: read("ipv4/tcp_syncookies").and_then(number),
        max_tw_buckets: read("ipv4/tcp_max_tw_buckets").and_then(number),
        max_orphans: read("ipv4/tcp_max_orphans").and_then(number),
        abort_on_overflow: read("ipv4/tcp_abort_on_overflow").and_then(number),
    }
}

fn number<T: FromStr>(text: String) -> Option<T> {
    text.trim().parse().ok()
}

/// `32768   60999`
pub fn pair(text: &str) -> Option<(u16, u16)> {
    let mut words = text.split_whitespace();
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

/// `8080,9000-9005`
pub fn ranges(text: &str) -> Vec<(u16, u16)> {
    text.trim()
        .split(',')
        .filter_map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some((first.parse().ok()?, last.parse().ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_counters_by_name() {
        let netstat =
            "TcpExt: SyncookiesSent TW ListenOverflows\nTcpExt: 1 22 333\nIpExt: A\nIpExt: 9\n";
        let snmp = "Tcp: MaxConn ActiveOpens PassiveOpens\nTcp: -1 4 5\n";
        let sockstat = "sockets: used 9\nTCP: inuse 5 orphan 7 tw 0 alloc 7 mem 1\nUDP: inuse 0\n";
        let counters = from_texts(netstat, snmp, sockstat);
        assert_eq!(counters.syncookies_sent, Some(1));
        assert_eq!(counters.time_wait_expired, Some(22));
        assert_eq!(counters.listen_overflows, Some(333));
        assert_eq!(counters.active_opens, Some(4));
        assert_eq!(counters.passive_opens, Some(5));
        assert_eq!(counters.orphans, Some(7));
        // The kernel does not have it: unknown, not zero.
        assert_eq!(counters.listen_drops, None);
        assert_eq!(
            from_texts("", "Tcp: A B\n", "TCP: orphan"),
            Counters::default()
        );
    }

    #[test]
    fn reads_ports_and_ranges() {
        assert_eq!(pair("32768\t60999\n"), Some((32768, 60999)));
        assert_eq!(pair("32768\n"), None);
        assert_eq!(ranges("8080,9000-9005\n"), [(8080, 8080), (9000, 9005)]);
        assert_eq!(ranges("\n"), []);
    }
}
