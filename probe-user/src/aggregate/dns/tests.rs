//! What becomes of readings about DNS.

use std::collections::HashMap;

use probe_common::{
    hist,
    peer::{PeerKey, kind},
};

use super::*;
use crate::{
    aggregate::{
        fixture::{MS, S, START, worker},
        identity::Processes,
    },
    collect::{
        CallSum,
        dns::{DnsReading, OpenQuestion, Questions, Step},
    },
};

const STUB: u64 = 5353;

fn peers() -> HashMap<u64, PeerKey> {
    let mut key = PeerKey {
        kind: kind::INET,
        protocol: 17,
        port: 53,
        ..PeerKey::ZERO
    };
    key.set_address(&[127, 0, 0, 53]);
    [(STUB, key)].into()
}

fn sum(count: u64, ns: u64) -> CallSum {
    CallSum {
        count,
        total_ns: count * ns,
        max_ns: ns,
        hist: Box::new([(hist::bucket(ns) as u8, count as u32)]),
        ..CallSum::default()
    }
}

/// Questions of one process, of which so many were answered.
fn questions(pid: u32, name: &str, asked: u64, answered: u64) -> Questions {
    let mut rcodes = [0; 16];
    rcodes[0] = answered;
    Questions {
        pid,
        comm: b"php-fpm8.2".to_vec(),
        server: STUB,
        name: Some(name.as_bytes().to_vec()),
        qtype: 1,
        asked,
        answered,
        rcodes,
        latency: sum(answered, MS),
        first_ns: START,
        last_ns: START,
        ..Questions::default()
    }
}

fn open(pid: u32, qtype: u16, asked_ns: u64, waiting: bool) -> OpenQuestion {
    OpenQuestion {
        pid,
        tid: pid,
        server: STUB,
        name: Some(b"a.example".to_vec()),
        qtype,
        asked_ns: START + asked_ns,
        waiting,
    }
}

fn finish(fold: &DnsFold, span: (u64, u64)) -> Dns {
    let mut processes = Processes::default();
    processes.learn(&[worker(1), worker(2)]);
    fold.finish((START + span.0, START + span.1), &peers(), &processes)
}

#[test]
fn workers_of_a_pool_are_one_client() {
    let mut fold = DnsFold::default();
    fold.push(DnsReading {
        retired: Vec::new(),
        sums: vec![
            questions(1, "a.example", 10, 9),
            questions(2, "a.example", 30, 30),
            questions(2, "b.example", 5, 5),
            questions(77, "a.example", 1, 0),
        ],
        open: vec![open(1, 1, S, true), open(77, 1, 0, false)],
        steps: vec![],
        resolvers: vec![],
    });
    let dns = finish(&fold, (0, 3 * S));
    assert_eq!(dns.clients.len(), 2);
    let www = &dns.clients[0];
    assert_eq!((&*www.group.name, www.group.php_fpm), (&b"www"[..], true));
    assert_eq!((www.processes, www.example_pid, www.sums.asked), (2, 2, 45));
    // One is still waited for, so nothing is lost yet; the other process gave up.
    assert_eq!((www.sums.waiting, www.sums.unanswered), (1, 0));
    assert_eq!(dns.clients[1].group.name, b"php-fpm8.2");
    assert_eq!(dns.clients[1].sums.unanswered, 1);
    assert_eq!(dns.waiting.len(), 1);
    assert_eq!((dns.waiting[0].tid, dns.waiting[0].for_ns), (1, 2 * S));
    let names: Vec<_> = dns
        .names
        .iter()
        .map(|n| (n.sums.asked, n.clients))
        .collect();
    assert_eq!(names, [(41, 2), (5, 1)]);
    assert_eq!(dns.servers.len(), 1);
    assert_eq!(dns.servers[0].peer, fixture::server("127.0.0.53"));
    assert_eq!((dns.total.asked, dns.total.latency.count), (46, 44));
}

#[test]
fn an_answer_that_came_between_two_looks_is_not_missing() {
    let asked_at = |last_ns, retried, given_up| {
        let mut fold = DnsFold::default();
        fold.push(DnsReading {
            sums: vec![Questions {
                last_ns: START + last_ns,
                retried,
                ..questions(1, "a.example", 100, 95)
            }],
            open: (0..given_up).map(|_| open(1, 1, S, false)).collect(),
            ..DnsReading::default()
        });
        finish(&fold, (0, 10 * S)).total.unanswered
    };
    // Asked long ago: it is lost. Asked just now: it is known to be lost, or was answered meanwhile.
    assert_eq!(asked_at(5 * S, 0, 0), 5);
    assert_eq!(asked_at(10 * S - MS, 0, 0), 0);
    assert_eq!(asked_at(10 * S - MS, 1, 2), 3);
    assert_eq!(asked_at(10 * S - MS, 4, 7), 5);
}

#[test]
fn a_thread_that_asked_for_two_types_waits_once() {
    let mut fold = DnsFold::default();
    fold.push(DnsReading {
        sums: vec![questions(1, "a.example", 2, 0)],
        open: vec![open(1, 28, S + 1, true), open(1, 1, S, true)],
        ..DnsReading::default()
    });
    let dns = finish(&fold, (2 * S, 4 * S));
    assert_eq!(dns.waiting.len(), 1);
    // Only what lies in the window.
    assert_eq!((dns.waiting[0].qtype, dns.waiting[0].for_ns), (1, 2 * S));
}

#[test]
fn a_later_window_counts_only_its_own() {
    let mut fold = DnsFold::default();
    let mut late = questions(1, "a.example", 10, 8);
    late.timed_out = sum(2, 5 * S);
    fold.push(DnsReading {
        sums: vec![late.clone()],
        open: vec![open(1, 1, S, true)],
        steps: vec![Step {
            at_ns: START + S,
            asked: 10,
            answered: 8,
        }],
        ..DnsReading::default()
    });
    let mut next = fold.successor();
    assert_eq!(finish(&next, (2 * S, 3 * S)).total.asked, 0);
    (late.asked, late.answered, late.rcodes[0]) = (13, 12, 12);
    late.timed_out = sum(3, 5 * S);
    next.push(DnsReading {
        sums: vec![late],
        steps: vec![Step {
            at_ns: START + 2 * S,
            asked: 13,
            answered: 12,
        }],
        ..DnsReading::default()
    });
    let dns = finish(&next, (2 * S, 3 * S));
    // Three, and the one that was waited for, of which four were answered.
    assert_eq!((dns.total.asked, dns.total.answered), (3, 4));
    assert_eq!(dns.total.unanswered, 0);
    assert_eq!(dns.total.timed_out.total_ns, 5 * S);
    assert_eq!(dns.peak_per_s, 3.0);
}

#[test]
fn search_domains_show_as_names_that_do_not_exist() {
    let missing = |name: &str| {
        let mut row = questions(1, name, 4, 4);
        row.rcodes = [0; 16];
        row.rcodes[3] = 4;
        row
    };
    let mut fold = DnsFold::default();
    fold.push(DnsReading {
        sums: vec![
            missing("api.example.shop.svc.cluster.local"),
            missing("api.example.svc.cluster.local"),
            missing("typo.example"),
            questions(1, "api.example", 4, 4),
        ],
        ..DnsReading::default()
    });
    assert_eq!(finish(&fold, (0, S)).clients[0].expanded, 8);
}

#[test]
fn what_finds_no_row_is_added_up() {
    let rows = MAX_DNS_ROWS as u64 + 44;
    let names = (0..rows).map(|n| questions(1, &format!("{n}.example"), n + 1, n + 1));
    let mut fold = DnsFold::default();
    fold.push(DnsReading {
        sums: names.collect(),
        ..DnsReading::default()
    });
    let dns = finish(&fold, (0, S));
    assert_eq!(
        (dns.names.len(), dns.rows.len()),
        (MAX_DNS_ROWS, MAX_DNS_ROWS)
    );
    // 1 + 2 + ... + 44
    assert_eq!((dns.other_names.asked, dns.other_rows.asked), (990, 990));
    assert_eq!(dns.total.asked, rows * (rows + 1) / 2);
}
