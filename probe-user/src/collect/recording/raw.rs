//! Structs that the kernel side shares, as bytes: words of zeros, of which such rows are full, take a bit each.
//!
//! For `#[serde(with = "raw")]` on the fields of readings. The layout itself is blessed in probe-common/abi.txt; a
//! change of it is a change of the format.

use std::{cell::Cell, collections::HashMap, fmt, marker::PhantomData};

use aya::Pod;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Visitor};

/// Bytes of a word.
const WORD: usize = 8;

thread_local! {
    /// Bytes that what is being decoded on this thread may still take. serde gives no place for state of ours.
    static LEFT: Cell<usize> = const { Cell::new(0) };
}

/// Sets how much memory the structs of the next frame may take.
pub fn allow(bytes: usize) {
    LEFT.set(bytes);
}

/// Takes memory from what is allowed; false when that is used up.
pub fn take(bytes: usize) -> bool {
    let left = LEFT.get().checked_sub(bytes);
    LEFT.set(left.unwrap_or(0));
    left.is_some()
}

/// Writes a struct.
pub fn serialize<T: Pod, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
    RawRef(value).serialize(to)
}

/// Reads a struct.
pub fn deserialize<'de, T: Pod, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Raw::deserialize(from)?.0)
}

/// A struct on the heap.
pub mod boxed {
    use super::{Deserializer, Pod, Serializer};

    #[expect(clippy::borrowed_box, reason = "serde hands over the field as it is")]
    pub fn serialize<T: Pod, S: Serializer>(value: &Box<T>, to: S) -> Result<S::Ok, S::Error> {
        super::serialize(&**value, to)
    }

    pub fn deserialize<'de, T: Pod, D: Deserializer<'de>>(from: D) -> Result<Box<T>, D::Error> {
        super::deserialize(from).map(Box::new)
    }
}

/// Structs.
pub mod list {
    use super::{Deserialize, Deserializer, Pod, Raw, RawRef, Serializer};

    pub fn serialize<T: Pod, S: Serializer>(values: &[T], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(values.iter().map(RawRef))
    }

    pub fn deserialize<'de, T: Pod, D: Deserializer<'de>>(from: D) -> Result<Vec<T>, D::Error> {
        let values = Vec::<Raw<T>>::deserialize(from)?;
        Ok(values.into_iter().map(|raw| raw.0).collect())
    }
}

/// Structs, each with something else.
pub mod keys {
    use super::{Deserialize, Deserializer, Pod, Raw, RawRef, Serialize, Serializer};

    pub fn serialize<K: Pod, V: Serialize, S: Serializer>(
        rows: &[(K, V)],
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_seq(rows.iter().map(|(key, value)| (RawRef(key), value)))
    }

    pub fn deserialize<'de, K: Pod, V: Deserialize<'de>, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<(K, V)>, D::Error> {
        let rows = Vec::<(Raw<K>, V)>::deserialize(from)?;
        Ok(rows
            .into_iter()
            .map(|(key, value)| (key.0, value))
            .collect())
    }
}

/// Pairs of structs.
pub mod pairs {
    use super::{Deserialize, Deserializer, Pod, Raw, RawRef, Serializer};

    pub fn serialize<K: Pod, V: Pod, S: Serializer>(
        rows: &[(K, V)],
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_seq(rows.iter().map(|(a, b)| (RawRef(a), RawRef(b))))
    }

    pub fn deserialize<'de, K: Pod, V: Pod, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<(K, V)>, D::Error> {
        let rows = Vec::<(Raw<K>, Raw<V>)>::deserialize(from)?;
        Ok(rows.into_iter().map(|(a, b)| (a.0, b.0)).collect())
    }
}

/// Structs by number, lowest first.
pub mod map {
    use super::{Deserialize, Deserializer, HashMap, Pod, Raw, RawRef, Serializer};

    pub fn serialize<V: Pod, S: Serializer>(
        rows: &HashMap<u64, V>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        let mut rows: Vec<(&u64, &V)> = rows.iter().collect();
        rows.sort_unstable_by_key(|(id, _)| **id);
        to.collect_seq(rows.into_iter().map(|(id, value)| (id, RawRef(value))))
    }

    pub fn deserialize<'de, V: Pod, D: Deserializer<'de>>(
        from: D,
    ) -> Result<HashMap<u64, V>, D::Error> {
        let rows = Vec::<(u64, Raw<V>)>::deserialize(from)?;
        Ok(rows.into_iter().map(|(id, value)| (id, value.0)).collect())
    }
}

/// A struct to be written.
struct RawRef<'a, T>(&'a T);

/// A struct that was read.
#[repr(transparent)]
struct Raw<T>(T);

impl<T: Pod> Serialize for RawRef<'_, T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        // SAFETY: `Pod` structs are plain data without padding (asserted by `shared!`), or arrays of integers: all of
        // their bytes are initialised.
        let bytes = unsafe {
            std::slice::from_raw_parts(std::ptr::from_ref(self.0).cast::<u8>(), size_of::<T>())
        };
        to.serialize_bytes(&shrink(bytes))
    }
}

impl<'de, T: Pod> Deserialize<'de> for Raw<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_bytes(Bytes(PhantomData))
    }
}

struct Bytes<T>(PhantomData<T>);

impl<T: Pod> Visitor<'_> for Bytes<T> {
    type Value = Raw<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = std::any::type_name::<T>();
        write!(f, "{name} of {} bytes", size_of::<T>())
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Raw<T>, E> {
        if !take(size_of::<T>()) {
            return Err(E::custom("too large"));
        }
        // SAFETY: every bit pattern of a `Pod` is valid, all zeros among them.
        let mut value: T = unsafe { std::mem::zeroed() };
        // SAFETY: as above; the slice covers `value` alone, which nothing else refers to meanwhile.
        let into = unsafe {
            std::slice::from_raw_parts_mut((&raw mut value).cast::<u8>(), size_of::<T>())
        };
        expand(bytes, into).ok_or_else(|| E::invalid_length(bytes.len(), &self))?;
        Ok(Raw(value))
    }
}

/// Eight words at a time: a byte that says which are not zero, then these. The last word may be shorter.
pub fn shrink(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + bytes.len() / (8 * WORD) + 1);
    for eight in bytes.chunks(8 * WORD) {
        let at = out.len();
        out.push(0);
        for (i, word) in eight.chunks(WORD).enumerate() {
            if word.iter().any(|byte| *byte != 0) {
                out[at] |= 1 << i;
                out.extend_from_slice(word);
            }
        }
    }
    out
}

/// The reverse, into zeros; `None` when the bytes do not fit.
fn expand(mut from: &[u8], into: &mut [u8]) -> Option<()> {
    for eight in into.chunks_mut(8 * WORD) {
        let (&words, rest) = from.split_first()?;
        let mut mask = words;
        from = rest;
        while mask != 0 {
            let at = mask.trailing_zeros() as usize * WORD;
            mask &= mask - 1;
            let word = eight.get_mut(at..)?;
            let n = word.len().min(WORD);
            if n == 0 {
                return None;
            }
            let (bytes, rest) = from.split_at_checked(n)?;
            word[..n].copy_from_slice(bytes);
            from = rest;
        }
    }
    from.is_empty().then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_zero_is_kept_in_place() {
        for len in [0, 1, 7, 8, 9, 63, 64, 65, 200] {
            for step in 1..20 {
                let bytes: Vec<u8> = (0..len)
                    .map(|i| if i % step == 0 { i as u8 } else { 0 })
                    .collect();
                let mut back = vec![0; len];
                expand(&shrink(&bytes), &mut back).unwrap();
                assert_eq!(bytes, back);
            }
        }
        assert_eq!(shrink(&[0; 512]), [0; 8]);
    }

    #[test]
    fn bytes_that_do_not_fit_are_refused() {
        let fits = |bytes: &[u8], len: usize| expand(bytes, &mut vec![0; len]).is_some();
        assert!(fits(&[0], 8));
        assert!(!fits(&[], 8), "too few");
        assert!(!fits(&[1, 2], 8), "half a word");
        assert!(!fits(&[0, 0], 8), "too many");
        assert!(
            !fits(&[0b10, 1, 2, 3, 4, 5, 6, 7, 8], 8),
            "a word behind the end"
        );
    }
}
