//! What this program needs of bpf(2) itself: which tracing programs are loaded, and loading one of its own.

use std::{
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use probe_tests::programs;

const PROG_LOAD: i64 = 5;
const PROG_GET_FD_BY_ID: i64 = 13;
const OBJ_GET_INFO_BY_FD: i64 = 15;
const RAW_TRACEPOINT_OPEN: i64 = 17;
/// BPF_PROG_TYPE_TRACEPOINT.
pub const TRACEPOINT: u32 = 5;
/// BPF_PROG_TYPE_RAW_TRACEPOINT.
const RAW_TRACEPOINT: u32 = 17;
/// Program types that traced calls can meet: kprobe, tracepoint, perf event, raw tracepoint (and its
/// writable twin), tracing.
const TRACING: [u32; 6] = [2, TRACEPOINT, 7, RAW_TRACEPOINT, 24, 26];

/// Makes a bpf(2) call whose attributes are these words.
fn bpf(command: i64, attributes: &mut [u64]) -> Option<OwnedFd> {
    // SAFETY: each caller passes attributes that are laid out for the command, with live pointers.
    let r = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            attributes.as_mut_ptr(),
            size_of_val(attributes),
        )
    };
    // SAFETY: a new descriptor, owned by nobody else.
    (r > 0).then(|| unsafe { OwnedFd::from_raw_fd(r as i32) })
}

/// The type of a loaded program.
fn type_of(id: u32) -> Option<u32> {
    let fd = bpf(PROG_GET_FD_BY_ID, &mut [u64::from(id), 0])?;
    // struct bpf_prog_info begins with its type.
    let mut info = [0u64; 64];
    let size = size_of_val(&info) as u64;
    // struct { u32 bpf_fd; u32 info_len; u64 info; }
    bpf(
        OBJ_GET_INFO_BY_FD,
        &mut [fd.as_raw_fd() as u64 | size << 32, info.as_mut_ptr() as u64],
    );
    Some(info[0] as u32)
}

/// Waits until no tracing program is loaded. False when some remain: others measure or watch as well.
pub fn wait_until_alone(patience: Duration) -> bool {
    let begun = Instant::now();
    loop {
        let others = programs::programs().into_iter().filter_map(type_of);
        if !others.into_iter().any(|kind| TRACING.contains(&kind)) {
            return true;
        }
        if begun.elapsed() >= patience {
            return false;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// An empty program on a raw tracepoint, attached until this is dropped.
pub struct Attached {
    _program: OwnedFd,
    _link: OwnedFd,
}

/// Attaches one.
pub fn attach_empty(raw_tracepoint: &std::ffi::CStr) -> anyhow::Result<Attached> {
    let program = load_empty(RAW_TRACEPOINT)?;
    // struct { u64 name; u32 prog_fd; }
    let mut attributes = [raw_tracepoint.as_ptr() as u64, program.as_raw_fd() as u64];
    let link = bpf(RAW_TRACEPOINT_OPEN, &mut attributes)
        .with_context(|| format!("{raw_tracepoint:?}: {}", std::io::Error::last_os_error()))?;
    Ok(Attached {
        _program: program,
        _link: link,
    })
}

/// Loads a program of this type that returns 0 and does nothing else.
pub fn load_empty(kind: u32) -> anyhow::Result<OwnedFd> {
    // mov64 r0, 0; exit
    let code: [u64; 2] = [0xb7, 0x95];
    let licence = c"GPL";
    let mut attributes = [
        u64::from(kind) | (code.len() as u64) << 32,
        code.as_ptr() as u64,
        licence.as_ptr() as u64,
        0,
        0,
        0,
    ];
    let program = bpf(PROG_LOAD, &mut attributes);
    ensure!(
        program.is_some(),
        "the kernel refuses an empty program: {}",
        std::io::Error::last_os_error()
    );
    program.ok_or_else(|| anyhow::anyhow!("unreachable"))
}
