//! Recordings as files: whatever stands in one, it is frames or an error with its place, within bounded memory.
//!
//! Every block has a checksum, behind which no fuzzer would ever come. So the lowest bit of the first byte says whether checksums
//! are made right before the file is read; the highest one, whether a report is made of what was read.

use std::{
    fs::File,
    os::fd::AsRawFd,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use stallscope::{
    collect::{
        fuzzing::recording::{
            BLOCK, BlockHead, Kind, MARK, MAX_FRAME, MAX_MEMORY, PREAMBLE, Place, align, mark,
        },
        recording::{Frame, Recording},
    },
    session::{fuzzing::window, plain},
};

use crate::{memory, outputs};

/// One frame packed and unpacked, and what is decoded of it: lists in it may have grown to twice their length, and are copied
/// when they grow.
const MOST: usize = 2 * MAX_FRAME + 3 * MAX_MEMORY;

/// Reads a file of these bytes.
pub fn run(bytes: &[u8]) {
    let Some((&how, bytes)) = bytes.split_first() else {
        return;
    };
    let mut bytes = bytes.to_vec();
    if how & 1 == 1 {
        make_right(&mut bytes);
    }
    let path = file(&bytes);
    memory::within(MOST + memory::ALWAYS, || frames(&path, bytes.len()));
    if how >= 128
        && let Ok(recording) = Recording::open(&path)
        && let Ok(window) = window(recording)
    {
        outputs::reports(&window);
    }
}

/// Reads it to its end or its first error.
fn frames(path: &Path, len: usize) {
    let mut recording = match Recording::open(path) {
        Ok(recording) => recording,
        Err(why) => return line(&why.to_string()),
    };
    if let Some(note) = recording.note() {
        line(&note);
    }
    let mut last_is_full = true;
    let mut count = 0;
    loop {
        match recording.next_frame() {
            Ok(Some(frame)) => {
                let full = matches!(frame, Frame::Full(_));
                assert!(full || count > 0, "it begins with news");
                last_is_full = full;
                count += 1;
                assert!(count <= len / BLOCK, "more frames than there is room for");
            }
            Ok(None) => break,
            Err(why) => return line(&why.to_string()),
        }
    }
    assert!(count > 0 && last_is_full, "it ends with news");
}

/// What is said about a file is one line, whatever it holds, when it has gone the way to the terminal.
fn line(text: &str) {
    let said = plain(text);
    outputs::harmless(&said);
    assert!(!said.contains('\n') && text.len() < 400, "{text:?}");
}

/// A file with this in it: the same one each time.
fn file(bytes: &[u8]) -> PathBuf {
    static FILE: OnceLock<File> = OnceLock::new();
    let file = FILE.get_or_init(|| {
        File::from(memfd_create("recording", MemfdFlags::CLOEXEC).expect("a file in memory"))
    });
    ftruncate(file, 0).expect("it can be emptied");
    file.write_all_at(bytes, 0).expect("it can be written");
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

/// Makes all checksums right that are where a reader looks for them.
fn make_right(file: &mut [u8]) {
    let Some(header) = number(file, PREAMBLE) else {
        return;
    };
    let body = PREAMBLE + 8;
    let Some(bytes) = file.get(body..body + header) else {
        return;
    };
    let crc = crc32fast::hash(bytes).to_le_bytes();
    file[PREAMBLE + 4..body].copy_from_slice(&crc);
    let mut at = align((body + header) as u64) as usize;
    while let Some(start) = file.get(at..at + MARK) {
        if let Some(segment) = start[8..16]
            .first_chunk::<8>()
            .map(|n| u64::from_le_bytes(*n))
            && start[..8] == mark(segment)[..8]
        {
            file[at..at + MARK].copy_from_slice(&mark(segment));
            at = blocks(file, segment, at + MARK);
        }
        at = align(at as u64 + 1) as usize;
    }
}

/// The same for the blocks of a segment; returns where they end.
fn blocks(file: &mut [u8], segment: u64, mut at: usize) -> usize {
    for block in 0.. {
        let head = file.get(at..).and_then(<[u8]>::first_chunk::<BLOCK>);
        let Some(mut head) = head.and_then(BlockHead::of) else {
            break;
        };
        let end = at + BLOCK + head.len as usize;
        let Some(frame) = file.get(at + BLOCK..end) else {
            break;
        };
        let mut crc = head.checksum(Place { segment, block });
        crc.update(frame);
        head.crc = crc.finalize();
        file[at..at + BLOCK].copy_from_slice(&head.bytes());
        at = end;
        if head.kind == Kind::End {
            break;
        }
    }
    at
}

fn number(file: &[u8], at: usize) -> Option<usize> {
    let four = file.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_le_bytes(*four) as usize)
}
