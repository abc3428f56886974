//! Takes a DNS message apart (RFC 1035 section 4.1): the header, and the first question's name and type.
//!
//! Shape, for the BPF verifiers of Linux 5.10 and later, which follow each branch of each step: one flat loop over the
//! bytes of the name, with masks in place of branches. What is left of the label under way lives in memory, not in a
//! register, so that every step begins in the same verifier state. A name in a question is never compressed (a pointer
//! there has nothing to point back to), so nothing is followed and no message can make the loop longer.

use crate::shared;

/// Bytes of the header.
pub const HEADER: usize = 12;
/// Longest name, with its length bytes and the root's (RFC 1035 section 2.3.4).
pub const NAME_MAX: usize = 255;
/// Room for a name.
pub const NAME_ROOM: usize = 256;
/// Bytes of a message that are looked at: header, name, type and class.
pub const LOOKED_AT: u32 = (HEADER + NAME_MAX + 4) as u32;
/// Room for them; a power of two, so that a length or an offset can be masked.
pub const ROOM: usize = 512;

/// What a message turns out to be.
pub mod is {
    /// A question: [`super::Scratch`] has its parts.
    pub const QUESTION: u32 = 0;
    /// Something else: an answer, another operation (update, notify), or no question at all.
    pub const SOMETHING_ELSE: u32 = 1;
    /// No DNS message, or its question is cut off.
    pub const MALFORMED: u32 = 2;
}

shared! {
    /// A message, and what is found in it.
    pub struct Scratch {
        /// The message's beginning.
        pub message: [u8; ROOM],
        /// The name, lower case.
        pub name: super::Name,
        /// Hash of the name, never 0.
        pub hash: u64,
        /// Bytes of the label under way that are still to come.
        pub label: u32,
        /// QTYPE.
        pub qtype: u32,
        /// Id.
        pub id: u32,
        /// Where a number rests while the optimiser forgets its range, and makes no branch of it.
        pub hidden: u32,
    }
}

/// The parts of an answer's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Id.
    pub id: u16,
    /// An answer (QR).
    pub answer: bool,
    /// Cut off (TC).
    pub truncated: bool,
    /// Response code, 0 to 15.
    pub rcode: u8,
    /// Records in the answer section.
    pub answers: u16,
}

/// Takes a header apart.
#[inline(always)]
pub fn header(bytes: &[u8; HEADER]) -> Header {
    Header {
        id: u16::from_be_bytes([bytes[0], bytes[1]]),
        answer: bytes[2] & 0x80 != 0,
        truncated: bytes[2] & 0x02 != 0,
        rcode: bytes[3] & 0x0f,
        answers: u16::from_be_bytes([bytes[6], bytes[7]]),
    }
}

/// Could a message begin with these six bytes? Operation QUERY with one question, and an answer or not.
#[inline(always)]
pub fn begins(bytes: &[u8; 6], answer: bool) -> bool {
    bytes[2] & 0xf8 == (answer as u8) << 7 && bytes[4] == 0 && bytes[5] == 1
}

/// FNV-1a (http://www.isthe.com/chongo/tech/comp/fnv/): a step a byte, without a state beside the sum.
const HASH_START: u64 = 0xcbf2_9ce4_8422_2325;
const HASH_FACTOR: u64 = 0x0000_0100_0000_01b3;

/// Reads back what was written before, so that neither the compiler nor the verifier knows it any more.
#[inline(always)]
fn load(from: &u32) -> u32 {
    // SAFETY: a valid reference.
    unsafe { core::ptr::from_ref(from).read_volatile() }
}

#[inline(always)]
fn store(to: &mut u32, value: u32) {
    // SAFETY: a valid reference.
    unsafe { core::ptr::from_mut(to).write_volatile(value) }
}

/// The byte at `at`, which is masked.
#[inline(always)]
fn byte(message: &[u8; ROOM], at: usize) -> u8 {
    // SAFETY: the mask keeps it inside.
    unsafe { *message.get_unchecked(at & (ROOM - 1)) }
}

/// Takes the first question out of the first `len` bytes (at most [`LOOKED_AT`]) of a message: one of [`is`].
#[inline(always)]
pub fn question(scratch: &mut Scratch, len: u32) -> u32 {
    if len < HEADER as u32 {
        return is::MALFORMED;
    }
    let head = &scratch.message;
    // QR, and the operation; QDCOUNT.
    if head[2] & 0xf8 != 0 || head[4] == 0 && head[5] == 0 {
        return is::SOMETHING_ELSE;
    }
    scratch.id = u16::from_be_bytes([head[0], head[1]]) as u32;
    store(&mut scratch.label, 0);
    let mut hash = HASH_START;
    let mut i = 0;
    let used = loop {
        // Without its end, the name is too long; or the message ends before it.
        if i >= NAME_MAX || (HEADER + i) as u32 >= len {
            return is::MALFORMED;
        }
        let left = load(&scratch.label);
        let byte = scratch.message[HEADER + i] as u32;
        // All bits where a label begins, with its length; none inside of one.
        let begins = (left.wrapping_sub(1) >> 31).wrapping_neg();
        // The two bits above are 11 for a pointer, and mean nothing else.
        if byte & 0xc0 & begins != 0 {
            return is::MALFORMED;
        }
        store(&mut scratch.hidden, byte.wrapping_sub(b'A' as u32) & 0xff);
        let upper = load(&scratch.hidden).wrapping_sub(26) >> 31;
        let byte = byte | upper << 5 & !begins;
        let left = left.wrapping_sub(1);
        let left = left ^ (left ^ byte) & begins;
        store(&mut scratch.label, left);
        scratch.name.bytes[i] = byte as u8;
        hash = (hash ^ byte as u64).wrapping_mul(HASH_FACTOR);
        i += 1;
        // Only the root's length leaves nothing behind at the beginning of a label.
        if left | !begins == 0 {
            break i;
        }
    };
    scratch.name.len = used as u64;
    // The highest bits depend on all bytes, the lowest on few.
    scratch.hash = (hash ^ hash >> 32) | 1 << 63;
    store(&mut scratch.hidden, (HEADER + used) as u32);
    let at = load(&scratch.hidden) as usize;
    if at as u32 + 4 > len {
        return is::MALFORMED;
    }
    let kind = [byte(&scratch.message, at), byte(&scratch.message, at + 1)];
    scratch.qtype = u16::from_be_bytes(kind) as u32;
    is::QUESTION
}
