//! FIN_WAIT_2 and TIME_WAIT are timed to their end, where the kernel has kprobes.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use probe_common::tcp::state;
use probe_tests::{
    feature,
    netns::{self, Netns},
    sys, watch,
};
use stallscope::{attach, collect::tcp::Timewait};

use crate::{
    steps::connect,
    tcp_pair::{V4, addr, listen},
    tcp_seen::TcpWatch,
};

/// How long the other side does not close.
const HELD: Duration = Duration::from_millis(700);
/// A new connection takes a TIME_WAIT over when it is older than a second.
const REUSABLE: Duration = Duration::from_millis(1200);

/// A namespace with a single port to connect from, so that the next connection takes it over.
fn one_port() -> anyhow::Result<Netns> {
    feature::kprobes()?;
    let netns = Netns::enter()?;
    netns::set_ports(40_000, 40_000)?;
    netns::set("net/ipv4/tcp_tw_reuse", "1")?;
    Ok(netns)
}

fn start(netns: Netns) -> anyhow::Result<TcpWatch> {
    let watch = TcpWatch::start(netns, &[])?;
    let status = watch.probe("exact_timewait").context("no such probe")?;
    ensure!(status.state == attach::State::Active, "{status:?}");
    Ok(watch)
}

/// Both ends of a connection.
fn pair(listener: i32) -> (i32, i32) {
    let client = connect(&addr(V4));
    (client, sys::accept(listener).expect("accept"))
}

/// A moment, as it was before and after something happened, ns.
#[derive(Clone, Copy)]
struct Moment(u64, u64);

impl Moment {
    fn of(step: impl FnOnce()) -> Self {
        let before = sys::now_ns();
        step();
        Self(before, sys::now_ns())
    }

    fn close(fd: i32) -> Self {
        Self::of(|| sys::close(fd).expect("close"))
    }

    /// At least and at most.
    fn since(self, earlier: Self) -> [u64; 2] {
        [self.0 - earlier.1, self.1 - earlier.0]
    }
}

/// Reads until so many stays in FIN_WAIT_2 and in TIME_WAIT have ended.
fn read(watch: &mut TcpWatch, ended: [u64; 2]) -> anyhow::Result<[Timewait; 2]> {
    let count = |watch: &TcpWatch| {
        let sums = watch.tcp.timewait.as_ref();
        sums.map(|sums| [0, 1].map(|state| sums[state].left.sum.count))
    };
    watch.read_until(|watch| count(watch) == Some(ended))?;
    let sums = watch.tcp.timewait.clone().context("no sums")?;
    ensure!(count(watch) == Some(ended), "not {ended:?}: {sums:?}");
    ensure!(watch.losses.iter().all(|n| *n == 0), "{:?}", watch.losses);
    Ok(sums)
}

/// How long connections were in FIN_WAIT_1: the kernel waits with its acknowledgement.
fn fin_wait_1(watch: &TcpWatch) -> u64 {
    let rows = watch.tcp.transitions.iter();
    let rows = rows.filter(|(key, _)| key.old == state::FIN_WAIT1);
    rows.map(|(_, sum)| sum.sum.total_ns).sum()
}

fn assert_stays(what: &str, sum: &Timewait, count: u64, [low, high]: [u64; 2]) {
    let left = &sum.left;
    assert_eq!((left.sum.count, left.timed), (count, count), "{what}");
    let in_histogram: u64 = left.sum.hist.iter().map(|(_, n)| u64::from(*n)).sum();
    assert_eq!(in_histogram, count, "{what}");
    watch::assert_between(what, left.sum.total_ns, low, high);
}

pub fn stays_without_a_process_are_timed() -> anyhow::Result<()> {
    let mut watch = start(one_port()?)?;
    let listener = listen(&addr(V4), 8);
    let (client, server) = pair(listener);
    let closed = Moment::close(client);
    std::thread::sleep(HELD);
    let both = Moment::close(server);
    std::thread::sleep(REUSABLE);
    let mut next = (0, 0);
    let reused = Moment::of(|| next = pair(listener));
    let sums = read(&mut watch, [1, 1])?;
    let half = both.since(closed).map(|ns| ns - fin_wait_1(&watch));
    assert_stays("FIN_WAIT_2", &sums[0], 1, half);
    assert_stays("TIME_WAIT", &sums[1], 1, reused.since(both));
    ensure!(sums[0].begun == 1 && sums[1].begun == 1, "{sums:?}");
    for fd in [next.0, next.1, listener] {
        sys::close(fd).expect("close");
    }
    Ok(())
}

pub fn a_stay_goes_on_when_the_process_closes() -> anyhow::Result<()> {
    let mut watch = start(one_port()?)?;
    let listener = listen(&addr(V4), 8);
    let (client, server) = pair(listener);
    let shut = Moment::of(|| sys::shutdown_write(client).expect("shutdown"));
    std::thread::sleep(HELD / 2);
    sys::close(client).expect("close");
    std::thread::sleep(HELD / 2);
    let both = Moment::close(server);
    let sums = read(&mut watch, [1, 0])?;
    let half = both.since(shut).map(|ns| ns - fin_wait_1(&watch));
    assert_stays("FIN_WAIT_2", &sums[0], 1, half);
    ensure!(sums[1].begun == 1, "{sums:?}");
    sys::close(listener).expect("close");
    Ok(())
}

pub fn a_stay_that_a_process_holds_is_timed() -> anyhow::Result<()> {
    let mut watch = start(one_port()?)?;
    let listener = listen(&addr(V4), 8);
    let (client, server) = pair(listener);
    let shut = Moment::of(|| sys::shutdown_write(client).expect("shutdown"));
    std::thread::sleep(HELD);
    let both = Moment::close(server);
    let sums = read(&mut watch, [1, 0])?;
    let half = both.since(shut).map(|ns| ns - fin_wait_1(&watch));
    assert_stays("FIN_WAIT_2", &sums[0], 1, half);
    // It was no timewait object before it was in TIME_WAIT.
    ensure!(sums[0].begun == 0 && sums[1].begun == 1, "{sums:?}");
    for fd in [client, listener] {
        sys::close(fd).expect("close");
    }
    Ok(())
}

pub fn a_timer_ends_a_stay() -> anyhow::Result<()> {
    let netns = one_port()?;
    netns::set("net/ipv4/tcp_fin_timeout", "1")?;
    let mut watch = start(netns)?;
    let listener = listen(&addr(V4), 8);
    let (client, server) = pair(listener);
    let closed = Moment::close(client);
    let sums = read(&mut watch, [1, 0])?;
    let seen = Moment::of(|| {});
    let [_, high] = seen.since(closed);
    let timer = Duration::from_secs(1).as_nanos() as u64;
    assert_stays(
        "FIN_WAIT_2",
        &sums[0],
        1,
        [timer, high - fin_wait_1(&watch)],
    );
    ensure!(sums[0].begun == 1 && sums[1].begun == 0, "{sums:?}");
    for fd in [server, listener] {
        sys::close(fd).expect("close");
    }
    Ok(())
}

pub fn what_was_there_before_counts_without_a_time() -> anyhow::Result<()> {
    let netns = one_port()?;
    let listener = listen(&addr(V4), 8);
    let (client, server) = pair(listener);
    sys::close(client).expect("close");
    sys::close(server).expect("close");
    let mut watch = start(netns)?;
    std::thread::sleep(REUSABLE);
    let next = pair(listener);
    let sums = read(&mut watch, [0, 1])?;
    ensure!(sums[1].begun == 0 && sums[1].left.timed == 0, "{sums:?}");
    for fd in [next.0, next.1, listener] {
        sys::close(fd).expect("close");
    }
    Ok(())
}

pub fn other_namespaces_stay_out() -> anyhow::Result<()> {
    let mut watch = start(one_port()?)?;
    let _other = one_port()?;
    let listener = listen(&addr(V4), 8);
    let (client, server) = pair(listener);
    sys::close(client).expect("close");
    std::thread::sleep(HELD / 4);
    sys::close(server).expect("close");
    let sums = read(&mut watch, [0, 0])?;
    ensure!(sums == <[Timewait; 2]>::default(), "{sums:?}");
    sys::close(listener).expect("close");
    Ok(())
}
