//! Windows in, pages out.

use super::*;
use crate::{
    aggregate::{
        files::{
            self,
            fixture::{PROBES, UPLOADS, file_system, mount, taking, team, window_with, work},
        },
        fixture::{S, probe},
        journal,
    },
    attach::State,
};

fn window() -> Window {
    let mut files = files::fixture::healthy();
    files.places.insert(
        0,
        work(
            team("php-fpm8.2", 4711, 20),
            UPLOADS,
            "/var/www/uploads/css",
            6420,
            1200,
        ),
    );
    files.created += 6420;
    files.file_systems.insert(
        0,
        FileSystem {
            inodes_trend: taking(642.0, 9_000),
            ..file_system(
                mount(UPLOADS, "ext4", "/dev/nvme0n1p3", "/var/www/uploads"),
                65_536,
                9_000,
            )
        },
    );
    let mut window = window_with(files);
    let sick = journal::fixture::window_with(journal::fixture::sick());
    window.journal = sick.journal;
    window.probes.extend(sick.probes);
    window
}

fn text(window: &Window, rows: Option<usize>) -> String {
    let style = Style {
        width: 80,
        ..Style::default()
    };
    page(window, rows, style)
}

#[test]
fn a_page_says_what_ends_who_creates_and_who_sleeps() {
    let text = text(&window(), None);
    for line in [
        "stallscope 0.1.0   web-07   this machine   10.0 s   6,960 files created",
        "/var/www/uploads        ext4       45 %    55 GB    86 %        9,000     642/s",
        "    inodes end in 14.0 s (12.7 s to 15.6 s at the paces seen)",
        "/var/www/uploads/css               6,420    642.0/s    1.2 kB",
        "    php-fpm8.2, 20 processes; such as a1.css, b2.css",
        "/dev/nvme0n1p3                40   200 ms   200 ms   200 ms   200 ms   250 ms",
        "php-fpm8.2 (20)                   311     31.1/s",
        "php-fpm8.2 (20)                  311  2 m 4 s   400 ms  a journal commit",
        "    ext4_sync_file > ext4_fsync_journal > jbd2_log_wait_commit",
        "    now: php-fpm8.2 4711 for 180 ms (a journal commit)",
        "Saw it all     8 of 8 probes active, 0 events lost",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(text.lines().all(|l| l.chars().count() <= 80), "{text}");
}

#[test]
fn a_page_fits_its_screen() {
    for rows in [10, 23, 40] {
        let text = text(&window(), Some(rows));
        assert!(text.lines().count() <= rows, "{rows}\n{text}");
        assert!(text.contains("Cost "), "{text}");
    }
}

#[test]
fn hostile_names_are_escaped_everywhere() {
    let mut window = window();
    let evil = b"/a\x1b[2J/\xff\n\xe2\x80\xae".to_vec();
    let files = window.files.as_mut().unwrap();
    files.places[0].path = Some(evil.clone());
    files.places[0].examples = vec![evil.clone()];
    files.places[0].team.name = evil.clone();
    files.file_systems[0].mount.mount_point = evil.clone();
    files.file_systems[0].mount.fs_type = evil.clone();
    files.not_asked = vec![mount(UPLOADS, "nfs4", "host:/x", "/mnt/\x1b[31m")];
    files.refused = vec![files::Refused {
        team: team("\x1b[1m", 1, 1),
        call: "openat",
        errno: libc::ENOSPC as u32,
        mount_point: Some(evil.clone()),
        path: evil.clone(),
        count: 3,
        last_ns: S,
        ..files::Refused::default()
    }];
    let journal = window.journal.as_mut().unwrap();
    journal.disks[0].name = evil.clone();
    journal.disks[0].mount.as_mut().unwrap().super_options = b"data=\x1b[1m".to_vec();
    journal.asleep[0].comm = evil.clone();
    journal.sleeps[0].stack = vec!["evil\x1b".to_owned()];
    let diagnosis = crate::diagnose::run(&window);
    for text in [
        text(&window, None),
        json(&window),
        super::super::text::report(&window, &diagnosis, Style::default()),
        super::super::json::report(&window, &diagnosis),
    ] {
        let bad = |c: char| c != '\n' && c.is_control() || c == '\u{202e}';
        assert!(!text.chars().any(bad), "{text:?}");
    }
}

#[test]
fn a_long_path_keeps_its_end() {
    assert_eq!(words::path(b"/short", 20), "/short");
    assert_eq!(
        words::path(b"/var/www/vhosts/example.com/uploads/css", 20),
        "…/uploads/css"
    );
    assert_eq!(words::path(b"nothing-to-cut-at-here", 10), "nothing-t…");
    assert_eq!(words::path(b"/tmp/cargo-0123456789", 12), "…/cargo-012…");
    let long = [b"/a/".as_slice(), &[b'x'; 300]].concat();
    assert_eq!(words::path(&long, 8), "…/xxxxx…");
    assert_eq!(words::path(&[b'/'; 3], 2), "…/");
}

#[test]
fn what_could_not_be_seen_is_said() {
    let mut window = window();
    for probe in window.probes.iter_mut().filter(|p| p.id == "sleepers") {
        probe.state = State::Off("old kernel".to_owned());
    }
    let text = text(&window, None);
    assert!(
        text.contains("Not seen       who sleeps in D, and behind what (sleepers: old kernel)"),
        "{text}"
    );
    let nothing = Window {
        probes: PROBES.map(probe).to_vec(),
        ..Window::default()
    };
    assert!(page(&nothing, None, Style::default()).contains("files are not watched"));
}

#[test]
fn json_has_units_in_its_names() {
    let value: serde_json::Value = serde_json::from_str(&json(&window())).unwrap();
    let files = &value["files"];
    assert_eq!(files["created"], 6960);
    let place = &files["directories"][0];
    assert_eq!(place["file.directory"], "/var/www/uploads/css");
    assert_eq!(place["who"]["name"], "php-fpm8.2");
    assert_eq!(place["sizes"]["total_bytes"], 6420 * 1200);
    let fs = &files["file_systems"][0];
    assert_eq!(fs["system.filesystem.mountpoint"], "/var/www/uploads");
    assert_eq!(fs["free_inodes"], 9000);
    let disk = &value["journal"]["journals"][0];
    assert_eq!(disk["name"], "/dev/nvme0n1p3");
    assert_eq!(disk["commits"]["p99_ns"], 200_000_000);
    assert_eq!(value["journal"]["sleeps"][0]["waits_for"], "journal_commit");
}
