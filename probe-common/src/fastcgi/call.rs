//! The steps of [`super::feed`].
//!
//! The larger parts are functions of their own in the kernel too: at a call the verifier forgets what it
//! knew of registers, so that the paths before it meet (half the work), and their stacks are not added up.

use super::{HEADER, PEEK, Reader, SCAN, STEPS, Scratch, Source, WINDOW, flag, saw};
use crate::request::{NAME_LEN, Request};

/// Steps left for the framing of the records behind, when the search for names is given up.
const RESERVE: u32 = 3;
/// Bytes looked at to decide on a pair: two lengths of at most 4 bytes and the longest name sought.
const PAIR: u32 = 8 + 15;

/// Values of [`Reader::capture`].
mod capture {
    pub const NONE: u8 = 0;
    pub const SCRIPT: u8 = 1;
    pub const URI: u8 = 2;
}

/// Record types.
mod kind {
    pub const BEGIN_REQUEST: u8 = 1;
    pub const PARAMS: u8 = 4;
    pub const UNKNOWN_TYPE: u8 = 11;
}

/// The names sought, each as its first and its last 8 bytes.
mod name {
    const fn ends(first: &[u8; 8], last: &[u8; 8]) -> (u64, u64) {
        (u64::from_ne_bytes(*first), u64::from_ne_bytes(*last))
    }
    pub const SCRIPT_FILENAME: (u64, u64) = ends(b"SCRIPT_F", b"FILENAME");
    pub const SCRIPT_NAME: (u64, u64) = ends(b"SCRIPT_N", b"IPT_NAME");
    pub const REQUEST_URI: (u64, u64) = ends(b"REQUEST_", b"UEST_URI");
}

/// `value`, of which the optimiser no longer knows anything: a mask that follows is not removed.
#[inline(always)]
fn hidden(scratch: &mut Scratch, value: u32) -> u32 {
    let slot = &raw mut scratch.hidden;
    // SAFETY: `slot` points to a field of a live struct.
    unsafe {
        slot.write_volatile(value);
        slot.read_volatile()
    }
}

/// Whether the flat loop goes on.
#[derive(PartialEq, Eq)]
enum Next {
    Step,
    Stop,
}

/// What the parts of one [`feed`] work on.
pub(super) struct Call<'a, S> {
    reader: &'a mut Reader,
    request: &'a mut Request,
    scratch: &'a mut Scratch,
    len: u32,
    /// 63, the place of the sign, where the optimiser does not see it.
    sign: u32,
    source: &'a S,
}

impl<'a, S: Source> Call<'a, S> {
    #[inline(always)]
    pub(super) fn new(
        reader: &'a mut Reader,
        request: &'a mut Request,
        scratch: &'a mut Scratch,
        len: u32,
        source: &'a S,
    ) -> Self {
        Self {
            reader,
            request,
            scratch,
            len,
            sign: 63,
            source,
        }
    }

    /// Consumes the read step by step, and returns bits of [`saw`].
    #[inline(always)]
    pub(super) fn run(&mut self) -> u32 {
        let mut step = 0;
        while step < STEPS {
            if self.step(step) == Next::Stop {
                return self.scratch.saw;
            }
            step += 1;
        }
        if self.left() != 0 {
            self.lose(saw::GAVE_UP);
        }
        self.scratch.saw
    }

    /// The smaller one, without a branch: each doubles what the verifier has to explore. Were the shift a
    /// constant, LLVM would make it a branch again.
    #[inline(always)]
    fn least(&self, a: u32, b: u32) -> u32 {
        let over = a as i64 - b as i64;
        (b as i64 + (over & (over >> (self.sign & 63)))) as u32
    }

    /// A length of 1 or 4 bytes at `at`, and how many it takes (at most 7, whatever the verifier thinks).
    ///
    /// # Safety
    /// 4 bytes can be read at `at`.
    #[inline(always)]
    unsafe fn length(&self, at: *const u8) -> (u32, u32) {
        // SAFETY: as promised.
        let word = u32::from_be_bytes(unsafe { at.cast::<[u8; 4]>().read() });
        // The top bit, without a branch: see `least`.
        let long = word >> (self.sign & 31);
        (
            (word >> ((24 - 24 * long) & 31)) & 0x7fff_ffff,
            (1 + 3 * long) & 7,
        )
    }

    /// Bytes of the read not yet consumed.
    #[inline(always)]
    fn left(&self) -> u32 {
        self.len.wrapping_sub(self.scratch.at)
    }

    /// Those of them that belong to the content of the PARAMS record under way.
    #[inline(always)]
    fn room(&self) -> u32 {
        self.least(self.reader.content as u32, self.left())
    }

    /// Consumes bytes of the PARAMS record; there are as many.
    #[inline(always)]
    fn take(&mut self, bytes: u32) {
        self.scratch.at = self.scratch.at.wrapping_add(bytes);
        self.reader.content = self.reader.content.wrapping_sub(bytes as u16);
    }

    /// Consumes the next piece: a record header, or the rest of a value and some pairs.
    #[inline(always)]
    fn step(&mut self, step: u32) -> Next {
        if self.reader.flags & flag::PARAMS != 0 {
            if self.left() == 0 {
                return Next::Stop;
            }
            if self.reader.content == 0 {
                self.leave_params();
            } else if step == STEPS - RESERVE {
                self.scratch.saw |= saw::GAVE_UP;
                self.reader.flags |= flag::DONE;
                self.leave_params();
            }
        }
        if self.reader.flags & flag::PARAMS == 0 {
            let left = self.left();
            if self.reader.skip >= left {
                self.reader.skip -= left;
                self.scratch.at = self.len;
                return Next::Stop;
            }
            self.scratch.at = self.scratch.at.wrapping_add(self.reader.skip);
            self.reader.skip = 0;
            return self.header();
        }
        if self.reader.pending != 0 && self.value() == Next::Stop {
            return Next::Stop;
        }
        if self.reader.pending | self.reader.held as u32 == 0 && self.scan() == Next::Stop {
            return Next::Stop;
        }
        if self.left() == 0 {
            return Next::Stop;
        }
        // The record or the search ended: the next step reads a header.
        if self.reader.flags & flag::PARAMS == 0 || self.reader.content == 0 {
            return Next::Step;
        }
        self.pair()
    }

    /// Takes a record header, or the piece of it that is here.
    #[inline(never)]
    fn header(&mut self) -> Next {
        let headed = hidden(self.scratch, self.reader.headed as u32) & 7;
        let want = self.least(HEADER - headed, self.left());
        let want = hidden(self.scratch, want) & 15;
        let into = (&raw mut self.reader.head)
            .cast::<u8>()
            .wrapping_add(headed as usize);
        // SAFETY: `headed + want` is at most 8, the size of `head`.
        if !unsafe { self.source.read::<15>(self.scratch.at, into, want) } {
            return self.lose(saw::READ_FAILED);
        }
        self.scratch.at = self.scratch.at.wrapping_add(want);
        if headed + want < HEADER {
            self.reader.headed = (headed + want) as u8;
            return Next::Stop;
        }
        self.reader.headed = 0;
        let head = self.reader.head;
        let kind = head[1];
        let content = (head[4] as u32) << 8 | head[5] as u32;
        let begin = kind == kind::BEGIN_REQUEST;
        let possible = head[0] == 1
            && kind.wrapping_sub(1) < kind::UNKNOWN_TYPE
            && (!begin || (content == 8 && head[2] | head[3] != 0));
        if !possible || (self.reader.flags & flag::LOST != 0 && !begin) {
            return self.misfit();
        }
        if begin {
            self.scratch.saw |= saw::BEGIN;
            self.reader.flags = flag::BEGAN;
            self.reader.held = 0;
            self.reader.pending = 0;
            self.reader.capture = capture::NONE;
            self.request.script_len = 0;
            self.request.uri_len = 0;
        }
        if kind == kind::PARAMS {
            if content == 0 {
                self.scratch.saw |= saw::PARAMS_DONE;
                self.reader.flags |= flag::DONE;
            } else if self.reader.flags & (flag::BEGAN | flag::DONE) == flag::BEGAN {
                self.reader.flags |= flag::PARAMS;
                self.reader.content = content as u16;
                self.reader.padding = head[6];
                return Next::Step;
            }
        }
        self.reader.skip = content + head[6] as u32;
        Next::Step
    }

    /// Takes what is here of the pending value: its first [`NAME_LEN`] bytes when it is sought.
    #[inline(never)]
    fn value(&mut self) -> Next {
        let chunk = self.least(self.reader.pending, self.room());
        if self.reader.capture != capture::NONE {
            let uri = self.reader.capture == capture::URI;
            let have = if uri {
                self.request.uri_len
            } else {
                self.request.script_len
            } as u32;
            let want = self.least(NAME_LEN as u32 - self.least(have, NAME_LEN as u32), chunk);
            if want != 0 {
                let have = hidden(self.scratch, have) & 127;
                let want = hidden(self.scratch, want) & 255;
                let name = if uri {
                    &raw mut self.request.uri
                } else {
                    &raw mut self.request.script
                };
                let into = name.cast::<u8>().wrapping_add(have as usize);
                // SAFETY: as `want` is not 0, `have` is below 128, and `have + want` at most 128.
                if !unsafe { self.source.read::<255>(self.scratch.at, into, want) } {
                    return self.lose(saw::READ_FAILED);
                }
                let len = if uri {
                    &raw mut self.request.uri_len
                } else {
                    &raw mut self.request.script_len
                };
                // SAFETY: a field of a live struct.
                unsafe { *len = (have + want) as u16 };
            }
        }
        self.take(chunk);
        self.reader.pending -= chunk;
        if self.reader.pending == 0 {
            self.end_value();
        }
        Next::Step
    }

    /// Passes over pairs that are complete here and surely not sought: by the length of the name and its
    /// fourth byte, which among nginx's names only those sought have.
    #[inline(never)]
    fn scan(&mut self) -> Next {
        let room = self.room();
        if room < PEEK {
            return Next::Step;
        }
        let begin = self.scratch.at.wrapping_sub(self.scratch.base);
        if begin.wrapping_add(PEEK) > self.scratch.loaded {
            let want = self.least(room, WINDOW as u32 - 1);
            let want = hidden(self.scratch, want) & (WINDOW as u32 - 1);
            let into = (&raw mut self.scratch.window).cast::<u8>();
            // SAFETY: `want` is below the window's size.
            if !unsafe {
                self.source
                    .read::<{ WINDOW as u32 - 1 }>(self.scratch.at, into, want)
            } {
                return self.lose(saw::READ_FAILED);
            }
            self.scratch.base = self.scratch.at;
            self.scratch.loaded = want;
        }
        self.scratch.end = self.scratch.at.wrapping_add(room);
        let mut pairs = 0;
        while pairs < SCAN && self.pass() == Next::Step {
            pairs += 1;
        }
        Next::Step
    }

    /// Passes over one pair, where that can be. One branch for three conditions: each is a number that is
    /// negative when the pair is not passed over.
    #[inline(never)]
    fn pass(&mut self) -> Next {
        let at = self.scratch.at;
        let x = at.wrapping_sub(self.scratch.base);
        let index = hidden(self.scratch, x) & (WINDOW as u32 - 1);
        let text = (&raw const self.scratch.window)
            .cast::<u8>()
            .wrapping_add(index as usize);
        // SAFETY: the window goes on for `PEEK` bytes behind the largest index; of them, 12 are read.
        let (name, value, lengths, fourth) = unsafe {
            let (name, first) = self.length(text);
            let (value, second) = self.length(text.wrapping_add(first as usize));
            let lengths = first + second;
            (
                name as i64,
                value as i64,
                lengths as i64,
                *text.wrapping_add(lengths as usize + 3) as i64,
            )
        };
        let total = lengths + name + value;
        let loaded = self.scratch.loaded as i64 - x as i64 - PEEK as i64;
        let complete = self.scratch.end as i64 - at as i64 - total;
        // 11 or 15 bytes, the fourth an I (SCRIPT_...) or a U (REQUEST_URI).
        let other = ((name | 4) ^ 15) | ((fourth ^ 0x49) * (fourth ^ 0x55));
        if (loaded | complete | (other - 1)) < 0 {
            return Next::Stop;
        }
        self.take(total as u32);
        Next::Step
    }

    /// Takes the lengths of a pair and, where it may be one that is sought, its name; or the piece that
    /// is here.
    #[inline(never)]
    fn pair(&mut self) -> Next {
        let held = hidden(self.scratch, self.reader.held as u32) & 31;
        let want = self.least(PAIR - self.least(held, PAIR), self.room());
        let want = hidden(self.scratch, want) & 31;
        let hold = (&raw mut self.reader.hold).cast::<u8>();
        // SAFETY: `held + want` is at most 23, or `want` is 0.
        if !unsafe {
            self.source
                .read::<31>(self.scratch.at, hold.wrapping_add(held as usize), want)
        } {
            return self.lose(saw::READ_FAILED);
        }
        let total = held + want;
        // What is not there yet is stale, but then the lengths come out longer than `total`.
        // SAFETY: the first length lies in the bytes 0 to 3 of `hold`, the second ends before byte 8.
        let (name, value, lengths) = unsafe {
            let (name, first) = self.length(hold);
            let (value, second) = self.length(hold.wrapping_add(first as usize));
            (name, value, first + second)
        };
        let candidate = name == 11 || name == 15;
        let need = if candidate { lengths + name } else { lengths };
        if total < need {
            self.reader.held = total as u8;
            self.take(want);
            return Next::Step;
        }
        self.take(self.least(need.wrapping_sub(held), want));
        self.reader.held = 0;
        if !candidate {
            self.reader.pending = name.wrapping_add(value);
            return Next::Step;
        }
        self.reader.pending = value;
        let begin = hidden(self.scratch, lengths) & 15;
        let end = hidden(self.scratch, lengths + name - 8) & 15;
        // SAFETY: the lengths take at most 8 bytes of `hold`, and the name at most 15 of the other 16.
        let name = unsafe {
            (
                word(hold.wrapping_add(begin as usize)),
                word(hold.wrapping_add(end as usize)),
            )
        };
        let target = match name {
            name::SCRIPT_FILENAME => flag::FILENAME,
            name::SCRIPT_NAME => flag::SCRIPT,
            name::REQUEST_URI => flag::URI,
            _ => 0,
        };
        // A script's file makes its name superfluous.
        let superfluous = if target == flag::SCRIPT {
            target | flag::FILENAME
        } else {
            target
        };
        if target != 0 && self.reader.flags & superfluous == 0 {
            self.reader.flags |= target;
            if target == flag::URI {
                self.reader.capture = capture::URI;
            } else {
                self.reader.capture = capture::SCRIPT;
                self.request.script_len = 0;
            }
        }
        if value == 0 {
            self.end_value();
        }
        Next::Step
    }

    /// The value is over. With both names found, what is left of the parameters is skipped.
    #[inline(always)]
    fn end_value(&mut self) {
        self.reader.capture = capture::NONE;
        if self.reader.flags & (flag::FILENAME | flag::URI) == flag::FILENAME | flag::URI {
            self.reader.flags |= flag::DONE;
            self.leave_params();
        }
    }

    /// Leaves the PARAMS record under way: what is left of it is skipped.
    #[inline(always)]
    fn leave_params(&mut self) {
        self.reader.skip = self.reader.content as u32 + self.reader.padding as u32;
        self.reader.content = 0;
        self.reader.flags &= !flag::PARAMS;
    }

    /// A header that cannot be one: bytes were missed, or this was never FastCGI.
    #[inline(always)]
    fn misfit(&mut self) -> Next {
        if self.reader.flags & flag::LOST != 0 {
            return Next::Stop;
        }
        if self.reader.flags & flag::BEGAN != 0 {
            return self.lose(saw::LOST);
        }
        self.reader.flags |= flag::DEAD;
        self.scratch.saw |= saw::NOT_FASTCGI;
        Next::Stop
    }

    /// Gives up the framing until a read starts with BEGIN_REQUEST.
    #[inline(always)]
    fn lose(&mut self, why: u32) -> Next {
        self.scratch.saw |= why;
        self.reader.flags = (self.reader.flags | flag::LOST | flag::DONE) & !flag::PARAMS;
        self.reader.skip = 0;
        Next::Stop
    }
}

/// 8 bytes as a number.
///
/// # Safety
/// 8 bytes can be read at `at`.
#[inline(always)]
unsafe fn word(at: *const u8) -> u64 {
    // SAFETY: as promised.
    u64::from_ne_bytes(unsafe { at.cast::<[u8; 8]>().read() })
}
