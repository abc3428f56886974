//! Who holds a socket that drops: the iterator `iter/task_file`, as in [`crate::tcp::owners`], run only when there are
//! drops whose holder is not known.

use probe_common::udp::{UdpHolder, UdpKey, record};

use super::{IPPROTO_UDP, drops::UDP_DROPS};
use crate::{
    maps::config,
    mem,
    tcp::{
        census::{load, write},
        owners::{Context, S_IFMT, S_IFSOCK},
        watched,
    },
};

#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
pub extern "C" fn on_udp_descriptor(ctx: *const Context) -> u32 {
    let _ = try_descriptor(ctx);
    0
}

#[inline(always)]
fn try_descriptor(ctx: *const Context) -> Option<()> {
    let (meta, task, fd, file) = Context::read(ctx)?;
    let inode: *const u8 = load(file, config!(offsets.file_inode));
    if load::<u16>(inode, config!(offsets.inode_mode)) & S_IFMT != S_IFSOCK {
        return None;
    }
    let inode: u64 = load(inode, config!(offsets.inode_ino));
    let private: u64 = load(file, config!(offsets.file_private));
    let sock = mem::kernel::<u64>(private + config!(offsets.socket_sk) as u64)?;
    let key = UdpKey { sock, inode };
    if watched(sock)? != IPPROTO_UDP || UDP_DROPS.get_ptr(key).is_none() {
        return None;
    }
    let mut out = UdpHolder::ZERO;
    out.record = record::HOLDER;
    out.tgid = load(task, config!(offsets.task_tgid));
    out.fd = fd;
    out.key = key;
    // Without room it is run again for this descriptor.
    write(meta, &out);
    None
}
