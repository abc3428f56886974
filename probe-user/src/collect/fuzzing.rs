//! What reads the ring, iterators, files of the kernel, and recordings, opened to the fuzz targets, and to nothing else.

use super::mounts;

pub use super::{
    collector::decode,
    cost::number as fdinfo_number,
    dns::resolver::parse as resolver,
    epoll::registration,
    files::place::tidy,
    inflight::{inode_of, parse_syscall},
    iterator::{Written, decode as decode_written},
    journal::symbols::Table as KernelSymbols,
    processes::{Stat, listening_port, parse_stat, pool_of},
    sockets::{scan, scan_unix},
    table::made,
};

/// The format of recordings.
pub mod recording {
    pub use crate::collect::recording::{
        format::{
            ALIGN, BLOCK, BlockHead, Kind, MARK, MAX_FRAME, MAX_HEADER, MAX_MEMORY, PREAMBLE,
            Place, align, beginning, decode, encode, mark,
        },
        make::{Maker, kinds},
    };
}

/// Texts about TCP.
pub mod tcp {
    pub use crate::collect::tcp::{
        counters::{from_texts, pair, ranges},
        proc_net::{Socket, count, read},
        records::Written,
    };
}

/// Texts about UDP.
pub mod udp {
    pub use crate::collect::udp::{
        census::Written,
        counters::{from_texts, three, used_pages},
        proc_net::read,
    };
}

/// The mounts of a mountinfo, with their numbers.
pub fn mountinfo(text: &[u8]) -> Vec<(u32, mounts::Mount)> {
    let entries = mounts::parse(text).into_iter();
    entries.map(|entry| (entry.id, entry.mount)).collect()
}

/// The number of the mount that shows a path, and what the path is called within its file system.
pub fn covering(text: &[u8], path: &[u8]) -> Option<(u32, Vec<u8>)> {
    let entries = mounts::parse(text);
    let entry = mounts::covering(&entries, path)?;
    Some((entry.id, entry.mount.inside(path)?))
}
