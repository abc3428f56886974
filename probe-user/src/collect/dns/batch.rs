//! Reads a whole hash map with few calls: walking it with one call for each key and one for each value costs more
//! than everything else that is done with it.

use std::os::fd::{AsFd as _, AsRawFd as _};

use aya::{Ebpf, Pod, maps::Map};

use crate::error::Error;

/// Rows asked for at once.
const ROWS: usize = 512;
/// BPF_MAP_LOOKUP_BATCH (include/uapi/linux/bpf.h), since 5.6.
const LOOKUP_BATCH: libc::c_long = 24;

/// The `batch` part of `union bpf_attr`.
#[repr(C)]
struct Attr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// All rows of a hash map, in no order. Rows that come and go meanwhile may be missing.
pub fn rows<K: Pod, V: Pod>(ebpf: &Ebpf, name: &str) -> Result<Vec<(K, V)>, Error> {
    let (Some(Map::HashMap(map)) | Some(Map::LruHashMap(map))) = ebpf.map(name) else {
        return Err(Error::Kernel(format!("the object has no hash map {name}")));
    };
    let map_fd = map.fd().as_fd().as_raw_fd() as u32;
    let mut out = Vec::new();
    let (mut keys, mut values) = (Vec::<K>::new(), Vec::<V>::new());
    let mut room = ROWS;
    let mut position: Option<u32> = None;
    loop {
        keys.reserve(room);
        values.reserve(room);
        let mut next = 0u32;
        let mut attr = Attr {
            in_batch: position
                .as_ref()
                .map_or(0, |p| std::ptr::from_ref(p) as u64),
            out_batch: &raw mut next as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: room as u32,
            map_fd,
            elem_flags: 0,
            flags: 0,
        };
        // SAFETY: the kernel writes at most `room` keys and values, for which there is room, and a position.
        let r = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                LOOKUP_BATCH,
                &raw mut attr,
                size_of::<Attr>(),
            )
        };
        let errno = match r {
            0 => 0,
            _ => std::io::Error::last_os_error().raw_os_error().unwrap_or(0),
        };
        match errno {
            0 | libc::ENOENT => {}
            // A bucket has more rows than there is room for.
            libc::ENOSPC if room < 1 << 20 => {
                room *= 2;
                continue;
            }
            libc::EINTR => continue,
            _ => {
                let e = std::io::Error::from_raw_os_error(errno);
                return Err(Error::Kernel(format!("map {name} cannot be read: {e}")));
            }
        }
        let n = (attr.count as usize).min(room);
        // SAFETY: the kernel wrote this many of each; every bit pattern is valid.
        unsafe {
            keys.set_len(n);
            values.set_len(n);
        }
        out.extend(keys.drain(..).zip(values.drain(..)));
        if errno == libc::ENOENT {
            return Ok(out);
        }
        position = Some(next);
    }
}
