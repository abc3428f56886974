//! Who holds which socket: the iterator `iter/task_file`, run once for each descriptor of each process
//! while user space reads its file. The kernel skips threads that share the descriptors of their process
//! (kernel/bpf/task_iter.c, since 5.10).
//!
//! Written records come first, as in [`super::census`]: the program may be run again for a descriptor.

use aya_ebpf::{macros::map, maps::HashMap};
use probe_common::{
    loss,
    peer::ADDR_LEN,
    tcp::{Holder, Listener, Owner, record, state},
};

use super::{
    AF_INET, AF_INET6, AF_UNIX, IPPROTO_TCP,
    census::{Meta, load, queues, write},
};
use crate::{
    maps::{IN_WALK, NETNS, SCRATCH, config, lost},
    mem,
    peer::{self, Peer},
};

pub const S_IFMT: u16 = 0xf000;
pub const S_IFSOCK: u16 = 0xc000;

/// TCP sockets that a process holds, by process id. User space sets the size, and empties it after each walk.
#[map]
pub static OWNERS: HashMap<u32, Owner> = HashMap::with_max_entries(1, 0);

/// Context of an iterator over descriptors (`struct bpf_iter__task_file`, kernel/bpf/task_iter.c).
#[repr(C)]
pub struct Context {
    meta: *const Meta,
    task: *const u8,
    fd: u64,
    file: *const u8,
}

impl Context {
    /// Meta data, task, descriptor and file; `None` at the last call, which comes without any.
    #[inline(always)]
    pub fn read(ctx: *const Self) -> Option<(*const Meta, *const u8, u32, *const u8)> {
        // SAFETY: the context has this layout on every kernel that has the iterator; the descriptor is the low half
        // of its slot, which only a load of that size may read.
        let (meta, task, fd, file) = unsafe {
            (
                (&raw const (*ctx).meta).read_volatile(),
                (&raw const (*ctx).task).read_volatile(),
                (&raw const (*ctx).fd).cast::<u32>().read_volatile(),
                (&raw const (*ctx).file).read_volatile(),
            )
        };
        (!task.is_null() && !file.is_null()).then_some((meta, task, fd, file))
    }
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
pub extern "C" fn on_descriptor(ctx: *const Context) -> u32 {
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
    let tgid: u32 = load(task, config!(offsets.task_tgid));
    let sock = mem::kernel::<u64>(private + config!(offsets.socket_sk) as u64)?;
    if sock == 0 {
        return None;
    }
    let net = mem::kernel::<u64>(sock + config!(offsets.skc_net) as u64)?;
    if NETNS.get(0) != Some(&net) {
        return None;
    }
    let family = mem::kernel::<u16>(sock + config!(offsets.skc_family) as u64)?;
    let state = mem::kernel::<u8>(sock + config!(offsets.skc_state) as u64)?;
    let tcp = match family {
        AF_INET | AF_INET6 => {
            let protocol = mem::kernel::<u16>(sock + config!(offsets.sk_protocol) as u64)?;
            if protocol as u32 != IPPROTO_TCP {
                return None;
            }
            true
        }
        AF_UNIX if state == state::LISTEN => false,
        _ => return None,
    };
    if state == state::LISTEN {
        if !listener(meta, sock, tcp, tgid, fd as i32, inode)? {
            return None;
        }
    } else if state == state::FIN_WAIT2 {
        let mut out = Holder::ZERO;
        out.record = record::HOLDER;
        out.tgid = tgid;
        out.fd = fd as i32;
        out.sock = sock;
        if !write(meta, &out) {
            return None;
        }
    }
    if tcp {
        count(tgid, state);
    }
    None
}

/// Writes a listener out. False when it is to be called again.
#[inline(always)]
fn listener(
    meta: *const Meta,
    sock: u64,
    tcp: bool,
    tgid: u32,
    fd: i32,
    inode: u64,
) -> Option<bool> {
    let mut peer = Peer::NONE;
    peer::try_of_sock(sock, IN_WALK, &mut peer)?;
    let mut out = Listener::ZERO;
    out.record = record::LISTENER;
    out.tgid = tgid;
    out.fd = fd;
    out.inode = inode;
    queues(sock, &mut out);
    if !tcp {
        // A connection waits in the receive queue; the rest is TCP's.
        let length = config!(offsets.sk_receive_queue) + config!(offsets.skb_head_qlen);
        out.queue = mem::kernel::<u32>(sock + length as u64)?;
        out.drops = 0;
        out.syn_queue = 0;
    }
    // SAFETY: one thread at a time walks, so nobody else has this slot.
    let address = unsafe { &*SCRATCH.get_ptr(IN_WALK)? };
    out.address = *address;
    if tcp {
        // Behind an address there may be the rest of a path.
        out.address.addr = [0; ADDR_LEN / 8];
        out.address.addr[0] = address.addr[0];
        out.address.addr[1] = address.addr[1];
    }
    Some(write(meta, &out))
}

#[inline(always)]
fn count(tgid: u32, state: u8) {
    if OWNERS.get_ptr(tgid).is_none() && OWNERS.insert(tgid, Owner::ZERO, 0).is_err() {
        lost(loss::slot::OWNERS_FULL);
        return;
    }
    let Some(owner) = OWNERS.get_ptr_mut(tgid) else {
        return;
    };
    let index = mem::opaque(state as usize & 15);
    if index < 16 {
        // SAFETY: the index was just checked; one thread at a time walks.
        unsafe { *(*owner).counts.get_unchecked_mut(index) += 1 };
    }
}
