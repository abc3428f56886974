//! Transitions are counted exactly, timed, and belong to the process that owns the socket.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use anyhow::ensure;
use probe_common::{loss, tcp::state};
use probe_tests::{
    child::{self, Child},
    feature,
    netns::Netns,
    sys::{self, Addr},
};
use stallscope::attach::TcpOptions;

use crate::{
    steps::{connect, report_and_stay, timed},
    tcp_seen::{TcpWatch, assert_time},
};

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
const PORT: u16 = 7000;
/// Connections of a case, one after the other.
const ROUNDS: u64 = 4;
/// What a workload lets pass in a state that is to be seen.
const WHILE: Duration = Duration::from_millis(20);

fn addr(ip: IpAddr) -> Addr {
    SocketAddr::new(ip, PORT).into()
}

/// Listens once it is told to, then runs `serve` on each accepted connection, which it may close and returns a time.
/// Answers the sum of times. Each connection is accepted when told to.
fn server(ip: IpAddr, serve: fn(i32) -> u64) -> anyhow::Result<Child> {
    child::fork(move |link| {
        link.wait();
        let listener = listen(&addr(ip), 64);
        link.send(&[]);
        let mut sum = 0;
        for _ in 0..ROUNDS {
            let fd = sys::accept(listener).expect("accept");
            sum += serve(fd);
        }
        report_and_stay(link, &[sum]);
    })
}

fn listen(addr: &Addr, backlog: i32) -> i32 {
    let fd = sys::socket(addr.family(), libc::SOCK_STREAM).expect("socket");
    sys::set_socket_option(fd, libc::SO_REUSEADDR, 1).expect("SO_REUSEADDR");
    sys::bind(fd, addr).expect("bind");
    sys::listen(fd, backlog).expect("listen");
    fd
}

/// Connects when told to, time after time, and runs `talk` on each connection. Answers the sum of times, and the
/// same with the time in connect().
fn client(ip: IpAddr, talk: fn(i32) -> u64) -> anyhow::Result<Child> {
    child::fork(move |link| {
        link.wait();
        let mut sums = [0; 2];
        for _ in 0..ROUNDS {
            let begin = sys::now_ns();
            let fd = connect(&addr(ip));
            let opened = sys::now_ns() - begin;
            let time = talk(fd);
            sums[0] += time;
            sums[1] += time + opened;
        }
        report_and_stay(link, &sums);
    })
}

/// Waits for the other side to close, stays half closed for a while, and closes. The time between.
fn closes_second(fd: i32) -> u64 {
    assert_eq!(sys::read(fd, &mut [0; 16]), Ok(0));
    let waited = timed(|| std::thread::sleep(WHILE));
    sys::close(fd).expect("close");
    waited
}

/// Keeps the connection for a while and closes. The time between.
fn closes_first(fd: i32) -> u64 {
    let kept = timed(|| std::thread::sleep(WHILE));
    sys::close(fd).expect("close");
    // The other side goes on by itself; the next connection must not come in between.
    std::thread::sleep(2 * WHILE);
    kept
}

/// Runs both and returns what they measured, the server first.
fn run(
    watch: &mut TcpWatch,
    server: &mut Child,
    client: &mut Child,
) -> anyhow::Result<(u64, [u64; 2])> {
    watch.step(server)?;
    let theirs = watch.step(client)?;
    Ok((watch.recv(server)?[0], [theirs[0], theirs[1]]))
}

/// The addresses in the tables: of the connection, of the listener.
fn texts(ip: IpAddr) -> (String, String) {
    let text = addr(ip).text("tcp");
    (text.clone(), format!("listen {text}"))
}

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
    assert_time(&watch, &close_wait, ROUNDS, [half_closed; 2]);
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
    assert_time(&watch, &close_wait, ROUNDS, [half_closed[0]; 2]);
    Ok(())
}

pub fn closing_what_was_shut_down_is_no_transition() -> anyhow::Result<()> {
    fn shuts_down_first(fd: i32) -> u64 {
        std::thread::sleep(WHILE);
        sys::shutdown_write(fd).expect("shutdown");
        // In FIN_WAIT_2: the tracepoint shows it once more.
        std::thread::sleep(WHILE / 4);
        sys::close(fd).expect("close");
        std::thread::sleep(4 * WHILE);
        0
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
    fn resets(fd: i32) -> u64 {
        let mut set = [sys::pollfd(fd, libc::POLLIN)];
        assert_eq!(sys::poll(&mut set, 20_000), Ok(1));
        sys::close(fd).expect("close");
        0
    }
    fn is_reset(fd: i32) -> u64 {
        assert_eq!(sys::write(fd, b"?"), Ok(1));
        assert_eq!(sys::read(fd, &mut [0; 16]), Err(libc::ECONNRESET));
        sys::close(fd).expect("close");
        0
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

pub fn other_namespaces_stay_out() -> anyhow::Result<()> {
    let elsewhere = Netns::enter()?;
    let mut server = server(V4, closes_second)?;
    let mut client = client(V4, closes_first)?;
    drop(elsewhere);
    let netns = Netns::enter()?;
    let mut watch = TcpWatch::start(netns, &[(&server, "server"), (&client, "client")])?;
    run(&mut watch, &mut server, &mut client)?;
    watch.read()?;
    ensure!(watch.table().is_empty(), "{:?}", watch.table());
    ensure!(watch.listening().is_empty(), "{:?}", watch.listening());
    Ok(())
}

pub fn the_namespace_of_a_process_is_watched() -> anyhow::Result<()> {
    let elsewhere = Netns::enter()?;
    let mut server = server(V4, closes_second)?;
    let mut client = client(V4, closes_first)?;
    drop(elsewhere);
    let netns = Netns::enter()?;
    let options = TcpOptions {
        netns_of: Some(client.pid),
        ..TcpOptions::default()
    };
    let owners = [(&server, "server"), (&client, "client")];
    let mut watch = TcpWatch::with(netns, &owners, options)?;
    run(&mut watch, &mut server, &mut client)?;
    watch.read()?;
    let line = format!("client tcp 127.0.0.1:{PORT} established>fin_wait_1");
    ensure!(
        watch.table().get(&line) == Some(&ROUNDS),
        "{:?}",
        watch.table()
    );
    ensure!(watch.listening().len() == 1, "{:?}", watch.listening());
    Ok(())
}

pub fn each_transition_is_an_event() -> anyhow::Result<()> {
    let netns = Netns::enter()?;
    let mut server = server(V4, closes_second)?;
    let mut client = client(V4, closes_first)?;
    let options = TcpOptions {
        events: true,
        ..TcpOptions::default()
    };
    let owners = [(&server, "server"), (&client, "client")];
    let mut watch = TcpWatch::with(netns, &owners, options)?;
    run(&mut watch, &mut server, &mut client)?;
    let seen = |watch: &TcpWatch| {
        let ours = watch.tcp.events.iter().filter(|e| e.tgid == client.pid);
        ours.map(|e| (e.old, e.new)).collect::<Vec<_>>()
    };
    let life = [
        (state::CLOSE, state::SYN_SENT),
        (state::SYN_SENT, state::ESTABLISHED),
        (state::ESTABLISHED, state::FIN_WAIT1),
        (state::FIN_WAIT1, state::FIN_WAIT2),
        (state::FIN_WAIT2, state::CLOSE),
    ];
    watch.read_until(|watch| seen(watch).len() == life.len() * ROUNDS as usize)?;
    ensure!(
        seen(&watch) == life.repeat(ROUNDS as usize),
        "{:?}",
        seen(&watch)
    );
    let closed: Vec<_> = watch
        .tcp
        .events
        .iter()
        .filter(|e| e.old == state::FIN_WAIT1)
        .collect();
    for event in closed {
        let localhost = u64::from(u32::from_ne_bytes([127, 0, 0, 1]));
        ensure!(
            event.remote == [localhost, 0] && event.local == [localhost, 0],
            "{event:?}"
        );
        ensure!(
            event.remote_port == PORT && event.local_port > 1024,
            "{event:?}"
        );
        ensure!(
            event.dwell_ns < 1_000_000_000 && event.sock != 0,
            "{event:?}"
        );
    }
    // The port is there even when the kernel has given it back.
    let last = watch.tcp.events.iter().filter(|e| e.new == state::CLOSE);
    let ports: Vec<u16> = last.map(|e| e.local_port).collect();
    ensure!(ports.iter().all(|port| *port > 1024), "{ports:?}");
    Ok(())
}

pub fn very_many_clients_are_one() -> anyhow::Result<()> {
    const CLIENTS: usize = 300;
    let netns = Netns::enter()?;
    let mut client = child::fork(|link| {
        link.wait();
        let listener = listen(&addr(V4), 8);
        for i in 0..CLIENTS {
            let from = Ipv4Addr::new(127, 2, (i / 250) as u8, (i % 250) as u8 + 1);
            let fd = sys::socket(libc::AF_INET, libc::SOCK_STREAM).expect("socket");
            sys::bind(fd, &SocketAddr::from((from, 0)).into()).expect("bind");
            sys::connect(fd, &addr(V4)).expect("connect");
            let accepted = sys::accept(listener).expect("accept");
            sys::close(fd).expect("close");
            sys::close(accepted).expect("close");
        }
        report_and_stay(link, &[]);
    })?;
    let mut watch = TcpWatch::start(netns, &[(&client, "client")])?;
    watch.step(&mut client)?;
    watch.read_until(|watch| {
        watch
            .table()
            .get(&format!("client in tcp :{PORT} last_ack>closed"))
            == Some(&(CLIENTS as u64))
    })?;
    let opened: Vec<u64> = watch
        .tcp
        .transitions
        .iter()
        .filter(|(key, _)| (key.old, key.new) == (state::SYN_RECV, state::ESTABLISHED))
        .map(|(_, sum)| sum.sum.count)
        .collect();
    ensure!(opened.iter().sum::<u64>() == CLIENTS as u64, "{opened:?}");
    // 256 by address, the rest in one row.
    ensure!(
        opened.len() == 257 && opened.contains(&(CLIENTS as u64 - 256)),
        "{opened:?}"
    );
    let out = watch.sum(&format!("client tcp 127.0.0.1:{PORT} syn_sent>established"));
    ensure!(out.sum.count == CLIENTS as u64, "{out:?}");
    let lost = watch.losses[loss::slot::TRANSITIONS_FULL as usize];
    ensure!(lost == 0, "{lost} lost");
    Ok(())
}

pub fn a_full_table_is_counted() -> anyhow::Result<()> {
    // Two rows each, in a table of 4,096.
    const PEERS: u64 = 2_200;
    let netns = Netns::enter()?;
    let mut client = child::fork(|link| {
        link.wait();
        for i in 0..PEERS {
            let ip = Ipv4Addr::new(127, 1, (i / 250) as u8, (i % 250) as u8 + 1);
            let to: SocketAddr = (ip, PORT).into();
            assert_eq!(sys::connected(&to.into()), Err(libc::ECONNREFUSED));
        }
        report_and_stay(link, &[]);
    })?;
    let mut watch = TcpWatch::start(netns, &[(&client, "client")])?;
    watch.step(&mut client)?;
    watch.read()?;
    let table = watch.table();
    let sum = |owner: &str, pair: &str| -> u64 {
        let of = table
            .iter()
            .filter(|(line, _)| line.starts_with(owner) && line.ends_with(pair));
        of.map(|(_, count)| count).sum()
    };
    let mut other = 0;
    for pair in ["closed>syn_sent", "syn_sent>closed"] {
        ensure!(
            sum("", pair) == PEERS,
            "{pair}: {} of {PEERS}",
            sum("", pair)
        );
        other += sum("- other", pair);
    }
    let lost = watch.losses[loss::slot::TRANSITIONS_FULL as usize];
    ensure!(
        lost == other && other > 0,
        "{lost} lost, {other} in the row for others"
    );
    ensure!(
        watch.losses[loss::slot::FAILING_FULL as usize] > 0,
        "{:?}",
        watch.losses
    );
    // Not one failure is missing.
    let refused = watch.connects_counted();
    ensure!(refused.len() as u64 == PEERS && refused.values().all(|n| *n == 1));
    Ok(())
}
