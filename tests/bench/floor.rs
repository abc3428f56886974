//! The floor: empty programs on entry and return of a call. Whoever wants to see both cannot cost less.

use std::{
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    path::Path,
};

use anyhow::{Context as _, ensure};

use crate::bpf;

const PERF_TYPE_TRACEPOINT: u32 = 2;
/// PERF_EVENT_IOC_ENABLE and PERF_EVENT_IOC_SET_BPF (include/uapi/linux/perf_event.h).
const ENABLE: libc::c_ulong = 0x2400;
const SET_BPF: libc::c_ulong = 0x4004_2408;

/// PERF_FLAG_FD_CLOEXEC.
const CLOEXEC: libc::c_ulong = 1 << 3;

/// The empty programs, attached until this is dropped.
pub struct Floor {
    _events: Vec<OwnedFd>,
}

/// Attaches one to the entry and the return of each of these calls.
pub fn attach(tracefs: &Path, calls: &[&str]) -> anyhow::Result<Floor> {
    let program = bpf::load_empty(bpf::TRACEPOINT)?;
    let mut events = Vec::new();
    for call in calls {
        for side in ["exit", "enter"] {
            let file = tracefs.join(format!("events/syscalls/sys_{side}_{call}/id"));
            let id = std::fs::read_to_string(&file)
                .with_context(|| format!("reading {}", file.display()))?;
            let event = open(id.trim().parse()?)?;
            control(&event, SET_BPF, program.as_raw_fd())?;
            control(&event, ENABLE, 0)?;
            events.push(event);
        }
    }
    Ok(Floor { _events: events })
}

/// Opens a tracepoint as stallscope's loader does: a program attached to it runs on every CPU.
fn open(id: u64) -> anyhow::Result<OwnedFd> {
    /// PERF_ATTR_SIZE_VER0.
    const SIZE: u32 = 64;
    // struct perf_event_attr: type and size in the first word, config in the second.
    let mut attr = [0u64; SIZE as usize / 8];
    attr[0] = u64::from(PERF_TYPE_TRACEPOINT) | u64::from(SIZE) << 32;
    attr[1] = id;
    let (pid, cpu, group) = (-1, 0, -1);
    // SAFETY: reads one attribute of the size that it says.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            attr.as_ptr(),
            pid,
            cpu,
            group,
            CLOEXEC,
        )
    };
    ensure!(
        fd >= 0,
        "perf_event_open: {}",
        std::io::Error::last_os_error()
    );
    // SAFETY: a new descriptor, owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

fn control(event: &OwnedFd, request: libc::c_ulong, argument: i32) -> anyhow::Result<()> {
    // SAFETY: both requests take a number.
    let r = unsafe { libc::ioctl(event.as_raw_fd(), request, argument) };
    ensure!(r == 0, "perf event: {}", std::io::Error::last_os_error());
    Ok(())
}
