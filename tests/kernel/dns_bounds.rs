//! Many at once: duplicates among CPUs, tables that are full, records on the ring.

use std::{
    sync::{Arc, Barrier},
    time::Duration,
};

use anyhow::ensure;
use probe_common::{
    dns::{OTHER_ROWS, SUM_ROWS},
    loss,
};
use probe_tests::{
    child::Link,
    dns::{A, FOUND, hear, question, send, serve, server, udp_client, udp_server},
    sys,
};

use crate::dns_seen::{DnsWatch, rows};

pub fn of_many_that_ask_at_once_one_is_no_duplicate() -> anyhow::Result<()> {
    const THREADS: u64 = 8;
    const ROUNDS: u64 = 3;
    let work = |link: &mut Link| {
        let at = server("127.0.0.1");
        let _silent = udp_server(&at);
        let barrier = Arc::new(Barrier::new(THREADS as usize));
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                let (barrier, fd) = (barrier.clone(), udp_client(&at));
                std::thread::spawn(move || {
                    for round in 0..ROUNDS {
                        // Each round comes more than a second after the one before; ids are new.
                        if round > 0 {
                            sys::nanosleep(Duration::from_millis(1100)).expect("nanosleep");
                        }
                        for name in 0..50u16 {
                            barrier.wait();
                            let id = round as u16 * 100 + name;
                            send(fd, &question(id, &format!("many{name}"), A), None);
                            // Forgotten, so that the next round is no retry. Long enough to be a wait: a machine that stands
                            // still for a millisecond finds a shorter one over before it begins.
                            assert!(!probe_tests::dns::wait(fd, 10));
                        }
                    }
                })
            })
            .collect();
        threads
            .into_iter()
            .for_each(|t| t.join().expect("a thread"));
        link.send(&[]);
    };
    let mut expected: Vec<String> = (0..50)
        .map(|name| {
            format!(
                "udp 127.0.0.1 53 many{name} 1 asked {} duplicates {} timed out {}",
                THREADS * ROUNDS,
                (THREADS - 1) * ROUNDS,
                THREADS * ROUNDS
            )
        })
        .collect();
    expected.sort();
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    rows(work, &expected)?;
    Ok(())
}

pub fn random_names_fill_their_table_and_no_more() -> anyhow::Result<()> {
    const NAMES: u32 = SUM_ROWS + 1000;
    let work = |link: &mut Link| {
        let at = server("127.0.0.1");
        let (serving, client) = (udp_server(&at), udp_client(&at));
        for n in 0..NAMES {
            send(client, &question(n as u16, &format!("r{n}.test"), A), None);
            serve(serving, FOUND);
            hear(client);
        }
        link.send(&[]);
    };
    let (watch, _) = seen(work)?;
    let (named, other): (Vec<_>, Vec<_>) = watch.dns.sums.iter().partition(|q| q.name.is_some());
    // Nobody made room meanwhile.
    ensure!(named.len() == SUM_ROWS as usize, "{}", named.len());
    ensure!(named.iter().all(|q| (q.asked, q.answered) == (1, 1)));
    ensure!(other.len() == 1, "{}", other.len());
    ensure!((other[0].asked, other[0].answered) == (1000, 1000));
    ensure!(other[0].latency.count == 1000 && other[0].qtype == 0);
    let lost = watch.losses[loss::slot::DNS_NAMES_FULL as usize];
    ensure!(lost == 1000, "{lost}");
    // A name that has a place keeps it.
    ensure!(watch.row("r0.test", A).is_ok());
    ensure!(OTHER_ROWS > 1);
    Ok(())
}

pub fn records_on_the_ring_are_few() -> anyhow::Result<()> {
    const QUESTIONS: u64 = 20_000;
    let work = |link: &mut Link| {
        let at = server("127.0.0.1");
        let (serving, client) = (udp_server(&at), udp_client(&at));
        let begin = sys::now_ns();
        for n in 0..QUESTIONS {
            send(client, &question(n as u16, "busy.test", A), None);
            serve(serving, FOUND);
            hear(client);
        }
        link.send(&[sys::now_ns() - begin]);
    };
    let (watch, numbers) = seen(work)?;
    let row = watch.row("busy.test", A)?;
    ensure!((row.asked, row.answered) == (QUESTIONS, QUESTIONS));
    ensure!(row.duplicates == QUESTIONS - 1);
    let most = numbers[0] / 100_000_000 + 3;
    ensure!(
        watch.steps.len() as u64 <= most && watch.steps.len() > 1,
        "{} steps in {numbers:?} ns",
        watch.steps.len()
    );
    let grows = |pair: &[stallscope::collect::dns::Step]| {
        pair[0].at_ns < pair[1].at_ns && pair[0].asked <= pair[1].asked
    };
    ensure!(watch.steps.windows(2).all(grows), "{:?}", watch.steps);
    Ok(())
}

/// Runs a workload whose rows are too many to write down.
fn seen(work: impl FnOnce(&mut Link) + 'static) -> anyhow::Result<(DnsWatch, Vec<u64>)> {
    let netns = probe_tests::netns::Netns::enter()?;
    let mut client = probe_tests::child::fork(move |link| {
        link.wait();
        work(link);
        link.wait();
    })?;
    let mut watch = DnsWatch::start(netns, &[&client])?;
    client.go()?;
    let numbers = client.recv()?;
    watch.read()?;
    Ok((watch, numbers))
}
