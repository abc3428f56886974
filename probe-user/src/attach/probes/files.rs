//! The probes of files: created, closed, synced, removed, refused for want of space.

use super::{Attachment, Group, MemberNeed, Probe, attachments, members};

/// All of them.
pub const GROUP: Group = Group {
    probes: PROBES,
    maps: &[
        // Some 2 KiB each.
        ("DIRECTORIES", DIRECTORY_ROWS),
        // Some 800 bytes each; at most one for each row above.
        ("DIR_PATHS", DIRECTORY_ROWS),
        // Threads that are in fsync() or unlink() at once.
        ("FILE_CALLS", 4096),
        // Files open with those who created them.
        ("OPEN_FILES", 8192),
        // By the low half of a thread's and of a process's id.
        ("OPENING", 1 << 16),
        ("CREATORS", 1 << 16),
        // Some 600 bytes each.
        ("UNLINKED", 512),
        // Some 350 bytes each.
        ("REFUSED", 256),
    ],
};

/// Directories told apart, by process.
const DIRECTORY_ROWS: u32 = 2048;

/// What finding the directory of a file takes, beside what `peers` has.
const WALK: &[MemberNeed] = members! {
    "file" "f_path" | "__f_path" => files.file_path;
    "path" "dentry" => files.path_dentry;
    "dentry" "d_parent" => files.dentry_parent;
    "dentry" "d_inode" => files.dentry_inode;
    "dentry" "d_name" | "__d_name" => files.dentry_name;
    "qstr" "name" => files.qstr_name;
    "inode" "i_ino" => offsets.inode_ino;
    "inode" "i_sb" => files.inode_sb;
    "inode" "i_nlink" | "__i_nlink" => files.inode_nlink;
    "super_block" "s_dev" => files.sb_dev;
    "task_struct" "fs" => files.task_fs;
    "fs_struct" "pwd" => files.fs_pwd;
    "task_struct" "group_leader" => files.task_leader;
    "task_struct" "comm" => files.task_comm;
    "file" "f_mode" => files.file_mode;
    // A counter of another kind since 6.13; only whether it is the same as before matters.
    "file" "f_ref" | "f_count" => files.file_count;
    "inode" "i_size" => files.inode_size;
    "task_struct" "stack" => offsets.task_stack;
};

const PROBES: &[Probe] = &[
    Probe {
        id: "files",
        summary: "files created and their sizes, by process and directory",
        attachments: attachments! {
            "on_file_close" "syscalls" "sys_enter_close";
            "on_file_close_other" "syscalls" "sys_enter_close_range" optional;
            "on_file_close_other" "syscalls" "sys_enter_dup2" optional;
            "on_file_close_other" "syscalls" "sys_enter_dup3" optional;
            "on_file_openat_return" "syscalls" "sys_exit_openat";
            "on_file_openat_return" "syscalls" "sys_exit_openat2" optional;
            "on_file_open_return" "syscalls" "sys_exit_open" optional;
            "on_file_open_return" "syscalls" "sys_exit_creat" optional;
            "on_file_openat" "syscalls" "sys_enter_openat";
            "on_file_openat2" "syscalls" "sys_enter_openat2" optional;
            "on_file_open" "syscalls" "sys_enter_open" optional;
            "on_file_creat" "syscalls" "sys_enter_creat" optional;
        },
        members: WALK,
        calls: &[
            ("openat", 4),
            ("openat2", 4),
            ("open", 3),
            ("creat", 2),
            ("close", 1),
            ("close_range", 3),
            ("dup2", 2),
            ("dup3", 3),
        ],
        needs_peers: true,
        switch: Some(|c, on| c.files.on = on),
        ..Probe::NONE
    },
    Probe {
        id: "file_syncs",
        summary: "fsync and fdatasync, by process and directory",
        attachments: attachments! {
            "on_file_sync_return" "syscalls" "sys_exit_fsync";
            "on_file_sync_return" "syscalls" "sys_exit_fdatasync";
            "on_file_sync" "syscalls" "sys_enter_fsync";
            "on_file_sync" "syscalls" "sys_enter_fdatasync";
        },
        members: WALK,
        calls: &[("fsync", 1), ("fdatasync", 1)],
        needs_peers: true,
        ..Probe::NONE
    },
    Probe {
        id: "file_unlinks",
        summary: "files unlinked, by process and directory",
        attachments: attachments! {
            "on_file_unlink_return" "syscalls" "sys_exit_unlink" optional;
            "on_file_unlink_return" "syscalls" "sys_exit_unlinkat";
            "on_file_unlink" "syscalls" "sys_enter_unlink" optional;
            "on_file_unlinkat" "syscalls" "sys_enter_unlinkat";
        },
        members: WALK,
        calls: &[("unlink", 1), ("unlinkat", 3)],
        needs_peers: true,
        ..Probe::NONE
    },
    Probe {
        id: "no_space",
        summary: "calls refused for want of space or inodes",
        attachments: attachments! {
            "on_no_space_fd" "syscalls" "sys_exit_write";
            "on_no_space_fd" "syscalls" "sys_exit_pwrite64";
            "on_no_space_fd" "syscalls" "sys_exit_writev";
            "on_no_space_fd" "syscalls" "sys_exit_pwritev" optional;
            "on_no_space_fd" "syscalls" "sys_exit_pwritev2" optional;
            "on_no_space_fd" "syscalls" "sys_exit_fallocate";
            "on_no_space_fd" "syscalls" "sys_exit_ftruncate";
            "on_no_space_fd" "syscalls" "sys_exit_fsync";
            "on_no_space_fd" "syscalls" "sys_exit_fdatasync";
            "on_no_space_path" "syscalls" "sys_exit_mkdir" optional;
            "on_no_space_path" "syscalls" "sys_exit_mknod" optional;
            "on_no_space_path" "syscalls" "sys_exit_truncate";
            "on_no_space_second" "syscalls" "sys_exit_symlink" optional;
            "on_no_space_second" "syscalls" "sys_exit_link" optional;
            "on_no_space_second" "syscalls" "sys_exit_rename" optional;
            "on_no_space_at" "syscalls" "sys_exit_mkdirat";
            "on_no_space_at" "syscalls" "sys_exit_mknodat";
            "on_no_space_symlinkat" "syscalls" "sys_exit_symlinkat";
            "on_no_space_second_at" "syscalls" "sys_exit_linkat";
            "on_no_space_second_at" "syscalls" "sys_exit_renameat" optional;
            "on_no_space_second_at" "syscalls" "sys_exit_renameat2";
        },
        members: WALK,
        calls: &[("write", 3), ("mkdirat", 3), ("renameat2", 5)],
        needs_peers: true,
        ..Probe::NONE
    },
];
