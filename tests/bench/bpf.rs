//! What this program needs of bpf(2) itself: which tracing programs are loaded, loading one of its own, and the maps of others.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use probe_tests::programs;

const MAP_CREATE: i64 = 0;
const MAP_LOOKUP: i64 = 1;
const MAP_UPDATE: i64 = 2;
const PROG_LOAD: i64 = 5;
const PROG_TEST_RUN: i64 = 10;
const PROG_GET_FD_BY_ID: i64 = 13;
const MAP_GET_FD_BY_ID: i64 = 14;
const OBJ_GET_INFO_BY_FD: i64 = 15;
const RAW_TRACEPOINT_OPEN: i64 = 17;
/// BPF_PROG_TYPE_TRACEPOINT.
pub const TRACEPOINT: u32 = 5;
/// BPF_PROG_TYPE_RAW_TRACEPOINT.
const RAW_TRACEPOINT: u32 = 17;
/// Program types that traced calls can meet: kprobe, tracepoint, perf event, raw tracepoint (and its
/// writable twin), tracing.
const TRACING: [u32; 6] = [2, TRACEPOINT, 7, RAW_TRACEPOINT, 24, 26];

/// BPF_PROG_TYPE_SCHED_CLS: can be run by BPF_PROG_TEST_RUN, very many times in one call.
pub const SCHED_CLS: u32 = 3;
/// BPF_MAP_TYPE_ARRAY.
pub const ARRAY: u32 = 2;
/// BPF_MAP_TYPE_RINGBUF.
pub const RING: u32 = 27;

/// How long blocks have waited for other tracing programs to go away, ms. On a machine that is never quiet all of them together wait no longer
/// than [`WAIT_AT_MOST`].
static WAITED_MS: AtomicU64 = AtomicU64::new(0);
const WAIT_AT_MOST: Duration = Duration::from_secs(30);

/// Makes a bpf(2) call whose attributes are these words.
fn call(command: i64, attributes: &mut [u64]) -> io::Result<i64> {
    // SAFETY: each caller passes attributes that are laid out for the command, with live pointers.
    let r = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            attributes.as_mut_ptr(),
            size_of_val(attributes),
        )
    };
    match r {
        0.. => Ok(r),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The same for commands that make a descriptor.
fn open(command: i64, attributes: &mut [u64]) -> io::Result<OwnedFd> {
    let fd = call(command, attributes)?;
    // SAFETY: a new descriptor, owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// The type of a loaded program.
fn type_of(id: u32) -> Option<u32> {
    let fd = open(PROG_GET_FD_BY_ID, &mut [u64::from(id), 0]).ok()?;
    // struct bpf_prog_info begins with its type.
    Some(info(&fd).ok()?[0] as u32)
}

/// What the kernel says of a program or map: struct bpf_prog_info, struct bpf_map_info.
fn info(of: &OwnedFd) -> io::Result<[u64; 64]> {
    let mut info = [0u64; 64];
    let size = size_of_val(&info) as u64;
    // struct { u32 bpf_fd; u32 info_len; u64 info; }
    call(
        OBJ_GET_INFO_BY_FD,
        &mut [of.as_raw_fd() as u64 | size << 32, info.as_mut_ptr() as u64],
    )?;
    Ok(info)
}

/// Waits until no tracing program is loaded. False when some remain: others measure or watch as well.
pub fn wait_until_alone(patience: Duration) -> bool {
    let begun = Instant::now();
    let left =
        WAIT_AT_MOST.saturating_sub(Duration::from_millis(WAITED_MS.load(Ordering::Relaxed)));
    loop {
        let others = programs::programs().into_iter().filter_map(type_of);
        let alone = !others.into_iter().any(|kind| TRACING.contains(&kind));
        let waited = begun.elapsed();
        if alone || waited >= patience.min(left) {
            WAITED_MS.fetch_add(waited.as_millis() as u64, Ordering::Relaxed);
            return alone;
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
    let link = open(RAW_TRACEPOINT_OPEN, &mut attributes)
        .with_context(|| format!("{raw_tracepoint:?}"))?;
    Ok(Attached {
        _program: program,
        _link: link,
    })
}

/// Loads a program of this type that returns 0 and does nothing else.
pub fn load_empty(kind: u32) -> anyhow::Result<OwnedFd> {
    // mov64 r0, 0; exit
    load(kind, &[0xb7, 0x95])
}

/// Loads a program; what the verifier has against it is the error.
pub fn load(kind: u32, code: &[u64]) -> anyhow::Result<OwnedFd> {
    let licence = c"GPL";
    let mut log = vec![0u8; 1 << 16];
    let attributes = |level: u64, log: &mut [u8]| {
        [
            u64::from(kind) | (code.len() as u64) << 32,
            code.as_ptr() as u64,
            licence.as_ptr() as u64,
            level
                | if level > 0 {
                    (log.len() as u64) << 32
                } else {
                    0
                },
            if level > 0 {
                log.as_mut_ptr() as u64
            } else {
                0
            },
            0,
        ]
    };
    if let Ok(program) = open(PROG_LOAD, &mut attributes(0, &mut log)) {
        return Ok(program);
    }
    // A log costs time, and is wanted of a refusal only.
    open(PROG_LOAD, &mut attributes(1, &mut log)).with_context(|| {
        let text = String::from_utf8_lossy(&log);
        format!(
            "the kernel refuses a program: {}",
            text.trim_end_matches('\0')
        )
    })
}

/// Runs a [`SCHED_CLS`] program so many times, on the calling thread's CPU.
pub fn run(program: &OwnedFd, times: u32) -> anyhow::Result<()> {
    // The least that counts as a packet: an Ethernet header.
    let packet = [0u8; 64];
    // struct { u32 prog_fd, retval, data_size_in, data_size_out; u64 data_in, data_out; u32 repeat, duration; ... }
    let mut attributes = [
        program.as_raw_fd() as u64,
        packet.len() as u64,
        packet.as_ptr() as u64,
        0,
        u64::from(times),
    ];
    call(PROG_TEST_RUN, &mut attributes).context("BPF_PROG_TEST_RUN")?;
    Ok(())
}

/// A map.
pub struct Map {
    /// Its descriptor.
    pub fd: OwnedFd,
    /// `max_entries`; of a ring, its size in bytes.
    pub entries: u32,
    value_size: usize,
}

impl Map {
    /// Makes one whose keys, if it has any, are numbers of 32 bits.
    pub fn make(kind: u32, value_size: u32, entries: u32) -> anyhow::Result<Self> {
        let key_size = if kind == RING { 0u64 } else { 4 };
        let mut attributes = [
            u64::from(kind) | key_size << 32,
            u64::from(value_size) | u64::from(entries) << 32,
            0,
        ];
        Ok(Self {
            fd: open(MAP_CREATE, &mut attributes).context("the kernel refuses a map")?,
            entries,
            value_size: value_size as usize,
        })
    }

    /// The map of this name that a process holds.
    pub fn of_process(pid: u32, name: &str) -> anyhow::Result<Self> {
        for id in programs::held_by(pid).1 {
            let Ok(fd) = open(MAP_GET_FD_BY_ID, &mut [u64::from(id), 0]) else {
                continue;
            };
            // struct { u32 type, id, key_size, value_size, max_entries, map_flags; char name[16]; ... }
            let info = info(&fd)?;
            let bytes: Vec<u8> = info[3..5].iter().flat_map(|w| w.to_ne_bytes()).collect();
            if bytes.split(|byte| *byte == 0).next() == Some(name.as_bytes()) {
                return Ok(Self {
                    fd,
                    entries: info[2] as u32,
                    value_size: (info[1] >> 32) as usize,
                });
            }
        }
        anyhow::bail!("process {pid} holds no map {name}")
    }

    /// Writes a value.
    pub fn set(&self, key: u32, value: &[u8]) -> anyhow::Result<()> {
        ensure!(value.len() == self.value_size, "a value of another size");
        // struct { u32 map_fd; u64 key, value, flags; }
        let mut attributes = [
            self.fd.as_raw_fd() as u64,
            (&raw const key) as u64,
            value.as_ptr() as u64,
            0,
        ];
        call(MAP_UPDATE, &mut attributes).context("writing to a map")?;
        Ok(())
    }

    /// Reads a value that is one word.
    pub fn word(&self, key: u32) -> anyhow::Result<u64> {
        ensure!(self.value_size == 8, "a value of another size");
        let mut value = 0u64;
        let mut attributes = [
            self.fd.as_raw_fd() as u64,
            (&raw const key) as u64,
            (&raw mut value) as u64,
            0,
        ];
        call(MAP_LOOKUP, &mut attributes).context("reading a map")?;
        Ok(value)
    }
}

/// Memory that the kernel accounts for the maps of a process, bytes.
pub fn map_bytes(pid: u32) -> u64 {
    let dir = std::fs::read_dir(format!("/proc/{pid}/fdinfo"));
    let texts = dir
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .filter_map(|entry| std::fs::read_to_string(entry.path()).ok());
    let field = |text: &str, name: &str| -> Option<u64> {
        let line = text.lines().find_map(|l| l.strip_prefix(name))?;
        line.trim().parse().ok()
    };
    // A map that is held twice is one map.
    let maps = texts.filter_map(|t| Some((field(&t, "map_id:")?, field(&t, "memlock:")?)));
    maps.collect::<BTreeMap<u64, u64>>().values().sum()
}
