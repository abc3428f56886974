//! What user space tells the kernel side before it loads: offsets of the running kernel and the filter.
//!
//! It is one read-only global, `CONFIG`, so the verifier sees constants and removes what is switched off.

use crate::{dns::DnsConfig, files::FilesConfig, journal::JournalConfig, shared, udp::UdpConfig};

/// Offset of something that the running kernel does not have.
pub const ABSENT: u32 = u32::MAX;
/// System call numbers that [`Config::ops`] covers.
pub const MAX_NR: usize = 512;

/// How the kernel waits in a system call that is not accounted (value of [`Config::ops`] with
/// [`WAIT_CLASS`] set).
pub const WAIT_CLASS: u8 = 0x80;

shared! {
    /// Byte offsets of structure fields, from the running kernel's BTF; [`ABSENT`] when it has none.
    pub struct Offsets {
        /// task_struct.pid
        pub task_pid: u32,
        /// task_struct.tgid
        pub task_tgid: u32,
        /// task_struct.__state (5.14), before that task_struct.state
        pub task_state: u32,
        /// task_struct.files
        pub task_files: u32,
        /// task_struct.start_boottime
        pub task_start: u32,
        /// task_struct.stack
        pub task_stack: u32,
        /// files_struct.count: how many tasks share the table.
        pub files_count: u32,
        /// files_struct.fdt
        pub files_fdt: u32,
        /// fdtable.max_fds
        pub fdt_max_fds: u32,
        /// fdtable.fd
        pub fdt_fd: u32,
        /// file.private_data
        pub file_private: u32,
        /// file.f_inode
        pub file_inode: u32,
        /// inode.i_mode
        pub inode_mode: u32,
        /// inode.i_ino
        pub inode_ino: u32,
        /// socket.sk
        pub socket_sk: u32,
        /// sock.sk_protocol
        pub sk_protocol: u32,
        /// sock.sk_err
        pub sk_err: u32,
        /// sock.sk_socket
        pub sk_socket: u32,
        /// sock.sk_ack_backlog
        pub sk_ack_backlog: u32,
        /// sock.sk_max_ack_backlog
        pub sk_max_ack_backlog: u32,
        /// sock.sk_drops
        pub sk_drops: u32,
        /// sock.sk_receive_queue
        pub sk_receive_queue: u32,
        /// sk_buff_head.qlen
        pub skb_head_qlen: u32,
        /// sock_common.skc_net
        pub skc_net: u32,
        /// inet_connection_sock.icsk_accept_queue
        pub icsk_accept_queue: u32,
        /// request_sock_queue.qlen
        pub reqsk_qlen: u32,
        /// sock_common.skc_hash
        pub skc_hash: u32,
        /// inet_timewait_sock.tw_substate
        pub tw_substate: u32,
        /// inet_timewait_sock.tw_timer
        pub tw_timer: u32,
        /// timer_list.expires
        pub timer_expires: u32,
        /// socket_alloc.vfs_inode: the inode of a socket lies right behind it.
        pub socket_inode: u32,
        /// sock_common.skc_family
        pub skc_family: u32,
        /// sock_common.skc_state
        pub skc_state: u32,
        /// sock_common.skc_daddr
        pub skc_daddr: u32,
        /// sock_common.skc_rcv_saddr
        pub skc_rcv_saddr: u32,
        /// sock_common.skc_dport
        pub skc_dport: u32,
        /// sock_common.skc_num
        pub skc_num: u32,
        /// sock_common.skc_v6_daddr
        pub skc_v6_daddr: u32,
        /// sock_common.skc_v6_rcv_saddr
        pub skc_v6_rcv_saddr: u32,
        /// inet_sock.inet_sport: the local port, in network byte order; unlike skc_num it stays when the port is
        /// given back.
        pub inet_sport: u32,
        /// unix_sock.peer
        pub unix_peer: u32,
        /// unix_sock.addr
        pub unix_addr: u32,
        /// unix_address.len
        pub unix_addr_len: u32,
        /// unix_address.name
        pub unix_addr_name: u32,
    }

    /// The read-only global `CONFIG`.
    pub struct Config {
        /// Structure fields.
        pub offsets: Offsets,
        /// What UDP needs.
        pub udp: UdpConfig,
        /// What DNS needs.
        pub dns: DnsConfig,
        /// What files need.
        pub files: FilesConfig,
        /// What the journal and stuck tasks need.
        pub journal: JournalConfig,
        /// 1: follow every thread that makes an accounted call. 0: only those in `TASKS`, and what they fork.
        pub follow_all: u32,
        /// 1: the kernel side logs its own diagnostics (`-v`).
        pub log: u32,
        /// 1: descriptors lead to peers (all the offsets for it are known).
        pub peers: u32,
        /// 1: FastCGI parameters may be read.
        pub fastcgi: u32,
        /// The tool's own process id: never followed, so that it does not measure itself.
        pub own_tgid: u32,
        /// 1: the system call a thread blocks in can be read from its stack.
        pub blocked_nr: u32,
        /// 1: what the lean counter counts is limited to the threads in `TASKS`.
        pub count_filter: u32,
        /// Bytes from the start of an epoll_event to its data (4 where it is packed, else 8).
        pub epoll_data: u32,
        /// Number of the system call close_range.
        pub close_range_nr: u32,
        /// The first port that the kernel gives to a socket that asks for none (net.ipv4.ip_local_port_range).
        pub first_local_port: u32,
        /// The last one.
        pub last_local_port: u32,
        /// 1: the time line and the division by peer are kept (the request ledger).
        pub ledger: u32,
        /// 1: connects of followed threads are timed until they are established.
        pub established: u32,
        /// 1: TCP transitions are added up.
        pub tcp_states: u32,
        /// 1: timewait objects are followed.
        pub exact_timewait: u32,
        /// 1: failed connects are reported.
        pub connects: u32,
        /// 1: begins and ends of listening are reported.
        pub listens: u32,
        /// 1: a record for each TCP transition goes to the ring (`tcp --events`).
        pub tcp_events: u32,
        /// log2 of the jiffies in one cohort of TIME_WAIT, see [`crate::tcp::COHORTS`].
        pub cohort_shift: u32,
        /// By system call number: the operation's number (see [`crate::op`]), or [`WAIT_CLASS`] plus the
        /// [`crate::part`] that blocking in it is charged to, or 0.
        pub ops: [u8; MAX_NR],
    }
}
