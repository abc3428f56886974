//! Failed connects are reported exactly once each, with the address asked for; listeners when they begin and end.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::ensure;
use probe_tests::{
    child,
    netns::{self, Netns},
    sys::{self, Addr},
};

use crate::{steps::report_and_stay, tcp_seen::TcpWatch};

const PORT: u16 = 7100;

fn tcp(port: u16) -> Addr {
    let addr: SocketAddr = ([127, 0, 0, 1], port).into();
    addr.into()
}

fn non_blocking(family: i32) -> i32 {
    sys::socket(family, libc::SOCK_STREAM | libc::SOCK_NONBLOCK).expect("socket")
}

fn listen(addr: &Addr, backlog: i32) -> i32 {
    let fd = sys::socket(addr.family(), libc::SOCK_STREAM).expect("socket");
    sys::set_socket_option(fd, libc::SO_REUSEADDR, 1).expect("SO_REUSEADDR");
    // Whoever walks over all descriptors holds each for a moment, the watcher too: a listener that was just
    // closed may then still be there.
    let mut tries = 0..100;
    while let Err(errno) = sys::bind(fd, addr) {
        let again = errno == libc::EADDRINUSE && tries.next().is_some();
        assert!(again, "bind: {errno}");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    sys::listen(fd, backlog).expect("listen");
    fd
}

/// A path for a Unix socket, free again.
fn path(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("stallscope-{}-{name}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    path
}

/// Runs a workload in a namespace of its own, and checks what was reported.
fn reported(
    work: impl FnOnce() + 'static,
    expected: impl FnOnce(&TcpWatch) -> Vec<String>,
) -> anyhow::Result<TcpWatch> {
    let netns = Netns::enter()?;
    let mut client = child::fork(move |link| {
        link.wait();
        work();
        report_and_stay(link, &[]);
    })?;
    let mut watch = TcpWatch::start(netns, &[(&client, "client")])?;
    watch.step(&mut client)?;
    watch.read()?;
    let expected = expected(&watch);
    ensure!(
        watch.connects() == expected,
        "{:#?}, not {expected:#?}; losses {:?}",
        watch.connects(),
        watch.losses
    );
    Ok(watch)
}

pub fn a_refused_connect_is_reported_once_however_it_is_learnt() -> anyhow::Result<()> {
    fn wait(fd: i32) {
        let mut set = [sys::pollfd(fd, libc::POLLOUT)];
        assert_eq!(sys::poll(&mut set, 20_000), Ok(1));
    }
    let refused = libc::ECONNREFUSED;
    let work = move || {
        // Told by connect() itself.
        assert_eq!(sys::connected(&tcp(PORT)), Err(refused));
        // Told by SO_ERROR.
        let fd = non_blocking(libc::AF_INET);
        assert_eq!(sys::connect(fd, &tcp(PORT + 1)), Err(libc::EINPROGRESS));
        wait(fd);
        assert_eq!(sys::so_error(fd), refused);
        // And asked again, with nothing left to tell.
        assert_eq!(sys::connect(fd, &tcp(PORT + 1)), Err(libc::ECONNABORTED));
        // Told by a second connect().
        let fd = non_blocking(libc::AF_INET);
        assert_eq!(sys::connect(fd, &tcp(PORT + 2)), Err(libc::EINPROGRESS));
        wait(fd);
        assert_eq!(sys::connect(fd, &tcp(PORT + 2)), Err(refused));
        // Which has put the socket back to its beginnings: this is another attempt.
        assert_eq!(sys::connect(fd, &tcp(PORT + 3)), Err(libc::EINPROGRESS));
        wait(fd);
        sys::close(fd).expect("close");
    };
    reported(work, |_| {
        let line = |port| format!("client {refused} {}", tcp(port).text("tcp"));
        (PORT..PORT + 4).map(line).collect()
    })?;
    Ok(())
}

pub fn running_out_of_ports_is_counted_exactly() -> anyhow::Result<()> {
    const FAILURES: usize = 25;
    let work = || {
        let _listener = listen(&tcp(PORT), 256);
        netns::set_ports(40_000, 40_019).expect("ip_local_port_range");
        // Each port can be used once towards one address.
        let held: Vec<i32> = (0..20)
            .map(|_| sys::connected(&tcp(PORT)).expect("connect"))
            .collect();
        for i in 0..FAILURES {
            let fd = sys::socket(libc::AF_INET, libc::SOCK_STREAM).expect("socket");
            sys::set_nonblocking(fd, i % 2 == 0).expect("O_NONBLOCK");
            assert_eq!(sys::connect(fd, &tcp(PORT)), Err(libc::EADDRNOTAVAIL));
            sys::close(fd).expect("close");
        }
        assert_eq!(held.len(), 20);
    };
    let watch = reported(work, |_| {
        vec![format!("client {} {}", libc::EADDRNOTAVAIL, tcp(PORT).text("tcp")); FAILURES]
    })?;
    // The last success is known: it was right before.
    let first = &watch.tcp.connects[0];
    ensure!(
        first.last_ok_ns > 0 && first.last_ok_ns <= first.at_ns,
        "{first:?}"
    );
    Ok(())
}

pub fn unix_failures_are_reported_by_path() -> anyhow::Result<()> {
    let (missing, stale, full) = (path("missing"), path("stale"), path("full"));
    let paths = [missing.clone(), stale.clone(), full.clone()];
    let work = move || {
        assert_eq!(sys::connected(&Addr::Unix(missing)), Err(libc::ENOENT));
        // A listener has gone and left its file behind.
        let fd = listen(&Addr::Unix(stale.clone()), 8);
        sys::close(fd).expect("close");
        assert_eq!(sys::connected(&Addr::Unix(stale)), Err(libc::ECONNREFUSED));
        // A queue of one is full with two.
        let _listener = listen(&Addr::Unix(full.clone()), 1);
        let full = Addr::Unix(full);
        let outcomes: Vec<_> = (0..5)
            .map(|_| sys::connect(non_blocking(libc::AF_UNIX), &full))
            .collect();
        let again = Err(libc::EAGAIN);
        assert_eq!(outcomes, [Ok(()), Ok(()), again, again, again]);
        let nobody = Addr::Abstract("stallscope-nobody".to_owned());
        assert_eq!(sys::connected(&nobody), Err(libc::ECONNREFUSED));
    };
    let names: Vec<String> = paths.iter().map(|p| p.display().to_string()).collect();
    let result = reported(work, |_| {
        let full = format!("client {} unix {}", libc::EAGAIN, names[2]);
        vec![
            format!("client {} unix {}", libc::ENOENT, names[0]),
            format!("client {} unix {}", libc::ECONNREFUSED, names[1]),
            full.clone(),
            full.clone(),
            full,
            format!("client {} unix @stallscope-nobody", libc::ECONNREFUSED),
        ]
    });
    paths
        .iter()
        .for_each(|path| drop(std::fs::remove_file(path)));
    result.map(drop)
}

pub fn the_first_success_after_failures_is_reported() -> anyhow::Result<()> {
    let unix = path("back");
    let name = unix.display().to_string();
    let file = unix.clone();
    let work = move || {
        for addr in [tcp(PORT), Addr::Unix(unix)] {
            for _ in 0..2 {
                assert!(sys::connected(&addr).is_err());
            }
            let listener = listen(&addr, 8);
            for _ in 0..3 {
                sys::connected(&addr).expect("connect");
            }
            sys::close(listener).expect("close");
        }
    };
    let result = reported(work, |_| {
        let (to, refused) = (tcp(PORT).text("tcp"), libc::ECONNREFUSED);
        vec![
            format!("client {refused} {to}"),
            format!("client {refused} {to}"),
            format!("client 0 {to}"),
            format!("client {} unix {name}", libc::ENOENT),
            format!("client {} unix {name}", libc::ENOENT),
            format!("client 0 unix {name}"),
        ]
    });
    let _ = std::fs::remove_file(file);
    result.map(drop)
}

pub fn the_protocol_is_the_sockets() -> anyhow::Result<()> {
    // The namespace has no route to anywhere but itself.
    let far: SocketAddr = ([192, 0, 2, 1], 53).into();
    let far = Addr::from(far);
    let to = far.clone();
    let work = move || {
        for kind in [libc::SOCK_DGRAM, libc::SOCK_STREAM] {
            let fd = sys::socket(libc::AF_INET, kind).expect("socket");
            assert_eq!(sys::connect(fd, &to), Err(libc::ENETUNREACH));
        }
        // Neither a socket nor anywhere at all.
        assert_eq!(sys::connect(0, &to), Err(libc::ENOTSOCK));
        assert_eq!(sys::connect(-1, &to), Err(libc::EBADF));
    };
    reported(work, |_| {
        let line = |transport| format!("client {} {}", libc::ENETUNREACH, far.text(transport));
        vec![line("udp"), line("tcp")]
    })?;
    Ok(())
}

pub fn a_connect_given_up_is_no_failure() -> anyhow::Result<()> {
    let work = || {
        // Its queue is full: SYNs are dropped.
        let _listener = listen(&tcp(PORT), 0);
        sys::connected(&tcp(PORT)).expect("connect");
        let fd = non_blocking(libc::AF_INET);
        assert_eq!(sys::connect(fd, &tcp(PORT)), Err(libc::EINPROGRESS));
        assert_eq!(sys::connect(fd, &tcp(PORT)), Err(libc::EALREADY));
        sys::close(fd).expect("close");
    };
    reported(work, |_| Vec::new())?;
    Ok(())
}

pub fn listeners_that_begin_and_end_are_reported() -> anyhow::Result<()> {
    let unix = path("listener");
    let name = unix.display().to_string();
    let file = unix.clone();
    let work = move || {
        let first = listen(&tcp(PORT), 8);
        // The kernel takes the new backlog.
        sys::listen(first, 16).expect("listen");
        sys::close(first).expect("close");
        let second = listen(&tcp(PORT), 32);
        let _unix = listen(&Addr::Unix(unix), 4);
        let any: SocketAddr = ([127, 0, 0, 1], 0).into();
        let chosen = listen(&any.into(), 1);
        sys::close(chosen).expect("close");
        // Not bound at all: the kernel finds a port.
        let unbound = sys::socket(libc::AF_INET, libc::SOCK_STREAM).expect("socket");
        sys::listen(unbound, 2).expect("listen");
        sys::close(unbound).expect("close");
        // Neither can listen.
        let datagrams = sys::socket(libc::AF_INET, libc::SOCK_DGRAM).expect("socket");
        assert_eq!(sys::listen(datagrams, 1), Err(libc::EOPNOTSUPP));
        let _second = second;
    };
    let watch = reported(work, |_| Vec::new())?;
    let got = watch.listening();
    let to = format!("listen {}", tcp(PORT).text("tcp"));
    let port_of = |line: &str| {
        line.rsplit(':')
            .next()
            .and_then(|end| end.split(' ').next().map(str::to_owned))
    };
    let (chosen, unbound) = (
        got.get(5).and_then(|l| port_of(l)),
        got.get(7).and_then(|l| port_of(l)),
    );
    let (chosen, unbound) = (chosen.unwrap_or_default(), unbound.unwrap_or_default());
    let want = [
        format!("client begins {to} 8"),
        format!("client begins {to} 16"),
        format!("client ends {to} 0"),
        format!("client begins {to} 32"),
        format!("client begins listen unix {name} 4"),
        format!("client begins listen tcp 127.0.0.1:{chosen} 1"),
        format!("client ends listen tcp 127.0.0.1:{chosen} 0"),
        format!("client begins listen tcp 0.0.0.0:{unbound} 2"),
        format!("client ends listen tcp 0.0.0.0:{unbound} 0"),
    ];
    let _ = std::fs::remove_file(file);
    ensure!(
        got == want && chosen != "0" && unbound != "0",
        "{got:#?}, not {want:#?}"
    );
    let times: Vec<u64> = watch.tcp.listening.iter().map(|l| l.at_ns).collect();
    ensure!(times.is_sorted(), "{times:?}");
    Ok(())
}
