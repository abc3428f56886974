//! The directory part of a path that was passed to a call.
//!
//! Shape, for the BPF verifiers of Linux 5.10 and later, which follow a loop step by step: eight bytes at a step.

use super::TEXT_LEN;
use crate::peer::mix;

/// Everything up to the last `/`, with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Directory {
    /// Bytes; 0 when there is no `/`.
    pub len: u32,
    /// Hash of them, see [`mix`]; the same for all paths without any.
    pub hash: u64,
}

const ONES: u64 = u64::MAX / 255;
const TOPS: u64 = ONES << 7;
const SLASHES: u64 = ONES * b'/' as u64;

/// What a step leaves for the next one in memory, so that every step begins in the same verifier state.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Search {
    /// Hash of what lies before the last word that has a slash.
    before: u64,
    /// That word.
    word: u64,
    /// The highest bit of each of its bytes that is a slash.
    slashes: u64,
    /// Which word it is.
    at: u64,
}

/// The directory part of the first `len` bytes (fewer than there are) of `text`, whatever lies behind them.
#[inline(always)]
pub fn directory(text: &[u64; TEXT_LEN / 8], len: &u32, search: &mut Search) -> Directory {
    // SAFETY: a valid reference.
    let len = || unsafe { core::ptr::from_ref(len).read_volatile() } as usize;
    // SAFETY: a valid reference.
    unsafe { core::ptr::from_mut(search).write_volatile(Search::default()) };
    let mut hash = 0;
    let whole = len() / 8;
    let mut i = 0;
    while i < TEXT_LEN / 8 {
        if i >= whole {
            break;
        }
        hash = search.step(i, text[i], hash);
        i += 1;
    }
    // Read once more: the verifier knows of the other how far the loop went, and would go on from each step apart.
    let len = len();
    let rest = (1 << (len % 8 * 8)) - 1;
    let last = len / 8 % (TEXT_LEN / 8);
    // SAFETY: the remainder is below the length.
    search.step(last, unsafe { text.get_unchecked(last) } & rest, hash);
    search.end()
}

impl Search {
    /// The hash with one word more.
    #[inline(always)]
    fn step(&mut self, i: usize, word: u64, hash: u64) -> u64 {
        let word = u64::from_le(word);
        // No carry crosses from one byte to the next.
        let other = word ^ SLASHES;
        let slashes = !(((other & !TOPS) + !TOPS) | other) & TOPS;
        if slashes != 0 {
            let found = Self {
                before: hash,
                word,
                slashes,
                at: i as u64,
            };
            // SAFETY: a valid reference.
            unsafe { core::ptr::from_mut(self).write_volatile(found) };
        }
        mix(hash, word)
    }

    /// Without a comparison: for its sake the verifier would tell apart where the last one was.
    #[inline(always)]
    fn end(&self) -> Directory {
        // SAFETY: a valid reference.
        let found = unsafe { core::ptr::from_ref(self).read_volatile() };
        // Every byte up to the highest one that is marked.
        let upto = found.slashes | (found.slashes >> 8);
        let upto = upto | (upto >> 16);
        let upto = ((upto | (upto >> 32)) >> 7) & ONES;
        Directory {
            len: found.at as u32 * 8 + (upto.wrapping_mul(ONES) >> 56) as u32,
            hash: mix(found.before, found.word & (upto * 255)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the kernel leaves it: behind the path lies what was there before.
    fn of(path: &str) -> Directory {
        let mut text = [u64::from_le_bytes(*b"/stale//"); TEXT_LEN / 8];
        for (word, chunk) in text.iter_mut().zip(path.as_bytes().chunks(8)) {
            let mut bytes = word.to_le_bytes();
            bytes[..chunk.len()].copy_from_slice(chunk);
            *word = u64::from_le_bytes(bytes);
        }
        directory(&text, &(path.len() as u32), &mut Search::default())
    }

    #[test]
    fn it_ends_with_the_last_slash() {
        for (path, len) in [
            ("", 0),
            ("a", 0),
            ("/", 1),
            ("a/", 2),
            ("/a", 1),
            ("a/b", 2),
            ("1234567/", 8),
            ("1234567/8", 8),
            ("12345678/", 9),
            ("//", 2),
            // Neighbours of the slash, with and without the highest bit.
            ("a.b0c\u{af}\u{2f}0", 8),
        ] {
            assert_eq!(of(path).len, len, "{path}");
        }
        for len in 1..TEXT_LEN {
            for at in [0, len / 3, len - 1] {
                let mut path = vec![b'x'; len];
                path[at] = b'/';
                let path = String::from_utf8(path).expect("ASCII");
                assert_eq!(of(&path).len as usize, at + 1, "{len}");
            }
        }
    }

    #[test]
    fn names_do_not_change_the_hash_and_directories_do() {
        for dir in ["/", "a/", "/var/cache/", "/var/www/shop/cache/0123/"] {
            let first = of(&format!("{dir}x"));
            for name in [
                "",
                "y",
                "a-longer-name",
                "a-name-of-more-than-sixteen-bytes.php",
            ] {
                assert_eq!(of(&format!("{dir}{name}")), first, "{dir}{name}");
            }
        }
        let mut seen = std::collections::HashSet::new();
        for i in 0..100_000 {
            // Differences in the highest bytes of words, too, where a product alone would lose them.
            let dir = format!("/c/{:04x}{i:05x}/sub{:02x}/", i % 7, i & 0xff);
            assert!(seen.insert(of(&dir).hash), "{dir}");
        }
    }
}
