//! What S02 says: the sentences and the proof.

use super::{Case, Cost, tcp};
use crate::diagnose::{Evidence, Piece, Quantity, Sentence, rules::storage, sentence};

/// Seconds of a day.
const DAY_S: f64 = 86_400.0;

/// One line for the finding.
pub(super) fn title(case: &Case<'_>) -> String {
    match case.cost {
        Cost::Inodes => "Many small files are created, and the inodes end".to_owned(),
        Cost::Journal => "Many small files are created, and keep the journal busy".to_owned(),
        Cost::Sync => "Many small files are created, and each is waited for".to_owned(),
        Cost::Request => "Each request creates many small files".to_owned(),
        Cost::None => "Many small files are created quickly".to_owned(),
    }
}

/// That more teams do so.
pub(super) fn more(n: usize) -> Sentence {
    sentence!["So do ", Quantity::count(n as f64), " more."]
}

/// The headline, what it means for requests, and what stays behind.
pub(super) fn summary(case: &Case<'_>) -> Vec<Sentence> {
    let mut lines = vec![headline(case)];
    lines.extend(per_request(case));
    lines.extend(syncs(case));
    lines.push(kept(case));
    lines.extend(names(case));
    lines
}

fn headline(case: &Case<'_>) -> Sentence {
    let work = case.work();
    let mut line = storage::team(&work.team);
    line.extend([
        " creates ".into(),
        Quantity::count(work.created as f64).into(),
        " files".into(),
    ]);
    match &work.path {
        Some(path) => line.extend([" in ".into(), Piece::Name(path.clone())]),
        None => line.push(" in a directory that is not known".into()),
    }
    if case.creator.directories > 1 {
        line.extend([
            " (".into(),
            Quantity::count(case.creator.directories as f64).into(),
            " directories)".into(),
        ]);
    }
    line.extend([", ".into(), Quantity::per_second(case.per_s()).into()]);
    if case.sizes_known() {
        line.extend([
            ", of ".into(),
            Quantity::bytes(work.sizes.quantile(0.5)).into(),
            " at the median".into(),
        ]);
    }
    line.push(".".into());
    Sentence(line)
}

fn per_request(case: &Case<'_>) -> Option<Sentence> {
    let each = case.per_request()?;
    Some(sentence![
        "That is ",
        Quantity::count(each),
        " for each of its ",
        Quantity::count(case.requests() as f64),
        " requests.",
    ])
}

fn syncs(case: &Case<'_>) -> Option<Sentence> {
    let syncs = &case.work().syncs;
    if syncs.count == 0 {
        return None;
    }
    let (cost, of_requests) = case.sync_cost();
    let mut line = sentence![
        "It calls fsync ",
        Quantity::count(syncs.count as f64),
        " times on them, ",
        Quantity::ns(syncs.mean_ns()),
        " each on average: ",
    ];
    line.0.extend(if of_requests {
        vec![Quantity::ratio(cost).into(), " of its request time.".into()]
    } else {
        vec![
            Quantity::ns(syncs.total_ns).into(),
            " of waiting in all.".into(),
        ]
    });
    Some(line)
}

/// What stays, and what that adds up to.
fn kept(case: &Case<'_>) -> Sentence {
    let work = case.work();
    let grown = work.grown();
    if grown <= 0 {
        return "It removes as many as it creates.".into();
    }
    let per_s = grown as f64 / case.seconds();
    let mut line = if work.unlinked == 0 {
        sentence!["It removes none: "]
    } else {
        sentence![
            "It removes ",
            Quantity::count(work.unlinked as f64),
            " of them: "
        ]
    };
    line.0.extend([
        Quantity::per_second(per_s).into(),
        " x 86,400 s = ".into(),
        Quantity::count((per_s * DAY_S).round()).into(),
        " a day".into(),
    ]);
    if let Some(fs) = case.fs.filter(|fs| fs.inodes > 0) {
        line.0.extend([
            ", of ".into(),
            Quantity::count(fs.free_inodes as f64).into(),
            " inodes that are free on ".into(),
            Piece::Name(fs.mount.mount_point.clone()),
        ]);
    }
    line.0.push(".".into());
    line
}

fn names(case: &Case<'_>) -> Option<Sentence> {
    let examples = &case.work().examples;
    let mut line = vec![Piece::from("Names such as ")];
    for (n, name) in examples.iter().take(3).enumerate() {
        if n > 0 {
            line.push(", ".into());
        }
        line.push(Piece::Name(name.clone()));
    }
    line.push(".".into());
    (!examples.is_empty()).then_some(Sentence(line))
}

/// Numbers with the commands that confirm them.
pub(super) fn evidence(case: &Case<'_>) -> Vec<Evidence> {
    let work = case.work();
    let count = |n: u64| Quantity::count(n as f64);
    let trace =
        work.team.pids.first().map(|pid| {
            format!("timeout 10 strace -f -e trace=openat -p {pid} 2>&1 | grep -c O_CREAT")
        });
    let mut list = vec![
        tcp::item("files", "created", count(work.created), trace),
        tcp::item("files", "rate", Quantity::per_second(case.per_s()), None),
        tcp::item("files", "removed", count(work.unlinked), None),
    ];
    if let Some(each) = case.per_request() {
        list.push(tcp::item(
            "files",
            "per request",
            Quantity::count(each),
            None,
        ));
    }
    // Of all teams together: the kernel side tells how creations grew, not whose they were.
    list.push(tcp::item(
        "files",
        "worst tenth of a second, everybody's",
        Quantity::per_second(case.files.peak_per_s),
        None,
    ));
    if case.sizes_known() {
        let sizes = &work.sizes;
        for (text, n) in [
            ("p50", sizes.quantile(0.5)),
            ("p95", sizes.quantile(0.95)),
            ("largest", sizes.max_bytes),
            ("in all", sizes.total_bytes),
        ] {
            list.push(tcp::item("sizes", text, Quantity::bytes(n), None));
        }
        list.push(tcp::item("sizes", "known of", count(sizes.count), None));
    }
    if work.syncs.count > 0 {
        let trace = work
            .team
            .pids
            .first()
            .map(|pid| format!("timeout 10 strace -f -c -e trace=fsync,fdatasync -p {pid}"));
        let syncs = &work.syncs;
        list.extend([
            tcp::item("fsync", "calls", count(syncs.count), trace),
            tcp::item(
                "fsync",
                "p50",
                Quantity::ns(syncs.durations.quantile(0.5)),
                None,
            ),
            tcp::item(
                "fsync",
                "p99",
                Quantity::ns(syncs.durations.quantile(0.99)),
                None,
            ),
            tcp::item("fsync", "in all", Quantity::ns(syncs.total_ns), None),
        ]);
    }
    list
}
