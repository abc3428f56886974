//! A connect is measured until the connection is established, blocking or not.

use std::time::Duration;

use anyhow::ensure;
use probe_tests::{
    child, prefork, sys,
    upstream::{Behaviour, Upstream},
    watch::{Watch, assert_between, ms},
};

use crate::steps::{closed_port, report_and_stay, timed};

/// Connects without blocking and polls until the connection is there; ns from one to the other.
fn connect_and_poll(addr: &sys::Addr) -> u64 {
    let fd = sys::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_NONBLOCK).expect("socket");
    let ns = timed(|| {
        assert_eq!(sys::connect(fd, addr), Err(libc::EINPROGRESS));
        let mut set = [sys::pollfd(fd, libc::POLLOUT)];
        assert_eq!(sys::poll(&mut set, 20_000), Ok(1));
        assert_eq!(sys::so_error(fd), 0);
    });
    sys::close(fd).expect("close");
    ns
}

pub fn a_non_blocking_connect_is_measured_to_established() -> anyhow::Result<()> {
    let up = Upstream::tcp(Behaviour::bytes(0))?;
    let addr = up.addr.clone();
    let mut worker = child::fork(move |link| {
        link.wait();
        let measured = (0..10).map(|_| connect_and_poll(&addr)).sum();
        report_and_stay(link, &[measured]);
    })?;
    let mut watch = Watch::of(&[&worker])?;
    let measured = watch.step(&mut worker)?[0];
    let seen = watch.read()?;
    let call = seen.call(worker.pid, "established", &up.text());
    ensure!(
        call.count == 10 && call.in_histogram == 10,
        "{call:?}{}",
        seen.dump(worker.pid)
    );
    assert_between("time to established", call.total_ns, 0, measured);
    ensure!(call.total_ns > 0, "no time at all");
    Ok(())
}

pub fn a_delayed_handshake_counts() -> anyhow::Result<()> {
    // A listener with a backlog of 0 takes one connection; further SYNs are dropped and sent again after
    // the initial retransmission time-out of 1 s. The queue is emptied after 300 ms.
    let (listener, addr) = prefork::listener(0)?;
    let fd = std::os::fd::AsRawFd::as_raw_fd(&listener);
    let filler = sys::connected(&addr).map_err(prefork::errno("connecting the filler"))?;
    let target = addr.clone();
    let mut worker = child::fork(move |link| {
        link.wait();
        let measured = connect_and_poll(&target);
        report_and_stay(link, &[measured]);
    })?;
    let mut watch = Watch::of(&[&worker])?;
    worker.go()?;
    std::thread::sleep(Duration::from_millis(300));
    let accepted = sys::accept(fd).map_err(prefork::errno("accepting the filler"))?;
    let measured = watch.recv(&mut worker);
    for fd in [filler, accepted] {
        let _ = sys::close(fd);
    }
    let measured = measured?[0];
    ensure!(
        measured > 700_000_000,
        "the handshake took only {} ms: the test is wrong",
        ms(measured)
    );
    let seen = watch.read()?;
    let call = seen.call(worker.pid, "established", &addr.text("tcp"));
    ensure!(call.count == 1, "{call:?}{}", seen.dump(worker.pid));
    assert_between("time to established", call.total_ns, measured, measured);
    assert_between("longest", call.max_ns, measured, measured);
    // The connect itself did not block; the poll did, on the same peer.
    let connect = seen.call(worker.pid, "connect", &addr.text("tcp"));
    ensure!(connect.errors_of(libc::EINPROGRESS) == 1, "{connect:?}");
    let poll = seen.call(worker.pid, "poll", &addr.text("tcp"));
    assert_between("poll", poll.total_ns + connect.total_ns, measured, measured);
    Ok(())
}

pub fn a_refused_connect_is_never_established() -> anyhow::Result<()> {
    let (_held, refused) = closed_port();
    let addr = refused.clone();
    let mut worker = child::fork(move |link| {
        link.wait();
        for _ in 0..5 {
            assert_eq!(sys::connected(&addr), Err(libc::ECONNREFUSED));
        }
        report_and_stay(link, &[]);
    })?;
    let mut watch = Watch::of(&[&worker])?;
    watch.step(&mut worker)?;
    let seen = watch.read()?;
    let connects = seen.call(worker.pid, "connect", &refused.text("tcp"));
    ensure!(
        connects.errors == [(libc::ECONNREFUSED, 5)],
        "{connects:?}{}",
        seen.dump(worker.pid)
    );
    ensure!(
        seen.all(worker.pid, "established").count == 0,
        "{}",
        seen.dump(worker.pid)
    );
    Ok(())
}
