//! The probes of the ext4 journal, of fsync, and of tasks in uninterruptible sleep.

use probe_common::journal::{ASLEEP_SLOTS, STACKS};

use super::{Attachment, FieldNeed, Group, MemberNeed, Probe, attachments, fields, members};

/// All of them.
pub const GROUP: Group = Group {
    probes: PROBES,
    maps: &[
        // Journals at once; 5 KB each.
        ("JOURNALS", 64),
        // Threads that are in fsync() at once.
        ("SYNCING", 8192),
        // Processes, by device; some 900 bytes each.
        ("SYNCS", 1024),
        ("HANDLES", 4096),
        // Tasks asleep at once.
        ("SLEEPERS", 8192),
        ("ASLEEP", ASLEEP_SLOTS),
        // Processes, by stack; some 900 bytes each.
        ("SLEEPS", 2048),
        // 400 bytes each.
        ("STACKS", STACKS),
    ],
};

/// What naming a process takes.
const NAME: &[MemberNeed] = members! {
    "task_struct" "group_leader" => journal.task_leader;
    "task_struct" "comm" => journal.task_comm;
};

const PROBES: &[Probe] = &[
    Probe {
        id: "journal_commits",
        summary: "commits of the ext4 journal, by device and phase",
        // From the last to the first, so that no phase is missed of a commit whose start is seen.
        attachments: attachments! {
            "on_commit_end" "jbd2" "jbd2_end_commit";
            "on_commit_stats" "jbd2" "jbd2_run_stats";
            "on_commit_logging" "jbd2" "jbd2_commit_logging";
            "on_commit_flushing" "jbd2" "jbd2_commit_flushing";
            "on_commit_locking" "jbd2" "jbd2_commit_locking";
            "on_commit_start" "jbd2" "jbd2_start_commit";
        },
        fields: fields! {
            "jbd2" "jbd2_start_commit" "dev": 4 => journal.start_dev;
            "jbd2" "jbd2_start_commit" "transaction": 4 => journal.start_tid;
            "jbd2" "jbd2_start_commit" "sync_commit": 1 => journal.start_sync;
            "jbd2" "jbd2_commit_locking" "dev": 4 => journal.locking_dev;
            "jbd2" "jbd2_commit_flushing" "dev": 4 => journal.flushing_dev;
            "jbd2" "jbd2_commit_logging" "dev": 4 => journal.logging_dev;
            "jbd2" "jbd2_end_commit" "dev": 4 => journal.end_dev;
            "jbd2" "jbd2_end_commit" "transaction": 4 => journal.end_tid;
            "jbd2" "jbd2_run_stats" "dev": 4 => journal.run_dev;
            "jbd2" "jbd2_run_stats" "wait": 8 => journal.run_wait;
            "jbd2" "jbd2_run_stats" "request_delay": 8 => journal.run_request_delay;
            "jbd2" "jbd2_run_stats" "running": 8 => journal.run_running;
            "jbd2" "jbd2_run_stats" "locked": 8 => journal.run_locked;
            "jbd2" "jbd2_run_stats" "flushing": 8 => journal.run_flushing;
            "jbd2" "jbd2_run_stats" "logging": 8 => journal.run_logging;
            "jbd2" "jbd2_run_stats" "handle_count": 4 => journal.run_handles;
            "jbd2" "jbd2_run_stats" "blocks": 4 => journal.run_blocks;
            "jbd2" "jbd2_run_stats" "blocks_logged": 4 => journal.run_logged;
        },
        ..Probe::NONE
    },
    Probe {
        id: "journal_handles",
        summary: "changes of the ext4 journal, by process",
        attachments: attachments! {
            "on_handle" "jbd2" "jbd2_handle_stats";
        },
        fields: fields! {
            "jbd2" "jbd2_handle_stats" "dev": 4 => journal.handle_dev;
            "jbd2" "jbd2_handle_stats" "sync": 4 => journal.handle_sync;
            "jbd2" "jbd2_handle_stats" "dirtied_blocks": 4 => journal.handle_dirtied;
        },
        members: NAME,
        ..Probe::NONE
    },
    Probe {
        id: "file_system_syncs",
        summary: "fsync and its kin on ext4, by process",
        attachments: attachments! {
            "on_sync_end" "ext4" "ext4_sync_file_exit";
            "on_sync_begin" "ext4" "ext4_sync_file_enter";
        },
        fields: fields! {
            "ext4" "ext4_sync_file_enter" "dev": 4 => journal.sync_dev;
            "ext4" "ext4_sync_file_exit" "ret": 4 => journal.sync_ret;
        },
        members: NAME,
        ..Probe::NONE
    },
    Probe {
        id: "sleepers",
        summary: "tasks in uninterruptible sleep, with their kernel stacks",
        attachments: attachments! {
            "on_wake" "raw" "sched_wakeup";
            "on_sleep" "raw" "sched_switch";
        },
        members: members! {
            "task_struct" "pid" => offsets.task_pid;
            "task_struct" "__state" | "state" => offsets.task_state;
            "task_struct" "group_leader" => journal.task_leader;
            "task_struct" "comm" => journal.task_comm;
            "task_struct" "nvcsw" => journal.task_nvcsw;
        },
        ..Probe::NONE
    },
];
