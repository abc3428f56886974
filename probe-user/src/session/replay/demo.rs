//! The recording that the binary carries: what it must show, and how it is made.
//!
//! `probe-user/demo/make.sh` records a real incident A. Of that recording, the last test below keeps what is the shop's: the
//! other processes of the machine that it was made on are nobody's business. After a change of the format, both are to be
//! run again (docs/recordings.md).

use std::{collections::HashSet, env, fs, path::Path};

use super::*;
use crate::{
    collect::{
        Reading,
        mounts::{Device, Mount},
        recording::Writer,
    },
    diagnose,
    present::{self, Color, Style},
};

/// Where it is.
const FILE: &str = "demo/incident-a.rec";
/// Mounted file systems that a reader knows from any machine.
const MOUNTS: [&[u8]; 2] = [b"/", b"/srv"];

#[test]
fn the_demo_tells_the_cause_its_weight_and_the_first_remedy_in_ten_lines() {
    let recording = Recording::of_bytes("the demo", DEMO);
    let recording = recording.expect("make it anew, as docs/recordings.md says");
    assert_eq!(recording.note(), None);
    let window = window(recording).unwrap();
    let diagnosis = diagnose::run(&window);
    let style = Style {
        color: Color::Never,
        width: 80,
    };
    let report = present::text::report(&window, &diagnosis, style);
    let first: Vec<&str> = report.lines().take(10).collect();
    let first = first.join("\n");
    assert!(first.contains("1  CRITICAL  W01  "), "{first}");
    for words in ["203.0.113.5:443", "%", "Do first"] {
        assert!(first.contains(words), "no {words} in\n{first}");
    }
}

#[test]
fn the_demo_is_small_and_names_nothing_but_the_shop() {
    assert!(DEMO.len() < 300_000, "{}", DEMO.len());
    let window = window(Recording::of_bytes("the demo", DEMO).unwrap()).unwrap();
    let json = present::json::report(&window, &diagnose::run(&window));
    assert!(json.contains("/catalog.php?cat="));
    for foreign in ["/home", "/work", "/root", "/tmp", "cargo", "rustc"] {
        assert!(!json.contains(foreign), "{foreign}");
    }
}

/// Leaves of a reading what is about these processes, and about file systems that every machine has.
fn keep(reading: &mut Reading, pids: &HashSet<u32>) {
    let ours = |pid: u32| pids.contains(&pid);
    reading.processes.retain(|p| ours(p.pid));
    // They are about processes that are left out, too.
    reading.losses = Default::default();
    if let Some(tcp) = &mut reading.tcp {
        for owners in &mut tcp.owners {
            owners.processes.retain(|p| ours(p.pid));
            owners.listeners.retain(|l| ours(l.tgid));
            owners.holders.retain(|h| ours(h.tgid));
        }
    }
    if let Some(dns) = &mut reading.dns {
        dns.sums.retain(|q| ours(q.pid));
        dns.retired.retain(|q| ours(q.pid));
        dns.open.retain(|q| ours(q.pid));
        dns.resolvers.retain(|r| ours(r.pid));
    }
    let kept = |mounts: &mut Vec<Mount>| {
        mounts.retain(|m| MOUNTS.contains(&&*m.mount_point));
        mounts
            .iter_mut()
            .for_each(|m| m.super_options = b"rw".to_vec());
        let devices = mounts.iter().map(|m| m.device);
        devices.collect::<HashSet<Device>>()
    };
    if let Some(files) = &mut reading.files {
        let devices = kept(&mut files.mounts);
        files.directories.retain(|d| ours(d.pid));
        files.retired.retain(|d| ours(d.pid));
        files.refused.retain(|r| ours(r.pid));
        files.refused_retired.retain(|r| ours(r.pid));
        files.steps.clear();
        for uses in &mut files.uses {
            uses.file_systems.retain(|u| devices.contains(&u.device));
            uses.not_asked.clear();
        }
    }
    if let Some(journal) = &mut reading.journal {
        let devices = kept(&mut journal.mounts);
        journal.commits.retain(|c| devices.contains(&c.device));
        journal.each.retain(|c| devices.contains(&c.device));
        journal.names.retain(|n| devices.contains(&n.0));
        journal.syncs.retain(|s| ours(s.pid));
        journal.handles.retain(|h| ours(h.pid));
        journal.sleeps.retain(|s| ours(s.pid));
        journal.retired_syncs.retain(|s| ours(s.pid));
        journal.retired_handles.retain(|s| ours(s.pid));
        journal.retired_sleeps.retain(|s| ours(s.pid));
        journal.asleep.retain(|s| ours(s.pid));
    }
}

fn reading_of(frame: &mut Frame) -> &mut Reading {
    match frame {
        Frame::Events(reading) => reading,
        Frame::Full(full) => &mut full.reading,
    }
}

/// All frames, and whose they are: the pool's workers, and who holds TCP sockets in the namespace that was watched.
fn frames_of(mut recording: Recording) -> (Header, Vec<Frame>, HashSet<u32>) {
    let (mut frames, mut pids) = (Vec::new(), HashSet::new());
    while let Some(mut frame) = recording.next_frame().unwrap() {
        let reading = reading_of(&mut frame);
        pids.extend(reading.processes.iter().map(|p| p.pid));
        let owners = reading.tcp.iter().flat_map(|tcp| &tcp.owners);
        let holders = owners.flat_map(|owners| &owners.processes);
        pids.extend(
            holders
                .filter(|p| p.counts.iter().any(|n| *n > 0))
                .map(|p| p.pid),
        );
        frames.push(frame);
    }
    (recording.header().clone(), frames, pids)
}

/// Makes the demo of the recording that `DEMO_FROM` names.
#[test]
fn what_is_not_the_shops_is_left_out() {
    let bytes = |frame: &mut Frame| format!("{:?}", reading_of(frame).processes).len();
    let Some(from) = env::var_os("DEMO_FROM") else {
        let demo = Recording::of_bytes("the demo", DEMO).unwrap();
        let (_, mut frames, pids) = frames_of(demo);
        for frame in &mut frames {
            let before = bytes(frame);
            keep(reading_of(frame), &pids);
            assert_eq!(bytes(frame), before);
        }
        return;
    };
    let (header, frames, pids) = frames_of(Recording::open(Path::new(&from)).unwrap());
    let release = header.kernel.split('-').next().unwrap_or_default();
    let header = Header {
        kernel: release.to_owned(),
        ..header
    };
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE);
    // It is there already, or this would not compile.
    fs::remove_file(&file).unwrap();
    let mut writer = Writer::create(&file, &header, u64::MAX / 2).unwrap();
    for mut frame in frames {
        keep(reading_of(&mut frame), &pids);
        writer.push(&frame).unwrap();
    }
    writer.finish().unwrap();
}
