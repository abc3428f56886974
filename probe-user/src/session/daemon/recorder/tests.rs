//! The recorder from frames to files, on a directory of the test's own.

use std::{fs, path::Path};

use super::*;
use crate::{
    collect::recording::{Full, Recording},
    diagnose::Severity,
};

const S: u64 = 1_000_000_000;

fn keep(dir: &Path) -> Keep {
    Keep {
        dir: Some(dir.to_owned()),
        severity: Severity::Warning,
        before: Duration::from_secs(20),
        after: Duration::from_secs(10),
        pause: Duration::from_secs(900),
        max_bytes: 64 << 20,
        on_finding: Vec::new(),
    }
}

fn full(at_s: u64) -> Frame {
    Frame::Full(Box::new(Full {
        reading: Reading {
            at_ns: at_s * S,
            ..Reading::default()
        },
        probes: Vec::new(),
        cost: Default::default(),
        // The time of day was set back by a day after 100 s.
        unix_ns: (if at_s > 100 { 1_000_000 } else { 1_086_400 } + at_s) * S,
    }))
}

fn incident(at_s: u64) -> Incident {
    let (at_ns, onset_ns) = (at_s * S, (at_s - 8) * S);
    Incident::new(
        "{}".into(),
        "<p>".to_owned(),
        onset_ns,
        (at_s - 30) * S,
        at_ns,
    )
}

fn begun(dir: &Path) -> Recorder {
    let mut recorder = Recorder::open(&keep(dir)).unwrap();
    recorder.begin(&Header::default()).unwrap();
    recorder
}

fn own(recorder: &Recorder) -> Own {
    let mut own = Own::default();
    recorder.count(&mut own);
    own
}

/// Seconds of the looks in a recording.
fn looks(path: &Path) -> Vec<u64> {
    let mut recording = Recording::open(path).unwrap();
    let mut looks = Vec::new();
    while let Some(frame) = recording.next_frame().unwrap() {
        if let Frame::Full(full) = frame {
            looks.push(full.reading.at_ns / S);
        }
    }
    looks
}

/// Waits until the thread has done what it was told.
fn settle(recorder: &Recorder) {
    let begun = Instant::now();
    let waits = || {
        let counts = &recorder.counts;
        counts.frame_bytes.load(Relaxed) + counts.incidents.load(Relaxed) > 0
    };
    while waits() {
        assert!(begun.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn an_incident_is_saved_with_what_was_before_and_after_it() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("saved");
    let mut recorder = begun(&dir);
    for at in (5..=95).step_by(5) {
        recorder.push(full(at));
    }
    let files = recorder
        .save("W01", 1_700_000_000 * S, incident(95))
        .unwrap();
    assert_eq!(files.report, dir.join("incident-20231114-221320-W01.json"));
    settle(&recorder);
    assert_eq!(fs::read(&files.report).unwrap(), b"{}");
    assert!(!files.recording.exists());
    // The clock is set back meanwhile.
    for at in (100..=200).step_by(5) {
        recorder.push(full(at));
        settle(&recorder);
        assert_eq!(files.recording.exists(), at >= 105, "{at}");
    }
    let looks = looks(&files.recording);
    // It began at 87 s at the earliest: 20 s before it, at most a segment more; 10 s after 95 s.
    assert!((62..=67).contains(&looks[0]), "{looks:?}");
    assert_eq!(looks.last(), Some(&105));
    let recording = Recording::open(&files.recording).unwrap();
    assert_eq!(recording.judged_from_ns(), Some(65 * S));
    assert_eq!(recording.note(), None);
    assert_eq!((own(&recorder).saved, own(&recorder).save_failures), (1, 0));
    assert!(own(&recorder).ring_bytes > 0 && dir.join("ring.rec").exists());
    recorder.close();
    assert!(!dir.join("ring.rec").exists());
}

#[test]
fn what_waits_is_saved_at_the_end() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("saved");
    let mut recorder = begun(&dir);
    for at in (50..=100).step_by(5) {
        recorder.push(full(at));
    }
    let files = recorder.save("W01", 0, incident(100)).unwrap();
    recorder.close();
    assert_eq!(looks(&files.recording).last(), Some(&100));
}

#[test]
fn the_ring_of_a_killed_run_is_kept_as_a_recording() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("saved");
    let mut recorder = begun(&dir);
    recorder.push(full(5));
    recorder.push(full(10));
    settle(&recorder);
    // As a killed process leaves it.
    let copy = place.path().join("copy");
    fs::copy(dir.join("ring.rec"), &copy).unwrap();
    recorder.close();
    fs::rename(&copy, dir.join("ring.rec")).unwrap();
    let mut again = begun(&dir);
    assert_eq!(looks(&dir.join("before-restart.rec")), [5, 10]);
    again.push(full(5));
    settle(&again);
    assert!(dir.join("ring.rec").exists());
    again.close();
}

#[test]
fn a_ring_that_cannot_be_written_is_begun_again_later() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("saved");
    let mut recorder = begun(&dir);
    // Somebody else's: not ours to remove.
    fs::create_dir(dir.join("ring.rec")).unwrap();
    recorder.push(full(5));
    let files = recorder.save("W01", 0, incident(60)).unwrap();
    settle(&recorder);
    assert!(files.report.exists());
    recorder.push(full(30));
    settle(&recorder);
    assert_eq!(own(&recorder).ring_bytes, 0);
    fs::remove_dir(dir.join("ring.rec")).unwrap();
    for at in [36, 60, 75] {
        recorder.push(full(at));
    }
    settle(&recorder);
    assert!(own(&recorder).ring_bytes > 0);
    assert_eq!(looks(&files.recording), [36, 60, 75]);
    recorder.close();
}

#[test]
fn another_directory_is_taken_over_and_a_bad_one_changes_nothing() {
    let place = tempfile::tempdir().unwrap();
    let (old, new) = (place.path().join("old"), place.path().join("new"));
    let mut recorder = begun(&old);
    recorder.push(full(40));
    fs::write(place.path().join("file"), "").unwrap();
    assert!(recorder.reload(&keep(&place.path().join("file"))).is_err());
    let files = recorder.save("W01", 0, incident(40)).unwrap();
    assert!(files.report.starts_with(&old));
    recorder.reload(&keep(&new)).unwrap();
    recorder.push(full(45));
    settle(&recorder);
    // What waited was saved where it was begun.
    assert!(files.recording.exists() && !old.join("ring.rec").exists());
    assert!(new.join("ring.rec").exists());
    // The old one is free for others.
    Directory::open(&old).unwrap();
    recorder.close();
}
