//! DNS clients and servers that send exactly what a case wants.

use std::net::SocketAddr;

use crate::sys::{self, Addr};

/// A and AAAA.
pub const A: u16 = 1;
/// See [`A`].
pub const AAAA: u16 = 28;

/// NOERROR with two records.
pub const FOUND: Answer = Answer {
    rcode: 0,
    records: 2,
    truncated: false,
};

/// What a server says.
#[derive(Clone, Copy)]
pub struct Answer {
    /// Response code.
    pub rcode: u8,
    /// Records in the answer section, as the header says.
    pub records: u8,
    /// The TC bit.
    pub truncated: bool,
}

/// An address with the port of DNS.
pub fn server(ip: &str) -> Addr {
    SocketAddr::new(ip.parse().expect("an address"), 53).into()
}

/// A question for a name that is written with dots.
pub fn question(id: u16, name: &str, qtype: u16) -> Vec<u8> {
    let labels: Vec<&[u8]> = name.split('.').map(str::as_bytes).collect();
    question_of(id, &labels, qtype)
}

/// A question for labels of any bytes.
pub fn question_of(id: u16, labels: &[&[u8]], qtype: u16) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().to_vec();
    // Recursion desired; one question.
    bytes.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in labels.iter().filter(|l| !l.is_empty()) {
        bytes.push(label.len() as u8);
        bytes.extend(*label);
    }
    bytes.push(0);
    bytes.extend(qtype.to_be_bytes());
    bytes.extend([0, 1]);
    bytes
}

/// The answer to a question: its header alone counts here.
pub fn answer(question: &[u8], answer: Answer) -> Vec<u8> {
    let mut bytes = question.to_vec();
    bytes[2] |= 0x80 | u8::from(answer.truncated) << 1;
    bytes[3] = answer.rcode;
    bytes[7] = answer.records;
    bytes
}

/// With its length before it, as over TCP.
pub fn framed(message: &[u8]) -> Vec<u8> {
    let mut bytes = (message.len() as u16).to_be_bytes().to_vec();
    bytes.extend(message);
    bytes
}

/// A UDP socket that answers at an address.
pub fn udp_server(addr: &Addr) -> i32 {
    let fd = sys::socket(addr.family(), libc::SOCK_DGRAM).expect("socket");
    sys::bind(fd, addr).unwrap_or_else(|e| panic!("bind {addr:?}: {e}"));
    fd
}

/// A UDP socket whose other side is fixed.
pub fn udp_client(addr: &Addr) -> i32 {
    let fd = sys::socket(addr.family(), libc::SOCK_DGRAM).expect("socket");
    sys::connect(fd, addr).expect("connect");
    fd
}

/// A connection, and the server's side of it.
pub fn tcp_pair(addr: &Addr) -> (i32, i32) {
    let listener = sys::socket(addr.family(), libc::SOCK_STREAM).expect("socket");
    sys::set_socket_option(listener, libc::SO_REUSEADDR, 1).expect("SO_REUSEADDR");
    sys::bind(listener, addr).expect("bind");
    sys::listen(listener, 8).expect("listen");
    let client = sys::connected(addr).expect("connect");
    let accepted = sys::accept(listener).expect("accept");
    sys::close(listener).expect("close");
    (client, accepted)
}

/// Takes the next question off a server's socket: its bytes, and who asked.
pub fn take(fd: i32) -> (Vec<u8>, Addr) {
    let mut bytes = vec![0u8; 2048];
    // SAFETY: an address of zeroes is valid.
    let mut from: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    let mut len = size_of::<libc::sockaddr_storage>() as u32;
    // SAFETY: buffer and address live through the call.
    let n = unsafe {
        libc::recvfrom(
            fd,
            bytes.as_mut_ptr().cast(),
            bytes.len(),
            0,
            (&raw mut from).cast(),
            &raw mut len,
        )
    };
    assert!(n > 0, "recvfrom: {}", std::io::Error::last_os_error());
    bytes.truncate(n as usize);
    let from: SocketAddr = if i32::from(from.ss_family) == libc::AF_INET {
        // SAFETY: the family says which address it is.
        let from = unsafe { *(&raw const from).cast::<libc::sockaddr_in>() };
        let ip = u32::from_be(from.sin_addr.s_addr);
        SocketAddr::new(std::net::Ipv4Addr::from(ip).into(), from.sin_port.to_be())
    } else {
        // SAFETY: as above.
        let from = unsafe { *(&raw const from).cast::<libc::sockaddr_in6>() };
        SocketAddr::new(
            std::net::Ipv6Addr::from(from.sin6_addr.s6_addr).into(),
            from.sin6_port.to_be(),
        )
    };
    (bytes, from.into())
}

/// The server answers its next question.
pub fn serve(fd: i32, what: Answer) {
    let (bytes, from) = take(fd);
    send(fd, &answer(&bytes, what), Some(&from));
}

/// Sends all of it.
pub fn send(fd: i32, bytes: &[u8], to: Option<&Addr>) {
    assert_eq!(sys::sendto(fd, bytes, to), Ok(bytes.len() as i64));
}

/// Takes an answer off a client's socket.
pub fn hear(fd: i32) {
    let n = sys::recvfrom(fd, &mut [0; 512], 0);
    assert!(n.is_ok_and(|n| n > 0), "{n:?}");
}

/// A buffer for each of these.
pub fn iovecs(parts: &[&[u8]]) -> Vec<libc::iovec> {
    let iovec = |part: &&[u8]| libc::iovec {
        iov_base: part.as_ptr().cast_mut().cast(),
        iov_len: part.len(),
    };
    parts.iter().map(iovec).collect()
}

/// writev(2) of these parts.
pub fn writev(fd: i32, parts: &[&[u8]]) {
    let iov = iovecs(parts);
    // SAFETY: the parts live through the call.
    let n = unsafe { libc::writev(fd, iov.as_ptr(), iov.len() as i32) };
    assert_eq!(n, parts.iter().map(|p| p.len() as isize).sum::<isize>());
}

/// sendmsg(2) of these parts.
pub fn sendmsg(fd: i32, parts: &[&[u8]]) {
    let mut iov = iovecs(parts);
    // SAFETY: a msghdr of zeroes is valid.
    let mut msg: libc::msghdr = unsafe { std::mem::zeroed() };
    (msg.msg_iov, msg.msg_iovlen) = (iov.as_mut_ptr(), iov.len());
    // SAFETY: the parts live through the call.
    let n = unsafe { libc::sendmsg(fd, &raw const msg, libc::MSG_NOSIGNAL) };
    assert_eq!(n, parts.iter().map(|p| p.len() as isize).sum::<isize>());
}

/// sendmmsg(2) of these messages, as glibc sends A and AAAA.
pub fn sendmmsg(fd: i32, messages: &[&[u8]]) {
    let mut iov = iovecs(messages);
    let mut all: Vec<libc::mmsghdr> = iov
        .iter_mut()
        .map(|iov| {
            // SAFETY: a mmsghdr of zeroes is valid.
            let mut msg: libc::mmsghdr = unsafe { std::mem::zeroed() };
            (msg.msg_hdr.msg_iov, msg.msg_hdr.msg_iovlen) = (iov, 1);
            msg
        })
        .collect();
    // SAFETY: the messages live through the call.
    let n = unsafe { libc::sendmmsg(fd, all.as_mut_ptr(), all.len() as u32, libc::MSG_NOSIGNAL) };
    assert_eq!(n, messages.len() as i32);
}

/// recvmmsg(2) of so many messages.
pub fn recvmmsg(fd: i32, count: usize) {
    let mut buffers = vec![[0u8; 512]; count];
    let mut iov: Vec<libc::iovec> = buffers
        .iter_mut()
        .map(|b| libc::iovec {
            iov_base: b.as_mut_ptr().cast(),
            iov_len: b.len(),
        })
        .collect();
    let mut all: Vec<libc::mmsghdr> = iov
        .iter_mut()
        .map(|iov| {
            // SAFETY: a mmsghdr of zeroes is valid.
            let mut msg: libc::mmsghdr = unsafe { std::mem::zeroed() };
            (msg.msg_hdr.msg_iov, msg.msg_hdr.msg_iovlen) = (iov, 1);
            msg
        })
        .collect();
    let wait_for_all = std::ptr::null_mut();
    // SAFETY: the buffers live through the call.
    let n = unsafe { libc::recvmmsg(fd, all.as_mut_ptr(), count as u32, 0, wait_for_all) };
    assert_eq!(n, count as i32);
}

/// Waits for something to receive; false when the time is over.
pub fn wait(fd: i32, timeout_ms: i32) -> bool {
    let mut set = [sys::pollfd(fd, libc::POLLIN)];
    sys::poll(&mut set, timeout_ms).expect("poll") > 0
}
