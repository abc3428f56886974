//! What watching UDP yields, and what the kernel itself says of the same.

use std::{
    fs,
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    os::fd::{AsRawFd as _, FromRawFd as _},
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use probe_tests::{netns::Netns, sys};
use stallscope::{
    attach::{self, Mode, Options, Signals, State},
    collect::{
        Collector,
        udp::{Census, SocketDrops, UdpReading},
    },
};

pub const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
pub const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// UDP watched in a network namespace of the case's own.
pub struct UdpWatch {
    pub collector: Collector,
    /// Everything so far.
    pub udp: UdpReading,
    /// Lost so far, by slot.
    pub losses: Vec<u64>,
    _netns: Netns,
}

/// To watch UDP alone.
pub fn udp() -> Options {
    Options {
        mode: Mode::Signals,
        signals: Signals {
            udp: true,
            ..Signals::default()
        },
        ..Options::default()
    }
}

impl UdpWatch {
    /// Attaches, in a namespace that the caller has entered.
    pub fn start(netns: Netns) -> anyhow::Result<Self> {
        Self::with(netns, &udp())
    }

    /// The same with options.
    pub fn with(netns: Netns, options: &Options) -> anyhow::Result<Self> {
        let collector = Collector::new(attach::attach(options)?)?;
        for id in ["udp_drops", "udp_census", "udp_owners"] {
            let status = collector.probes().into_iter().find(|p| p.id == id);
            let status = status.with_context(|| format!("no probe {id}"))?;
            ensure!(
                status.state == State::Active && !status.source.starts_with('/'),
                "{status:?}"
            );
        }
        Ok(Self {
            collector,
            udp: UdpReading::default(),
            losses: Vec::new(),
            _netns: netns,
        })
    }

    /// Reads everything.
    pub fn read(&mut self) -> anyhow::Result<()> {
        let reading = self.collector.read()?;
        let udp = *reading.udp.context("nothing about UDP")?;
        self.udp.drops = udp.drops;
        self.udp.retired.extend(udp.retired);
        let retired = self.udp.retired.iter().cloned();
        self.udp.drops.extend(retired);
        self.udp.holders = udp.holders;
        self.udp.settings = udp.settings;
        self.udp.steps.extend(udp.steps);
        self.udp.censuses.extend(udp.censuses);
        self.losses = reading.losses.to_vec();
        Ok(())
    }

    /// The last census.
    pub fn census(&self) -> anyhow::Result<&Census> {
        self.udp.censuses.last().context("no census")
    }

    /// What the sockets bound to a port dropped.
    pub fn of_port(&self, port: u16) -> Vec<&SocketDrops> {
        let drops = self.udp.drops.iter();
        drops.filter(|drops| drops.local.port() == port).collect()
    }

    /// Everything that was dropped.
    pub fn total(&self) -> u64 {
        self.udp.drops.iter().map(|d| d.reasons.total()).sum()
    }

    /// Nothing was lost.
    pub fn ensure_no_loss(&self) -> anyhow::Result<()> {
        ensure!(
            self.losses.iter().all(|n| *n == 0),
            "losses by slot: {:?}",
            self.losses
        );
        Ok(())
    }
}

/// A socket that is read from by nobody but [`taken`], with a buffer of so many bytes (the kernel doubles them).
pub fn receiver(ip: IpAddr, buffer: i32) -> anyhow::Result<UdpSocket> {
    let socket = UdpSocket::bind(SocketAddr::new(ip, 0))?;
    set_buffer(&socket, buffer)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

pub fn set_buffer(socket: &UdpSocket, bytes: i32) -> anyhow::Result<()> {
    sys::set_socket_option(socket.as_raw_fd(), libc::SO_RCVBUF, bytes)
        .map_err(std::io::Error::from_raw_os_error)?;
    Ok(())
}

/// A socket on a port that others may have too.
pub fn sharing(address: SocketAddr) -> anyhow::Result<UdpSocket> {
    let os = std::io::Error::from_raw_os_error;
    let fd = sys::socket(libc::AF_INET, libc::SOCK_DGRAM).map_err(os)?;
    // SAFETY: a descriptor that was just made, and that nobody else has.
    let socket = unsafe { UdpSocket::from_raw_fd(fd) };
    sys::set_socket_option(fd, libc::SO_REUSEPORT, 1).map_err(os)?;
    sys::bind(fd, &address.into()).map_err(os)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Sends so many datagrams.
pub fn flood(from: &UdpSocket, to: SocketAddr, datagrams: u64) -> anyhow::Result<()> {
    for _ in 0..datagrams {
        from.send_to(&[7; 200], to)?;
    }
    Ok(())
}

/// Takes out everything that is queued.
pub fn taken(socket: &UdpSocket) -> anyhow::Result<u64> {
    let mut count = 0;
    loop {
        match socket.recv(&mut [0; 256]) {
            Ok(_) => count += 1,
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(count),
            Err(e) => return Err(e.into()),
        }
    }
}

/// Waits until nothing is on its way in the namespace: what was sent has come, or was dropped.
pub fn settle(ip: IpAddr, sent: u64, before: u64) -> anyhow::Result<()> {
    for _ in 0..200 {
        if arrived(ip)? - before >= sent {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    anyhow::bail!("{} of {sent} datagrams came", arrived(ip)? - before)
}

/// Packets that sockets in this namespace have been given: queued or dropped.
pub fn arrived(ip: IpAddr) -> anyhow::Result<u64> {
    counter_of(ip, ["Ip", "Ip6"], "InDelivers")
}

/// A counter of UDP in /proc/net/snmp or snmp6; 0 when the kernel does not have it.
pub fn counter(ip: IpAddr, name: &str) -> anyhow::Result<u64> {
    counter_of(ip, ["Udp", "Udp6"], name)
}

fn counter_of(ip: IpAddr, [v4, v6]: [&str; 2], name: &str) -> anyhow::Result<u64> {
    if ip.is_ipv4() {
        return Ok(probe_tests::netns::counter(v4, name).unwrap_or(0));
    }
    let text = fs::read_to_string("/proc/thread-self/net/snmp6")?;
    let name = format!("{v6}{name}");
    let line = text
        .lines()
        .find(|l| l.split_whitespace().next() == Some(&name));
    let value = line.and_then(|l| l.split_whitespace().nth(1));
    Ok(value.map(str::parse).transpose()?.unwrap_or(0))
}

/// What /proc says of a socket: bytes queued, drops, inode number. (Its kernel address is a made-up one there.)
pub fn in_proc(socket: &UdpSocket) -> anyhow::Result<(u64, u64, u64)> {
    let address = socket.local_addr()?;
    let file = if address.is_ipv4() { "udp" } else { "udp6" };
    let link = fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd()))?;
    let inode = link.to_string_lossy();
    let inode = inode
        .strip_prefix("socket:[")
        .and_then(|rest| rest.strip_suffix(']'))
        .context("no socket")?;
    let text = fs::read_to_string(Path::new("/proc/thread-self/net").join(file))?;
    for line in text.lines().skip(1) {
        let words: Vec<&str> = line.split_whitespace().collect();
        if words[9] == inode {
            let (_, queued) = words[4].split_once(':').context("no queue")?;
            let queued = u64::from_str_radix(queued, 16)?;
            return Ok((queued, words[12].parse()?, inode.parse()?));
        }
    }
    anyhow::bail!("no line with inode {inode} in {file}")
}
