//! Messages to and from port 53: what runs in the kernel, beside a plain reader of RFC 1035.

use probe_common::dns::message::{
    HEADER, LOOKED_AT, NAME_MAX, Scratch, begins, header, is, question,
};

/// A question, as a plain reader finds it.
#[derive(Debug, PartialEq, Eq)]
struct Question {
    id: u32,
    kind: u32,
    /// Length bytes and labels, lower case.
    name: Vec<u8>,
}

/// Reads the message, after another one has been there.
pub fn run(bytes: &[u8]) {
    let expected = plain(bytes);
    for remains in [0xa5, 0x01] {
        let (verdict, scratch) = found(bytes, remains);
        let got = (verdict == is::QUESTION).then(|| Question {
            id: scratch.id,
            kind: scratch.qtype,
            name: scratch.name.bytes[..scratch.name.len as usize].to_vec(),
        });
        match &expected {
            Ok(question) => {
                assert_eq!(got.as_ref(), Some(question));
                assert_eq!(scratch.hash, hash(&question.name));
            }
            Err(what) => assert_eq!(verdict, *what),
        }
    }
    if let Ok(expected) = expected {
        // Names are the same in capitals.
        let mut other = bytes.to_vec();
        let name = &mut other[HEADER..HEADER + expected.name.len()];
        for_labels(name, |label| label.make_ascii_uppercase());
        let (verdict, scratch) = found(&other, 0);
        assert_eq!(
            (verdict, scratch.hash),
            (is::QUESTION, hash(&expected.name))
        );
    }
    if let Some(head) = bytes.first_chunk::<HEADER>() {
        let read = header(head);
        assert_eq!(read.id.to_be_bytes(), head[..2]);
        assert_eq!(read.answers.to_be_bytes(), head[6..8]);
        assert_eq!(read.rcode | head[3] & 0xf0, head[3]);
        let first: &[u8; 6] = head[..6].try_into().expect("six bytes");
        // A message may begin so as an answer, as a question, or as neither.
        assert!(!begins(first, true) || read.answer && !begins(first, false));
    }
}

/// What the kernel side finds, behind the remains of another message.
fn found(bytes: &[u8], remains: u8) -> (u32, Box<Scratch>) {
    let mut scratch = Box::new(Scratch::ZERO);
    scratch.message.fill(remains);
    scratch.name.bytes.fill(remains);
    scratch.label = remains.into();
    let n = bytes.len().min(LOOKED_AT as usize);
    scratch.message[..n].copy_from_slice(&bytes[..n]);
    let verdict = question(&mut scratch, n as u32);
    (verdict, scratch)
}

/// RFC 1035, sections 3.1 and 4.1; what is not a question ends in what it is.
fn plain(bytes: &[u8]) -> Result<Question, u32> {
    let bytes = &bytes[..bytes.len().min(LOOKED_AT as usize)];
    let [a, b, flags, _, count @ ..] = bytes else {
        return Err(is::MALFORMED);
    };
    if bytes.len() < HEADER {
        return Err(is::MALFORMED);
    }
    let (answer, operation) = (flags >> 7, flags >> 3 & 15);
    if answer == 1 || operation != 0 || count[..2] == [0, 0] {
        return Err(is::SOMETHING_ELSE);
    }
    let mut name = Vec::new();
    let mut rest = &bytes[HEADER..];
    loop {
        let (&len, behind) = rest.split_first().ok_or(is::MALFORMED)?;
        name.push(len);
        if len > 63 || name.len() + usize::from(len) > NAME_MAX {
            return Err(is::MALFORMED);
        }
        let (label, behind) = behind.split_at_checked(len.into()).ok_or(is::MALFORMED)?;
        name.extend(label.to_ascii_lowercase());
        rest = behind;
        if len == 0 {
            break;
        }
    }
    match rest {
        [high, low, _, _, ..] => Ok(Question {
            id: u16::from_be_bytes([*a, *b]).into(),
            kind: u16::from_be_bytes([*high, *low]).into(),
            name,
        }),
        _ => Err(is::MALFORMED),
    }
}

fn for_labels(mut name: &mut [u8], change: impl Fn(&mut [u8])) {
    while let Some((len, rest)) = name.split_first_mut() {
        let (label, behind) = rest.split_at_mut((*len).into());
        change(label);
        name = behind;
    }
}

/// FNV-1a, its upper half folded into the lower one; never 0.
fn hash(name: &[u8]) -> u64 {
    let sum = name.iter().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    (sum ^ sum >> 32) | 1 << 63
}
