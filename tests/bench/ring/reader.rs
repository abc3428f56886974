//! The barest reader of a ring that there can be: it counts the records and looks at the first word of each.

use std::{
    os::fd::AsRawFd as _,
    ptr::NonNull,
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
};

use anyhow::ensure;
use probe_tests::sys;

use crate::bpf::Map;

/// Bits of a record's length (include/uapi/linux/bpf.h).
const BUSY: u32 = 1 << 31;
const DISCARDED: u32 = 1 << 30;
/// A record's header, bytes.
const HEADER: u64 = 8;
/// How long it sleeps where the kernel side does not wake it, ms: as `bench` calls of the tool do.
const SLEEP_MS: i32 = 20;

/// A ring in memory.
pub struct Reader<'a> {
    ring: &'a Map,
    /// One page that is ours to write: how far we have read.
    consumer: Mapped,
    /// One page that says how far there is something, and the ring behind it, twice in a row.
    producer: Mapped,
    page: usize,
}

impl<'a> Reader<'a> {
    /// Maps it.
    pub fn new(ring: &'a Map) -> anyhow::Result<Self> {
        // SAFETY: takes a number.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
        let fd = ring.fd.as_raw_fd();
        Ok(Self {
            ring,
            consumer: Mapped::new(fd, page, 0, libc::PROT_READ | libc::PROT_WRITE)?,
            producer: Mapped::new(fd, page + 2 * ring.entries as usize, page, libc::PROT_READ)?,
            page,
        })
    }

    /// Reads until it is told to stop and nothing is left; how many records there were, and the sum of their first words.
    pub fn read(&mut self, stop: &AtomicBool) -> (u64, u64) {
        let (mut records, mut sum) = (0, 0);
        loop {
            // Before the look at the ring: what came before the word to stop is read.
            let last = stop.load(Ordering::Acquire);
            let (n, words) = self.drain();
            records += n;
            sum += words;
            if last && n == 0 {
                return (records, sum);
            }
            let mut fds = [sys::pollfd(self.ring.fd.as_raw_fd(), libc::POLLIN)];
            // Readiness is told as soon as there is anything; the reader is not to come for each record.
            if n == 0 {
                let _ = sys::poll(&mut fds, SLEEP_MS);
            } else {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        }
    }

    /// Takes what is there.
    fn drain(&mut self) -> (u64, u64) {
        let mask = u64::from(self.ring.entries) - 1;
        // SAFETY: both lie at the begin of a page that is mapped for as long as `self` is there.
        let (consumer, producer) = unsafe {
            (
                self.consumer.at(0).cast::<AtomicU64>().as_ref(),
                self.producer.at(0).cast::<AtomicU64>().as_ref(),
            )
        };
        let mut at = consumer.load(Ordering::Relaxed);
        let (mut records, mut sum) = (0, 0u64);
        while at < producer.load(Ordering::Acquire) {
            let record = self.page + (at & mask) as usize;
            // SAFETY: a record's header and its bytes lie within the ring, which is mapped twice in a row.
            let header = unsafe { self.producer.at(record).cast::<AtomicU32>().as_ref() };
            let length = header.load(Ordering::Acquire);
            if length & BUSY != 0 {
                break;
            }
            if length & DISCARDED == 0 {
                // SAFETY: as above; a record has at least a word.
                let word = unsafe {
                    self.producer
                        .at(record + HEADER as usize)
                        .cast::<u32>()
                        .read()
                };
                records += 1;
                sum += u64::from(word);
            }
            let bytes = u64::from(length & !(BUSY | DISCARDED)) + HEADER;
            at += bytes.next_multiple_of(HEADER);
            consumer.store(at, Ordering::Release);
        }
        (records, sum)
    }
}

/// A piece of a file in memory.
struct Mapped {
    begin: NonNull<u8>,
    bytes: usize,
}

impl Mapped {
    fn new(fd: i32, bytes: usize, offset: usize, protection: i32) -> anyhow::Result<Self> {
        // SAFETY: a new mapping, where the kernel wants it.
        let begin = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                protection,
                libc::MAP_SHARED,
                fd,
                offset as i64,
            )
        };
        ensure!(
            begin != libc::MAP_FAILED,
            "mmap of a ring: {}",
            std::io::Error::last_os_error()
        );
        let begin =
            NonNull::new(begin.cast()).ok_or_else(|| anyhow::anyhow!("mmap gave nothing"))?;
        Ok(Self { begin, bytes })
    }

    /// The address of a byte.
    fn at(&self, offset: usize) -> NonNull<u8> {
        assert!(offset < self.bytes, "beyond the ring");
        // SAFETY: within the mapping.
        unsafe { self.begin.add(offset) }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: our own mapping, which nobody uses any more.
        unsafe { libc::munmap(self.begin.as_ptr().cast(), self.bytes) };
    }
}

// SAFETY: the mappings belong to whoever has the reader, and what the kernel writes is read atomically.
unsafe impl Send for Reader<'_> {}
