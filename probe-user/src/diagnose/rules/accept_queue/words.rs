//! What T03 says about a listener's accept queue: the sentences and the proof.

use super::{Case, Pace};
use crate::{
    aggregate::{Peer, tcp::ListenQueue},
    diagnose::{Evidence, Piece, Quantity, Sentence, rules::tcp, sentence},
};

/// Path of a Unix address, whether connected to or listened on.
pub(super) fn path(peer: &Peer) -> Option<&[u8]> {
    match peer {
        Peer::Unix { path } => Some(path),
        Peer::Listener { on } => Some(on),
        _ => None,
    }
}

/// Path of a Unix listener.
pub(super) fn unix_path(queue: &ListenQueue) -> Option<&[u8]> {
    if queue.tcp {
        None
    } else {
        path(&queue.address)
    }
}

/// One line for the finding.
pub(super) fn title(case: &Case<'_>) -> String {
    match (case.queue.overflows, case.pace()) {
        (0, _) => "An accept queue stands full; nothing was turned away yet",
        (_, Some(Pace::Slow)) => "Connections are turned away: the process accepts them too slowly",
        (_, Some(Pace::Overrun)) => {
            "Connections are turned away: more arrive than the process accepts"
        }
        (_, Some(Pace::Bursts)) => {
            "Connections are turned away: bursts are larger than the accept queue"
        }
        (_, None) => "Connections are turned away: the accept queue is full",
    }
    .to_owned()
}

/// That more listeners are in the same state.
pub(super) fn more(n: usize) -> Sentence {
    sentence![
        "So it is with ",
        Quantity::count(n as f64),
        " more listeners."
    ]
}

/// The headline, how long connections wait, and what the limit comes from.
pub(super) fn summary(case: &Case<'_>) -> Vec<Sentence> {
    let mut lines = vec![headline(case), limit(case)];
    lines.extend(wait(case));
    lines.extend(clients(case));
    if case.queue.tcp && case.queue.overflows > 0 {
        lines.push(if case.tcp.settings.abort_on_overflow == Some(1) {
            "tcp_abort_on_overflow is 1: clients are reset instead of trying again.".into()
        } else {
            "Clients are not told: they try again after 1 s, 3 s and 7 s, so their pages take so much longer.".into()
        });
    }
    lines
}

fn headline(case: &Case<'_>) -> Sentence {
    let q = case.queue;
    let mut listener = vec![tcp::address(&q.address)];
    if !q.owners.is_empty() {
        listener.push(" (".into());
        listener.extend(tcp::processes(case.owners()));
        listener.push(")".into());
    }
    let count = |n: u64| Piece::from(Quantity::count(n as f64));
    if q.overflows == 0 {
        return tcp::join([
            vec!["The accept queue of ".into()],
            listener,
            vec![
                " was full at ".into(),
                count(q.full),
                " of ".into(),
                count(q.looks),
                " looks: ".into(),
                count(q.queue_max),
                " waited.".into(),
            ],
        ]);
    }
    let what = if q.tcp {
        [" handshake was dropped", " handshakes were dropped"]
    } else {
        [
            " connect failed with EAGAIN",
            " connects failed with EAGAIN",
        ]
    };
    let mut tail = vec![" (".into(), per_second(case, q.overflows).into()];
    if let Some(share) = case.refused() {
        tail.extend([
            ", ".into(),
            Quantity::ratio(share).into(),
            " of the arrivals".into(),
        ]);
    }
    tail.push(").".into());
    tcp::join([
        vec![
            count(q.overflows),
            what[usize::from(q.overflows != 1)].into(),
            " because the accept queue of ".into(),
        ],
        listener,
        vec![" was full".into()],
        tail,
    ])
}

fn per_second(case: &Case<'_>, n: u64) -> Quantity {
    Quantity::per_second(n as f64 / tcp::seconds(case.window))
}

/// Where the limit comes from.
fn limit(case: &Case<'_>) -> Sentence {
    let q = case.queue;
    if q.looks == 0 {
        return "The queue itself was not seen, nor how many may wait.".into();
    }
    let limit = Quantity::count(q.limit as f64);
    match case.tcp.settings.somaxconn.map(u64::from) {
        Some(most) if q.limit >= most => sentence![
            "Up to ",
            limit,
            " may wait: the limit of net.core.somaxconn. A larger backlog in the application is cut to it silently.",
        ],
        Some(most) => sentence![
            "Up to ",
            limit,
            " may wait: the backlog that the process gave to listen(); net.core.somaxconn would allow ",
            Quantity::count(most as f64),
            ".",
        ],
        None => sentence!["Up to ", limit, " may wait."],
    }
}

fn wait(case: &Case<'_>) -> Option<Sentence> {
    let q = case.queue;
    let verdict = match case.pace()? {
        Pace::Slow => {
            ": the process is too slow in accepting; a longer queue only makes clients wait longer."
                .to_owned()
        }
        Pace::Overrun => format!(
            ": the process accepts at once, and still the queue was full at {} of {} looks: more arrive than it accepts. A \
             longer queue helps only if it is longer than all who come at once.",
            q.full, q.looks
        ),
        Pace::Bursts => {
            ": the process keeps up on average; the bursts are larger than the queue.".to_owned()
        }
    };
    if q.wait.is_empty() {
        return Some(sentence![
            "At ",
            per_second(case, case.accepted),
            " accepted, the ",
            Quantity::count(q.queue_max as f64),
            " that wait take ",
            Quantity::ns(case.wait_ns()?),
            verdict,
        ]);
    }
    Some(sentence![
        "From the end of the handshake to accept() it takes ",
        Quantity::ns(q.wait.quantile(0.5)),
        " (p50), ",
        Quantity::ns(q.wait.quantile(0.99)),
        " (p99)",
        verdict,
    ])
}

/// Unix: who was turned away.
fn clients(case: &Case<'_>) -> Option<Sentence> {
    let mut line = Vec::new();
    for client in case.turned_away().take(3) {
        line.push(
            if line.is_empty() {
                "Turned away: "
            } else {
                "; "
            }
            .into(),
        );
        line.extend(tcp::process(&client.process));
        line.extend([
            " ".into(),
            Piece::from(Quantity::count(client.count as f64)),
        ]);
    }
    if line.is_empty() {
        return None;
    }
    line.push(".".into());
    if case
        .turned_away()
        .any(|c| tcp::is_called(&c.process, "nginx"))
    {
        let log = " nginx logs EAGAIN as \"Resource temporarily unavailable\" and answers 502.";
        line.push(log.into());
    }
    Some(Sentence(line))
}

/// Numbers with the commands that confirm them.
pub(super) fn evidence(case: &Case<'_>) -> Vec<Evidence> {
    let q = case.queue;
    let count = |n: u64| Quantity::count(n as f64);
    let look = match (q.tcp, tcp::port(&q.address)) {
        (true, Some(port)) => format!("ss -ltn 'sport = :{port}'"),
        (true, None) => "ss -ltn".to_owned(),
        // A path is a name from the traced system: it stays out of commands.
        (false, _) => "ss -lx".to_owned(),
    };
    let counters = q
        .tcp
        .then(|| "nstat -az TcpExtListenOverflows TcpExtListenDrops".to_owned());
    let trace = case.turned_away().next().map(|c| {
        format!(
            "timeout 10 strace -f -e trace=connect -e status=failed -p {}",
            c.process.pid
        )
    });
    let mut list = Vec::new();
    if q.looks > 0 {
        list.extend([
            tcp::item("queue", "limit", count(q.limit), Some(look)),
            tcp::item("queue", "most waiting", count(q.queue_max), None),
            tcp::item("queue", "full at looks", count(q.full), None),
            tcp::item("queue", "of", count(q.looks), None),
        ]);
    }
    let about = "turned away";
    list.extend([
        tcp::item(about, "overflows", count(q.overflows), counters.or(trace)),
        tcp::item(about, "rate", per_second(case, q.overflows), None),
    ]);
    if case.accepted > 0 {
        list.push(tcp::item(
            "accepted",
            "connections",
            count(case.accepted),
            None,
        ));
        list.push(tcp::item(
            "accepted",
            "rate",
            per_second(case, case.accepted),
            None,
        ));
    }
    if !q.wait.is_empty() {
        let about = "wait";
        list.push(tcp::item(
            about,
            "p50",
            Quantity::ns(q.wait.quantile(0.5)),
            None,
        ));
        list.push(tcp::item(
            about,
            "p99",
            Quantity::ns(q.wait.quantile(0.99)),
            None,
        ));
        list.push(tcp::item(
            about,
            "longest",
            Quantity::ns(q.wait.quantile(1.0)),
            None,
        ));
    }
    if let Some(most) = case.tcp.settings.somaxconn {
        let command = "sysctl net.core.somaxconn".to_owned();
        list.push(tcp::item(
            "limits",
            "somaxconn",
            count(most.into()),
            Some(command),
        ));
    }
    list
}
