//! The probes of UDP: sockets that drop, their queues, who holds them.

use super::{
    Attachment, FieldNeed, Group, MemberNeed, Optional, Probe, attachments, fields, members,
};

/// All of them.
pub const GROUP: Group = Group {
    probes: PROBES,
    maps: &[
        // Sockets that dropped something; some 170 bytes each.
        ("UDP_DROPS", 4096),
    ],
};

const PROBES: &[Probe] = &[
    Probe {
        id: "udp_drops",
        summary: "datagrams that found their socket full, by socket",
        attachments: attachments! {
            "on_udp_drop" "raw" "udp_fail_queue_rcv_skb";
        },
        members: members! {
            "sock" "sk_protocol" => offsets.sk_protocol;
            "sock" "sk_socket" => offsets.sk_socket;
            "sock" "sk_rcvbuf" => udp.sk_rcvbuf;
            "sock" "sk_backlog.rmem_alloc" => udp.sk_rmem_alloc;
            "sock" "sk_uid" => udp.sk_uid;
            "socket_alloc" "vfs_inode" => offsets.socket_inode;
            "inode" "i_ino" => offsets.inode_ino;
            "sock_common" "skc_net" => offsets.skc_net;
            "sock_common" "skc_family" => offsets.skc_family;
            "sock_common" "skc_daddr" => offsets.skc_daddr;
            "sock_common" "skc_rcv_saddr" => offsets.skc_rcv_saddr;
            "sock_common" "skc_dport" => offsets.skc_dport;
            "sock_common" "skc_num" => offsets.skc_num;
            "sock_common" "skc_v6_daddr" => offsets.skc_v6_daddr;
            "sock_common" "skc_v6_rcv_saddr" => offsets.skc_v6_rcv_saddr;
            "sk_buff" "truesize" => udp.skb_truesize;
            "sk_buff" "head" => udp.skb_head;
            "sk_buff" "network_header" => udp.skb_network_header;
            "sk_buff" "transport_header" => udp.skb_transport_header;
        },
        optional: Optional {
            members: &[],
            fields: fields! {
                "udp" "udp_fail_queue_rcv_skb" "family" : 2 => udp.record_family;
            },
        },
        switch: Some(|c, on| c.udp.on = on),
        ..Probe::NONE
    },
    Probe {
        id: "udp_census",
        summary: "UDP sockets that are not empty or have dropped something",
        attachments: attachments! {
            "on_udp_socket" "iter" "udp";
        },
        members: members! {
            "sock" "sk_protocol" => offsets.sk_protocol;
            "sock" "sk_socket" => offsets.sk_socket;
            "sock" "sk_drops" => offsets.sk_drops;
            "sock" "sk_receive_queue" => offsets.sk_receive_queue;
            "sock" "sk_rcvbuf" => udp.sk_rcvbuf;
            "sock" "sk_backlog.rmem_alloc" => udp.sk_rmem_alloc;
            "sock" "sk_uid" => udp.sk_uid;
            "udp_sock" "reader_queue" => udp.reader_queue;
            "udp_sock" "forward_deficit" => udp.forward_deficit;
            "sk_buff_head" "qlen" => offsets.skb_head_qlen;
            "socket_alloc" "vfs_inode" => offsets.socket_inode;
            "inode" "i_ino" => offsets.inode_ino;
            "sock_common" "skc_family" => offsets.skc_family;
            "sock_common" "skc_daddr" => offsets.skc_daddr;
            "sock_common" "skc_rcv_saddr" => offsets.skc_rcv_saddr;
            "sock_common" "skc_dport" => offsets.skc_dport;
            "sock_common" "skc_num" => offsets.skc_num;
            "sock_common" "skc_v6_daddr" => offsets.skc_v6_daddr;
            "sock_common" "skc_v6_rcv_saddr" => offsets.skc_v6_rcv_saddr;
        },
        optional: Optional {
            members: members! {
                "udp_sock" "drop_counters" => udp.drop_counters;
                "numa_drop_counters" "drops0" => udp.drops0;
                "numa_drop_counters" "drops1" => udp.drops1;
            },
            fields: &[],
        },
        ..Probe::NONE
    },
    Probe {
        id: "udp_owners",
        summary: "which process holds a UDP socket that drops",
        attachments: attachments! {
            "on_udp_descriptor" "iter" "task_file";
        },
        members: members! {
            "task_struct" "tgid" => offsets.task_tgid;
            "file" "private_data" => offsets.file_private;
            "file" "f_inode" => offsets.file_inode;
            "inode" "i_mode" => offsets.inode_mode;
            "inode" "i_ino" => offsets.inode_ino;
            "socket" "sk" => offsets.socket_sk;
            "sock" "sk_protocol" => offsets.sk_protocol;
            "sock_common" "skc_net" => offsets.skc_net;
            "sock_common" "skc_family" => offsets.skc_family;
        },
        ..Probe::NONE
    },
];
