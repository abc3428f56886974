//! Recordings as files: what comes back, of whole ones, of cut ones, of damaged ones.

use std::{fs, path::PathBuf};

use probe_common::{peer::PeerKey, request::Request, task::Task};

use super::{Frame, Full, Header, Recording, Writer, format, make::Maker};
use crate::collect::{Process, Reading};

/// A folder that goes with the test, and a file in it.
fn file() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.rec");
    (folder, path)
}

fn header() -> Header {
    Header {
        tool_version: "0.1.0".to_owned(),
        host: "web-07".to_owned(),
        kernel: "6.1.0-50".to_owned(),
        target: "pool www".to_owned(),
        start_unix_ns: 1_700_000_000_000_000_000,
        start_ns: 1_000_000_000_000,
    }
}

fn reading(n: u64) -> Reading {
    let worker = |pid| Process {
        pid,
        comm: b"php-fpm8.2".to_vec(),
        ..Process::default()
    };
    Reading {
        at_ns: 1_000_000_000_000 + n,
        requests: (0..3)
            .map(|i| Request {
                start_ns: n * 7919 + i,
                ..Request::ZERO
            })
            .collect(),
        peers: [(n, PeerKey::ZERO)].into(),
        processes: (0..9).map(worker).collect(),
        ..Reading::default()
    }
}

fn events(n: u64) -> Frame {
    Frame::Events(Box::new(reading(n)))
}

fn full(n: u64) -> Frame {
    let tasks = (0..9).map(|tid| Task {
        tid,
        since_ns: n,
        ..Task::ZERO
    });
    Frame::Full(Box::new(Full {
        reading: Reading {
            tasks: tasks.collect(),
            ..reading(n)
        },
        probes: Vec::new(),
        cost: Default::default(),
        unix_ns: n,
    }))
}

/// What can be compared: frames as they are written.
fn text(frames: &[Frame]) -> Vec<Vec<u8>> {
    let encode = |frame: &Frame| match frame {
        Frame::Events(reading) => format::encode(reading, vec![b'e']),
        Frame::Full(full) => format::encode(full, vec![b'f']),
    };
    frames.iter().map(|frame| encode(frame).unwrap()).collect()
}

/// A look at everything, then three of what came since, and so on; `n` in all, the last one of everything.
fn frames(n: u64) -> Vec<Frame> {
    let frame = |i| match i % 4 == 0 || i == n - 1 {
        true => full(i),
        false => events(i),
    };
    (0..n).map(frame).collect()
}

fn write(path: &std::path::Path, frames: &[Frame], max_bytes: u64) {
    let mut writer = Writer::create(path, &header(), max_bytes).unwrap();
    frames.iter().for_each(|f| writer.push(f).unwrap());
    writer.finish().unwrap();
}

/// All frames, and what is said about the rest.
fn read(path: &std::path::Path) -> Result<(Vec<Frame>, Option<String>), String> {
    let mut recording = Recording::open(path).map_err(|e| e.to_string())?;
    let mut frames = Vec::new();
    while let Some(frame) = recording.next_frame().map_err(|e| e.to_string())? {
        frames.push(frame);
    }
    Ok((frames, recording.note()))
}

#[test]
fn what_is_written_comes_back() {
    let (_folder, path) = file();
    let mut written = frames(10);
    let mut maker = Maker::new(Some(1));
    for _ in 0..50 {
        written.push(Frame::Full(maker.make()));
        written.push(Frame::Events(maker.make()));
    }
    written.push(full(11));
    write(&path, &written, 1 << 30);
    let (back, note) = read(&path).unwrap();
    assert!(text(&back) == text(&written));
    assert_eq!(note, None);
    assert_eq!(*Recording::open(&path).unwrap().header(), header());
}

#[test]
fn a_recording_that_breaks_off_anywhere_is_read_up_to_its_last_whole_look() {
    let (_folder, path) = file();
    let written = frames(9);
    write(&path, &written, 1 << 30);
    let bytes = fs::read(&path).unwrap();
    let all = text(&written);
    let mut seen = Vec::new();
    for len in (0..200).chain(4000..bytes.len()).rev() {
        fs::write(&path, &bytes[..len]).unwrap();
        match read(&path) {
            Ok((frames, note)) => {
                assert!(matches!(frames.last(), Some(Frame::Full(_))));
                assert!(text(&frames) == all[..frames.len()]);
                assert!(note.is_some(), "{len} of {}", bytes.len());
                seen.push(frames.len());
            }
            Err(why) => {
                assert!(len < 5000, "{len}: {why}");
                assert!(why.contains("byte") || why.contains("recording"), "{why}");
            }
        }
    }
    seen.dedup();
    assert_eq!(seen, [9, 5, 1]);
}

#[test]
fn damage_is_found_wherever_it_is() {
    let (_folder, path) = file();
    let written = frames(9);
    write(&path, &written, 1 << 30);
    let bytes = fs::read(&path).unwrap();
    let all = text(&written);
    let header_end = 72 + format::encode(&header(), Vec::new()).unwrap().len();
    for at in (0..header_end).chain(4096..bytes.len()) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        fs::write(&path, &damaged).unwrap();
        // The version is for errors alone.
        let harmless = (18..64).contains(&at);
        match read(&path) {
            Ok((frames, note)) => {
                assert!(text(&frames) == all[..frames.len()]);
                assert!(harmless || note.is_some(), "{at}");
            }
            Err(why) => assert!(!why.contains('\n'), "{why}"),
        }
    }
}

/// The number that [`events`] and [`full`] were given.
fn number(frame: &Frame) -> u64 {
    let reading = match frame {
        Frame::Events(reading) => reading,
        Frame::Full(full) => &full.reading,
    };
    reading.at_ns - 1_000_000_000_000
}

/// Adds what packing makes no smaller: 1 KiB.
fn noisy(mut frame: Frame) -> Frame {
    let mut maker = Maker::new(Some(number(&frame) + 1));
    let text = std::iter::repeat_with(|| maker.below(256) as u8).take(1024);
    let comm = text.collect();
    let process = Process {
        comm,
        ..Process::default()
    };
    match &mut frame {
        Frame::Events(reading) => reading.processes.push(process),
        Frame::Full(full) => full.reading.processes.push(process),
    }
    frame
}

#[test]
fn a_ring_keeps_the_newest_within_its_size_and_is_readable_at_any_moment() {
    const SIZE: u64 = 1 << 20;
    let (_folder, path) = file();
    let mut writer = Writer::create(&path, &header(), SIZE).unwrap();
    for n in 0..5000 {
        let frame = if n % 4 == 0 { full(n) } else { events(n) };
        writer.push(&noisy(frame)).unwrap();
        let len = fs::metadata(&path).unwrap().len();
        assert!(len <= SIZE, "{len}");
        assert_eq!(len, writer.bytes());
        if n % 97 == 0 {
            let (frames, note) = read(&path).unwrap();
            let numbers: Vec<u64> = frames.iter().map(number).collect();
            let newest = n / 4 * 4;
            assert_eq!(numbers.last(), Some(&newest));
            assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]));
            assert!(note.is_some());
            let (since_ns, dropped) = writer.kept_since().unwrap();
            assert_eq!(since_ns, 1_000_000_000_000 + numbers[0]);
            assert_eq!(dropped, numbers[0] > 0);
            // At least three quarters of what fits are there.
            assert!(
                numbers.len() as u64 > (n / 4 * 4).min(SIZE / 1100 * 3 / 4),
                "{n}"
            );
        }
    }
    writer.finish().unwrap();
    let (_, note) = read(&path).unwrap();
    assert!(note.unwrap().starts_with("its beginning was dropped"));
}

#[test]
fn a_look_larger_than_the_ring_is_kept_all_the_same() {
    let (_folder, path) = file();
    let mut writer = Writer::create(&path, &header(), 64 << 10).unwrap();
    for n in 0..200 {
        let Frame::Full(mut large) = full(n) else {
            unreachable!()
        };
        let mut maker = Maker::new(Some(n + 1));
        let comm = std::iter::repeat_with(|| maker.below(256) as u8).take(100_000);
        large.reading.processes[0].comm = comm.collect();
        writer.push(&Frame::Full(large)).unwrap();
        let (frames, _) = read(&path).unwrap();
        assert_eq!(frames.last().map(number), Some(n));
        assert!(writer.bytes() < 330_000, "{}", writer.bytes());
    }
}

#[test]
fn what_is_no_recording_is_refused_in_a_line() {
    let (folder, path) = file();
    let refused = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        let why = Recording::open(&path).map(|_| ()).unwrap_err().to_string();
        assert!(!why.contains('\n'), "{why}");
        why.replace(&path.display().to_string(), "FILE")
    };
    assert_eq!(
        refused(b""),
        "FILE is no recording of stallscope: it is empty"
    );
    assert_eq!(refused(b"\x7fELF"), "FILE is no recording of stallscope");
    assert_eq!(
        refused(b"{\"schema_version\":"),
        "FILE is no recording of stallscope (a report? `diff` reads these)"
    );
    let mut newer = format::beginning(&header()).unwrap();
    newer[16] = 3;
    newer[19..24].copy_from_slice(b"0.9.9");
    assert_eq!(
        refused(&newer),
        "FILE was written by stallscope 0.9.9 in format 3, and this one reads format 2 alone: replay it with stallscope \
         0.9.9"
    );
    let why = Recording::open(folder.path()).map(|_| ()).unwrap_err();
    assert!(why.to_string().ends_with("it is a directory"), "{why}");
    let why = Recording::open(std::path::Path::new("/dev/zero")).map(|_| ());
    assert!(why.unwrap_err().to_string().ends_with("it is no file"));
    assert!(Recording::open(&folder.path().join("none")).is_err());
}

#[test]
fn a_file_that_is_there_is_not_overwritten() {
    let (_folder, path) = file();
    fs::write(&path, "precious").unwrap();
    let why = Writer::create(&path, &header(), 1 << 20)
        .map(|_| ())
        .unwrap_err();
    assert!(why.to_string().contains("it is there already"), "{why}");
    assert_eq!(fs::read(&path).unwrap(), b"precious");
}

#[test]
fn an_excerpt_holds_what_was_asked_for_and_little_more() {
    const SEGMENT: u64 = 40;
    const BASE: u64 = 1_000_000_000_000;
    let (folder, path) = file();
    let mut ring = Writer::ring(&path, &header(), 1 << 20, SEGMENT).unwrap();
    for n in 0..3001 {
        let frame = if n % 4 == 0 { full(n) } else { events(n) };
        ring.push(&noisy(frame)).unwrap();
        if n % 500 != 0 || n == 0 {
            continue;
        }
        for back in [1, 20, 100, 10_000] {
            let from_ns = BASE + n.saturating_sub(back);
            let name = folder.path().join(format!("{n}-{back}.rec"));
            let mut into = fs::File::create_new(&name).unwrap();
            let excerpt = ring.excerpt(&mut into, from_ns, from_ns).unwrap();
            assert_eq!(excerpt.bytes, fs::metadata(&name).unwrap().len());
            assert!(excerpt.bytes <= ring.excerpt_bytes(from_ns));
            let recording = Recording::open(&name).unwrap();
            assert_eq!(recording.judged_from_ns(), Some(from_ns));
            let (frames, note) = read(&name).unwrap();
            assert_eq!(note, None);
            let numbers: Vec<u64> = frames.iter().map(number).collect();
            assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]));
            assert_eq!(numbers.last(), Some(&n));
            assert_eq!(excerpt.from_ns, BASE + numbers[0]);
            if back <= 100 {
                assert!((SEGMENT + back) >= n - numbers[0], "{n} {back}");
                assert!(n - numbers[0] >= back);
            } else {
                // As far back as the ring goes.
                assert!(n - numbers[0] >= n.min(500), "{numbers:?}");
            }
        }
    }
}

#[test]
fn nothing_is_read_across_a_gap() {
    let (folder, path) = file();
    let mut ring = Writer::ring(&path, &header(), 1 << 20, u64::MAX).unwrap();
    for n in 0..100 {
        if n == 50 {
            ring.gap();
        }
        let frame = if n % 4 == 0 { full(n) } else { events(n) };
        ring.push(&frame).unwrap();
    }
    let name = folder.path().join("b.rec");
    let mut into = fs::File::create_new(&name).unwrap();
    ring.excerpt(&mut into, 0, 0).unwrap();
    for file in [&path, &name] {
        let (frames, _) = read(file).unwrap();
        let numbers: Vec<u64> = frames.iter().map(number).collect();
        assert_eq!(numbers.first().zip(numbers.last()), Some((&52, &96)));
    }
}
