//! Who is behind a descriptor, read out of the kernel's own structures at the moment of the question:
//! task -> files -> fd -> file -> socket -> sock. There is no table to keep true through dup, fork, exec
//! or descriptor passing, and a connection that was opened long before we came has its peer too.
//!
//! Offsets come from the running kernel's BTF. A read that fails makes the peer unknown, never wrong.

use aya_ebpf::helpers::generated::{
    bpf_probe_read_kernel, bpf_probe_read_user, bpf_probe_read_user_str,
};
use probe_common::{
    loss,
    peer::{ADDR_LEN, PeerKey, flag, id, kind, special},
    task::{CACHED_PEERS, Task, flag as task_flag},
};

use crate::{
    maps::{IN_CALL, LISTEN_PORTS, SCRATCH, UDP_SENT_TO, config, lost},
    mem,
};

const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
/// TCP_LISTEN (include/net/tcp_states.h); Unix sockets use the same number.
const LISTEN: u8 = 10;
/// TCP_ESTABLISHED, also of connected UDP and Unix sockets.
const ESTABLISHED: u8 = 1;
const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u8 = 17;
/// Longest `sun_path` (unix(7)).
const PATH_MAX: u32 = 108;

/// What a descriptor leads to.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Peer {
    /// Peer id, see [`probe_common::peer`].
    pub id: u64,
    /// Kernel socket, 0 when it is none.
    pub sock: u64,
    /// Bits of [`flag`], for sockets.
    pub flags: u8,
    /// IP protocol number, for inet sockets.
    pub protocol: u8,
    /// TCP state, for sockets.
    pub state: u8,
    /// 1 for a Unix socket that has no name on either end (socketpair).
    pub unnamed: u8,
    /// The part that a wait on it is charged to.
    pub part: u32,
    /// Its slot in the open request, or [`NO_SLOT`].
    pub slot: u32,
    /// The descriptor that was looked up.
    pub fd: u32,
    /// How long the call blocked, ns.
    pub blocked_ns: u64,
}

/// Not in the open request's table.
pub const NO_SLOT: u32 = 255;

impl Peer {
    /// Nobody.
    pub const NONE: Self = Self {
        id: special::NONE,
        sock: 0,
        flags: 0,
        protocol: 0,
        state: 0,
        unnamed: 0,
        part: 0,
        slot: NO_SLOT,
        fd: 0,
        blocked_ns: 0,
    };

    /// Makes it one of [`special`], with no socket.
    #[inline(always)]
    pub fn set_special(&mut self, id: u64) {
        self.id = id;
        self.sock = 0;
        self.flags = 0;
        self.protocol = 0;
        self.state = 0;
        self.unnamed = 0;
    }

    /// A socket with a fixed other side, that is neither listening nor closed.
    #[inline(always)]
    fn is_connected(&self) -> bool {
        self.id >= special::FIRST_HASH
            && self.flags & (flag::LISTENER | flag::UNCONNECTED) == 0
            && self.state == ESTABLISHED
    }

    /// A socket whose other end is known by an address.
    #[inline(always)]
    pub fn is_named(&self) -> bool {
        self.id >= special::FIRST_HASH
            && self.flags & (flag::LISTENER | flag::UNCONNECTED) == 0
            && self.unnamed == 0
    }
}

/// The `struct file` behind a descriptor of the current process.
#[inline(always)]
pub fn file_of(fd: u32) -> Option<u64> {
    let files = mem::kernel::<u64>(mem::current_task() + config!(offsets.task_files) as u64)?;
    let table = mem::kernel::<u64>(files + config!(offsets.files_fdt) as u64)?;
    if fd >= mem::kernel::<u32>(table + config!(offsets.fdt_max_fds) as u64)? {
        return None;
    }
    let array = mem::kernel::<u64>(table + config!(offsets.fdt_fd) as u64)?;
    match mem::kernel::<u64>(array + fd as u64 * 8)? {
        0 => None,
        file => Some(file),
    }
}

/// Finds the peer behind a descriptor of the current thread, from what it remembers if that is safe.
///
/// Walking the structures takes a dozen reads (some 700 ns where one read takes 55). A connected socket
/// keeps its peer until its descriptor is closed or replaced or connect() is called on it, all of which
/// [`forget`]; a thread that shares its descriptors with others remembers nothing.
#[inline(always)]
pub fn of_task_fd(task: &mut Task, fd: u32, into: &mut Peer) {
    let slot = mem::opaque(fd as usize & (CACHED_PEERS - 1));
    if slot >= CACHED_PEERS {
        return;
    }
    // SAFETY: the index was just checked.
    let cached = unsafe { task.cache.get_unchecked_mut(slot) };
    if cached.id != 0 && cached.fd == fd {
        into.id = cached.id;
        into.flags = cached.flags;
        into.protocol = cached.protocol;
        into.unnamed = cached.unnamed;
        into.state = ESTABLISHED;
        return;
    }
    of_fd(fd, into);
    if into.is_connected() && task.flags & task_flag::SHARES_FILES == 0 {
        cached.id = into.id;
        cached.fd = fd;
        cached.flags = into.flags;
        cached.protocol = into.protocol;
        cached.unnamed = into.unnamed;
    }
}

/// A range of descriptors is closed, replaced or connected anew.
#[inline(always)]
pub fn forget(task: &mut Task, first: u32, last: u32) {
    let mut i = 0;
    while i < CACHED_PEERS {
        // SAFETY: the index is below the array's length.
        let cached = unsafe { task.cache.get_unchecked_mut(i) };
        if cached.fd >= first && cached.fd <= last {
            cached.id = 0;
        }
        i += 1;
    }
}

/// Finds the peer behind a descriptor of the current process.
#[inline(never)]
pub fn of_fd(fd: u32, into: &mut Peer) {
    into.set_special(special::UNKNOWN);
    if config!(peers) == 0 {
        return;
    }
    let Some(file) = file_of(fd) else {
        // Closed, or never was: the call fails with EBADF.
        into.set_special(special::NONE);
        return;
    };
    if try_of_file(file, into).is_none() {
        lost(loss::slot::READ_FAILED);
    }
}

/// The kernel socket behind a descriptor of the current process; 0 when it is none.
#[inline(never)]
pub fn sock_of_fd(fd: u32) -> u64 {
    try_sock_of_fd(fd).unwrap_or(0)
}

#[inline(always)]
fn try_sock_of_fd(fd: u32) -> Option<u64> {
    let file = file_of(fd)?;
    let inode = mem::kernel::<u64>(file + config!(offsets.file_inode) as u64)?;
    let mode = mem::kernel::<u16>(inode + config!(offsets.inode_mode) as u64)?;
    if mode & S_IFMT != S_IFSOCK {
        return None;
    }
    let socket = mem::kernel::<u64>(file + config!(offsets.file_private) as u64)?;
    mem::kernel::<u64>(socket + config!(offsets.socket_sk) as u64)
}

/// The kind of file in an inode's mode, and a socket's (inode(7)).
const S_IFMT: u16 = 0xf000;
const S_IFSOCK: u16 = 0xc000;

#[inline(always)]
fn try_of_file(file: u64, into: &mut Peer) -> Option<()> {
    const S_IFREG: u16 = 0x8000;
    const S_IFBLK: u16 = 0x6000;
    const S_IFDIR: u16 = 0x4000;
    const S_IFIFO: u16 = 0x1000;
    let inode = mem::kernel::<u64>(file + config!(offsets.file_inode) as u64)?;
    let mode = mem::kernel::<u16>(inode + config!(offsets.inode_mode) as u64)?;
    match mode & S_IFMT {
        S_IFSOCK => {}
        S_IFREG | S_IFBLK | S_IFDIR => {
            into.id = special::FILE;
            return Some(());
        }
        S_IFIFO => {
            into.id = special::PIPE;
            return Some(());
        }
        _ => {
            into.id = special::LOCAL;
            return Some(());
        }
    }
    let socket = mem::kernel::<u64>(file + config!(offsets.file_private) as u64)?;
    let sock = mem::kernel::<u64>(socket + config!(offsets.socket_sk) as u64)?;
    if sock == 0 {
        return Some(());
    }
    let unconnected = try_of_sock(sock, IN_CALL, into)?;
    if unconnected {
        let ino = mem::kernel::<u64>(inode + config!(offsets.inode_ino) as u64)?;
        // SAFETY: the value is a plain integer; a torn update cannot happen.
        if let Some(to) = unsafe { UDP_SENT_TO.get(ino) } {
            into.id = *to;
            into.flags = flag::UNCONNECTED;
        }
    }
    Some(())
}

/// Finds the peer of a kernel socket and leaves its address in a slot of [`SCRATCH`]. True for a UDP socket that
/// has no fixed other side.
#[inline(always)]
pub fn try_of_sock(sock: u64, scratch: u32, into: &mut Peer) -> Option<bool> {
    let key = SCRATCH.get_ptr_mut(scratch)?;
    // SAFETY: the scratch row belongs to this CPU, and tracepoint programs do not migrate.
    let key = unsafe { &mut *key };
    into.sock = sock;
    let family = mem::kernel::<u16>(sock + config!(offsets.skc_family) as u64)?;
    into.state = mem::kernel::<u8>(sock + config!(offsets.skc_state) as u64)?;
    // Every branch leaves the address in `key`; the id is made of it in one place, which the verifier then
    // explores once.
    match family {
        AF_INET | AF_INET6 => inet(sock, family, into, key)?,
        AF_UNIX => unix(sock, into, key)?,
        _ => {
            key.kind = kind::OTHER_FAMILY;
            key.protocol = 0;
            key.flags = 0;
            key.len = 0;
            key.port = family;
            key.local_port = 0;
            key.addr[0] = 0;
            key.addr[1] = 0;
        }
    }
    into.flags = key.flags;
    into.id = id(key);
    Some(key.protocol == IPPROTO_UDP && key.flags == flag::UNCONNECTED)
}

#[inline(always)]
fn inet(sock: u64, family: u16, into: &mut Peer, key: &mut PeerKey) -> Option<()> {
    let protocol = mem::kernel::<u8>(sock + config!(offsets.sk_protocol) as u64)?;
    let local_port = mem::kernel::<u16>(sock + config!(offsets.skc_num) as u64)?;
    let port = mem::kernel::<u16>(sock + config!(offsets.skc_dport) as u64)?.swap_bytes();
    let listens = protocol == IPPROTO_TCP && into.state == LISTEN;
    key.protocol = protocol;
    into.protocol = protocol;
    if family == AF_INET {
        let offset = if listens {
            config!(offsets.skc_rcv_saddr)
        } else {
            config!(offsets.skc_daddr)
        };
        key.kind = kind::INET;
        key.len = 4;
        key.addr[0] = mem::kernel::<u32>(sock + offset as u64)? as u64;
        key.addr[1] = 0;
    } else {
        let offset = if listens {
            config!(offsets.skc_v6_rcv_saddr)
        } else {
            config!(offsets.skc_v6_daddr)
        };
        let address = mem::kernel::<[u64; 2]>(sock + offset as u64)?;
        set_v6(key, address);
    }
    key.port = 0;
    key.local_port = local_port;
    if listens {
        key.flags = flag::LISTENER;
    } else if port == 0 {
        // A UDP or unconnected TCP socket: known by its own port until it has sent somewhere.
        key.flags = flag::UNCONNECTED;
    } else if protocol == IPPROTO_TCP && LISTEN_PORTS.get_ptr(local_port as u32).is_some() {
        key.flags = flag::INBOUND;
    } else {
        key.port = port;
        key.local_port = 0;
        key.flags = 0;
    }
    Some(())
}

/// Stores an IPv6 address; an IPv4 address in IPv6 clothes (::ffff:a.b.c.d) becomes IPv4.
#[inline(always)]
pub fn set_v6(key: &mut PeerKey, address: [u64; 2]) {
    const MAPPED: u64 = 0xffff_0000;
    if address[0] == 0 && address[1] & 0xffff_ffff == MAPPED {
        key.kind = kind::INET;
        key.len = 4;
        key.addr[0] = address[1] >> 32;
        key.addr[1] = 0;
    } else {
        key.kind = kind::INET6;
        key.len = 16;
        key.addr[0] = address[0];
        key.addr[1] = address[1];
    }
}

#[inline(always)]
fn unix(sock: u64, into: &mut Peer, key: &mut PeerKey) -> Option<()> {
    key.kind = kind::UNIX;
    key.protocol = 0;
    key.port = 0;
    key.local_port = 0;
    let own = mem::kernel::<u64>(sock + config!(offsets.unix_addr) as u64)?;
    let mut name = own;
    key.flags = flag::LISTENER;
    if into.state != LISTEN {
        let other = mem::kernel::<u64>(sock + config!(offsets.unix_peer) as u64)?;
        let others = match other {
            0 => 0,
            other => mem::kernel::<u64>(other + config!(offsets.unix_addr) as u64)?,
        };
        if others != 0 {
            key.flags = 0;
            name = others;
        } else {
            // The other side has no name. If ours has one, it is the listener's that we were accepted
            // from; otherwise it is a socketpair.
            key.flags = if own != 0 { flag::INBOUND } else { 0 };
            into.unnamed = (own == 0) as u8;
        }
    }
    unix_path(name, key)
}

/// Copies the path out of a `struct unix_address` (0: no name).
#[inline(always)]
fn unix_path(address: u64, key: &mut PeerKey) -> Option<()> {
    key.addr = [0; ADDR_LEN / 8];
    key.len = 0;
    if address == 0 {
        return Some(());
    }
    // `len` counts sun_family (2 bytes), and for a path also the NUL that ends it.
    let len = mem::kernel::<u32>(address + config!(offsets.unix_addr_len) as u64)?;
    // Masked where it is used: older verifiers lose a bound when the register is spilled in between.
    let mut n = mem::opaque(len.saturating_sub(2) as usize) as u32 & 127;
    if n > PATH_MAX {
        n = PATH_MAX;
    }
    let from = address + config!(offsets.unix_addr_name) as u64 + 2;
    // SAFETY: `n` is at most 108 and the field holds 120 bytes; the helper checks the source.
    if unsafe {
        bpf_probe_read_kernel(
            key.addr.as_mut_ptr().cast(),
            mem::opaque(n as usize) as u32 & 127,
            from as *const _,
        )
    } != 0
    {
        return None;
    }
    if key.addr[0] & 0xff != 0 && n > 0 {
        n -= 1;
    }
    key.len = n as u8;
    Some(())
}

/// The port of a UDP socket that was just looked up, where it is one that others send to: the process chose it, as the kernel
/// gives none outside of its range. 0 for any other socket.
#[inline(always)]
pub fn served_port(peer: &Peer) -> u16 {
    // SAFETY: the scratch row belongs to this CPU, and tracepoint programs do not migrate.
    let key = SCRATCH.get_ptr(IN_CALL).map(|key| unsafe { &*key });
    let port = key.map_or(0, |key| key.local_port);
    let given = config!(first_local_port) as u16..=config!(last_local_port) as u16;
    if peer.protocol == IPPROTO_UDP && !given.contains(&port) {
        port
    } else {
        0
    }
}

/// Reads a `sockaddr` that the current process passed into [`SCRATCH`], for a call whose socket does not
/// tell (a connect that failed at once, a datagram to an address). What is sent from a [`served_port`] to a port above it
/// goes to a client: each of them asks from another port, which is left out, as it is of TCP's.
#[inline(never)]
pub fn of_sockaddr(address: u64, len: u32, protocol: u8, from: u16, into: &mut Peer) {
    if try_of_sockaddr(address, len, protocol, from, into).is_none() {
        lost(loss::slot::READ_FAILED);
    }
}

#[inline(always)]
fn try_of_sockaddr(address: u64, len: u32, protocol: u8, from: u16, into: &mut Peer) -> Option<()> {
    let key = SCRATCH.get_ptr_mut(IN_CALL)?;
    // SAFETY: the scratch row belongs to this CPU, and tracepoint programs do not migrate.
    let key = unsafe { &mut *key };
    if len < 2 {
        return Some(());
    }
    let family = mem::user::<u16>(address)?;
    key.flags = 0;
    key.local_port = 0;
    key.protocol = protocol;
    match family {
        AF_INET if len >= 8 => {
            key.kind = kind::INET;
            key.len = 4;
            key.port = mem::user::<u16>(address + 2)?.swap_bytes();
            key.addr[0] = mem::user::<u32>(address + 4)? as u64;
            key.addr[1] = 0;
        }
        AF_INET6 if len >= 24 => {
            key.port = mem::user::<u16>(address + 2)?.swap_bytes();
            set_v6(key, mem::user::<[u64; 2]>(address + 8)?);
        }
        AF_UNIX => {
            key.kind = kind::UNIX;
            key.protocol = 0;
            key.port = 0;
            key.addr = [0; ADDR_LEN / 8];
            let to = key.addr.as_mut_ptr().cast();
            let from = (address + 2) as *const _;
            let n = if mem::user::<u8>(address + 2)? == 0 {
                // An abstract name: as many bytes as were passed.
                let n = if len - 2 > PATH_MAX {
                    PATH_MAX
                } else {
                    len - 2
                };
                // SAFETY: `n` is at most PATH_MAX, below the field's size; the helper checks the source.
                if unsafe { bpf_probe_read_user(to, mem::opaque(n as usize) as u32 & 127, from) }
                    != 0
                {
                    return None;
                }
                n as i64
            } else {
                // A path ends at its NUL, whatever length was passed.
                // SAFETY: as above, with room for the NUL.
                unsafe { bpf_probe_read_user_str(to, PATH_MAX + 1, from) - 1 }
            };
            if n < 0 {
                return None;
            }
            key.len = n as u8;
        }
        _ => {
            key.kind = kind::OTHER_FAMILY;
            key.len = 0;
            key.port = family;
            key.addr[0] = 0;
            key.addr[1] = 0;
        }
    }
    if from != 0 && key.port > from {
        key.flags = flag::INBOUND;
        key.port = 0;
        key.local_port = from;
    }
    into.id = id(key);
    into.flags = 0;
    Some(())
}

/// Remembers where an unconnected datagram socket sent to.
#[inline(always)]
pub fn sent_to(fd: u32, peer: u64) {
    let Some(file) = file_of(fd) else { return };
    let Some(inode) = mem::kernel::<u64>(file + config!(offsets.file_inode) as u64) else {
        return;
    };
    if let Some(ino) = mem::kernel::<u64>(inode + config!(offsets.inode_ino) as u64) {
        // An LRU table makes room for itself.
        let _ = UDP_SENT_TO.insert(ino, peer, 0);
    }
}
