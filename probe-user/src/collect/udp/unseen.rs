//! Drops over IPv6 that no tracepoint shows: older kernels (5.10 and 6.1 were tried; 6.12 has it) do not call it there
//! (net/ipv6/udp.c, `__udpv6_queue_rcv_skb`).
//!
//! They are told from the sockets' own counts, from one census to the next: what a socket has dropped and the
//! tracepoint has not shown. Those counts have bad checksums and what a filter refuses in them as well, so that only as
//! many are taken for want of room as RcvbufErrors grew by beyond what the tracepoint showed.

use std::collections::HashMap;

use probe_common::udp::UdpKey;

use super::{Census, Counters, DropStep, Reasons, SocketDrops, SocketState};

/// What is known of them.
#[derive(Default)]
pub struct Unseen {
    base: Option<Base>,
    rows: HashMap<UdpKey, SocketDrops>,
}

/// What there was at the first census.
struct Base {
    drops: HashMap<UdpKey, u64>,
    errors: u64,
    traced: u64,
}

impl Unseen {
    /// Takes in a census. `traced` is asked, when it matters, for what the tracepoint has shown so far: dropped for want
    /// of room, by all sockets, and dropped at all, by one. The rows that changed, and how far they have come.
    pub fn census(
        &mut self,
        census: &Census,
        traced: impl FnOnce() -> (u64, HashMap<UdpKey, u64>),
    ) -> Vec<(SocketDrops, DropStep)> {
        let errors = errors(&census.counters);
        let Some(base) = &self.base else {
            if census.left_out == 0 {
                let drops = census.sockets.iter().map(|s| (key(s), s.drops));
                self.base = Some(Base {
                    drops: drops.collect(),
                    errors,
                    traced: traced().0,
                });
            }
            return Vec::new();
        };
        // A socket that was not listed had dropped nothing, or was not there.
        let grown = |s: &SocketState| s.drops - base.drops.get(&key(s)).unwrap_or(&0).min(&s.drops);
        let known = |s: &SocketState| self.rows.get(&key(s)).map_or(0, |r| r.reasons.total());
        let v6 = census.sockets.iter().filter(|s| s.local.is_ipv6());
        let growing: Vec<&SocketState> = v6.filter(|s| grown(s) > known(s)).collect();
        if growing.is_empty() || errors <= base.errors {
            return Vec::new();
        }
        let (all, of_socket) = traced();
        let mut missing = (errors - base.errors).saturating_sub(all - base.traced.min(all));
        let mut changed = Vec::new();
        let elsewhere: HashMap<UdpKey, u64> = self
            .rows
            .iter()
            .map(|(key, row)| (*key, row.reasons.buffer_full))
            .collect();
        for s in growing {
            let key = key(s);
            let shown = of_socket.get(&key).copied().unwrap_or(0);
            let unseen = grown(s).saturating_sub(shown);
            // Not what was told of the others before.
            let others: u64 = elsewhere
                .iter()
                .filter(|(of, _)| **of != key)
                .map(|(_, n)| n)
                .sum();
            let full = unseen.min(missing.saturating_sub(others));
            let row = self.rows.entry(key).or_insert_with(|| row(s, census.at_ns));
            if full <= row.reasons.buffer_full {
                continue;
            }
            missing -= (full - row.reasons.buffer_full).min(missing);
            row.reasons = Reasons {
                buffer_full: full,
                other: unseen - full,
                ..Reasons::default()
            };
            row.last_ns = census.at_ns;
            row.queued_bytes = s.queued_bytes;
            let step = DropStep {
                sock: row.sock,
                born_ns: row.born_ns,
                at_ns: census.at_ns,
                total: unseen,
                sender: None,
            };
            changed.push((row.clone(), step));
        }
        self.rows.retain(|_, row| row.reasons.total() > 0);
        changed
    }
}

fn key(socket: &SocketState) -> UdpKey {
    UdpKey {
        sock: socket.sock,
        inode: socket.inode,
    }
}

fn errors(counters: &Counters) -> u64 {
    let [v4, v6] = [&counters.v4, &counters.v6].map(|c| c.rcvbuf_errors.unwrap_or(0));
    v4 + v6
}

fn row(socket: &SocketState, at_ns: u64) -> SocketDrops {
    SocketDrops {
        sock: socket.sock,
        born_ns: at_ns,
        last_ns: at_ns,
        reasons: Reasons::default(),
        truesize_bytes: None,
        local: socket.local,
        sender: socket.remote,
        rcvbuf_bytes: socket.rcvbuf_bytes.unwrap_or(0),
        queued_bytes: socket.queued_bytes,
        inode: socket.inode,
        uid: socket.uid,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::udp::UdpCounters;

    fn census(at_ns: u64, errors: u64, sockets: &[(u64, &str, u64)]) -> Census {
        let socket = |(sock, local, drops): &(u64, &str, u64)| SocketState {
            sock: *sock,
            inode: *sock,
            local: local.parse().unwrap(),
            remote: None,
            rcvbuf_bytes: Some(4096),
            queued_bytes: 4000,
            queued: Some(5),
            drops: *drops,
            uid: 0,
        };
        Census {
            at_ns,
            sockets: sockets.iter().map(socket).collect(),
            counters: Counters {
                v6: UdpCounters {
                    rcvbuf_errors: Some(errors),
                    ..UdpCounters::default()
                },
                ..Counters::default()
            },
            ..Census::default()
        }
    }

    fn reasons(changed: &[(SocketDrops, DropStep)]) -> Vec<(u64, u64, u64)> {
        let rows = changed.iter().map(|(row, _)| row);
        rows.map(|r| (r.sock, r.reasons.buffer_full, r.reasons.other))
            .collect()
    }

    fn nothing() -> (u64, HashMap<UdpKey, u64>) {
        (0, HashMap::new())
    }

    #[test]
    fn growth_that_nobody_showed_is_told() {
        let mut unseen = Unseen::default();
        assert!(
            unseen
                .census(&census(1, 100, &[(7, "[::1]:53", 100)]), nothing)
                .is_empty()
        );
        let now = census(2, 140, &[(7, "[::1]:53", 130), (8, "[::]:54", 10)]);
        assert_eq!(
            reasons(&unseen.census(&now, nothing)),
            [(7, 30, 0), (8, 10, 0)]
        );
        // Nothing new.
        assert!(unseen.census(&now, nothing).is_empty());
        let later = census(3, 150, &[(7, "[::1]:53", 140), (8, "[::]:54", 10)]);
        let changed = unseen.census(&later, nothing);
        assert_eq!(reasons(&changed), [(7, 40, 0)]);
        assert_eq!(
            (changed[0].1.total, changed[0].1.born_ns, changed[0].1.at_ns),
            (40, 2, 3)
        );
    }

    #[test]
    fn what_the_tracepoint_shows_is_not_told_again() {
        let mut unseen = Unseen::default();
        unseen.census(&census(1, 0, &[]), nothing);
        let key = UdpKey { sock: 7, inode: 7 };
        let shown = |n| move || (n, HashMap::from([(key, n)]));
        let now = census(2, 30, &[(7, "[::]:53", 30)]);
        assert!(unseen.census(&now, shown(30)).is_empty());
        // IPv4 over a socket of IPv6 is shown, IPv6 is not.
        let now = census(3, 50, &[(7, "[::]:53", 50)]);
        assert_eq!(reasons(&unseen.census(&now, shown(35))), [(7, 15, 0)]);
    }

    #[test]
    fn bad_checksums_are_not_want_of_room() {
        let mut unseen = Unseen::default();
        unseen.census(&census(1, 0, &[]), nothing);
        assert!(
            unseen
                .census(&census(2, 0, &[(7, "[::1]:53", 9)]), nothing)
                .is_empty()
        );
        let now = census(3, 20, &[(7, "[::1]:53", 29)]);
        assert_eq!(reasons(&unseen.census(&now, nothing)), [(7, 20, 9)]);
    }

    #[test]
    fn ipv4_is_the_tracepoints() {
        let mut unseen = Unseen::default();
        unseen.census(&census(1, 0, &[]), nothing);
        let now = census(2, 20, &[(7, "127.0.0.1:53", 20)]);
        assert!(unseen.census(&now, nothing).is_empty());
    }
}
