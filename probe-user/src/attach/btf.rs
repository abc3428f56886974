//! Finds structure members in the running kernel's type information (BTF).
//!
//! Only a handful of offsets out of some hundred thousand types are wanted, within the first
//! milliseconds and without keeping megabytes, so the raw format is walked once and dropped.
//! Format: Documentation/bpf/btf.rst of the Linux sources.

use std::{collections::HashMap, fs, path::Path};

/// Where every kernel that has BTF shows it.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

const MAGIC: u16 = 0xeb9f;
const KIND_INT: u32 = 1;
const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_TYPEDEF: u32 = 8;
const KIND_VOLATILE: u32 = 9;
const KIND_CONST: u32 = 10;
const KIND_FUNC: u32 = 12;
const KIND_FUNC_PROTO: u32 = 13;
const KIND_VAR: u32 = 14;
const KIND_DATASEC: u32 = 15;
const KIND_DECL_TAG: u32 = 17;
const KIND_TYPE_TAG: u32 = 18;
const KIND_ENUM64: u32 = 19;

/// Members that are looked at to find one: the largest structures of a kernel have some hundred, and anonymous ones within
/// them as many again. Types that contain themselves, which no compiler writes, would be walked for years.
const MOST_MEMBERS: u32 = 100_000;

/// Kernel types, ready to be asked for members.
pub struct Btf {
    data: Vec<u8>,
    /// Where in `data` each type begins; index 0 is void.
    types: Vec<u32>,
    strings: usize,
    structs: HashMap<Vec<u8>, u32>,
    functions: HashMap<Vec<u8>, u32>,
}

/// A member of a structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Bytes from the start of the structure.
    pub offset: u32,
    /// Size in bytes, 0 when it is not a plain number.
    pub size: u32,
}

impl Btf {
    /// Reads the kernel's BTF; the error says why not, in one line.
    pub fn read(path: &Path, wanted: &[&str]) -> Result<Self, String> {
        let data = fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
        Self::parse(data, wanted)
    }

    /// Walks the types of a BTF blob and remembers the structures and functions called `wanted`.
    pub fn parse(data: Vec<u8>, wanted: &[&str]) -> Result<Self, String> {
        let bad = || "malformed BTF".to_owned();
        if data.get(..2).map(|m| u16::from_ne_bytes([m[0], m[1]])) != Some(MAGIC) {
            return Err("not BTF, or of the other byte order".to_owned());
        }
        let word = |at: usize| u32_at(&data, at);
        let header = word(4).ok_or_else(bad)? as usize;
        let types_at = header + word(8).ok_or_else(bad)? as usize;
        let types_end = types_at + word(12).ok_or_else(bad)? as usize;
        let strings = header + word(16).ok_or_else(bad)? as usize;
        if types_end > data.len() || strings > data.len() {
            return Err(bad());
        }
        let mut types = vec![0];
        let mut structs = HashMap::new();
        let mut functions = HashMap::new();
        let mut at = types_at;
        while at + 12 <= types_end {
            let info = word(at + 4).ok_or_else(bad)?;
            let kind = info >> 24 & 0x1f;
            let known = match kind {
                KIND_STRUCT => Some(&mut structs),
                KIND_FUNC => Some(&mut functions),
                _ => None,
            };
            if let Some(known) = known {
                let name = string(&data, strings, word(at).ok_or_else(bad)?);
                if wanted.iter().any(|w| w.as_bytes() == name) {
                    known.entry(name.to_vec()).or_insert(types.len() as u32);
                }
            }
            types.push(at as u32);
            let n = (info & 0xffff) as usize;
            at += 12
                + match kind {
                    KIND_INT | KIND_VAR | KIND_DECL_TAG => 4,
                    KIND_ARRAY => 12,
                    KIND_STRUCT | KIND_UNION | KIND_DATASEC | KIND_ENUM64 => 12 * n,
                    KIND_ENUM | KIND_FUNC_PROTO => 8 * n,
                    _ => 0,
                };
        }
        Ok(Self {
            data,
            types,
            strings,
            structs,
            functions,
        })
    }

    /// A member of a structure, also inside its anonymous structures and unions. A dot leads into a member.
    pub fn member(&self, structure: &str, member: &str) -> Option<Member> {
        let mut id = *self.structs.get(structure.as_bytes())?;
        let mut bits = 0;
        let mut found = None;
        let mut left = MOST_MEMBERS;
        for name in member.split('.') {
            let (member, at_bits, of) = self.find(id, name.as_bytes(), bits, 0, &mut left)?;
            (id, bits, found) = (of, at_bits, Some(member));
        }
        found
    }

    /// The type id of a function.
    pub fn function(&self, name: &str) -> Option<u32> {
        self.functions.get(name.as_bytes()).copied()
    }

    /// The member, its offset in bits, and its type. So many members may be looked at as are `left`.
    fn find(
        &self,
        id: u32,
        wanted: &[u8],
        base_bits: u32,
        depth: u32,
        left: &mut u32,
    ) -> Option<(Member, u32, u32)> {
        // Anonymous members nest a few levels at most; the bound guards against malformed input.
        if depth > 8 {
            return None;
        }
        let (at, info) = self.type_at(id)?;
        if !matches!(info >> 24 & 0x1f, KIND_STRUCT | KIND_UNION) {
            return None;
        }
        let bitfields = info >> 31 == 1;
        for i in 0..(info & 0xffff) as usize {
            *left = left.checked_sub(1)?;
            let m = at + 12 + i * 12;
            let name = string(&self.data, self.strings, u32_at(&self.data, m)?);
            let kind = u32_at(&self.data, m + 4)?;
            let mut bits = u32_at(&self.data, m + 8)?;
            let mut width = 0;
            if bitfields {
                width = bits >> 24;
                bits &= 0xff_ffff;
            }
            let bits = base_bits.checked_add(bits)?;
            if name == wanted {
                let size = if width == 0 {
                    self.size(kind, 0)
                } else {
                    width.div_ceil(8)
                };
                let offset = bits / 8;
                return Some((Member { offset, size }, bits, kind));
            }
            if name.is_empty()
                && let Some(found) = self.find(kind, wanted, bits, depth + 1, left)
            {
                return Some(found);
            }
        }
        None
    }

    /// Size of a plain number behind typedefs, else 0.
    fn size(&self, id: u32, depth: u32) -> u32 {
        match self.type_at(id) {
            Some((at, info)) => match info >> 24 & 0x1f {
                KIND_INT | KIND_ENUM => u32_at(&self.data, at + 8).unwrap_or(0),
                KIND_TYPEDEF | KIND_VOLATILE | KIND_CONST | KIND_TYPE_TAG if depth < 16 => {
                    self.size(u32_at(&self.data, at + 8).unwrap_or(0), depth + 1)
                }
                _ => 0,
            },
            None => 0,
        }
    }

    fn type_at(&self, id: u32) -> Option<(usize, u32)> {
        if id == 0 {
            return None;
        }
        let at = *self.types.get(id as usize)? as usize;
        Some((at, u32_at(&self.data, at + 4)?))
    }
}

fn u32_at(data: &[u8], at: usize) -> Option<u32> {
    data.get(at..at + 4)?
        .try_into()
        .ok()
        .map(u32::from_ne_bytes)
}

fn string(data: &[u8], strings: usize, at: u32) -> &[u8] {
    let rest = data.get(strings + at as usize..).unwrap_or_default();
    &rest[..rest.iter().position(|b| *b == 0).unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A blob with: 1 int "unsigned int" (4 bytes), 2 struct "inner" anonymous { b at 4 }, 3 struct
    /// "outer" { a at 0: int, <anonymous 2> at 8 }, 4 function "a".
    fn blob() -> Vec<u8> {
        let strings = b"\0unsigned int\0a\0b\0outer\0";
        let (int, a, b, outer) = (1u32, 14u32, 16u32, 18u32);
        let mut types: Vec<u32> = vec![int, KIND_INT << 24, 4, 32];
        types.extend([0, KIND_STRUCT << 24 | 1, 8, b, 1, 32]);
        types.extend([outer, KIND_STRUCT << 24 | 2, 16, a, 1, 0, 0, 2, 64]);
        types.extend([a, KIND_FUNC << 24, 1]);
        let mut out = Vec::new();
        out.extend(MAGIC.to_ne_bytes());
        out.extend([1, 0]);
        let len = types.len() as u32 * 4;
        for word in [24u32, 0, len, len, strings.len() as u32] {
            out.extend(word.to_ne_bytes());
        }
        for word in types {
            out.extend(word.to_ne_bytes());
        }
        out.extend(strings);
        out
    }

    #[test]
    fn finds_members_also_inside_anonymous_ones() {
        let btf = Btf::parse(blob(), &["outer"]).unwrap();
        assert_eq!(
            btf.member("outer", "a"),
            Some(Member { offset: 0, size: 4 })
        );
        assert_eq!(
            btf.member("outer", "b"),
            Some(Member {
                offset: 12,
                size: 4
            })
        );
        assert_eq!(btf.member("outer", "c"), None);
        // A number has no members.
        assert_eq!(btf.member("outer", "a.b"), None);
        assert_eq!(btf.member("other", "a"), None);
    }

    #[test]
    fn finds_functions_by_name() {
        let btf = Btf::parse(blob(), &["a", "b"]).unwrap();
        assert_eq!(btf.function("a"), Some(4));
        // A member, not a function; and one that was not asked for.
        assert_eq!(btf.function("b"), None);
        assert_eq!(Btf::parse(blob(), &[]).unwrap().function("a"), None);
    }

    /// Type 1: a structure of so many anonymous members, each of type 1, so many bits from its start.
    fn within_itself(members: u32, bits: u32) -> Vec<u8> {
        let strings = b"\0outer\0";
        let mut types: Vec<u32> = vec![1, KIND_STRUCT << 24 | members, 8];
        types.extend((0..members).flat_map(|_| [0, 1, bits]));
        let len = types.len() as u32 * 4;
        let mut out = MAGIC.to_ne_bytes().to_vec();
        out.extend([1, 0]);
        let head = [24, 0, len, len, strings.len() as u32];
        out.extend(
            head.iter()
                .chain(&types)
                .flat_map(|word| word.to_ne_bytes()),
        );
        out.extend(strings);
        out
    }

    #[test]
    fn a_structure_that_contains_itself_is_not_walked_for_ever() {
        for bits in [0, u32::MAX / 4] {
            let btf = Btf::parse(within_itself(60_000, bits), &["outer"]).unwrap();
            assert_eq!(btf.member("outer", "b"), None);
        }
    }

    #[test]
    fn cut_or_foreign_input_is_an_error_or_finds_nothing() {
        let whole = blob();
        for n in 0..whole.len() {
            if let Ok(btf) = Btf::parse(whole[..n].to_vec(), &["outer"]) {
                let _ = btf.member("outer", "b");
            }
        }
        assert!(Btf::parse(b"ELF".to_vec(), &[]).is_err());
    }
}
