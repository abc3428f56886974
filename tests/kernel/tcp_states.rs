//! Transitions are counted exactly, timed, and belong to the process that owns the socket.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use anyhow::ensure;
use probe_common::{loss, tcp::state};
use probe_tests::{child, feature, netns::Netns, sys};

use crate::{
    steps::{connect, report_and_stay},
    tcp_pair::{
        PORT, ROUNDS, V4, V6, WHILE, addr, client, closes_first, closes_second, listen, run,
        server, texts,
    },
    tcp_seen::{TcpWatch, assert_time},
};

fn the_client_closes_first(ip: IpAddr) -> anyhow::Result<()> {
    let netns = Netns::enter()?;
    let mut server = server(ip, closes_second)?;
    let mut client = client(ip, closes_first)?;
    let mut watch = TcpWatch::start(netns, &[(&server, "server"), (&client, "client")])?;
    let (half_closed, kept) = run(&mut watch, &mut server, &mut client)?;
    let (to, listener) = texts(ip);
    let inbound = format!("in tcp :{PORT}");
    watch.expect(&[
        (&format!("server {listener} closed>listen"), 1),
        (&format!("client {to} closed>syn_sent"), ROUNDS),
        (&format!("- {listener} listen>syn_received"), ROUNDS),
        (&format!("client {to} syn_sent>established"), ROUNDS),
        (&format!("- {inbound} syn_received>established"), ROUNDS),
        (&format!("server {listener} established>accepted"), ROUNDS),
        (&format!("client {to} established>fin_wait_1"), ROUNDS),
        (&format!("server {inbound} established>close_wait"), ROUNDS),
        (&format!("client {to} fin_wait_1>fin_wait_2"), ROUNDS),
        (&format!("client {to} fin_wait_2>closed"), ROUNDS),
        (&format!("server {inbound} close_wait>last_ack"), ROUNDS),
        (&format!("server {inbound} last_ack>closed"), ROUNDS),
    ])?;
    assert_time(
        &watch,
        &format!("client {to} established>fin_wait_1"),
        ROUNDS,
        kept,
    );
    let close_wait = format!("server {inbound} close_wait>last_ack");
    assert_time(&watch, &close_wait, ROUNDS, half_closed);
    // The connection goes on as a timewait object: what looks like the end of FIN_WAIT_2 is none.
    let swapped = watch.sum(&format!("client {to} fin_wait_2>closed"));
    ensure!(
        swapped.timed == 0 && swapped.sum.hist.is_empty(),
        "{swapped:?}"
    );
    Ok(())
}

pub fn a_client_that_closes_first() -> anyhow::Result<()> {
    the_client_closes_first(V4)
}

pub fn a_client_that_closes_first_over_ipv6() -> anyhow::Result<()> {
    feature::require(&feature::IPV6)?;
    the_client_closes_first(V6)
}

pub fn a_server_that_closes_first() -> anyhow::Result<()> {
    let netns = Netns::enter()?;
    let mut server = server(V4, closes_first)?;
    let mut client = client(V4, closes_second)?;
    let mut watch = TcpWatch::start(netns, &[(&server, "server"), (&client, "client")])?;
    let (_, half_closed) = run(&mut watch, &mut server, &mut client)?;
    let (to, listener) = texts(V4);
    let inbound = format!("in tcp :{PORT}");
    watch.expect(&[
        (&format!("server {listener} closed>listen"), 1),
        (&format!("client {to} closed>syn_sent"), ROUNDS),
        (&format!("- {listener} listen>syn_received"), ROUNDS),
        (&format!("client {to} syn_sent>established"), ROUNDS),
        (&format!("- {inbound} syn_received>established"), ROUNDS),
        (&format!("server {listener} established>accepted"), ROUNDS),
        (&format!("server {inbound} established>fin_wait_1"), ROUNDS),
        (&format!("client {to} established>close_wait"), ROUNDS),
        (&format!("server {inbound} fin_wait_1>fin_wait_2"), ROUNDS),
        (&format!("server {inbound} fin_wait_2>closed"), ROUNDS),
        (&format!("client {to} close_wait>last_ack"), ROUNDS),
        (&format!("client {to} last_ack>closed"), ROUNDS),
    ])?;
    let close_wait = format!("client {to} close_wait>last_ack");
    assert_time(&watch, &close_wait, ROUNDS, half_closed);
    Ok(())
}

pub fn closing_what_was_shut_down_is_no_transition() -> anyhow::Result<()> {
    fn shuts_down_first(fd: i32) -> [u64; 2] {
        std::thread::sleep(WHILE);
        sys::shutdown_write(fd).expect("shutdown");
        // In FIN_WAIT_2: the tracepoint shows it once more.
        std::thread::sleep(WHILE / 4);
        sys::close(fd).expect("close");
        std::thread::sleep(4 * WHILE);
        [0; 2]
    }
    let netns = Netns::enter()?;
    let mut server = server(V4, closes_second)?;
    let mut client = client(V4, shuts_down_first)?;
    let mut watch = TcpWatch::start(netns, &[(&server, "server"), (&client, "client")])?;
    run(&mut watch, &mut server, &mut client)?;
    let (to, listener) = texts(V4);
    let inbound = format!("in tcp :{PORT}");
    watch.expect(&[
        (&format!("server {listener} closed>listen"), 1),
        (&format!("client {to} closed>syn_sent"), ROUNDS),
        (&format!("- {listener} listen>syn_received"), ROUNDS),
        (&format!("client {to} syn_sent>established"), ROUNDS),
        (&format!("- {inbound} syn_received>established"), ROUNDS),
        (&format!("server {listener} established>accepted"), ROUNDS),
        (&format!("client {to} established>fin_wait_1"), ROUNDS),
        (&format!("server {inbound} established>close_wait"), ROUNDS),
        (&format!("client {to} fin_wait_1>fin_wait_2"), ROUNDS),
        (&format!("client {to} fin_wait_2>closed"), ROUNDS),
        (&format!("server {inbound} close_wait>last_ack"), ROUNDS),
        (&format!("server {inbound} last_ack>closed"), ROUNDS),
    ])
}

pub fn a_reset_ends_both_sides() -> anyhow::Result<()> {
    // Closing with bytes unread resets the connection.
    fn resets(fd: i32) -> [u64; 2] {
        let mut set = [sys::pollfd(fd, libc::POLLIN)];
        assert_eq!(sys::poll(&mut set, 20_000), Ok(1));
        sys::close(fd).expect("close");
        [0; 2]
    }
    fn is_reset(fd: i32) -> [u64; 2] {
        assert_eq!(sys::write(fd, b"?"), Ok(1));
        assert_eq!(sys::read(fd, &mut [0; 16]), Err(libc::ECONNRESET));
        sys::close(fd).expect("close");
        [0; 2]
    }
    let netns = Netns::enter()?;
    let mut server = server(V4, resets)?;
    let mut client = client(V4, is_reset)?;
    let mut watch = TcpWatch::start(netns, &[(&server, "server"), (&client, "client")])?;
    run(&mut watch, &mut server, &mut client)?;
    let (to, listener) = texts(V4);
    let inbound = format!("in tcp :{PORT}");
    watch.expect(&[
        (&format!("server {listener} closed>listen"), 1),
        (&format!("client {to} closed>syn_sent"), ROUNDS),
        (&format!("- {listener} listen>syn_received"), ROUNDS),
        (&format!("client {to} syn_sent>established"), ROUNDS),
        (&format!("- {inbound} syn_received>established"), ROUNDS),
        (&format!("server {listener} established>accepted"), ROUNDS),
        (&format!("server {inbound} established>closed"), ROUNDS),
        (&format!("client {to} established>closed"), ROUNDS),
    ])
}

pub fn a_wildcard_listener_is_named_as_it_listens() -> anyhow::Result<()> {
    feature::require(&feature::IPV6)?;
    // It takes IPv4 as well.
    let any = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    let netns = Netns::enter()?;
    let mut server = server(any, closes_second)?;
    let mut client = client(V4, closes_first)?;
    let mut watch = TcpWatch::start(netns, &[(&server, "server"), (&client, "client")])?;
    run(&mut watch, &mut server, &mut client)?;
    let listener = format!("listen tcp [::]:{PORT}");
    watch.read_until(|watch| {
        watch
            .sum(&format!("server in tcp :{PORT} last_ack>closed"))
            .sum
            .count
            == ROUNDS
    })?;
    let table = watch.table();
    for line in ["closed>listen", "established>accepted"] {
        ensure!(
            table.contains_key(&format!("server {listener} {line}")),
            "{table:?}"
        );
    }
    let arrived = format!("- {listener} listen>syn_received");
    ensure!(table.get(&arrived) == Some(&ROUNDS), "{table:?}");
    // The client of such a connection is an IPv4 address.
    let key =
        watch.tcp.transitions.iter().find(|(key, _)| {
            key.old == state::CLOSE_WAIT && watch.peer(key.peer).starts_with("in ")
        });
    ensure!(key.is_some(), "{table:?}");
    let opened = format!("client tcp 127.0.0.1:{PORT} syn_sent>established");
    ensure!(table.get(&opened) == Some(&ROUNDS), "{table:?}");
    Ok(())
}

pub fn a_wildcard_listener_from_before_is_known() -> anyhow::Result<()> {
    let netns = Netns::enter()?;
    let mut server = server(IpAddr::V4(Ipv4Addr::UNSPECIFIED), closes_second)?;
    let mut client = client(V4, closes_first)?;
    server.go()?;
    server.recv()?;
    let mut watch = TcpWatch::start(netns, &[(&server, "server"), (&client, "client")])?;
    watch.step(&mut client)?;
    watch.recv(&mut server)?;
    watch.read()?;
    let line = format!("server listen tcp 0.0.0.0:{PORT} established>accepted");
    ensure!(
        watch.table().get(&line) == Some(&ROUNDS),
        "{:?}",
        watch.table()
    );
    Ok(())
}

pub fn waiting_for_accept_is_timed() -> anyhow::Result<()> {
    let netns = Netns::enter()?;
    let mut server = child::fork(|link| {
        link.wait();
        let listener = listen(&addr(V4), 8);
        link.send(&[]);
        // The connection is established; nobody takes it.
        link.wait();
        std::thread::sleep(Duration::from_millis(150));
        let fd = sys::accept(listener).expect("accept");
        link.send(&[sys::now_ns()]);
        closes_second(fd);
        report_and_stay(link, &[]);
    })?;
    let mut client = child::fork(|link| {
        link.wait();
        let fd = connect(&addr(V4));
        link.send(&[sys::now_ns()]);
        link.wait();
        sys::close(fd).expect("close");
        report_and_stay(link, &[sys::now_ns()]);
    })?;
    let mut watch = TcpWatch::start(netns, &[(&server, "server"), (&client, "client")])?;
    watch.step(&mut server)?;
    let established = watch.step(&mut client)?[0];
    let accepted = watch.step(&mut server)?[0];
    let closed = watch.step(&mut client)?[0];
    watch.recv(&mut server)?;
    watch.read()?;
    let (_, listener) = texts(V4);
    let line = format!("server {listener} established>accepted");
    assert_time(&watch, &line, 1, [accepted - established; 2]);
    // The time in ESTABLISHED goes on through accept().
    let line = format!("server in tcp :{PORT} established>close_wait");
    assert_time(&watch, &line, 1, [closed - established; 2]);
    Ok(())
}

pub fn what_is_reset_before_accept_came_in_on_its_listener() -> anyhow::Result<()> {
    const WAITS: Duration = Duration::from_millis(150);
    let netns = Netns::enter()?;
    let mut server = child::fork(|link| {
        link.wait();
        let listener = listen(&addr(V4), 8);
        link.send(&[]);
        // A connection comes and is reset; nobody has taken it.
        link.wait();
        let fd = sys::accept(listener).expect("accept");
        link.send(&[sys::now_ns()]);
        sys::close(fd).expect("close");
        report_and_stay(link, &[]);
    })?;
    let mut client = child::fork(|link| {
        link.wait();
        let fd = connect(&addr(V4));
        let established = sys::now_ns();
        std::thread::sleep(WAITS);
        sys::reset(fd).expect("reset");
        report_and_stay(link, &[established]);
    })?;
    let mut watch = TcpWatch::start(netns, &[(&server, "server"), (&client, "client")])?;
    watch.step(&mut server)?;
    let established = watch.step(&mut client)?[0];
    let accepted = watch.step(&mut server)?[0];
    watch.recv(&mut server)?;
    watch.read()?;
    let (_, listener) = texts(V4);
    let line = format!("server {listener} established>accepted");
    assert_time(&watch, &line, 1, [accepted - established; 2]);
    let table = watch.table();
    let unknown = table.keys().any(|line| line.contains("unknown"));
    ensure!(!unknown, "{table:?}");
    let unseen = watch.losses[loss::slot::TRANSITION_UNSEEN as usize];
    ensure!(unseen == 0, "{unseen} transitions were not seen");
    Ok(())
}

pub fn whoever_is_interrupted_is_not_charged() -> anyhow::Result<()> {
    let netns = Netns::enter()?;
    // SYNs that find the queue full are dropped, and sent again once.
    probe_tests::netns::set("net/ipv4/tcp_syn_retries", "1")?;
    let mut other = child::fork(|link| {
        let listener = listen(&addr(V4), 0);
        let _filler = connect(&addr(V4));
        let _ = listener;
        report_and_stay(link, &[]);
    })?;
    other.recv()?;
    let mut client = child::fork(|link| {
        sys::stay_on(0);
        link.wait();
        let fd =
            sys::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_NONBLOCK).expect("socket");
        let begin = sys::now_ns();
        assert_eq!(sys::connect(fd, &addr(V4)), Err(libc::EINPROGRESS));
        // It does not run when the timer fires: the other one does.
        let mut set = [sys::pollfd(fd, libc::POLLOUT)];
        assert_eq!(sys::poll(&mut set, 30_000), Ok(1));
        let end = sys::now_ns();
        assert_eq!(sys::so_error(fd), libc::ETIMEDOUT);
        report_and_stay(link, &[end - begin]);
    })?;
    let burner = child::fork(|_| {
        sys::stay_on(0);
        sys::burn(Duration::from_secs(60));
    })?;
    let owners = [(&burner, "burner"), (&client, "client"), (&other, "other")];
    let mut watch = TcpWatch::start(netns, &owners)?;
    let waited = watch.step(&mut client)?[0];
    let (to, _) = texts(V4);
    watch.expect(&[
        (&format!("client {to} closed>syn_sent"), 1),
        (&format!("client {to} syn_sent>closed"), 1),
    ])?;
    let line = format!("client {to} syn_sent>closed");
    let sum = watch.sum(&line);
    // A busy CPU lets the client see it late, never early.
    ensure!(
        sum.timed == 1 && sum.sum.total_ns > 1_000_000_000,
        "{sum:?}"
    );
    ensure!(
        sum.sum.total_ns <= waited,
        "{sum:?}, but the client waited {waited} ns"
    );
    let failed = [format!("client {} {to}", libc::ETIMEDOUT)];
    ensure!(watch.connects() == failed, "{:?}", watch.connects());
    Ok(())
}
