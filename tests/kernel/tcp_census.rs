//! A census counts exactly what is there: against sockets that the case made itself, and against /proc at
//! the same moment. Sockets belong to this process unless a case says otherwise.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use probe_common::{
    peer::{flag, kind},
    tcp::{COHORTS, column, state},
};
use probe_tests::{
    child, feature,
    netns::{self, Netns},
    sys::{self, Addr},
    tcp::many_descriptors,
};
use stallscope::{attach::Options, collect::tcp::Counts};

use crate::{
    census_seen::{Watch, by_state, bytes, ensure_sums, in_proc, row, totals},
    steps::report_and_stay,
    tcp_pair::{PORT, V4, V6},
    tcp_seen::tcp,
};

/// The system calls of the workloads fail with a number.
trait Os<T> {
    fn os(self) -> anyhow::Result<T>;
}

impl<T> Os<T> for sys::Result<T> {
    fn os(self) -> anyhow::Result<T> {
        Ok(self.map_err(std::io::Error::from_raw_os_error)?)
    }
}

fn own(fd: i32) -> OwnedFd {
    // SAFETY: a descriptor that was just made, and that nobody else has.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn addr(ip: IpAddr, port: u16) -> Addr {
    SocketAddr::new(ip, port).into()
}

fn listen(to: &Addr, backlog: i32) -> anyhow::Result<OwnedFd> {
    Ok(own(probe_tests::tcp::listen(to, backlog).os()?))
}

/// Both ends of a new connection: the client's, then the server's.
fn pair(to: &Addr, listener: &OwnedFd) -> anyhow::Result<(OwnedFd, OwnedFd)> {
    let client = own(sys::connected(to).os()?);
    Ok((client, own(sys::accept(listener.as_raw_fd()).os()?)))
}

fn pairs(n: usize, to: &Addr, listener: &OwnedFd) -> anyhow::Result<Vec<(OwnedFd, OwnedFd)>> {
    (0..n).map(|_| pair(to, listener)).collect()
}

/// Waits until the other side's FIN has come.
fn hear_end(fd: &OwnedFd) -> anyhow::Result<()> {
    ensure!(
        sys::read(fd.as_raw_fd(), &mut [0; 8]).os()? == 0,
        "more than an end"
    );
    Ok(())
}

/// Ends a connection: the client first, so that it is left in TIME_WAIT.
fn time_wait(connection: (OwnedFd, OwnedFd)) -> anyhow::Result<()> {
    let (client, server) = connection;
    drop(client);
    hear_end(&server)
}

/// A connect that gets no answer, as the queue of the listener is full.
fn unanswered(to: &Addr) -> anyhow::Result<OwnedFd> {
    let fd = own(sys::socket(to.family(), libc::SOCK_STREAM).os()?);
    sys::set_nonblocking(fd.as_raw_fd(), true).os()?;
    let result = sys::connect(fd.as_raw_fd(), to);
    ensure!(result == Err(libc::EINPROGRESS), "{result:?}");
    Ok(fd)
}

pub fn every_state_is_counted() -> anyhow::Result<()> {
    let _netns = Netns::enter()?;
    let mut watch = Watch::start()?;
    let to = addr(V4, PORT);
    let listener = listen(&to, 64)?;
    let _open = pairs(3, &to, &listener)?;
    // Half closed by the client, which keeps its descriptor.
    let half = pairs(4, &to, &listener)?;
    for (client, server) in &half {
        sys::shutdown_write(client.as_raw_fd()).os()?;
        hear_end(server)?;
    }
    // Half closed by a client that is gone.
    let mut left = Vec::new();
    for (client, server) in pairs(5, &to, &listener)? {
        drop(client);
        hear_end(&server)?;
        left.push(server);
    }
    for connection in pairs(6, &to, &listener)? {
        time_wait(connection)?;
    }
    // One waits to be accepted, and nobody else gets in.
    let busy = addr(V4, PORT + 1);
    let busy_listener = listen(&busy, 0)?;
    let _waits = own(sys::connected(&busy).os()?);
    // The connect returns before the connection is in the queue.
    sys::poll(
        &mut [sys::pollfd(busy_listener.as_raw_fd(), libc::POLLIN)],
        5000,
    )
    .os()?;
    let _unanswered = [unanswered(&busy)?, unanswered(&busy)?];
    let census = watch.census()?;
    // An orphan whose FIN is acknowledged while close() still runs stays a socket (tcp_rcv_state_process,
    // net/ipv4/tcp_input.c).
    let orphans = census.totals[column::FIN_WAIT2_ORPHAN];
    ensure!(orphans <= 5, "{:?}", census.totals);
    let want = totals(&[
        (state::ESTABLISHED.into(), 2 * 3 + 2),
        (state::SYN_SENT.into(), 2),
        (column::FIN_WAIT2_HELD, 4),
        (column::FIN_WAIT2_ORPHAN, orphans),
        (column::FIN_WAIT2_TIMEWAIT, 5 - orphans),
        (state::TIME_WAIT.into(), 6),
        (state::CLOSE_WAIT.into(), 4 + 5),
        (state::LISTEN.into(), 2),
    ]);
    ensure!(census.totals == want, "{:?}", census.totals);
    ensure_sums(&census)?;
    ensure!(by_state(&census.totals) == in_proc()?, "{:?}", in_proc()?);
    ensure!(census.other == Counts::default(), "{:?}", census.other);
    // Who connected to whom.
    let (key, counts) = row(&census, 0, kind::INET, PORT)?;
    ensure!(
        counts[column::FIN_WAIT2_TIMEWAIT] == 5 - orphans,
        "{counts:?}"
    );
    ensure!(counts[usize::from(state::TIME_WAIT)] == 6, "{counts:?}");
    ensure!(bytes(key.remote)[..4] == [127, 0, 0, 1], "{key:?}");
    let (_, counts) = row(&census, flag::INBOUND, kind::INET, PORT)?;
    ensure!(counts == totals(&[(1, 3), (8, 9)]), "{counts:?}");
    let (key, counts) = row(&census, flag::LISTENER, kind::INET, PORT)?;
    ensure!(counts == totals(&[(10, 1)]), "{counts:?}");
    ensure!(bytes(key.local)[..4] == [127, 0, 0, 1], "{key:?}");
    ensure!(key.remote == [0; 2], "{key:?}");
    // One by one.
    let listed = |column: usize| {
        let of = census
            .fin_wait2
            .iter()
            .filter(|s| s.column as usize == column);
        of.count() as u64
    };
    ensure!(listed(column::FIN_WAIT2_HELD) == 4);
    ensure!(listed(column::FIN_WAIT2_ORPHAN) == orphans);
    ensure!(listed(column::FIN_WAIT2_TIMEWAIT) == 5 - orphans);
    for socket in &census.fin_wait2 {
        let held = socket.column as usize == column::FIN_WAIT2_HELD;
        ensure!(held == (socket.inode != 0), "{socket:?}");
        let timewait = socket.column as usize == column::FIN_WAIT2_TIMEWAIT;
        ensure!(timewait == (socket.expires != 0), "{socket:?}");
        ensure!(
            socket.remote_port == PORT && socket.local_port != 0,
            "{socket:?}"
        );
    }
    Ok(())
}

pub fn ipv6_and_ipv4_in_its_clothes() -> anyhow::Result<()> {
    feature::require(&feature::IPV6)?;
    let _netns = Netns::enter()?;
    let mut watch = Watch::start()?;
    let any = addr(IpAddr::V6(Ipv6Addr::UNSPECIFIED), PORT);
    let listener = listen(&any, 64)?;
    let _six = pairs(2, &addr(V6, PORT), &listener)?;
    let _four = pairs(3, &addr(V4, PORT), &listener)?;
    time_wait(pair(&addr(V6, PORT), &listener)?)?;
    let census = watch.census()?;
    let want = totals(&[(1, 10), (6, 1), (10, 1)]);
    ensure!(census.totals == want, "{:?}", census.totals);
    ensure_sums(&census)?;
    ensure!(by_state(&census.totals) == in_proc()?, "{:?}", in_proc()?);
    let (key, counts) = row(&census, flag::INBOUND, kind::INET6, PORT)?;
    ensure!(counts == totals(&[(1, 2)]), "{counts:?}");
    ensure!(bytes(key.remote) == Ipv6Addr::LOCALHOST.octets(), "{key:?}");
    // The server's sockets are IPv6 ones, the client's are not; the addresses are IPv4.
    let (key, counts) = row(&census, flag::INBOUND, kind::INET, PORT)?;
    ensure!(counts == totals(&[(1, 3)]), "{counts:?}");
    ensure!(bytes(key.local)[..4] == [127, 0, 0, 1], "{key:?}");
    let (_, counts) = row(&census, 0, kind::INET, PORT)?;
    ensure!(counts == totals(&[(1, 3)]), "{counts:?}");
    let (_, counts) = row(&census, 0, kind::INET6, PORT)?;
    ensure!(counts == totals(&[(1, 2), (6, 1)]), "{counts:?}");
    let (key, _) = row(&census, flag::LISTENER, kind::INET6, PORT)?;
    ensure!(key.local == [0; 2], "{key:?}");
    Ok(())
}

pub fn an_orphan_with_a_long_timeout_stays_a_socket() -> anyhow::Result<()> {
    let _netns = Netns::enter()?;
    netns::set("net/ipv4/tcp_fin_timeout", "120")?;
    let mut watch = Watch::start()?;
    let to = addr(V4, PORT);
    let listener = listen(&to, 64)?;
    let mut left = Vec::new();
    for (client, server) in pairs(3, &to, &listener)? {
        drop(client);
        hear_end(&server)?;
        left.push(server);
    }
    let census = watch.census()?;
    let want = totals(&[(8, 3), (10, 1), (column::FIN_WAIT2_ORPHAN, 3)]);
    ensure!(census.totals == want, "{:?}", census.totals);
    ensure!(
        census
            .fin_wait2
            .iter()
            .all(|s| s.inode == 0 && s.expires == 0)
    );
    ensure!(census.fin_wait2.len() == 3, "{:?}", census.fin_wait2);
    ensure!(census.counters.orphans == Some(3), "{:?}", census.counters);
    let settings = watch.read()?.settings;
    ensure!(settings.fin_timeout_s == Some(120), "{settings:?}");
    Ok(())
}

pub fn owners_and_holders_have_names_and_descriptors() -> anyhow::Result<()> {
    let _netns = Netns::enter()?;
    let mut watch = Watch::start()?;
    let to = addr(V4, PORT);
    let listener = listen(&to, 64)?;
    let mut holder = child::fork({
        let (to, kept) = (to.clone(), listener.as_raw_fd());
        move |link| {
            sys::set_comm(b"holder");
            sys::close(kept).expect("close");
            // Threads that share its descriptors do not make them more.
            let _thread = std::thread::spawn(|| std::thread::sleep(Duration::from_secs(60)));
            let fds: Vec<i32> = (0..3)
                .map(|_| sys::connected(&to).expect("connect"))
                .collect();
            sys::shutdown_write(fds[1]).expect("shutdown");
            report_and_stay(link, &[fds[1] as u64, sys::local_port(fds[1]).into()]);
        }
    })?;
    let said = holder.recv()?;
    let servers: Vec<OwnedFd> = (0..3)
        .map(|_| Ok(own(sys::accept(listener.as_raw_fd()).os()?)))
        .collect::<anyhow::Result<_>>()?;
    let reading = watch.read()?;
    let owners = reading.owners.last().context("no walk")?;
    let owner = |pid: u32| {
        let found = owners.processes.iter().find(|o| o.pid == pid);
        found.with_context(|| format!("{pid} is not in {:?}", owners.processes))
    };
    let theirs = owner(holder.pid)?;
    ensure!(theirs.comm == b"holder", "{theirs:?}");
    let mut want = [0; 16];
    (want[1], want[5]) = (2, 1);
    ensure!(theirs.counts == want, "{theirs:?}");
    let mut want = [0; 16];
    (want[1], want[8], want[10]) = (2, 1, 1);
    ensure!(
        owner(std::process::id())?.counts == want,
        "{:?}",
        owners.processes
    );
    ensure!(owners.processes.len() == 2, "{:?}", owners.processes);
    // The same socket in both lists.
    let [held] = &owners.holders[..] else {
        anyhow::bail!("{:?}", owners.holders);
    };
    ensure!(
        (held.tgid, held.fd as u64) == (holder.pid, said[0]),
        "{held:?}"
    );
    let census = reading.censuses.last().context("no census")?;
    let [socket] = &census.fin_wait2[..] else {
        anyhow::bail!("{:?}", census.fin_wait2);
    };
    ensure!(socket.sock == held.sock, "{socket:?} {held:?}");
    ensure!(u64::from(socket.local_port) == said[1], "{socket:?}");
    drop(servers);
    Ok(())
}

pub fn queues_and_drops_of_listeners() -> anyhow::Result<()> {
    const BACKLOG: i32 = 8;
    let _netns = Netns::enter()?;
    let mut watch = Watch::start()?;
    let to = addr(V4, PORT);
    let listener = listen(&to, BACKLOG)?;
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(unanswered(&to)?);
    }
    let unix = Addr::Abstract(format!("stallscope-census-{}", std::process::id()));
    let unix_listener = own(sys::socket(libc::AF_UNIX, libc::SOCK_STREAM).os()?);
    sys::bind(unix_listener.as_raw_fd(), &unix).os()?;
    sys::listen(unix_listener.as_raw_fd(), 5).os()?;
    let _unix_clients = [
        own(sys::connected(&unix).os()?),
        own(sys::connected(&unix).os()?),
    ];
    let before = netns::counter("TcpExt", "ListenOverflows")?;
    let reading = watch.read()?;
    let after = netns::counter("TcpExt", "ListenOverflows")?;
    let census = reading.censuses.last().context("no census")?;
    let [seen] = &census.listeners[..] else {
        anyhow::bail!("{:?}", census.listeners);
    };
    // A queue of 8 takes 9 (sk_acceptq_is_full, include/net/sock.h).
    ensure!((seen.queue, seen.limit) == (9, 8), "{seen:?}");
    ensure!(before >= 11, "{before} overflows");
    let drops = u64::from(seen.drops);
    ensure!(
        (before..=after).contains(&drops),
        "{before} <= {drops} <= {after}"
    );
    let counted = census.counters.listen_overflows;
    ensure!(
        counted >= Some(drops) && counted <= Some(after),
        "{counted:?}"
    );
    ensure!(seen.address.local_port == PORT, "{seen:?}");
    ensure!(seen.address.address() == [127, 0, 0, 1], "{seen:?}");
    // The walk over descriptors says the same, and who holds it.
    let owners = reading.owners.last().context("no walk")?;
    let find = |inode: bool| {
        let mut of = owners.listeners.iter();
        of.find(|l| (l.inode == seen.inode) == inode)
            .context("no such listener")
    };
    let again = find(true)?;
    ensure!(again.tgid == std::process::id(), "{again:?}");
    ensure!(again.fd == listener.as_raw_fd(), "{again:?}");
    ensure!((again.queue, again.limit) == (9, 8), "{again:?}");
    ensure!(again.address == seen.address, "{again:?} {seen:?}");
    let unix = find(false)?;
    ensure!(unix.address.kind == kind::UNIX, "{unix:?}");
    let name = format!("\0stallscope-census-{}", std::process::id());
    ensure!(unix.address.address() == name.as_bytes(), "{unix:?}");
    ensure!(
        (unix.queue, unix.limit, unix.drops) == (2, 5, 0),
        "{unix:?}"
    );
    ensure!(unix.fd == unix_listener.as_raw_fd(), "{unix:?}");
    ensure!(owners.listeners.len() == 2, "{:?}", owners.listeners);
    Ok(())
}

pub fn time_wait_is_told_apart_by_age() -> anyhow::Result<()> {
    const APART: Duration = Duration::from_secs(4);
    /// TCP_TIMEWAIT_LEN.
    const LASTS_S: f64 = 60.0;
    let _netns = Netns::enter()?;
    let mut watch = Watch::start()?;
    let to = addr(V4, PORT);
    let listener = listen(&to, 64)?;
    pairs(3, &to, &listener)?
        .into_iter()
        .try_for_each(time_wait)?;
    std::thread::sleep(APART);
    pairs(5, &to, &listener)?
        .into_iter()
        .try_for_each(time_wait)?;
    let reading = watch.read()?;
    let census = reading.censuses.last().context("no census")?;
    ensure!(census.totals[6] == 8, "{:?}", census.totals);
    ensure!(
        census.time_wait.iter().sum::<u32>() == 8,
        "{:?}",
        census.time_wait
    );
    // Seconds left, counted on from now, for each cohort in use.
    let hz = f64::from(reading.hz);
    let now = census.jiffies >> reading.cohort_shift;
    let length = f64::from(1 << reading.cohort_shift) / hz;
    let left: Vec<(f64, u32)> = (0..COHORTS as u64)
        .map(|ahead| {
            let slot = (now + ahead) % COHORTS as u64;
            (ahead as f64 * length, census.time_wait[slot as usize])
        })
        .filter(|(_, n)| *n > 0)
        .collect();
    // A batch may lie across the border of two cohorts.
    let count = |from: f64, to: f64| -> u32 {
        let of = left.iter().filter(|(s, _)| (from..to).contains(s));
        of.map(|(_, n)| n).sum()
    };
    let between = LASTS_S - APART.as_secs_f64() / 2.0;
    // Making them takes a moment, above all in an emulated machine.
    ensure!(count(between - 10.0, between) == 3, "{left:?}");
    ensure!(count(between, LASTS_S + 1.1) == 5, "{left:?}");
    Ok(())
}

pub fn what_finds_no_row_is_counted_all_the_same() -> anyhow::Result<()> {
    /// More than the table has rows.
    const N: usize = 9000;
    let _netns = Netns::enter()?;
    netns::set("net/ipv4/tcp_max_tw_buckets", "20000")?;
    netns::set("net/ipv4/tcp_tw_reuse", "0")?;
    let mut watch = Watch::start()?;
    let to = addr(V4, PORT);
    let listener = listen(&to, 64)?;
    for i in 0..N {
        // An address of its own for each.
        let client = own(sys::socket(libc::AF_INET, libc::SOCK_STREAM).os()?);
        let from = Ipv4Addr::new(127, 1, (i >> 8) as u8, i as u8);
        sys::bind(client.as_raw_fd(), &addr(from.into(), 0)).os()?;
        sys::connect(client.as_raw_fd(), &to).os()?;
        time_wait((client, own(sys::accept(listener.as_raw_fd()).os()?)))?;
    }
    for _ in 0..2 {
        let census = watch.census()?;
        // The first of them may be gone after a minute, on a slow machine.
        let proc = in_proc()?;
        ensure!(
            by_state(&census.totals) == proc,
            "{:?} {proc:?}",
            census.totals
        );
        ensure!(census.totals[6] > 8192, "{:?}", census.totals);
        ensure!(census.other[6] > 0, "{:?}", census.other);
        ensure!(census.rows.len() > 7000, "{} rows", census.rows.len());
        ensure_sums(&census)?;
    }
    Ok(())
}

pub fn more_than_a_buffer_is_listed_exactly() -> anyhow::Result<()> {
    /// 80 bytes each, in buffers of 32 KiB; and few enough for 4,096 descriptors.
    const N: usize = 1500;
    let _netns = Netns::enter()?;
    many_descriptors();
    let mut watch = Watch::start()?;
    let to = addr(V4, PORT);
    let listener = listen(&to, 64)?;
    let half = pairs(N, &to, &listener)?;
    for (client, server) in &half {
        sys::shutdown_write(client.as_raw_fd()).os()?;
        hear_end(server)?;
    }
    let reading = watch.read()?;
    let census = reading.censuses.last().context("no census")?;
    let n = N as u64;
    let want = totals(&[(column::FIN_WAIT2_HELD, n), (8, n), (10, 1)]);
    ensure!(census.totals == want, "{:?}", census.totals);
    ensure!(
        census.fin_wait2_left_out == 0,
        "{}",
        census.fin_wait2_left_out
    );
    let mut listed: Vec<u64> = census.fin_wait2.iter().map(|s| s.sock).collect();
    ensure!(listed.len() == N, "{} are listed", listed.len());
    listed.sort_unstable();
    listed.dedup();
    ensure!(listed.len() == N, "{} are different", listed.len());
    let owners = reading.owners.last().context("no walk")?;
    let mut held: Vec<u64> = owners.holders.iter().map(|h| h.sock).collect();
    held.sort_unstable();
    ensure!(held == listed, "{} held", held.len());
    let [own] = &owners.processes[..] else {
        anyhow::bail!("{:?}", owners.processes);
    };
    ensure!(
        (own.counts[5], own.counts[8]) == (N as u32, N as u32),
        "{own:?}"
    );
    Ok(())
}

pub fn the_census_of_another_namespace() -> anyhow::Result<()> {
    let elsewhere = Netns::enter()?;
    netns::set("net/ipv4/tcp_fin_timeout", "77")?;
    let child = child::fork(|link| {
        let _listener = TcpListener::bind("127.0.0.1:7001").expect("listen");
        report_and_stay(link, &[]);
    });
    let mut child = child?;
    child.recv()?;
    drop(elsewhere);
    let _netns = Netns::enter()?;
    let to = addr(V4, PORT);
    let listener = listen(&to, 8)?;
    let _open = pairs(2, &to, &listener)?;
    // The caller's has nothing of the child's ...
    let mut here = Watch::start()?;
    let reading = here.read()?;
    let census = reading.censuses.last().context("no census")?;
    ensure!(
        census.totals == totals(&[(1, 4), (10, 1)]),
        "{:?}",
        census.totals
    );
    ensure!(
        reading.settings.fin_timeout_s == Some(60),
        "{:?}",
        reading.settings
    );
    let owners = here.owners()?;
    ensure!(owners.processes.len() == 1, "{:?}", owners.processes);
    ensure!(
        owners.processes[0].pid == std::process::id(),
        "{:?}",
        owners.processes
    );
    drop(here);
    // ... and the other way round.
    let mut there = Watch::with(Options {
        netns_of: Some(child.pid),
        ..tcp()
    })?;
    let reading = there.read()?;
    let census = reading.censuses.last().context("no census")?;
    ensure!(census.totals == totals(&[(10, 1)]), "{:?}", census.totals);
    ensure!(
        census.counters.active_opens == Some(0),
        "{:?}",
        census.counters
    );
    ensure!(
        reading.settings.fin_timeout_s == Some(77),
        "{:?}",
        reading.settings
    );
    let owners = reading.owners.last().context("no walk")?;
    ensure!(owners.processes.len() == 1, "{:?}", owners.processes);
    ensure!(
        owners.processes[0].pid == child.pid,
        "{:?}",
        owners.processes
    );
    Ok(())
}
