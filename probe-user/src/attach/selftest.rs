//! Proves the offsets on our own sockets before anything relies on them.
//!
//! The program `on_selftest` runs by BPF_PROG_TEST_RUN in our own context: it looks up descriptors whose
//! peers we know, our process id and start as the kernel knows them, and the registers at the top of our
//! kernel stack while we are in bpf(2).

use std::{
    fs::File,
    net::UdpSocket,
    os::{
        fd::{AsFd, AsRawFd},
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener, UnixStream},
    },
};

use aya::{
    Ebpf,
    maps::Array,
    programs::{RawTracePoint, RawTracePointRunOptions, TestRun},
};
use probe_common::peer::{self, PeerKey, special};

use super::resolve::Resolved;
use crate::error::Error;

/// Slots of the map `SELFTEST`, as in the kernel side's selftest.rs.
mod slot {
    pub const FD: u32 = 0;
    pub const PEER: u32 = 1;
    pub const TGID: u32 = 2;
    pub const STACK: u32 = 3;
    pub const STACK_OFFSET: u32 = 5;
    pub const NET: u32 = 6;
}

/// Slots that are read back.
const SLOTS: usize = 7;

/// Where `orig_ax` lies in `struct pt_regs`, and that structure's size (arch/x86/include/asm/ptrace.h).
const ORIG_AX: u64 = 15 * 8;
const PT_REGS: u64 = 21 * 8;
/// Sizes of a kernel stack (arch/x86/include/asm/page_64_types.h: 16 KiB, 32 KiB with KASAN) and what is
/// left free at its top (TOP_OF_KERNEL_STACK_PADDING: 16 bytes where FRED is built in, from 6.9).
const STACK_TOPS: &[u64] = &[16384, 16384 - 16, 32768, 32768 - 16];

/// Runs the test. `Some(reason)` when descriptors do not lead to the right peers; errors when nothing
/// could be right.
pub fn run(ebpf: &mut Ebpf, resolved: &mut Resolved) -> Result<Option<String>, Error> {
    let program: &mut RawTracePoint = ebpf
        .program_mut("on_selftest")
        .and_then(|p| p.try_into().ok())
        .ok_or_else(|| Error::Kernel("the object has no self-test".to_owned()))?;
    if let Err(e) = program.load() {
        log::debug!("self-test: {e:?}");
        return Err(Error::Kernel(format!(
            "the kernel refuses BPF programs that read kernel memory ({}); it may be locked down \
             (lockdown=confidentiality) or limit bpf to others",
            super::chain(&e)
        )));
    }
    let peers_wanted = resolved.reason("peers").is_none();

    if resolved.reason("blocked_syscall").is_none() {
        let mut found = None;
        if cfg!(target_arch = "x86_64") {
            for top in STACK_TOPS {
                let offset = top - PT_REGS + ORIG_AX;
                if ask(ebpf, -1, offset)?[slot::STACK as usize] == libc::SYS_bpf as u64 {
                    found = Some(offset);
                    break;
                }
            }
        }
        match found {
            Some(offset) => {
                // The scheduler's program reads it there.
                table(ebpf)?
                    .set(slot::STACK_OFFSET, offset, 0)
                    .map_err(map_error)?;
            }
            None => {
                resolved.off(
                    "blocked_syscall",
                    "the saved registers were not found on the kernel stack".to_owned(),
                );
                table(ebpf)?
                    .set(slot::STACK_OFFSET, 0, 0)
                    .map_err(map_error)?;
            }
        }
    }
    let offset = table(ebpf)?
        .get(&slot::STACK_OFFSET, 0)
        .map_err(map_error)?;

    let own = ask(ebpf, -1, offset)?;
    if own[slot::TGID as usize] != u64::from(std::process::id()) {
        return Err(Error::Kernel(format!(
            "running inside a pid namespace (the kernel knows this process as {}, it sees itself as {}): \
             run it in the host's (docker: --pid=host; kubernetes: hostPID)",
            own[slot::TGID as usize],
            std::process::id()
        )));
    }
    if !peers_wanted {
        return Ok(None);
    }
    for (fd, want, what) in &samples()? {
        let got = ask(ebpf, fd.as_raw_fd(), offset)?[slot::PEER as usize];
        if got != *want {
            return Ok(Some(format!(
                "self-test: {what} does not lead to its peer on this kernel"
            )));
        }
    }
    Ok(None)
}

/// Runs the program on a descriptor; what it found, by [`slot`].
fn ask(ebpf: &mut Ebpf, fd: i32, offset: u64) -> Result<[u64; SLOTS], Error> {
    {
        let mut map = table(ebpf)?;
        map.set(slot::FD, fd as u64, 0).map_err(map_error)?;
        map.set(slot::STACK_OFFSET, offset, 0).map_err(map_error)?;
    }
    let program: &mut RawTracePoint = ebpf
        .program_mut("on_selftest")
        .and_then(|p| p.try_into().ok())
        .ok_or_else(|| Error::Kernel("the object has no self-test".to_owned()))?;
    program
        .test_run(RawTracePointRunOptions::new())
        .map_err(|e| Error::Kernel(format!("self-test: {}", super::chain(&e))))?;
    let map = table(ebpf)?;
    let mut out = [0; SLOTS];
    for (i, value) in out.iter_mut().enumerate() {
        *value = map.get(&(i as u32), 0).map_err(map_error)?;
    }
    Ok(out)
}

/// Tells the kernel side that the network namespace of this socket is the one to watch.
pub fn tell_netns(ebpf: &mut Ebpf, socket: i32) -> Result<(), Error> {
    let offset = table(ebpf)?
        .get(&slot::STACK_OFFSET, 0)
        .map_err(map_error)?;
    let net = ask(ebpf, socket, offset)?[slot::NET as usize];
    if net == 0 {
        return Err(Error::Kernel(
            "self-test: a socket does not lead to its network namespace on this kernel".to_owned(),
        ));
    }
    let mut map: Array<&mut aya::maps::MapData, u64> = ebpf
        .map_mut("NETNS")
        .and_then(|map| Array::try_from(map).ok())
        .ok_or_else(|| Error::Kernel("the object has no map NETNS".to_owned()))?;
    map.set(0, net, 0).map_err(map_error)
}

fn table(ebpf: &mut Ebpf) -> Result<Array<&mut aya::maps::MapData, u64>, Error> {
    ebpf.map_mut("SELFTEST")
        .and_then(|map| Array::try_from(map).ok())
        .ok_or_else(|| Error::Kernel("the object has no map SELFTEST".to_owned()))
}

fn map_error(e: aya::maps::MapError) -> Error {
    Error::Kernel(format!("self-test: {}", super::chain(&e)))
}

type Sample = (std::os::fd::OwnedFd, u64, &'static str);

/// Descriptors of our own, with the peer ids that they must lead to. What a host does not have (IPv6,
/// Unix sockets, loopback) is left out.
fn samples() -> Result<Vec<Sample>, Error> {
    let io = |what: &str| {
        let what = what.to_owned();
        move |source| Error::Io { what, source }
    };
    let mut out: Vec<Sample> = Vec::new();
    let null = File::open("/dev/null").map_err(io("/dev/null"))?;
    out.push((null.into(), special::LOCAL, "a device"));
    let file = File::open("/proc/self/exe").map_err(io("/proc/self/exe"))?;
    out.push((file.into(), special::FILE, "a file"));
    for (address, kind) in [
        ("127.0.0.1:0", peer::kind::INET),
        ("[::1]:0", peer::kind::INET6),
    ] {
        let Ok(one) = UdpSocket::bind(address) else {
            continue;
        };
        let Ok(other) = UdpSocket::bind(address) else {
            continue;
        };
        let Ok(to) = other.local_addr() else { continue };
        if one.connect(to).is_err() {
            continue;
        }
        let mut key = PeerKey::ZERO;
        key.kind = kind;
        key.protocol = libc::IPPROTO_UDP as u8;
        key.port = to.port();
        match to.ip() {
            std::net::IpAddr::V4(ip) => key.set_address(&ip.octets()),
            std::net::IpAddr::V6(ip) => key.set_address(&ip.octets()),
        }
        // A copy, so that the socket lives as long as the list.
        let fd = one.as_fd().try_clone_to_owned().map_err(io("dup"))?;
        out.push((fd, peer::id(&key), "a UDP socket"));
    }
    // An abstract name leaves no file behind.
    let name = format!("stallscope-selftest-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).map_err(io("unix socket name"))?;
    if let Ok(listener) = UnixListener::bind_addr(&address)
        && let Ok(stream) = UnixStream::connect_addr(&address)
    {
        let mut path = vec![0];
        path.extend(name.as_bytes());
        let mut key = PeerKey::ZERO;
        key.kind = peer::kind::UNIX;
        key.set_address(&path);
        out.push((stream.into(), peer::id(&key), "a Unix socket"));
        key.flags = peer::flag::LISTENER;
        out.push((listener.into(), peer::id(&key), "a listening Unix socket"));
    }
    Ok(out)
}
