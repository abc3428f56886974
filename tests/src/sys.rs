//! System calls by their own name, so that a case knows exactly which one it makes (libc's `select`
//! is `pselect6` underneath, its `fork` is `clone`). Results are the kernel's: a value, or the errno.

use std::{
    net::{SocketAddr, SocketAddrV4, SocketAddrV6},
    path::PathBuf,
    time::Duration,
};

/// What a system call returned: a value, or the errno.
pub type Result<T = i64> = std::result::Result<T, i32>;

/// Makes a call whose arguments are numbers or pointers as numbers.
fn call(nr: i64, args: [usize; 6]) -> Result {
    // SAFETY: private to this file; every caller passes pointers to live memory of the right size.
    let r = unsafe { libc::syscall(nr, args[0], args[1], args[2], args[3], args[4], args[5]) };
    if r < 0 {
        // SAFETY: errno of this thread.
        return Err(unsafe { *libc::__errno_location() });
    }
    Ok(r)
}

fn at<T>(value: &mut T) -> usize {
    std::ptr::from_mut(value) as usize
}

/// CLOCK_MONOTONIC, ns: the clock of the kernel side.
pub fn now_ns() -> u64 {
    clock(libc::CLOCK_MONOTONIC)
}

/// CPU time of the calling thread, ns.
pub fn thread_cpu_ns() -> u64 {
    clock(libc::CLOCK_THREAD_CPUTIME_ID)
}

fn clock(id: libc::clockid_t) -> u64 {
    let mut ts = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: writes one timespec.
    unsafe { libc::clock_gettime(id, &raw mut ts) };
    ts.tv_sec as u64 * 1_000_000_000 + ts.tv_nsec as u64
}

/// Time the calling thread waited for a CPU so far, ns, by the scheduler's own account; `None` where
/// the kernel keeps none.
pub fn run_queue_ns() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn timespec(time: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: time.as_secs() as i64,
        tv_nsec: i64::from(time.subsec_nanos()),
    }
}

/// An address to connect, bind or send to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Addr {
    /// IPv4 or IPv6.
    Inet(SocketAddr),
    /// A Unix socket's path.
    Unix(PathBuf),
    /// A Unix socket's abstract name, without the leading NUL.
    Abstract(String),
}

impl Addr {
    /// The address family.
    pub fn family(&self) -> i32 {
        match self {
            Addr::Inet(SocketAddr::V4(_)) => libc::AF_INET,
            Addr::Inet(SocketAddr::V6(_)) => libc::AF_INET6,
            _ => libc::AF_UNIX,
        }
    }

    /// As the kernel wants it.
    fn bytes(&self) -> Vec<u8> {
        let mut out = (self.family() as u16).to_ne_bytes().to_vec();
        match self {
            Addr::Inet(SocketAddr::V4(a)) => {
                out.extend(a.port().to_be_bytes());
                out.extend(a.ip().octets());
                out.extend([0; 8]);
            }
            Addr::Inet(SocketAddr::V6(a)) => {
                out.extend(a.port().to_be_bytes());
                out.extend(a.flowinfo().to_be_bytes());
                out.extend(a.ip().octets());
                out.extend(a.scope_id().to_ne_bytes());
            }
            Addr::Unix(path) => {
                out.extend(path.as_os_str().as_encoded_bytes());
                out.push(0);
            }
            Addr::Abstract(name) => {
                out.push(0);
                out.extend(name.as_bytes());
            }
        }
        out
    }

    /// As the tests name it: `tcp 127.0.0.1:80`, `unix /path`, `unix @name`.
    pub fn text(&self, transport: &str) -> String {
        match self {
            Addr::Inet(a) => format!("{transport} {a}"),
            Addr::Unix(path) => format!("unix {}", path.display()),
            Addr::Abstract(name) => format!("unix @{name}"),
        }
    }
}

impl From<SocketAddr> for Addr {
    fn from(a: SocketAddr) -> Self {
        Addr::Inet(a)
    }
}

impl From<SocketAddrV4> for Addr {
    fn from(a: SocketAddrV4) -> Self {
        Addr::Inet(a.into())
    }
}

impl From<SocketAddrV6> for Addr {
    fn from(a: SocketAddrV6) -> Self {
        Addr::Inet(a.into())
    }
}

/// socket(2); close-on-exec.
pub fn socket(family: i32, kind: i32) -> Result<i32> {
    let kind = kind | libc::SOCK_CLOEXEC;
    Ok(call(
        libc::SYS_socket,
        [family as usize, kind as usize, 0, 0, 0, 0],
    )? as i32)
}

/// socketpair(2) of stream Unix sockets.
pub fn socketpair() -> Result<(i32, i32)> {
    let mut fds = [0i32; 2];
    let (family, kind) = (libc::AF_UNIX as usize, libc::SOCK_STREAM as usize);
    call(libc::SYS_socketpair, [family, kind, 0, at(&mut fds), 0, 0])?;
    Ok((fds[0], fds[1]))
}

/// bind(2).
pub fn bind(fd: i32, addr: &Addr) -> Result<()> {
    let mut a = addr.bytes();
    call(
        libc::SYS_bind,
        [fd as usize, a.as_mut_ptr() as usize, a.len(), 0, 0, 0],
    )
    .map(drop)
}

/// listen(2).
pub fn listen(fd: i32, backlog: i32) -> Result<()> {
    call(
        libc::SYS_listen,
        [fd as usize, backlog as usize, 0, 0, 0, 0],
    )
    .map(drop)
}

/// accept(2).
pub fn accept(fd: i32) -> Result<i32> {
    Ok(call(libc::SYS_accept, [fd as usize, 0, 0, 0, 0, 0])? as i32)
}

/// accept4(2), close-on-exec plus `flags`.
pub fn accept4(fd: i32, flags: i32) -> Result<i32> {
    let flags = flags | libc::SOCK_CLOEXEC;
    Ok(call(libc::SYS_accept4, [fd as usize, 0, 0, flags as usize, 0, 0])? as i32)
}

/// connect(2).
pub fn connect(fd: i32, addr: &Addr) -> Result<()> {
    let mut a = addr.bytes();
    call(
        libc::SYS_connect,
        [fd as usize, a.as_mut_ptr() as usize, a.len(), 0, 0, 0],
    )
    .map(drop)
}

/// A new stream socket, connected.
pub fn connected(addr: &Addr) -> Result<i32> {
    let fd = socket(addr.family(), libc::SOCK_STREAM)?;
    match connect(fd, addr) {
        Ok(()) => Ok(fd),
        Err(errno) => {
            let _ = close(fd);
            Err(errno)
        }
    }
}

/// The port that a socket is bound to.
pub fn local_port(fd: i32) -> u16 {
    let mut a = [0u8; 32];
    let mut len = 32u32;
    let r = call(
        libc::SYS_getsockname,
        [fd as usize, at(&mut a), at(&mut len), 0, 0, 0],
    );
    if r.is_err() {
        0
    } else {
        u16::from_be_bytes([a[2], a[3]])
    }
}

/// SO_ERROR.
pub fn so_error(fd: i32) -> i32 {
    let mut value = 0i32;
    let mut len = 4u32;
    let (level, name) = (libc::SOL_SOCKET as usize, libc::SO_ERROR as usize);
    match call(
        libc::SYS_getsockopt,
        [fd as usize, level, name, at(&mut value), at(&mut len), 0],
    ) {
        Ok(_) => value,
        Err(errno) => errno,
    }
}

/// Sets an integer option of level SOL_SOCKET.
pub fn set_socket_option(fd: i32, name: i32, mut value: i32) -> Result<()> {
    let level = libc::SOL_SOCKET as usize;
    let args = [fd as usize, level, name as usize, at(&mut value), 4, 0];
    call(libc::SYS_setsockopt, args).map(drop)
}

/// Switches O_NONBLOCK.
pub fn set_nonblocking(fd: i32, on: bool) -> Result<()> {
    let flags = call(
        libc::SYS_fcntl,
        [fd as usize, libc::F_GETFL as usize, 0, 0, 0, 0],
    )?;
    let bit = i64::from(libc::O_NONBLOCK);
    let flags = if on { flags | bit } else { flags & !bit };
    let args = [fd as usize, libc::F_SETFL as usize, flags as usize, 0, 0, 0];
    call(libc::SYS_fcntl, args).map(drop)
}

/// Switches close-on-exec off.
pub fn keep_on_exec(fd: i32) -> Result<()> {
    call(
        libc::SYS_fcntl,
        [fd as usize, libc::F_SETFD as usize, 0, 0, 0, 0],
    )
    .map(drop)
}

/// One entry of a poll set.
pub fn pollfd(fd: i32, events: i16) -> libc::pollfd {
    libc::pollfd {
        fd,
        events,
        revents: 0,
    }
}

/// poll(2); -1 waits without end.
pub fn poll(fds: &mut [libc::pollfd], timeout_ms: i32) -> Result {
    let args = [
        fds.as_mut_ptr() as usize,
        fds.len(),
        timeout_ms as isize as usize,
        0,
        0,
        0,
    ];
    call(libc::SYS_poll, args)
}

/// ppoll(2).
pub fn ppoll(fds: &mut [libc::pollfd], timeout: Duration) -> Result {
    let mut t = timespec(timeout);
    call(
        libc::SYS_ppoll,
        [fds.as_mut_ptr() as usize, fds.len(), at(&mut t), 0, 8, 0],
    )
}

/// The bit sets of select(2), for descriptors below 1024.
fn fd_set(fds: &[i32]) -> [u64; 16] {
    let mut set = [0u64; 16];
    for fd in fds {
        set[*fd as usize / 64] |= 1 << (*fd % 64);
    }
    set
}

fn highest(fds: &[i32]) -> usize {
    fds.iter().max().map_or(0, |fd| *fd as usize + 1)
}

/// select(2) for readability.
pub fn select(read: &[i32], timeout: Duration) -> Result {
    let mut set = fd_set(read);
    let mut t = [timeout.as_secs() as i64, i64::from(timeout.subsec_micros())];
    call(
        libc::SYS_select,
        [highest(read), at(&mut set), 0, 0, at(&mut t), 0],
    )
}

/// pselect6(2) for readability.
pub fn pselect6(read: &[i32], timeout: Duration) -> Result {
    let mut set = fd_set(read);
    let mut t = timespec(timeout);
    call(
        libc::SYS_pselect6,
        [highest(read), at(&mut set), 0, 0, at(&mut t), 0],
    )
}

/// epoll_create1(2).
pub fn epoll_create() -> Result<i32> {
    Ok(call(
        libc::SYS_epoll_create1,
        [libc::EPOLL_CLOEXEC as usize, 0, 0, 0, 0, 0],
    )? as i32)
}

/// Adds a descriptor; `data` is what the program wants back, which need not be the descriptor.
pub fn epoll_add(epoll: i32, fd: i32, events: i32, data: u64) -> Result<()> {
    let mut event = libc::epoll_event {
        events: events as u32,
        u64: data,
    };
    let add = libc::EPOLL_CTL_ADD as usize;
    let args = [epoll as usize, add, fd as usize, at(&mut event), 0, 0];
    call(libc::SYS_epoll_ctl, args).map(drop)
}

/// Which of the three calls an epoll wait is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EpollCall {
    /// epoll_wait(2)
    Wait,
    /// epoll_pwait(2)
    Pwait,
    /// epoll_pwait2(2)
    Pwait2,
}

/// Waits for at most eight events; returns their data.
pub fn epoll_wait(how: EpollCall, epoll: i32, timeout: Duration) -> Result<Vec<u64>> {
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; 8];
    let (ep, ms) = (epoll as usize, timeout.as_millis() as usize);
    let n = match how {
        EpollCall::Wait => call(libc::SYS_epoll_wait, [ep, at(&mut events), 8, ms, 0, 0]),
        EpollCall::Pwait => call(libc::SYS_epoll_pwait, [ep, at(&mut events), 8, ms, 0, 8]),
        EpollCall::Pwait2 => {
            let mut t = timespec(timeout);
            let args = [ep, at(&mut events), 8, at(&mut t), 0, 8];
            call(libc::SYS_epoll_pwait2, args)
        }
    }?;
    Ok(events[..n as usize].iter().map(|e| e.u64).collect())
}

/// Does this kernel have epoll_pwait2?
pub fn epoll_pwait2_works() -> bool {
    let Ok(epoll) = epoll_create() else {
        return false;
    };
    let works = epoll_wait(EpollCall::Pwait2, epoll, Duration::ZERO).is_ok();
    let _ = close(epoll);
    works
}

/// read(2).
pub fn read(fd: i32, buf: &mut [u8]) -> Result {
    let args = [fd as usize, buf.as_mut_ptr() as usize, buf.len(), 0, 0, 0];
    call(libc::SYS_read, args)
}

/// readv(2) into two halves.
pub fn readv(fd: i32, buf: &mut [u8]) -> Result {
    let mut iov = halves(buf);
    call(libc::SYS_readv, [fd as usize, at(&mut iov), 2, 0, 0, 0])
}

fn halves(buf: &mut [u8]) -> [libc::iovec; 2] {
    let (a, b) = buf.split_at_mut(buf.len() / 2);
    [a, b].map(|part| libc::iovec {
        iov_base: part.as_mut_ptr().cast(),
        iov_len: part.len(),
    })
}

/// recvfrom(2) that does not ask for the address.
pub fn recvfrom(fd: i32, buf: &mut [u8], flags: i32) -> Result {
    let args = [
        fd as usize,
        buf.as_mut_ptr() as usize,
        buf.len(),
        flags as usize,
        0,
        0,
    ];
    call(libc::SYS_recvfrom, args)
}

fn msghdr(iov: &mut [libc::iovec]) -> libc::msghdr {
    // SAFETY: a msghdr of zeroes is valid: no name, no data, no control bytes.
    let mut msg: libc::msghdr = unsafe { std::mem::zeroed() };
    msg.msg_iov = iov.as_mut_ptr();
    msg.msg_iovlen = iov.len();
    msg
}

/// recvmsg(2).
pub fn recvmsg(fd: i32, buf: &mut [u8]) -> Result {
    let mut iov = halves(buf);
    let mut msg = msghdr(&mut iov);
    call(libc::SYS_recvmsg, [fd as usize, at(&mut msg), 0, 0, 0, 0])
}

/// recvmmsg(2) of one message.
pub fn recvmmsg(fd: i32, buf: &mut [u8]) -> Result {
    let mut iov = halves(buf);
    let mut msg = libc::mmsghdr {
        msg_hdr: msghdr(&mut iov),
        msg_len: 0,
    };
    call(libc::SYS_recvmmsg, [fd as usize, at(&mut msg), 1, 0, 0, 0])
}

/// write(2).
pub fn write(fd: i32, buf: &[u8]) -> Result {
    call(
        libc::SYS_write,
        [fd as usize, buf.as_ptr() as usize, buf.len(), 0, 0, 0],
    )
}

/// writev(2) of two halves.
pub fn writev(fd: i32, buf: &mut [u8]) -> Result {
    let mut iov = halves(buf);
    call(libc::SYS_writev, [fd as usize, at(&mut iov), 2, 0, 0, 0])
}

/// sendto(2), without an address when the socket is connected.
pub fn sendto(fd: i32, buf: &[u8], to: Option<&Addr>) -> Result {
    let mut a = to.map(Addr::bytes).unwrap_or_default();
    let (addr, len) = match a.len() {
        0 => (0, 0),
        n => (a.as_mut_ptr() as usize, n),
    };
    let flags = libc::MSG_NOSIGNAL as usize;
    let args = [
        fd as usize,
        buf.as_ptr() as usize,
        buf.len(),
        flags,
        addr,
        len,
    ];
    call(libc::SYS_sendto, args)
}

/// sendmsg(2).
pub fn sendmsg(fd: i32, buf: &mut [u8]) -> Result {
    let mut iov = halves(buf);
    let mut msg = msghdr(&mut iov);
    call(libc::SYS_sendmsg, [fd as usize, at(&mut msg), 0, 0, 0, 0])
}

/// Passes a descriptor over a Unix socket (SCM_RIGHTS).
pub fn send_fd(over: i32, fd: i32) -> Result<()> {
    let mut byte = [0u8; 1];
    let mut iov = [libc::iovec {
        iov_base: byte.as_mut_ptr().cast(),
        iov_len: 1,
    }];
    let mut msg = msghdr(&mut iov);
    let mut control = [0u64; 4];
    msg.msg_control = control.as_mut_ptr().cast();
    // SAFETY: pure arithmetic.
    msg.msg_controllen = unsafe { libc::CMSG_SPACE(4) } as usize;
    // SAFETY: `control` has room for one header and one descriptor, and is aligned for it.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(&raw const msg);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(4) as usize;
        libc::CMSG_DATA(header).cast::<i32>().write_unaligned(fd);
    }
    call(libc::SYS_sendmsg, [over as usize, at(&mut msg), 0, 0, 0, 0]).map(drop)
}

/// Takes a descriptor passed by [`send_fd`].
pub fn receive_fd(over: i32) -> Result<i32> {
    let mut byte = [0u8; 1];
    let mut iov = [libc::iovec {
        iov_base: byte.as_mut_ptr().cast(),
        iov_len: 1,
    }];
    let mut msg = msghdr(&mut iov);
    let mut control = [0u64; 4];
    msg.msg_control = control.as_mut_ptr().cast();
    msg.msg_controllen = std::mem::size_of_val(&control);
    call(libc::SYS_recvmsg, [over as usize, at(&mut msg), 0, 0, 0, 0])?;
    // SAFETY: the kernel wrote a header and one descriptor, or left `msg_controllen` at 0.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(&raw const msg);
        if header.is_null() {
            return Err(libc::EBADF);
        }
        Ok(libc::CMSG_DATA(header).cast::<i32>().read_unaligned())
    }
}

/// close(2).
pub fn close(fd: i32) -> Result<()> {
    call(libc::SYS_close, [fd as usize, 0, 0, 0, 0, 0]).map(drop)
}

/// shutdown(2) of the sending side.
pub fn shutdown_write(fd: i32) -> Result<()> {
    let how = libc::SHUT_WR as usize;
    call(libc::SYS_shutdown, [fd as usize, how, 0, 0, 0, 0]).map(drop)
}

/// close_range(2).
pub fn close_range(first: i32, last: i32) -> Result<()> {
    let args = [first as usize, last as usize, 0, 0, 0, 0];
    call(libc::SYS_close_range, args).map(drop)
}

/// dup(2).
pub fn dup(fd: i32) -> Result<i32> {
    Ok(call(libc::SYS_dup, [fd as usize, 0, 0, 0, 0, 0])? as i32)
}

/// dup2(2).
pub fn dup2(fd: i32, to: i32) -> Result<i32> {
    Ok(call(libc::SYS_dup2, [fd as usize, to as usize, 0, 0, 0, 0])? as i32)
}

/// dup3(2), close-on-exec.
pub fn dup3(fd: i32, to: i32) -> Result<i32> {
    let flags = libc::O_CLOEXEC as usize;
    Ok(call(libc::SYS_dup3, [fd as usize, to as usize, flags, 0, 0, 0])? as i32)
}

/// fcntl(F_DUPFD): the first free descriptor from `lowest` on.
pub fn dup_from(fd: i32, lowest: i32) -> Result<i32> {
    let command = libc::F_DUPFD as usize;
    Ok(call(
        libc::SYS_fcntl,
        [fd as usize, command, lowest as usize, 0, 0, 0],
    )? as i32)
}

/// nanosleep(2).
pub fn nanosleep(time: Duration) -> Result<()> {
    let mut t = timespec(time);
    call(libc::SYS_nanosleep, [at(&mut t), 0, 0, 0, 0, 0]).map(drop)
}

/// futex(FUTEX_WAIT) until the word is no longer `value`.
pub fn futex_wait(word: &std::sync::atomic::AtomicU32, value: u32) -> Result<()> {
    let addr = std::ptr::from_ref(word) as usize;
    let args = [addr, libc::FUTEX_WAIT as usize, value as usize, 0, 0, 0];
    call(libc::SYS_futex, args).map(drop)
}

/// futex(FUTEX_WAKE) of every waiter.
pub fn futex_wake(word: &std::sync::atomic::AtomicU32) -> Result<()> {
    let addr = std::ptr::from_ref(word) as usize;
    let args = [addr, libc::FUTEX_WAKE as usize, i32::MAX as usize, 0, 0, 0];
    call(libc::SYS_futex, args).map(drop)
}

/// Names the calling thread (any bytes; the kernel keeps 15).
pub fn set_comm(name: &[u8]) {
    let mut bytes = [0u8; 16];
    let n = name.len().min(15);
    bytes[..n].copy_from_slice(&name[..n]);
    // SAFETY: PR_SET_NAME reads at most 16 bytes up to a NUL.
    unsafe { libc::prctl(libc::PR_SET_NAME, bytes.as_ptr()) };
}

/// The calling thread's id.
pub fn gettid() -> u32 {
    // SAFETY: no arguments, cannot fail.
    unsafe { libc::gettid() as u32 }
}

/// Keeps a CPU busy for this much of the thread's own CPU time.
pub fn burn(cpu: Duration) {
    let end = thread_cpu_ns() + cpu.as_nanos() as u64;
    let mut x = 1u64;
    while thread_cpu_ns() < end {
        for _ in 0..1000 {
            x = std::hint::black_box(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
        }
    }
}
