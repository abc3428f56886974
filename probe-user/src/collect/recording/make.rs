//! Makes values of any type that can be read from a recording, for tests and the fuzz targets: plain ones, which show what
//! the format holds, and absurd ones, which nobody but a forger would write.

use std::fmt::Display;

use serde::{
    Deserialize,
    de::{
        DeserializeSeed, Deserializer, EnumAccess, Expected, IntoDeserializer, SeqAccess,
        VariantAccess, Visitor, value::Error,
    },
};

use super::raw;

/// Makes values, and takes down of what kind each was.
pub struct Maker {
    choice: Choice,
    made: u64,
    path: Vec<String>,
    kinds: Vec<String>,
}

/// What decides what is made.
enum Choice {
    /// Nothing: values are plain.
    Plain,
    /// A generator in this state.
    Seed(u64),
    /// These bytes; behind their end the first choice of each.
    Bytes(std::vec::IntoIter<u8>),
}

/// Numbers that differences, products, indices and lengths trip over. Sums of them stay within 64 bits: in a debug build,
/// where overflow ends a program, nothing but a larger number would be looked at.
const ABSURD: [u64; 16] = [
    0,
    1,
    2,
    9,
    10,
    33,
    127,
    255,
    65_535,
    1 << 31,
    u32::MAX as u64,
    (1 << 32) + 1,
    1_000_000_000_000,
    (1 << 40) + 7,
    (1 << 44) - 1,
    1 << 44,
];

/// Words that must not be obeyed.
const WORDS: [&str; 8] = [
    "",
    "www",
    "\x1b[2J\r\n\u{202e}",
    "<script>alert(1)</script>",
    "calls",
    "tcp_states",
    "openat",
    "|`*_[x](http://a)\u{0}",
];

/// What a type holds: a line for each value, `where: what`.
pub fn kinds<T: for<'de> Deserialize<'de>>() -> Vec<String> {
    let mut maker = Maker::new(None);
    maker.make::<T>();
    maker.kinds
}

impl Maker {
    /// One that makes other values for another seed; plain ones without.
    pub fn new(seed: Option<u64>) -> Self {
        Self::choosing(seed.map_or(Choice::Plain, Choice::Seed))
    }

    /// One that makes what these bytes say: as much as there are of them.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self::choosing(Choice::Bytes(Vec::from(bytes).into_iter()))
    }

    /// True when nothing is left that decides.
    pub fn is_done(&self) -> bool {
        matches!(&self.choice, Choice::Bytes(left) if left.as_slice().is_empty())
    }

    fn choosing(choice: Choice) -> Self {
        Self {
            choice,
            made: 0,
            path: Vec::new(),
            kinds: Vec::new(),
        }
    }

    /// A value.
    pub fn make<T: for<'de> Deserialize<'de>>(&mut self) -> T {
        raw::allow(usize::MAX);
        T::deserialize(&mut *self).expect("a value can be made")
    }

    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        let drawn = match &mut self.choice {
            Choice::Plain => return 0,
            Choice::Seed(seed) => {
                // xorshift64*
                *seed ^= *seed >> 12;
                *seed ^= *seed << 25;
                *seed ^= *seed >> 27;
                seed.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33
            }
            Choice::Bytes(left) => {
                let mut next = || u64::from(left.next().unwrap_or(0));
                match n {
                    ..=256 => next(),
                    _ => (0..5).fold(0, |all, _| all << 8 | next()),
                }
            }
        };
        drawn % n
    }

    fn number(&mut self) -> u64 {
        self.made += 1;
        if self.is_plain() {
            return self.made;
        }
        match self.below(4) {
            // Small ones meet: the same process, socket, device.
            0 => self.below(4),
            1 => 1_000_000_000_000 + self.below(10_000_000_000),
            _ => ABSURD[self.below(16) as usize],
        }
    }

    fn is_plain(&self) -> bool {
        matches!(self.choice, Choice::Plain)
    }

    fn take_down(&mut self, kind: impl Display) {
        if !self.is_plain() {
            return;
        }
        let line = format!("{}: {kind}", self.path.join("."));
        if self.kinds.last() != Some(&line) {
            self.kinds.push(line);
        }
    }
}

macro_rules! numbers {
    ($( $method:ident $visit:ident $kind:ident; )*) => {$(
        fn $method<V: Visitor<'de>>(self, to: V) -> Result<V::Value, Error> {
            self.take_down(stringify!($kind));
            let number = self.number();
            to.$visit(number as $kind)
        }
    )*};
}

impl<'de> Deserializer<'de> for &mut Maker {
    type Error = Error;

    numbers! {
        deserialize_u8 visit_u8 u8;
        deserialize_u16 visit_u16 u16;
        deserialize_u32 visit_u32 u32;
        deserialize_u64 visit_u64 u64;
        deserialize_i32 visit_i32 i32;
        deserialize_i64 visit_i64 i64;
    }

    fn is_human_readable(&self) -> bool {
        false
    }

    fn deserialize_bool<V: Visitor<'de>>(self, to: V) -> Result<V::Value, Error> {
        self.take_down("bool");
        let one = self.below(2) == 1;
        to.visit_bool(one)
    }

    fn deserialize_str<V: Visitor<'de>>(self, to: V) -> Result<V::Value, Error> {
        self.take_down("text");
        let word = WORDS[self.below(8) as usize];
        to.visit_borrowed_str(word)
    }

    fn deserialize_string<V: Visitor<'de>>(self, to: V) -> Result<V::Value, Error> {
        self.deserialize_str(to)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, to: V) -> Result<V::Value, Error> {
        let kind = (&to as &dyn Expected).to_string();
        self.take_down(&kind);
        let len = kind.rsplit(' ').nth(1).and_then(|n| n.parse().ok());
        let len: usize = len.expect("it says how many bytes it wants");
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            match self.below(3) {
                0 => bytes.extend([0; 8]),
                1 => bytes.extend(self.number().to_le_bytes()),
                _ => {
                    bytes.extend((self.number() as u32).to_le_bytes());
                    // Two fields of 32 bits, or the upper half of one of 64 that is to stay within sums.
                    bytes.extend((self.number() as u32 >> 8).to_le_bytes());
                }
            }
        }
        to.visit_bytes(&raw::shrink(&bytes[..len]))
    }

    fn deserialize_option<V: Visitor<'de>>(self, to: V) -> Result<V::Value, Error> {
        self.take_down("optional");
        if self.below(4) == 3 {
            return to.visit_none();
        }
        to.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        to: V,
    ) -> Result<V::Value, Error> {
        to.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, to: V) -> Result<V::Value, Error> {
        self.take_down("list");
        let left = match self.choice {
            Choice::Plain => 1,
            _ => self.below(6) as usize,
        };
        to.visit_seq(Several {
            names: None,
            maker: self,
            left,
        })
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, to: V) -> Result<V::Value, Error> {
        self.take_down(format_args!("{len} values"));
        to.visit_seq(Several {
            names: None,
            maker: self,
            left: len,
        })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        to: V,
    ) -> Result<V::Value, Error> {
        to.visit_seq(Several {
            maker: self,
            left: fields.len(),
            names: Some(fields),
        })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        to: V,
    ) -> Result<V::Value, Error> {
        self.take_down(variants.join(" or "));
        to.visit_enum(Variant {
            of: variants.len() as u64,
            maker: self,
        })
    }

    fn deserialize_any<V: Visitor<'de>>(self, to: V) -> Result<V::Value, Error> {
        let wanted = &to as &dyn Expected;
        Err(serde::de::Error::custom(format_args!(
            "{wanted} cannot be made"
        )))
    }

    serde::forward_to_deserialize_any! {
        i8 i16 i128 u128 f32 f64 char byte_buf unit unit_struct tuple_struct map identifier ignored_any
    }
}

/// Elements of a list, or fields.
struct Several<'a> {
    maker: &'a mut Maker,
    left: usize,
    names: Option<&'static [&'static str]>,
}

impl<'de> SeqAccess<'de> for Several<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        if self.left == 0 {
            return Ok(None);
        }
        let name = self
            .names
            .map_or("[]", |names| names[names.len() - self.left]);
        self.left -= 1;
        self.maker.path.push(name.to_owned());
        let value = seed.deserialize(&mut *self.maker);
        self.maker.path.pop();
        value.map(Some)
    }
}

/// One of an enum's variants.
struct Variant<'a> {
    maker: &'a mut Maker,
    of: u64,
}

impl<'de> EnumAccess<'de> for Variant<'_> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<(T::Value, Self), Error> {
        let which = self.maker.below(self.of) as u32;
        let value = seed.deserialize(IntoDeserializer::<Error>::into_deserializer(which))?;
        Ok((value, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        seed.deserialize(self.maker)
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, to: V) -> Result<V::Value, Error> {
        self.maker.deserialize_tuple(len, to)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        to: V,
    ) -> Result<V::Value, Error> {
        self.maker.deserialize_struct("", fields, to)
    }
}
