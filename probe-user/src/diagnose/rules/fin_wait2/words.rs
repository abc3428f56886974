//! What T02 says and proposes.

use super::{Case, PROPOSED_FIN_TIMEOUT_S, quantiles};
use crate::{
    aggregate::tcp::{Process, orphan_lifetime_s},
    diagnose::{Evidence, Piece, Quantity, Remedy, Sentence, rules::tcp, sentence},
};

/// One line for the finding.
pub(super) fn title(case: &Case<'_>) -> String {
    if case.mostly_held() {
        "Half-closed sockets pile up: a process holds them, the other side does not close"
            .to_owned()
    } else {
        "Half-closed sockets pile up: the other side does not close".to_owned()
    }
}

/// That more peers are in the same state.
pub(super) fn more(n: usize) -> Sentence {
    sentence!["So it is with ", Quantity::count(n as f64), " more peers."]
}

/// The headline, who holds them and when they go.
pub(super) fn summary(case: &Case<'_>) -> Vec<Sentence> {
    let half = case.half;
    let count = |n: u64| Quantity::count(n as f64);
    let mut lines = vec![sentence![
        count(case.total()),
        " sockets towards ",
        tcp::address(&half.peer),
        " are closed by this side only (FIN_WAIT_2): ",
        count(half.orphaned),
        " orphaned, ",
        count(half.held),
        " held by a process.",
    ]];
    if half.held > 0 {
        lines.push(held(case));
    }
    if half.orphaned > 0 {
        lines.push(match case.tcp.settings.fin_timeout_s {
            Some(s) => sentence![
                "Orphans belong to no process and go after ",
                Quantity::ns(orphan_lifetime_s(s) * 1_000_000_000),
                if u64::from(s) == orphan_lifetime_s(s) {
                    " (tcp_fin_timeout).".to_owned()
                } else {
                    format!(
                        " (tcp_fin_timeout is {s}, of which what is beyond 60 s counts, twice)."
                    )
                },
            ],
            None => "Orphans belong to no process and go by a timer (tcp_fin_timeout).".into(),
        });
    }
    if let Some((now, most)) = case.near_limit() {
        lines.push(sentence![
            count(now),
            " of ",
            count(most),
            " orphans that the kernel allows (tcp_max_orphans) exist: past it, it resets connections that a \
             process has closed.",
        ]);
    }
    if let Some(peer) = other_side(case) {
        lines.push(tcp::join([
            vec![
                "The other side is on this machine: most of its CLOSE_WAIT sockets are held by "
                    .into(),
            ],
            tcp::process(peer).to_vec(),
            vec![".".into()],
        ]));
    }
    lines
}

fn held(case: &Case<'_>) -> Sentence {
    let mut line = Sentence(Vec::new());
    for (n, (process, sockets, fd)) in case.half.holders.iter().take(3).enumerate() {
        if n > 0 {
            line.0.push("; ".into());
        }
        line.0.extend(tcp::process(process));
        line.0.extend([
            Piece::from(" holds "),
            Quantity::count(*sockets as f64).into(),
            format!(" of them (descriptor {fd}, for one)").into(),
        ]);
    }
    if line.0.is_empty() {
        line.0.push("Who holds them is not known".into());
    }
    line.0
        .push(". Held ones have no timer: they stay until the process closes them.".into());
    line
}

/// Who should close, where the other side is on this machine: the process with most sockets in CLOSE_WAIT.
fn other_side<'a>(case: &Case<'a>) -> Option<&'a Process> {
    let most = case
        .tcp
        .processes
        .iter()
        .max_by_key(|p| p.states.close_wait)?;
    (tcp::is_loopback(&case.half.peer) && most.states.close_wait >= case.total() / 2)
        .then_some(&most.process)
}

/// Numbers with the commands that confirm them.
pub(super) fn evidence(case: &Case<'_>) -> Vec<Evidence> {
    let half = case.half;
    let count = |n: u64| Quantity::count(n as f64);
    let look = tcp::filter(&half.peer).map(|f| format!("ss -tanop state fin-wait-2 {f}"));
    let descriptor = half
        .holders
        .first()
        .filter(|(_, _, fd)| *fd >= 0)
        .map(|(process, _, fd)| format!("ls -l /proc/{}/fd/{fd}", process.pid));
    let mut list = vec![
        tcp::item("sockets", "orphaned", count(half.orphaned), look),
        tcp::item("sockets", "held", count(half.held), descriptor),
        tcp::item("sockets", "most at once", count(half.peak), None),
        tcp::item("sockets", "older than 3 s", count(case.old), None),
        tcp::item(
            "rate",
            "came into the state",
            Quantity::per_second(half.entered_per_s),
            None,
        ),
    ];
    for (about, durations) in [("age so far", &half.age), ("those that left", &half.left)] {
        if let Some((p50, p99)) = quantiles(durations) {
            list.push(tcp::item(about, "p50", p50, None));
            list.push(tcp::item(about, "p99", p99, None));
        }
    }
    if let Some((now, most)) = case.near_limit() {
        let command = "cat /proc/net/sockstat".to_owned();
        list.push(tcp::item("limit", "orphans", count(now), Some(command)));
        list.push(tcp::item("limit", "tcp_max_orphans", count(most), None));
    }
    list
}

/// What to try, safest first.
pub(super) fn remedies(case: &Case<'_>) -> Vec<Remedy> {
    let mut list = Vec::new();
    if case.half.held > 0 {
        list.push(close_them(case));
    }
    list.push(mend_the_peer(case));
    list.extend(shorter_timer(case));
    if case.mostly_held()
        && let Some((process, sockets, _)) = case.half.holders.first()
    {
        list.push(Remedy {
            text: tcp::join([
                vec!["until then, restart ".into()],
                tcp::process(process).to_vec(),
            ]),
            arithmetic: Some(sentence![
                "frees ",
                Quantity::count(*sockets as f64),
                " descriptors at once",
            ]),
            risk: "its other connections end as well, and new ones are refused until it is back"
                .to_owned(),
            ..Remedy::default()
        });
    }
    list
}

fn close_them(case: &Case<'_>) -> Remedy {
    let mut text = sentence![
        "after shutdown(), wait for the other side's end for a bounded time, then close()"
    ];
    if let Some((holder, ..)) = case.half.holders.first() {
        text.0.push(", in ".into());
        text.0.extend(tcp::process(holder));
        let how = if tcp::is_called(holder, "haproxy") {
            ": timeout client-fin and timeout server-fin"
        } else if tcp::is_called(holder, "nginx") {
            ": lingering_timeout and lingering_time"
        } else {
            ""
        };
        text.0.push(how.into());
    }
    Remedy {
        text,
        arithmetic: Some(sentence![
            "closed, they are orphans and go by their timer: ",
            Quantity::count(case.half.held as f64),
            " descriptors free again",
        ]),
        risk: "an answer that takes longer than the bound is cut off".to_owned(),
        ..Remedy::default()
    }
}

fn mend_the_peer(case: &Case<'_>) -> Remedy {
    Remedy {
        text: sentence![
            "have the program at ",
            tcp::address(&case.half.peer),
            " close when it reads the end of the stream: on its machine these connections are in CLOSE_WAIT",
        ],
        command: Some("ss -tanp state close-wait".to_owned()),
        risk: "none here; the change is made at the peer".to_owned(),
        ..Remedy::default()
    }
}

fn shorter_timer(case: &Case<'_>) -> Option<Remedy> {
    let now = case.tcp.settings.fin_timeout_s?;
    let lasts_s = orphan_lifetime_s(now) as f64;
    if lasts_s <= f64::from(PROPOSED_FIN_TIMEOUT_S) || case.half.orphaned < case.half.held {
        return None;
    }
    let rate = case.half.entered_per_s;
    let remedy = Remedy {
        text: "let orphans go sooner".into(),
        arithmetic: (rate > 0.0).then(|| {
            sentence![
                Quantity::per_second(rate),
                " x ",
                Quantity::count(f64::from(PROPOSED_FIN_TIMEOUT_S)),
                " s = ",
                Quantity::count((rate * f64::from(PROPOSED_FIN_TIMEOUT_S)).round()),
                " at most, instead of x ",
                Quantity::count(lasts_s),
                " s = ",
                Quantity::count((rate * lasts_s).round()),
            ]
        }),
        risk: "a peer that closes later than that gets a reset; held sockets and TIME_WAIT (60 s) are not touched"
            .to_owned(),
        ..Remedy::default()
    };
    let key = (
        "net.ipv4.tcp_fin_timeout",
        now.to_string(),
        PROPOSED_FIN_TIMEOUT_S.to_string(),
    );
    Some(tcp::sysctl(remedy, &[key]))
}
