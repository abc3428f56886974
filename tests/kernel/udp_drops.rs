//! Datagrams that find their socket full: each case compares what is reported with the kernel's counters, with the
//! socket's own, and with what the workload sent and did not get.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr, UdpSocket},
    os::fd::AsRawFd as _,
    thread,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use probe_common::loss;
use probe_tests::{child, feature, netns::Netns, sys, tcp::many_descriptors};
use stallscope::attach::{self, Mode, Options, Signals, State};

use crate::{
    steps::report_and_stay,
    udp_seen::{
        UdpWatch, V4, V6, arrived, counter, flood, in_proc, receiver, set_buffer, settle, sharing,
        taken,
    },
};

/// The first kernel whose tracepoint hands out the datagram.
const WITH_DATAGRAM: (u32, u32) = (6, 10);
const BUFFER: i32 = 32 << 10;

pub fn a_full_buffer_agrees_with_every_other_count() -> anyhow::Result<()> {
    agrees(V4)
}

pub fn a_full_buffer_agrees_over_ipv6() -> anyhow::Result<()> {
    feature::require(&feature::IPV6)?;
    agrees(V6)
}

fn agrees(ip: IpAddr) -> anyhow::Result<()> {
    const SENT: u64 = 2000;
    let netns = Netns::enter()?;
    let socket = receiver(ip, BUFFER)?;
    let sender = UdpSocket::bind(SocketAddr::new(ip, 0))?;
    let to = socket.local_addr()?;
    // Dropped before anybody watched: in the socket's own count, and in nothing that began with the watch.
    flood(&sender, to, 500)?;
    settle(ip, 500, 0)?;
    let old = in_proc(&socket)?.1;
    ensure!(old > 0, "the buffer holds 500 datagrams");
    taken(&socket)?;

    let mut watch = UdpWatch::start(netns)?;
    watch.read()?;
    ensure!(watch.total() == 0, "{:?}", watch.udp.drops);
    let before = (arrived(ip)?, counter(ip, "RcvbufErrors")?);
    let begun_ns = sys::now_ns();
    flood(&sender, to, SENT)?;
    settle(ip, SENT, before.0)?;
    let ended_ns = sys::now_ns();
    watch.read()?;
    let (queued_bytes, drops, inode) = in_proc(&socket)?;
    let errors = counter(ip, "RcvbufErrors")? - before.1;
    let lost = SENT - taken(&socket)?;

    let [of_socket] = watch.udp.drops.as_slice() else {
        anyhow::bail!("{:?}", watch.udp.drops);
    };
    let full = of_socket.reasons.buffer_full;
    ensure!(
        (full, full, full) == (errors, drops - old, lost) && full > 0,
        "reported {full}, RcvbufErrors {errors}, the socket's own {}, missing {lost}",
        drops - old
    );
    ensure!(of_socket.reasons.total() == full, "{of_socket:?}");
    ensure!(of_socket.local == to, "{of_socket:?}");
    ensure!(of_socket.inode == inode, "{of_socket:?}, inode {inode}");
    ensure!(of_socket.rcvbuf_bytes == 2 * BUFFER as u64);
    ensure!(of_socket.queued_bytes > of_socket.rcvbuf_bytes / 2);
    // Older kernels do not show it; what the socket counts is then told, at the next census.
    let shown = ip.is_ipv4() || feature::kernel_version() >= WITH_DATAGRAM;
    ensure!(
        !shown
            || begun_ns <= of_socket.born_ns
                && of_socket.born_ns <= of_socket.last_ns
                && of_socket.last_ns <= ended_ns,
        "{begun_ns} {of_socket:?} {ended_ns}"
    );
    if feature::kernel_version() >= WITH_DATAGRAM {
        ensure!(
            of_socket.sender == Some(sender.local_addr()?),
            "{of_socket:?}"
        );
        let each = of_socket.truesize_bytes.context("no size")? / full;
        ensure!((200..4096).contains(&each), "{each} bytes each");
    } else {
        ensure!(of_socket.truesize_bytes.is_none() && of_socket.sender.is_none());
    }

    // The iterator and /proc see the same socket.
    let census = watch.census()?;
    ensure!(census.total == 2 && census.left_out == 0, "{census:?}");
    let [listed] = census.sockets.as_slice() else {
        anyhow::bail!("{census:?}");
    };
    ensure!(
        (listed.queued_bytes, listed.drops, listed.inode) == (queued_bytes, drops, inode),
        "{listed:?}: /proc has {queued_bytes} bytes, {drops} drops, inode {inode}"
    );
    ensure!((listed.sock, listed.local, listed.remote) == (of_socket.sock, to, None));
    ensure!(listed.rcvbuf_bytes == Some(of_socket.rcvbuf_bytes));
    ensure!(listed.queued == Some(SENT - lost), "{listed:?}");
    let counted = if ip.is_ipv4() {
        census.counters.v4
    } else {
        census.counters.v6
    };
    ensure!(
        counted.rcvbuf_errors == Some(errors + before.1),
        "{counted:?}"
    );

    // The first drop is a step, and each says how far it had come.
    let steps = &watch.udp.steps;
    ensure!(
        !shown || steps.first().is_some_and(|step| step.total == 1),
        "{steps:?}"
    );
    ensure!(
        steps
            .iter()
            .all(|s| s.born_ns == of_socket.born_ns && s.total <= full)
    );
    let [holder] = watch.udp.holders.as_slice() else {
        anyhow::bail!("{:?}", watch.udp.holders);
    };
    ensure!(
        (holder.pid, holder.fd) == (std::process::id(), socket.as_raw_fd() as u32),
        "{holder:?}"
    );
    ensure!(!holder.comm.is_empty() && holder.inode == inode);
    let settings = &watch.udp.settings;
    ensure!(settings.rmem_default_bytes.is_some() && settings.udp_mem_bytes.is_some());
    watch.ensure_no_loss()
}

pub fn a_connected_socket_knows_the_other_side() -> anyhow::Result<()> {
    const SENT: u64 = 500;
    let netns = Netns::enter()?;
    let socket = receiver(V4, BUFFER)?;
    let sender = UdpSocket::bind(SocketAddr::new(V4, 0))?;
    socket.connect(sender.local_addr()?)?;
    let mut watch = UdpWatch::start(netns)?;
    flood(&sender, socket.local_addr()?, SENT)?;
    settle(V4, SENT, 0)?;
    watch.read()?;
    let lost = SENT - taken(&socket)?;
    let [drops] = watch.udp.drops.as_slice() else {
        anyhow::bail!("{:?}", watch.udp.drops);
    };
    ensure!(
        drops.reasons.buffer_full == lost && lost > 0,
        "{drops:?}, {lost} missing"
    );
    // Whether or not the kernel hands out the datagram.
    ensure!(drops.sender == Some(sender.local_addr()?), "{drops:?}");
    ensure!(watch.census()?.sockets[0].remote == Some(sender.local_addr()?));
    watch.ensure_no_loss()
}

pub fn a_reader_that_keeps_up_drops_nothing() -> anyhow::Result<()> {
    let netns = Netns::enter()?;
    let socket = receiver(V4, BUFFER)?;
    let sender = UdpSocket::bind(SocketAddr::new(V4, 0))?;
    let mut watch = UdpWatch::start(netns)?;
    for _ in 0..200 {
        flood(&sender, socket.local_addr()?, 10)?;
        taken(&socket)?;
    }
    settle(V4, 2000, 0)?;
    taken(&socket)?;
    watch.read()?;
    ensure!(
        watch.udp.drops.is_empty() && watch.udp.steps.is_empty(),
        "{:?}",
        watch.udp
    );
    ensure!(watch.udp.holders.is_empty());
    ensure!(watch.census()?.total == 2, "{:?}", watch.census()?);
    watch.ensure_no_loss()
}

pub fn whoever_holds_the_socket_is_found() -> anyhow::Result<()> {
    let netns = Netns::enter()?;
    let socket = receiver(V4, BUFFER)?;
    let sender = UdpSocket::bind(SocketAddr::new(V4, 0))?;
    let (ours, theirs) = sys::socketpair().map_err(std::io::Error::from_raw_os_error)?;
    // The first child inherits the socket, the second is handed it, the third has none.
    let inherited = socket.as_raw_fd();
    let heir = child::fork(|link| report_and_stay(link, &[]))?;
    let mut handed = child::fork(move |link| {
        sys::close(inherited).expect("close");
        let fd = sys::receive_fd(theirs).expect("a descriptor");
        sys::set_comm(b"a) \xff\nb");
        report_and_stay(link, &[fd as u64]);
    })?;
    let mut other = child::fork(move |link| {
        sys::close(inherited).expect("close");
        report_and_stay(link, &[]);
    })?;
    other.recv()?;
    sys::send_fd(ours, inherited).map_err(std::io::Error::from_raw_os_error)?;
    let handed_fd = handed.recv()?[0] as u32;

    let mut watch = UdpWatch::start(netns)?;
    flood(&sender, socket.local_addr()?, 500)?;
    settle(V4, 500, 0)?;
    watch.read()?;
    let holders = |watch: &UdpWatch| -> BTreeSet<(u32, u32)> {
        let all = watch.udp.holders.iter();
        all.map(|h| (h.pid, h.fd)).collect()
    };
    let want = BTreeSet::from([
        (std::process::id(), inherited as u32),
        (heir.pid, inherited as u32),
        (handed.pid, handed_fd),
    ]);
    ensure!(
        holders(&watch) == want,
        "{:?}, not {want:?}",
        holders(&watch)
    );
    let named = watch.udp.holders.iter().find(|h| h.pid == handed.pid);
    ensure!(named.is_some_and(|h| h.comm == b"a) \xff\nb"), "{named:?}");

    // It is passed on later, and goes on dropping.
    let late = child::fork(|link| report_and_stay(link, &[]))?;
    flood(&sender, socket.local_addr()?, 500)?;
    settle(V4, 1000, 0)?;
    watch.read()?;
    ensure!(holders(&watch).contains(&(late.pid, inherited as u32)));
    for fd in [ours, theirs] {
        sys::close(fd).map_err(std::io::Error::from_raw_os_error)?;
    }
    watch.ensure_no_loss()
}

pub fn what_a_closed_socket_dropped_stays() -> anyhow::Result<()> {
    const ROUNDS: usize = 20;
    let netns = Netns::enter()?;
    let sender = UdpSocket::bind(SocketAddr::new(V4, 0))?;
    let mut watch = UdpWatch::start(netns)?;
    let mut port = 0;
    let mut want = Vec::new();
    for round in 0..ROUNDS {
        // The kernel gives the next socket the same memory, and the same port is asked for.
        let socket = UdpSocket::bind(SocketAddr::new(V4, port))?;
        set_buffer(&socket, BUFFER)?;
        socket.set_nonblocking(true)?;
        port = socket.local_addr()?.port();
        let sent = 300 + round as u64;
        let before = arrived(V4)?;
        flood(&sender, socket.local_addr()?, sent)?;
        settle(V4, sent, before)?;
        let (_, drops, inode) = in_proc(&socket)?;
        want.push((inode, drops));
        ensure!(sent - taken(&socket)? == drops);
    }
    watch.read()?;
    let mut got: Vec<_> = watch.of_port(port);
    got.sort_by_key(|drops| drops.born_ns);
    let rows: Vec<_> = got.iter().map(|d| (d.inode, d.reasons.total())).collect();
    ensure!(rows == want, "{rows:?}, not {want:?}");
    let reused = ROUNDS - got.iter().map(|d| d.sock).collect::<BTreeSet<_>>().len();
    println!("    {reused} of {ROUNDS} sockets came to lie where one had been before");
    watch.ensure_no_loss()
}

pub fn two_sockets_on_one_port_are_told_apart() -> anyhow::Result<()> {
    const SENT: u64 = 4000;
    let netns = Netns::enter()?;
    let one = sharing(SocketAddr::new(V4, 0))?;
    let two = sharing(one.local_addr()?)?;
    set_buffer(&one, BUFFER)?;
    set_buffer(&two, 2 * BUFFER)?;
    let mut watch = UdpWatch::start(netns)?;
    // The kernel chooses by the sender's address.
    let senders: Vec<UdpSocket> = (0..40)
        .map(|_| UdpSocket::bind(SocketAddr::new(V4, 0)))
        .collect::<Result<_, _>>()?;
    for sender in &senders {
        flood(sender, one.local_addr()?, SENT / 40)?;
    }
    settle(V4, SENT, 0)?;
    watch.read()?;
    let mut total = 0;
    for (socket, buffer) in [(&one, BUFFER), (&two, 2 * BUFFER)] {
        let (_, drops, inode) = in_proc(socket)?;
        let of_socket = watch.udp.drops.iter().find(|d| d.inode == inode);
        let of_socket = of_socket.with_context(|| format!("{:?}", watch.udp.drops))?;
        ensure!(
            of_socket.reasons.total() == drops && drops > 0,
            "{of_socket:?}"
        );
        ensure!(of_socket.rcvbuf_bytes == 2 * buffer as u64, "{of_socket:?}");
        total += drops + taken(socket)?;
    }
    ensure!(total == SENT, "{total} of {SENT}");
    let fds: BTreeSet<u32> = watch.udp.holders.iter().map(|h| h.fd).collect();
    ensure!(fds == [&one, &two].map(|s| s.as_raw_fd() as u32).into());
    watch.ensure_no_loss()
}

pub fn other_namespaces_stay_out() -> anyhow::Result<()> {
    let elsewhere = Netns::enter()?;
    let socket = receiver(V4, BUFFER)?;
    let sender = UdpSocket::bind(SocketAddr::new(V4, 0))?;
    let here = Netns::enter()?;
    let mut watch = UdpWatch::start(here)?;
    flood(&sender, socket.local_addr()?, 500)?;
    ensure!(taken(&socket)? < 500, "nothing was dropped");
    watch.read()?;
    ensure!(
        watch.udp.drops.is_empty() && watch.udp.steps.is_empty(),
        "{:?}",
        watch.udp
    );
    ensure!(watch.census()?.total == 0, "{:?}", watch.census()?);
    drop(watch);
    drop(elsewhere);
    Ok(())
}

pub fn many_cpus_at_once_are_counted_exactly() -> anyhow::Result<()> {
    const EACH: Duration = Duration::from_millis(1500);
    let cpus = thread::available_parallelism()?.get().max(2);
    let netns = Netns::enter()?;
    let shared = receiver(V4, BUFFER)?;
    let own: Vec<UdpSocket> = (0..cpus)
        .map(|_| receiver(V4, BUFFER))
        .collect::<Result<_, _>>()?;
    let mut watch = UdpWatch::start(netns)?;
    // Each thread fills the one that all share, and one of its own.
    let sent: u64 = thread::scope(|scope| {
        let threads: Vec<_> = own
            .iter()
            .map(|own| {
                let targets = [shared.local_addr(), own.local_addr()];
                scope.spawn(move || -> anyhow::Result<u64> {
                    let [shared, own] = targets;
                    let (shared, own) = (shared?, own?);
                    let sender = UdpSocket::bind(SocketAddr::new(V4, 0))?;
                    let until = sys::now_ns() + EACH.as_nanos() as u64;
                    let mut sent = 0;
                    while sys::now_ns() < until {
                        flood(&sender, shared, 50)?;
                        flood(&sender, own, 50)?;
                        sent += 100;
                    }
                    Ok(sent)
                })
            })
            .collect();
        let mut total = 0;
        for thread in threads {
            while !thread.is_finished() {
                watch.collector.drain();
                thread::sleep(Duration::from_millis(10));
            }
            total += thread
                .join()
                .unwrap_or_else(|_| anyhow::bail!("a sender failed"))?;
        }
        anyhow::Ok(total)
    })?;
    settle(V4, sent, 0)?;
    watch.read()?;
    let errors = counter(V4, "RcvbufErrors")?;
    ensure!(
        watch.total() == errors,
        "{} of {errors} drops",
        watch.total()
    );
    for socket in own.iter().chain([&shared]) {
        let (_, drops, inode) = in_proc(socket)?;
        let row = watch.udp.drops.iter().find(|d| d.inode == inode);
        ensure!(
            row.is_some_and(|d| d.reasons.total() == drops),
            "{row:?}, not {drops}"
        );
        // Ten a second, and a second CPU that finds one due at the same moment.
        let steps = watch
            .udp
            .steps
            .iter()
            .filter(|s| Some(s.born_ns) == row.map(|d| d.born_ns));
        let steps = steps.count();
        ensure!(steps <= 2 * 16 + 2, "{steps} records for {drops} drops");
    }
    let per_second = errors * 1_000 / EACH.as_millis() as u64;
    println!(
        "    {errors} drops, {per_second} a second, {} records on the ring, {} censuses",
        watch.udp.steps.len(),
        watch.udp.censuses.len()
    );
    watch.ensure_no_loss()
}

pub fn sockets_beyond_the_table_are_counted_together() -> anyhow::Result<()> {
    // Some more than the table of 4,096 has room for.
    const SOCKETS: usize = 4_200;
    const PROCESSES: usize = 3;
    const EACH: u64 = 12;
    let netns = Netns::enter()?;
    let mut watch = UdpWatch::start(netns)?;
    // Several, as a process of a guest may open 4,096 files.
    let holders = (0..PROCESSES).map(|_| {
        child::fork(|link| {
            many_descriptors();
            let sender = UdpSocket::bind(SocketAddr::new(V4, 0)).expect("bind");
            let mut sockets = Vec::new();
            for _ in 0..SOCKETS / PROCESSES {
                // As small as the kernel allows.
                let socket = receiver(V4, 1).expect("bind");
                flood(&sender, socket.local_addr().expect("address"), EACH).expect("send");
                sockets.push(socket);
            }
            drop(sender);
            report_and_stay(link, &[]);
        })
    });
    let mut holders = holders.collect::<anyhow::Result<Vec<_>>>()?;
    for holder in &mut holders {
        holder.recv()?;
    }
    settle(V4, SOCKETS as u64 * EACH, 0)?;
    watch.read()?;
    let errors = counter(V4, "RcvbufErrors")?;
    ensure!(
        watch.total() == errors,
        "{} of {errors} drops",
        watch.total()
    );
    let of_others = watch
        .udp
        .drops
        .iter()
        .find(|d| d.sock == 0)
        .context("no other row")?;
    let lost = watch.losses[loss::slot::UDP_SOCKETS_FULL as usize];
    ensure!(
        of_others.reasons.total() == lost,
        "{of_others:?}, {lost} lost"
    );
    // The row of the others is one of them.
    ensure!(
        watch.udp.drops.len() == 4096,
        "{} rows",
        watch.udp.drops.len()
    );
    let census = watch.census()?;
    ensure!(census.total == SOCKETS as u64, "{} sockets", census.total);
    ensure!(census.sockets.len() as u64 + census.left_out == SOCKETS as u64);
    println!(
        "    a census of {} sockets took {:.1} ms",
        census.total,
        census.took_ns as f64 / 1e6
    );
    Ok(())
}

/// The ledger with everything beside it: programs that share maps, and the verifier of old kernels.
pub fn all_signals_at_once_attach() -> anyhow::Result<()> {
    let options = Options {
        mode: Mode::Ledger { follow_all: false },
        signals: Signals::ALL,
        ..Options::default()
    };
    let attached = attach::attach(&options)?;
    for status in attached.probes() {
        if status.id.starts_with("udp_") {
            ensure!(status.state == State::Active, "{status:?}");
        }
    }
    Ok(())
}
