//! What T03 proposes, safest first, with the arithmetic.

use super::{Case, Pace};
use crate::diagnose::{Quantity, Remedy, rules::tcp, sentence};

/// A queue is sized to hold the arrivals of the longest stall seen; where none was measured, of a second: so
/// long a process may be kept from accepting by a fork, a reload or a full CPU.
const ASSUMED_STALL_NS: u64 = 1_000_000_000;
/// A queue is at least doubled: less is no change worth a restart.
const AT_LEAST_TIMES: u64 = 2;
/// Past a second in the queue users think that the page hangs: a longer queue would only hide that more arrive
/// than are accepted.
const LONGEST_WAIT_NS: u64 = 1_000_000_000;
/// Beyond the kernel's own default of somaxconn (since Linux 5.4), clients give up before their turn comes.
const LONGEST_QUEUE: u64 = 4096;

/// What to try for a case.
pub(super) fn remedies(case: &Case<'_>) -> Vec<Remedy> {
    let longer = longer_queue(case);
    match case.pace() {
        Some(Pace::Slow | Pace::Overrun) => {
            std::iter::once(accept_sooner(case)).chain(longer).collect()
        }
        Some(Pace::Bursts) | None => longer.into_iter().chain([accept_sooner(case)]).collect(),
    }
}

fn accept_sooner(case: &Case<'_>) -> Remedy {
    let mut text =
        sentence!["accept sooner: more workers, or less work in each before it accepts again"];
    if let Some(owner) = case.owners().first() {
        text.0.push(", in ".into());
        text.0.extend(tcp::process(owner));
        let how = if tcp::is_called(owner, "php-fpm") {
            ": pm.max_children, after a look at what the workers wait for (W01)"
        } else if tcp::is_called(owner, "nginx") {
            ": worker_processes auto, multi_accept on"
        } else {
            ""
        };
        text.0.push(how.into());
    }
    let per_s = |n: u64| Quantity::per_second(n as f64 / tcp::seconds(case.window));
    Remedy {
        text,
        arithmetic: case.arrivals().map(|all| {
            sentence![
                per_s(all),
                " arrive, ",
                per_s(case.accepted),
                " are accepted",
            ]
        }),
        risk: "more workers take more memory, and load what they wait for further".to_owned(),
        ..Remedy::default()
    }
}

/// The longest that the process was seen to let a connection wait, or an assumption.
fn stall(case: &Case<'_>) -> (u64, &'static str) {
    match case.queue.wait.quantile(1.0) {
        0 => (ASSUMED_STALL_NS, "a stall of"),
        ns => (ns, "the longest stall seen,"),
    }
}

/// Backlog and somaxconn together; `None` when the queue is as long as makes sense, or was not seen.
fn longer_queue(case: &Case<'_>) -> Option<Remedy> {
    let q = case.queue;
    if q.looks == 0 {
        return None;
    }
    let (stall_ns, what) = stall(case);
    let arrivals = case.arrivals().unwrap_or(q.overflows) as f64 / tcp::seconds(case.window);
    let needed = (arrivals * stall_ns as f64 / 1e9).ceil() as u64;
    // What the process accepts in the longest wait that makes sense: more would wait in vain.
    let useful = match case.accepted {
        0 => LONGEST_QUEUE,
        n => (n as f64 / tcp::seconds(case.window) * LONGEST_WAIT_NS as f64 / 1e9) as u64,
    };
    let wanted = needed
        .max(q.limit * AT_LEAST_TIMES)
        .min(useful)
        .clamp(1, LONGEST_QUEUE)
        .next_power_of_two();
    if useful <= q.limit || wanted <= q.limit {
        return None;
    }
    let owners = case.owners();
    let called = |name| owners.first().is_some_and(|p| tcp::is_called(p, name));
    let (how, again) = if called("nginx") {
        (
            format!("listen ... backlog={wanted} in nginx"),
            "a reload of nginx is enough",
        )
    } else if called("php-fpm") {
        (
            format!("listen.backlog = {wanted} in PHP-FPM's pool"),
            "PHP-FPM takes it on restart only, which refuses connects for a moment (T08)",
        )
    } else if called("redis") || called("valkey") {
        (
            format!("tcp-backlog {wanted}"),
            "it takes a restart, which refuses connects for a moment (T08)",
        )
    } else if called("haproxy") {
        (
            format!("backlog {wanted} in HAProxy's frontend"),
            "a reload of HAProxy is enough",
        )
    } else {
        (
            format!("a backlog of {wanted} in the process's call of listen()"),
            "listen() must be called again: mostly a restart, which refuses connects for a moment (T08)",
        )
    };
    let text = sentence!["let more connections wait: ", how];
    let mut arithmetic = sentence![
        Quantity::per_second(arrivals),
        " x ",
        what,
        " ",
        Quantity::ns(stall_ns),
        " = ",
        Quantity::count(needed as f64),
        "; at least twice the present ",
        Quantity::count(q.limit as f64),
    ];
    if case.accepted > 0 {
        arithmetic.0.extend([
            ", at most what is accepted in a second, ".into(),
            Quantity::count(useful as f64).into(),
        ]);
    }
    arithmetic.0.extend([
        "; as a power of two ".into(),
        Quantity::count(wanted as f64).into(),
    ]);
    if case.accepted > 0 {
        let last_ns = wanted as f64 / case.accepted as f64 * case.window.duration_ns as f64;
        arithmetic.0.extend([
            "; the last in such a queue waits ".into(),
            Quantity::ns(last_ns as u64).into(),
        ]);
    }
    let remedy = Remedy {
        text,
        arithmetic: Some(arithmetic),
        risk: format!("{again}; clients wait longer instead of failing"),
        ..Remedy::default()
    };
    // The backlog is cut to somaxconn: raised alone, it would do nothing.
    let somaxconn = case.tcp.settings.somaxconn;
    let mut remedy = if somaxconn.is_some_and(|most| u64::from(most) < wanted) {
        let key = (
            "net.core.somaxconn",
            tcp::now(somaxconn),
            wanted.to_string(),
        );
        tcp::sysctl(remedy, &[key])
    } else {
        remedy
    };
    let (now, proposed) = (format!("backlog {}", q.limit), format!("backlog {wanted}"));
    remedy.change = Some(match remedy.change {
        Some((a, b)) => (format!("{now}, {a}"), format!("{proposed}, {b}")),
        None => (now, proposed),
    });
    Some(remedy)
}
