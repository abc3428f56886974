//! Which descriptor an epoll registration stands for: epoll_wait hands back only the program's own data.

use aya_ebpf::{macros::tracepoint, programs::TracePointContext};
use probe_common::{loss, peer::EpollKey, task::flag};

use crate::{
    maps::{EPOLL, config, lost},
    mem, task,
};

const EPOLL_CTL_DEL: u64 = 2;

#[tracepoint]
pub fn on_epoll_ctl(ctx: TracePointContext) -> u32 {
    try_epoll_ctl(&ctx);
    0
}

#[inline(always)]
fn try_epoll_ctl(ctx: &TracePointContext) -> Option<()> {
    let task = task::current()?;
    let epfd = mem::field::<u64>(ctx, 16) as u32;
    let op = mem::field::<u64>(ctx, 24);
    let fd = mem::field::<u64>(ctx, 32) as u32;
    if op == EPOLL_CTL_DEL {
        return Some(());
    }
    // An accepted connection that goes into an event loop: requests overlap, accept to close is not one.
    if task.request.fd == fd as i32 && task.flags & (flag::IN_REQUEST | flag::KEPT_OPEN) != 0 {
        task.flags |= flag::EVENT_DRIVEN;
        task.flags &= !(flag::IN_REQUEST | flag::KEPT_OPEN);
    }
    let event = mem::field::<u64>(ctx, 40);
    let data = mem::user::<u64>(event + config!(epoll_data) as u64)?;
    let key = EpollKey {
        data,
        tgid: task.tgid,
        epfd,
    };
    if EPOLL.insert(key, fd, 0).is_err() {
        lost(loss::slot::EPOLL_FULL);
    }
    Some(())
}

/// The descriptor behind the first event that epoll_wait returned.
#[inline(always)]
pub fn first_ready(tgid: u32, epfd: u32, events: u64) -> Option<u32> {
    let data = mem::user::<u64>(events + config!(epoll_data) as u64)?;
    let key = EpollKey { data, tgid, epfd };
    // SAFETY: the value is a plain integer.
    unsafe { EPOLL.get(key) }.copied()
}
