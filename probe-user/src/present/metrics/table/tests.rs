//! Rows over weeks: bounded, steady, and exact in their sums.

use std::{collections::BTreeMap, sync::LazyLock};

use proptest::prelude::*;

use super::*;
use crate::{
    aggregate::{
        Group, Window,
        fixture::{INCIDENT_A, window_of},
    },
    present::metrics::Own,
};

const S: u64 = 1_000_000_000;
const TOP: usize = 4;

/// Connects by group.
const COUNTER: Metric = Metric {
    name: "stallscope.test",
    kind: Kind::Counter,
    unit: "{call}",
    help: "A test.",
    labels: &["stallscope.group"],
    small: &[],
    otel: false,
    top: TOP,
    read: |seen, rows| {
        for g in &seen.slice.groups {
            rows.adds([&String::from_utf8_lossy(&g.name)], g.connects as f64);
        }
    },
};
static CONNECTS: Metric = COUNTER;
const LEVEL: Metric = Metric {
    kind: Kind::UpDownCounter,
    read: |seen, rows| {
        for g in &seen.slice.groups {
            rows.level([&String::from_utf8_lossy(&g.name)], g.connects as f64);
        }
    },
    ..COUNTER
};

static LEVELS: Metric = LEVEL;
static SHARES: Metric = Metric {
    kind: Kind::Gauge,
    ..LEVEL
};
static TEMPLATE: LazyLock<Group> = LazyLock::new(|| window_of(1, INCIDENT_A).groups.remove(0));

type Sums = BTreeMap<String, f64>;

/// Takes in a slice of 5 s in which each of these had so many connects.
fn push(table: &mut Table, counts: &[(&str, u64)]) -> Sums {
    push_long(table, counts, 5 * S)
}

fn push_long(table: &mut Table, counts: &[(&str, u64)], duration_ns: u64) -> Sums {
    let groups = counts.iter().map(|(name, connects)| Group {
        name: name.as_bytes().to_vec(),
        connects: *connects,
        ..TEMPLATE.clone()
    });
    let window = Window {
        groups: groups.collect(),
        duration_ns,
        ..Window::default()
    };
    table.push(&Seen {
        slice: &window,
        recent: &window,
        open: &[],
        changes: &[],
        not_judged: &[],
        own: &Own::default(),
    });
    let number = |row: Row| match row.value {
        Value::Number(n) => (row.labels[0].clone(), n),
        Value::Buckets(_) => panic!("a counter has no buckets"),
    };
    table.rows().into_iter().map(number).collect()
}

/// How much the rows grew together; one that is new grew from 0.
fn growth(before: &Sums, after: &Sums) -> f64 {
    let from = |name: &String| before.get(name).copied().unwrap_or(0.0);
    after.iter().map(|(name, sum)| sum - from(name)).sum()
}

proptest! {
    #[test]
    fn what_a_slice_adds_to_all_rows_is_what_was_in_it(
        slices in prop::collection::vec(
            prop::collection::vec((0..24usize, 1..1000u64), 0..12),
            1..60,
        ),
    ) {
        let mut table = Table::new(&CONNECTS);
        let mut before = Sums::new();
        for slice in &slices {
            let names: Vec<(String, u64)> = slice.iter().map(|(n, c)| (format!("g{n}"), *c)).collect();
            let counts: Vec<(&str, u64)> = names.iter().map(|(n, c)| (n.as_str(), *c)).collect();
            let after = push(&mut table, &counts);
            let truth: u64 = slice.iter().map(|(_, c)| c).sum();
            prop_assert_eq!(growth(&before, &after), truth as f64);
            for (name, sum) in &after {
                prop_assert!(before.get(name).is_none_or(|b| b <= sum), "{} shrank", name);
            }
            prop_assert!(after.len() <= TOP + 1);
            prop_assert!(table.subjects.len() <= TOP * (1 + CANDIDATES));
            before = after;
        }
    }

    #[test]
    fn levels_sum_to_what_is_there_now(
        slices in prop::collection::vec(
            prop::collection::vec((0..24usize, 1..1000u64), 0..12),
            1..20,
        ),
    ) {
        let mut table = Table::new(&LEVELS);
        for slice in &slices {
            let names: Vec<(String, u64)> = slice.iter().map(|(n, c)| (format!("g{n}"), *c)).collect();
            let counts: Vec<(&str, u64)> = names.iter().map(|(n, c)| (n.as_str(), *c)).collect();
            let rows = push(&mut table, &counts);
            let truth: u64 = slice.iter().map(|(_, c)| c).sum();
            prop_assert_eq!(rows.values().sum::<f64>(), truth as f64);
            prop_assert!(rows.len() <= TOP + 1);
        }
    }
}

#[test]
fn a_scan_of_100_000_peers_grows_nothing_and_takes_nobodys_place() {
    let mut table = Table::new(&CONNECTS);
    let regular = [("a", 500), ("b", 400), ("c", 300), ("d", 200)];
    push(&mut table, &regular);
    for slice in 0..400 {
        let scan: Vec<String> = (0..250).map(|n| format!("scan{slice}-{n}")).collect();
        let mut counts = regular.to_vec();
        counts.extend(scan.iter().map(|name| (name.as_str(), 1)));
        let rows = push(&mut table, &counts);
        assert_eq!(
            rows.keys().collect::<Vec<_>>(),
            ["a", "b", "c", "d", "other"]
        );
        assert!(table.subjects.len() <= TOP * (1 + CANDIDATES));
    }
    let rows = push(&mut table, &regular);
    assert_eq!((rows["other"], rows["d"]), (100_000.0, 402.0 * 200.0));
}

#[test]
fn who_became_clearly_heavier_takes_the_lightests_place_and_its_series_begins_anew() {
    let mut table = Table::new(&CONNECTS);
    let light = [("a", 90), ("b", 80), ("c", 70), ("d", 60)];
    (0..100).for_each(|_| drop(push(&mut table, &light)));
    // Not heavy enough: it stays with the others, however long it goes on.
    let mut counts = light.to_vec();
    counts.push(("e", 61));
    for _ in 0..400 {
        assert!(!push(&mut table, &counts).contains_key("e"));
    }
    counts[4].1 = 6000;
    let before = push(&mut table, &counts);
    let after = (0..100).fold(before, |_, _| push(&mut table, &counts));
    assert!(
        after.contains_key("e") && !after.contains_key("d"),
        "{after:?}"
    );
    // What "d" had counted is in no other row.
    let others = after["other"];
    let once_more = push(&mut table, &counts);
    assert_eq!(once_more["other"] - others, 60.0);
}

#[test]
fn a_steady_set_of_equals_keeps_its_rows() {
    let mut table = Table::new(&CONNECTS);
    let names: Vec<String> = (0..20).map(|n| format!("g{n:02}")).collect();
    let counts: Vec<(&str, u64)> = names.iter().map(|n| (n.as_str(), 10)).collect();
    (0..100).for_each(|_| drop(push(&mut table, &counts)));
    let first: Vec<String> = push(&mut table, &counts).into_keys().collect();
    for turn in 0..500 {
        // They come in any order, and some rest now and then.
        let mut some = counts.clone();
        some.rotate_left(turn % 20);
        some.truncate(15);
        let rows: Vec<String> = push(&mut table, &some).into_keys().collect();
        assert_eq!(rows, first);
    }
}

#[test]
fn what_was_silent_for_an_hour_goes_and_makes_room() {
    let mut table = Table::new(&CONNECTS);
    push(
        &mut table,
        &[("a", 1000), ("b", 1000), ("c", 1000), ("d", 1000)],
    );
    let rows = push_long(&mut table, &[("e", 1)], SILENT_NS / 2);
    assert!(rows.contains_key("a") && !rows.contains_key("e"));
    let rows = push_long(&mut table, &[("e", 1)], SILENT_NS / 2);
    assert_eq!(rows.keys().collect::<Vec<_>>(), ["e", "other"]);
    assert_eq!(rows["e"], 1.0);
}

#[test]
fn what_cannot_be_added_up_has_no_row_for_the_others() {
    let mut table = Table::new(&SHARES);
    let rows = push(
        &mut table,
        &[("a", 1), ("b", 2), ("c", 3), ("d", 4), ("e", 5), ("f", 6)],
    );
    // The first that are read matter most.
    assert_eq!(rows.keys().collect::<Vec<_>>(), ["a", "b", "c", "d"]);
    assert!(push(&mut table, &[]).is_empty());
}

#[test]
fn who_calls_himself_other_counts_with_the_others() {
    let mut table = Table::new(&CONNECTS);
    let rows = push(&mut table, &[("other", 5), ("a", 1)]);
    assert_eq!((rows["other"], rows["a"]), (5.0, 1.0));
}
