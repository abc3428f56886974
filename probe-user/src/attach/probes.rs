//! The probe catalogue: what each probe attaches to, and what it needs of the kernel, side by side.
//!
//! A probe whose needs are not met is off with the reason; the rest goes on without it.

use probe_common::config::Config;

/// A structure member that a probe reads.
pub struct MemberNeed {
    /// Structure.
    pub structure: &'static str,
    /// Member, by each name that it has had, newest first.
    pub members: &'static [&'static str],
    /// Stores the offset.
    pub set: fn(&mut Config, u32),
}

/// One program on one tracepoint, iterator or function.
pub struct Attachment {
    /// Program in the object.
    pub program: &'static str,
    /// Category of the tracepoint, or [`RAW`], [`ITER`], [`KPROBE`].
    pub category: &'static str,
    /// Name of the tracepoint, or of what it is instead.
    pub name: &'static str,
    /// The probe works without it (a call that older kernels do not have).
    pub optional: bool,
}

impl Attachment {
    /// In words, such as `sched:sched_switch`.
    pub fn source(&self) -> String {
        match self.category {
            RAW => self.name.to_owned(),
            ITER => format!("iterator {}", self.name),
            KPROBE => format!("kprobe {}", self.name),
            category => format!("{category}:{}", self.name),
        }
    }
}

/// In place of a category: a raw tracepoint (its arguments are kernel pointers, read by BTF offsets).
pub const RAW: &str = "raw";

/// In place of a category: a BPF iterator over objects of the kernel.
pub const ITER: &str = "iter";

/// In place of a category: the beginning of a kernel function. Many kernels have no kprobes, so nothing but an
/// optional refinement may rest on one.
pub const KPROBE: &str = "kprobe";

/// One probe.
pub struct Probe {
    /// Stable id.
    pub id: &'static str,
    /// What it shows.
    pub summary: &'static str,
    /// Programs and tracepoints. The system calls of [`probe_common::op`] are added to `calls`.
    pub attachments: &'static [Attachment],
    /// Structure members.
    pub members: &'static [MemberNeed],
    /// Stores whether the kernel side may rely on it.
    pub switch: Option<fn(&mut Config, u32)>,
}

macro_rules! members {
    ($( $structure:literal $($member:literal)|+ => $($path:ident).+; )*) => {
        &[$( MemberNeed {
            structure: $structure, members: &[$($member),+], set: |c, offset| c.$($path).+ = offset,
        } ),*]
    };
}

macro_rules! attachments {
    ($( $program:literal $category:literal $name:literal $($optional:ident)?; )*) => {
        &[$( Attachment {
            program: $program, category: $category, name: $name,
            optional: attachments!(@ $($optional)?),
        } ),*]
    };
    (@) => { false };
    (@ optional) => { true };
}

/// Every probe, in the order of attaching and of display. Returns are attached before entries, so that a
/// call is never left open by us.
pub const PROBES: &[Probe] = &[
    Probe {
        id: "lifecycle",
        summary: "fork, exec and exit of followed processes",
        attachments: attachments! {
            "on_exit" "raw" "sched_process_exit";
            "on_exec" "raw" "sched_process_exec";
            "on_fork" "raw" "sched_process_fork";
        },
        members: members! {
            "task_struct" "pid" => offsets.task_pid;
            "task_struct" "tgid" => offsets.task_tgid;
            "task_struct" "start_boottime" => offsets.task_start;
        },
        switch: None,
    },
    Probe {
        id: "scheduler",
        summary: "on CPU, waiting for a CPU, blocked",
        attachments: attachments! {
            "on_wakeup" "raw" "sched_wakeup";
            "on_switch" "raw" "sched_switch";
        },
        members: members! {
            "task_struct" "__state" | "state" => offsets.task_state;
        },
        switch: None,
    },
    Probe {
        id: "blocked_syscall",
        summary: "which other system call a thread blocks in (locks, sleeps)",
        attachments: &[],
        members: members! {
            "task_struct" "stack" => offsets.task_stack;
        },
        switch: Some(|c, on| c.blocked_nr = on),
    },
    Probe {
        id: "peers",
        summary: "who is behind a descriptor",
        attachments: &[],
        members: members! {
            "task_struct" "files" => offsets.task_files;
            "files_struct" "count" => offsets.files_count;
            "files_struct" "fdt" => offsets.files_fdt;
            "fdtable" "max_fds" => offsets.fdt_max_fds;
            "fdtable" "fd" => offsets.fdt_fd;
            "file" "private_data" => offsets.file_private;
            "file" "f_inode" => offsets.file_inode;
            "inode" "i_mode" => offsets.inode_mode;
            "inode" "i_ino" => offsets.inode_ino;
            "socket" "sk" => offsets.socket_sk;
            "sock" "sk_protocol" => offsets.sk_protocol;
            "sock_common" "skc_family" => offsets.skc_family;
            "sock_common" "skc_state" => offsets.skc_state;
            "sock_common" "skc_daddr" => offsets.skc_daddr;
            "sock_common" "skc_rcv_saddr" => offsets.skc_rcv_saddr;
            "sock_common" "skc_dport" => offsets.skc_dport;
            "sock_common" "skc_num" => offsets.skc_num;
            "sock_common" "skc_v6_daddr" => offsets.skc_v6_daddr;
            "sock_common" "skc_v6_rcv_saddr" => offsets.skc_v6_rcv_saddr;
            "unix_sock" "peer" => offsets.unix_peer;
            "unix_sock" "addr" => offsets.unix_addr;
            "unix_address" "len" => offsets.unix_addr_len;
            "unix_address" "name" => offsets.unix_addr_name;
        },
        switch: Some(|c, on| c.peers = on),
    },
    Probe {
        id: "established",
        summary: "time from connect to an established TCP connection",
        attachments: attachments! {
            "on_tcp_state" "raw" "inet_sock_set_state";
        },
        members: &[],
        switch: Some(|c, on| c.established = on),
    },
    Probe {
        id: "epoll",
        summary: "which descriptor woke an epoll_wait",
        attachments: attachments! {
            "on_epoll_ctl" "syscalls" "sys_enter_epoll_ctl";
        },
        members: &[],
        switch: None,
    },
    Probe {
        id: "requests",
        summary: "accept to close: the ledger of a worker's request",
        attachments: attachments! {
            "on_close" "syscalls" "sys_enter_close";
            "on_close_other" "syscalls" "sys_enter_close_range" optional;
            "on_close_other" "syscalls" "sys_enter_dup2" optional;
            "on_close_other" "syscalls" "sys_enter_dup3" optional;
        },
        members: &[],
        switch: Some(|c, on| c.ledger = on),
    },
    Probe {
        id: "fastcgi",
        summary: "script and URI of a FastCGI request",
        attachments: &[],
        members: &[],
        switch: Some(|c, on| c.fastcgi = on),
    },
    Probe {
        id: "calls",
        summary: "connect, poll, select, epoll, reads and writes by process and peer",
        attachments: &[],
        members: &[],
        switch: None,
    },
];

/// The probes that watch TCP, attached behind [`PROBES`] (or with `peers` alone) when it is asked for.
pub const TCP_PROBES: &[Probe] = &[
    Probe {
        id: "tcp_states",
        summary: "transitions of TCP sockets, by peer and process",
        attachments: attachments! {
            "on_tcp_state" "raw" "inet_sock_set_state";
        },
        members: members! {
            "sock" "sk_protocol" => offsets.sk_protocol;
            "sock" "sk_err" => offsets.sk_err;
            "inet_sock" "inet_sport" => offsets.inet_sport;
            "sock_common" "skc_net" => offsets.skc_net;
            "sock_common" "skc_family" => offsets.skc_family;
            "sock_common" "skc_daddr" => offsets.skc_daddr;
            "sock_common" "skc_rcv_saddr" => offsets.skc_rcv_saddr;
            "sock_common" "skc_dport" => offsets.skc_dport;
            "sock_common" "skc_num" => offsets.skc_num;
            "sock_common" "skc_v6_daddr" => offsets.skc_v6_daddr;
            "sock_common" "skc_v6_rcv_saddr" => offsets.skc_v6_rcv_saddr;
        },
        switch: Some(|c, on| c.tcp_states = on),
    },
    Probe {
        id: "connects",
        summary: "connects that fail, TCP and Unix",
        attachments: attachments! {
            "on_tcp_connect_return" "syscalls" "sys_exit_connect";
            "on_tcp_connect" "syscalls" "sys_enter_connect";
        },
        members: members! {
            "sock" "sk_err" => offsets.sk_err;
            "sock_common" "skc_net" => offsets.skc_net;
        },
        switch: Some(|c, on| c.connects = on),
    },
    Probe {
        id: "listens",
        summary: "listen() and its backlog, TCP and Unix",
        attachments: attachments! {
            "on_tcp_listen_return" "syscalls" "sys_exit_listen";
            "on_tcp_listen" "syscalls" "sys_enter_listen";
        },
        members: members! {
            "sock_common" "skc_net" => offsets.skc_net;
        },
        switch: Some(|c, on| c.listens = on),
    },
    Probe {
        id: "accepts",
        summary: "who accepts, and how long connections wait for it",
        attachments: attachments! {
            "on_tcp_accept" "syscalls" "sys_exit_accept" optional;
            "on_tcp_accept" "syscalls" "sys_exit_accept4";
        },
        members: members! {
            "sock_common" "skc_net" => offsets.skc_net;
        },
        switch: None,
    },
    Probe {
        id: "tcp_census",
        summary: "all TCP sockets, counted by state and address",
        attachments: attachments! {
            "on_census" "iter" "tcp";
        },
        members: members! {
            "sock_common" "skc_family" => offsets.skc_family;
            "sock_common" "skc_state" => offsets.skc_state;
            "sock_common" "skc_daddr" => offsets.skc_daddr;
            "sock_common" "skc_rcv_saddr" => offsets.skc_rcv_saddr;
            "sock_common" "skc_dport" => offsets.skc_dport;
            "sock_common" "skc_num" => offsets.skc_num;
            "sock_common" "skc_v6_daddr" => offsets.skc_v6_daddr;
            "sock_common" "skc_v6_rcv_saddr" => offsets.skc_v6_rcv_saddr;
            "sock" "sk_socket" => offsets.sk_socket;
            "sock" "sk_ack_backlog" => offsets.sk_ack_backlog;
            "sock" "sk_max_ack_backlog" => offsets.sk_max_ack_backlog;
            "sock" "sk_drops" => offsets.sk_drops;
            "inet_connection_sock" "icsk_accept_queue" => offsets.icsk_accept_queue;
            "request_sock_queue" "qlen" => offsets.reqsk_qlen;
            "inet_timewait_sock" "tw_substate" => offsets.tw_substate;
            "inet_timewait_sock" "tw_timer" => offsets.tw_timer;
            "timer_list" "expires" => offsets.timer_expires;
            "socket_alloc" "vfs_inode" => offsets.socket_inode;
            "inode" "i_ino" => offsets.inode_ino;
        },
        switch: None,
    },
    Probe {
        id: "socket_owners",
        summary: "which process holds which socket",
        attachments: attachments! {
            "on_descriptor" "iter" "task_file";
        },
        members: members! {
            "task_struct" "tgid" => offsets.task_tgid;
            "file" "private_data" => offsets.file_private;
            "file" "f_inode" => offsets.file_inode;
            "inode" "i_mode" => offsets.inode_mode;
            "inode" "i_ino" => offsets.inode_ino;
            "socket" "sk" => offsets.socket_sk;
            "sock" "sk_protocol" => offsets.sk_protocol;
            "sock" "sk_ack_backlog" => offsets.sk_ack_backlog;
            "sock" "sk_max_ack_backlog" => offsets.sk_max_ack_backlog;
            "sock" "sk_drops" => offsets.sk_drops;
            "sock" "sk_receive_queue" => offsets.sk_receive_queue;
            "sk_buff_head" "qlen" => offsets.skb_head_qlen;
            "sock_common" "skc_net" => offsets.skc_net;
            "sock_common" "skc_family" => offsets.skc_family;
            "sock_common" "skc_state" => offsets.skc_state;
            "sock_common" "skc_num" => offsets.skc_num;
            "sock_common" "skc_rcv_saddr" => offsets.skc_rcv_saddr;
            "sock_common" "skc_v6_rcv_saddr" => offsets.skc_v6_rcv_saddr;
            "inet_connection_sock" "icsk_accept_queue" => offsets.icsk_accept_queue;
            "request_sock_queue" "qlen" => offsets.reqsk_qlen;
            "unix_sock" "addr" => offsets.unix_addr;
            "unix_address" "len" => offsets.unix_addr_len;
            "unix_address" "name" => offsets.unix_addr_name;
        },
        switch: None,
    },
    Probe {
        id: "exact_timewait",
        summary: "how long FIN_WAIT_2 and TIME_WAIT last, to the microsecond (optional)",
        attachments: attachments! {
            "on_timewait_timer" "kprobe" "tw_timer_handler";
            "on_timewait_descheduled" "kprobe" "inet_twsk_deschedule_put";
            "on_timewait_scheduled" "kprobe" "__inet_twsk_schedule";
        },
        members: members! {
            "sock_common" "skc_net" => offsets.skc_net;
            "sock_common" "skc_hash" => offsets.skc_hash;
            "sock_common" "skc_dport" => offsets.skc_dport;
            "inet_timewait_sock" "tw_substate" => offsets.tw_substate;
            "inet_timewait_sock" "tw_timer" => offsets.tw_timer;
        },
        switch: Some(|c, on| c.exact_timewait = on),
    },
];

/// The ids of [`PROBES`] and [`TCP_PROBES`], which rules name in their `needs`.
pub const PROBE_IDS: &[&str] = &[
    "lifecycle",
    "scheduler",
    "blocked_syscall",
    "peers",
    "established",
    "epoll",
    "requests",
    "fastcgi",
    "calls",
    "tcp_states",
    "connects",
    "listens",
    "accepts",
    "tcp_census",
    "socket_owners",
    "exact_timewait",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_of_the_catalogue() {
        let ids: Vec<_> = PROBES.iter().chain(TCP_PROBES).map(|p| p.id).collect();
        assert_eq!(ids, PROBE_IDS);
    }
}
