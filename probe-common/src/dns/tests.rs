//! Messages as they should be, and as nobody should send them.

use super::message::{HEADER, Header, LOOKED_AT, NAME_MAX, Scratch, begins, header, is, question};

/// A question: header, labels, root, type, class IN.
fn asks(id: u16, labels: &[&[u8]], qtype: u16) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in labels {
        bytes.push(label.len() as u8);
        bytes.extend(*label);
    }
    bytes.push(0);
    bytes.extend(qtype.to_be_bytes());
    bytes.extend([0, 1]);
    bytes
}

/// What is found in a message, behind the remains of another one.
fn found(bytes: &[u8]) -> (u32, Box<Scratch>) {
    let mut scratch = Box::new(Scratch::ZERO);
    scratch.message.fill(0xa5);
    scratch.label = 7;
    let n = bytes.len().min(LOOKED_AT as usize);
    scratch.message[..n].copy_from_slice(&bytes[..n]);
    let verdict = question(&mut scratch, n as u32);
    (verdict, scratch)
}

fn name(scratch: &Scratch) -> &[u8] {
    &scratch.name.bytes[..scratch.name.len as usize]
}

#[test]
fn a_question_has_a_name_and_a_type() {
    let (verdict, got) = found(&asks(0xabcd, &[b"WWW", b"Example", b"org"], 28));
    assert_eq!((verdict, got.id, got.qtype), (is::QUESTION, 0xabcd, 28));
    assert_eq!(name(&got), b"\x03www\x07example\x03org\x00");
}

#[test]
fn names_are_told_apart_but_not_by_case() {
    let hash = |labels: &[&[u8]]| found(&asks(1, labels, 1)).1.hash;
    assert_eq!(hash(&[b"a", b"b"]), hash(&[b"A", b"B"]));
    let different = [
        hash(&[b"a", b"b"]),
        hash(&[b"b", b"a"]),
        hash(&[b"ab"]),
        hash(&[]),
    ];
    for (i, one) in different.iter().enumerate() {
        assert_ne!(*one, 0);
        assert!(different[..i].iter().all(|other| other != one));
    }
    // Only letters have a case: '@' and '[' lie next to them.
    assert_ne!(hash(&[b"@["]), hash(&[b"`{"]));
}

#[test]
fn the_root_is_a_name() {
    let (verdict, got) = found(&asks(1, &[], 2));
    assert_eq!((verdict, name(&got)), (is::QUESTION, &b"\0"[..]));
}

#[test]
fn a_label_is_any_bytes() {
    let all: Vec<u8> = (0..=255).collect();
    for part in all.chunks(63) {
        let (verdict, got) = found(&asks(1, &[part], 1));
        assert_eq!(verdict, is::QUESTION);
        let lower: Vec<u8> = part.iter().map(u8::to_ascii_lowercase).collect();
        assert_eq!(name(&got)[1..=part.len()], lower);
    }
}

#[test]
fn the_longest_name_has_255_bytes() {
    let label = [b'x'; 63];
    // 3 * 64 + 62 + 1.
    let longest: [&[u8]; 4] = [&label, &label, &label, &label[..61]];
    let (verdict, got) = found(&asks(1, &longest, 255));
    assert_eq!((verdict, got.name.len as usize), (is::QUESTION, NAME_MAX));
    assert_eq!(got.qtype, 255);
    let longer: [&[u8]; 4] = [&label, &label, &label, &label[..62]];
    assert_eq!(found(&asks(1, &longer, 255)).0, is::MALFORMED);
}

#[test]
fn a_label_of_64_bytes_and_a_pointer_are_refused() {
    for first in [64, 0x80, 0xc0, 0xff] {
        let mut bytes = asks(1, &[&[b'x'; 63]], 1);
        bytes[HEADER] = first;
        assert_eq!(found(&bytes).0, is::MALFORMED, "{first}");
    }
    // A pointer to itself, and one behind a label.
    let mut bytes = asks(1, &[b"a"], 1);
    bytes.splice(HEADER + 2..HEADER + 3, [0xc0, HEADER as u8]);
    assert_eq!(found(&bytes).0, is::MALFORMED);
}

#[test]
fn a_message_that_is_cut_off_is_malformed() {
    let whole = asks(1, &[b"www", b"example", b"org"], 1);
    for n in 0..whole.len() {
        assert_eq!(found(&whole[..n]).0, is::MALFORMED, "{n}");
    }
}

#[test]
fn answers_updates_and_empty_messages_are_something_else() {
    let mut bytes = asks(1, &[b"a"], 1);
    bytes[2] |= 0x80;
    assert_eq!(found(&bytes).0, is::SOMETHING_ELSE);
    bytes[2] = 5 << 3;
    assert_eq!(found(&bytes).0, is::SOMETHING_ELSE);
    (bytes[2], bytes[5]) = (1, 0);
    assert_eq!(found(&bytes).0, is::SOMETHING_ELSE);
}

#[test]
fn an_answers_header_is_taken_apart() {
    let bytes = [0x12, 0x34, 0x83, 0x83, 0, 1, 0, 2, 0, 0, 0, 0];
    let expected = Header {
        id: 0x1234,
        answer: true,
        truncated: true,
        rcode: 3,
        answers: 2,
    };
    assert_eq!(header(&bytes), expected);
    assert!(begins(&[0x12, 0x34, 0x83, 0x83, 0, 1], true));
    assert!(!begins(&[0x12, 0x34, 0x83, 0x83, 0, 1], false));
    assert!(!begins(&[0, 29, 0x12, 0x34, 1, 0], false));
}

/// xorshift64.
fn next(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

#[test]
fn random_bytes_never_panic() {
    let mut seed = 0x2545_f491_4f6c_dd1d;
    let mut questions = 0;
    for round in 0..200_000 {
        let mut bytes: Vec<u8> = (0..next(&mut seed) % 300)
            .map(|_| next(&mut seed) as u8)
            .collect();
        if round % 2 == 0 {
            // With short labels, most get further than the first one.
            bytes.iter_mut().skip(HEADER).for_each(|b| *b &= 3);
            bytes.iter_mut().skip(2).take(1).for_each(|b| *b = 0);
        }
        let (verdict, got) = found(&bytes);
        if verdict == is::QUESTION {
            questions += 1;
            assert!(got.name.len as usize <= NAME_MAX);
            assert_eq!(name(&got).last(), Some(&0));
        }
    }
    assert!(questions > 10_000, "{questions}");
}
