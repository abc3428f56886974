//! What W01 says: the sentences and the proof.

use std::net::IpAddr;

use super::{Case, shape::Order};
use crate::{
    aggregate::Peer,
    diagnose::{Evidence, Piece, Quantity, Sentence, sentence},
};

/// The headline, the shape of the calls, and what bears on how to read them.
pub(super) fn summary(case: &Case<'_>) -> Vec<Sentence> {
    let group = case.group;
    // Finished requests are whole; those that are not count here only when they hold most of the wait.
    let (requests, wait_ns, wall_ns, so_far) = if case.shape.unfinished {
        (
            group.all_requests(),
            case.peer.wait_ns(),
            case.wall_ns,
            " per request so far (",
        )
    } else {
        (
            group.requests,
            case.peer.done.wait_ns,
            group.wall_ns,
            " per request (",
        )
    };
    let mut lines = vec![sentence![
        Quantity::ns(wait_ns / requests.max(1)),
        " of ",
        Quantity::ns(wall_ns / requests.max(1)),
        so_far,
        Quantity::ratio(wait_ns as f64 / wall_ns.max(1) as f64),
        ") is spent waiting for ",
        &case.peer.peer,
        ".",
    ]];
    lines.push(order(case));
    let (using, all) = (case.peer.requests(), group.all_requests());
    if using < all {
        lines.push(sentence![
            Quantity::count(using as f64),
            " of ",
            Quantity::count(all as f64),
            " requests use it; each of these waits ",
            Quantity::ns(case.per_request_ns),
            " for it.",
        ]);
    }
    if group.incomplete > 0 {
        lines.push(sentence![
            "Not seen from begin to end: ",
            Quantity::count(group.incomplete as f64),
            ", counted with the time inside the window.",
        ]);
    }
    if case.busy >= super::SATURATED {
        lines.push(sentence![
            "The workers were busy for ",
            Quantity::ratio(case.busy),
            " of their time: there is hardly one left for the next request.",
        ]);
    }
    lines
}

fn order(case: &Case<'_>) -> Sentence {
    let shape = &case.shape;
    let calls = Quantity::count(shape.calls);
    let verb = if shape.connects_each {
        "opens "
    } else {
        "asks it "
    };
    let what = if shape.connects_each {
        " connections to it"
    } else {
        " times"
    };
    match shape.order {
        Order::One if shape.calls < 1.5 => sentence![
            "It is one call per request; its longest wait takes ",
            Quantity::ns(shape.longest_ns),
            ".",
        ],
        Order::One => sentence![
            "One call takes nearly all of it: ",
            Quantity::ns(shape.longest_ns),
            " of ",
            Quantity::ns(shape.wait_ns),
            ", although each request ",
            verb,
            calls,
            what,
            ".",
        ],
        Order::InARow => sentence![
            "Each request ",
            verb,
            calls,
            what,
            ", one after the other; ",
            if case.peer.done.overlapped + case.peer.open.overlapped == 0 {
                "none overlap."
            } else {
                "few overlap."
            },
        ],
        Order::AtOnce => {
            sentence![
                "Each request ",
                verb,
                calls,
                what,
                " at the same time, and waits for the slowest."
            ]
        }
    }
}

/// Numbers with the commands that confirm them.
pub(super) fn evidence(case: &Case<'_>) -> Vec<Evidence> {
    let commands = Commands {
        pid: case.group.example_pid,
        peer: &case.peer.peer,
    };
    let item = |about, text: Sentence, value, command| Evidence {
        about,
        text,
        value,
        command,
    };
    let mut list = Vec::new();
    if case.group.requests > 0 {
        let per_request = |n: u64| Quantity::count(n as f64 / case.group.requests as f64);
        let per_using = |n: u64| Quantity::count(n as f64 / case.peer.done.requests.max(1) as f64);
        let about = "per request";
        list.extend([
            item(
                about,
                "connects to it".into(),
                per_using(case.peer.done.connects),
                commands.count(),
            ),
            item(
                about,
                "rounds with it".into(),
                per_using(case.peer.done.exchanges),
                None,
            ),
            item(about, "polls".into(), per_request(case.group.polls), None),
        ]);
    }
    let longest = Quantity::ns(case.peer.longest_ns());
    list.push(item(
        "per request",
        "longest wait".into(),
        longest,
        commands.trace(),
    ));
    let waits = &case.peer.wait_per_request;
    for (text, q) in [("p50", 0.5), ("p95", 0.95)] {
        if !waits.is_empty() {
            list.push(item(
                "wait for it",
                text.into(),
                Quantity::ns(waits.value_at_quantile(q)),
                None,
            ));
        }
    }
    let calls = &case.peer.exchange;
    if !calls.is_empty() {
        for (text, q) in [("p50", 0.5), ("p95", 0.95), ("p99", 0.99)] {
            list.push(item(
                "per call",
                text.into(),
                Quantity::ns(calls.quantile(q)),
                None,
            ));
        }
        let n = Quantity::count(calls.len() as f64);
        list.push(item("per call", "calls".into(), n, commands.histogram()));
    }
    if let Some(slow) = case.group.slowest.first() {
        let name = if slow.uri.is_empty() {
            &slow.script
        } else {
            &slow.uri
        };
        let text = if name.is_empty() {
            sentence!["a request of process ", slow.pid.to_string()]
        } else {
            Sentence(vec![Piece::Name(name.clone())])
        };
        list.push(item(
            "slowest",
            text,
            Quantity::ns(slow.wall_ns),
            commands.sockets(),
        ));
    }
    list
}

/// Commands to try by hand. They hold numbers only: no name of the traced system can become a command.
struct Commands<'a> {
    pid: u32,
    peer: &'a Peer,
}

impl Commands<'_> {
    fn with_pid(&self, command: impl Fn(u32) -> String) -> Option<String> {
        (self.pid > 0).then(|| command(self.pid))
    }

    fn count(&self) -> Option<String> {
        self.with_pid(|pid| format!("timeout 10 strace -c -f -p {pid} -e trace=connect,poll"))
    }

    fn trace(&self) -> Option<String> {
        self.with_pid(|pid| {
            format!("timeout 10 strace -f -T -p {pid} -e trace=network,poll,select")
        })
    }

    fn histogram(&self) -> Option<String> {
        self.with_pid(|pid| {
            format!(
                "timeout 10 bpftrace -e 't:syscalls:sys_enter_poll /pid=={pid}/ {{@t[tid]=nsecs}} \
                 t:syscalls:sys_exit_poll /@t[tid]/ {{@ms=hist((nsecs-@t[tid])/1000000); delete(@t[tid])}}'"
            )
        })
    }

    fn sockets(&self) -> Option<String> {
        match self.peer {
            Peer::Inet {
                address,
                port,
                transport,
            } => {
                let flags = if transport == "udp" { "-unp" } else { "-tnp" };
                Some(match address {
                    IpAddr::V4(v4) => format!("ss {flags} dst {v4}:{port}"),
                    IpAddr::V6(v6) => format!("ss {flags} dst '[{v6}]:{port}'"),
                })
            }
            // A path is a name from the traced system; the pid leads to the same sockets.
            _ => self.with_pid(|pid| format!("ss -xp | grep pid={pid},")),
        }
    }
}
