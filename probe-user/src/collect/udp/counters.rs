//! The kernel's own counters and settings of UDP, of the network namespace of the calling thread; files as in
//! [`crate::collect::tcp::counters`].

use std::{fs, os::fd::OwnedFd, thread};

use super::{Counters, Settings, UdpCounters};
use crate::{attach::netns, collect::tcp::counters::counter};

/// Reads the counters.
pub fn counters() -> Counters {
    let [snmp, snmp6] = ["snmp", "snmp6"].map(read);
    from_texts(&snmp, &snmp6)
}

fn read(file: &str) -> String {
    fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap_or_default()
}

/// The counters in the texts of these files.
pub fn from_texts(snmp: &str, snmp6: &str) -> Counters {
    let of = |name: &dyn Fn(&str) -> Option<u64>| UdpCounters {
        in_datagrams: name("InDatagrams"),
        no_ports: name("NoPorts"),
        in_errors: name("InErrors"),
        out_datagrams: name("OutDatagrams"),
        rcvbuf_errors: name("RcvbufErrors"),
        sndbuf_errors: name("SndbufErrors"),
        csum_errors: name("InCsumErrors"),
        mem_errors: name("MemErrors"),
    };
    Counters {
        v4: of(&|name| counter(snmp, "Udp:", name)),
        v6: of(&|name| single(snmp6, &format!("Udp6{name}"))),
    }
}

/// A counter on a line of its own.
fn single(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().map(str::split_whitespace);
    let mut words = lines.find(|words| words.clone().next() == Some(name))?;
    words.nth(1)?.parse().ok()
}

/// Reads the settings. They hold in every namespace, but the first one alone shows all of them.
pub fn settings() -> Settings {
    let own = shown();
    if own.rmem_default_bytes.is_some() && own.udp_mem_bytes.is_some() {
        return own;
    }
    within_first(shown).unwrap_or(own)
}

/// Runs `f` in the first network namespace: that of the kernel's own threads, whose father is process 2.
fn within_first<T: Send>(f: impl FnOnce() -> T + Send) -> Option<T> {
    let first = OwnedFd::from(fs::File::open("/proc/2/ns/net").ok()?);
    thread::scope(|scope| {
        let thread = scope.spawn(|| netns::enter(&first).is_ok().then(f));
        thread.join().ok().flatten()
    })
}

/// What the calling thread's namespace shows.
fn shown() -> Settings {
    let setting = |name: &str| fs::read_to_string(format!("/proc/sys/net/{name}")).ok();
    let number = |name: &str| setting(name)?.trim().parse().ok();
    // SAFETY: takes a number, and knows no failure for this one.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as u64;
    Settings {
        rmem_default_bytes: number("core/rmem_default"),
        rmem_max_bytes: number("core/rmem_max"),
        udp_mem_bytes: setting("ipv4/udp_mem").and_then(|text| three(&text, page)),
        udp_mem_used_bytes: used_pages(&read("sockstat")).map(|pages| pages * page),
    }
}

/// Three numbers of pages, in bytes.
pub fn three(text: &str, page: u64) -> Option<[u64; 3]> {
    let mut words = text.split_whitespace();
    let mut next = || Some(words.next()?.parse::<u64>().ok()?.saturating_mul(page));
    Some([next()?, next()?, next()?])
}

/// `UDP: inuse 4 mem 2`
pub fn used_pages(sockstat: &str) -> Option<u64> {
    let line = sockstat.lines().find_map(|l| l.strip_prefix("UDP:"))?;
    let mut words = line.split_whitespace();
    words.find(|w| *w == "mem")?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_counters_of_both_families() {
        let snmp = "Udp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors IgnoredMulti\n\
                    Udp: 1 2 3 4 5 6 7 8\nUdpLite: InDatagrams\nUdpLite: 99\n";
        let snmp6 = "Ip6InReceives   9\nUdp6InDatagrams \t11\nUdp6RcvbufErrors\t15\nUdp6MemErrors 17\nUdpLite6InDatagrams 98\n";
        let counters = from_texts(snmp, snmp6);
        assert_eq!(counters.v4.in_datagrams, Some(1));
        assert_eq!(counters.v4.rcvbuf_errors, Some(5));
        assert_eq!(counters.v4.csum_errors, Some(7));
        // The kernel does not have it: unknown, not zero.
        assert_eq!(counters.v4.mem_errors, None);
        assert_eq!(counters.v6.in_datagrams, Some(11));
        assert_eq!(counters.v6.rcvbuf_errors, Some(15));
        assert_eq!(counters.v6.mem_errors, Some(17));
        assert_eq!(counters.v6.no_ports, None);
        assert_eq!(from_texts("Udp: A", "Udp6InErrors"), Counters::default());
    }

    #[test]
    fn reads_memory_in_bytes() {
        assert_eq!(three("10 20\t30\n", 4096), Some([40960, 81920, 122_880]));
        assert_eq!(three("10 20\n", 4096), None);
        let sockstat =
            "TCP: inuse 5 orphan 7 tw 0 alloc 7 mem 1\nUDP: inuse 4 mem 2\nUDPLITE: inuse 0\n";
        assert_eq!(used_pages(sockstat), Some(2));
        assert_eq!(used_pages("UDP: inuse 4"), None);
    }
}
