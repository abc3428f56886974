//! Loads the programs, and ties each to its tracepoint.

use std::sync::Mutex;

use aya::{
    Ebpf,
    maps::{MapError, ProgramArray},
    programs::{KProbe, Program, ProgramError, RawTracePoint, TracePoint},
    sys::SyscallError,
};
use probe_common::{
    dns,
    op::{OPS, Op, kind},
};

use super::{
    Links, chain,
    probes::{self, Attachment, Probe},
    resolve::Resolved,
};

/// Loads the programs of every probe that is not off, on all CPUs at once: the verifier's work is most of
/// the time to the first data. A program that is refused is tried again, alone, when it is attached,
/// which names the reason.
pub fn load_all(ebpf: &mut Ebpf, catalogue: &[&'static Probe], resolved: &Resolved) {
    let mut wanted: Vec<&str> = catalogue
        .iter()
        .filter(|p| resolved.reason(p.id).is_none())
        .flat_map(|p| p.attachments)
        .map(|a| a.program)
        .collect();
    if catalogue.iter().any(|p| p.id == "calls") && resolved.reason("calls").is_none() {
        wanted.extend(
            OPS[1..]
                .iter()
                .flat_map(|op| [return_program(op.kind), entry_program(op)]),
        );
    }
    let programs: Vec<&mut Program> = ebpf
        .programs_mut()
        .filter(|(name, _)| wanted.contains(name))
        .map(|(_, p)| p)
        .collect();
    let queue = Mutex::new(programs);
    let next = || queue.lock().ok().and_then(|mut queue| queue.pop());
    let threads = std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(4);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(program) = next() {
                    let _ = match program {
                        Program::TracePoint(p) => p.load(),
                        Program::RawTracePoint(p) => p.load(),
                        Program::KProbe(p) => p.load(),
                        _ => Ok(()),
                    };
                }
            });
        }
    });
}

/// Attaches the return of every accounted call first, then its entry.
pub fn attach_calls(ebpf: &mut Ebpf, links: &mut Links) -> Result<(), String> {
    for (prefix, returns) in [("sys_exit_", true), ("sys_enter_", false)] {
        for op in &OPS[1..] {
            let program = if returns {
                return_program(op.kind)
            } else {
                entry_program(op)
            };
            let name = format!("{prefix}{}", op.name);
            // Older kernels lack some (epoll_pwait2), other architectures others (poll).
            attach_to(ebpf, links, program, "syscalls", &name, true)?;
        }
    }
    Ok(())
}

/// The program for the entry of a call.
fn entry_program(op: &Op) -> &'static str {
    match op.kind {
        kind::CONNECT => "on_enter_connect",
        kind::ACCEPT => "on_enter_accept",
        kind::POLL => "on_enter_poll",
        kind::SELECT => "on_enter_select",
        kind::RECV => "on_enter_recv",
        _ if op.name == "sendto" => "on_enter_sendto",
        _ => "on_enter",
    }
}

/// The programs for the returns of accounted calls, as [`return_program`] names them.
pub const RETURNS: &[&str] = &[
    "on_connect",
    "on_accept",
    "on_poll",
    "on_select",
    "on_epoll",
    "on_recv",
    "on_send",
];

/// The program for the return of a kind of call.
fn return_program(kind: u8) -> &'static str {
    match kind {
        kind::CONNECT => "on_connect",
        kind::ACCEPT => "on_accept",
        kind::POLL => "on_poll",
        kind::SELECT => "on_select",
        kind::EPOLL => "on_epoll",
        kind::RECV => "on_recv",
        _ => "on_send",
    }
}

pub fn attach_one(ebpf: &mut Ebpf, links: &mut Links, a: &Attachment) -> Result<(), String> {
    match a.category {
        probes::RAW => return attach_raw(ebpf, links, a.program, a.name),
        probes::KPROBE => return attach_kprobe(ebpf, links, a),
        probes::CALLS => return attach_behind_calls(ebpf, a.program, a.name),
        _ => {}
    }
    attach_to(ebpf, links, a.program, a.category, a.name, a.optional)
}

/// Loads a program that is not loaded yet.
pub fn load_program(
    program: &str,
    loaded: bool,
    load: impl FnOnce() -> Result<(), ProgramError>,
) -> Result<(), String> {
    if loaded {
        return Ok(());
    }
    load().map_err(|e| {
        log::debug!("{program}: {e:?}");
        format!("the kernel refuses program {program}: {}", chain(&e))
    })
}

fn attach_raw(ebpf: &mut Ebpf, links: &mut Links, program: &str, name: &str) -> Result<(), String> {
    let tracepoint: &mut RawTracePoint = ebpf
        .program_mut(program)
        .ok_or_else(|| format!("the object has no program {program}"))?
        .try_into()
        .map_err(|e| format!("{program}: {e}"))?;
    load_program(program, tracepoint.fd().is_ok(), || tracepoint.load())?;
    match tracepoint
        .attach(name)
        .and_then(|id| tracepoint.take_link(id))
    {
        Ok(link) => {
            links.add(link);
            Ok(())
        }
        Err(e) => Err(format!("raw tracepoint {name}: {}", chain(&e))),
    }
}

fn attach_kprobe(ebpf: &mut Ebpf, links: &mut Links, a: &Attachment) -> Result<(), String> {
    let (program, function) = (a.program, a.name);
    let kprobe: &mut KProbe = ebpf
        .program_mut(program)
        .ok_or_else(|| format!("the object has no program {program}"))?
        .try_into()
        .map_err(|e| format!("{program}: {e}"))?;
    load_program(program, kprobe.fd().is_ok(), || kprobe.load())?;
    match kprobe
        .attach(function, 0)
        .and_then(|id| kprobe.take_link(id))
    {
        Ok(link) => {
            links.add(link);
            Ok(())
        }
        Err(ProgramError::SyscallError(SyscallError { io_error, .. }))
            if a.optional && io_error.kind() == std::io::ErrorKind::NotFound =>
        {
            Ok(())
        }
        Err(e) => Err(format!("kprobe {function}: {}", chain(&e))),
    }
}

/// Puts a program where those of calls find it. Nothing has to be detached: what runs it is.
fn attach_behind_calls(ebpf: &mut Ebpf, program: &str, slot: &str) -> Result<(), String> {
    let tracepoint: &mut TracePoint = ebpf
        .program_mut(program)
        .ok_or_else(|| format!("the object has no program {program}"))?
        .try_into()
        .map_err(|e| format!("{program}: {e}"))?;
    load_program(program, tracepoint.fd().is_ok(), || tracepoint.load())?;
    let fd = tracepoint.fd().map_err(|e| e.to_string())?.try_clone();
    let fd = fd.map_err(|e| format!("{program}: {e}"))?;
    let index = dns::slot::NAMES.iter().position(|name| *name == slot);
    let index = index.ok_or_else(|| format!("calls do not go on to \"{slot}\""))?;
    let table = ebpf.map_mut("DNS_CALLS");
    let table = table.ok_or_else(|| "the object has no map DNS_CALLS".to_owned())?;
    let mut table: ProgramArray<_> = table.try_into().map_err(|e: MapError| chain(&e))?;
    let set = table.set(index as u32, &fd, 0);
    set.map_err(|e| format!("{program} cannot follow calls: {}", chain(&e)))
}

pub fn attach_to(
    ebpf: &mut Ebpf,
    links: &mut Links,
    program: &str,
    category: &str,
    name: &str,
    optional: bool,
) -> Result<(), String> {
    let tracepoint: &mut TracePoint = ebpf
        .program_mut(program)
        .ok_or_else(|| format!("the object has no program {program}"))?
        .try_into()
        .map_err(|e| format!("{program}: {e}"))?;
    load_program(program, tracepoint.fd().is_ok(), || tracepoint.load())?;
    if let Ok(info) = tracepoint.info() {
        log::debug!(
            "{program}: {:?} instructions verified",
            info.verified_instruction_count()
        );
    }
    let attached = tracepoint.attach(category, name);
    match attached.and_then(|id| tracepoint.take_link(id)) {
        Ok(link) => {
            links.add(link);
            Ok(())
        }
        Err(ProgramError::TracePointError(
            aya::programs::trace_point::TracePointError::FileError { io_error, .. },
        )) if optional && io_error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(format!("tracepoint {category}:{name}: {}", chain(&e))),
    }
}
