//! Small steps that workloads are made of.

use std::time::Duration;

use probe_tests::{
    child::Link,
    sys::{self, Addr},
};

/// Long enough for a wait that another event is to end.
pub const LONG: Duration = Duration::from_secs(30);

/// A connected stream socket.
pub fn connect(addr: &Addr) -> i32 {
    sys::connected(addr).unwrap_or_else(|e| panic!("connect to {addr:?}: errno {e}"))
}

/// Sends one byte.
pub fn ask(fd: i32) {
    assert_eq!(sys::sendto(fd, b"?", None), Ok(1));
}

/// Takes the one byte of the answer.
pub fn hear(fd: i32) {
    assert_eq!(sys::recvfrom(fd, &mut [0; 16], 0), Ok(1));
}

/// Asks and hears.
pub fn exchange(fd: i32) {
    ask(fd);
    hear(fd);
}

/// How long something takes, ns.
pub fn timed(step: impl FnOnce()) -> u64 {
    let begin = sys::now_ns();
    step();
    sys::now_ns() - begin
}

/// Sends the numbers, then stays alive (and quiet) until the test ends it.
pub fn report_and_stay(link: &mut Link, numbers: &[u64]) {
    link.send(numbers);
    link.wait();
}

/// A port on 127.0.0.1 that nobody listens on: bound but not listening, for as long as the socket lives.
pub fn closed_port() -> (std::os::fd::OwnedFd, Addr) {
    use std::os::fd::FromRawFd as _;
    let fd = sys::socket(libc::AF_INET, libc::SOCK_STREAM).expect("socket");
    let any: std::net::SocketAddr = ([127, 0, 0, 1], 0).into();
    sys::bind(fd, &any.into()).expect("bind");
    let addr: std::net::SocketAddr = ([127, 0, 0, 1], sys::local_port(fd)).into();
    // SAFETY: new, owned by nobody else.
    let owned = unsafe { std::os::fd::OwnedFd::from_raw_fd(fd) };
    (owned, addr.into())
}
