//! A web service that answers after a fixed time and closes, with one thread for as many connections as come: what PHP pages call.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use probe_tests::{
    child::{self, Child},
    sys::{self, Addr, EpollCall},
    tcp,
};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";

/// A running one. Dropping it ends it.
pub struct Peer {
    /// Where it listens.
    pub addr: SocketAddr,
    _child: Child,
}

impl Peer {
    /// One that answers so long after the request.
    pub fn start(delay: Duration) -> anyhow::Result<Self> {
        let mut child = child::fork(move |link| {
            sys::set_comm(b"bench-peer");
            let any = Addr::Inet(([127, 0, 0, 1], 0).into());
            let listener = tcp::listen(&any, 4096).expect("listen");
            link.send(&[u64::from(sys::local_port(listener))]);
            serve(listener, delay);
        })?;
        let port = child.recv()?.first().copied().context("no port")?;
        Ok(Self {
            addr: ([127, 0, 0, 1], port as u16).into(),
            _child: child,
        })
    }
}

fn serve(listener: i32, delay: Duration) -> ! {
    let epoll = sys::epoll_create().expect("epoll");
    sys::set_nonblocking(listener, true).expect("fcntl");
    sys::epoll_add(epoll, listener, libc::EPOLLIN, listener as u64).expect("epoll_ctl");
    let wait = if sys::epoll_pwait2_works() {
        EpollCall::Pwait2
    } else {
        EpollCall::Wait
    };
    // All wait equally long, so who asked first is answered first.
    let mut due: VecDeque<(Instant, i32)> = VecDeque::new();
    loop {
        let sleep = due.front().map_or(Duration::from_secs(1), |(at, _)| {
            at.saturating_duration_since(Instant::now())
        });
        let ready = sys::epoll_wait(wait, epoll, sleep).expect("epoll_wait");
        for fd in ready {
            let fd = fd as i32;
            if fd == listener {
                while let Ok(connection) = sys::accept4(fd, libc::SOCK_NONBLOCK) {
                    sys::epoll_add(epoll, connection, libc::EPOLLIN, connection as u64)
                        .expect("epoll_ctl");
                }
                continue;
            }
            let mut request = [0; 4096];
            match sys::read(fd, &mut request) {
                // Requests are small, and come whole.
                Ok(n) if n > 0 && request[..n as usize].ends_with(b"\r\n\r\n") => {
                    if delay.is_zero() {
                        answer(fd);
                    } else {
                        due.push_back((Instant::now() + delay, fd));
                    }
                }
                Ok(n) if n > 0 => {}
                // Gone before its answer was due: it is left to the answer to close it.
                Ok(_) | Err(_) if due.iter().any(|(_, waits)| *waits == fd) => {}
                Ok(_) | Err(_) => {
                    let _ = sys::close(fd);
                }
            }
        }
        while due.front().is_some_and(|(at, _)| *at <= Instant::now()) {
            if let Some((_, fd)) = due.pop_front() {
                answer(fd);
            }
        }
    }
}

fn answer(fd: i32) {
    let _ = sys::write(fd, ANSWER);
    let _ = sys::close(fd);
}
