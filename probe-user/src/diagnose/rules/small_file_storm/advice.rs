//! What S02 proposes, safest first.

use super::{Case, Cost};
use crate::diagnose::{Quantity, Remedy, sentence};

/// What to try for a case.
pub(super) fn remedies(case: &Case<'_>) -> Vec<Remedy> {
    let mut list = vec![one_file(case), same_name(case)];
    if case.work().syncs.count > 0 && !case.in_memory() {
        list.push(fewer_syncs(case));
    }
    if !case.in_memory() {
        list.push(memory(case));
    }
    if case.work().grown() > 0 {
        list.push(clean_up(case));
    }
    list
}

fn one_file(case: &Case<'_>) -> Remedy {
    let arithmetic = match case.per_request() {
        Some(each) => sentence![
            "one creation for each request instead of ",
            Quantity::count(each)
        ],
        None => sentence![
            "each file that is not created saves an inode, a directory entry and its part of the journal; now ",
            Quantity::per_second(case.per_s()),
        ],
    };
    Remedy {
        text: "write one file in place of many, or keep what is computed in a cache (APCu, Redis, memcached)"
            .into(),
        arithmetic: Some(arithmetic),
        risk: "none here; it takes a change of the program".to_owned(),
        ..Remedy::default()
    }
}

fn same_name(case: &Case<'_>) -> Remedy {
    let mut arithmetic = sentence!["a file that is there already is opened, not created"];
    if let Some(each) = case.per_request().filter(|n| *n >= 1.0) {
        arithmetic.0.extend([
            ": ".into(),
            Quantity::count(each).into(),
            " opens for each request, and nothing is added".into(),
        ]);
    }
    Remedy {
        text: "name files by their content (a hash), not by visit or time, so that the same file is used again".into(),
        arithmetic: Some(arithmetic),
        risk: "write to a temporary name and rename, so that nobody reads half a file".to_owned(),
        ..Remedy::default()
    }
}

fn fewer_syncs(case: &Case<'_>) -> Remedy {
    let syncs = &case.work().syncs;
    Remedy {
        text: "leave out fsync for files that can be made again, or write them all and sync once at the end".into(),
        arithmetic: Some(sentence![
            Quantity::count(syncs.count as f64),
            " calls of ",
            Quantity::ns(syncs.mean_ns()),
            " = ",
            Quantity::ns(syncs.total_ns),
            " of waiting in the window",
        ]),
        risk: "what was not synced may be empty or gone after a crash: only for what can be made again".to_owned(),
        ..Remedy::default()
    }
}

fn memory(case: &Case<'_>) -> Remedy {
    let work = case.work();
    let mut arithmetic = sentence!["no disk, no journal, and fsync takes no time there"];
    if case.sizes_known() && work.grown() > 0 {
        // A file takes whole pages.
        let mean = work.sizes.mean_bytes().div_ceil(4096).max(1) * 4096;
        let per_hour = work.grown() as f64 / case.seconds() * 3600.0 * mean as f64;
        arithmetic.0.extend([
            "; at this rate it takes ".into(),
            Quantity::bytes(per_hour as u64).into(),
            " of memory an hour until something is removed".into(),
        ]);
    }
    Remedy {
        text: "write what may be lost to tmpfs".into(),
        arithmetic: Some(arithmetic),
        risk: "it takes RAM and is empty after a reboot; bound it with size= and nr_inodes="
            .to_owned(),
        ..Remedy::default()
    }
}

fn clean_up(case: &Case<'_>) -> Remedy {
    let urgent = case.cost == Cost::Inodes;
    Remedy {
        text: if urgent {
            "remove old files now, and from then on by age (find DIR -xdev -type f -mmin +1440 -delete, hourly)"
        } else {
            "remove old files by age (find DIR -xdev -type f -mmin +1440 -delete, hourly)"
        }
        .into(),
        risk: "it bounds how many there are; each is created and journaled all the same. Try with -print first"
            .to_owned(),
        ..Remedy::default()
    }
}
