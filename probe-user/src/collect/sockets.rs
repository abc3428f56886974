//! Who is at the other end of sockets that were there before us, from the tables in /proc/PID/net.
//!
//! A node may have a hundred thousand sockets and hundreds of workers: the tables of a network namespace
//! are read once for all sockets asked for, line by line, and no further than needed.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::{BufRead, BufReader},
    net::{Ipv4Addr, Ipv6Addr},
    path::PathBuf,
};

use probe_common::peer::{self, PeerKey};

/// Tables of sockets with an address, and their IP protocol.
const TABLES: [(&str, u8); 4] = [
    ("tcp", TCP),
    ("tcp6", TCP),
    ("udp", libc::IPPROTO_UDP as u8),
    ("udp6", libc::IPPROTO_UDP as u8),
];
const TCP: u8 = libc::IPPROTO_TCP as u8;

/// Sockets asked for, by network namespace.
#[derive(Debug, Default)]
pub struct Wanted {
    /// By the namespace's link: a process in it, and inode numbers.
    namespaces: HashMap<PathBuf, (u32, HashSet<u64>)>,
}

impl Wanted {
    /// Asks for a socket of a process.
    pub fn add(&mut self, pid: u32, inode: u64) {
        let Ok(namespace) = std::fs::read_link(format!("/proc/{pid}/ns/net")) else {
            return;
        };
        let (_, inodes) = self
            .namespaces
            .entry(namespace)
            .or_insert_with(|| (pid, HashSet::new()));
        inodes.insert(inode);
    }

    /// The other ends by inode number, as the kernel side would name them; those without one are left
    /// out. `listened` says whether a local TCP port is one that is listened on.
    pub fn find(self, listened: impl Fn(u16) -> bool) -> HashMap<u64, PeerKey> {
        let mut found = HashMap::new();
        for (pid, mut inodes) in self.namespaces.into_values() {
            for (table, protocol) in TABLES {
                if inodes.is_empty() {
                    break;
                }
                if let Ok(file) = File::open(format!("/proc/{pid}/net/{table}")) {
                    scan(
                        BufReader::new(file),
                        protocol,
                        &listened,
                        &mut inodes,
                        &mut found,
                    );
                }
            }
            if !inodes.is_empty()
                && let Ok(file) = File::open(format!("/proc/{pid}/net/unix"))
            {
                scan_unix(BufReader::new(file), &mut inodes, &mut found);
            }
        }
        found
    }
}

/// Takes accepted Unix sockets in `inodes` out of their table. It tells only a socket's own name, which an
/// accepted one has from its listener; who a client is connected to it does not say.
pub fn scan_unix(
    mut table: impl BufRead,
    inodes: &mut HashSet<u64>,
    found: &mut HashMap<u64, PeerKey>,
) {
    let mut line = Vec::new();
    while !inodes.is_empty() {
        line.clear();
        match table.read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        if let Some((inode, key)) = accepted_unix(line.trim_ascii_end())
            && inodes.remove(&inode)
        {
            found.insert(inode, key);
        }
    }
}

/// Inode number and name of a line of /proc/net/unix that is a connected socket with a name:
/// `num: refcount protocol flags type state inode path`, with `@` for an abstract name's NUL.
fn accepted_unix(line: &[u8]) -> Option<(u64, PeerKey)> {
    // SS_CONNECTED; the inode number behind it is padded with blanks, and a path may hold any byte.
    const CONNECTED: &[u8] = b" 03 ";
    let at = line.windows(CONNECTED.len()).position(|w| w == CONNECTED)? + CONNECTED.len();
    let tail = line.get(at..)?.trim_ascii_start();
    let space = tail.iter().position(|b| *b == b' ')?;
    let inode = std::str::from_utf8(&tail[..space]).ok()?.parse().ok()?;
    let mut path = tail.get(space + 1..)?.to_vec();
    if path.first() == Some(&b'@') {
        path[0] = 0;
    }
    if path.is_empty() {
        return None;
    }
    let mut key = PeerKey::ZERO;
    key.kind = peer::kind::UNIX;
    key.flags = peer::flag::INBOUND;
    key.set_address(&path);
    Some((inode, key))
}

/// Takes the sockets in `inodes` out of a table.
pub fn scan(
    mut table: impl BufRead,
    protocol: u8,
    listened: &impl Fn(u16) -> bool,
    inodes: &mut HashSet<u64>,
    found: &mut HashMap<u64, PeerKey>,
) {
    let mut line = String::new();
    while !inodes.is_empty() {
        line.clear();
        match table.read_line(&mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let Some(inode) = inode(&line) else { continue };
        if inodes.remove(&inode)
            && let Some(key) = remote(&line, protocol, listened)
        {
            found.insert(inode, key);
        }
    }
}

/// Inode number of a line, its tenth field.
fn inode(line: &str) -> Option<u64> {
    line.split_ascii_whitespace().nth(9)?.parse().ok()
}

/// The other end of a line; none when it is not connected.
fn remote(line: &str, protocol: u8, listened: &impl Fn(u16) -> bool) -> Option<PeerKey> {
    let mut fields = line.split_ascii_whitespace();
    let (_, local_port) = fields.nth(1)?.split_once(':')?;
    let (address, port) = fields.next()?.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    if port == 0 {
        return None;
    }
    let mut key = PeerKey::ZERO;
    key.protocol = protocol;
    let local_port = u16::from_str_radix(local_port, 16).ok()?;
    if protocol == TCP && listened(local_port) {
        key.flags = peer::flag::INBOUND;
        key.local_port = local_port;
    } else {
        key.port = port;
    }
    match address.len() {
        8 => set_v4(&mut key, Ipv4Addr::from(word(address, 0)?)),
        32 => {
            let mut bytes = [0; 16];
            for (i, four) in bytes.chunks_exact_mut(4).enumerate() {
                four.copy_from_slice(&word(address, i)?);
            }
            let address = Ipv6Addr::from(bytes);
            match address.to_ipv4_mapped() {
                Some(v4) => set_v4(&mut key, v4),
                None => {
                    key.kind = peer::kind::INET6;
                    key.set_address(&address.octets());
                }
            }
        }
        _ => return None,
    }
    Some(key)
}

/// Four bytes of an address: the kernel prints words of its own byte order.
fn word(address: &str, index: usize) -> Option<[u8; 4]> {
    let digits = address.get(index * 8..index * 8 + 8)?;
    Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
}

fn set_v4(key: &mut PeerKey, address: Ipv4Addr) {
    key.kind = peer::kind::INET;
    key.set_address(&address.octets());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_accepted_unix_socket_has_its_listeners_name() {
        let line = b"ffff8880: 00000003 00000000 00000000 0001 03  4242 /run/php/a b.sock";
        let (inode, key) = accepted_unix(line).unwrap();
        assert_eq!((inode, key.address()), (4242, &b"/run/php/a b.sock"[..]));
        assert_eq!(key.flags, peer::flag::INBOUND);
        let listener = b"ffff8880: 00000002 00000000 00010000 0001 01 99 /run/php.sock";
        let client = b"ffff8880: 00000003 00000000 00000000 0001 03 77";
        assert!(accepted_unix(listener).is_none());
        assert!(accepted_unix(client).is_none());
        let (_, key) = accepted_unix(b"0: 3 0 0 0001 03 5 @name").unwrap();
        assert_eq!(key.address(), b"\0name");
    }

    const HEAD: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
    const V4: &str = "   1: 0100007F:C350 057100CB:01BB 01 00000000:00000000 00:00000000 00000000    33        0 4242 1 0\n";
    const MAPPED: &str = "   2: 0000000000000000FFFF00000100007F:C350 0000000000000000FFFF00000100007F:0016 01 \
                          00000000:00000000 00:00000000 00000000 0 0 9 1\n";

    fn find(table: &str, inodes: &[u64], listened: u16) -> HashMap<u64, PeerKey> {
        let mut found = HashMap::new();
        let mut wanted = inodes.iter().copied().collect();
        let listened = |port| port == listened;
        scan(table.as_bytes(), TCP, &listened, &mut wanted, &mut found);
        found
    }

    #[test]
    fn finds_the_remote_ends_by_inode_in_one_pass() {
        let table = format!("{HEAD}{V4}{MAPPED}");
        let found = find(&table, &[4242, 9, 77], 1);
        assert_eq!(found.len(), 2);
        assert_eq!(
            (found[&4242].address(), found[&4242].port),
            (&[203, 0, 113, 5][..], 443)
        );
        assert_eq!(
            (found[&9].kind, found[&9].address()),
            (peer::kind::INET, &[127, 0, 0, 1][..])
        );
        assert!(find(&table, &[4243], 1).is_empty());
    }

    #[test]
    fn a_connection_to_a_port_that_is_listened_on_came_in() {
        let key = find(V4, &[4242], 0xc350)[&4242];
        assert_eq!(
            (key.flags, key.port, key.local_port),
            (peer::flag::INBOUND, 0, 0xc350)
        );
        // The kernel side looks at TCP ports only.
        assert_eq!(remote(V4, 17, &|_| true).map(|k| k.flags), Some(0));
    }

    #[test]
    fn what_is_not_connected_or_cut_has_no_other_end() {
        let unconnected = V4.replace("057100CB:01BB", "00000000:0000");
        assert!(find(&unconnected, &[4242], 1).is_empty());
        for n in 0..MAPPED.len() {
            find(&MAPPED[..n], &[9], 1);
        }
    }

    #[test]
    fn finds_a_connection_of_our_own() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let stream = std::net::TcpStream::connect(to).unwrap();
        let link = std::fs::read_link(format!(
            "/proc/self/fd/{}",
            std::os::fd::AsRawFd::as_raw_fd(&stream)
        ));
        let link = link.unwrap().to_string_lossy().into_owned();
        let inode = link["socket:[".len()..link.len() - 1].parse().unwrap();
        let mut wanted = Wanted::default();
        wanted.add(std::process::id(), inode);
        let found = wanted.find(|port| port == to.port());
        assert_eq!(
            (found[&inode].port, found[&inode].flags),
            (to.port(), 0),
            "{found:?}"
        );
    }
}
