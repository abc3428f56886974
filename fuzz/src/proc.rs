//! Texts of /proc and /etc. The first line of an input names the reader.

use std::{
    collections::{HashMap, HashSet},
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::Path,
};

use probe_common::tcp::column;
use stallscope::{
    attach::fuzzing as attach,
    collect::{
        fuzzing::{self as collect, tcp, udp},
        mounts::Mount,
        tcp::Counts,
        udp::Census as UdpCensus,
    },
    session::fuzzing::lockdown_mode,
    target,
};

use crate::{input, memory};

/// A reader, with what it is called.
type Reader = (&'static str, fn(&[u8]));

/// All of them.
const READERS: [Reader; 18] = [
    ("stat", stat),
    ("title", title),
    ("syscall", syscall),
    ("link", link),
    ("epoll", epoll),
    ("fdinfo", fdinfo),
    ("tcp", tcp_sockets),
    ("udp", udp_sockets),
    ("listeners", listeners),
    ("peers", peers),
    ("unix", unix),
    ("tcp-counters", tcp_counters),
    ("udp-counters", udp_counters),
    ("numbers", numbers),
    ("mountinfo", mountinfo),
    ("resolver", resolver),
    ("path", path),
    ("words", words),
];

/// What a byte of a text may come to: the shortest mount, a line of 18 bytes, is six lists in a list that doubles, and is there
/// twice.
const OF_BYTE: usize = 128;

/// Gives it to the reader that it names.
pub fn run(bytes: &[u8]) {
    let Some((name, text)) = input::named(bytes) else {
        return;
    };
    let Some((_, reader)) = READERS.iter().find(|(known, _)| *known == name) else {
        return;
    };
    memory::within(memory::ALWAYS + OF_BYTE * text.len(), || reader(text));
}

/// proc_pid_stat(5), which two readers take apart for different ends.
fn stat(text: &[u8]) {
    let (one, other) = (collect::parse_stat(text), target::Stat::parse(text));
    let Some(one) = one else { return };
    assert!(one.comm.len() + 2 <= text.len());
    let other = other.expect("what has all fields has these");
    assert_eq!(
        (one.ppid, one.start_ticks),
        (other.ppid, other.start as u32)
    );
    assert_eq!(
        other.zombie,
        matches!(one.state, b'Z' | b'X' | b'x') && one_letter(text, one.state)
    );
    // Written as the kernel does, it is the same.
    let mut again = b"1 (".to_vec();
    again.extend(&one.comm);
    again.extend(format!(") {} {}", char::from(one.state), one.ppid).bytes());
    again.extend(" 0".repeat(17).bytes());
    again.extend(format!(" {}\n", one.start_ticks).bytes());
    // What was no ASCII is another letter now.
    if one.state.is_ascii() {
        assert_eq!(collect::parse_stat(&again), Some(one));
    }
}

/// Is the state no longer than its letter?
fn one_letter(text: &[u8], state: u8) -> bool {
    let at = text.iter().rposition(|b| *b == b')').map_or(0, |at| at + 1);
    let word = text[at..]
        .split(u8::is_ascii_whitespace)
        .find(|word| !word.is_empty());
    word == Some(&[state])
}

/// Titles of PHP-FPM, likewise.
fn title(text: &[u8]) {
    let one = collect::pool_of(text);
    match target::Fpm::parse(text) {
        Some(target::Fpm::Worker(pool)) => {
            assert_eq!(one, Some(&pool[..]));
            assert!(!pool.is_empty() && !pool.contains(&0));
        }
        Some(target::Fpm::Master) | None => assert_eq!(one, None),
    }
}

fn syscall(text: &[u8]) {
    let Some(text) = input::text(text) else {
        return;
    };
    let Some((nr, args)) = collect::parse_syscall(text) else {
        return;
    };
    let [a, b, c, d, e, f] = args;
    let again = format!("{nr} {a:#x} {b:#x} {c:#x} {d:#x} {e:#x} {f:#x} 0x7ffd00 0x7f00\n");
    assert_eq!(collect::parse_syscall(&again), Some((nr, args)));
}

fn link(text: &[u8]) {
    if let Some(inode) = collect::inode_of(OsStr::from_bytes(text)) {
        let again = format!("socket:[{inode}]");
        assert_eq!(collect::inode_of(OsStr::new(&again)), Some(inode));
    }
}

fn epoll(text: &[u8]) {
    let Some(text) = input::text(text) else {
        return;
    };
    for (fd, data) in text.lines().filter_map(collect::registration) {
        let again = format!("tfd: {fd:8} events:       19 data: {data:16x}  pos:0 ino:1f sdev:8");
        assert_eq!(collect::registration(&again), Some((fd, data)));
    }
}

fn fdinfo(text: &[u8]) {
    let text = String::from_utf8_lossy(text);
    for field in ["memlock:", "recursion_misses:"] {
        if let Some(number) = collect::fdinfo_number(&text, field) {
            let again = format!("{field}\t{number}\n");
            assert_eq!(collect::fdinfo_number(&again, field), Some(number));
        }
    }
}

/// A census by /proc: every socket is in one column, and in one row or in "other".
fn tcp_sockets(text: &[u8]) {
    let mut sockets = Vec::new();
    if tcp::read(text, &mut sockets).is_err() {
        // No text.
        return;
    }
    let lines = text.split(|b| *b == b'\n').count();
    assert!(sockets.len() <= lines);
    let census = tcp::count(&sockets, 1_000_000_000_000);
    let all: u64 = census.totals.iter().sum();
    assert_eq!(all + census.unreadable, sockets.len() as u64);
    let mut parts: Counts = census.other;
    for (_, row) in &census.rows {
        parts
            .iter_mut()
            .zip(row)
            .for_each(|(sum, n)| *sum += u64::from(*n));
    }
    assert_eq!(parts, census.totals);
    let listed = census.fin_wait2.len() as u64 + census.fin_wait2_left_out;
    let half_closed = [
        column::FIN_WAIT2_HELD,
        column::FIN_WAIT2_ORPHAN,
        column::FIN_WAIT2_TIMEWAIT,
    ];
    assert_eq!(
        listed,
        half_closed
            .map(|column| census.totals[column])
            .iter()
            .sum::<u64>()
    );
    let waiting: u64 = census.time_wait.iter().map(|n| u64::from(*n)).sum();
    assert_eq!(waiting, census.totals[6]);
}

fn udp_sockets(text: &[u8]) {
    let mut census = UdpCensus::default();
    if udp::read(text, &mut census).is_err() {
        return;
    }
    let lines = text.split(|b| *b == b'\n').count() as u64;
    assert!(census.total <= lines);
    assert!(census.sockets.len() as u64 + census.left_out <= census.total);
    assert!(
        census
            .sockets
            .iter()
            .all(|s| s.drops > 0 || s.queued_bytes > 0)
    );
}

/// Ports and addresses that are listened on: two readers, of which one wants the address too.
fn listeners(text: &[u8]) {
    let Some(text) = input::text(text) else {
        return;
    };
    for line in text.lines() {
        let port = collect::listening_port(line);
        if let Some(key) = attach::listener(line) {
            assert_eq!(port, Some(key.local_port));
            assert!(matches!(key.len, 4 | 16), "{}", key.len);
        }
    }
}

/// Other ends of sockets: the first ten lines' are sought.
fn peers(text: &[u8]) {
    let words = text.split(|b| *b == b'\n').take(10).filter_map(|line| {
        let mut fields = line
            .split(u8::is_ascii_whitespace)
            .filter(|word| !word.is_empty());
        std::str::from_utf8(fields.nth(9)?)
            .ok()?
            .parse::<u64>()
            .ok()
    });
    let wanted: HashSet<u64> = words.collect();
    let (mut left, mut found) = (wanted.clone(), HashMap::new());
    collect::scan(text, 6, &|port| port == 80, &mut left, &mut found);
    assert!(
        found
            .keys()
            .all(|inode| wanted.contains(inode) && !left.contains(inode))
    );
    for key in found.values() {
        assert!(matches!(key.len, 4 | 16), "{}", key.len);
        assert!((key.port == 0) != (key.local_port == 0), "{key:?}");
    }
}

fn unix(text: &[u8]) {
    let wanted: HashSet<u64> = (0..64).chain([501, 20_123]).collect();
    let (mut left, mut found) = (wanted.clone(), HashMap::new());
    collect::scan_unix(text, &mut left, &mut found);
    assert_eq!(left.len() + found.len(), wanted.len());
    for (inode, key) in found {
        assert!(wanted.contains(&inode) && !left.contains(&inode));
        assert!(key.len > 0 && key.address().len() == usize::from(key.len));
    }
}

/// netstat, snmp and sockstat: a counter is a number that stands there.
fn tcp_counters(text: &[u8]) {
    let [Some(netstat), Some(snmp), Some(sockstat)] = input::parts(text).map(input::text) else {
        return;
    };
    let read = tcp::from_texts(netstat, snmp, sockstat);
    let stands = |text: &str, number: Option<u64>| {
        let mut words = text.split_whitespace();
        number.is_none_or(|n| words.any(|word| word.parse() == Ok(n)))
    };
    for number in [
        read.listen_overflows,
        read.syncookies_sent,
        read.time_wait_overflow,
    ] {
        assert!(stands(netstat, number), "{number:?}");
    }
    for number in [read.active_opens, read.passive_opens, read.attempt_fails] {
        assert!(stands(snmp, number), "{number:?}");
    }
    assert!(stands(sockstat, read.orphans), "{:?}", read.orphans);
}

fn udp_counters(text: &[u8]) {
    let [Some(snmp), Some(snmp6)] = input::parts(text).map(input::text) else {
        return;
    };
    let read = udp::from_texts(snmp, snmp6);
    let again =
        |name: &str, n: Option<u64>| n.map_or(String::new(), |n| format!("Udp6{name} {n}\n"));
    let written =
        again("InDatagrams", read.v6.in_datagrams) + &again("RcvbufErrors", read.v6.rcvbuf_errors);
    let twice = udp::from_texts(snmp, &written);
    assert_eq!(twice.v4, read.v4);
    assert_eq!(twice.v6.in_datagrams, read.v6.in_datagrams);
    assert_eq!(twice.v6.rcvbuf_errors, read.v6.rcvbuf_errors);
}

/// Settings of the kernel.
fn numbers(text: &[u8]) {
    let Some(text) = input::text(text) else {
        return;
    };
    if let Some((first, last)) = tcp::pair(text) {
        assert_eq!(
            tcp::pair(&format!("{first}\t{last}\n")),
            Some((first, last))
        );
    }
    let ranges = tcp::ranges(text);
    let words: Vec<String> = ranges.iter().map(|(a, b)| format!("{a}-{b}")).collect();
    assert_eq!(tcp::ranges(&words.join(",")), ranges);
    if let Some(three) = udp::three(text, 1) {
        let [a, b, c] = three;
        assert_eq!(udp::three(&format!("{a} {b} {c}"), 1), Some(three));
    }
    let _ = udp::three(text, 4096);
    if let Some(pages) = udp::used_pages(text) {
        assert_eq!(
            udp::used_pages(&format!("UDP: inuse 4 mem {pages}\n")),
            Some(pages)
        );
    }
}

/// A mount is written as the kernel does, and read again; a path belongs to a mount that shows it.
fn mountinfo(text: &[u8]) {
    let mounts = collect::mountinfo(text);
    assert!(mounts.len() <= text.split(|b| *b == b'\n').count());
    // No more than is needed: the written form is four times as long as what it escapes.
    for (id, mount) in mounts.iter().take(8) {
        let again = collect::mountinfo(&written(*id, mount));
        assert_eq!(again, [(*id, mount.clone())]);
    }
    for path in [&b"/"[..], b"/srv/a b/c", b"/sys/kernel/tracing/events"] {
        let Some((id, inside)) = collect::covering(text, path) else {
            continue;
        };
        assert!(mounts.iter().any(|(known, _)| *known == id));
        assert!(!inside.is_empty());
    }
    let Some(text) = input::text(text) else {
        return;
    };
    if let Some(place) = attach::tracefs(text) {
        let known = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];
        assert!(known.contains(&&*place.to_string_lossy()), "{place:?}");
    }
    if let Some(parent) = attach::tracefs_parent(text) {
        let parent = Path::new(OsStr::from_bytes(parent.to_bytes()));
        assert!(
            Path::new("/sys/kernel/tracing").starts_with(parent),
            "{parent:?}"
        );
    }
}

fn written(id: u32, mount: &Mount) -> Vec<u8> {
    let mut line = format!("{id} 1 {}:{} ", mount.device.major, mount.device.minor).into_bytes();
    let mut push = |text: &[u8], behind: &[u8]| {
        for byte in text {
            match byte {
                b' ' | b'\t' | b'\n' | b'\\' | b'#' => line.extend(format!("\\{byte:03o}").bytes()),
                byte => line.push(*byte),
            }
        }
        line.extend(behind);
    };
    push(&mount.root, b" ");
    push(&mount.mount_point, b" ");
    push(&mount.options, b" - ");
    push(&mount.fs_type, b" ");
    push(&mount.source, b" ");
    push(&mount.super_options, b"");
    line
}

/// resolv.conf, nsswitch.conf and an environment, within glibc's limits.
fn resolver(text: &[u8]) {
    // An environment has NULs itself: it is last.
    let [resolv, nsswitch, environ] = input::parts(text);
    let read = collect::resolver(7, resolv, nsswitch, environ);
    assert_eq!(read.pid, 7);
    assert!(
        read.servers.len() <= 8 && read.timeout_s <= 30 && read.attempts <= 5 && read.ndots <= 15
    );
    assert_eq!(
        read.local_stub,
        read.servers.iter().all(std::net::IpAddr::is_loopback)
    );
    let mut again = format!(
        "options timeout:{} attempts:{} ndots:{}\n",
        read.timeout_s, read.attempts, read.ndots
    );
    read.servers
        .iter()
        .for_each(|server| again += &format!("nameserver {server}\n"));
    let again = collect::resolver(7, again.as_bytes(), b"", b"");
    assert_eq!(
        (again.servers, again.timeout_s, again.attempts, again.ndots),
        (read.servers, read.timeout_s, read.attempts, read.ndots)
    );
}

/// Paths: tidied once, they are tidy.
fn path(text: &[u8]) {
    let Some(tidy) = collect::tidy(text) else {
        return;
    };
    assert!(tidy.starts_with(b"/") && tidy.len() <= text.len() + 1);
    let odd: [&[u8]; 3] = [b"", b".", b".."];
    let mut components = tidy[1..].split(|b| *b == b'/');
    assert!(
        tidy == b"/" || components.all(|c| !odd.contains(&c)),
        "{tidy:?}"
    );
    assert_eq!(collect::tidy(&tidy), Some(tidy));
}

/// A release, and the mode of the lockdown.
fn words(text: &[u8]) {
    let Some(text) = input::text(text) else {
        return;
    };
    if let Some((major, minor)) = attach::version(text) {
        assert_eq!(
            attach::version(&format!("{major}.{minor}.0-amd64")),
            Some((major, minor))
        );
    }
    if let Some(mode) = lockdown_mode(text) {
        assert!(!mode.contains(']') && text.contains(mode));
    }
}
