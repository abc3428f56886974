//! Runs BPF iterators, and reads the tables that they fill, without copying those.

use std::{
    fs::File,
    io::{self, Read},
    marker::PhantomData,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    ptr,
    sync::atomic::{AtomicBool, Ordering},
};

use aya::{Ebpf, maps::Map};

/// Command of bpf(2) (include/uapi/linux/bpf.h).
const BPF_ITER_CREATE: libc::c_long = 33;
/// The kernel hands out at most 32 KiB at once (kernel/bpf/bpf_iter.c).
const BUFFER: usize = 64 << 10;

/// What an iterator writes out, decoded.
pub trait Written: Default {
    /// Takes the record at the front, of the kind that its first field says; returns how many bytes it was, 0 when it
    /// is not whole, and `None` when it is none of ours.
    fn take(&mut self, kind: u32, bytes: &[u8]) -> Option<usize>;
}

/// Runs an iterator once over everything, in the network namespace of the calling thread.
///
/// # Errors
/// The kernel refuses, or `stop` was set meanwhile.
pub fn run<W: Written>(link: &OwnedFd, stop: &AtomicBool) -> io::Result<W> {
    let mut file = create(link)?;
    let mut written = W::default();
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
                let used = decode(&buffer[..end], &mut written);
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

/// Takes whole records off the front; returns how many bytes they were.
pub fn decode(bytes: &[u8], into: &mut impl Written) -> usize {
    let mut at = 0;
    while let Some(kind) = bytes.get(at..at + 4) {
        let kind = kind.try_into().map_or(0, u32::from_ne_bytes);
        match into.take(kind, &bytes[at..]) {
            // Nothing behind it can be made sense of.
            None => return bytes.len(),
            Some(0) => break,
            Some(used) => at += used,
        }
    }
    at
}

/// Takes one record off the front; 0 when it is not whole.
pub fn push<T: aya::Pod>(bytes: &[u8], to: &mut Vec<T>) -> usize {
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
    /// Maps the `len` values of an array map of the object.
    ///
    /// # Errors
    /// The kernel refuses, or the object has no such map.
    pub fn of(ebpf: &Ebpf, name: &str, len: usize) -> io::Result<Self> {
        match ebpf.map(name) {
            Some(Map::Array(data)) => Self::new(data.fd().as_fd(), len),
            _ => Err(io::Error::other(format!("the object has no map {name}"))),
        }
    }

    fn new(map: BorrowedFd<'_>, len: usize) -> io::Result<Self> {
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

    /// A record is its kind and one more word, of kind 2 two more.
    #[derive(Default)]
    struct Words(Vec<[u32; 2]>, Vec<[u32; 3]>);

    impl Written for Words {
        fn take(&mut self, kind: u32, bytes: &[u8]) -> Option<usize> {
            match kind {
                1 => Some(push(bytes, &mut self.0)),
                2 => Some(push(bytes, &mut self.1)),
                _ => None,
            }
        }
    }

    #[test]
    fn records_are_told_apart_and_a_cut_one_is_left() {
        let all: Vec<u8> = [1, 7, 2, 8, 9, 1, 10_u32]
            .iter()
            .flat_map(|word| word.to_ne_bytes())
            .collect();
        for cut in 0..all.len() {
            let mut words = Words::default();
            let used = decode(&all[..cut], &mut words);
            assert!(used <= cut);
            decode(&all[used..], &mut words);
            assert_eq!(words.0, [[1, 7], [1, 10]]);
            assert_eq!(words.1, [[2, 8, 9]]);
        }
    }

    #[test]
    fn nonsense_is_skipped() {
        let mut words = Words::default();
        assert_eq!(decode(&[0xff; 100], &mut words), 100);
        assert!(words.0.is_empty());
    }
}
