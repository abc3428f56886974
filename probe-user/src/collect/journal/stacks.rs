//! Kernel stacks of tasks in uninterruptible sleep: what they wait for, by their functions.
//!
//! Names from 5.10 to 6.18 (fs/jbd2, fs/ext4, fs/buffer.c, mm, block, kernel/locking). Those of the journal, of memory
//! and of the journal's own thread say what a task waits for wherever they stand; the innermost of them decides, as
//! do_get_write_access may stand below a buffer's lock. Only without them do those count by which anybody waits.

use super::{Stack, WaitsFor};

/// Somewhere in the stack: the journal's thread, or whoever commits in its place (umount).
const THREAD: &[&str] = &["kjournald2", "jbd2_journal_commit_transaction"];

/// Functions that say what is waited for, whatever they call.
const CERTAIN: &[(WaitsFor, &[&str])] = &[
    (
        WaitsFor::Commit,
        &[
            "jbd2_log_wait_commit",
            "jbd2_complete_transaction",
            "__jbd2_journal_force_commit",
            "jbd2_journal_force_commit",
            "jbd2_journal_force_commit_nested",
            "ext4_force_commit",
            // Fast commits (5.10).
            "jbd2_fc_begin_commit",
            "jbd2_fc_wait_bufs",
            "ext4_fc_commit",
        ],
    ),
    (
        WaitsFor::Transaction,
        &[
            "wait_transaction_locked",
            "wait_transaction_switching",
            "add_transaction_credits",
            "start_this_handle",
            "jbd2__journal_start",
            "jbd2_journal_start",
            "jbd2__journal_restart",
            "jbd2_journal_restart",
            // No room in the journal.
            "__jbd2_log_wait_for_space",
            "jbd2_log_do_checkpoint",
            "jbd2_journal_lock_updates",
            "jbd2_journal_wait_updates",
        ],
    ),
    (
        WaitsFor::Buffer,
        &[
            "do_get_write_access",
            "jbd2_journal_get_write_access",
            "jbd2_journal_get_create_access",
            "jbd2_journal_get_undo_access",
            "jbd2_journal_forget",
        ],
    ),
    (
        WaitsFor::Memory,
        &[
            "try_to_free_pages",
            "do_try_to_free_pages",
            "try_to_free_mem_cgroup_pages",
            "shrink_node",
            "reclaim_throttle",
            "throttle_direct_reclaim",
            "try_to_compact_pages",
            "mem_cgroup_handle_over_high",
            "__mem_cgroup_handle_over_high",
            "mem_cgroup_oom_synchronize",
        ],
    ),
];

/// Functions by which anybody waits.
const GENERAL: &[(WaitsFor, &[&str])] = &[
    (
        WaitsFor::Lock,
        &[
            "rwsem_down_read_slowpath",
            "rwsem_down_write_slowpath",
            "down_read",
            "down_read_killable",
            "down_write",
            "down_write_killable",
            "__mutex_lock",
            "__mutex_lock_slowpath",
            "__mutex_lock_killable_slowpath",
            "mutex_lock",
            "mutex_lock_killable",
            "mutex_lock_io",
            "__down",
            "__down_common",
            "down",
            "percpu_rwsem_wait",
            "percpu_down_write",
            "__percpu_down_read",
            "lock_rename",
        ],
    ),
    (
        WaitsFor::BlockIo,
        &[
            "io_schedule",
            "io_schedule_timeout",
            "bit_wait_io",
            "bit_wait_io_timeout",
            "__wait_on_buffer",
            "__lock_buffer",
            "folio_wait_bit",
            "folio_wait_bit_common",
            "folio_wait_writeback",
            "__folio_lock",
            "wait_on_page_bit",
            "wait_on_page_bit_common",
            "__wait_on_page_locked_async",
            "wait_on_page_writeback",
            "__lock_page",
            "submit_bio_wait",
            "blk_wait_io",
            "blkdev_issue_flush",
            "blk_execute_rq",
            "blk_mq_get_tag",
            "rq_qos_wait",
            "wbt_wait",
            "wait_for_completion_io",
            "wait_for_completion_io_timeout",
            "balance_dirty_pages",
            "iomap_dio_complete",
            "__iomap_dio_rw",
            "dio_await_one",
            "wb_wait_for_completion",
        ],
    ),
];

/// The scheduler's own functions, by which every sleep begins.
const SCHEDULER: &[&str] = &["__schedule", "schedule"];

/// A stack with these frames, innermost first; `None` is one without a name.
pub fn stack(frames: &[(u64, Option<&str>)]) -> Stack {
    // Before the scheduler stand our own program and what calls it.
    let scheduler = frames.iter().position(|f| is_one_of(f.1, SCHEDULER));
    let begin = scheduler.map_or(0, |first| {
        let more = frames[first..].iter();
        first + more.take_while(|f| is_one_of(f.1, SCHEDULER)).count()
    });
    let frames = &frames[begin..];
    let functions = frames.iter().map(|(address, name)| match name {
        Some(name) => (*name).to_owned(),
        None => format!("{address:#x}"),
    });
    Stack {
        functions: functions.collect(),
        waits_for: waits_for(frames),
    }
}

fn waits_for(frames: &[(u64, Option<&str>)]) -> WaitsFor {
    let names: Vec<&str> = frames.iter().filter_map(|f| f.1).map(bare).collect();
    if names.is_empty() {
        return WaitsFor::Unknown;
    }
    if names.iter().any(|name| THREAD.contains(name)) {
        return WaitsFor::JournalThread;
    }
    let innermost = |list: &[(WaitsFor, &[&str])]| {
        names.iter().find_map(|name| {
            let found = list.iter().find(|(_, functions)| functions.contains(name));
            found.map(|(waits_for, _)| *waits_for)
        })
    };
    innermost(CERTAIN)
        .or_else(|| innermost(GENERAL))
        .unwrap_or_default()
}

fn is_one_of(name: Option<&str>, functions: &[&str]) -> bool {
    name.is_some_and(|name| functions.contains(&bare(name)))
}

/// A function's name without its module, and without what the compiler appended (`.isra.0`, `.cold`).
fn bare(name: &str) -> &str {
    name.split([' ', '.']).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a stack that was recorded waits for. Frames are parted by blanks, the innermost first.
    fn of(recorded: &str) -> WaitsFor {
        let frames: Vec<_> = recorded.split(' ').map(|name| (1, Some(name))).collect();
        stack(&frames).waits_for
    }

    #[test]
    fn stacks_of_6_18() {
        for (waits_for, recorded) in [
            (
                WaitsFor::Commit,
                "__schedule schedule jbd2_log_wait_commit ext4_sync_file do_fsync __x64_sys_fsync do_syscall_64",
            ),
            (
                WaitsFor::BlockIo,
                "__schedule schedule io_schedule folio_wait_bit folio_wait_writeback __filemap_fdatawait_range \
                 file_write_and_wait_range ext4_sync_file do_fsync __x64_sys_fsync do_syscall_64",
            ),
            (
                WaitsFor::JournalThread,
                "__schedule schedule io_schedule bit_wait_io __wait_on_bit out_of_line_wait_on_bit \
                 jbd2_journal_commit_transaction kjournald2 kthread ret_from_fork ret_from_fork_asm",
            ),
            (
                WaitsFor::BlockIo,
                "__schedule schedule schedule_timeout io_schedule_timeout wait_for_completion_io_timeout submit_bio_wait \
                 blkdev_issue_discard ext4_free_blocks ext4_ext_remove_space ext4_ext_truncate ext4_truncate \
                 ext4_evict_inode evict do_unlinkat __x64_sys_unlinkat do_syscall_64",
            ),
            (
                WaitsFor::BlockIo,
                "__schedule schedule io_schedule folio_wait_bit_common filemap_fault __do_fault do_fault \
                 __handle_mm_fault handle_mm_fault exc_page_fault asm_exc_page_fault",
            ),
            (
                WaitsFor::Lock,
                "__schedule schedule schedule_preempt_disabled rwsem_down_write_slowpath down_write_killable \
                 vm_mmap_pgoff do_syscall_64 entry_SYSCALL_64_after_hwframe",
            ),
            (
                WaitsFor::Lock,
                "__schedule schedule schedule_preempt_disabled __mutex_lock.constprop.0 perf_trace_destroy __free_event",
            ),
            (
                WaitsFor::Other,
                "__schedule schedule schedule_timeout wait_for_completion synchronize_rcu_normal expand_files alloc_fd \
                 __sys_socket __x64_sys_socket do_syscall_64",
            ),
        ] {
            assert_eq!(of(recorded), waits_for, "{recorded}");
        }
    }

    #[test]
    fn what_the_journal_is_waited_for_decides_wherever_it_stands() {
        for (waits_for, stack) in [
            (
                WaitsFor::Buffer,
                "schedule io_schedule bit_wait_io __wait_on_bit out_of_line_wait_on_bit do_get_write_access \
                 jbd2_journal_get_write_access __ext4_journal_get_write_access ext4_reserve_inode_write",
            ),
            (
                WaitsFor::Transaction,
                "schedule wait_transaction_locked add_transaction_credits start_this_handle jbd2__journal_start \
                 __ext4_journal_start_sb ext4_dirty_inode",
            ),
            // No room in the journal: it is written back first.
            (
                WaitsFor::Transaction,
                "schedule io_schedule bit_wait_io __wait_on_bit out_of_line_wait_on_bit __wait_on_buffer \
                 jbd2_log_do_checkpoint __jbd2_log_wait_for_space add_transaction_credits start_this_handle",
            ),
            // Memory for a transaction.
            (
                WaitsFor::Memory,
                "schedule schedule_timeout io_schedule_timeout reclaim_throttle shrink_node do_try_to_free_pages \
                 try_to_free_pages __alloc_pages_slowpath start_this_handle jbd2__journal_start",
            ),
        ] {
            assert_eq!(of(stack), waits_for, "{stack}");
        }
    }

    #[test]
    fn frames_of_the_scheduler_and_before_it_are_left_out() {
        let frames = [
            (1, Some("bpf_prog_3c15_on_sleep [bpf]")),
            (2, Some("bpf_trace_run4")),
            (3, Some("__schedule")),
            (4, Some("schedule")),
            (5, Some("jbd2_log_wait_commit [jbd2]")),
            (0xffff_ffff_c012_3456, None),
        ];
        let stack = stack(&frames);
        assert_eq!(
            stack.functions,
            ["jbd2_log_wait_commit [jbd2]", "0xffffffffc0123456"]
        );
        assert_eq!(stack.waits_for, WaitsFor::Commit);
    }

    #[test]
    fn without_names_it_is_not_known_what_is_waited_for() {
        let stack = stack(&[(0x10, None), (0x20, None)]);
        assert_eq!(stack.functions, ["0x10", "0x20"]);
        assert_eq!(stack.waits_for, WaitsFor::Unknown);
    }
}
