//! Receiving and sending calls that block are charged to the peer of their socket.

use std::{
    io::Read as _,
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use anyhow::ensure;
use probe_tests::{
    child::{self, Child},
    ensure_time, feature, harness,
    netns::Netns,
    sys,
    sys::Addr,
    upstream::{Behaviour, UdpResponder, Upstream},
    watch::{Watch, assert_between, slack_ns},
};

use crate::steps::{ask, connect, report_and_stay, timed};

const DELAY_MS: u64 = 15;

/// Receives one byte by one of five calls.
type Receive = (&'static str, fn(i32) -> sys::Result);

const RECEIVES: [Receive; 5] = [
    ("recvfrom", |fd| sys::recvfrom(fd, &mut [0; 16], 0)),
    ("recvmsg", |fd| sys::recvmsg(fd, &mut [0; 16])),
    // Returns the number of messages, which is one as well.
    ("recvmmsg", |fd| sys::recvmmsg(fd, &mut [0; 16])),
    ("read", |fd| sys::read(fd, &mut [0; 16])),
    ("readv", |fd| sys::readv(fd, &mut [0; 16])),
];

/// Asks and receives with each call in turn; how long each took.
fn receive_with_each(fd: i32, ask: impl Fn(i32)) -> Vec<u64> {
    RECEIVES
        .iter()
        .map(|(name, receive)| {
            ask(fd);
            timed(|| assert_eq!(receive(fd), Ok(1), "{name}"))
        })
        .collect()
}

/// Lets the worker go and compares, for each peer and each receiving call, with what it measured.
fn expect_receives(mut worker: Child, peers: &[String]) -> anyhow::Result<()> {
    let mut watch = Watch::of(&[&worker])?;
    let measured = watch.step(&mut worker)?;
    let seen = watch.read()?;
    ensure!(measured.len() == peers.len() * RECEIVES.len());
    for (i, measured) in measured.into_iter().enumerate() {
        let (peer, (op, _)) = (&peers[i / RECEIVES.len()], RECEIVES[i % RECEIVES.len()]);
        let call = seen.call(worker.pid, op, peer);
        ensure!(
            call.count == 1,
            "{op} from {peer}: {call:?}{}",
            seen.dump(worker.pid)
        );
        assert_between(
            &format!("{op} from {peer}"),
            call.total_ns,
            measured,
            measured,
        );
        ensure!(
            call.blocked_ns <= call.total_ns,
            "{op} from {peer}: {call:?}"
        );
        ensure_time!(
            call.blocked_ns + slack_ns(measured) >= DELAY_MS * 1_000_000,
            "{op} from {peer}: {call:?}"
        );
    }
    Ok(())
}

pub fn every_receiving_call_finds_its_peer() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let behaviour = Behaviour::bytes(DELAY_MS);
    let name = format!("stallscope-test-{}", std::process::id());
    let ups = [
        Upstream::tcp(behaviour)?,
        Upstream::unix(&dir.path().join("peer.sock"), behaviour)?,
        Upstream::abstract_name(&name, behaviour)?,
    ];
    let addrs: Vec<Addr> = ups.iter().map(|u| u.addr.clone()).collect();
    let worker = child::fork(move |link| {
        link.wait();
        let measured: Vec<u64> = addrs
            .iter()
            .flat_map(|a| receive_with_each(connect(a), ask))
            .collect();
        report_and_stay(link, &measured);
    })?;
    expect_receives(worker, &ups.each_ref().map(Upstream::text))
}

pub fn every_receiving_call_finds_its_peer_over_ipv6() -> anyhow::Result<()> {
    feature::require(&feature::IPV6)?;
    let up = Upstream::tcp6(Behaviour::bytes(DELAY_MS))?;
    let udp = UdpResponder::start("[::1]:0", Duration::from_millis(DELAY_MS))?;
    let (addr, datagrams) = (up.addr.clone(), Addr::Inet(udp.addr));
    let worker = child::fork(move |link| {
        link.wait();
        let mut measured = receive_with_each(connect(&addr), ask);
        let fd = sys::socket(libc::AF_INET6, libc::SOCK_DGRAM).expect("socket");
        sys::connect(fd, &datagrams).expect("connect");
        measured.extend(receive_with_each(fd, ask));
        report_and_stay(link, &measured);
    })?;
    expect_receives(worker, &[up.text(), udp.text()])
}

pub fn every_receiving_call_finds_a_datagram_peer() -> anyhow::Result<()> {
    let delay = Duration::from_millis(DELAY_MS);
    let connected = UdpResponder::start("127.0.0.1:0", delay)?;
    let unconnected = UdpResponder::start("127.0.0.1:0", delay)?;
    let (a, b) = (Addr::Inet(connected.addr), Addr::Inet(unconnected.addr));
    let worker = child::fork(move |link| {
        link.wait();
        let fd = sys::socket(libc::AF_INET, libc::SOCK_DGRAM).expect("socket");
        sys::connect(fd, &a).expect("connect");
        let mut measured = receive_with_each(fd, ask);
        let fd = sys::socket(libc::AF_INET, libc::SOCK_DGRAM).expect("socket");
        measured.extend(receive_with_each(fd, |fd| {
            assert_eq!(sys::sendto(fd, b"?", Some(&b)), Ok(1));
        }));
        report_and_stay(link, &measured);
    })?;
    expect_receives(worker, &[connected.text(), unconnected.text()])
}

/// Whoever answers from a port of its own has clients, however many ports they ask from.
pub fn the_clients_of_a_datagram_server_are_one_peer() -> anyhow::Result<()> {
    const CLIENTS: usize = 40;
    let _netns = Netns::enter()?;
    let served = Addr::Inet(([127, 0, 0, 1], 1053).into());
    let mut worker = child::fork(move |link| {
        link.wait();
        let fd = sys::socket(libc::AF_INET, libc::SOCK_DGRAM).expect("socket");
        sys::bind(fd, &served).expect("bind");
        let answer = |to: &Addr| assert_eq!(sys::sendto(fd, b"!", Some(to)), Ok(1));
        for _ in 0..CLIENTS {
            let client = sys::socket(libc::AF_INET, libc::SOCK_DGRAM).expect("socket");
            sys::connect(client, &served).expect("connect");
            assert_eq!(sys::write(client, b"?"), Ok(1));
            assert_eq!(sys::recvfrom(fd, &mut [0; 16], 0), Ok(1));
            answer(&Addr::Inet(
                ([127, 0, 0, 1], sys::local_port(client)).into(),
            ));
            assert_eq!(sys::read(client, &mut [0; 16]), Ok(1));
        }
        // A question of its own, to a port below: that is somebody else's service.
        answer(&Addr::Inet(([127, 0, 0, 1], 53).into()));
        report_and_stay(link, &[]);
    })?;
    let mut watch = Watch::of(&[&worker])?;
    watch.step(&mut worker)?;
    let seen = watch.read()?;
    let count = |op, peer| seen.call(worker.pid, op, peer).count as usize;
    let clients = (
        count("sendto", "in udp :1053"),
        count("write", "udp 127.0.0.1:1053"),
        count("sendto", "udp 127.0.0.1:53"),
    );
    ensure!(
        clients == (CLIENTS, CLIENTS, 1),
        "{clients:?}{}",
        seen.dump(worker.pid)
    );
    Ok(())
}

pub fn a_socketpair_has_an_unnamed_peer() -> anyhow::Result<()> {
    let worker = child::fork(move |link| {
        link.wait();
        let (near, far) = sys::socketpair().expect("socketpair");
        let measured = std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in RECEIVES {
                    // The question comes back as the answer, later. sendmsg and recvmsg here, so that
                    // this thread's calls are other rows.
                    let mut set = [sys::pollfd(far, libc::POLLIN)];
                    sys::poll(&mut set, 10_000).expect("poll");
                    let mut byte = [0; 1];
                    // MSG_DONTWAIT does not block, so it adds no time to the row of recvfrom.
                    sys::recvfrom(far, &mut byte, libc::MSG_DONTWAIT).expect("recvfrom");
                    std::thread::sleep(Duration::from_millis(DELAY_MS));
                    sys::sendto(far, &byte, None).expect("sendto");
                }
            });
            receive_with_each(near, ask)
        });
        report_and_stay(link, &measured);
    })?;
    let mut worker = worker;
    let mut watch = Watch::of(&[&worker])?;
    let measured = watch.step(&mut worker)?;
    let seen = watch.read()?;
    for ((op, _), measured) in RECEIVES.iter().zip(measured) {
        let call = seen.call(worker.pid, op, "unix ");
        let helpers = if *op == "recvfrom" {
            RECEIVES.len() as u64
        } else {
            0
        };
        ensure!(
            call.count == 1 + helpers,
            "{op} from the other end of a socketpair: {call:?}{}",
            seen.dump(worker.pid)
        );
        assert_between(op, call.total_ns, measured, measured);
    }
    Ok(())
}

pub fn every_sending_call_is_charged_when_the_socket_is_full() -> anyhow::Result<()> {
    type Send = (&'static str, fn(i32, &mut [u8]) -> sys::Result);
    const SENDS: [Send; 4] = [
        ("sendto", |fd, buf| sys::sendto(fd, buf, None)),
        ("sendmsg", |fd, buf| sys::sendmsg(fd, buf)),
        ("write", |fd, buf| sys::write(fd, buf)),
        ("writev", |fd, buf| sys::writev(fd, buf)),
    ];
    const BYTES: usize = 6 << 20;
    const LAZY: Duration = Duration::from_millis(40);

    // A peer for each call, which does not read for a while.
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let addr = listener.local_addr()?;
    let reader = std::thread::spawn(move || -> std::io::Result<()> {
        for _ in SENDS {
            let (mut stream, _) = listener.accept()?;
            std::thread::sleep(LAZY);
            let mut buf = vec![0; 1 << 20];
            while stream.read(&mut buf)? > 0 {}
        }
        Ok(())
    });
    let mut worker = child::fork(move |link| {
        link.wait();
        // For the truth about waiting for a CPU.
        sys::stay_on(sys::this_cpu());
        let measured: Vec<u64> = SENDS
            .iter()
            .flat_map(|(name, send)| {
                let fd = connect(&SocketAddr::into(addr));
                sys::set_socket_option(fd, libc::SO_SNDBUF, 64 << 10).expect("SO_SNDBUF");
                let mut data = vec![7; BYTES];
                let (cpu, queue) = (sys::thread_cpu_ns(), sys::run_queue_ns());
                let ns = timed(|| assert_eq!(send(fd, &mut data), Ok(BYTES as i64), "{name}"));
                let ready = match (queue, sys::run_queue_ns()) {
                    (Some(before), Some(after)) => after - before + sys::thread_cpu_ns() - cpu,
                    // Not known.
                    _ => ns,
                };
                sys::close(fd).expect("close");
                [ns, ns.saturating_sub(ready)]
            })
            .collect();
        report_and_stay(link, &measured);
    })?;
    let mut watch = Watch::of(&[&worker])?;
    let measured = watch.step(&mut worker)?;
    reader
        .join()
        .map_err(|_| anyhow::anyhow!("the reader panicked"))??;
    let seen = watch.read()?;
    for ((op, _), measured) in SENDS.iter().zip(measured.chunks(2)) {
        let (measured, waited) = (measured[0], measured[1]);
        let call = seen.call(worker.pid, op, &format!("tcp {addr}"));
        ensure!(call.count == 1, "{op}: {call:?}{}", seen.dump(worker.pid));
        assert_between(op, call.total_ns, measured, measured);
        // How much of the pause fell into the call is not known: the peer may have begun it earlier.
        ensure!(
            call.blocked_ns > 0 && call.blocked_ns <= call.total_ns,
            "{op}: blocked {} ns of {} ns, the peer read nothing for {LAZY:?}",
            call.blocked_ns,
            call.total_ns
        );
        // Nor in an emulated machine, where a CPU stands still between a wake-up and what it wakes.
        if !harness::emulated() {
            let blocked = format!("{op} blocked");
            assert_between(&blocked, call.blocked_ns, waited, measured);
        }
    }
    Ok(())
}
