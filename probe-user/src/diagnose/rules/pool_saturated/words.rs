//! What W02 says: the sentences, the proof, and what to try.

use probe_common::part;

use super::{Case, ON_CPU_SHARE};
use crate::diagnose::{Evidence, Quantity, Remedy, Sentence, rules::tcp, sentence};

/// Room for what comes unevenly: workers that are busy for four fifths of their time have one to spare when two
/// requests come at once.
const COMFORTABLE: f64 = 0.8;

/// The headline, what waits, and what the workers do meanwhile.
pub(super) fn summary(case: &Case<'_>) -> Vec<Sentence> {
    let q = case.queue;
    let count = |n: u64| Quantity::count(n as f64);
    let how = if case.measured_ns().is_some() {
        " (median)"
    } else {
        " (reckoned from the queue)"
    };
    let mut lines = vec![
        sentence![
            "A request waits ",
            Quantity::ns(case.wait_ns),
            " for a worker",
            how,
            ", which then takes ",
            Quantity::ns(case.service_ns()),
            " for it.",
        ],
        sentence![
            "The ",
            count(case.group.workers.into()),
            " workers are busy for ",
            Quantity::ratio(case.busy),
            " of their time; in the queue of ",
            tcp::address(&q.address),
            " are ",
            Quantity::count((case.waiting() * 10.0).round() / 10.0),
            " on average, at most ",
            count(q.queue_max),
            " of ",
            count(q.limit),
            ".",
        ],
    ];
    lines.extend(doing(case));
    lines
}

/// What the workers spend most of their time with.
fn doing(case: &Case<'_>) -> Option<Sentence> {
    let parts = &case.group.worker_parts;
    let (most, ns) = (0..part::COUNT)
        .filter(|&p| p != part::IDLE)
        .map(|p| (p, parts[p]))
        .max_by_key(|(_, ns)| *ns)?;
    let what = match most {
        part::ON_CPU => "running on a CPU",
        part::RUN_QUEUE => "waiting for a CPU",
        part::NETWORK => "waiting for others over the network",
        part::CLIENT => "waiting for their clients",
        part::DISK => "waiting for a disk",
        part::LOCK => "waiting for locks",
        part::SLEEP => "sleeping by their own wish",
        part::LOCAL => "waiting for other processes on this machine",
        _ => return None,
    };
    Some(sentence![
        "They spend ",
        Quantity::ratio(tcp::share(ns, parts.iter().sum())),
        " of it ",
        what,
        ".",
    ])
}

/// The numbers behind it.
pub(super) fn evidence(case: &Case<'_>) -> Vec<Evidence> {
    let q = case.queue;
    let count = |n: u64| Quantity::count(n as f64);
    let look = if q.tcp { "ss -ltn" } else { "ss -lx" };
    let mut list = vec![
        tcp::item(
            "queue",
            "waiting on average",
            Quantity::count((case.waiting() * 10.0).round() / 10.0),
            Some(look.to_owned()),
        ),
        tcp::item("queue", "at most", count(q.queue_max), None),
        tcp::item("queue", "limit", count(q.limit), None),
        tcp::item("queue", "looks", count(q.looks), None),
        tcp::item(
            "workers",
            "requests",
            Quantity::per_second(case.group.requests as f64 / tcp::seconds(case.window)),
            Some(format!(
                "ps -o pid,stat,wchan:20,args -p {}",
                case.group.example_pid
            )),
        ),
        tcp::item(
            "workers",
            "each takes",
            Quantity::ns(case.service_ns()),
            None,
        ),
    ];
    if q.overflows > 0 {
        list.push(tcp::item("queue", "turned away", count(q.overflows), None));
    }
    list
}

/// What to try, safest first.
pub(super) fn remedies(case: &Case<'_>) -> Vec<Remedy> {
    let shorter = Remedy {
        text: "make the requests shorter: a finding above this one says what their time goes into, else W01's page how to look"
            .into(),
        arithmetic: Some(sentence![
            "half of ",
            Quantity::ns(case.service_ns()),
            " a request doubles what these workers can serve",
        ]),
        risk: "none for the pool".to_owned(),
        ..Remedy::default()
    };
    if case.on_cpu() >= ON_CPU_SHARE {
        // More workers would only share the CPUs there are.
        return vec![shorter];
    }
    vec![shorter, more_workers(case)]
}

fn more_workers(case: &Case<'_>) -> Remedy {
    let per_s = case.group.requests as f64 / tcp::seconds(case.window);
    let service_s = case.service_ns() as f64 / 1e9;
    let now = u64::from(case.group.workers);
    let needed = ((per_s * service_s / COMFORTABLE).ceil() as u64).max(now + 1);
    let text = if case.group.php_fpm {
        "more workers, as far as memory goes (pm.max_children)"
    } else {
        "more workers, as far as memory goes"
    };
    Remedy {
        text: text.into(),
        change: Some((now.to_string(), needed.to_string())),
        arithmetic: Some(sentence![
            Quantity::per_second(per_s),
            " x ",
            Quantity::ns(case.service_ns()),
            " / ",
            Quantity::ratio(COMFORTABLE),
            " = ",
            Quantity::count(needed as f64),
            ", and more where more come than are served now",
        ]),
        risk: "each takes memory of its own, and a connection to whatever the workers wait for: what is slow already gets \
               more questions at once"
            .to_owned(),
        ..Remedy::default()
    }
}
