//! A network namespace of a case's own: nobody else's sockets, settings and counters.

use std::{
    fs::File,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    path::Path,
};

use anyhow::{Context as _, ensure};

/// The calling thread, and every process and thread that it starts, is in a new network namespace with
/// loopback up, until this is dropped. What goes on in it ends with the last process in it.
pub struct Netns {
    before: File,
}

impl Netns {
    /// Makes one and enters it.
    pub fn enter() -> anyhow::Result<Self> {
        let before = File::open("/proc/thread-self/ns/net")?;
        // SAFETY: changes the calling thread only.
        let r = unsafe { libc::unshare(libc::CLONE_NEWNET) };
        ensure!(r == 0, "unshare: {}", std::io::Error::last_os_error());
        let entered = Self { before };
        loopback_up()?;
        Ok(entered)
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        // SAFETY: a namespace of the right kind; changes the calling thread only.
        unsafe { libc::setns(self.before.as_raw_fd(), libc::CLONE_NEWNET) };
    }
}

/// Sets something below /proc/sys, such as `net/ipv4/tcp_tw_reuse`, in the calling thread's namespace.
pub fn set(name: &str, value: &str) -> anyhow::Result<()> {
    let path = Path::new("/proc/sys").join(name);
    std::fs::write(&path, value).with_context(|| format!("writing {value} to {}", path.display()))
}

/// Narrows the range of local ports that connects choose from.
pub fn set_ports(first: u16, last: u16) -> anyhow::Result<()> {
    set("net/ipv4/ip_local_port_range", &format!("{first} {last}"))
}

/// Gives the loopback device of the calling thread's namespace one more address, such as one that is not 127.0.0.0/8, which
/// the kernel treats as another machine's in more than one place.
pub fn add_address(ip: std::net::IpAddr) -> anyhow::Result<()> {
    let out = std::process::Command::new(crate::web::program("ip", "iproute2")?)
        .args(["address", "add", &ip.to_string(), "dev", "lo"])
        .output()?;
    ensure!(
        out.status.success(),
        "ip: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    Ok(())
}

/// A counter of /proc/net/netstat or /proc/net/snmp in the calling thread's namespace,
/// such as `TcpExt`, `ListenOverflows`.
pub fn counter(group: &str, name: &str) -> anyhow::Result<u64> {
    let prefix = format!("{group}:");
    for file in ["netstat", "snmp"] {
        let text = std::fs::read_to_string(format!("/proc/thread-self/net/{file}"))?;
        let mut lines = text.lines().filter_map(|line| line.strip_prefix(&prefix));
        // Names in one line, values in the next.
        let (Some(names), Some(values)) = (lines.next(), lines.next()) else {
            continue;
        };
        let mut pairs = names.split_whitespace().zip(values.split_whitespace());
        if let Some((_, value)) = pairs.find(|(n, _)| *n == name) {
            return Ok(value.parse()?);
        }
    }
    anyhow::bail!("the kernel has no counter {group} {name}")
}

/// Connections that wait to be accepted at an IPv4 listener of the calling thread's namespace, by /proc/net/tcp.
pub fn waiting(on: std::net::SocketAddr) -> anyhow::Result<u64> {
    let std::net::SocketAddr::V4(on) = on else {
        anyhow::bail!("{on} is not IPv4");
    };
    let address = u32::from_ne_bytes(on.ip().octets());
    let listener = format!(" {address:08X}:{:04X} 00000000:0000 0A ", on.port());
    let text = std::fs::read_to_string("/proc/thread-self/net/tcp")?;
    let mut lines = text.lines().filter_map(|line| line.split_once(&listener));
    // Then "tx_queue:rx_queue".
    let queue = lines.next().and_then(|(_, rest)| rest.get(9..17));
    let queue = queue.with_context(|| format!("nobody listens on {on}"))?;
    Ok(u64::from_str_radix(queue, 16)?)
}

fn loopback_up() -> anyhow::Result<()> {
    // SAFETY: makes a descriptor that nobody else owns, or fails.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    ensure!(fd >= 0, "socket: {}", std::io::Error::last_os_error());
    // SAFETY: as above.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: an interface request of zeroes is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
    // SAFETY: reads one interface request.
    let r = unsafe { libc::ioctl(fd.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    ensure!(r == 0, "loopback: {}", std::io::Error::last_os_error());
    Ok(())
}
