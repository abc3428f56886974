//! Where the messages of a call lie in the caller's memory: one datagram, several, or pieces of a stream in which
//! each message follows its length (RFC 1035 section 4.2.2).
//!
//! A stream is cut at will: glibc and others write length and message as two buffers, or read the length first and
//! then the message. Which of both a piece begins with is told by what a message begins with.

use probe_common::{
    dns::message::{HEADER, begins},
    op,
    task::Task,
};

use super::Work;
use crate::mem;

const IPPROTO_TCP: u8 = 6;
/// Offsets in `struct msghdr` (sys/socket.h), and where the length of a `struct mmsghdr` lies; and its size.
const MSG_IOV: u64 = 16;
const MSG_IOVS: u64 = 24;
const MMSG_LEN: u64 = 56;
const MMSG_SIZE: u64 = 64;
/// Size of a `struct iovec`.
const IOV_SIZE: u64 = 16;

/// Finds the next message of a call that moved `ret` bytes (or messages). `work.len` is 0 when there is none.
#[inline(always)]
pub fn next(work: &mut Work, task: &Task, protocol: u8, op: u32, ret: u64, received: bool) {
    work.len = 0;
    work.more = 0;
    let _ = if protocol == IPPROTO_TCP {
        if mem::reload(&work.step) == 0 {
            begin_stream(work, task, op, ret);
        }
        in_stream(work, received)
    } else {
        datagram(work, task, op, ret)
    };
}

#[inline(always)]
fn datagram(work: &mut Work, task: &Task, op: u32, ret: u64) -> Option<()> {
    let (first, step) = (task.args[1], mem::reload(&work.step) as u64);
    let (iov, bytes) = match op {
        op::SENDMMSG | op::RECVMMSG => {
            let header = first + step * MMSG_SIZE;
            work.more = (step + 1 < ret) as u32;
            let bytes = mem::user::<u32>(header + MMSG_LEN)?;
            (mem::user::<u64>(header + MSG_IOV)?, bytes as u64)
        }
        op::SENDMSG | op::RECVMSG => (mem::user::<u64>(first + MSG_IOV)?, ret),
        op::READV | op::WRITEV => (first, ret),
        _ => {
            work.address = first;
            work.len = ret as u32;
            return Some(());
        }
    };
    work.address = mem::user::<u64>(iov)?;
    // A message in several buffers is looked at as far as the first one has it.
    work.len = mem::user::<u64>(iov + 8)?.min(bytes) as u32;
    Some(())
}

#[inline(always)]
fn begin_stream(work: &mut Work, task: &Task, op: u32, ret: u64) {
    let first = task.args[1];
    work.left = 0;
    work.further = ret;
    (work.iov, work.iovs) = match op {
        op::SENDMSG | op::RECVMSG | op::SENDMMSG | op::RECVMMSG => (
            mem::user::<u64>(first + MSG_IOV).unwrap_or(0),
            mem::user::<u64>(first + MSG_IOVS).unwrap_or(0),
        ),
        op::READV | op::WRITEV => (first, task.args[2]),
        _ => {
            work.at = first;
            work.left = ret;
            work.further = 0;
            (0, 0)
        }
    };
}

#[inline(always)]
fn in_stream(work: &mut Work, received: bool) -> Option<()> {
    if work.left == 0 {
        if work.iovs == 0 || work.further == 0 {
            return None;
        }
        work.at = mem::user::<u64>(work.iov)?;
        work.left = mem::user::<u64>(work.iov + 8)?.min(work.further);
        work.iov += IOV_SIZE;
        work.iovs -= 1;
        work.further -= work.left;
    }
    let (at, left) = (work.at, work.left);
    work.left = 0;
    work.more = (work.iovs != 0 && work.further != 0) as u32;
    // A length alone, or the end of something.
    if left < HEADER as u64 {
        return None;
    }
    let head = mem::user::<[u8; 8]>(at)?;
    let length = u16::from_be_bytes([head[0], head[1]]) as u64;
    let [_, _, behind @ ..] = head;
    let [before @ .., _, _] = head;
    if length >= HEADER as u64 && begins(&behind, received) {
        work.address = at + 2;
        work.len = length.min(left - 2) as u32;
        if left > length + 2 {
            work.at = at + 2 + length;
            work.left = left - length - 2;
            work.more = 1;
        }
    } else if begins(&before, received) {
        work.address = at;
        work.len = left as u32;
    }
    Some(())
}
