//! Runs BPF iterators, and reads the tables that they fill, without copying those.

use std::{
    fs::File,
    io::{self, Read},
    marker::PhantomData,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    ptr,
    sync::atomic::{AtomicBool, Ordering},
};

use probe_common::tcp::{FinWait2, Holder, Listener, record};

/// Command of bpf(2) (include/uapi/linux/bpf.h).
const BPF_ITER_CREATE: libc::c_long = 33;
/// The kernel hands out at most 32 KiB at once (kernel/bpf/bpf_iter.c).
const BUFFER: usize = 64 << 10;

/// What an iterator wrote out.
#[derive(Default)]
pub struct Written {
    pub fin_wait2: Vec<FinWait2>,
    pub listeners: Vec<Listener>,
    pub holders: Vec<Holder>,
}

/// Runs an iterator once over everything, in the network namespace of the calling thread.
///
/// # Errors
/// The kernel refuses, or `stop` was set meanwhile.
pub fn run(link: &OwnedFd, stop: &AtomicBool) -> io::Result<Written> {
    let mut file = create(link)?;
    let mut written = Written::default();
    let mut buffer = vec![0; BUFFER];
    let mut kept = 0;
    loop {
        if stop.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        match file.read(&mut buffer[kept..]) {
            Ok(0) => return Ok(written),
            Ok(n) => {
                let end = kept + n;
                let used = written.decode(&buffer[..end]);
                buffer.copy_within(used..end, 0);
                kept = end - used;
                if kept == BUFFER {
                    return Err(io::ErrorKind::InvalidData.into());
                }
            }
            // The kernel pauses after a million objects.
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// A file, reading which runs the iterator. Each is good for one run.
fn create(link: &OwnedFd) -> io::Result<File> {
    let attributes: [u32; 2] = [link.as_raw_fd() as u32, 0];
    // SAFETY: the attributes (descriptor and flags) live through the call, and their size is passed.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_ITER_CREATE,
            attributes.as_ptr(),
            size_of_val(&attributes),
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { File::from_raw_fd(fd as i32) })
}

impl Written {
    /// Takes whole records off the front; returns how many bytes they were.
    fn decode(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while let Some(kind) = bytes.get(at..at + 4) {
            let rest = &bytes[at..];
            let kind = kind.try_into().map_or(0, u32::from_ne_bytes);
            let used = match kind {
                record::FIN_WAIT2 => push(rest, &mut self.fin_wait2),
                record::LISTENER => push(rest, &mut self.listeners),
                record::HOLDER => push(rest, &mut self.holders),
                // Not one of ours: nothing behind it can be made sense of.
                _ => return bytes.len(),
            };
            if used == 0 {
                break;
            }
            at += used;
        }
        at
    }
}

/// Marks the records that the kernel side writes out.
trait Record: aya::Pod {}
impl Record for FinWait2 {}
impl Record for Listener {}
impl Record for Holder {}

/// Takes one record off the front; 0 when it is not whole.
fn push<T: Record>(bytes: &[u8], to: &mut Vec<T>) -> usize {
    if bytes.len() < size_of::<T>() {
        return 0;
    }
    // SAFETY: the length was just checked; every bit pattern is valid for plain data.
    to.push(unsafe { ptr::read_unaligned(bytes.as_ptr().cast::<T>()) });
    size_of::<T>()
}

/// A map of the kernel side, seen in place. Only the iterator writes to it, and only while we run it.
pub struct Mapped<T> {
    start: *mut T,
    bytes: usize,
    len: usize,
    of: PhantomData<T>,
}

// SAFETY: the memory is the map's and belongs to no thread; access goes through `&self` and `&mut self`.
unsafe impl<T: Send> Send for Mapped<T> {}

impl<T: aya::Pod> Mapped<T> {
    /// Maps the `len` values of an array map.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn new(map: BorrowedFd<'_>, len: usize) -> io::Result<Self> {
        // The kernel rounds the size of a value up to a multiple of 8.
        const { assert!(size_of::<T>().is_multiple_of(8)) };
        let bytes = size_of::<T>() * len;
        // SAFETY: a new mapping, at an address of the kernel's choice.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                map.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            start: start.cast(),
            bytes,
            len,
            of: PhantomData,
        })
    }

    /// A value; `None` beyond the end.
    pub fn get(&self, index: usize) -> Option<&T> {
        // SAFETY: within the mapping, which lives as long as `self`; the kernel does not write while the
        // iterator does not run; every bit pattern is valid.
        (index < self.len).then(|| unsafe { &*self.start.add(index) })
    }

    /// Replaces a value.
    pub fn set(&mut self, index: usize, value: T) {
        if index < self.len {
            // SAFETY: as above.
            unsafe { self.start.add(index).write_volatile(value) };
        }
    }
}

impl<T> Drop for Mapped<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and nothing refers to it any more.
        unsafe { libc::munmap(self.start.cast(), self.bytes) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes<T: Record>(record: &T) -> Vec<u8> {
        // SAFETY: plain data without padding.
        unsafe { std::slice::from_raw_parts(ptr::from_ref(record).cast(), size_of::<T>()) }.to_vec()
    }

    #[test]
    fn records_are_told_apart_and_a_cut_one_is_left() {
        let holder = Holder {
            record: record::HOLDER,
            tgid: 7,
            ..Holder::ZERO
        };
        let half = FinWait2 {
            record: record::FIN_WAIT2,
            sock: 9,
            ..FinWait2::ZERO
        };
        let all = [bytes(&holder), bytes(&half), bytes(&holder)].concat();
        for cut in 0..all.len() {
            let mut written = Written::default();
            let used = written.decode(&all[..cut]);
            assert!(used <= cut);
            written.decode(&all[used..]);
            assert_eq!(written.holders, [holder, holder]);
            assert_eq!(written.fin_wait2, [half]);
        }
    }

    #[test]
    fn nonsense_is_skipped() {
        let mut written = Written::default();
        assert_eq!(written.decode(&[0xff; 100]), 100);
        assert!(written.holders.is_empty());
    }
}
