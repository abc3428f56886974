//! Whatever happens to a descriptor, the peer behind it stays right.

use std::time::Duration;

use anyhow::ensure;
use probe_tests::{
    child, feature,
    sys::{self, Addr},
    upstream::{Behaviour, UdpResponder, Upstream},
    watch::Watch,
};

use crate::{
    follow,
    steps::{ask, connect, exchange, hear, report_and_stay},
};

const DELAY_MS: u64 = 5;

fn behaviour() -> Behaviour {
    Behaviour::bytes(DELAY_MS)
}

pub fn a_connection_opened_before_attach_has_its_peer() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let name = format!("stallscope-before-{}", std::process::id());
    let mut ups = vec![
        Upstream::tcp(behaviour())?,
        Upstream::unix(&dir.path().join("old.sock"), behaviour())?,
        Upstream::abstract_name(&name, behaviour())?,
    ];
    if feature::has_ipv6() {
        ups.push(Upstream::tcp6(behaviour())?);
    }
    let udp = UdpResponder::start("127.0.0.1:0", Duration::from_millis(DELAY_MS))?;
    let addrs: Vec<Addr> = ups.iter().map(|u| u.addr.clone()).collect();
    let datagrams = Addr::Inet(udp.addr);
    let mut worker = child::fork(move |link| {
        let mut fds: Vec<i32> = addrs.iter().map(connect).collect();
        let fd = sys::socket(libc::AF_INET, libc::SOCK_DGRAM).expect("socket");
        sys::connect(fd, &datagrams).expect("connect");
        fds.push(fd);
        link.send(&[]);
        link.wait();
        for fd in fds {
            for _ in 0..3 {
                ask(fd);
                let mut set = [sys::pollfd(fd, libc::POLLIN)];
                assert_eq!(sys::poll(&mut set, 10_000), Ok(1));
                hear(fd);
            }
        }
        report_and_stay(link, &[]);
    })?;
    worker.recv()?;
    let mut watch = Watch::fresh(&[&worker])?;
    watch.step(&mut worker)?;
    let seen = watch.read()?;
    for peer in ups.iter().map(Upstream::text).chain([udp.text()]) {
        for op in ["sendto", "poll", "recvfrom"] {
            let call = seen.call(worker.pid, op, &peer);
            ensure!(
                call.count == 3,
                "{op} {peer}: {call:?}{}",
                seen.dump(worker.pid)
            );
        }
    }
    Ok(())
}

pub fn a_duplicate_leads_to_the_same_peer() -> anyhow::Result<()> {
    let (up, other) = (Upstream::tcp(behaviour())?, Upstream::tcp(behaviour())?);
    let (addr, decoy) = (up.addr.clone(), other.addr.clone());
    let mut worker = child::fork(move |link| {
        let fd = connect(&addr);
        link.send(&[]);
        link.wait();
        // Each duplicate takes the place of a connection to another peer.
        let copies = [
            sys::dup(fd),
            sys::dup2(fd, connect(&decoy)),
            sys::dup3(fd, connect(&decoy)),
            sys::dup_from(fd, 200),
        ];
        sys::close(fd).expect("close");
        for copy in copies {
            exchange(copy.expect("a duplicate"));
        }
        report_and_stay(link, &[]);
    })?;
    worker.recv()?;
    let mut watch = Watch::of(&[&worker])?;
    watch.step(&mut worker)?;
    let seen = watch.read()?;
    let calls = seen.by_peer(worker.pid, "recvfrom");
    ensure!(
        calls.len() == 1 && calls.get(&up.text()).is_some_and(|c| c.count == 4),
        "{calls:?} instead of 4 from {}{}",
        up.text(),
        seen.dump(worker.pid)
    );
    Ok(())
}

pub fn a_passed_descriptor_leads_to_the_same_peer() -> anyhow::Result<()> {
    let up = Upstream::tcp(behaviour())?;
    let fd = connect(&up.addr);
    let (near, far) = sys::socketpair().map_err(probe_tests::prefork::errno("socketpair"))?;
    let mut worker = child::fork(move |link| {
        // Only what is passed may be used.
        sys::close(fd).expect("close");
        link.wait();
        let passed = sys::receive_fd(far).expect("a passed descriptor");
        for _ in 0..3 {
            exchange(passed);
        }
        report_and_stay(link, &[]);
    })?;
    let mut watch = Watch::of(&[&worker])?;
    sys::send_fd(near, fd).map_err(probe_tests::prefork::errno("passing the descriptor"))?;
    watch.step(&mut worker)?;
    let call = watch.read()?.call(worker.pid, "recvfrom", &up.text());
    for fd in [fd, near, far] {
        let _ = sys::close(fd);
    }
    ensure!(
        call.count == 3,
        "{call:?}{}",
        watch.read()?.dump(worker.pid)
    );
    Ok(())
}

pub fn a_descriptor_inherited_by_fork_leads_to_the_same_peer() -> anyhow::Result<()> {
    let up = Upstream::tcp(behaviour())?;
    let addr = up.addr.clone();
    let mut worker = child::fork(move |link| {
        let fd = connect(&addr);
        link.wait();
        let mut grandchild = child::fork(move |link| {
            exchange(fd);
            exchange(fd);
            report_and_stay(link, &[]);
        })
        .expect("fork");
        grandchild.recv().expect("the grandchild");
        report_and_stay(link, &[grandchild.pid.into()]);
    })?;
    let mut watch = Watch::of(&[&worker])?;
    let grandchild = watch.step(&mut worker)?[0] as u32;
    let seen = watch.read()?;
    let call = seen.call(grandchild, "recvfrom", &up.text());
    ensure!(call.count == 2, "{call:?}{}", seen.dump(grandchild));
    Ok(())
}

pub fn a_descriptor_kept_across_exec_leads_to_the_same_peer() -> anyhow::Result<()> {
    let up = Upstream::tcp(behaviour())?;
    let addr = up.addr.clone();
    let mut worker = child::fork(move |link| {
        let fd = connect(&addr);
        link.wait();
        follow::exec_self(link, fd);
    })?;
    let mut watch = Watch::of(&[&worker])?;
    watch.step(&mut worker)?;
    let seen = watch.read()?;
    let call = seen.call(worker.pid, "recvfrom", &up.text());
    ensure!(call.count == 3, "{call:?}{}", seen.dump(worker.pid));
    Ok(())
}

pub fn a_reused_number_leads_to_the_new_peer() -> anyhow::Result<()> {
    let (one, two) = (Upstream::tcp(behaviour())?, Upstream::tcp(behaviour())?);
    let (a, b) = (one.addr.clone(), two.addr.clone());
    let mut worker = child::fork(move |link| {
        link.wait();
        for _ in 0..3 {
            let first = connect(&a);
            exchange(first);
            sys::close(first).expect("close");
            let second = connect(&b);
            assert_eq!(first, second, "the number is not reused");
            exchange(second);
            sys::close_range(second, second).expect("close_range");
            let third = connect(&a);
            assert_eq!(first, third, "the number is not reused");
            exchange(third);
            sys::close(third).expect("close");
        }
        report_and_stay(link, &[]);
    })?;
    let mut watch = Watch::of(&[&worker])?;
    watch.step(&mut worker)?;
    let seen = watch.read()?;
    let calls = seen.by_peer(worker.pid, "recvfrom");
    ensure!(
        calls.len() == 2
            && calls.get(&one.text()).is_some_and(|c| c.count == 6)
            && calls.get(&two.text()).is_some_and(|c| c.count == 3),
        "{calls:?}: expected 6 from {} and 3 from {}",
        one.text(),
        two.text()
    );
    Ok(())
}
