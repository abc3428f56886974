//! The probes of calls and requests: what the threads that are followed do and wait for.

use super::{Attachment, Group, MemberNeed, Probe, attachments, members};

/// Calls, scheduler, peers, requests.
pub const GROUP: Group = Group {
    probes: PROBES,
    maps: &[],
};

const PROBES: &[Probe] = &[
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
        ..Probe::NONE
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
        ..Probe::NONE
    },
    Probe {
        id: "blocked_syscall",
        summary: "which other system call a thread blocks in (locks, sleeps)",
        members: members! {
            "task_struct" "stack" => offsets.task_stack;
        },
        switch: Some(|c, on| c.blocked_nr = on),
        ..Probe::NONE
    },
    Probe {
        id: "peers",
        summary: "who is behind a descriptor",
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
        ..Probe::NONE
    },
    Probe {
        id: "established",
        summary: "time from connect to an established TCP connection",
        attachments: attachments! {
            "on_tcp_state" "raw" "inet_sock_set_state";
            "on_tcp_state_again" "raw" "inet_sock_set_state";
            "on_tcp_state_done" "raw" "inet_sock_set_state";
        },
        switch: Some(|c, on| c.established = on),
        ..Probe::NONE
    },
    Probe {
        id: "epoll",
        summary: "which descriptor woke an epoll_wait",
        attachments: attachments! {
            "on_epoll_ctl" "syscalls" "sys_enter_epoll_ctl";
        },
        ..Probe::NONE
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
        switch: Some(|c, on| c.ledger = on),
        ..Probe::NONE
    },
    Probe {
        id: "fastcgi",
        summary: "script and URI of a FastCGI request",
        switch: Some(|c, on| c.fastcgi = on),
        ..Probe::NONE
    },
    Probe {
        id: "calls",
        summary: "connect, poll, select, epoll, reads and writes by process and peer",
        ..Probe::NONE
    },
];
