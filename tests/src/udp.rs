//! Readers and senders of datagrams that keep their own account.

use std::{
    io::ErrorKind,
    net::{IpAddr, SocketAddr, UdpSocket},
    os::fd::AsRawFd as _,
    time::Duration,
};

use anyhow::Context as _;

use crate::{
    child::{self, Child},
    sys,
};

/// Bytes of a datagram.
const DATAGRAM: [u8; 200] = [7; 200];

/// A process that reads one datagram, waits so long, and reads the next. Told to go on, it takes out what is left and
/// answers how many it has read; its first answer is its port.
///
/// # Errors
/// It cannot be started.
pub fn slow_reader(
    name: &str,
    ip: IpAddr,
    buffer: i32,
    pause: Duration,
) -> anyhow::Result<(Child, SocketAddr)> {
    let name = name.to_owned();
    let mut child = child::fork(move |link| {
        sys::set_comm(name.as_bytes());
        let socket = UdpSocket::bind(SocketAddr::new(ip, 0)).expect("bind");
        sys::set_socket_option(socket.as_raw_fd(), libc::SO_RCVBUF, buffer).expect("SO_RCVBUF");
        link.send(&[socket.local_addr().expect("address").port().into()]);
        let mut read = 0;
        socket.set_nonblocking(true).expect("fcntl");
        while !link.is_told() {
            read += u64::from(receive(&socket));
            std::thread::sleep(pause);
        }
        link.wait();
        while receive(&socket) {
            read += 1;
        }
        link.send(&[read]);
        link.wait();
    })?;
    let port = *child.recv()?.first().context("no port")?;
    Ok((child, SocketAddr::new(ip, port as u16)))
}

/// Takes a datagram out, if there is one.
fn receive(socket: &UdpSocket) -> bool {
    match socket.recv(&mut [0; 256]) {
        Ok(_) => true,
        Err(e) => {
            assert_eq!(e.kind(), ErrorKind::WouldBlock, "{e}");
            false
        }
    }
}

/// A process that answers each datagram at once, for ever; its first answer is its port.
///
/// # Errors
/// It cannot be started.
pub fn fast_reader(name: &str, ip: IpAddr) -> anyhow::Result<(Child, SocketAddr)> {
    let name = name.to_owned();
    let mut child = child::fork(move |link| {
        sys::set_comm(name.as_bytes());
        let socket = UdpSocket::bind(SocketAddr::new(ip, 0)).expect("bind");
        link.send(&[socket.local_addr().expect("address").port().into()]);
        let mut bytes = [0; 256];
        loop {
            let (n, from) = socket.recv_from(&mut bytes).expect("recv");
            // Whoever asked may have gone.
            let _ = socket.send_to(&bytes[..n], from);
        }
    })?;
    let port = *child.recv()?.first().context("no port")?;
    Ok((child, SocketAddr::new(ip, port as u16)))
}

/// Sends `burst` datagrams each `every`, so many times; how many were sent.
///
/// # Errors
/// The kernel refuses one.
pub fn send_bursts(to: SocketAddr, burst: u64, every: Duration, times: u64) -> anyhow::Result<u64> {
    let socket = UdpSocket::bind(SocketAddr::new(to.ip(), 0))?;
    for _ in 0..times {
        for _ in 0..burst {
            socket.send_to(&DATAGRAM, to)?;
        }
        std::thread::sleep(every);
    }
    Ok(burst * times)
}

/// Asks as fast as the answers come, with so many questions under way; how many were answered.
///
/// # Errors
/// An answer does not come.
pub fn ask(to: SocketAddr, under_way: u64, time: Duration) -> anyhow::Result<u64> {
    let socket = UdpSocket::bind(SocketAddr::new(to.ip(), 0))?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    for _ in 0..under_way {
        socket.send_to(&DATAGRAM, to)?;
    }
    let until = sys::now_ns() + time.as_nanos() as u64;
    let mut answered = 0;
    while sys::now_ns() < until {
        socket.recv(&mut [0; 256]).context("an answer")?;
        socket.send_to(&DATAGRAM, to)?;
        answered += 1;
    }
    for _ in 0..under_way {
        socket.recv(&mut [0; 256]).context("a last answer")?;
        answered += 1;
    }
    Ok(answered)
}
