//! A server and a client, whose connections begin and end as a case wants.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use probe_tests::{
    child::{self, Child},
    sys::{self, Addr},
};

use crate::{
    steps::{connect, report_and_stay, timed},
    tcp_seen::TcpWatch,
};

pub const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
pub const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
pub const PORT: u16 = 7000;
/// Connections of a case, one after the other.
pub const ROUNDS: u64 = 4;
/// What a workload lets pass in a state that is to be seen.
pub const WHILE: Duration = Duration::from_millis(20);

pub fn addr(ip: IpAddr) -> Addr {
    SocketAddr::new(ip, PORT).into()
}

/// What a side does with a connection. Returns how long it was in the state that is to be seen, ns: at least, at most.
pub type Talk = fn(i32) -> [u64; 2];

/// Listens once it is told to, then runs `serve` on one connection after the other. Answers the sums of times.
pub fn server(ip: IpAddr, serve: Talk) -> anyhow::Result<Child> {
    child::fork(move |link| {
        link.wait();
        let listener = listen(&addr(ip), 64);
        link.send(&[]);
        let mut sums = [0; 2];
        for _ in 0..ROUNDS {
            let fd = sys::accept(listener).expect("accept");
            // The client goes on when it has an owner.
            assert_eq!(sys::write(fd, b"!"), Ok(1));
            let [low, high] = serve(fd);
            sums = [sums[0] + low, sums[1] + high];
        }
        report_and_stay(link, &sums);
    })
}

/// The socket of a new listener.
pub fn listen(addr: &Addr, backlog: i32) -> i32 {
    probe_tests::tcp::listen(addr, backlog).expect("listen")
}

/// Connects when told to, time after time, and runs `talk` on each connection. Answers the sums of times, the
/// second one with the time from connect() on.
pub fn client(ip: IpAddr, talk: Talk) -> anyhow::Result<Child> {
    child::fork(move |link| {
        link.wait();
        let mut sums = [0; 2];
        for _ in 0..ROUNDS {
            let begin = sys::now_ns();
            let fd = connect(&addr(ip));
            assert_eq!(sys::read(fd, &mut [0]), Ok(1));
            let opened = sys::now_ns() - begin;
            let [low, high] = talk(fd);
            sums = [sums[0] + low, sums[1] + opened + high];
        }
        report_and_stay(link, &sums);
    })
}

/// Waits for the other side to close, stays half closed for a while, and closes.
pub fn closes_second(fd: i32) -> [u64; 2] {
    let begin = sys::now_ns();
    assert_eq!(sys::read(fd, &mut [0; 16]), Ok(0));
    let half_closed = timed(|| std::thread::sleep(WHILE));
    sys::close(fd).expect("close");
    [half_closed, sys::now_ns() - begin]
}

/// Keeps the connection for a while and closes.
pub fn closes_first(fd: i32) -> [u64; 2] {
    let begin = sys::now_ns();
    std::thread::sleep(WHILE);
    let kept = sys::now_ns() - begin;
    sys::close(fd).expect("close");
    let closed = sys::now_ns() - begin;
    // The other side goes on by itself; the next connection must not come in between.
    std::thread::sleep(2 * WHILE);
    [kept, closed]
}

/// Runs both and returns what they measured, the server first.
pub fn run(
    watch: &mut TcpWatch,
    server: &mut Child,
    client: &mut Child,
) -> anyhow::Result<([u64; 2], [u64; 2])> {
    watch.step(server)?;
    let theirs = watch.step(client)?;
    let ours = watch.recv(server)?;
    Ok(([ours[0], ours[1]], [theirs[0], theirs[1]]))
}

/// The addresses in the tables: of the connection, of the listener.
pub fn texts(ip: IpAddr) -> (String, String) {
    let text = addr(ip).text("tcp");
    (text.clone(), format!("listen {text}"))
}
