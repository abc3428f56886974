//! The probes that watch TCP of one network namespace.

use probe_common::tcp::CENSUS_ROWS;

use super::{Attachment, Group, MemberNeed, Probe, attachments, members};

/// Transitions, failed connects, listeners, accepts, census, owners.
pub const GROUP: Group = Group {
    probes: PROBES,
    maps: &[
        // One for each connection; 64 bytes each, and as much again for the table.
        ("TCP_SOCKETS", 65_536),
        // Some 900 bytes each.
        ("TRANSITIONS", TRANSITION_ROWS),
        // Threads that are in connect() or listen() at once.
        ("TCP_CALLS", 8192),
        // Addresses that fail at once.
        ("FAILING", 1024),
        // 900 KiB.
        ("CENSUS", CENSUS_ROWS as u32),
        // Processes that hold TCP sockets.
        ("OWNERS", 4096),
    ],
};

/// Kinds of transitions told apart by peer and process.
const TRANSITION_ROWS: u32 = 4096;

const PROBES: &[Probe] = &[
    Probe {
        id: "tcp_states",
        summary: "transitions of TCP sockets, by peer and process",
        attachments: attachments! {
            "on_tcp_state" "raw" "inet_sock_set_state";
            "on_tcp_state_again" "raw" "inet_sock_set_state";
            "on_tcp_state_done" "raw" "inet_sock_set_state";
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
        ..Probe::NONE
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
        calls: &[("connect", 3)],
        needs_peers: true,
        ..Probe::NONE
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
        calls: &[("listen", 2)],
        needs_peers: true,
        ..Probe::NONE
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
        calls: &[("accept", 3), ("accept4", 4)],
        needs_peers: true,
        ..Probe::NONE
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
        ..Probe::NONE
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
        ..Probe::NONE
    },
    Probe {
        id: "exact_timewait",
        summary: "how long FIN_WAIT_2 and TIME_WAIT last, to the microsecond (optional)",
        attachments: attachments! {
            "on_timewait_timer" "kprobe" "tw_timer_handler";
            "on_timewait_descheduled" "kprobe" "inet_twsk_deschedule_put";
            "on_timewait_scheduled" "kprobe" "__inet_twsk_schedule";
            "on_timewait_begins" "kprobe" "inet_twsk_hashdance_schedule" optional;
        },
        members: members! {
            "sock_common" "skc_net" => offsets.skc_net;
            "sock_common" "skc_hash" => offsets.skc_hash;
            "sock_common" "skc_dport" => offsets.skc_dport;
            "inet_timewait_sock" "tw_substate" => offsets.tw_substate;
            "inet_timewait_sock" "tw_timer" => offsets.tw_timer;
        },
        switch: Some(|c, on| c.exact_timewait = on),
        ..Probe::NONE
    },
];
