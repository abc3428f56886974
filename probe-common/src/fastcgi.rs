//! Reads script and URI out of the FastCGI records of a request, however the reads cut them.
//!
//! [`feed`] runs in the kernel, once for each successful read of an accepted connection. It keeps no
//! bytes but the piece of a header or name that a read cut in two, so it is exact for any cutting: PHP
//! reads 8 bytes of header and then the body, libfcgi up to 8 KiB at once.
//!
//! Shape, for cost: a call that reads user memory takes some 90 ns, whatever its size up to 2 KiB, so
//! parameters are loaded in windows of [`WINDOW`] bytes, and pairs that are surely not sought are passed
//! over there (`call::Call::scan`).
//!
//! Shape, for the BPF verifiers of Linux 5.10 and later: one flat loop of at most [`STEPS`] steps. All
//! that changes lives in memory, not in registers, so that every step begins in the same verifier state
//! and is explored once. Offsets and lengths are masked right before use, by way of memory
//! (`hidden`), because LLVM removes a mask it can prove superfluous, and the verifier cannot follow
//! the proof. The verifier knows no relation between an offset and a length, so at least 62 bytes must
//! follow the start of the `Reader`, and 128 the end of `Request::uri`, in the same map value;
//! [`crate::task::Task`] has them.

use crate::{request::Request, shared};

mod call;
mod recognise;
#[cfg(test)]
mod tests;

use call::Call;
pub use recognise::{ends_response, starts_http_request};

/// Steps of one [`feed`]: each takes a record header, or the rest of a value and up to [`SCAN`] pairs
/// that are not sought and one more.
pub const STEPS: u32 = 20;
/// Pairs passed over in one step.
pub const SCAN: u32 = 6;
/// Bytes of parameters loaded at once; a power of two.
pub const WINDOW: usize = 1024;
/// Bytes of a pair that decide whether it is passed over, rounded up: lengths and the name's begin.
const PEEK: u32 = 16;
/// Size of a record header.
const HEADER: u32 = 8;

/// Bits that [`feed`] returns.
pub mod saw {
    /// The header of a BEGIN_REQUEST record: a request starts at this read, and its names are empty.
    pub const BEGIN: u32 = 1;
    /// The empty PARAMS record: the parameters are complete.
    pub const PARAMS_DONE: u32 = 2;
    /// The connection does not speak FastCGI. Said once; every later read costs a comparison.
    pub const NOT_FASTCGI: u32 = 4;
    /// More parameters in one read than [`super::STEPS`] allow: a name may be missing.
    pub const GAVE_UP: u32 = 8;
    /// The reader's memory could not be read: names are missing up to the next request.
    pub const READ_FAILED: u32 = 16;
    /// A record that cannot be: bytes were missed. Names are missing up to the next request.
    pub const LOST: u32 = 32;
}

/// Bits of [`Reader::flags`].
pub mod flag {
    /// A BEGIN_REQUEST record was seen on this connection.
    pub const BEGAN: u8 = 1;
    /// No more names are sought before the next BEGIN_REQUEST.
    pub const DONE: u8 = 2;
    /// SCRIPT_FILENAME was found.
    pub const FILENAME: u8 = 4;
    /// SCRIPT_NAME was found.
    pub const SCRIPT: u8 = 8;
    /// REQUEST_URI was found.
    pub const URI: u8 = 16;
    /// The framing is lost: only a read that starts with a BEGIN_REQUEST header continues.
    pub const LOST: u8 = 32;
    /// Not FastCGI.
    pub const DEAD: u8 = 64;
    /// Inside the content of a PARAMS record.
    pub const PARAMS: u8 = 128;
}

shared! {
    /// Progress of one connection. [`Reader::ZERO`] is a connection just accepted.
    pub struct Reader {
        /// The begin of a pair (lengths and name), as far as it has come.
        pub hold: [u8; 24],
        /// The begin of a record header, which may come in the middle of a pair.
        pub head: [u8; 8],
        /// Bytes to skip before the next record header (outside of PARAMS).
        pub skip: u32,
        /// Bytes of the pair under way (value, or name and value) still to come.
        pub pending: u32,
        /// Bytes of the PARAMS record under way still to come, padding excluded.
        pub content: u16,
        /// Padding of that record.
        pub padding: u8,
        /// Bytes in `hold`.
        pub held: u8,
        /// Bytes in `head`.
        pub headed: u8,
        /// Which name the pending value is, 0 for none.
        pub capture: u8,
        /// Bits of [`flag`].
        pub flags: u8,
        /// Always 0.
        pub reserved: u8,
    }

    /// What one [`feed`] needs beside; nothing in it outlives the call, so one per CPU is enough.
    pub struct Scratch {
        /// Parameters, loaded from `base` on; the rest keeps reads behind a masked index inside.
        pub window: [u8; WINDOW + PEEK as usize],
        /// Bytes consumed of the read.
        pub at: u32,
        /// Where in the read the window begins.
        pub base: u32,
        /// Where in the read the content of the record under way ends.
        pub end: u32,
        /// Bytes in the window.
        pub loaded: u32,
        /// Bits of [`saw`].
        pub saw: u32,
        /// Where a value rests while the optimiser forgets its range.
        pub hidden: u32,
    }
}

/// The bytes that a read returned.
pub trait Source {
    /// Copies `len` bytes, `offset` bytes after the begin, to `into`, and says whether it could. `len`
    /// is at most `MASK`, a power of two minus one.
    ///
    /// # Safety
    /// `into` is valid for `len` bytes.
    unsafe fn read<const MASK: u32>(&self, offset: u32, into: *mut u8, len: u32) -> bool;
}

/// Takes in the `len` bytes that a read returned, and returns bits of [`saw`].
///
/// The names go to `request.script` (SCRIPT_FILENAME, or SCRIPT_NAME as long as there is none) and
/// `request.uri` (REQUEST_URI), cut to [`NAME_LEN`](crate::request::NAME_LEN); of a name given twice,
/// the first counts. They are emptied at [`saw::BEGIN`], and are whole at [`saw::PARAMS_DONE`]; with both
/// found, what is left of the parameters is not looked at.
///
/// In the kernel, call it from one function that is never inlined: it is 1,100 instructions, and the
/// verifier needs some 36,000 of its million for it.
#[inline(always)]
pub fn feed<S: Source>(
    reader: &mut Reader,
    request: &mut Request,
    scratch: &mut Scratch,
    len: u32,
    source: &S,
) -> u32 {
    if reader.flags & flag::DEAD != 0 {
        return 0;
    }
    if reader.skip >= len {
        reader.skip -= len;
        return 0;
    }
    if reader.flags & flag::LOST != 0 {
        if len < HEADER {
            return 0;
        }
        reader.headed = 0;
    }
    scratch.at = 0;
    scratch.base = 0;
    scratch.loaded = 0;
    scratch.saw = 0;
    Call::new(reader, request, scratch, len, source).run()
}
