//! DNS: questions that processes ask, and what becomes of them.
//!
//! The kernel side reads the messages that followed threads exchange with port 53 in plain text, over UDP and TCP,
//! and adds them up by process, server, name and type. [`message`] takes them apart.

pub mod message;
#[cfg(test)]
mod tests;

use crate::{count::COMM_LEN, hist, shared};

/// Questions without an answer that are kept; the oldest make room.
pub const OPEN_ROWS: u32 = 32_768;
/// Rows of sums with a name.
pub const SUM_ROWS: u32 = 4096;
/// Rows of sums without a name: what found no place above.
pub const OTHER_ROWS: u32 = 512;
/// A question asked again sooner than this is a duplicate, ns.
pub const DUPLICATE_NS: u64 = 1_000_000_000;
/// Questions of one thread whose wait can be told to have ended without an answer.
pub const WAITED_FOR: usize = 4;

/// Slots of the map `DNS_CALLS`: the programs that the returns of accounted calls go on to when the other side is a
/// DNS server.
pub mod slot {
    /// Something was sent.
    pub const SENT: u32 = 0;
    /// Something was received, or failed to be.
    pub const RECEIVED: u32 = 1;
    /// A wait ended without anything to receive.
    pub const WAITED: u32 = 2;
    /// By the name that an attachment has.
    pub const NAMES: [&str; 3] = ["sent", "received", "waited"];
}

/// Bits of [`Open::flags`].
pub mod open_flag {
    /// A wait for the answer ended without one.
    pub const TIMED_OUT: u32 = 1;
}

/// Bits of [`Asked::flags`].
pub mod asked_flag {
    /// The answer was cut off: the question is asked again over TCP.
    pub const TRUNCATED: u32 = 1;
    /// It was refused at once: the next server is asked.
    pub const REFUSED: u32 = 2;
}

shared! {
    /// What the programs need of the running kernel, a part of [`crate::config::Config`].
    pub struct DnsConfig {
        /// 1: DNS questions are watched.
        pub on: u32,
    }

    /// Which questions a [`QuestionSum`] adds up.
    pub struct QuestionKey {
        /// Hash of the name ([`message`]); 0 for names that found no place.
        pub name: u64,
        /// Peer id of the server.
        pub server: u64,
        /// Process id.
        pub tgid: u32,
        /// QTYPE; 0 where there is no name.
        pub qtype: u32,
    }

    /// Questions and answers; the fields are explained where user space has them (collect/dns). Several threads
    /// write a row at once: all but the maximum is added atomically.
    pub struct QuestionSum {
        /// Messages sent that ask it.
        pub asked: u64,
        /// Of these: asked again for want of an answer.
        pub retried: u64,
        /// Of `asked`: somebody asked the same less than [`DUPLICATE_NS`] before.
        pub duplicates: u64,
        /// Answers received.
        pub answered: u64,
        /// Ended at once, without an answer.
        pub refused: u64,
        /// Answers NOERROR without a record.
        pub empty: u64,
        /// Answers cut off.
        pub truncated: u64,
        /// Sum of the times from question to answer, ns.
        pub latency_ns: u64,
        /// The longest, ns.
        pub latency_max_ns: u64,
        /// First question (CLOCK_MONOTONIC ns).
        pub first_ns: u64,
        /// Last question (CLOCK_MONOTONIC ns).
        pub last_ns: u64,
        /// Answers by response code.
        pub rcodes: [u64; 16],
        /// Name of the process, NUL padded.
        pub comm: [u8; COMM_LEN],
        /// Answers by time, see [`hist`].
        pub latency: [u32; hist::BUCKETS],
    }

    /// Waits that ended without an answer, by the question's [`QuestionKey`]: made at the first one.
    pub struct TimeoutSum {
        /// How many.
        pub count: u64,
        /// Sum of their times, ns.
        pub total_ns: u64,
        /// The longest, ns.
        pub max_ns: u64,
        /// By time, see [`hist`].
        pub hist: [u32; hist::BUCKETS],
    }

    /// A question on its way: the answer comes to the same socket with the same id.
    pub struct OpenKey {
        /// The kernel's socket; 0 for none.
        pub sock: u64,
        /// Id of the message.
        pub id: u64,
    }

    /// A question that has no answer yet.
    pub struct Open {
        /// Where it is added up.
        pub row: QuestionKey,
        /// Hash of the name, also where `row` has none.
        pub name: u64,
        /// When it was asked last (CLOCK_MONOTONIC ns).
        pub asked_ns: u64,
        /// Thread that asked.
        pub tid: u32,
        /// Bits of [`open_flag`].
        pub flags: u32,
        /// QTYPE, also where `row` has none.
        pub qtype: u64,
    }

    /// A question of one thread.
    pub struct AskedKey {
        /// Hash of the name.
        pub name: u64,
        /// Thread id.
        pub tid: u32,
        /// QTYPE.
        pub qtype: u32,
    }

    /// How a thread asked it last.
    pub struct Asked {
        /// The message.
        pub open: OpenKey,
        /// Bits of [`asked_flag`].
        pub flags: u64,
    }

    /// A question, whoever asks it. The value is when it was asked last (CLOCK_MONOTONIC ns).
    pub struct RecentKey {
        /// Hash of the name.
        pub name: u64,
        /// QTYPE.
        pub qtype: u64,
    }

    /// Who asks again first after a question has aged: of several at once, one makes this row.
    pub struct ClaimKey {
        /// The question.
        pub recent: RecentKey,
        /// When it was asked before.
        pub asked_ns: u64,
    }

    /// The questions that a thread asked last, answered or not.
    pub struct Waiting {
        /// The messages; `sock` is 0 in a free slot.
        pub questions: [OpenKey; WAITED_FOR],
        /// Slot that the next one takes.
        pub next: u64,
        /// Waits that a signal interrupted, ns: they belong to the wait that follows.
        pub interrupted_ns: u64,
    }

    /// A name as in a message: length bytes and labels, lower case, with the root's 0 at the end.
    pub struct Name {
        /// The bytes; what lies behind `len` means nothing.
        pub bytes: [u8; message::NAME_ROOM],
        /// Bytes in use.
        pub len: u64,
    }

    /// All questions.
    pub struct Totals {
        /// Messages that ask.
        pub asked: u64,
        /// Answers to them.
        pub answered: u64,
        /// Rows made in the table of questions without an answer.
        pub opened: u64,
        /// Rows taken out again.
        pub ended: u64,
        /// When the next [`Step`] is due (CLOCK_MONOTONIC ns).
        pub next_step_ns: u64,
    }

    /// How far all questions have come: at most ten a second.
    pub struct Step {
        /// [`crate::request::event::DNS`].
        pub event: u32,
        /// Always 0.
        pub pad: u32,
        /// When (CLOCK_MONOTONIC ns).
        pub at_ns: u64,
        /// As in [`Totals`].
        pub asked: u64,
        /// As in [`Totals`].
        pub answered: u64,
    }
}
