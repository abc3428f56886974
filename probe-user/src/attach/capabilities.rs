//! Capabilities: what each is needed for, which are there, and how those go that only attaching needed.

use std::{os::fd::AsFd as _, thread};

use aya::{
    Ebpf,
    maps::{Map, MapData},
};
use rustix::{
    io,
    thread::{
        CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
        clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities,
        set_no_new_privs,
    },
};

use crate::error::Error;

/// A capability and what it is needed for.
pub struct Need {
    /// Its bit.
    pub set: CapabilitySet,
    /// Its name.
    pub name: &'static str,
    /// What does not work without it.
    pub what: &'static str,
    /// Nothing works without it; the others only add to what is seen.
    pub required: bool,
    /// When it is needed.
    pub when: When,
}

/// When a capability is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// While programs are loaded and attached.
    Attaching,
    /// All the time.
    Watching,
    /// All the time on kernels that ask for it at every look into a map; they are asked.
    Tried,
}

/// Every capability that is used. docs/packages.md says how each was proved needed.
pub const NEEDS: &[Need] = &[
    Need {
        set: CapabilitySet::BPF,
        name: "CAP_BPF",
        what: "loading BPF programs and maps",
        required: true,
        // Kernels before 5.19 ask for it at every bpf(2) where kernel.unprivileged_bpf_disabled is set.
        when: When::Tried,
    },
    Need {
        set: CapabilitySet::PERFMON,
        name: "CAP_PERFMON",
        what: "attaching to tracepoints and reading kernel structures",
        required: true,
        when: When::Attaching,
    },
    Need {
        set: CapabilitySet::DAC_READ_SEARCH,
        name: "CAP_DAC_READ_SEARCH",
        what: "reading tracefs, which is root's, and directories of other users",
        required: true,
        when: When::Watching,
    },
    Need {
        set: CapabilitySet::SYS_PTRACE,
        name: "CAP_SYS_PTRACE",
        what: "who is behind descriptors that were open before (/proc/PID/fd), and file systems of containers",
        required: false,
        when: When::Watching,
    },
    Need {
        set: CapabilitySet::SYSLOG,
        name: "CAP_SYSLOG",
        what: "names of the kernel functions that a task sleeps in (/proc/kallsyms)",
        required: false,
        when: When::Watching,
    },
    Need {
        set: CapabilitySet::SYS_ADMIN,
        name: "CAP_SYS_ADMIN",
        what: "what our programs cost in the kernel, --netns, and tracefs where nobody has mounted it",
        required: false,
        when: When::Watching,
    },
    Need {
        set: CapabilitySet::SYS_RESOURCE,
        name: "CAP_SYS_RESOURCE",
        what: "raising RLIMIT_MEMLOCK, which kernels before 5.11 charge maps to",
        required: false,
        when: When::Attaching,
    },
];

/// What the calling thread may do at this moment.
pub fn held() -> CapabilitySet {
    capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective)
}

/// Keeps of the calling thread's capabilities, and of those of the threads that it starts from now on, what watching needs.
/// A program that is run gets none beyond that, and as another user than root none at all. Call it while no other thread
/// exists: each has capabilities of its own.
///
/// # Errors
/// The kernel refuses, which it does for no known reason.
pub fn give_up(ebpf: &Ebpf) -> Result<(), Error> {
    let held = held();
    let mut kept = watching() & held;
    if kept.contains(CapabilitySet::BPF) && !asks_for_bpf(ebpf, kept) {
        kept -= CapabilitySet::BPF;
    }
    settle(kept).map_err(refused)
}

/// What may be needed while watching.
fn watching() -> CapabilitySet {
    let needs = NEEDS.iter().filter(|need| need.when != When::Attaching);
    needs.fold(CapabilitySet::empty(), |all, need| all | need.set)
}

/// Whether this kernel wants CAP_BPF from whoever holds a map and looks at it: tried on a thread that goes without.
fn asks_for_bpf(ebpf: &Ebpf, kept: CapabilitySet) -> bool {
    let any = ebpf.maps().find_map(|(_, map)| match map {
        Map::HashMap(data) => data.fd().as_fd().try_clone_to_owned().ok(),
        _ => None,
    });
    let Some(again) = any else { return true };
    let without = kept - CapabilitySet::BPF;
    let tried = thread::scope(|scope| {
        let trial = scope.spawn(move || settle(without).is_ok() && MapData::from_fd(again).is_ok());
        trial.join()
    });
    !tried.unwrap_or(false)
}

fn settle(kept: CapabilitySet) -> io::Result<()> {
    // Takes CAP_SETPCAP. Who has not got it was given a bounding set by whoever started us.
    for capability in CapabilitySet::all().iter() {
        if !kept.contains(capability) && capability_is_in_bounding_set(capability) == Ok(true) {
            let _ = remove_capability_from_bounding_set(capability);
        }
    }
    clear_ambient_capability_set()?;
    set_no_new_privs(true)?;
    set_capabilities(
        None,
        CapabilitySets {
            effective: kept,
            permitted: kept,
            inheritable: CapabilitySet::empty(),
        },
    )
}

fn refused(errno: io::Errno) -> Error {
    Error::Io {
        what: "cannot give up capabilities that are no longer needed".to_owned(),
        source: errno.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_this_thread(field: &str) -> String {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        line.unwrap().trim().to_owned()
    }

    #[test]
    fn what_is_given_up_is_gone_from_the_thread_and_from_those_it_starts() {
        // On a thread of its own: it does not come back.
        let seen = thread::spawn(|| {
            let kept = CapabilitySet::SYSLOG & held();
            settle(kept).unwrap();
            let fields = ["CapEff:", "CapPrm:", "CapInh:", "CapAmb:", "NoNewPrivs:"];
            let later = thread::spawn(move || fields.map(of_this_thread));
            (kept, fields.map(of_this_thread), later.join().unwrap())
        });
        let (kept, here, later) = seen.join().unwrap();
        let (kept, none) = (format!("{:016x}", kept.bits()), format!("{:016x}", 0));
        assert_eq!(here, [&kept, &kept, &none, &none, "1"]);
        assert_eq!(here, later);
    }

    #[test]
    fn every_need_has_its_own_name_and_says_what_it_is_for() {
        let mut all = CapabilitySet::empty();
        for need in NEEDS {
            let named: Vec<_> = need.set.iter_names().map(|(name, _)| name).collect();
            assert_eq!([need.name], [format!("CAP_{}", named.concat())]);
            assert!(!need.what.is_empty() && !all.contains(need.set));
            all |= need.set;
        }
        assert!(watching().contains(CapabilitySet::SYS_PTRACE));
        assert!(!watching().contains(CapabilitySet::PERFMON));
    }
}
