//! What U02 proposes, safest first, with the arithmetic.

use super::{Case, Shape};
use crate::{
    aggregate::dns::{Client, Resolver},
    diagnose::{Quantity, Remedy, rules::tcp, sentence},
};

/// What a lost question should cost at most, s: the least that resolv.conf takes.
const TIMEOUT_S: u32 = 1;
/// With so short a time-out, a lost answer is asked for this often.
const ATTEMPTS: u32 = 3;
/// Search domains are worth a remedy when they make at least a tenth of the questions.
const EXPANDED_SHARE: f64 = 0.1;

/// What to try for a case.
pub(super) fn remedies(case: &Case<'_>) -> Vec<Remedy> {
    let mut list = Vec::new();
    match case.shape() {
        Shape::Refused | Shape::Silent => list.push(other_server(case)),
        _ => {}
    }
    list.extend(ask_less(case));
    list.extend(search(case));
    list.extend(cheaper(case));
    match case.shape() {
        Shape::Dropped => list.push(server_buffer()),
        Shape::Slow | Shape::Lossy | Shape::Storm => list.push(mend_server(case)),
        Shape::Refused | Shape::Silent => {}
    }
    list
}

/// How the group that suffers most resolves names.
fn resolver<'a>(case: &Case<'a>) -> Option<&'a Resolver> {
    let group = case.group()?;
    let mut all = case.dns.resolvers.iter();
    all.find(|r| r.group == *group).map(|r| &r.resolver)
}

fn client<'a>(case: &Case<'a>) -> Option<&'a Client> {
    let group = case.group()?;
    case.dns.clients.iter().find(|c| c.group == *group)
}

fn ask_less(case: &Case<'_>) -> Option<Remedy> {
    let s = case.sums();
    if s.duplicates == 0 {
        return None;
    }
    let local = resolver(case).is_some_and(|r| r.local_stub);
    let how = if case.group().is_some_and(|g| g.php_fpm) {
        " (PHP keeps none: hold connections open, CURLOPT_RESOLVE or a value in APCu for hosts called on each page)"
    } else {
        ""
    };
    let beside = if local {
        ""
    } else {
        "; or put a cache on loopback (nscd, unbound, dnsmasq)"
    };
    Some(Remedy {
        text: sentence![
            "ask less: keep the answer in the process that asks",
            how,
            beside,
        ],
        arithmetic: Some(sentence![
            Quantity::count(s.duplicates as f64),
            " of ",
            Quantity::count(s.asked as f64),
            " questions (",
            Quantity::ratio(tcp::share(s.duplicates, s.asked)),
            ") were asked again within a second",
        ]),
        risk: "an answer that is kept is as old as its time to live; a change of address is seen later".to_owned(),
        ..Remedy::default()
    })
}

fn search(case: &Case<'_>) -> Option<Remedy> {
    let client = client(case)?;
    let asked = client.sums.asked;
    if (client.expanded as f64) < EXPANDED_SHARE * asked as f64 || client.expanded == 0 {
        return None;
    }
    let ndots = resolver(case).map(|r| r.ndots).filter(|n| *n > 1);
    Some(Remedy {
        text: "write names with a dot at their end, or set ndots:1: they are not tried with every search domain then"
            .into(),
        change: ndots.map(|n| (format!("options ndots:{n}"), "options ndots:1".to_owned())),
        arithmetic: Some(sentence![
            Quantity::count(client.expanded as f64),
            " of ",
            Quantity::count(asked as f64),
            " questions are then not asked",
        ]),
        risk: "short names of other domains (service.namespace in Kubernetes) are no longer found".to_owned(),
        ..Remedy::default()
    })
}

/// A lost question costs a shorter wait.
fn cheaper(case: &Case<'_>) -> Option<Remedy> {
    let lost = case.sums().timed_out.count + case.overdue.len() as u64;
    if lost == 0 {
        return None;
    }
    let now = resolver(case);
    let timeout_s = now.map_or(5, |r| r.timeout_s);
    if timeout_s <= TIMEOUT_S {
        return None;
    }
    let attempts = now.map_or(2, |r| r.attempts);
    let single = case.rows.iter().any(|row| {
        let s = &row.sums;
        row.qtype == AAAA && s.unanswered > 0 && s.answered == 0
    }) && now.is_some_and(|r| !r.single_request);
    let more = if single { " single-request" } else { "" };
    let mut text = sentence!["make a lost question cheaper, in resolv.conf of the processes"];
    if single {
        text.0.push(
            "; single-request asks for A and AAAA one after the other, for servers that lose one of two".into(),
        );
    }
    Some(Remedy {
        text,
        change: Some((
            format!("options timeout:{timeout_s} attempts:{attempts}"),
            format!("options timeout:{TIMEOUT_S} attempts:{ATTEMPTS}{more}"),
        )),
        arithmetic: Some(sentence![
            Quantity::count(lost as f64),
            " waits x (",
            Quantity::ns(u64::from(timeout_s) * SECOND),
            " - ",
            Quantity::ns(u64::from(TIMEOUT_S) * SECOND),
            ") = up to ",
            Quantity::ns(lost * u64::from(timeout_s - TIMEOUT_S) * SECOND),
            " less waiting",
        ]),
        risk: "a server that is slow, and not lossy, is asked more often; running processes take it up when they \
               notice the file has changed (glibc 2.26), else on restart"
            .to_owned(),
        ..Remedy::default()
    })
}

/// QTYPE of IPv6 addresses.
const AAAA: u16 = 28;
/// A second in ns.
const SECOND: u64 = 1_000_000_000;

fn server_buffer() -> Remedy {
    Remedy {
        text: "let the server read faster, or give its socket a larger buffer: see U01, which has the arithmetic"
            .into(),
        risk: "a larger buffer only holds a longer burst; the questions are as many".to_owned(),
        ..Remedy::default()
    }
}

fn other_server(case: &Case<'_>) -> Remedy {
    let others = resolver(case).map_or(0, |r| r.servers.len().saturating_sub(1));
    let mut text = sentence![
        "take this server out of resolv.conf, or put one that answers before it, until it works again"
    ];
    if others > 0 {
        text.0.push(
            format!(" ({others} more in the list; each lookup waits for the first one first)")
                .into(),
        );
    }
    Remedy {
        text,
        risk: "names that only this server knows are not found".to_owned(),
        ..Remedy::default()
    }
}

fn mend_server(case: &Case<'_>) -> Remedy {
    let text = if tcp::is_loopback(&case.server.peer) {
        "see what the server waits for: the servers behind it, its threads, a CPU; then more threads or a larger cache there"
    } else {
        "speak with whoever runs the server; or ask a nearer one"
    };
    Remedy {
        text: text.into(),
        risk: "another server may give other answers (split horizon)".to_owned(),
        ..Remedy::default()
    }
}
