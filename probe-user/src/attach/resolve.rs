//! Turns the catalogue's needs into the configuration of the kernel side.

use std::{collections::HashMap, fs, path::Path};

use probe_common::{
    config::{ABSENT, Config},
    op::OPS,
};

use super::{
    Mode, Options,
    btf::{self, Btf},
    clock,
    format::{Field, Format},
    probes::{FieldNeed, ITER, KPROBE, MemberNeed, Probe},
    syscalls,
};
use crate::error::Error;

/// What was found, and what was not.
pub struct Resolved {
    /// Ready for the kernel side.
    pub config: Config,
    /// Type ids of the functions by which the kernel knows its iterators, by the iterator's name.
    pub iterators: HashMap<&'static str, u32>,
    off: HashMap<&'static str, String>,
}

impl Resolved {
    /// Why a probe is off, if it is.
    pub fn reason(&self, probe: &str) -> Option<&str> {
        self.off.get(probe).map(String::as_str)
    }

    /// Switches a probe off.
    pub fn off(&mut self, probe: &'static str, reason: String) {
        self.off.entry(probe).or_insert(reason);
    }
}

/// Fails on a kernel that is too old, or has no type information.
pub fn check_kernel() -> Result<(), Error> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    if version(release).is_some_and(|v| v < (5, 10)) {
        return Err(Error::Kernel(format!(
            "kernel {release} is too old: stallscope needs Linux 5.10 or later"
        )));
    }
    if !Path::new(btf::VMLINUX).exists() {
        return Err(Error::Kernel(format!(
            "kernel {release} has no BTF ({} is missing): boot one built with CONFIG_DEBUG_INFO_BTF=y, \
             as the distributions' kernels are",
            btf::VMLINUX
        )));
    }
    Ok(())
}

/// Major and minor of a release such as `6.1.0-50-amd64`.
pub fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// There where the kernel has kprobes (CONFIG_KPROBE_EVENTS).
const KPROBES: &str = "/sys/bus/event_source/devices/kprobe/type";

/// Whether BPF programs are compiled; a kernel that always does has no such file, or says 1.
const JIT: &str = "/proc/sys/net/core/bpf_jit_enable";

/// The ports that the kernel gives to sockets that ask for none, first and last; where that cannot be read, its default.
fn local_ports() -> (u32, u32) {
    const DEFAULT: (u32, u32) = (32768, 60999);
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut words = text.split_whitespace().map(|word| word.parse().ok());
    match (words.next().flatten(), words.next().flatten()) {
        (Some(first), Some(last)) => (first, last),
        _ => DEFAULT,
    }
}

/// Looks up every need of `probes` in the running kernel.
pub fn resolve(
    tracefs: &Path,
    probes: &[&'static Probe],
    options: &Options,
) -> Result<Resolved, Error> {
    let mut config = Config::ZERO;
    // Whatever stays unresolved must not be mistaken for offset 0.
    config.offsets.task_start = ABSENT;
    config.offsets.task_stack = ABSENT;
    config.ops = syscalls::table();
    config.own_tgid = std::process::id();
    config.log = options.log.into();
    // The kernel packs struct epoll_event on x86-64 only (include/uapi/linux/eventpoll.h).
    config.epoll_data = if cfg!(target_arch = "x86_64") { 4 } else { 8 };
    config.close_range_nr = libc::SYS_close_range as u32;
    (config.first_local_port, config.last_local_port) = local_ports();
    config.cohort_shift = clock::cohort_shift(clock::hz());
    config.tcp_events = options.watched().tcp_events.into();
    match options.mode {
        Mode::Ledger { follow_all } => config.follow_all = follow_all.into(),
        Mode::Count { follow_all, .. } => config.count_filter = (!follow_all).into(),
        Mode::Signals => {}
    }
    let mut resolved = Resolved {
        config,
        iterators: HashMap::new(),
        off: HashMap::new(),
    };

    let iterators: Vec<(&'static str, String)> = probes
        .iter()
        .flat_map(|p| p.attachments)
        .filter(|a| a.category == ITER)
        .map(|a| (a.name, format!("bpf_iter_{}", a.name)))
        .collect();
    let wanted: Vec<&str> = probes
        .iter()
        .flat_map(|p| p.members.iter().chain(p.optional.members))
        .map(|m| m.structure)
        .chain(iterators.iter().map(|(_, function)| function.as_str()))
        .collect();
    let btf = Btf::read(Path::new(btf::VMLINUX), &wanted)
        .map_err(|e| Error::Kernel(format!("kernel type information: {e}")))?;
    for (name, function) in &iterators {
        if let Some(id) = btf.function(function) {
            resolved.iterators.insert(name, id);
        }
    }
    for probe in probes {
        let found = members(probe, &btf, &mut resolved.config)
            .and_then(|()| fields(probe, tracefs, &mut resolved.config))
            .and_then(|()| {
                let mut calls = probe.calls.iter();
                calls.try_for_each(|(call, arguments)| record_layout(tracefs, call, *arguments))
            });
        if let Err(reason) = found {
            resolved.off(probe.id, reason);
        }
        optional(probe, &btf, tracefs, &mut resolved.config);
    }
    let no_kprobes = !Path::new(KPROBES).exists();
    for probe in probes {
        if no_kprobes && probe.attachments.iter().any(|a| a.category == KPROBE) {
            resolved.off(probe.id, "this kernel has no kprobes".to_owned());
        }
    }
    if fs::read_to_string(JIT).is_ok_and(|text| text.trim() == "0") {
        let needing = probes.iter().filter(|p| p.needs_jit);
        needing
            .for_each(|p| resolved.off(p.id, format!("BPF programs are interpreted ({JIT} is 0)")));
    }
    if probes.iter().any(|p| p.id == "calls")
        && let Err(reason) = syscall_layout(tracefs)
    {
        for id in ["calls", "requests", "epoll"] {
            resolved.off(id, reason.clone());
        }
    }
    if let Some(reason) = resolved.reason("peers").map(str::to_owned) {
        let needing = probes.iter().filter(|p| p.needs_peers);
        needing.for_each(|p| resolved.off(p.id, reason.clone()));
    }
    if !options.fastcgi {
        resolved.off("fastcgi", "switched off (--no-fastcgi)".to_owned());
    }
    switch(probes, &mut resolved);
    Ok(resolved)
}

/// Tells the kernel side which probes it may rely on.
pub fn switch(probes: &[&'static Probe], resolved: &mut Resolved) {
    for probe in probes {
        if let Some(switch) = probe.switch {
            let on = resolved.reason(probe.id).is_none();
            switch(&mut resolved.config, on.into());
        }
    }
}

fn members(probe: &Probe, btf: &Btf, config: &mut Config) -> Result<(), String> {
    for need in probe.members {
        let offset = member(need, btf).ok_or_else(|| {
            format!(
                "this kernel has no {}.{}",
                need.structure,
                need.members.join(" or ")
            )
        })?;
        (need.set)(config, offset);
    }
    Ok(())
}

fn member(need: &MemberNeed, btf: &Btf) -> Option<u32> {
    let mut names = need.members.iter();
    let found = names.find_map(|name| btf.member(need.structure, name))?;
    Some(found.offset)
}

fn fields(probe: &Probe, tracefs: &Path, config: &mut Config) -> Result<(), String> {
    for need in probe.fields {
        let (category, name) = need.tracepoint;
        let format = Format::read(tracefs, category, name)?;
        let offset = field(need, &format).ok_or_else(|| {
            format!(
                "the record of {category}:{name} has no {} of {} bytes",
                need.fields.join(" or "),
                need.size
            )
        })?;
        (need.set)(config, offset);
    }
    Ok(())
}

fn field(need: &FieldNeed, format: &Format) -> Option<u32> {
    let mut names = need.fields.iter();
    let found = names.find_map(|field| format.field(field))?;
    (found.size == need.size).then_some(found.offset)
}

/// What a probe can go without.
fn optional(probe: &Probe, btf: &Btf, tracefs: &Path, config: &mut Config) {
    for need in probe.optional.members {
        (need.set)(config, member(need, btf).unwrap_or(ABSENT));
    }
    for need in probe.optional.fields {
        let (category, name) = need.tracepoint;
        let format = Format::read(tracefs, category, name).unwrap_or_default();
        (need.set)(config, field(need, &format).unwrap_or(ABSENT));
    }
}

/// The records of all calls that are accounted are laid out as expected.
fn syscall_layout(tracefs: &Path) -> Result<(), String> {
    OPS[1..]
        .iter()
        .try_for_each(|op| record_layout(tracefs, op.name, u32::from(op.args)))
}

/// The records of system calls have had one shape since they exist; it is compiled in for speed, so it
/// is compared here: number at 8, arguments from 16 in steps of 8, the result at 16.
fn record_layout(tracefs: &Path, call: &str, arguments: u32) -> Result<(), String> {
    let nr = Some(Field { offset: 8, size: 4 });
    let ret = Some(Field {
        offset: 16,
        size: 8,
    });
    for entry in [true, false] {
        let name = format!("sys_{}_{call}", if entry { "enter" } else { "exit" });
        let Ok(format) = Format::read(tracefs, "syscalls", &name) else {
            continue;
        };
        let shape_ok = format.field("__syscall_nr") == nr
            && (entry || format.field("ret") == ret)
            && (!entry || format.arguments() == arguments);
        if !shape_ok {
            return Err(format!("the record of {name} is not laid out as expected"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_kernel_releases() {
        assert_eq!(version("5.10.0-33-cloud-amd64"), Some((5, 10)));
        assert_eq!(version("6.18.44-fc-v657"), Some((6, 18)));
        assert!(version("5.9.1").unwrap() < (5, 10));
        assert_eq!(version("garbage"), None);
    }
}
