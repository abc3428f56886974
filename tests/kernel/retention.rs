//! More threads and addresses than any table has rows: rows are taken out of the tables, and every call is counted all the same.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::ensure;
use probe_common::{loss::slot, op};
use probe_tests::{
    child::{self, Child, Link},
    sys,
    watch::{Seen, Watch, only_followed},
};

/// Rows of the table of calls; that of addresses has a quarter of it.
const ROWS: usize = 16_384;
/// More than there are rows, with two for each thread.
const MANY: u32 = 20_000;
/// So many at a time: the table is looked at in between, as the loop of a live command does it.
const BATCH: u32 = 250;

/// Lets a workload do all its batches, and looks at everything now and then.
fn run(watch: &mut Watch, child: &mut Child) -> anyhow::Result<()> {
    for batch in 0..MANY / BATCH {
        watch.step(child)?;
        if batch % 16 == 15 {
            watch.read()?;
        }
    }
    watch.read()?;
    Ok(())
}

fn batches(link: &mut Link, mut each: impl FnMut(u32)) {
    for batch in 0..MANY / BATCH {
        link.wait();
        (batch * BATCH..(batch + 1) * BATCH).for_each(&mut each);
        // The ring is emptied every 10 ms while this is waited for.
        std::thread::sleep(std::time::Duration::from_millis(25));
        link.send(&[u64::from(batch)]);
    }
    link.wait();
}

fn nothing_was_lost(seen: &Seen) -> anyhow::Result<()> {
    for (slot, name) in [
        (slot::STATS_FULL, "rows of calls"),
        (slot::PEERS_FULL, "addresses"),
        (slot::RING_FULL, "records"),
    ] {
        let lost = seen.losses[slot as usize];
        ensure!(lost == 0, "{lost} {name} found no place");
    }
    ensure!(seen.rows < ROWS / 2, "{} rows are left", seen.rows);
    Ok(())
}

pub fn threads_that_come_and_go_leave_no_row_and_lose_no_call() -> anyhow::Result<()> {
    let mut child = child::fork(|link| {
        let (one, other) = sys::socketpair().expect("a pair of sockets");
        batches(link, |_| {
            let thread = std::thread::spawn(move || {
                sys::write(one, b"x").expect("there is room");
                sys::read(other, &mut [0]).expect("it was written");
            });
            thread.join().expect("it ends");
        });
    })?;
    let mut watch = Watch::start(&only_followed())?;
    watch.follow(&[child.pid])?;
    run(&mut watch, &mut child)?;
    let seen = watch.read_until(|seen| seen.exits.len() >= MANY as usize)?;
    nothing_was_lost(seen)?;
    for name in ["write", "read"] {
        let of_threads = seen.stats.iter().filter(|(key, _)| {
            key.tgid == child.pid && key.tid != child.pid && op::name(key.op) == name
        });
        let calls: u64 = of_threads.map(|(_, sum)| sum.count).sum();
        ensure!(calls == u64::from(MANY), "{calls} calls of {name}");
    }
    child.go()?;
    Ok(())
}

pub fn very_many_addresses_are_each_named_and_counted() -> anyhow::Result<()> {
    let address = |n: u32| {
        let [_, a, b, c] = (n + 256).to_be_bytes();
        SocketAddr::from((Ipv4Addr::new(127, a, b, c), 9))
    };
    let mut child = child::fork(|link| {
        let fd = sys::socket(libc::AF_INET, libc::SOCK_DGRAM).expect("a socket");
        batches(link, |n| {
            // Twice, at some distance: rows that were taken out come back.
            for n in [n, n.saturating_sub(MANY / 2)] {
                sys::connect(fd, &sys::Addr::Inet(address(n))).expect("datagrams go anywhere");
            }
        });
    })?;
    let mut watch = Watch::start(&only_followed())?;
    watch.follow(&[child.pid])?;
    run(&mut watch, &mut child)?;
    let seen = watch.read()?;
    nothing_was_lost(seen)?;
    let calls = seen.by_peer(child.pid, "connect");
    ensure!(calls.len() == MANY as usize, "{} addresses", calls.len());
    for n in 0..MANY {
        let name = format!("udp {}", address(n));
        let expected = match n {
            0 => u64::from(MANY / 2) + 2,
            n if n < MANY / 2 => 2,
            _ => 1,
        };
        let got = calls.get(&name).map_or(0, |call| call.count);
        ensure!(got == expected, "{name}: {got} calls, not {expected}");
    }
    child.go()?;
    Ok(())
}
