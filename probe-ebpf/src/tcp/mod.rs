//! TCP: transitions of sockets, connects that fail, and who listens and accepts.
//!
//! - [`transitions`]: sums by peer, process and pair of states; the table of sockets behind them.
//! - [`once`]: each transition is handled once, whatever the kernel leaves out.
//! - [`connects`]: connects that fail, at once or later, and the first that works again.
//! - [`listens`]: listeners that begin and end.
//! - [`accepts`]: who takes a connection over, and how long it waited.
//! - [`census`]: every socket, counted by state and address.
//! - [`owners`]: which process holds which socket.
//! - [`timewait`]: how long FIN_WAIT_2 and TIME_WAIT last, where there are kprobes.
//!
//! Only sockets of one network namespace count, see `NETNS`.

pub mod accepts;
pub mod census;
pub mod connects;
pub mod listens;
pub mod once;
pub mod owners;
pub mod timewait;
pub mod transitions;

use aya_ebpf::{
    helpers::generated::bpf_probe_read_kernel,
    macros::map,
    maps::{Array, PerCpuArray},
    programs::TracePointContext,
};
use probe_common::{
    loss,
    peer::{PeerKey, flag, id, kind, special},
    table,
    tcp::{TcpCall, TcpSocket, Transition},
};

use crate::{
    maps::{LISTEN_PORTS, NETNS, PEERS, TCP_CALLS, atomic_add64, config, lost, made},
    mem, peer,
};

/// Address families (include/linux/socket.h).
pub const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
/// Protocol numbers (include/uapi/linux/in.h). A socket of MPTCP drives TCP sockets of its own.
pub const IPPROTO_TCP: u32 = 6;
pub const IPPROTO_MPTCP: u32 = 262;

/// Words of a socket's beginning that are copied at once: `struct sock_common` has 136 bytes.
const BLOCK: usize = 18;

/// What one run needs; too large for the stack.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Work {
    /// The beginning of the socket.
    block: [u64; BLOCK],
    /// The address being put together. What lies behind 16 address bytes stays 0.
    key: PeerKey,
    /// What is known of the socket.
    pub socket: TcpSocket,
    /// A record for the ring.
    pub event: Transition,
}

/// One for a task, and one for the interrupt that comes in between, see [`once`].
#[map]
static WORK: PerCpuArray<Work> = PerCpuArray::with_max_entries(2, 0);

/// How many runs are under way on this CPU.
#[map]
static DEPTH: PerCpuArray<u32> = PerCpuArray::with_max_entries(1, 0);

/// How many clients are told apart by address.
#[map]
static CLIENTS: Array<u64> = Array::with_max_entries(1, 0);

/// Clients whose transitions are told apart by address; further ones are together, by the port that they
/// connected to. Each has some six pairs of states with one or two processes: this many fill the table of
/// sums by half, whoever comes from the Internet, and leave the other half for what we connect to.
const MAX_CLIENTS: u64 = 256;

/// May another client have a name of its own?
#[inline(always)]
fn another_client() -> bool {
    let Some(clients) = CLIENTS.get_ptr_mut(0) else {
        return false;
    };
    // SAFETY: a live map value; two CPUs at once may let in one more.
    if unsafe { clients.read_volatile() } >= MAX_CLIENTS {
        return false;
    }
    atomic_add64(clients, 1);
    true
}

/// Runs `f` with the depth that nobody else has meanwhile: 0 for a task, 1 for the interrupt that comes in between.
#[inline(always)]
pub fn at_depth(f: impl FnOnce(u32)) {
    let Some(depth) = DEPTH.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: this CPU's own word. An interrupt in between leaves it as it found it.
    let level = unsafe { depth.read_volatile() };
    // SAFETY: as above.
    unsafe { depth.write_volatile(level.wrapping_add(1)) };
    f(level & 1);
    // SAFETY: as above.
    unsafe { depth.write_volatile(level) };
}

/// Runs `f` with the [`Work`] of a depth.
#[inline(always)]
pub fn work_at(depth: u32, f: impl FnOnce(&mut Work)) {
    if let Some(work) = WORK.get_ptr_mut(depth) {
        // SAFETY: the row belongs to this CPU and to this depth.
        f(unsafe { &mut *work });
    }
}

/// Runs `f` with a [`Work`] that nobody else uses meanwhile.
#[inline(always)]
pub fn with_work(f: impl FnOnce(&mut Work)) {
    at_depth(|depth| work_at(depth, f));
}

/// The kernel's `struct net` of the namespace that is watched.
#[inline(always)]
fn watched_net() -> Option<u64> {
    match *NETNS.get(0)? {
        0 => None,
        net => Some(net),
    }
}

/// The protocol of a socket in the namespace that is watched: as in `sk_protocol`, 0 for a Unix socket.
#[inline(always)]
pub fn watched(sock: u64) -> Option<u32> {
    let net = watched_net()?;
    if sock == 0 || mem::kernel::<u64>(sock + config!(offsets.skc_net) as u64)? != net {
        return None;
    }
    match mem::kernel::<u16>(sock + config!(offsets.skc_family) as u64)? {
        AF_UNIX => Some(0),
        AF_INET | AF_INET6 => protocol(sock),
        _ => None,
    }
}

/// Entry of a call whose first argument is a socket: the thread, the socket and its protocol, if it is to be watched.
#[inline(always)]
fn called(ctx: &TracePointContext) -> Option<(u32, u64, u32)> {
    let (tid, tgid) = mem::current_ids();
    if tgid == config!(own_tgid) {
        return None;
    }
    let sock = peer::sock_of_fd(mem::field::<u64>(ctx, 16) as u32);
    Some((tid, sock, watched(sock)?))
}

/// Keeps what the return of a call needs.
#[inline(always)]
fn under_way(tid: u32, call: TcpCall) {
    if TCP_CALLS.insert(tid, call, 0).is_err() {
        lost(loss::slot::TCP_CALLS_FULL);
    }
}

/// The call that returns.
#[inline(always)]
fn returned(tid: u32) -> Option<TcpCall> {
    // SAFETY: copied out at once.
    let call = unsafe { TCP_CALLS.get(tid) }.copied()?;
    let _ = TCP_CALLS.remove(tid);
    Some(call)
}

/// `sk_protocol`: 16 bits since Linux 5.6, and MPTCP needs more than 8.
#[inline(always)]
fn protocol(sock: u64) -> Option<u32> {
    Some(mem::kernel::<u16>(sock + config!(offsets.sk_protocol) as u64)? as u32)
}

/// Which of a connection's sides a peer id names.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// We opened it: the other side's address and port.
    Outbound,
    /// The other side opened it: its address, and our port.
    Inbound,
    /// Our own address: it listens.
    Listener,
}

impl Work {
    /// Copies the beginning of a socket.
    #[inline(always)]
    fn read(&mut self, sock: u64) -> Option<()> {
        // Straight to where it stays: on the way over the stack it would take a third of it.
        // SAFETY: the helper checks the address, and writes as many bytes as the block has.
        let failed = unsafe {
            bpf_probe_read_kernel(
                (&raw mut self.block).cast(),
                size_of::<[u64; BLOCK]>() as u32,
                sock as *const _,
            )
        };
        (failed == 0).then_some(())
    }

    /// A field of it. The verifier knows the offset.
    #[inline(always)]
    fn field<T: Copy>(&self, offset: u32) -> Option<T> {
        let offset = offset as usize;
        if offset + size_of::<T>() > BLOCK * 8 {
            return None;
        }
        // SAFETY: within the block, as was just checked; the kernel aligns its fields.
        Some(unsafe {
            (&raw const self.block)
                .cast::<u8>()
                .add(offset)
                .cast::<T>()
                .read_volatile()
        })
    }

    /// Is it a TCP socket of the namespace that is watched?
    #[inline(always)]
    fn is_watched_tcp(&self, sock: u64) -> bool {
        watched_net().is_some()
            && self.field::<u64>(config!(offsets.skc_net)) == watched_net()
            && protocol(sock) == Some(IPPROTO_TCP)
    }

    /// Its port on this side. `skc_num` is 0 again when the port has been given back, which happens before the
    /// tracepoint of the last transition.
    #[inline(always)]
    fn local_port(&self, sock: u64) -> Option<u16> {
        match self.field::<u16>(config!(offsets.skc_num))? {
            0 => {
                let port = mem::kernel::<u16>(sock + config!(offsets.inet_sport) as u64)?;
                Some(port.swap_bytes())
            }
            port => Some(port),
        }
    }

    /// The side of a socket that we have not seen begin.
    #[inline(always)]
    fn side(&self, sock: u64) -> Side {
        match self.local_port(sock) {
            Some(port) if LISTEN_PORTS.get_ptr(port as u32).is_some() => Side::Inbound,
            _ => Side::Outbound,
        }
    }

    /// The peer id of a socket that was [`Work::read`], made known to user space.
    #[inline(never)]
    fn name(&mut self, sock: u64, side: Side) -> u64 {
        if self.address(sock, side).is_none() {
            lost(loss::slot::READ_FAILED);
            return special::UNKNOWN;
        }
        if let Some(id) = self.named() {
            return id;
        }
        if side == Side::Inbound && !another_client() {
            // Clients of the port, without an address.
            self.key.kind = kind::INET;
            self.key.len = 0;
            self.key.addr[0] = 0;
            self.key.addr[1] = 0;
        }
        let id = id(&self.key);
        if PEERS.insert(id, &self.key, 0).is_err() {
            lost(loss::slot::PEERS_FULL);
            return special::OTHER;
        }
        made(table::slot::PEERS);
        id
    }

    /// The peer id of the listener that a socket comes in on, at its first transition. Up to 6.12 it still has the
    /// listener's address; on 6.18 its own, to which a listener may be bound, or to any.
    #[inline(never)]
    fn listener(&mut self, sock: u64) -> u64 {
        if self.address(sock, Side::Listener).is_some() {
            if let Some(id) = self.named() {
                return id;
            }
            self.key.addr[0] = 0;
            self.key.addr[1] = 0;
            if self.key.kind == kind::INET {
                if let Some(id) = self.named() {
                    return id;
                }
                // [::] takes IPv4 as well.
                self.key.kind = kind::INET6;
                self.key.len = 16;
            }
            if let Some(id) = self.named() {
                return id;
            }
        }
        self.name(sock, Side::Listener)
    }

    /// The id of the address that was put together, if user space has been told of it: listeners are named when
    /// they begin, and those from before when watching begins.
    #[inline(always)]
    fn named(&self) -> Option<u64> {
        let id = id(&self.key);
        PEERS.get_ptr(id).map(|_| id)
    }

    #[inline(always)]
    fn address(&mut self, sock: u64, side: Side) -> Option<()> {
        let local_port = self.local_port(sock)?;
        let port = self.field::<u16>(config!(offsets.skc_dport))?.swap_bytes();
        self.key.protocol = IPPROTO_TCP as u8;
        (self.key.flags, self.key.port, self.key.local_port) = match side {
            Side::Outbound => (0, port, 0),
            Side::Inbound => (flag::INBOUND, 0, local_port),
            Side::Listener => (flag::LISTENER, 0, local_port),
        };
        let own = side == Side::Listener;
        if self.field::<u16>(config!(offsets.skc_family))? == AF_INET {
            let address = if own {
                self.field::<u32>(config!(offsets.skc_rcv_saddr))?
            } else {
                self.field::<u32>(config!(offsets.skc_daddr))?
            };
            self.key.kind = kind::INET;
            self.key.len = 4;
            self.key.addr[0] = address as u64;
            self.key.addr[1] = 0;
        } else {
            let address = if own {
                self.field::<[u64; 2]>(config!(offsets.skc_v6_rcv_saddr))?
            } else {
                self.field::<[u64; 2]>(config!(offsets.skc_v6_daddr))?
            };
            peer::set_v6(&mut self.key, address);
        }
        Some(())
    }
}
