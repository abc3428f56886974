//! What S03 says: the sentences and the proof.

use super::{Case, Kind, NEARLY_NONE, Resource, devices, most_used, read_only, tcp};
use crate::{
    aggregate::files::{FileSystem, Files, Trend},
    diagnose::{Evidence, Piece, Quantity, Sentence, rules::storage, sentence},
};

/// One line for the finding.
pub(super) fn title(case: &Case<'_>) -> String {
    let what = match case.resource {
        Resource::Inodes => "inodes",
        Resource::Blocks => "blocks",
    };
    match (case.kind, case.resource) {
        (Kind::Refused, Resource::Inodes) => {
            "No space left on device: the inodes are used up, the blocks are not".to_owned()
        }
        (Kind::Refused, Resource::Blocks) => {
            "No space left on device: the blocks are used up".to_owned()
        }
        (Kind::NearlyNone, _) => format!("Nearly all {what} of a file system are in use"),
        (Kind::Ahead | Kind::Far, Resource::Inodes) => {
            "A file system runs out of inodes before it runs out of blocks".to_owned()
        }
        (Kind::Ahead | Kind::Far, Resource::Blocks) => {
            "A file system runs out of blocks".to_owned()
        }
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

/// What cannot be judged, and why.
pub(super) fn not_judged(files: &Files) -> Vec<String> {
    let mut out = Vec::new();
    let name = |fs: &FileSystem| String::from_utf8_lossy(&fs.mount.mount_point).into_owned();
    for fs in files.file_systems.iter().filter(|fs| fs.inodes == 0) {
        let devices: Vec<_> = devices(files, fs).collect();
        let on_it = |d| devices.contains(&d);
        let busy = files
            .creators
            .iter()
            .any(|c| on_it(c.work.device) && c.work.created > 0);
        if busy && fs.mount.fs_type == b"btrfs" {
            out.push(format!(
                "{} is btrfs, which has no fixed number of inodes: only its space can run out",
                name(fs)
            ));
        }
    }
    for refused in &files.refused {
        let errno = i32::try_from(refused.errno).unwrap_or(0);
        let fs = refused.device.and_then(|d| storage::file_system(files, d));
        let at = fs.map_or_else(|| "a file system that is not known".to_owned(), name);
        let times = refused.count;
        let who = String::from_utf8_lossy(&refused.team.name).into_owned();
        let call = refused.call;
        if errno == libc::EDQUOT {
            out.push(format!(
                "{times} {call} of {who} on {at} failed with EDQUOT: a quota is used up, not the file system"
            ));
            continue;
        }
        let Some(fs) = fs else {
            out.push(format!(
                "{times} {call} of {who} on {at} failed with ENOSPC"
            ));
            continue;
        };
        let nearly = |resource| most_used(fs, resource) >= NEARLY_NONE;
        if !nearly(Resource::Inodes) && !nearly(Resource::Blocks) && !read_only(fs) {
            out.push(format!(
                "{times} {call} of {who} on {at} failed with ENOSPC though inodes and blocks were free at every \
                 look: a full directory index, a project quota, or a cleanup between two looks"
            ));
        }
    }
    out
}

/// The headline, the other resource, and who takes them.
pub(super) fn summary(case: &Case<'_>) -> Vec<Sentence> {
    let mut lines = vec![headline(case), other(case)];
    lines.extend(creators(case));
    let fs = case.fs;
    if case.resource == Resource::Inodes && fs.mount.fs_type == b"xfs" {
        lines.push(
            "xfs makes inodes from free space as they are needed: the number is how many it could still make."
                .into(),
        );
    }
    if storage::in_memory(&fs.mount) {
        lines.push(
            "It is in memory: what is in it takes RAM or swap, and is gone after a reboot.".into(),
        );
    }
    lines
}

fn headline(case: &Case<'_>) -> Sentence {
    let fs = case.fs;
    let of = [vec![" of ".into()], storage::mount(&fs.mount)].concat();
    match case.kind {
        Kind::Refused => {
            let calls = tcp::number_of(case.refusals(), "call was", "calls were").to_vec();
            let who = case.refused.first();
            let who = who.map(|r| {
                let mut words = vec![" of ".into()];
                words.extend(storage::team(&r.team));
                words
            });
            let free = free(case);
            tcp::join([
                calls,
                vec![" refused with ENOSPC on ".into()],
                storage::mount(&fs.mount),
                vec![": ".into()],
                free,
                who.map_or(Vec::new(), |who| {
                    let mut words: Vec<Piece> = vec!["; most calls were".into()];
                    words.extend(who);
                    words
                }),
                vec![".".into()],
            ])
        }
        Kind::NearlyNone => tcp::join([free(case), of, vec![".".into()]]),
        Kind::Ahead | Kind::Far => {
            let what = if case.resource == Resource::Inodes {
                "The inodes"
            } else {
                "The blocks"
            };
            tcp::join([
                vec![what.into()],
                of,
                vec![" end in ".into(), storage::time(case.left()).into()],
                between(case.trend()),
                vec![": ".into()],
                free(case),
                vec![", and ".into()],
                pace(case.trend(), case.resource),
                vec![" more are taken each second.".into()],
            ])
        }
    }
}

/// ` (31 s to 1 m 10 s at the paces seen)`.
fn between(trend: &Trend) -> Vec<Piece> {
    match trend.left_between() {
        Some((soonest, Some(latest))) => vec![
            " (".into(),
            storage::time(soonest).into(),
            " to ".into(),
            storage::time(latest).into(),
            " at the paces seen)".into(),
        ],
        Some((soonest, None)) => vec![
            " (".into(),
            storage::time(soonest).into(),
            " at the fastest pace seen; it comes in bursts)".into(),
        ],
        None => Vec::new(),
    }
}

fn pace(trend: &Trend, resource: Resource) -> Vec<Piece> {
    vec![match resource {
        Resource::Inodes => Quantity::count(trend.per_s).into(),
        Resource::Blocks => Quantity::bytes(trend.per_s.max(0.0) as u64).into(),
    }]
}

/// `0 of 65,536 inodes are free`.
fn free(case: &Case<'_>) -> Vec<Piece> {
    let fs = case.fs;
    match case.resource {
        Resource::Inodes => vec![
            Quantity::count(fs.free_inodes as f64).into(),
            " of ".into(),
            Quantity::count(fs.inodes as f64).into(),
            " inodes are free".into(),
        ],
        Resource::Blocks => vec![
            Quantity::bytes(fs.available_bytes).into(),
            " of ".into(),
            Quantity::bytes(fs.total_bytes).into(),
            " are free".into(),
        ],
    }
}

/// What is left of the other resource, and how long that lasts.
fn other(case: &Case<'_>) -> Sentence {
    let fs = case.fs;
    let (mut words, trend) = match case.resource {
        Resource::Inodes => (
            sentence![
                Quantity::bytes(fs.available_bytes),
                " of ",
                Quantity::bytes(fs.total_bytes),
                " are free (",
                Quantity::ratio(fs.bytes_used()),
                " used)",
            ],
            &fs.bytes,
        ),
        Resource::Blocks => match fs.inodes_used() {
            None => return "It has no fixed number of inodes.".into(),
            Some(used) => (
                sentence![
                    "Inodes are not short: ",
                    Quantity::count(fs.free_inodes as f64),
                    " of ",
                    Quantity::count(fs.inodes as f64),
                    " are free (",
                    Quantity::ratio(used),
                    " used)",
                ],
                &fs.inodes_trend,
            ),
        },
    };
    let lasts = trend.seconds_left.filter(|_| trend.per_s > 0.0);
    if let Some(left) = lasts.filter(|_| matches!(case.kind, Kind::Ahead | Kind::Far)) {
        words.0.extend([
            "; at the present rate they last ".into(),
            storage::time(left).into(),
        ]);
    }
    words.0.push(".".into());
    words
}

/// Who creates most, where, and what part of it stays.
fn creators(case: &Case<'_>) -> Vec<Sentence> {
    let seconds = tcp::seconds(case.window);
    let Some(first) = case.creators.first().map(|c| &c.work) else {
        let taken = case.trend().per_s > 0.0;
        return taken
            .then(|| {
                "Nobody was seen creating files there: they were made over the network, or before."
                    .into()
            })
            .into_iter()
            .collect();
    };
    let mut line = storage::team(&first.team);
    line.extend([
        " creates ".into(),
        Quantity::per_second(first.created as f64 / seconds).into(),
        " of the ".into(),
        Quantity::per_second(
            case.creators.iter().map(|c| c.work.created).sum::<u64>() as f64 / seconds,
        )
        .into(),
        " files created there".into(),
    ]);
    if let Some(path) = &first.path {
        line.extend([", in ".into(), Piece::Name(path.clone())]);
    }
    line.push(if first.unlinked == 0 {
        ", and removes none.".into()
    } else {
        Piece::from(".")
    });
    vec![Sentence(line)]
}

/// Numbers with the commands that confirm them.
pub(super) fn evidence(case: &Case<'_>) -> Vec<Evidence> {
    let fs = case.fs;
    let count = |n: u64| Quantity::count(n as f64);
    let mut list = Vec::new();
    if fs.inodes > 0 {
        let of = |text, value, command: Option<&str>| {
            tcp::item("inodes", text, value, command.map(str::to_owned))
        };
        list.push(of("in all", count(fs.inodes), Some("df -i")));
        list.push(of("free", count(fs.free_inodes), None));
        list.push(of(
            "taken",
            Quantity::per_second(fs.inodes_trend.per_s),
            None,
        ));
        if let Some(left) = fs.inodes_trend.seconds_left {
            list.push(of("left", storage::time(left), None));
        }
    }
    let of = |text, value, command: Option<&str>| {
        tcp::item("blocks", text, value, command.map(str::to_owned))
    };
    list.push(of("in all", Quantity::bytes(fs.total_bytes), Some("df")));
    list.push(of("free", Quantity::bytes(fs.available_bytes), None));
    if let Some(left) = fs.bytes.seconds_left {
        list.push(of("left", storage::time(left), None));
    }
    for refused in case.refused.iter().take(3) {
        let pid = refused.team.pids.first();
        let command = pid.map(|pid| {
            format!("timeout 10 strace -f -e trace=%file,write -e status=failed -p {pid}")
        });
        list.push(tcp::item(
            "ENOSPC",
            refused.call,
            count(refused.count),
            command,
        ));
    }
    let looks = tcp::item("looks", "at the file system", count(fs.looks), None);
    list.push(looks);
    list
}
