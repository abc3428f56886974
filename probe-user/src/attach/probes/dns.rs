//! The probes of DNS: questions, answers, time-outs by asking process.

use probe_common::dns::{OPEN_ROWS, OTHER_ROWS, SUM_ROWS};

use super::{Attachment, Group, Probe, attachments};

/// All of them.
pub const GROUP: Group = Group {
    probes: PROBES,
    maps: &[
        // 110 bytes each, with the table's own.
        ("DNS_OPEN", OPEN_ROWS),
        // Threads and their questions.
        ("DNS_ASKED", 16_384),
        // Questions of the last second.
        ("DNS_RECENT", 32_768),
        // Those asked again at this moment.
        ("DNS_CLAIMS", 1024),
        // Threads that ask.
        ("DNS_WAITING", 8192),
        // Some 1,100 bytes each.
        ("DNS_SUMS", SUM_ROWS),
        ("DNS_OTHERS", OTHER_ROWS),
        ("DNS_NAMES", SUM_ROWS),
        // Some 900 bytes each.
        ("DNS_TIMEOUTS", 2048),
    ],
};

const PROBES: &[Probe] = &[Probe {
    id: "dns",
    summary: "questions to DNS servers, their answers and time-outs, by process",
    attachments: attachments! {
        "on_dns_sent" "calls" "sent";
        "on_dns_received" "calls" "received";
        "on_dns_waited" "calls" "waited";
    },
    switch: Some(|c, on| c.dns.on = on),
    needs_peers: true,
    needs_jit: true,
    ..Probe::NONE
}];
