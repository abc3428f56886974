//! Frames of a recording, unpacked: what is decoded is encoded to what decodes to the same, within the memory that the bytes
//! explain; and whatever came, a report is made of it.
//!
//! An input is frames: a byte of which the lowest bit says whether it is a look at everything, the length in four bytes, the
//! frame. With the highest bit of the first byte, they end in a report, which takes longer than all else.

use stallscope::{
    collect::{
        Reading,
        fuzzing::recording::{decode, encode},
        recording::{Frame, Full, Header},
    },
    session::fuzzing::Fold,
};

use crate::{input::Input, memory, outputs};

/// serde believes a list's length as far as a MiB goes, before anything of it was read; lists lie within lists.
const BELIEVED: usize = 16 << 20;
/// A byte may stand for eight words of zeros; a list may have grown to twice its length, and is copied when it grows and when it
/// has got its last type.
const OF_BYTE: usize = 64 * 2 * 3;

/// Decodes all of them, and folds those that are any into a window.
pub fn run(bytes: &[u8]) {
    let report = bytes.first().is_some_and(|first| *first >= 128);
    let mut input = Input(bytes);
    let mut fold = Fold::new(Header::default(), true);
    while !input.is_empty() {
        let full = input.byte() & 1 == 1;
        let len = input.word() as usize;
        let frame = input.take(len);
        let frame = if full {
            read::<Full>(frame).map(Box::new).map(Frame::Full)
        } else {
            read::<Reading>(frame).map(Box::new).map(Frame::Events)
        };
        if let Some(frame) = frame {
            fold.push(frame);
        }
    }
    let window = fold.finish();
    if report {
        outputs::reports(&window);
    }
}

fn read<T: serde::Serialize + for<'de> serde::Deserialize<'de>>(bytes: &[u8]) -> Option<T> {
    let most = memory::ALWAYS + BELIEVED + OF_BYTE * bytes.len();
    let value = memory::within(most, || decode::<T>(bytes))?;
    // Numbers have several encodings, and lists that are maps an order: what we write is one of them.
    let written = encode(&value, Vec::new()).expect("what was read can be written");
    let again: T = decode(&written).expect("what was written can be read");
    let twice = encode(&again, Vec::new()).expect("what was read can be written");
    assert!(written == twice, "it comes back as something else");
    Some(value)
}
