//! Finds what this kernel offers, resolves offsets, loads and attaches.
//!
//! Every probe of the catalogue ends active, or off with a reason; nothing is assumed without a look.

mod btf;
mod capabilities;
pub(crate) mod clock;
mod format;
pub mod fuzzing;
mod iterators;
mod links;
mod loader;
pub(crate) mod netns;
mod privilege;
mod probes;
mod programs;
mod resolve;
mod selftest;
mod status;
mod syscalls;
pub mod tracefs;

use std::collections::HashMap;

use aya::{Ebpf, VerifierLogLevel};
use aya_log::EbpfLogger;
use probe_common::config::Config;

#[cfg(test)]
pub(crate) use probes::ids as probe_ids;
pub(crate) use probes::{probe, programs_of};
pub use status::{ProbeStatus, State};
pub use syscalls::{class_of_nr, op_of_nr};

use crate::error::Error;
pub(crate) use iterators::Iterators;
pub(crate) use links::Links;
use netns::Netns;
use probes::{Attachment, GROUPS, Group, Probe};
use programs::{attach_calls, attach_one, attach_to, load_all, load_program};
use resolve::Resolved;

/// The kernel side, compiled. `build.rs` says where it lies.
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("STALLSCOPE_BPF_OBJECT_PATH"));

/// What to watch.
#[derive(Clone, Debug)]
pub enum Mode {
    /// Full accounting and the request ledger.
    Ledger {
        /// Follow every thread that makes an accounted call; else those given to `Collector::follow`.
        follow_all: bool,
    },
    /// The lean counter only.
    Count {
        /// System calls by name, as the tracepoints spell them.
        syscalls: Vec<String>,
        /// Time them too.
        wait: bool,
        /// Count every process; else those given to `Collector::follow`.
        follow_all: bool,
    },
    /// Only the signals that [`Options::signals`] names.
    Signals,
}

/// What to watch beside calls and requests, or alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signals {
    /// TCP of one network namespace.
    pub tcp: bool,
    /// Send a record for each TCP transition.
    pub tcp_events: bool,
    /// UDP of one network namespace.
    pub udp: bool,
    /// DNS questions of the threads that are followed; with [`Mode::Ledger`] only.
    pub dns: bool,
    /// Files created, synced and removed on every file system.
    pub files: bool,
    /// The ext4 journal, fsync, and tasks in uninterruptible sleep.
    pub journal: bool,
}

impl Signals {
    /// Everything but single events.
    pub const ALL: Self = Self {
        tcp: true,
        tcp_events: false,
        udp: true,
        dns: true,
        files: true,
        journal: true,
    };
}

/// How to attach.
#[derive(Clone, Debug)]
pub struct Options {
    /// What to watch.
    pub mode: Mode,
    /// The kernel side logs its own diagnostics.
    pub log: bool,
    /// Threads that can be followed at once; further ones are counted as lost.
    pub max_threads: u32,
    /// FastCGI parameters may be read.
    pub fastcgi: bool,
    /// Watch these as well.
    pub signals: Signals,
    /// The network namespace of this process is watched; else the caller's.
    pub netns_of: Option<u32>,
    /// It runs for weeks: capabilities that only attaching needs are given up, for good, and what is otherwise looked at each
    /// second (TCP sockets, who holds them, file systems) is looked at every few seconds.
    pub lasting: bool,
}

impl Options {
    /// The signals that the mode leaves: a counter watches none, and DNS needs the calls of followed threads.
    pub(crate) fn watched(&self) -> Signals {
        match self.mode {
            Mode::Ledger { .. } => self.signals,
            Mode::Signals => Signals {
                dns: false,
                ..self.signals
            },
            Mode::Count { .. } => Signals::default(),
        }
    }

    /// Whether anything is watched that belongs to one network namespace.
    fn watches_netns(&self) -> bool {
        let watched = self.watched();
        watched.tcp || watched.udp
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            mode: Mode::Ledger { follow_all: true },
            log: false,
            max_threads: 4096,
            fastcgi: true,
            signals: Signals::default(),
            netns_of: None,
            lasting: false,
        }
    }
}

/// Reads the kernel side's own log.
pub(crate) type Logger = EbpfLogger<&'static dyn log::Log>;

/// The kernel side, loaded and attached. Dropping it (or dying) detaches and unloads everything: nothing
/// is pinned.
pub struct Attached {
    pub(crate) links: Links,
    pub(crate) iterators: Iterators,
    pub(crate) ebpf: Ebpf,
    pub(crate) logger: Option<Logger>,
    pub(crate) options: Options,
    /// The network namespace in which TCP is watched, when it is.
    pub(crate) netns: Option<Netns>,
    probes: Vec<ProbeStatus>,
}

impl Attached {
    /// What became of each probe.
    pub fn probes(&self) -> Vec<ProbeStatus> {
        self.probes.clone()
    }

    /// Dropping it will not wait until the kernel has let go of every tracepoint, which takes seconds: a process of its own is left
    /// behind for as long as that takes.
    pub fn leave_behind(&mut self) {
        self.links.leave_behind();
    }
}

/// Loads and attaches. What runs for weeks must call it before there are other threads, as each of them has capabilities of its
/// own.
///
/// # Errors
/// Missing privileges (named), a kernel below 5.10 or without BTF, or when nothing useful can be attached.
pub fn attach(options: &Options) -> Result<Attached, Error> {
    privilege::check()?;
    resolve::check_kernel()?;
    raise_memlock();
    let netns = match options.watches_netns() {
        true => Some(Netns::of(options.netns_of)?),
        false => None,
    };
    let tracefs = tracefs::ensure()?;
    let groups = groups(options);
    let probes = catalogue(options, &groups);
    let resolved = resolve::resolve(&tracefs.path, &probes, options)?;
    let attached = match &options.mode {
        Mode::Count { .. } => count(options, resolved),
        Mode::Ledger { .. } | Mode::Signals => watch(options, &groups, &probes, resolved, netns),
    }?;
    if options.lasting {
        capabilities::give_up(&attached.ebpf)?;
    }
    Ok(attached)
}

/// The groups that are asked for.
fn groups(options: &Options) -> Vec<&'static Group> {
    let watched = options.watched();
    let asked = [
        matches!(options.mode, Mode::Ledger { .. }),
        watched.tcp,
        watched.udp,
        watched.dns,
        watched.files,
        watched.journal,
    ];
    let groups = GROUPS.iter().zip(asked);
    groups
        .filter(|(_, asked)| *asked)
        .map(|(g, _)| *g)
        .collect()
}

/// The probes that what is asked for needs.
fn catalogue(options: &Options, groups: &[&'static Group]) -> Vec<&'static Probe> {
    // What the others rest on: who ends, for the counter; which socket or file is behind a descriptor.
    let base = match &options.mode {
        Mode::Ledger { .. } => None,
        Mode::Count { .. } => Some("lifecycle"),
        Mode::Signals => Some("peers"),
    };
    let ledger = probes::ledger::GROUP.probes.iter();
    ledger
        .filter(|p| Some(p.id) == base)
        .chain(groups.iter().flat_map(|g| g.probes))
        .collect()
}

/// Kernels before 5.11 charge maps to RLIMIT_MEMLOCK. Raising it may be refused (no CAP_SYS_RESOURCE),
/// which newer kernels do not mind, nor older ones where it is high enough as it is (LimitMEMLOCK= of a unit).
fn raise_memlock() {
    let unlimited = libc::rlimit {
        rlim_cur: libc::RLIM_INFINITY,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: the argument is a valid rlimit.
    unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &unlimited) };
}

/// Rows of the maps that only following timewait objects needs; each has one row otherwise.
const TIMEWAIT_MAPS: &[(&str, u32)] = &[
    // A minute of 1,000 closes a second; some 80 bytes each.
    ("TIMEWAITS", 65_536),
    // Sockets that are being closed at this moment.
    ("HANDED_OVER", 1024),
];

fn load(config: &Config, options: &Options, groups: &[&Group]) -> Result<Ebpf, Error> {
    let threads = options.max_threads.max(1);
    let (tasks, stats) = match &options.mode {
        Mode::Ledger { .. } => (threads, threads.saturating_mul(4).clamp(64, 16384)),
        Mode::Count { .. } => (threads, 1),
        Mode::Signals => (1, 1),
    };
    let mut loader = loader::new();
    for (map, rows) in groups.iter().flat_map(|g| g.maps) {
        loader.map_max_entries(map, *rows);
    }
    if config.exact_timewait != 0 {
        for (map, rows) in TIMEWAIT_MAPS {
            loader.map_max_entries(map, *rows);
        }
    }
    loader
        // The verifier's log is for whoever mends a program; a report needs one line.
        .verifier_log_level(if log::log_enabled!(log::Level::Debug) {
            VerifierLogLevel::STATS
        } else {
            VerifierLogLevel::DISABLE
        })
        .override_global("CONFIG", config, true)
        .map_max_entries("TASKS", tasks)
        .map_max_entries("STATS", stats)
        .load(OBJECT)
        .map_err(|e| Error::Kernel(format!("the kernel refuses our maps: {}", chain(&e))))
}

/// The kernel side's own log goes to the `log` facade. Programs name its map by descriptor, so it must
/// live until they are loaded.
fn logger(ebpf: &mut Ebpf, options: &Options) -> Option<Logger> {
    if !options.log || ebpf.map("AYA_LOGS").is_none() {
        return None;
    }
    EbpfLogger::init(ebpf)
        .inspect_err(|e| log::warn!("kernel-side log is off: {e}"))
        .ok()
}

fn watch(
    options: &Options,
    groups: &[&'static Group],
    catalogue: &[&'static Probe],
    mut resolved: Resolved,
    netns: Option<Netns>,
) -> Result<Attached, Error> {
    let mut ebpf = load(&resolved.config, options, groups)?;
    if let Some(reason) = selftest::run(&mut ebpf, &mut resolved)? {
        // Offsets that do not find our own socket would not find anybody's: load again without them.
        for probe in catalogue
            .iter()
            .filter(|p| p.needs_peers || p.id == "peers")
        {
            resolved.off(probe.id, reason.clone());
        }
        resolve::switch(catalogue, &mut resolved);
        ebpf = load(&resolved.config, options, groups)?;
        selftest::run(&mut ebpf, &mut resolved)?;
    }
    if let Some(netns) = &netns
        && let Err(error) = netns.tell(&mut ebpf)
    {
        let of_netns = probes::tcp::GROUP
            .probes
            .iter()
            .chain(probes::udp::GROUP.probes);
        of_netns.for_each(|p| resolved.off(p.id, error.to_string()));
    }
    let logger = logger(&mut ebpf, options);
    let mut links = Links::default();
    load_all(&mut ebpf, catalogue, &resolved);
    let mut iterators = Iterators::default();
    let mut probes = Vec::new();
    // Two probes may share a program: it is attached once, and what came of it holds for both.
    let mut attached: HashMap<(&str, &str), Result<(), String>> = HashMap::new();
    for probe in catalogue {
        let state = match resolved.reason(probe.id) {
            Some(reason) => State::Off(reason.to_owned()),
            None => {
                let result = probe.attachments.iter().try_for_each(|a| {
                    attached
                        .entry((a.program, a.name))
                        .or_insert_with(|| match a.category {
                            probes::ITER => iterators.attach(&mut ebpf, &resolved.iterators, a),
                            _ => attach_one(&mut ebpf, &mut links, a),
                        })
                        .clone()
                });
                let result = match probe.id {
                    "calls" => attach_calls(&mut ebpf, &mut links),
                    _ => result,
                };
                match result {
                    Ok(()) => State::Active,
                    Err(reason) => State::Off(reason),
                }
            }
        };
        let (source, state) = match state {
            // Slower, and so taken less often where there are many sockets; it has what rules need.
            State::Off(reason) if let Some(instead) = instead(probe.id) => {
                (format!("{instead}, as {reason}"), State::Active)
            }
            state => (source(probe), state),
        };
        let source = match privilege::lessens(probe.id) {
            Some(less) => format!("{source}; {less}"),
            None => source,
        };
        probes.push(ProbeStatus {
            id: probe.id,
            summary: probe.summary,
            source,
            state,
            seen: None,
        });
    }
    if let Some(reason) = useless(options, groups, &probes) {
        return Err(Error::Kernel(reason));
    }
    Ok(Attached {
        links,
        iterators,
        ebpf,
        logger,
        options: options.clone(),
        netns,
        probes,
    })
}

/// What is read where a probe's iterator is refused.
fn instead(probe: &str) -> Option<&'static str> {
    match probe {
        "tcp_census" => Some("/proc/net/tcp"),
        "udp_census" => Some("/proc/net/udp"),
        "udp_owners" => Some("/proc/PID/fd"),
        _ => None,
    }
}

/// Why there is no point in going on, if there is none.
fn useless(options: &Options, groups: &[&Group], probes: &[ProbeStatus]) -> Option<String> {
    let off = |id: &str| {
        let probe = probes.iter().find(|p| p.id == id)?;
        match &probe.state {
            State::Off(reason) => Some(reason),
            State::Active => None,
        }
    };
    match options.mode {
        Mode::Signals => {
            let mut asked = groups.iter().flat_map(|g| g.probes).map(|p| p.id);
            let first = asked.next()?;
            let reason = off(first)?;
            let none = asked.all(|id| off(id).is_some());
            none.then(|| format!("nothing that was asked for can be watched: {reason}"))
        }
        _ => ["calls", "lifecycle"]
            .iter()
            .find_map(|id| off(id))
            .map(|reason| format!("system calls cannot be watched: {reason}")),
    }
}

/// In words, what a probe is attached to.
fn source(probe: &Probe) -> String {
    match probe.id {
        "calls" => "tracepoints syscalls:sys_{enter,exit}_*".to_owned(),
        "peers" => "kernel structures by BTF".to_owned(),
        "blocked_syscall" => "registers on the kernel stack".to_owned(),
        "fastcgi" => "the bytes a worker reads".to_owned(),
        "dns" => "the calls, where the other side has port 53".to_owned(),
        _ => {
            let mut names: Vec<_> = probe.attachments.iter().map(Attachment::source).collect();
            // Several programs may be on one tracepoint.
            names.dedup();
            if names.len() > 3 {
                names.truncate(2);
                names.push("...".to_owned());
            }
            names.join(", ")
        }
    }
}

/// Calls whose return says nothing or comes twice: exit never returns, a fork returns in parent and child,
/// and the return of rt_sigreturn is that of the call which the signal interrupted. They are counted when
/// they are entered, without their errors.
fn counted_at_entry(name: &str) -> bool {
    matches!(
        name,
        "exit" | "exit_group" | "fork" | "vfork" | "clone" | "clone3" | "rt_sigreturn"
    )
}

fn count(options: &Options, resolved: Resolved) -> Result<Attached, Error> {
    let Mode::Count {
        syscalls,
        wait,
        follow_all,
    } = &options.mode
    else {
        return Err(Error::Usage("not a counting mode".to_owned()));
    };
    let mut ebpf = load(&resolved.config, options, &[])?;
    let logger = logger(&mut ebpf, options);
    let mut links = Links::default();
    if !follow_all {
        for a in probes::ledger::GROUP.probes[0].attachments {
            attach_one(&mut ebpf, &mut links, a).map_err(Error::Kernel)?;
        }
    }
    for name in syscalls {
        let programs: &[(&str, &str)] = match (counted_at_entry(name), *wait) {
            (true, _) => &[("on_count_entry", "sys_enter_")],
            (false, false) => &[("on_count", "sys_exit_")],
            (false, true) => &[
                ("on_wait_return", "sys_exit_"),
                ("on_wait_entry", "sys_enter_"),
            ],
        };
        for (program, end) in programs {
            let tracepoint = format!("{end}{name}");
            attach_to(
                &mut ebpf,
                &mut links,
                program,
                "syscalls",
                &tracepoint,
                false,
            )
            .map_err(Error::Kernel)?;
        }
    }
    let probes = vec![ProbeStatus {
        id: "count",
        summary: "calls by name, result and process name",
        source: syscalls
            .iter()
            .map(|s| format!("syscalls:sys_exit_{s}"))
            .collect::<Vec<_>>()
            .join(", "),
        state: State::Active,
        seen: None,
    }];
    Ok(Attached {
        links,
        iterators: Iterators::default(),
        ebpf,
        logger,
        options: options.clone(),
        netns: None,
        probes,
    })
}

/// An error with its causes, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = first_line(&error.to_string());
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = first_line(&cause.to_string());
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}
