//! Calls that wait for one of several descriptors.

use std::time::Duration;

use super::{Result, at, call, close, timespec};

/// One entry of a poll set.
pub fn pollfd(fd: i32, events: i16) -> libc::pollfd {
    libc::pollfd {
        fd,
        events,
        revents: 0,
    }
}

/// poll(2); -1 waits without end.
pub fn poll(fds: &mut [libc::pollfd], timeout_ms: i32) -> Result {
    let args = [
        fds.as_mut_ptr() as usize,
        fds.len(),
        timeout_ms as isize as usize,
        0,
        0,
        0,
    ];
    call(libc::SYS_poll, args)
}

/// ppoll(2).
pub fn ppoll(fds: &mut [libc::pollfd], timeout: Duration) -> Result {
    let mut t = timespec(timeout);
    call(
        libc::SYS_ppoll,
        [fds.as_mut_ptr() as usize, fds.len(), at(&mut t), 0, 8, 0],
    )
}

/// The bit sets of select(2), for descriptors below 1024.
fn fd_set(fds: &[i32]) -> [u64; 16] {
    let mut set = [0u64; 16];
    for fd in fds {
        set[*fd as usize / 64] |= 1 << (*fd % 64);
    }
    set
}

fn highest(fds: &[i32]) -> usize {
    fds.iter().max().map_or(0, |fd| *fd as usize + 1)
}

/// select(2) for readability.
pub fn select(read: &[i32], timeout: Duration) -> Result {
    let mut set = fd_set(read);
    let mut t = [timeout.as_secs() as i64, i64::from(timeout.subsec_micros())];
    call(
        libc::SYS_select,
        [highest(read), at(&mut set), 0, 0, at(&mut t), 0],
    )
}

/// pselect6(2) for readability.
pub fn pselect6(read: &[i32], timeout: Duration) -> Result {
    let mut set = fd_set(read);
    let mut t = timespec(timeout);
    call(
        libc::SYS_pselect6,
        [highest(read), at(&mut set), 0, 0, at(&mut t), 0],
    )
}

/// epoll_create1(2).
pub fn epoll_create() -> Result<i32> {
    Ok(call(
        libc::SYS_epoll_create1,
        [libc::EPOLL_CLOEXEC as usize, 0, 0, 0, 0, 0],
    )? as i32)
}

/// Adds a descriptor; `data` is what the program wants back, which need not be the descriptor.
pub fn epoll_add(epoll: i32, fd: i32, events: i32, data: u64) -> Result<()> {
    let mut event = libc::epoll_event {
        events: events as u32,
        u64: data,
    };
    let add = libc::EPOLL_CTL_ADD as usize;
    let args = [epoll as usize, add, fd as usize, at(&mut event), 0, 0];
    call(libc::SYS_epoll_ctl, args).map(drop)
}

/// Which of the three calls an epoll wait is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EpollCall {
    /// epoll_wait(2)
    Wait,
    /// epoll_pwait(2)
    Pwait,
    /// epoll_pwait2(2)
    Pwait2,
}

/// Waits for at most eight events; returns their data.
pub fn epoll_wait(how: EpollCall, epoll: i32, timeout: Duration) -> Result<Vec<u64>> {
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; 8];
    let (ep, ms) = (epoll as usize, timeout.as_millis() as usize);
    let n = match how {
        EpollCall::Wait => call(libc::SYS_epoll_wait, [ep, at(&mut events), 8, ms, 0, 0]),
        EpollCall::Pwait => call(libc::SYS_epoll_pwait, [ep, at(&mut events), 8, ms, 0, 8]),
        EpollCall::Pwait2 => {
            let mut t = timespec(timeout);
            let args = [ep, at(&mut events), 8, at(&mut t), 0, 8];
            call(libc::SYS_epoll_pwait2, args)
        }
    }?;
    Ok(events[..n as usize].iter().map(|e| e.u64).collect())
}

/// Does this kernel have epoll_pwait2?
pub fn epoll_pwait2_works() -> bool {
    let Ok(epoll) = epoll_create() else {
        return false;
    };
    let works = epoll_wait(EpollCall::Pwait2, epoll, Duration::ZERO).is_ok();
    let _ = close(epoll);
    works
}
