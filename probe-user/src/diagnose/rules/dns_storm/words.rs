//! What U02 says: the sentences and the proof.

use super::{Case, Lost, Shape, is_at};
use crate::{
    aggregate::dns::{GroupId, rcode_name, type_name},
    diagnose::{Evidence, Piece, Quantity, Sentence, rules::tcp, sentence},
};

/// Names and groups told in a sentence.
const NAMED: usize = 3;

/// One line for the finding.
pub(super) fn title(case: &Case<'_>) -> String {
    match case.shape() {
        Shape::Dropped if case.is_storm() => {
            "Lookups are lost: a storm of identical ones overflows the DNS server's buffer"
        }
        Shape::Dropped => "Lookups are lost in the DNS server's receive buffer",
        Shape::Refused => "Nobody listens at the address of a DNS server",
        Shape::Silent => "A DNS server does not answer",
        Shape::Storm if case.in_vain() > 0 => {
            "A storm of identical lookups, and some are never answered"
        }
        Shape::Storm => "A storm of identical lookups: answers come late",
        Shape::Lossy => "Some lookups are never answered",
        Shape::Slow => "A DNS server answers slowly",
    }
    .to_owned()
}

/// That more servers are in the same state.
pub(super) fn more(n: usize) -> Sentence {
    sentence![
        "So it is with ",
        Quantity::count(n as f64),
        " more servers."
    ]
}

fn count(n: u64) -> Quantity {
    Quantity::count(n as f64)
}

fn per_second(case: &Case<'_>, n: u64) -> Quantity {
    Quantity::per_second(n as f64 / tcp::seconds(case.window))
}

/// A group in a sentence.
fn group(of: &GroupId) -> [Piece; 2] {
    let what = if of.php_fpm { "pool " } else { "" };
    [what.into(), Piece::Name(of.name.clone())]
}

/// The headline, what it cost, what was asked, and what became of it.
pub(super) fn summary(case: &Case<'_>) -> Vec<Sentence> {
    let mut lines = vec![headline(case)];
    lines.extend(cost(case));
    lines.extend(overdue(case));
    lines.push(asked(case));
    lines.extend(drops(case));
    lines.extend(latency(case));
    lines.extend(search(case));
    lines.extend(stub(case));
    lines
}

fn headline(case: &Case<'_>) -> Sentence {
    let s = case.sums();
    let server = Piece::from(&case.server.peer);
    match case.shape() {
        Shape::Slow => sentence![
            "Half of the ",
            count(s.answered),
            " answers of ",
            server,
            " took ",
            Quantity::ns(case.median_ns()),
            " or more.",
        ],
        Shape::Refused => sentence![
            count(s.refused),
            " of ",
            count(s.asked),
            " questions to ",
            server,
            " were refused at once: nobody listens there.",
        ],
        Shape::Storm if case.in_vain() == 0 => sentence![
            "The slowest hundredth of the ",
            count(s.answered),
            " answers of ",
            server,
            " took ",
            Quantity::ns(s.latency.durations.quantile(0.99)),
            " or more.",
        ],
        _ => sentence![
            count(case.in_vain()),
            " of ",
            count(s.asked),
            " questions to ",
            server,
            " (",
            Quantity::ratio(case.in_vain_share()),
            ") had no answer in time.",
        ],
    }
}

/// Lost seconds by group and per request.
fn cost(case: &Case<'_>) -> Option<Sentence> {
    let lost = case.lost();
    if lost.is_empty() {
        return None;
    }
    let mut line = sentence!["Waiting in vain took "];
    for (n, one) in lost.iter().take(NAMED).enumerate() {
        line.0.extend(loss(one, n == 0));
    }
    if lost.len() > NAMED {
        let text = format!("; and so it did {} more", lost.len() - NAMED);
        line.0.push(text.into());
    }
    line.0.push(".".into());
    Some(line)
}

fn loss(lost: &Lost<'_>, first: bool) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = if first { vec![] } else { vec!["; ".into()] };
    pieces.extend([Quantity::ns(lost.ns).into(), " of ".into()]);
    pieces.extend(group(lost.group));
    pieces.push(": ".into());
    pieces.extend(tcp::number_of(lost.count, "wait", "waits"));
    pieces.extend([
        " of ".into(),
        Quantity::ns(lost.ns / lost.count.max(1)).into(),
        " on average".into(),
    ]);
    if let Some(each) = lost.per_request_ns() {
        pieces.extend([", ".into(), Quantity::ns(each).into(), " a request".into()]);
    }
    if let Some(share) = lost.share() {
        pieces.extend([
            " (".into(),
            Quantity::ratio(share).into(),
            " of its time)".into(),
        ]);
    }
    pieces
}

/// Who still waits.
fn overdue(case: &Case<'_>) -> Option<Sentence> {
    let first = case.overdue.first()?;
    let mut line = Vec::from(tcp::number_of(
        case.overdue.len() as u64,
        "thread",
        "threads",
    ));
    line.extend([
        " waited still when the window ended, the longest for ".into(),
        Quantity::ns(first.for_ns).into(),
        " of it.".into(),
    ]);
    Some(Sentence(line))
}

/// How many, how fast, how often the same.
fn asked(case: &Case<'_>) -> Sentence {
    let s = case.sums();
    let mut line = sentence![
        "Asked: ",
        per_second(case, s.asked),
        ", all servers together up to ",
        Quantity::per_second(case.dns.peak_per_s),
        " in the worst tenth of a second",
    ];
    if s.duplicates > 0 {
        line.0.extend([
            "; ".into(),
            count(s.duplicates).into(),
            " (".into(),
            Quantity::ratio(tcp::share(s.duplicates, s.asked)).into(),
            ") asked what someone here had asked less than a second before".into(),
        ]);
    }
    if s.retried > 0 {
        line.0
            .extend(["; ".into(), count(s.retried).into(), " were retries".into()]);
    }
    line.0.push(". Most asked for: ".into());
    line.0.extend(names(case));
    line.0.push(".".into());
    line
}

/// The names most asked for, with their types and who asks.
fn names(case: &Case<'_>) -> Vec<Piece> {
    // By name, all types together.
    let mut by_name: Vec<(&[u8], Vec<u16>, u64, &GroupId)> = Vec::new();
    for row in &case.rows {
        let Some(name) = &row.name else { continue };
        match by_name
            .iter_mut()
            .find(|n| n.0 == &**name && n.3 == &row.group)
        {
            Some(known) => {
                known.2 += row.sums.asked;
                known.1.push(row.qtype);
            }
            None => by_name.push((name, vec![row.qtype], row.sums.asked, &row.group)),
        }
    }
    by_name.sort_by_key(|n| std::cmp::Reverse(n.2));
    let mut pieces = Vec::new();
    for (n, (name, types, asked, by)) in by_name.iter_mut().take(NAMED).enumerate() {
        if n > 0 {
            pieces.push(", ".into());
        }
        types.sort_unstable();
        types.dedup();
        let types: Vec<String> = types.iter().map(|t| qtype(*t)).collect();
        pieces.extend([
            Piece::Name(if name.is_empty() {
                b".".to_vec()
            } else {
                name.to_vec()
            }),
            format!(" ({}) ", types.join(", ")).into(),
            count(*asked).into(),
            " by ".into(),
        ]);
        pieces.extend(group(by));
    }
    if by_name.is_empty() {
        pieces.push("names that found no place".into());
    } else if by_name.len() > NAMED {
        pieces.push(format!(" and {} more", by_name.len() - NAMED).into());
    }
    pieces
}

/// A type by name or number.
pub(super) fn qtype(qtype: u16) -> String {
    type_name(qtype).map_or_else(|| format!("TYPE{qtype}"), str::to_owned)
}

/// What the server's own socket did.
fn drops(case: &Case<'_>) -> Option<Sentence> {
    let Some(socket) = case.drops else {
        return queued(case);
    };
    let mut line = sentence![
        "The server's own socket here dropped ",
        count(socket.drops),
        " datagrams in that time",
    ];
    line.0.push(
        if case.shape() == Shape::Dropped {
            ": that is where they were lost (U01)."
        } else {
            ", too few to explain it."
        }
        .into(),
    );
    Some(line)
}

/// That the server's own socket dropped nothing, where it is here and was looked at.
fn queued(case: &Case<'_>) -> Option<Sentence> {
    let udp = case.window.udp.as_ref()?;
    udp.agreement.traced?;
    let mut queues = udp.queues.iter();
    let queue = queues.find(|q| q.remote.is_none() && is_at(q.local, &case.server.peer))?;
    Some(sentence![
        "The server's own socket here dropped nothing; at most ",
        Quantity::bytes(queue.max_bytes),
        " were queued there.",
    ])
}

/// How long answers took.
fn latency(case: &Case<'_>) -> Option<Sentence> {
    let s = case.sums();
    if s.latency.count == 0 {
        return None;
    }
    let of = &s.latency.durations;
    let mut line = sentence![
        "The answers that came took ",
        Quantity::ns(of.quantile(0.5)),
        " (p50), ",
        Quantity::ns(of.quantile(0.99)),
        " (p99), from the last retry on",
    ];
    let bad: Vec<(usize, u64)> = (1..s.rcodes.len())
        .map(|code| (code, s.rcodes[code]))
        .filter(|(_, n)| *n > 0)
        .collect();
    for (code, n) in bad {
        let name = rcode_name(code).map_or_else(|| format!("RCODE {code}"), str::to_owned);
        line.0
            .extend(["; ".into(), count(n).into(), format!(" {name}").into()]);
    }
    if s.truncated > 0 {
        line.0
            .extend(["; ".into(), count(s.truncated).into(), " cut off".into()]);
    }
    line.0.push(".".into());
    Some(line)
}

/// What search domains add.
fn search(case: &Case<'_>) -> Option<Sentence> {
    let of = case.group()?;
    let client = case.dns.clients.iter().find(|c| c.group == *of)?;
    if client.expanded == 0 {
        return None;
    }
    let mut line = sentence![count(client.expanded), " questions of "];
    line.0.extend(group(of));
    line.0.push(
        " were for a name with a search domain behind it, which does not exist: resolv.conf makes several \
         questions of one lookup."
            .into(),
    );
    Some(line)
}

/// Behind a stub on loopback there is another server.
fn stub(case: &Case<'_>) -> Option<Sentence> {
    let local = tcp::is_loopback(&case.server.peer);
    (local && matches!(case.shape(), Shape::Slow | Shape::Lossy | Shape::Silent | Shape::Storm)).then(|| {
        "The server is on this machine: it may wait itself for those that it asks; its questions are in \
         `stallscope dns` as well."
            .into()
    })
}

/// Numbers with the commands that confirm them.
pub(super) fn evidence(case: &Case<'_>) -> Vec<Evidence> {
    let s = case.sums();
    let watch = "timeout 10 tcpdump -lni any port 53".to_owned();
    let mut list = vec![
        tcp::item("questions", "asked", count(s.asked), Some(watch)),
        tcp::item("questions", "answered", count(s.answered), None),
        tcp::item("questions", "unanswered", count(s.unanswered), None),
        tcp::item("questions", "retries", count(s.retried), None),
        tcp::item("questions", "duplicates", count(s.duplicates), None),
    ];
    if s.timed_out.count > 0 {
        let trace = case.example_pid().map(|pid| {
            format!("timeout 10 strace -f -T -e trace=sendto,sendmmsg,poll,ppoll,recvfrom -p {pid}")
        });
        let of = &s.timed_out;
        list.extend([
            tcp::item("time-outs", "waits", count(of.count), trace),
            tcp::item("time-outs", "in all", Quantity::ns(of.total_ns), None),
            tcp::item(
                "time-outs",
                "p50",
                Quantity::ns(of.durations.quantile(0.5)),
                None,
            ),
            tcp::item(
                "time-outs",
                "longest",
                Quantity::ns(of.durations.quantile(1.0)),
                None,
            ),
        ]);
    }
    for lost in case.lost().iter().take(NAMED) {
        if let Some(each) = lost.per_request_ns() {
            list.push(tcp::item("lost", "a request", Quantity::ns(each), None));
        }
    }
    if s.latency.count > 0 {
        let of = &s.latency.durations;
        list.extend([
            tcp::item("answers", "p50", Quantity::ns(of.quantile(0.5)), None),
            tcp::item("answers", "p99", Quantity::ns(of.quantile(0.99)), None),
            tcp::item("answers", "longest", Quantity::ns(of.quantile(1.0)), None),
        ]);
    }
    list
}
