//! The SYN queue: handshakes that began and have not ended. The kernel counts what it drops there for the
//! whole namespace, not by listener.

use super::RULE;
use crate::{
    aggregate::{
        Window,
        tcp::{ListenQueue, Tcp},
    },
    diagnose::{
        Culprit, Finding, Level, Measured, Quantity, Remedy, Severity, rules::tcp, sentence,
    },
};

/// Cookies for so few handshakes are a burst that ended well.
pub(super) const FEW_COOKIES: u64 = 10;
/// What the kernel itself sets on a machine of some gigabytes.
const PROPOSED_SYN_BACKLOG: u32 = 4096;

/// The finding, when handshakes were dropped or only cookies kept them.
pub(super) fn check(window: &Window, tcp: &Tcp) -> Option<Finding> {
    let dropped = tcp.counters.syn_queue_drops.unwrap_or(0);
    let cookies = tcp.counters.syncookies_sent.unwrap_or(0);
    if dropped == 0 && cookies < FEW_COOKIES {
        return None;
    }
    // Cookies beside an accept queue that overflows are one trouble: both queues have the same limit, and the
    // finding about that listener says it all.
    if dropped == 0 && tcp.listeners.iter().any(|l| l.tcp && l.overflows > 0) {
        return None;
    }
    let listener = tcp
        .listeners
        .iter()
        .filter(|l| l.tcp && l.syn_queue_max > 0)
        .max_by_key(|l| l.syn_queue_max);
    let (n, headline) = if dropped > 0 {
        (
            dropped,
            " handshakes were dropped at once: the SYN queue was full and SYN cookies are off.",
        )
    } else {
        (
            cookies,
            " handshakes were answered with SYN cookies, because the SYN queue was full; none was dropped.",
        )
    };
    let count = |n: u64| Quantity::count(n as f64);
    let mut summary = vec![sentence![count(n), headline]];
    if let Some(l) = listener {
        summary.push(sentence![
            "The listener with most unfinished handshakes is ",
            tcp::address(&l.address),
            ": up to ",
            count(l.syn_queue_max),
            ", limit ",
            count(l.limit),
            ".",
        ]);
    }
    let severity = if dropped > 0 {
        Severity::Warning
    } else {
        Severity::Info
    };
    let owner = listener.and_then(|l| l.owners.first());
    Some(Finding {
        rule: RULE.reference(),
        title: "Handshakes begin faster than they end: a SYN queue is full".to_owned(),
        severity,
        confidence: tcp::confidence(
            window,
            &[],
            [(
                Level::Medium,
                "counted for the whole network namespace: which listener it was is inferred"
                    .to_owned(),
            )],
            "",
        ),
        explains: 1.0,
        explains_what: "the handshakes that met a full SYN queue",
        culprit: Culprit {
            group: owner
                .map(|p| p.comm.clone())
                .filter(|name| !name.is_empty()),
            php_fpm: false,
            pid: owner.map(|p| p.pid),
            peer: listener.map(|l| l.address.clone()),
            ..Culprit::default()
        },
        measured: vec![Measured {
            what: "handshakes that met a full SYN queue",
            observed: count(n),
            threshold: count(if dropped > 0 { 1 } else { FEW_COOKIES }),
        }],
        summary,
        evidence: vec![
            tcp::item(
                "SYN queue",
                "dropped",
                count(dropped),
                Some("nstat -az TcpExtTCPReqQFullDrop TcpExtSyncookiesSent".to_owned()),
            ),
            tcp::item("SYN queue", "cookies sent", count(cookies), None),
        ],
        remedies: remedies(tcp, listener),
        window_ns: window.duration_ns,
        first_ns: None,
        caused_by: Vec::new(),
        symptoms: Vec::new(),
    })
}

fn remedies(tcp: &Tcp, listener: Option<&ListenQueue>) -> Vec<Remedy> {
    let settings = &tcp.settings;
    let mut list = vec![Remedy {
        text: "see who sends them: many addresses with one SYN each are a flood, to be stopped before this machine"
            .into(),
        command: Some(match listener.and_then(|l| tcp::port(&l.address)) {
            Some(port) => format!("ss -Htn state syn-recv 'sport = :{port}' | awk '{{print $4}}' | sort | uniq -c | sort -rn | head"),
            None => "ss -Htn state syn-recv | awk '{print $4}' | sort | uniq -c | sort -rn | head".to_owned(),
        }),
        risk: "none".to_owned(),
        ..Remedy::default()
    }];
    list.push(Remedy {
        text: "give the listener a larger backlog, with net.core.somaxconn to match (T03): it bounds unfinished \
               handshakes as well"
            .into(),
        risk: "listen() must be called again: a reload (nginx) or a restart".to_owned(),
        ..Remedy::default()
    });
    // With cookies on, the kernel does not look at tcp_max_syn_backlog (tcp_conn_request, net/ipv4/tcp_input.c).
    if settings.syncookies != Some(0) {
        return list;
    }
    let remedy = Remedy {
        text: "let SYN cookies stand in when the queue is full".into(),
        risk: "connections made with a cookie and without timestamps lose window scaling"
            .to_owned(),
        ..Remedy::default()
    };
    let key = ("net.ipv4.tcp_syncookies", "0".to_owned(), "1".to_owned());
    list.push(tcp::sysctl(remedy, &[key]));
    if settings
        .max_syn_backlog
        .is_some_and(|now| now < PROPOSED_SYN_BACKLOG)
    {
        let remedy = Remedy {
            text: "without cookies, let more handshakes be under way".into(),
            risk: "about 300 bytes for each".to_owned(),
            ..Remedy::default()
        };
        let key = (
            "net.ipv4.tcp_max_syn_backlog",
            tcp::now(settings.max_syn_backlog),
            PROPOSED_SYN_BACKLOG.to_string(),
        );
        list.push(tcp::sysctl(remedy, &[key]));
    }
    list
}
