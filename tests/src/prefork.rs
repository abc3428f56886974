//! A prefork worker whose truth is known: accept, read, call a slow peer, compute, sleep, wait for a
//! lock, answer, close. It measures every step itself.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use crate::{
    child::Link,
    fastcgi,
    sys::{self, Addr},
};

/// How the calls to the peer are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Calls {
    /// A connection for each, one after the other.
    Sequential,
    /// One connection for all, one after the other.
    Reused,
    /// A connection for each, all sent before the first answer is read.
    Overlapped,
    /// As curl does it: a non-blocking connection for each, poll before the send and before the receive.
    Polled,
}

/// What a worker does in each request.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The slow peer.
    pub peer: Option<Addr>,
    /// Calls to it.
    pub calls: usize,
    /// How they are made.
    pub how: Calls,
    /// CPU time.
    pub busy: Duration,
    /// nanosleep.
    pub sleep: Duration,
    /// Wait in futex for a helper thread.
    pub lock: Duration,
    /// Speak FastCGI with the client, as PHP-FPM does, instead of taking one read as the request.
    pub fastcgi: bool,
    /// Requests on one connection.
    pub per_connection: usize,
    /// The CPU to stay on; none: the one that it begins on.
    pub cpu: Option<usize>,
}

impl Plan {
    /// Reads, answers, closes.
    pub const NOTHING: Self = Self {
        peer: None,
        calls: 0,
        how: Calls::Sequential,
        busy: Duration::ZERO,
        sleep: Duration::ZERO,
        lock: Duration::ZERO,
        fastcgi: false,
        per_connection: 1,
        cpu: None,
    };
}

/// One request as the worker measured it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Truth {
    /// accept returned (CLOCK_MONOTONIC ns).
    pub accepted_ns: u64,
    /// close was about to be called (CLOCK_MONOTONIC ns).
    pub closed_ns: u64,
    /// CPU time in between, ns.
    pub cpu_ns: u64,
    /// Time waited for a CPU in between, ns; `u64::MAX` where the kernel does not say.
    pub run_queue_ns: u64,
    /// What passed in between before the first and after the last reading of these two, ns: little, unless the
    /// worker had to wait for a CPU just then.
    pub unread_ns: u64,
    /// In calls that wait for the peer, ns.
    pub network_ns: u64,
    /// In calls that wait for the client, ns.
    pub client_ns: u64,
    /// In nanosleep, ns.
    pub sleep_ns: u64,
    /// In futex, ns.
    pub lock_ns: u64,
}

impl Truth {
    fn numbers(&self) -> [u64; 9] {
        [
            self.accepted_ns,
            self.closed_ns,
            self.cpu_ns,
            self.run_queue_ns,
            self.unread_ns,
            self.network_ns,
            self.client_ns,
            self.sleep_ns,
            self.lock_ns,
        ]
    }

    /// From what [`serve`] sends over the link.
    pub fn from_numbers(n: &[u64]) -> Self {
        let n = |i: usize| n.get(i).copied().unwrap_or(0);
        Self {
            accepted_ns: n(0),
            closed_ns: n(1),
            cpu_ns: n(2),
            run_queue_ns: n(3),
            unread_ns: n(4),
            network_ns: n(5),
            client_ns: n(6),
            sleep_ns: n(7),
            lock_ns: n(8),
        }
    }
}

fn timed<T>(sum: &mut u64, step: impl FnOnce() -> T) -> T {
    let begin = sys::now_ns();
    let result = step();
    *sum += sys::now_ns() - begin;
    result
}

/// Serves connections of a listening socket for ever, sending a [`Truth`] over the link after each.
pub fn serve(link: &mut Link, listener: i32, plan: &Plan) -> ! {
    loop {
        let truth = serve_one(listener, plan);
        link.send(&truth.numbers());
    }
}

/// Serves one connection.
pub fn serve_one(listener: i32, plan: &Plan) -> Truth {
    // For the truth about waiting for a CPU.
    sys::stay_on(plan.cpu.unwrap_or_else(sys::this_cpu));
    let mut t = Truth::default();
    let client = sys::accept(listener).expect("accept");
    t.accepted_ns = sys::now_ns();
    let cpu = sys::thread_cpu_ns();
    let queue = sys::run_queue_ns();
    t.unread_ns = sys::now_ns() - t.accepted_ns;
    for _ in 0..plan.per_connection {
        let got = timed(&mut t.client_ns, || {
            if plan.fastcgi {
                fastcgi::read_request(client).is_some()
            } else {
                sys::read(client, &mut [0; 1024]).is_ok_and(|n| n > 0)
            }
        });
        if !got {
            break;
        }
        work(plan, &mut t);
        let answer = if plan.fastcgi {
            fastcgi::response("done")
        } else {
            b"done".to_vec()
        };
        sys::write(client, &answer).expect("write to the client");
    }
    let work_done_ns = sys::now_ns();
    t.run_queue_ns = match (queue, sys::run_queue_ns()) {
        (Some(before), Some(after)) => after - before,
        _ => u64::MAX,
    };
    t.cpu_ns = sys::thread_cpu_ns() - cpu;
    t.closed_ns = sys::now_ns();
    t.unread_ns += t.closed_ns - work_done_ns;
    if plan.fastcgi && plan.per_connection == 1 {
        fastcgi::drain_and_close(client);
    } else {
        sys::close(client).expect("close");
    }
    t
}

fn work(plan: &Plan, t: &mut Truth) {
    if let Some(peer) = &plan.peer {
        timed(&mut t.network_ns, || call_peer(plan, peer));
    }
    if !plan.busy.is_zero() {
        sys::burn(plan.busy);
    }
    if !plan.sleep.is_zero() {
        timed(&mut t.sleep_ns, || {
            sys::nanosleep(plan.sleep).expect("nanosleep")
        });
    }
    if !plan.lock.is_zero() {
        t.lock_ns += wait_for_lock(plan.lock);
    }
}

fn call_peer(plan: &Plan, peer: &Addr) {
    let ask = |fd| {
        sys::sendto(fd, b"?", None).expect("send to the peer");
    };
    let hear = |fd| {
        let n = sys::recvfrom(fd, &mut [0; 64], 0).expect("receive from the peer");
        assert_eq!(n, 1, "the peer closed instead of answering");
    };
    let connect = || sys::connected(peer).expect("connect to the peer");
    match plan.how {
        Calls::Sequential => {
            for _ in 0..plan.calls {
                let fd = connect();
                ask(fd);
                hear(fd);
                let _ = sys::close(fd);
            }
        }
        Calls::Reused => {
            let fd = connect();
            for _ in 0..plan.calls {
                ask(fd);
                hear(fd);
            }
            let _ = sys::close(fd);
        }
        Calls::Polled => {
            for _ in 0..plan.calls {
                poll_call(peer);
            }
        }
        Calls::Overlapped => {
            let fds: Vec<i32> = (0..plan.calls)
                .map(|_| {
                    let fd = connect();
                    ask(fd);
                    fd
                })
                .collect();
            for fd in fds {
                hear(fd);
                let _ = sys::close(fd);
            }
        }
    }
}

fn poll_call(peer: &Addr) {
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK;
    let fd = sys::socket(peer.family(), kind).expect("socket");
    let wait_for = |events| {
        let mut set = [sys::pollfd(fd, events)];
        assert_eq!(sys::poll(&mut set, 30_000), Ok(1), "poll for the peer");
    };
    assert_eq!(sys::connect(fd, peer), Err(libc::EINPROGRESS));
    wait_for(libc::POLLOUT);
    assert_eq!(sys::so_error(fd), 0);
    sys::sendto(fd, b"?", None).expect("send to the peer");
    wait_for(libc::POLLIN);
    assert_eq!(sys::recvfrom(fd, &mut [0; 64], 0), Ok(1));
    let _ = sys::close(fd);
}

/// Waits in futex until a helper thread that sleeps for `time` wakes it; the time in futex, ns.
fn wait_for_lock(time: Duration) -> u64 {
    let word = AtomicU32::new(0);
    let mut waited = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _ = sys::nanosleep(time);
            word.store(1, Ordering::SeqCst);
            let _ = sys::futex_wake(&word);
        });
        timed(&mut waited, || {
            while word.load(Ordering::SeqCst) == 0 {
                // EAGAIN (already changed) and EINTR are looked at by the loop.
                let _ = sys::futex_wait(&word, 0);
            }
        });
    });
    waited
}

/// A client: connects, sends the request's bytes in pieces of `piece` bytes, reads to the end.
pub fn ask(server: &Addr, request: &[u8], piece: usize) -> anyhow::Result<()> {
    let fd = sys::connected(server).map_err(errno("connecting"))?;
    let result = (|| {
        for (i, part) in request.chunks(piece.max(1)).enumerate() {
            if i > 0 {
                std::thread::sleep(Duration::from_millis(2));
            }
            sys::sendto(fd, part, None).map_err(errno("sending"))?;
        }
        let mut buf = [0; 4096];
        while sys::read(fd, &mut buf).map_err(errno("reading"))? > 0 {}
        Ok(())
    })();
    let _ = sys::close(fd);
    result
}

/// An errno with what was tried, as an error.
pub fn errno(what: &'static str) -> impl Fn(i32) -> anyhow::Error {
    move |errno| anyhow::anyhow!("{what}: {}", std::io::Error::from_raw_os_error(errno))
}

/// A TCP socket that listens on 127.0.0.1, and its address. Not close-on-exec, owned by the caller.
pub fn listener(backlog: i32) -> anyhow::Result<(std::os::fd::OwnedFd, Addr)> {
    use std::os::fd::FromRawFd as _;
    let fd = sys::socket(libc::AF_INET, libc::SOCK_STREAM).map_err(errno("socket"))?;
    // SAFETY: new, owned by nobody else.
    let owned = unsafe { std::os::fd::OwnedFd::from_raw_fd(fd) };
    let any: std::net::SocketAddr = ([127, 0, 0, 1], 0).into();
    sys::bind(fd, &any.into()).map_err(errno("bind"))?;
    sys::listen(fd, backlog).map_err(errno("listen"))?;
    let addr: std::net::SocketAddr = ([127, 0, 0, 1], sys::local_port(fd)).into();
    Ok((owned, addr.into()))
}
