//! Sick and healthy windows.

use super::*;
use crate::{
    aggregate::{
        Timed,
        files::fixture::{ROOT, UPLOADS, mount, team},
        fixture::{INCIDENT_A, MS, S, window_of},
        journal::{
            Syncs,
            fixture::{FSYNC_STACK, busy, disk, sick, sleep, syncs, window_with},
        },
    },
    attach::State,
    diagnose::rules::tcp::test::{only, plain, quiet, remedies, summary},
};

fn switch_off(window: &mut Window, probe: &str) {
    let off = window.probes.iter_mut().filter(|p| p.id == probe);
    off.for_each(|p| p.state = State::Off("old kernel".to_owned()));
}

#[test]
fn a_busy_database_on_a_good_disk_is_silent() {
    quiet(&check(&window_with(busy())));
}

#[test]
fn a_database_on_a_rotating_disk_is_silent() {
    let mysql = || team("mysqld", 900, 1);
    let journal = Journal {
        disks: vec![Disk {
            syncs: vec![syncs(mysql(), 2000, 60 * MS)],
            ..disk(mount(ROOT, "ext4", "/dev/sda1", "/"), 300, 30 * MS, 2 * MS)
        }],
        sleeps: vec![sleep(
            mysql(),
            WaitsFor::Commit,
            2000,
            55 * MS,
            &FSYNC_STACK,
        )],
        ..Journal::default()
    };
    quiet(&check(&window_with(journal)));
}

#[test]
fn slow_commits_that_nobody_waits_for_are_silent() {
    let mut journal = sick();
    journal.sleeps.retain(|s| s.team.is_kernel());
    quiet(&check(&window_with(journal)));
}

#[test]
fn a_stall_names_device_victim_proof_and_reason() {
    let f = only(check(&window_with(sick())));
    // 124 s of sleep in 10 s, but a commit takes 200 ms.
    assert_eq!(f.severity, Severity::Warning);
    assert_eq!(f.title, "Tasks wait for the journal of /dev/nvme0n1p3");
    assert_eq!(f.confidence.level, Level::High);
    let text = summary(&f);
    for words in [
        "php-fpm8.2 (20 processes) slept 124400 ms in 10000 ms in D state behind the journal of /dev/nvme0n1p3 \
         (/var/www/uploads, ext4).",
        "Proof: 311 of its 341 sleeps, the longest 400 ms, most in ext4_sync_file > ext4_fsync_journal > \
         jbd2_log_wait_commit.",
        "40 commits: p50 200 ms, p95 200 ms, p99 200 ms, longest 200 ms (each was timed).",
        "One starts every 250 ms, because of fsync, not of commit=5: php-fpm8.2 (20 processes) 31.1/s, mysqld (pid 900) 0.4/s.",
        "97 % is writing the journal (20 blocks each), 2 % writing out data of files, 1 % waiting",
        "Of its 130620 ms in fsync, 124400 ms were asleep for a commit; in the rest the caller writes its own data, \
         before the commit starts (data=ordered)",
        "Mounted with rw: data=ordered, commit=5.",
    ] {
        assert!(text.contains(words), "{words}:\n{text}");
    }
    let place = f.culprit.place.unwrap();
    assert_eq!(
        (place.device, place.source.as_slice()),
        (UPLOADS, &b"/dev/nvme0n1p3"[..])
    );
    assert_eq!(f.culprit.group.as_deref(), Some(&b"php-fpm8.2"[..]));
    // 124.4 of 125 s asleep; the journal's own thread is no victim.
    assert!((f.explains - 124.4 / 125.0).abs() < 1e-9);
}

#[test]
fn severity_follows_request_time_where_there_is_any() {
    let mut window = window_with(sick());
    window.groups = window_of(21, INCIDENT_A).groups;
    let rename = |t: &mut Team| (t.name, t.php_fpm) = (b"www".to_vec(), true);
    let journal = window.journal.as_mut().unwrap();
    journal
        .sleeps
        .iter_mut()
        .take(2)
        .for_each(|s| rename(&mut s.team));
    rename(&mut journal.disks[0].syncs[0].team);
    let f = only(check(&window));
    assert_eq!(f.severity, Severity::Critical);
    let headline = plain(&f.summary[0]);
    assert!(
        headline.starts_with(
            "pool www (20 processes) slept 5924 ms of 9084 ms per request (65 %) in D state"
        ),
        "{headline}"
    );
    // A tenth of the time of fifty times as many requests.
    window.groups = window_of(100, INCIDENT_A).groups;
    assert_eq!(only(check(&window)).severity, Severity::Warning);
}

#[test]
fn commits_of_seconds_with_somebody_always_asleep_are_critical() {
    let mut journal = sick();
    journal.disks[0].commits.quantiles_ns = [S, 2 * S, 2 * S];
    assert_eq!(
        only(check(&window_with(journal))).severity,
        Severity::Critical
    );
}

#[test]
fn a_commit_that_never_ends_is_seen_by_those_who_sleep() {
    let mut journal = sick();
    let slow = &mut journal.disks[0];
    slow.commits = Default::default();
    slow.commits.under_way_ns = Some(30 * S);
    slow.syncs = vec![Syncs {
        under_way: 3,
        under_way_ns: 30 * S,
        ..syncs(team("php-fpm8.2", 4711, 3), 0, 0)
    }];
    let stack = FSYNC_STACK.map(str::to_owned).to_vec();
    journal.sleeps = vec![Sleep {
        team: team("php-fpm8.2", 4711, 3),
        waits_for: WaitsFor::Commit,
        asleep: 3,
        asleep_ns: 30 * S,
        stack,
        ..Sleep::default()
    }];
    let f = only(check(&window_with(journal)));
    assert_eq!(f.severity, Severity::Critical);
    assert!(summary(&f).contains("One commit has been under way for 30000 ms; none ended."));
}

#[test]
fn without_stacks_the_time_in_fsync_stands_in_and_says_so() {
    let mut window = window_with(sick());
    switch_off(&mut window, "sleepers");
    let verdict = check(&window);
    assert_eq!(
        verdict.not_judged,
        ["who sleeps behind a commit: probe sleepers is off: old kernel"]
    );
    let f = only(verdict);
    assert_eq!(f.confidence.level, Level::Medium);
    assert!(f.confidence.reasons[0].contains("includes writing the caller's own data"));
    assert!(summary(&f).starts_with(
        "php-fpm8.2 (20 processes) spent 130620 ms in 10000 ms in fsync on /dev/nvme0n1p3"
    ));
}

#[test]
fn several_slow_journals_lower_the_confidence_and_take_only_their_own_users() {
    let mut journal = sick();
    journal.disks[1].commits.quantiles_ns = [MS, 300 * MS, 300 * MS];
    let verdict = check(&window_with(journal));
    // Nobody who sleeps uses the other one.
    let f = only(verdict);
    assert_eq!(f.confidence.level, Level::Medium);
    assert!(f.confidence.reasons[0].contains("not told apart by device"));
}

#[test]
fn without_a_journal_it_does_not_judge_and_says_what_can_be_said() {
    let journal = Journal {
        unwatched: vec![mount(UPLOADS, "xfs", "/dev/sdb1", "/data")],
        ..Journal::default()
    };
    let verdict = check(&window_with(journal));
    assert_eq!(
        verdict.not_judged,
        [
            "no ext4 file system is mounted; xfs on /data: a log of its own, which is not watched (`stallscope fs` \
          shows fsync and who sleeps in D)"
        ]
    );
}

#[test]
fn remedies_come_safest_first_and_never_call_writeback_free() {
    let text = remedies(&only(check(&window_with(sick()))));
    let at = |words: &str| {
        text.find(words)
            .unwrap_or_else(|| panic!("{words}: {text}"))
    };
    let order = [
        at("call fsync less often, in php-fpm8.2 (20 processes)"),
        at("put what may be lost"),
        at("find what makes the device slow"),
        at("a device of its own"),
        at("no free speed-up, and the last resort"),
    ];
    assert!(order.is_sorted(), "{text}");
    // The timer does not start these commits.
    assert!(!text.contains("commit=30"), "{text}");
    let f = only(check(&window_with(sick())));
    let last = f.remedies.last().unwrap();
    assert!(last.risk.contains("stale blocks") && last.risk.contains("power failure"));
}

#[test]
fn the_timer_is_worked_on_only_where_it_starts_the_commits() {
    let mut journal = sick();
    let slow = &mut journal.disks[0];
    slow.syncs.clear();
    slow.commits.interval = Timed::of(&[(5 * S, 2)]);
    let f = only(check(&window_with(journal)));
    assert!(summary(&f).contains("the timer (commit=5) and full transactions start them"));
    assert!(remedies(&f).contains("commit less often [commit=5 -> commit=30]"));
}

#[test]
fn commits_that_last_as_long_as_the_timer_are_asked_for_where_each_has_an_fsync() {
    let starts = |syncs_count| {
        let mut journal = sick();
        let source = journal.disks[0].clone();
        journal.disks[0] = Disk {
            syncs: vec![syncs(team("php-fpm8.2", 4711, 20), syncs_count, 6 * S)],
            ..disk(source.mount.clone().unwrap(), 2, 4900 * MS, 30 * MS)
        };
        summary(&only(check(&window_with(journal))))
    };
    assert!(starts(24).contains("because of fsync, not of commit=5"));
    assert!(starts(1).contains("the timer (commit=5) and full transactions start them"));
}

#[test]
fn a_team_has_its_share_only_of_a_journal_that_others_wait_for() {
    let window = window_with(sick());
    let php = team("php-fpm8.2", 4711, 20);
    assert!((share_of(&window, UPLOADS, &php) - 1.0).abs() < 1e-9);
    assert_eq!(share_of(&window, ROOT, &php), 0.0);
    assert_eq!(
        share_of(&window_with(busy()), ROOT, &team("mysqld", 900, 1)),
        0.0
    );
}

#[test]
fn slow_fsync_with_quick_commits_is_the_wait_for_ones_own_data() {
    let php = || team("php", 2417, 4);
    let journal = Journal {
        disks: vec![Disk {
            syncs: vec![syncs(php(), 18, 1500 * MS)],
            ..disk(
                mount(UPLOADS, "ext4", "/dev/loop0", "/up"),
                16,
                12 * MS,
                488 * MS,
            )
        }],
        sleeps: vec![
            sleep(
                php(),
                WaitsFor::BlockIo,
                24,
                1100 * MS,
                &["folio_wait_bit", "folio_wait_writeback"],
            ),
            sleep(php(), WaitsFor::Commit, 19, 16 * MS, &FSYNC_STACK),
        ],
        ..Journal::default()
    };
    let f = only(check(&window_with(journal.clone())));
    assert_eq!(
        f.title,
        "Tasks wait in fsync on /dev/loop0: for their own data, before the commit"
    );
    assert_eq!(
        (f.severity, f.confidence.level),
        (Severity::Critical, Level::High)
    );
    let text = summary(&f);
    for words in [
        "php (4 processes) spent 27000 ms in 10000 ms in fsync on /dev/loop0 (/up, ext4).",
        "Proof: 43 of its 43 sleeps, the longest 1100 ms, most in folio_wait_writeback > folio_wait_bit.",
        "Of its 27000 ms in fsync, 304 ms were asleep for a commit; in the rest the caller writes its own data",
    ] {
        assert!(text.contains(words), "{words}:\n{text}");
    }
    assert!(remedies(&f).contains("fsync takes 1500 ms, a commit 12 ms"));
    // A backup that syncs a few large files.
    let mut few = journal;
    few.disks[0].syncs = vec![syncs(php(), 9, 3000 * MS)];
    quiet(&check(&window_with(few)));
}
