//! UDP: sockets that drop datagrams, their queues, and who holds them.
//!
//! - [`drops`]: sums by socket, from the tracepoint.
//! - [`census`]: every socket that is not empty or has dropped something.
//! - [`owners`]: which process holds a socket that drops.
//!
//! Only sockets of one network namespace count, see `NETNS`.

pub mod census;
pub mod drops;
pub mod owners;

use probe_common::{peer::kind, udp::UdpAddress};

use crate::{maps::config, mem};

/// Protocol number (include/uapi/linux/in.h). UDP-Lite is another one.
const IPPROTO_UDP: u32 = 17;
/// Address family (include/linux/socket.h).
const AF_INET: u16 = 2;

/// Reads the addresses of a socket: its own, and the other side's when it is connected.
#[inline(always)]
fn addresses(sock: u64, local: &mut UdpAddress, remote: &mut UdpAddress) -> Option<()> {
    local.port = mem::kernel(sock + config!(offsets.skc_num) as u64)?;
    let port = mem::kernel::<u16>(sock + config!(offsets.skc_dport) as u64)?.swap_bytes();
    let family = mem::kernel::<u16>(sock + config!(offsets.skc_family) as u64)?;
    let (kind, own, other) = if family == AF_INET {
        let ip = |offset: u32| Some([mem::kernel::<u32>(sock + offset as u64)? as u64, 0]);
        (
            kind::INET as u16,
            ip(config!(offsets.skc_rcv_saddr))?,
            ip(config!(offsets.skc_daddr))?,
        )
    } else {
        let ip = |offset: u32| mem::kernel::<[u64; 2]>(sock + offset as u64);
        (
            kind::INET6 as u16,
            ip(config!(offsets.skc_v6_rcv_saddr))?,
            ip(config!(offsets.skc_v6_daddr))?,
        )
    };
    local.kind = kind;
    local.ip = own;
    if port != 0 {
        remote.kind = kind;
        remote.port = port;
        remote.ip = other;
    }
    Some(())
}
