//! Processes that fill the state table, or whose connects fail, and that keep their own account of it.

use std::{collections::BTreeMap, time::Duration};

use anyhow::ensure;

use crate::{
    child::{self, Child, Link},
    sys::{self, Addr, EpollCall},
};

/// What `ss` lists with these arguments in the caller's network namespace, a line for each socket: the independent count.
pub fn ss(args: &[&str]) -> anyhow::Result<Vec<String>> {
    let program = crate::web::program("ss", "iproute2")?;
    let output = std::process::Command::new(program)
        .arg("-H")
        .args(args)
        .output()?;
    ensure!(output.status.success(), "ss: {output:?}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text.lines().map(str::to_owned).collect())
}

/// The socket of a new listener, which takes over an address whose old connections are still closing.
pub fn listen(addr: &Addr, backlog: i32) -> sys::Result<i32> {
    let fd = sys::socket(addr.family(), libc::SOCK_STREAM)?;
    sys::set_socket_option(fd, libc::SO_REUSEADDR, 1)?;
    let bound = sys::bind(fd, addr).and_then(|()| sys::listen(fd, backlog));
    match bound {
        Ok(()) => Ok(fd),
        Err(errno) => {
            let _ = sys::close(fd);
            Err(errno)
        }
    }
}

/// Lets the calling process open as many descriptors as the system allows.
pub fn many_descriptors() {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: writes, then reads, one limit.
    unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
    }
}

/// What a [`server`] does with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Closes it when the other side has.
    CloseLast,
    /// Closes it at once.
    CloseFirst,
    /// Keeps it, whatever the other side does.
    Keep,
}

/// A process that listens on these addresses and accepts at once. It is ready when this returns.
pub fn server(name: &str, on: &[Addr], manner: Manner) -> anyhow::Result<Child> {
    let (name, on) = (name.to_owned(), on.to_vec());
    let mut child = child::fork(move |link| {
        sys::set_comm(name.as_bytes());
        many_descriptors();
        let listeners = on.iter().map(|addr| listen(addr, 4096).expect("listen"));
        let listeners: Vec<i32> = listeners.collect();
        link.send(&[]);
        serve(&listeners, manner);
    })?;
    child.recv()?;
    Ok(child)
}

fn serve(listeners: &[i32], manner: Manner) -> ! {
    let epoll = sys::epoll_create().expect("epoll");
    for fd in listeners {
        sys::set_nonblocking(*fd, true).expect("fcntl");
        sys::epoll_add(epoll, *fd, libc::EPOLLIN, *fd as u64).expect("epoll_ctl");
    }
    loop {
        let ready = sys::epoll_wait(EpollCall::Wait, epoll, Duration::from_secs(60));
        for fd in ready.expect("epoll_wait") {
            let fd = fd as i32;
            if !listeners.contains(&fd) {
                if matches!(sys::read(fd, &mut [0; 64]), Ok(0) | Err(_)) {
                    let _ = sys::close(fd);
                }
                continue;
            }
            while let Ok(connection) = sys::accept4(fd, libc::SOCK_NONBLOCK) {
                match manner {
                    Manner::CloseLast => {
                        let events = libc::EPOLLIN | libc::EPOLLRDHUP;
                        sys::epoll_add(epoll, connection, events, connection as u64)
                            .expect("epoll_ctl");
                    }
                    Manner::CloseFirst => sys::close(connection).expect("close"),
                    Manner::Keep => {}
                }
            }
        }
    }
}

/// What a [`client`] does with a connection that it made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Closes it at once.
    CloseFirst,
    /// Waits for the other side to close, for a tenth of a second at most, then closes.
    CloseLast,
    /// Closes its sending half and keeps the rest.
    HalfClose,
    /// Keeps it until the end.
    Keep,
}

/// What a [`client`] does.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Addresses, taken in turn.
    pub to: Vec<Addr>,
    /// Connects; it also stops when it is told to go on.
    pub times: u64,
    /// From the begin of one connect to that of the next.
    pub every: Duration,
    /// With O_NONBLOCK: EINPROGRESS counts as made.
    pub non_blocking: bool,
    /// With a connection.
    pub then: Then,
}

/// What a [`client`] counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Connects that were made.
    pub made: u64,
    /// Those that failed, by errno.
    pub failed: BTreeMap<i32, u64>,
    /// When the first failed, CLOCK_MONOTONIC ns, right after the call; 0 when none did.
    pub first_failure_ns: u64,
    /// The same of the last.
    pub last_failure_ns: u64,
    /// When the last connect before the first failure was made.
    pub last_success_before_ns: u64,
    /// When the first connect after the last failure was made; 0 when none was.
    pub first_success_after_ns: u64,
}

impl Account {
    /// How many failed with this errno.
    pub fn failed_with(&self, errno: i32) -> u64 {
        self.failed.get(&errno).copied().unwrap_or(0)
    }

    /// How many failed.
    pub fn all_failed(&self) -> u64 {
        self.failed.values().sum()
    }

    fn add(&mut self, result: sys::Result<()>) {
        let now = sys::now_ns();
        match result {
            Ok(()) | Err(libc::EINPROGRESS) => {
                self.made += 1;
                if self.failed.is_empty() {
                    self.last_success_before_ns = now;
                } else if self.first_success_after_ns == 0 {
                    self.first_success_after_ns = now;
                }
            }
            Err(errno) => {
                *self.failed.entry(errno).or_default() += 1;
                if self.first_failure_ns == 0 {
                    self.first_failure_ns = now;
                }
                self.last_failure_ns = now;
                self.first_success_after_ns = 0;
            }
        }
    }

    fn numbers(&self) -> Vec<u64> {
        let mut all = vec![
            self.made,
            self.first_failure_ns,
            self.last_failure_ns,
            self.last_success_before_ns,
            self.first_success_after_ns,
        ];
        all.extend(self.failed.iter().flat_map(|(e, n)| [*e as u64, *n]));
        all
    }

    /// From what a [`client`] sends.
    pub fn of(numbers: &[u64]) -> anyhow::Result<Self> {
        ensure!(numbers.len() >= 5, "the client says {numbers:?}");
        let (head, failed) = numbers.split_at(5);
        let pairs = failed.as_chunks::<2>().0;
        Ok(Self {
            made: head[0],
            failed: pairs.iter().map(|[e, n]| (*e as i32, *n)).collect(),
            first_failure_ns: head[1],
            last_failure_ns: head[2],
            last_success_before_ns: head[3],
            first_success_after_ns: head[4],
        })
    }
}

/// A process that connects as planned once it is told to go, sends its [`Account`], and keeps what it holds until
/// it is told to go again.
pub fn client(name: &str, plan: &Plan) -> anyhow::Result<Child> {
    let (name, plan) = (name.to_owned(), plan.clone());
    child::fork(move |link| {
        sys::set_comm(name.as_bytes());
        many_descriptors();
        link.wait();
        let (account, held) = connect(link, &plan);
        link.send(&account.numbers());
        link.wait();
        for fd in held {
            let _ = sys::close(fd);
        }
        link.send(&[]);
        link.wait();
    })
}

/// Lets a client begin and waits for its account.
pub fn run_client(client: &mut Child) -> anyhow::Result<Account> {
    client.go()?;
    Account::of(&client.recv()?)
}

fn connect(link: &Link, plan: &Plan) -> (Account, Vec<i32>) {
    let (mut account, mut held) = (Account::default(), Vec::new());
    let begun = sys::now_ns();
    for turn in 0..plan.times {
        if !pause(link, begun + turn * plan.every.as_nanos() as u64) {
            break;
        }
        let to = &plan.to[turn as usize % plan.to.len()];
        let flags = if plan.non_blocking {
            libc::SOCK_NONBLOCK
        } else {
            0
        };
        let fd = sys::socket(to.family(), libc::SOCK_STREAM | flags).expect("socket");
        let result = sys::connect(fd, to);
        account.add(result);
        match (result, plan.then) {
            (Ok(()) | Err(libc::EINPROGRESS), Then::Keep) => held.push(fd),
            (Ok(()), Then::HalfClose) => {
                sys::shutdown_write(fd).expect("shutdown");
                held.push(fd);
            }
            (Ok(()), Then::CloseLast) => {
                // Where a listener goes while the last packet of a handshake is taken in, the kernel drops that packet and counts it
                // (ListenDrops): the client is established, and hears nothing ever (seen on 6.18 in one restart of a hundred).
                let _ = sys::poll(&mut [sys::pollfd(fd, libc::POLLIN)], 100);
                let _ = sys::close(fd);
            }
            _ => sys::close(fd).expect("close"),
        }
    }
    (account, held)
}

/// Waits until a time; false when the parent says to go on first.
fn pause(link: &Link, until_ns: u64) -> bool {
    let left = Duration::from_nanos(until_ns.saturating_sub(sys::now_ns()));
    let mut word = [sys::pollfd(link.descriptors().0, libc::POLLIN)];
    sys::ppoll(&mut word, left) == Ok(0)
}

/// What a listener that restarts tells: CLOCK_MONOTONIC ns right after close() and right after listen().
#[derive(Clone, Copy, Debug)]
pub struct Restart {
    /// Before the old listener was closed.
    pub closing_ns: u64,
    /// After it was.
    pub closed_ns: u64,
    /// After the new one began to listen.
    pub back_ns: u64,
}

/// A process that listens, accepts, and closes every connection first. Told to go, it stops listening for as many
/// milliseconds as the word says, and tells what it did.
pub fn restarting_server(name: &str, on: &Addr) -> anyhow::Result<Child> {
    let (name, on) = (name.to_owned(), on.clone());
    let mut child = child::fork(move |link| {
        sys::set_comm(name.as_bytes());
        let mut listener = listen(&on, 4096).expect("listen");
        link.send(&[]);
        loop {
            let mut ready = [
                sys::pollfd(listener, libc::POLLIN),
                sys::pollfd(link.descriptors().0, libc::POLLIN),
            ];
            sys::poll(&mut ready, -1).expect("poll");
            if ready[0].revents != 0 {
                let connection = sys::accept(listener).expect("accept");
                sys::close(connection).expect("close");
            }
            if ready[1].revents != 0 {
                let word = link.wait();
                let closing = sys::now_ns();
                sys::close(listener).expect("close");
                let closed = sys::now_ns();
                // As servers do it: a path without a listener stays until the new one takes it away.
                let half = Duration::from_millis(word) / 2;
                sys::nanosleep(half).expect("nanosleep");
                if let Addr::Unix(path) = &on {
                    std::fs::remove_file(path).expect("remove");
                }
                sys::nanosleep(half).expect("nanosleep");
                listener = listen(&on, 4096).expect("listen");
                link.send(&[closing, closed, sys::now_ns()]);
            }
        }
    })?;
    child.recv()?;
    Ok(child)
}

/// Lets a server restart, with so long a gap.
pub fn restart(server: &mut Child, gap: Duration) -> anyhow::Result<Restart> {
    server.tell(gap.as_millis() as u64)?;
    let told = server.recv()?;
    ensure!(told.len() == 3, "the server says {told:?}");
    Ok(Restart {
        closing_ns: told[0],
        closed_ns: told[1],
        back_ns: told[2],
    })
}

/// A process that listens with this backlog and accepts only when told: as many as the word says, waiting this long
/// before each, then answers with how many it accepted. Connections stay open.
pub fn slow_server(name: &str, on: &Addr, backlog: i32, pause: Duration) -> anyhow::Result<Child> {
    let (name, on) = (name.to_owned(), on.clone());
    let mut child = child::fork(move |link| {
        sys::set_comm(name.as_bytes());
        let listener = listen(&on, backlog).expect("listen");
        sys::set_nonblocking(listener, true).expect("fcntl");
        link.send(&[]);
        loop {
            let wanted = link.wait();
            let mut accepted = 0;
            for _ in 0..wanted {
                sys::nanosleep(pause).expect("nanosleep");
                accepted += u64::from(sys::accept(listener).is_ok());
            }
            link.send(&[accepted]);
        }
    })?;
    child.recv()?;
    Ok(child)
}
