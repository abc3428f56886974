//! How many datagrams a buffer has room for, and how long that lasts in a burst.

use super::Case;
use crate::diagnose::{Piece, Quantity};

/// A buffer is proposed that holds the worst burst seen for this long: a reader that is away for longer (a stopped
/// process, a swapped one) has another trouble, and who asked has given up or asks again.
pub(super) const HOLD_S: f64 = 1.0;
/// A buffer is at least doubled: less is no change worth a restart.
const AT_LEAST_TIMES: u64 = 2;
/// More in one socket than this, and the last datagrams in it are read so late that nobody waits for them any more: at
/// a million read each second, a buffer of small ones still takes 40 ms.
const MOST_BYTES: u64 = 32 << 20;

/// A buffer in numbers.
pub(super) struct Room {
    pub bytes: u64,
    /// Datagrams that it holds.
    pub datagrams: f64,
    /// How long it lasts, s, when so many more arrive each second than are read.
    pub lasts_s: f64,
}

impl Room {
    fn of(bytes: u64, each: f64, surplus_per_s: f64) -> Self {
        // The kernel refuses a datagram only once the limit is passed.
        let datagrams = (bytes as f64 / each).floor().max(1.0);
        Self {
            bytes,
            datagrams,
            lasts_s: datagrams / surplus_per_s.max(1e-9),
        }
    }

    /// `277 datagrams, 55.4 ms of such a burst`.
    pub fn words(&self) -> [Piece; 3] {
        [
            Quantity::count(self.datagrams).into(),
            " datagrams, ".into(),
            Quantity::ns((self.lasts_s * 1e9) as u64).into(),
        ]
    }
}

/// The present buffer of the worst socket; `None` where its limit or the size of a datagram is not known.
pub(super) fn present(case: &Case<'_>) -> Option<Room> {
    let s = case.worst();
    let each = s.datagram_bytes.filter(|each| *each >= 1.0)?;
    Some(Room::of(s.rcvbuf_bytes?, each, case.peak_per_s()))
}

/// A larger one, a power of two; `None` when the present one is as large as makes sense.
pub(super) fn proposed(case: &Case<'_>) -> Option<Room> {
    let s = case.worst();
    let present = s.rcvbuf_bytes?;
    let each = s.datagram_bytes.filter(|each| *each >= 1.0)?;
    let burst = (case.peak_per_s() * HOLD_S * each).ceil() as u64;
    // A single socket that fills up leaves something to the others.
    let memory = case.udp.settings.udp_mem_bytes.map(|[low, ..]| low / 4);
    let most = MOST_BYTES.min(memory.unwrap_or(MOST_BYTES));
    let wanted = (present + burst).max(present * AT_LEAST_TIMES);
    let mut bytes = wanted.next_power_of_two();
    while bytes > most {
        bytes /= 2;
    }
    (bytes >= present * AT_LEAST_TIMES || bytes > present && bytes >= wanted)
        .then(|| Room::of(bytes, each, case.peak_per_s()))
}
