//! Everything that can be lost in the kernel, each with a counter of its own.

/// Slots of the map `LOSSES` (array of u64, added up atomically in the kernel).
pub mod slot {
    /// The thread table was full: a thread was not followed.
    pub const TASKS_FULL: u32 = 0;
    /// The table of (thread, operation, peer) was full: calls were not added up.
    pub const STATS_FULL: u32 = 1;
    /// The peer table was full: waits were charged to "other peers".
    pub const PEERS_FULL: u32 = 2;
    /// The ring was full: finished requests, exits or TCP events were not delivered.
    pub const RING_FULL: u32 = 3;
    /// A request met more peers than its table holds: the rest was charged to "other peers".
    pub const REQUEST_PEERS_FULL: u32 = 4;
    /// The table of connections being opened was full: a connect has no time-to-established.
    pub const CONNECTING_FULL: u32 = 5;
    /// The table of epoll registrations was full: waits were charged to "unknown".
    pub const EPOLL_FULL: u32 = 6;
    /// Reading a call's arguments or a kernel structure failed: the peer is unknown.
    pub const READ_FAILED: u32 = 7;
    /// The counting table was full: calls were not counted.
    pub const COUNTS_FULL: u32 = 8;
    /// More descriptors were polled at once than are looked at: the one that woke was not found.
    pub const POLL_SET_TOO_LARGE: u32 = 9;
    /// The kernel did not report a switch of a followed thread: the time up to the next one is unexplained.
    pub const SWITCH_UNSEEN: u32 = 10;
    /// The kernel skipped one of our programs because another one was active on the CPU. User space fills
    /// this in from the kernel's own counters (bpf_prog_info.recursion_misses: 5.12, for classic
    /// tracepoints 6.7); older kernels skip without a count.
    pub const PROGRAM_SKIPPED: u32 = 11;
    /// The table of TCP sockets was full: how long this one stays in its state is not known.
    pub const TCP_SOCKETS_FULL: u32 = 12;
    /// The table of TCP transitions was full: some were added up under "other peers".
    pub const TRANSITIONS_FULL: u32 = 13;
    /// The table of processes that hold sockets was full.
    pub const OWNERS_FULL: u32 = 14;
    /// The table of calls under way was full: how a connect() or listen() ended was not seen.
    pub const TCP_CALLS_FULL: u32 = 15;
    /// The table of addresses that fail was full: that one works again will not be seen.
    pub const FAILING_FULL: u32 = 16;
    /// The table of timewait objects was full: how long this one stays in its state is not known.
    pub const TIMEWAITS_FULL: u32 = 17;
    /// The table of UDP sockets was full: a socket's drops were not told apart.
    pub const UDP_SOCKETS_FULL: u32 = 18;
    /// The table of DNS questions was full: their answers or time-outs were not seen.
    pub const DNS_QUESTIONS_FULL: u32 = 19;
    /// The table of DNS names was full: questions were added up under "other names".
    pub const DNS_NAMES_FULL: u32 = 20;
    /// A DNS message could not be read from memory, or was not one.
    pub const DNS_UNREADABLE: u32 = 21;
    /// The table of directories was full: creations were added up under "other directories".
    pub const DIRECTORIES_FULL: u32 = 22;
    /// The table of files that are open for writing was full: their sizes are not known.
    pub const OPEN_FILES_FULL: u32 = 23;
    /// The table of journal work by process was full: it was added up under "other processes".
    pub const JOURNAL_SUMS_FULL: u32 = 24;
    /// The table of tasks in uninterruptible sleep was full: their sleep was not measured.
    pub const SLEEPERS_FULL: u32 = 25;
    /// The table of kernel stacks was full: what a task waited for is not known.
    pub const STACKS_FULL: u32 = 26;
    /// The table of calls on files under way was full: how an fsync() or unlink() ended was not seen.
    pub const FILE_CALLS_FULL: u32 = 27;
    /// A TCP socket was not in the state in which it was left: the kernel did not show us what came in between.
    pub const TRANSITION_UNSEEN: u32 = 28;
    /// The kernel did not report the wake-up of a task in uninterruptible sleep: this sleep was not measured.
    pub const SLEEP_UNSEEN: u32 = 29;
    /// Number of slots.
    pub const COUNT: u32 = 30;
}
