//! What is watched of TCP, and what is not: namespaces, single transitions, tables that are full.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::ensure;
use probe_common::{loss, tcp::state};
use probe_tests::{child, netns::Netns, sys};
use stallscope::attach::{Options, Signals};

use crate::{
    steps::report_and_stay,
    tcp_pair::{PORT, ROUNDS, V4, addr, client, closes_first, closes_second, listen, run, server},
    tcp_seen::{TcpWatch, tcp},
};

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
    let options = Options {
        netns_of: Some(client.pid),
        ..tcp()
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
    let options = Options {
        signals: Signals {
            tcp_events: true,
            ..tcp().signals
        },
        ..tcp()
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
    // Nobody makes room meanwhile.
    client.go()?;
    client.recv()?;
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
