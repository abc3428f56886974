//! The screen of files and journals, through the widget.

use insta::assert_snapshot;

use super::SCREEN;
use crate::{
    aggregate::{
        Grown, Window,
        files::{
            self, FileSystem, Refused,
            fixture::{UPLOADS, creator, file_system, mount, taking, team, window_with, work},
        },
        fixture::S,
        journal,
    },
    attach::State,
    present::tui::{
        Data,
        screens::check::{EVIL, shots, sound},
    },
};

/// Uploads of small files: inodes end, calls are refused, and commits are slow.
fn window() -> Window {
    let mut files = files::fixture::healthy();
    let uploads = work(
        team("php-fpm8.2", 4711, 20),
        UPLOADS,
        "/var/www/uploads/css",
        6420,
        1200,
    );
    files.places.insert(0, uploads.clone());
    files.creators.insert(0, creator(uploads));
    files.created += 6420;
    files.timeline = (0..=10)
        .map(|second| Grown {
            at_ns: second * S,
            since_start: [second * second * 70],
        })
        .collect();
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
    files.not_asked = vec![mount(UPLOADS, "nfs4", "nas:/x", "/mnt/nas")];
    files.refused = vec![Refused {
        team: team("php-fpm8.2", 4711, 20),
        call: "openat",
        errno: libc::ENOSPC as u32,
        device: Some(UPLOADS),
        mount_point: Some(b"/var/www/uploads".to_vec()),
        path: b"/var/www/uploads/css/a1.css".to_vec(),
        count: 311,
        first_ns: 2 * S,
        last_ns: 9 * S,
    }];
    let mut window = window_with(files);
    let sick = journal::fixture::window_with(journal::fixture::sick());
    window.journal = sick.journal;
    window.probes.extend(sick.probes);
    window
}

fn data(window: Window) -> Data {
    Data {
        recent: window,
        ..Data::default()
    }
}

#[test]
fn every_table_says_where_trouble_is() {
    let data = data(window());
    for (n, section) in SCREEN.sections.iter().enumerate() {
        let name = section.title.replace(' ', "_");
        let keys = format!("6{}", ">".repeat(n));
        assert_snapshot!(name.clone(), shots(&data, &keys));
        assert_snapshot!(format!("{name}_opened"), shots(&data, &format!("{keys}\n")));
    }
}

#[test]
fn an_empty_table_says_why() {
    let said = |window: &Window| -> Vec<String> {
        let data = data(window.clone());
        SCREEN.sections.iter().map(|s| (s.empty)(&data)).collect()
    };
    let mut quiet = window();
    (quiet.files, quiet.journal) = (Some(Box::default()), Some(Box::default()));
    let texts = said(&quiet);
    assert_eq!(
        texts[2],
        "No call was refused for want of space in the last 10.0 s."
    );
    assert_eq!(
        texts[5],
        "No task slept in D for a millisecond or longer in the last 10.0 s."
    );
    for probe in &mut quiet.probes {
        probe.state = State::Off("no BTF".to_owned());
    }
    assert_eq!(
        said(&quiet)[5],
        "Not seen: who sleeps in D, and behind what (sleepers: no BTF)."
    );
    (quiet.files, quiet.journal) = (None, None);
    assert_eq!(
        said(&quiet)[3],
        "Journals are not watched: commits of journals (journal_commits: no BTF)."
    );
    for n in 0..SCREEN.sections.len() {
        let screen = shots(&Data::default(), &format!("6{}", ">".repeat(n)));
        assert!(screen.contains("Nothing has been read yet."), "{screen}");
    }
}

#[test]
fn names_of_any_bytes_are_harmless() {
    let mut window = window();
    let evil = || EVIL.to_vec();
    let files = window.files.as_mut().unwrap();
    files.places[0].path = Some(evil());
    files.places[0].examples = vec![evil(); 8];
    files.places[0].team.name = evil();
    files.places[1].path = None;
    files.other = files.places[0].clone();
    files.creators[0].work = files.places[0].clone();
    files.file_systems[0].mount.mount_point = evil();
    files.file_systems[0].mount.source = evil();
    files.file_systems[0].mount.fs_type = evil();
    files.not_asked[0].mount_point = evil();
    (files.refused[0].team.name, files.refused[0].path) = (evil(), evil());
    files.refused[0].mount_point = None;
    let journal = window.journal.as_mut().unwrap();
    journal.disks[0].name = evil();
    let mount = journal.disks[0].mount.as_mut().unwrap();
    (mount.mount_point, mount.super_options) = (evil(), b"data=\x1b[1m".to_vec());
    journal.disks[0].syncs[0].team.name = evil();
    journal.disks[0].changes[0].team.name = evil();
    journal.unwatched = files.not_asked.clone();
    journal.asleep[0].comm = evil();
    journal.sleeps[0].stack = vec!["evil\x1b".to_owned()];
    journal.sleeps[1].team.name = evil();
    journal.no_symbols = Some("a reason\x1b[2J".to_owned());
    let mut data = data(window);
    sound(&SCREEN, &data);
    for probe in &mut data.recent.probes {
        probe.state = State::Off("a reason\x1b[2J".to_owned());
    }
    sound(&SCREEN, &data);
}
