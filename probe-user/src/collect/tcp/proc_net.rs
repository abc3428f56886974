//! A census without the iterator: /proc/net/tcp and tcp6 of the calling thread's namespace. The kernel
//! formats a line for each socket, so it takes some ten times as long.
//!
//! States and timers are all there. What a listener may queue is not, so listeners are left out.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::{self, BufRead, BufReader},
};

use probe_common::{
    peer::{flag, kind},
    tcp::{CENSUS_ROWS, COHORTS, CensusKey, FinWait2, column, record, state},
};

use super::{Census, Counts, counters};
use crate::{attach::clock, bounded::has_room, collect::monotonic_ns};

/// Sockets in FIN_WAIT_2 that are listed, as by the kernel side.
const FIN_WAIT2_LISTED: usize = 8192;
/// The timer of a timewait object, in the column `tr` (net/ipv4/tcp_ipv4.c, get_timewait4_sock).
const TIMEWAIT_TIMER: u32 = 3;
/// Ticks in a second of what the kernel shows (USER_HZ).
const USER_HZ: u64 = 100;

/// One line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Socket {
    kind: u8,
    local: [u64; 2],
    remote: [u64; 2],
    local_port: u16,
    remote_port: u16,
    state: u8,
    timer: u32,
    left_ticks: u64,
    inode: u64,
    sock: u64,
}

/// Takes a census.
///
/// # Errors
/// The files cannot be read.
pub fn census() -> io::Result<Census> {
    let at_ns = monotonic_ns();
    let mut sockets = Vec::new();
    read(table("tcp")?, &mut sockets)?;
    // Without IPv6 there is no such file.
    match table("tcp6") {
        Ok(table) => read(table, &mut sockets)?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    let mut census = count(&sockets, at_ns);
    census.took_ns = monotonic_ns() - at_ns;
    census.counters = counters::counters();
    Ok(census)
}

fn table(file: &str) -> io::Result<BufReader<File>> {
    File::open(format!("/proc/thread-self/net/{file}")).map(BufReader::new)
}

/// Adds the sockets of a table.
///
/// # Errors
/// It cannot be read.
pub fn read(mut table: impl BufRead, into: &mut Vec<Socket>) -> io::Result<()> {
    let mut line = String::new();
    while table.read_line(&mut line)? > 0 {
        into.extend(socket(&line));
        line.clear();
    }
    Ok(())
}

/// Counts them.
pub fn count(sockets: &[Socket], at_ns: u64) -> Census {
    let hz = u64::from(clock::hz());
    let jiffies = at_ns / 1_000_000 * hz / 1000;
    let listened: HashSet<u16> = sockets
        .iter()
        .filter(|s| s.state == state::LISTEN)
        .map(|s| s.local_port)
        .collect();
    let mut rows: HashMap<CensusKey, [u32; column::COUNT]> = HashMap::new();
    let mut out = Census {
        at_ns,
        took_ns: 0,
        totals: Counts::default(),
        rows: Vec::new(),
        other: Counts::default(),
        time_wait: Box::new([0; COHORTS]),
        jiffies,
        fin_wait2: Vec::new(),
        fin_wait2_left_out: 0,
        listeners: Vec::new(),
        unreadable: 0,
        counters: Default::default(),
    };
    for s in sockets {
        let (flags, port) = if s.state == state::LISTEN {
            (flag::LISTENER, s.local_port)
        } else if listened.contains(&s.local_port) {
            (flag::INBOUND, s.local_port)
        } else {
            (0, s.remote_port)
        };
        let key = CensusKey {
            remote: s.remote,
            local: s.local,
            port,
            kind: s.kind,
            flags,
            pad: 0,
        };
        let expires = jiffies + s.left_ticks * hz / USER_HZ;
        let column = match s.state {
            state::TIME_WAIT => {
                let cohort = expires >> clock::cohort_shift(clock::hz());
                out.time_wait[cohort as usize % COHORTS] += 1;
                usize::from(state::TIME_WAIT)
            }
            state::FIN_WAIT2 if s.timer == TIMEWAIT_TIMER => column::FIN_WAIT2_TIMEWAIT,
            state::FIN_WAIT2 if s.inode == 0 => column::FIN_WAIT2_ORPHAN,
            state::NEW_SYN_RECV => usize::from(state::SYN_RECV),
            state if state < state::NEW_SYN_RECV => usize::from(state),
            _ => {
                out.unreadable += 1;
                continue;
            }
        };
        if s.state == state::FIN_WAIT2 {
            if out.fin_wait2.len() < FIN_WAIT2_LISTED {
                let timewait = column == column::FIN_WAIT2_TIMEWAIT;
                out.fin_wait2.push(FinWait2 {
                    record: record::FIN_WAIT2,
                    column: column as u32,
                    sock: s.sock,
                    inode: s.inode,
                    expires: if timewait { expires } else { 0 },
                    local_port: s.local_port,
                    remote_port: s.remote_port,
                    pad: 0,
                    key,
                });
            } else {
                out.fin_wait2_left_out += 1;
            }
        }
        out.totals[column] += 1;
        if has_room(&rows, &key, CENSUS_ROWS) {
            rows.entry(key).or_insert([0; column::COUNT])[column] += 1;
        } else {
            out.other[column] += 1;
        }
    }
    out.rows = rows.into_iter().collect();
    out
}

/// `0: 0100007F:1F90 0200007F:9C40 06 00000000:00000000 03:0000176B 00000000 0 0 0 3 0000000012345678`
fn socket(line: &str) -> Option<Socket> {
    let mut words = line.split_whitespace().skip(1);
    let (local, local_port) = address(words.next()?)?;
    let (remote, remote_port) = address(words.next()?)?;
    let state = u8::from_str_radix(words.next()?, 16).ok()?;
    let (timer, left) = words.nth(1)?.split_once(':')?;
    let inode = words.nth(3)?.parse().ok()?;
    let sock = words.nth(1)?;
    let is_v4 = local.len() == 1;
    if remote.len() != local.len() {
        return None;
    }
    let tells = if state == state::LISTEN {
        &local
    } else {
        &remote
    };
    let (kind, local, remote) = if is_v4 {
        (kind::INET, [local[0].into(), 0], [remote[0].into(), 0])
    } else if tells[..3] == [0, 0, 0xffff_u32.to_be()] {
        // An IPv4 connection in IPv6 clothes.
        (kind::INET, [local[3].into(), 0], [remote[3].into(), 0])
    } else {
        (kind::INET6, pair(&local), pair(&remote))
    };
    Some(Socket {
        kind,
        local,
        remote,
        local_port,
        remote_port,
        state,
        timer: u32::from_str_radix(timer, 16).ok()?,
        left_ticks: u64::from_str_radix(left, 16).ok()?,
        inode,
        sock: u64::from_str_radix(sock, 16).ok()?,
    })
}

/// Words of 8 hexadecimal digits, each as the machine stores it, and a port.
fn address(text: &str) -> Option<(Vec<u32>, u16)> {
    let (words, port) = text.split_once(':')?;
    let (chunks, rest) = words.as_bytes().as_chunks::<8>();
    if !rest.is_empty() || !matches!(chunks.len(), 1 | 4) {
        return None;
    }
    let words: Option<Vec<u32>> = chunks
        .iter()
        .map(|chunk| u32::from_str_radix(str::from_utf8(chunk).ok()?, 16).ok())
        .collect();
    Some((words?, u16::from_str_radix(port, 16).ok()?))
}

fn pair(words: &[u32]) -> [u64; 2] {
    let [a, b] = [0, 2].map(|i| {
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&words[i].to_ne_bytes());
        bytes[4..].copy_from_slice(&words[i + 1].to_ne_bytes());
        u64::from_ne_bytes(bytes)
    });
    [a, b]
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 501 1 0000000000000001 100 0 0 10 0
   1: 0100007F:1F90 0200007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 502 1 0000000000000002 20 4 30 10 -1
   2: 0100007F:9C41 0200007F:0050 06 00000000:00000000 03:000007D0 00000000     0        0 0 3 0000000000000003
   3: 0100007F:9C42 0200007F:0050 05 00000000:00000000 03:00000064 00000000     0        0 0 3 0000000000000004
   4: 0100007F:9C43 0200007F:0050 05 00000000:00000000 02:00000064 00000000     0        0 0 2 0000000000000005
   5: 0100007F:9C44 0200007F:0050 05 00000000:00000000 00:00000000 00000000     0        0 509 1 0000000000000006 20 4 30 10 -1
   6: 0000000000000000FFFF00000100007F:9C45 0000000000000000FFFF00000200007F:0050 01 00000000:00000000 00:00000000 00000000     0        0 510 1 0000000000000007
   7: 00000000000000000000000001000000:9C46 00000000000000000000000001000000:0051 01 00000000:00000000 00:00000000 00000000     0        0 511 1 0000000000000008
";

    #[test]
    fn lines_become_a_census() {
        let sockets: Vec<_> = TCP.lines().filter_map(socket).collect();
        assert_eq!(sockets.len(), 8);
        let census = count(&sockets, 1_000_000_000_000);
        let mut totals = Counts::default();
        for (column, n) in [
            (1, 3),
            (5, 1),
            (6, 1),
            (10, 1),
            (column::FIN_WAIT2_ORPHAN, 1),
            (column::FIN_WAIT2_TIMEWAIT, 1),
        ] {
            totals[column] = n;
        }
        assert_eq!(census.totals, totals);
        let row = |flags, kind, port| {
            let found = census
                .rows
                .iter()
                .find(|(key, _)| (key.flags, key.kind, key.port) == (flags, kind, port));
            *found.unwrap_or_else(|| panic!("no row {flags} {kind} {port}"))
        };
        assert_eq!(row(flag::LISTENER, kind::INET, 8080).1[10], 1);
        assert_eq!(row(flag::INBOUND, kind::INET, 8080).1[1], 1);
        // Five to port 80 of one host, the one in IPv6 clothes among them.
        let (key, counts) = row(0, kind::INET, 80);
        assert_eq!(counts.iter().sum::<u32>(), 5);
        assert_eq!(key.remote[0].to_ne_bytes()[..4], [127, 0, 0, 2]);
        let (key, _) = row(0, kind::INET6, 81);
        assert_eq!(key.remote[1].to_ne_bytes()[7], 1);
        // 20 s left.
        let hz = u64::from(clock::hz());
        let cohort = (census.jiffies + 20 * hz) >> clock::cohort_shift(clock::hz());
        assert_eq!(census.time_wait[cohort as usize % COHORTS], 1);
        assert_eq!(census.fin_wait2.len(), 3);
        assert_eq!(census.fin_wait2[2].inode, 509);
    }

    #[test]
    fn a_line_with_addresses_of_two_families_is_left_out() {
        let six = "00000000000000000000000001000000";
        for (from, to) in [(six, "0200007F"), ("0200007F", six)] {
            let rest = "01 00000000:00000000 00:00000000 00000000 0 0 501 1 0000000000000001";
            assert_eq!(socket(&format!("0: {from}:0050 {to}:9C40 {rest}")), None);
        }
    }

    #[test]
    fn cut_lines_are_left_out() {
        let line = TCP.lines().nth(1).unwrap();
        for n in 0..line.len() {
            if let Some(s) = socket(&line[..n]) {
                assert_eq!(s.state, state::LISTEN);
            }
        }
    }
}
