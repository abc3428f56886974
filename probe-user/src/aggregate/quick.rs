//! A table by ids that the kernel gives away: a lookup costs a few nanoseconds, where the standard one takes twenty and more.
//!
//! Its order is the same in every run. Keys that are made to collide would slow it down, so it is for bounded tables and
//! for ids that nobody outside chooses freely.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

/// A table by such ids.
pub(super) type QuickMap<K, V> = HashMap<K, V, BuildHasherDefault<Quick>>;

/// Multiplies and adds (as rustc's own tables do).
#[derive(Clone, Copy, Default)]
pub(super) struct Quick(u64);

impl Hasher for Quick {
    fn finish(&self) -> u64 {
        // The table takes the low bits, and those of a product depend on the low bits alone.
        self.0.rotate_left(26)
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_ne_bytes(word));
        }
    }

    fn write_u32(&mut self, n: u32) {
        self.write_u64(n.into());
    }

    fn write_u64(&mut self, n: u64) {
        self.0 = self.0.wrapping_add(n).wrapping_mul(0xf135_7aea_2e62_a9c5);
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, hash::BuildHasher as _};

    use super::*;

    #[test]
    fn ids_that_follow_each_other_are_spread() {
        let hasher = BuildHasherDefault::<Quick>::default();
        let low: HashSet<u64> = (0..1000u32)
            .map(|n| hasher.hash_one((n, n * 7)) % 4096)
            .collect();
        assert!(low.len() > 700, "{}", low.len());
    }
}
