//! Commits of journals. jbd2's own thread makes them, one after the other for each journal (the last one, when it is
//! unmounted, is made by the process that unmounts), so nobody else writes a journal's row.

use aya_ebpf::{
    macros::{map, tracepoint},
    maps::{Array, HashMap},
    programs::TracePointContext,
};
use probe_common::{
    journal::{COMMITS_SENT, COMMITS_SENT_IN_NS, Commit, JournalSum, phase},
    loss,
    request::event,
};

use super::{add, looked_up};
use crate::{
    lifecycle,
    maps::{config, lost},
    mem,
};

/// Sums by device.
#[map]
static JOURNALS: HashMap<u32, JournalSum> = HashMap::with_max_entries(1, 0);

/// An all-zero row for [`JOURNALS`], too large for the stack.
#[map]
static ZERO_JOURNAL: Array<JournalSum> = Array::with_max_entries(1, 0);

#[inline(always)]
fn row(ctx: &TracePointContext, dev: u32) -> Option<(u32, &'static mut JournalSum)> {
    let dev = looked_up::<u32>(ctx, dev)?;
    let row = match JOURNALS.get_ptr_mut(dev) {
        Some(row) => row,
        None => {
            let _ = JOURNALS.insert(dev, ZERO_JOURNAL.get(0)?, 1 /* BPF_NOEXIST */);
            let row = JOURNALS.get_ptr_mut(dev);
            if row.is_none() {
                lost(loss::slot::JOURNAL_SUMS_FULL);
            }
            row?
        }
    };
    // SAFETY: a live map value, which one thread at a time writes.
    Some((dev, unsafe { &mut *row }))
}

/// jbd2_start_commit.
#[tracepoint]
pub fn on_commit_start(ctx: TracePointContext) -> u32 {
    let _ = begins(&ctx);
    0
}

#[inline(always)]
fn begins(ctx: &TracePointContext) -> Option<()> {
    let (_, row) = row(ctx, config!(journal.start_dev))?;
    let now = mem::now_ns();
    row.tid = looked_up::<u32>(ctx, config!(journal.start_tid))?;
    row.sync = (looked_up::<u8>(ctx, config!(journal.start_sync))? != 0) as u32;
    row.phase_ns = [0; phase::COUNT];
    if row.last_start_ns != 0 {
        add(&raw mut row.interval, now - row.last_start_ns);
    }
    row.last_start_ns = now;
    row.start_ns = now;
    Some(())
}

/// jbd2_commit_locking.
#[tracepoint]
pub fn on_commit_locking(ctx: TracePointContext) -> u32 {
    let _ = enters(&ctx, config!(journal.locking_dev), phase::LOCKING);
    0
}

/// jbd2_commit_flushing.
#[tracepoint]
pub fn on_commit_flushing(ctx: TracePointContext) -> u32 {
    let _ = enters(&ctx, config!(journal.flushing_dev), phase::FLUSHING);
    0
}

/// jbd2_commit_logging.
#[tracepoint]
pub fn on_commit_logging(ctx: TracePointContext) -> u32 {
    let _ = enters(&ctx, config!(journal.logging_dev), phase::LOGGING);
    0
}

#[inline(always)]
fn enters(ctx: &TracePointContext, dev: u32, phase: usize) -> Option<()> {
    let (_, row) = row(ctx, dev)?;
    row.phase_ns[phase] = mem::now_ns();
    Some(())
}

/// jbd2_end_commit.
#[tracepoint]
pub fn on_commit_end(ctx: TracePointContext) -> u32 {
    let _ = ends(&ctx);
    0
}

#[inline(always)]
fn ends(ctx: &TracePointContext) -> Option<()> {
    let (dev, row) = row(ctx, config!(journal.end_dev))?;
    let tid = looked_up::<u32>(ctx, config!(journal.end_tid))?;
    let start_ns = row.start_ns;
    row.start_ns = 0;
    // It began before we did.
    if start_ns == 0 || row.tid != tid {
        return None;
    }
    let now = mem::now_ns();
    add(&raw mut row.total, now - start_ns);
    let [locking, flushing, logging] = row.phase_ns;
    let mut phases_ns = [0; phase::COUNT];
    if locking != 0 && flushing != 0 && logging != 0 {
        phases_ns = [flushing - locking, logging - flushing, now - logging];
        add(&raw mut row.phases[phase::LOCKING], phases_ns[0]);
        add(&raw mut row.phases[phase::FLUSHING], phases_ns[1]);
        add(&raw mut row.phases[phase::LOGGING], phases_ns[2]);
    }
    row.synced += row.sync as u64;
    if now - row.sent_since_ns > COMMITS_SENT_IN_NS {
        row.sent_since_ns = now;
        row.sent = 0;
    }
    row.sent += 1;
    let commit = Commit {
        event: event::COMMIT,
        dev,
        tid,
        sync: row.sync,
        start_ns,
        end_ns: now,
        phases_ns,
    };
    let listed = row.sent <= COMMITS_SENT as u64
        && lifecycle::send((&raw const commit).cast(), size_of::<Commit>() as u64);
    row.unlisted += !listed as u64;
    Some(())
}

/// jbd2_run_stats: jbd2's own account of the commit that is about to end.
#[tracepoint]
pub fn on_commit_stats(ctx: TracePointContext) -> u32 {
    let _ = accounts(&ctx);
    0
}

#[inline(always)]
fn accounts(ctx: &TracePointContext) -> Option<()> {
    let (_, row) = row(ctx, config!(journal.run_dev))?;
    let handles = looked_up::<u32>(ctx, config!(journal.run_handles))?;
    let blocks = looked_up::<u32>(ctx, config!(journal.run_blocks))?;
    let logged = looked_up::<u32>(ctx, config!(journal.run_logged))?;
    row.handles += handles as u64;
    row.blocks += blocks as u64;
    row.blocks_logged += logged as u64;
    let offsets = [
        config!(journal.run_wait),
        config!(journal.run_request_delay),
        config!(journal.run_running),
        config!(journal.run_locked),
        config!(journal.run_flushing),
        config!(journal.run_logging),
    ];
    for (sum, offset) in row.run_jiffies.iter_mut().zip(offsets) {
        *sum += looked_up::<u64>(ctx, offset)?;
    }
    Some(())
}
