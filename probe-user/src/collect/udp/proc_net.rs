//! A census without the iterator: /proc/net/udp and udp6 of the calling thread's namespace. They have queues and drops,
//! but neither limits nor the number of datagrams.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use probe_common::udp::LISTED;

use super::{Census, SocketState, counters};
use crate::collect::monotonic_ns;

/// Takes a census.
///
/// # Errors
/// The files cannot be read.
pub fn census() -> io::Result<Census> {
    let mut census = Census {
        at_ns: monotonic_ns(),
        ..Census::default()
    };
    read(table("udp")?, &mut census)?;
    // Without IPv6 there is no such file.
    match table("udp6") {
        Ok(table) => read(table, &mut census)?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    census.took_ns = monotonic_ns() - census.at_ns;
    census.counters = counters::counters();
    Ok(census)
}

fn table(file: &str) -> io::Result<BufReader<File>> {
    File::open(format!("/proc/thread-self/net/{file}")).map(BufReader::new)
}

/// Adds the sockets of a table.
///
/// # Errors
/// It cannot be read.
pub fn read(mut table: impl BufRead, into: &mut Census) -> io::Result<()> {
    let mut line = String::new();
    while table.read_line(&mut line)? > 0 {
        if let Some(socket) = socket(&line) {
            into.total += 1;
            if socket.drops != 0 || socket.queued_bytes != 0 {
                if into.sockets.len() < LISTED as usize {
                    into.sockets.push(socket);
                } else {
                    into.left_out += 1;
                }
            }
        }
        line.clear();
    }
    Ok(())
}

/// `9: 0100007F:1F90 00000000:0000 07 00000000:00000500 00:00000000 00000000 0 0 501 2 0000000000000001 44`
fn socket(line: &str) -> Option<SocketState> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [
        _,
        local,
        remote,
        _,
        queues,
        _,
        _,
        uid,
        _,
        inode,
        _,
        sock,
        drops,
    ] = words[..]
    else {
        return None;
    };
    let remote = address(remote)?;
    let (_, queued_bytes) = queues.split_once(':')?;
    Some(SocketState {
        sock: u64::from_str_radix(sock, 16).ok()?,
        inode: inode.parse().ok()?,
        local: address(local)?,
        remote: (remote.port() != 0).then_some(remote),
        rcvbuf_bytes: None,
        queued_bytes: u64::from_str_radix(queued_bytes, 16).ok()?,
        queued: None,
        drops: drops.parse().ok()?,
        uid: uid.parse().ok()?,
    })
}

/// Words of 8 hexadecimal digits, each as the machine stores it, and a port.
fn address(text: &str) -> Option<SocketAddr> {
    let (words, port) = text.split_once(':')?;
    let (chunks, rest) = words.as_bytes().as_chunks::<8>();
    let bytes: Option<Vec<[u8; 4]>> = chunks
        .iter()
        .map(|chunk| {
            let word = u32::from_str_radix(str::from_utf8(chunk).ok()?, 16).ok()?;
            Some(word.to_ne_bytes())
        })
        .collect();
    let bytes = bytes.filter(|_| rest.is_empty())?;
    let ip = match bytes[..] {
        [v4] => IpAddr::V4(Ipv4Addr::from(v4)),
        [_, _, _, _] => {
            let all: [u8; 16] = bytes.as_flattened().try_into().ok()?;
            Ipv6Addr::from(all).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "\
  9: 0100007F:1F90 0200007F:0035 07 00000000:00000500 00:00000000 00000000  1000        0 501 2 ffff888003bf1a80 44         \n";

    #[test]
    fn a_line_is_a_socket() {
        let socket = socket(LINE).unwrap();
        assert_eq!(socket.local.to_string(), "127.0.0.1:8080");
        assert_eq!(socket.remote.unwrap().to_string(), "127.0.0.2:53");
        assert_eq!((socket.queued_bytes, socket.drops), (0x500, 44));
        assert_eq!((socket.uid, socket.inode), (1000, 501));
        assert_eq!(socket.sock, 0xffff_8880_03bf_1a80);
        assert_eq!((socket.rcvbuf_bytes, socket.queued), (None, None));
    }

    #[test]
    fn an_unconnected_ipv6_socket_has_no_other_side() {
        let line = LINE
            .replace("0100007F", "00000000000000000000000001000000")
            .replace("0200007F:0035", "00000000000000000000000000000000:0000");
        let socket = socket(&line).unwrap();
        assert_eq!(socket.local.to_string(), "[::1]:8080");
        assert_eq!(socket.remote, None);
    }

    #[test]
    fn cut_lines_are_left_out() {
        let whole = LINE.trim_end();
        for n in 0..whole.len() - 2 {
            assert_eq!(socket(&whole[..n]), None, "{n}");
        }
        assert_eq!(
            socket(
                "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops"
            ),
            None
        );
    }
}
