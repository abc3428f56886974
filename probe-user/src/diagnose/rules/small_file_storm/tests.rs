//! Sick and healthy windows.

use super::*;
use crate::{
    aggregate::{
        Timed,
        files::fixture::{
            ROOT, RUN, UPLOADS, creator, file_system, healthy, mount, taking, team, window_with,
            work,
        },
        fixture::{INCIDENT_A, MS, window_of},
        journal,
    },
    diagnose::{
        engine,
        rules::tcp::test::{only, quiet, remedies, summary},
    },
};

/// The css generator: `created` files of 1.2 kB by 20 workers.
fn css(created: u64) -> Work {
    work(
        team("php-fpm8.2", 4711, 20),
        UPLOADS,
        "/var/www/uploads/css",
        created,
        1200,
    )
}

fn with(work: Work) -> Window {
    let mut files = healthy();
    files.created += work.created;
    files.places.insert(0, work.clone());
    files.creators.insert(0, creator(work));
    files.file_systems.push(file_system(
        mount(UPLOADS, "ext4", "/dev/sdb1", "/var/www/uploads"),
        6_000_000,
        5_000_000,
    ));
    window_with(files)
}

/// The same while pool www serves 21 requests.
fn serving(mut work: Work) -> Window {
    work.team.name = b"www".to_vec();
    work.team.php_fpm = true;
    let window = with(work);
    Window {
        groups: window_of(21, INCIDENT_A).groups,
        ..window
    }
}

#[test]
fn a_busy_node_is_silent() {
    quiet(&check(&window_with(healthy())));
    // The same with fewer files than matter, at whatever rate.
    quiet(&check(&with(css(99))));
    // And a pool that writes two files for each request.
    quiet(&check(&serving(css(42))));
}

#[test]
fn a_storm_in_each_request_names_process_directory_and_rate() {
    let f = only(check(&serving(css(6300))));
    assert_eq!(f.severity, Severity::Warning);
    assert_eq!(f.title, "Each request creates many small files");
    assert_eq!(f.confidence.level, Level::High);
    let text = summary(&f);
    for words in [
        "pool www (20 processes) creates 6300 files in /var/www/uploads/css, 630/s, of ",
        "That is 300 for each of its 21 requests.",
        "It removes none: 630/s x 86,400 s = 54432000 a day, of 5000000 inodes that are free on /var/www/uploads.",
        "Names such as a1.css, b2.css.",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert_eq!(f.culprit.group.as_deref(), Some(&b"www"[..]));
    assert!(f.culprit.php_fpm);
    let place = f.culprit.place.clone().unwrap();
    assert_eq!(
        place.directory.as_deref(),
        Some(&b"/var/www/uploads/css"[..])
    );
    assert!((f.explains - 6300.0 / 6840.0).abs() < 1e-9);
}

#[test]
fn files_of_one_request_out_of_two_do_not_make_a_habit() {
    let mut window = serving(css(3000));
    window.groups = window_of(2, INCIDENT_A).groups;
    assert_eq!(only(check(&window)).severity, Severity::Info);
}

#[test]
fn an_archive_or_a_build_is_an_info() {
    let tar = work(
        team("tar", 99, 1),
        UPLOADS,
        "/var/www/uploads/linux",
        30_000,
        9000,
    );
    let f = only(check(&with(tar)));
    assert_eq!(f.severity, Severity::Info);
    assert_eq!(f.title, "Many small files are created quickly");
}

#[test]
fn large_files_are_no_storm() {
    quiet(&check(&with(work(
        team("backup", 99, 1),
        UPLOADS,
        "/var/www/uploads",
        5000,
        5_000_000,
    ))));
}

#[test]
fn a_mail_queue_that_syncs_each_file_is_no_warning() {
    let mut mail = work(
        team("cleanup", 812, 4),
        ROOT,
        "/var/spool/postfix",
        500,
        3000,
    );
    mail.syncs = Timed::of(&[(5 * MS, 500)]);
    mail.unlinked = 490;
    quiet(&check(&with(mail)));
}

#[test]
fn waiting_for_fsync_on_what_it_creates_is_a_warning() {
    let mut storm = css(3000);
    storm.syncs = Timed::of(&[(40 * MS, 3000)]);
    let f = only(check(&with(storm.clone())));
    assert_eq!(f.severity, Severity::Warning);
    assert_eq!(
        f.title,
        "Many small files are created, and each is waited for"
    );
    assert!(summary(&f).contains(
        "It calls fsync 3000 times on them, 40 ms each on average: 120000 ms of waiting"
    ));
    let text = remedies(&f);
    assert!(text.contains("3000 calls of 40 ms = 120000 ms"), "{text}");
    // In memory, fsync costs nothing.
    storm.device = RUN;
    assert_eq!(only(check(&with(storm))).severity, Severity::Info);
}

#[test]
fn files_that_end_the_inodes_are_the_cause_of_that() {
    // Incident C: one file a visit, 15 a second.
    let mut window = with(css(150));
    let files = window.files.as_mut().unwrap();
    let last = files.file_systems.last_mut().unwrap();
    (last.free_inodes, last.inodes_trend) = (1000, taking(15.0, 1000));
    let f = only(check(&window));
    assert_eq!(f.severity, Severity::Warning);
    assert_eq!(f.title, "Many small files are created, and the inodes end");
    let all = engine::run(&window);
    let [cause] = all.findings.as_slice() else {
        panic!("{:#?}", all.findings)
    };
    assert_eq!((cause.rule.id, cause.symptoms[0].rule.id), ("S02", "S03"));
    assert_eq!(cause.symptoms[0].caused_by[0].id, "S02");
}

#[test]
fn files_that_keep_a_journal_busy_are_the_cause_of_its_stall() {
    let mut storm = css(311);
    storm.syncs = Timed::of(&[(420 * MS, 311)]);
    let mut window = with(storm);
    let stalled = journal::fixture::window_with(journal::fixture::sick());
    window.journal = stalled.journal;
    window.probes.extend(stalled.probes);
    let f = only(check(&window));
    assert_eq!(
        f.title,
        "Many small files are created, and keep the journal busy"
    );
    let all = engine::run(&window);
    let [cause] = all.findings.as_slice() else {
        panic!("{:#?}", all.findings)
    };
    assert_eq!((cause.rule.id, cause.symptoms[0].rule.id), ("S02", "S01"));
    assert_eq!(cause.symptoms[0].severity, Severity::Warning);
}

#[test]
fn a_few_files_for_each_fsync_are_not_what_a_slow_journal_is_slow_of() {
    let with_syncs = |created| {
        let mut storm = css(created);
        storm.syncs = Timed::of(&[(420 * MS, 30)]);
        let mut window = with(storm);
        let stalled = journal::fixture::window_with(journal::fixture::sick());
        window.journal = stalled.journal;
        window.probes.extend(stalled.probes);
        let all = engine::run(&window).findings.into_iter();
        all.map(|f| f.rule.id).collect::<Vec<_>>()
    };
    // Four for each: it would wait for the disk with one of them, too.
    assert_eq!(with_syncs(120), ["S01"]);
    // Forty for each: the disk waits for them.
    assert_eq!(with_syncs(1200), ["S02"]);
}

#[test]
fn sizes_that_are_not_known_lower_the_confidence() {
    let mut storm = css(6300);
    storm.sizes = Default::default();
    let f = only(check(&serving(storm)));
    assert_eq!(f.confidence.level, Level::Medium);
    assert!(f.confidence.reasons[0].contains("how large the files are is not known"));
}

#[test]
fn remedies_come_safest_first() {
    let mut storm = css(6300);
    storm.syncs = Timed::of(&[(MS, 10)]);
    let text = remedies(&only(check(&serving(storm))));
    let at = |words: &str| {
        text.find(words)
            .unwrap_or_else(|| panic!("{words}: {text}"))
    };
    let order = [
        at("write one file in place of many"),
        at("name files by their content"),
        at("leave out fsync"),
        at("tmpfs"),
        at("remove old files by age"),
    ];
    assert!(order.is_sorted(), "{text}");
}
