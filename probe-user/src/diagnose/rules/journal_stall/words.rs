//! What S01 says: the sentences and the proof.

use super::{Case, Victim, tcp};
use crate::{
    aggregate::journal::{Disk, Journal, Sleep, WaitsFor, told},
    diagnose::{Evidence, Piece, Place, Quantity, Sentence, rules::storage, sentence},
};

/// One line for the finding.
pub(super) fn title(case: &Case<'_>) -> String {
    let name = String::from_utf8_lossy(&case.disk.name);
    if case.own_data {
        format!("Tasks wait in fsync on {name}: for their own data, before the commit")
    } else {
        format!("Tasks wait for the journal of {name}")
    }
}

/// That more file systems are in the same state.
pub(super) fn more(n: usize) -> Sentence {
    sentence![
        "So it is with ",
        Quantity::count(n as f64),
        " more file systems."
    ]
}

/// Why nothing is said, and what can be said.
pub(super) fn no_journal(journal: &Journal) -> String {
    let mut text = "no ext4 file system is mounted".to_owned();
    let mut names: Vec<String> = journal
        .unwatched
        .iter()
        .map(|m| {
            let (fs_type, at) = (&m.fs_type, &m.mount_point);
            format!(
                "{} on {}",
                String::from_utf8_lossy(fs_type),
                String::from_utf8_lossy(at)
            )
        })
        .collect();
    names.truncate(3);
    if !names.is_empty() {
        text.push_str(&format!(
            "; {}: a log of its own, which is not watched (`stallscope fs` shows fsync and who sleeps in D)",
            names.join(", ")
        ));
    }
    text
}

/// The file system as a culprit's place.
pub(super) fn place(disk: &Disk) -> Place {
    let mount_point = disk.mount.as_ref().map(|m| m.mount_point.clone());
    Place {
        device: disk.device,
        source: disk.name.clone(),
        mount_point: mount_point.unwrap_or_default(),
        directory: None,
    }
}

/// The headline, the commits and why they come, what they spend their time on, and what the numbers cover.
pub(super) fn summary(case: &Case<'_>) -> Vec<Sentence> {
    let mut lines = vec![headline(case)];
    lines.extend(proof(case));
    lines.push(commits(case));
    lines.extend(reason(case));
    lines.extend(phases(case));
    lines.extend(covers(case));
    lines.push(options(case.disk));
    lines
}

fn headline(case: &Case<'_>) -> Sentence {
    let at = disk(case.disk);
    let Some(first) = case.victims.first() else {
        return Sentence(at);
    };
    let what = if case.by_stacks { " slept " } else { " spent " };
    let behind = if case.by_stacks {
        " in D state behind the journal of "
    } else {
        " in fsync on "
    };
    let mut line = storage::team(first.team);
    match (first.group, first.request_share()) {
        (Some(group), Some(share)) => {
            let requests = group.all_requests().max(1);
            line.extend([
                what.into(),
                Quantity::ns(first.lost_ns / requests).into(),
                " of ".into(),
                Quantity::ns(group.all_wall_ns() / requests).into(),
                " per request (".into(),
                Quantity::ratio(share).into(),
                ")".into(),
            ]);
        }
        _ => line.extend([
            what.into(),
            Quantity::ns(first.lost_ns).into(),
            " in ".into(),
            Quantity::ns(case.window.duration_ns).into(),
        ]),
    }
    line.push(behind.into());
    line.extend(at);
    let others = case.victims.len() - 1;
    if others > 0 {
        line.extend([
            "; ".into(),
            Quantity::count(others as f64).into(),
            " more wait as well".into(),
        ]);
    }
    line.push(".".into());
    Sentence(line)
}

/// `/dev/nvme0n1p3 (/var/www/uploads, ext4)`.
fn disk(disk: &Disk) -> Vec<Piece> {
    let mut words = vec![Piece::Name(disk.name.clone())];
    if let Some(mount) = &disk.mount {
        words.extend([
            " (".into(),
            Piece::Name(mount.mount_point.clone()),
            ", ".into(),
            Piece::Name(mount.fs_type.clone()),
            ")".into(),
        ]);
    }
    words
}

/// `37 of 40 sleeps: ext4_sync_file > jbd2_log_wait_commit`.
fn proof(case: &Case<'_>) -> Option<Sentence> {
    let victim = case.victims.first()?;
    let longest = |s: &&&Sleep| s.total_ns();
    let sleep = victim.sleeps.iter().max_by_key(longest)?;
    let mut line = sentence![
        "Proof: ",
        Quantity::count(victim.count() as f64),
        " of its ",
        Quantity::count(victim.all_sleeps as f64),
        " sleeps, the longest ",
        Quantity::ns(victim.longest_ns()),
    ];
    let path = told(&sleep.stack);
    if !path.is_empty() {
        line.0
            .extend([", most in ".into(), Piece::Name(path.into_bytes())]);
    }
    line.0.push(".".into());
    Some(line)
}

fn commits(case: &Case<'_>) -> Sentence {
    let c = &case.disk.commits;
    if c.total.count == 0 {
        return sentence![
            "One commit has been under way for ",
            Quantity::ns(c.under_way_ns.unwrap_or(0)),
            "; none ended."
        ];
    }
    let mut line = tcp::join([
        tcp::number_of(c.total.count, "commit", "commits").to_vec(),
        vec![
            ": p50 ".into(),
            Quantity::ns(c.quantiles_ns[0]).into(),
            ", p95 ".into(),
            Quantity::ns(c.quantiles_ns[1]).into(),
            ", p99 ".into(),
            Quantity::ns(c.quantiles_ns[2]).into(),
            ", longest ".into(),
            Quantity::ns(c.total.max_ns).into(),
        ],
    ]);
    if let Some(ns) = c.under_way_ns.filter(|ns| *ns >= super::SLOW_NS) {
        line.0.extend([
            "; one more has been under way for ".into(),
            Quantity::ns(ns).into(),
        ]);
    }
    line.0.push(
        if c.exact {
            " (each was timed)."
        } else {
            " (from a histogram, to an eighth)."
        }
        .into(),
    );
    line
}

/// Why commits come: fsync, or the timer.
fn reason(case: &Case<'_>) -> Option<Sentence> {
    let disk = case.disk;
    let interval = &disk.commits.interval;
    if interval.count == 0 {
        return None;
    }
    let seconds = tcp::seconds(case.window);
    let every = Quantity::ns(interval.mean_ns());
    let timer = disk.commit_interval_s();
    let mut line = sentence!["One starts every ", every];
    if super::advice::asked_for(disk) {
        let by: Vec<Vec<Piece>> = disk
            .syncs
            .iter()
            .take(3)
            .map(|s| {
                let mut words = storage::team(&s.team);
                words.extend([
                    " ".into(),
                    Quantity::per_second(s.calls.count as f64 / seconds).into(),
                ]);
                words
            })
            .collect();
        line.0
            .push(format!(", because of fsync, not of commit={timer}: ").into());
        for (n, words) in by.into_iter().enumerate() {
            if n > 0 {
                line.0.push(", ".into());
            }
            line.0.extend(words);
        }
        line.0.push(".".into());
    } else {
        line.0.push(
            format!(": the timer (commit={timer}) and full transactions start them, hardly fsync.")
                .into(),
        );
    }
    Some(line)
}

fn phases(case: &Case<'_>) -> Option<Sentence> {
    let c = &case.disk.commits;
    let all = c.total.total_ns;
    if c.total.count == 0 || all == 0 {
        return None;
    }
    let share = |ns: u64| Quantity::ratio(tcp::share(ns, all));
    let blocks = c.blocks_logged as f64 / c.total.count as f64;
    Some(sentence![
        "Of their time, ",
        share(c.logging.total_ns),
        " is writing the journal (",
        Quantity::count(blocks),
        " blocks each), ",
        share(c.flushing.total_ns),
        " writing out data of files, ",
        share(c.locking.total_ns),
        " waiting for changes under way.",
    ])
}

/// Which part of the caller's wait the numbers cover.
fn covers(case: &Case<'_>) -> Option<Sentence> {
    let victim: &Victim<'_> = case.victims.first()?;
    let syncs = case.disk.syncs.iter().find(|s| s.team.is(victim.team))?;
    let sleeps = case
        .journal
        .sleeps
        .iter()
        .filter(|s| s.team.is(victim.team));
    let commits = sleeps.filter(|s| s.waits_for == WaitsFor::Commit);
    let commit: u64 = commits.map(Sleep::total_ns).sum();
    let fsync = syncs.calls.total_ns;
    if syncs.calls.count == 0 {
        return None;
    }
    if !super::stacks_known(case.window, case.journal) {
        return Some(sentence![
            "Its ",
            Quantity::ns(fsync),
            " in fsync are the whole wait: first the caller writes its own data, then it waits for the commit; how \
             it divides is not known here.",
        ]);
    }
    Some(sentence![
        "Of its ",
        Quantity::ns(fsync),
        " in fsync, ",
        Quantity::ns(commit.min(fsync)),
        " were asleep for a commit; in the rest the caller writes its own data, before the commit starts (data=",
        Piece::Name(case.disk.data_mode().into_bytes()),
        "), which no phase of a commit shows.",
    ])
}

fn options(disk: &Disk) -> Sentence {
    let Some(mount) = &disk.mount else {
        return "It is not mounted where this looks: its options are not known.".into();
    };
    sentence![
        "Mounted with ",
        Piece::Name(mount.super_options.clone()),
        ": data=",
        Piece::Name(disk.data_mode().into_bytes()),
        format!(", commit={}.", disk.commit_interval_s()),
    ]
}

/// Numbers with the commands that confirm them.
pub(super) fn evidence(case: &Case<'_>) -> Vec<Evidence> {
    let (disk, c) = (case.disk, &case.disk.commits);
    let count = |n: u64| Quantity::count(n as f64);
    let mut list = Vec::new();
    let info = Some("cat /proc/fs/jbd2/*/info".to_owned());
    list.push(tcp::item("commit", "ended", count(c.total.count), info));
    if c.total.count > 0 {
        for (text, ns) in [
            ("p50", c.quantiles_ns[0]),
            ("p95", c.quantiles_ns[1]),
            ("p99", c.quantiles_ns[2]),
            ("longest", c.total.max_ns),
        ] {
            list.push(tcp::item("commit", text, Quantity::ns(ns), None));
        }
        for (text, ns) in [
            ("locking", c.locking.mean_ns()),
            ("flushing", c.flushing.mean_ns()),
            ("logging", c.logging.mean_ns()),
        ] {
            list.push(tcp::item("phases", text, Quantity::ns(ns), None));
        }
    }
    if let Some(ns) = c.under_way_ns {
        list.push(tcp::item("commit", "under way for", Quantity::ns(ns), None));
    }
    let all = disk.all_syncs();
    if all.count > 0 {
        let pid = disk.syncs.first().and_then(|s| s.team.pids.first());
        let trace =
            pid.map(|pid| format!("timeout 10 strace -f -T -e trace=fsync,fdatasync -p {pid}"));
        let at = |q| Quantity::ns(all.durations.quantile(q));
        list.extend([
            tcp::item("fsync", "calls", count(all.count), trace),
            tcp::item("fsync", "p50", at(0.5), None),
            tcp::item("fsync", "p99", at(0.99), None),
            tcp::item("fsync", "longest", Quantity::ns(all.max_ns), None),
        ]);
    }
    for victim in case.victims.iter().take(3) {
        let lost = Evidence {
            about: "lost",
            text: Sentence(storage::team(victim.team)),
            value: Quantity::ns(victim.lost_ns),
            command: None,
        };
        list.push(lost);
    }
    let asleep: u64 = case
        .victims
        .iter()
        .flat_map(|v| &v.sleeps)
        .map(|s| s.asleep)
        .sum();
    if case.by_stacks {
        let ps = "ps -eo state,pid,comm,wchan:32 | grep ^D";
        let item = tcp::item("asleep", "at the end", count(asleep), Some(ps.to_owned()));
        list.push(item);
    }
    for changes in disk.changes.iter().take(2) {
        list.push(Evidence {
            about: "changes",
            text: Sentence(storage::team(&changes.team)),
            value: count(changes.blocks),
            command: None,
        });
    }
    list
}
