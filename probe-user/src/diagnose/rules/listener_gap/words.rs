//! What T08 says and proposes.

use super::{Case, failed_in};
use crate::{
    aggregate::{
        Peer,
        tcp::{Gap, Process},
    },
    diagnose::{Evidence, Piece, Quantity, Remedy, Sentence, rules::tcp, sentence},
};

/// One line for the finding.
pub(super) fn title(case: &Case<'_>) -> String {
    if case.lasting().is_some() {
        "Connects fail: nobody listens on an address any more"
    } else if case.gaps.iter().any(|gap| gap.served_before) {
        "Connects failed while nobody listened: a service was away for a moment"
    } else {
        "Connects failed before a service listened: it started later than its clients"
    }
    .to_owned()
}

/// That more addresses are in the same state.
pub(super) fn more(n: usize) -> Sentence {
    sentence![
        "So it is with ",
        Quantity::count(n as f64),
        " more addresses."
    ]
}

/// The headline, who was refused, who came back.
pub(super) fn summary(case: &Case<'_>) -> Vec<Sentence> {
    let mut lines = vec![headline(case)];
    lines.extend(refused(case));
    lines.push(end(case));
    lines
}

fn headline(case: &Case<'_>) -> Sentence {
    let longest = Quantity::ns(case.length(case.longest()));
    let tail = match (case.gaps.len(), case.lasting()) {
        (1, None) => vec![": nobody listened there for ".into(), longest.into()],
        (1, Some(_)) => vec![": nobody has listened there for ".into(), longest.into()],
        (n, _) => vec![
            ": nobody listened there ".into(),
            Piece::from(Quantity::count(n as f64)),
            " times, at most for ".into(),
            longest.into(),
        ],
    };
    tcp::join([
        tcp::number_of(case.failed, "connect", "connects").to_vec(),
        vec![" to ".into(), tcp::address(case.peer), " failed".into()],
        tail,
        vec![format!(" ({}).", errors(case)).into()],
    ])
}

/// `ECONNREFUSED 1203, ENOENT 4`.
fn errors(case: &Case<'_>) -> String {
    let mut sums: Vec<(u32, u64)> = Vec::new();
    for &(errno, n) in case.gaps.iter().flat_map(|gap| &gap.failed) {
        match sums.iter_mut().find(|(e, _)| *e == errno) {
            Some((_, sum)) => *sum += n,
            None => sums.push((errno, n)),
        }
    }
    let words: Vec<_> = sums
        .iter()
        .map(|&(errno, n)| match i32::try_from(errno) {
            Ok(libc::ENOENT) => format!("ENOENT {n}"),
            Ok(libc::ECONNREFUSED) => format!("ECONNREFUSED {n}"),
            Ok(libc::ECONNRESET) => format!("ECONNRESET {n}"),
            _ => format!("errno {errno} {n}"),
        })
        .collect();
    words.join(", ")
}

/// Those that were refused in all gaps, most first.
fn clients(case: &Case<'_>) -> Vec<(Process, u64)> {
    let mut sums: Vec<(Process, u64)> = Vec::new();
    for (process, n) in case.gaps.iter().flat_map(|gap| &gap.refused) {
        match sums.iter_mut().find(|(p, _)| p == process) {
            Some((_, sum)) => *sum += n,
            None => sums.push((process.clone(), *n)),
        }
    }
    sums.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    sums
}

fn refused(case: &Case<'_>) -> Option<Sentence> {
    let clients = clients(case);
    let mut line = Vec::new();
    for (process, n) in clients.iter().take(3) {
        line.push(Piece::from(if line.is_empty() {
            "Refused: "
        } else {
            "; "
        }));
        line.extend(tcp::process(process));
        line.extend([" ".into(), Quantity::count(*n as f64).into()]);
    }
    if clients.len() > 3 {
        line.push(format!("; {} more processes", clients.len() - 3).into());
    }
    (!line.is_empty()).then(|| {
        line.push(".".into());
        Sentence(line)
    })
}

fn end(case: &Case<'_>) -> Sentence {
    if case.lasting().is_some() {
        return "Nobody was back when the window ended.".into();
    }
    let begins = |gap: &Gap| Quantity::ns(gap.start_ns);
    let longest = case.longest();
    match case.back() {
        Some(back) => tcp::join([
            vec![
                "It began ".into(),
                begins(longest).into(),
                " after the start of the window, and ended when ".into(),
            ],
            tcp::process(back).to_vec(),
            vec![" listened.".into()],
        ]),
        None => sentence![
            "It began ",
            begins(longest),
            " after the start of the window, and ended with the first connect that succeeded; who came back was not seen.",
        ],
    }
}

/// Numbers with the commands that confirm them.
pub(super) fn evidence(case: &Case<'_>) -> Vec<Evidence> {
    let look = match (case.peer, tcp::port(case.peer)) {
        (_, Some(port)) => format!("ss -ltnp 'sport = :{port}'"),
        // A path is a name from the traced system: it stays out of commands.
        _ => "ss -lxp".to_owned(),
    };
    let longest = case.longest();
    let since = case
        .back()
        .map(|p| format!("ps -o pid,lstart,args -p {}", p.pid));
    let mut list = vec![
        tcp::item(
            "gap",
            "longest",
            Quantity::ns(case.length(longest)),
            Some(look),
        ),
        tcp::item(
            "gap",
            "from the window's start",
            Quantity::ns(longest.start_ns),
            since,
        ),
    ];
    if case.gaps.len() > 1 {
        let n = case.gaps.len() as f64;
        list.push(tcp::item("gap", "gaps", Quantity::count(n), None));
    }
    let trace = clients(case).first().map(|(p, _)| {
        format!(
            "timeout 10 strace -f -e trace=connect -e status=failed -p {}",
            p.pid
        )
    });
    list.push(tcp::item(
        "failed",
        "connects",
        Quantity::count(case.failed as f64),
        trace,
    ));
    list.push(tcp::item(
        "failed",
        "rate in the longest gap",
        rate(case),
        None,
    ));
    list
}

/// Failed connects per second of the longest gap.
fn rate(case: &Case<'_>) -> Quantity {
    let longest = case.longest();
    Quantity::per_second(failed_in(longest) as f64 * 1e9 / case.length(longest).max(1) as f64)
}

/// What to try, safest first.
pub(super) fn remedies(case: &Case<'_>) -> Vec<Remedy> {
    let mut list = Vec::new();
    let served_before = case.gaps.iter().any(|gap| gap.served_before);
    if case.is_local() {
        if served_before {
            list.push(reload(case));
        } else {
            list.push(Remedy {
                text: "start the service before its clients: After= and Requires= in their unit, Type=notify in its \
                       own"
                    .into(),
                risk: "clients do not start while the service does not".to_owned(),
                ..Remedy::default()
            });
        }
        list.push(socket_unit(case));
        if served_before {
            list.push(Remedy {
                text: "start the new process before the old one ends: both listen with SO_REUSEPORT, or the old one \
                       hands its socket over"
                    .into(),
                risk: "both run at once for a moment; what waits in the old one's queue is lost when it closes \
                       (net.ipv4.tcp_migrate_req, since Linux 5.14)"
                    .to_owned(),
                ..Remedy::default()
            });
        }
    } else {
        list.push(Remedy {
            text: sentence![
                "ask whoever runs ",
                tcp::address(case.peer),
                " what happened then"
            ],
            risk: "none".to_owned(),
            ..Remedy::default()
        });
    }
    list.push(retry(case));
    list
}

fn reload(case: &Case<'_>) -> Remedy {
    let called = |name| case.back().is_some_and(|p| tcp::is_called(p, name));
    let how = if called("php-fpm") {
        " (PHP-FPM: systemctl reload, or kill -USR2 to its master)"
    } else if called("nginx") {
        " (nginx -s reload)"
    } else {
        ""
    };
    Remedy {
        text: sentence![
            "reload instead of restart: the listening socket stays open",
            how
        ],
        arithmetic: Some(sentence![
            "0 s instead of ",
            Quantity::ns(case.length(case.longest())),
        ]),
        risk: "a reload takes over most settings, not all (PHP-FPM keeps its backlog)".to_owned(),
        ..Remedy::default()
    }
}

fn socket_unit(case: &Case<'_>) -> Remedy {
    let longest = case.longest();
    Remedy {
        text: "let systemd hold the socket (a .socket unit with Backlog=): connects wait in its queue while the \
               service starts"
            .into(),
        arithmetic: Some(sentence![
            rate(case),
            " x ",
            Quantity::ns(case.length(longest)),
            " = ",
            Quantity::count(failed_in(longest) as f64),
            " connects wait up to ",
            Quantity::ns(case.length(longest)),
            " instead of failing; Backlog= must hold them",
        ]),
        risk: "the service must take the socket over (sd_listen_fds; nginx and PHP-FPM can be made to)".to_owned(),
        ..Remedy::default()
    }
}

fn retry(case: &Case<'_>) -> Remedy {
    let clients = clients(case);
    let nginx = clients
        .first()
        .is_some_and(|(p, _)| tcp::is_called(p, "nginx"));
    let unix = matches!(case.peer, Peer::Unix { .. });
    let how = match (nginx, unix) {
        (true, true) => {
            " (nginx: fastcgi_next_upstream error, with a second server in the upstream block)"
        }
        (true, false) => {
            " (nginx: proxy_next_upstream error, with a second server in the upstream block)"
        }
        (false, _) => "",
    };
    Remedy {
        text: sentence!["let the client try again, elsewhere or a moment later", how],
        risk: "nothing was sent yet when a connect fails, so trying again is safe; it needs a second server to try"
            .to_owned(),
        ..Remedy::default()
    }
}
