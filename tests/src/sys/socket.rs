//! Sockets: making, connecting, receiving, sending.

use super::{Addr, Result, at, call, close};

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

/// close(2) of a connection, by a reset: nothing stays in TIME_WAIT.
pub fn reset(fd: i32) -> Result<()> {
    let mut linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    let (level, option) = (libc::SOL_SOCKET as usize, libc::SO_LINGER as usize);
    let length = size_of_val(&linger);
    call(
        libc::SYS_setsockopt,
        [fd as usize, level, option, at(&mut linger), length, 0],
    )?;
    close(fd)
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
    msg.msg_controllen = size_of_val(&control);
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

/// shutdown(2) of the sending side.
pub fn shutdown_write(fd: i32) -> Result<()> {
    let how = libc::SHUT_WR as usize;
    call(libc::SYS_shutdown, [fd as usize, how, 0, 0, 0, 0]).map(drop)
}
