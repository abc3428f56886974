//! What the tool says of itself beside what is in a window: cost since it started, and what became of what it gave out.

/// Totals since the tool started, and levels.
#[derive(Clone, Debug, Default)]
pub struct Own {
    /// Version.
    pub version: &'static str,
    /// Metrics fetched.
    pub scrapes: u64,
    /// Fetches refused: no or a wrong password, too many at once, a malformed request.
    pub scrapes_refused: u64,
    /// OTLP messages that were accepted, metrics and findings alike.
    pub otlp_sent: u64,
    /// OTLP messages that were tried again.
    pub otlp_retried: u64,
    /// OTLP messages dropped: the queue was full, or the other side refused them for good.
    pub otlp_dropped: u64,
    /// Points and findings that the other side left out of messages that it otherwise took.
    pub otlp_rejected: u64,
    /// OTLP messages that wait.
    pub otlp_queued: u64,
    /// Findings saved.
    pub saved: u64,
    /// Findings not saved: the disk is too full, or a write failed.
    pub save_failures: u64,
    /// Bytes that the ring recording has, or 0.
    pub ring_bytes: u64,
    /// Programs run on findings, and of those: such that failed or took too long.
    pub hooks: u64,
    /// See `hooks`.
    pub hook_failures: u64,
    /// Configurations read again with success, and without.
    pub reloads: u64,
    /// See `reloads`.
    pub reload_failures: u64,
    /// Since it began to watch, ns.
    pub uptime_ns: u64,
    /// CPU time of this process since it started, ns.
    pub cpu_ns: u64,
    /// Time in our kernel programs since the start, ns; `None` where the kernel does not tell.
    pub kernel_ns: Option<u64>,
}
