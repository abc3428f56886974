//! What watching costs: run time of our kernel programs, and the memory of our maps.

use std::{
    collections::HashMap,
    fs,
    io::Read as _,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    path::Path,
    time::{Duration, Instant},
};

use aya::{
    Ebpf,
    programs::Program,
    sys::{Stats, enable_stats},
};
use serde::{Deserialize, Serialize};

use crate::attach;

/// The kernel measures our programs for this long ...
const SAMPLE: Duration = Duration::from_millis(50);
/// ... out of every this long at first. Measuring costs two clock reads a run for every BPF program of the node, and
/// switching it on and off stops all CPUs for a moment.
const EVERY: Duration = Duration::from_millis(500);
/// Samples become rarer up to this, so that there are always this many ...
const SAMPLES: u32 = 20;
/// ... and one at least this often.
const RARELY: Duration = Duration::from_secs(5);

/// Run time of our programs, scaled up from the samples.
#[derive(Clone, Debug, Default)]
pub struct KernelCost {
    /// Time in our programs since the first sample, ns, on all CPUs together.
    pub run_ns: u64,
    /// Of the wall time: measured, ns. What lies before a sample is assumed to be like it, what is behind the last one too.
    pub sampled_ns: u64,
    /// Wall time since the first sample, ns.
    pub wall_ns: u64,
    /// Runs by program within the samples.
    pub runs: HashMap<String, u64>,
}

/// Switches the kernel's measuring on and off.
pub struct CostMeter {
    began: Instant,
    switched: Instant,
    stats: Option<OwnedFd>,
    refused: bool,
    sampled: Duration,
    /// Time in our programs up to the end of the last sample, ns, reckoned from all of them.
    reckoned_ns: f64,
    /// When that was.
    until: Instant,
    /// Of a CPU: what our programs took in the last sample.
    share: f64,
    /// What our programs had when this sample began. Another tool may have had the kernel measure in between.
    base: HashMap<String, (u64, u64)>,
    /// Time in our programs, ns, and runs, in the samples before this one.
    before: HashMap<String, (u64, u64)>,
}

impl CostMeter {
    pub fn new() -> Self {
        let now = Instant::now();
        Self {
            began: now,
            switched: now,
            stats: None,
            refused: false,
            sampled: Duration::ZERO,
            reckoned_ns: 0.0,
            until: now,
            share: 0.0,
            base: HashMap::new(),
            before: HashMap::new(),
        }
    }

    /// When the next step is due; `None` when the kernel does not allow it.
    pub fn next(&self) -> Option<Instant> {
        let pause = match self.stats {
            Some(_) => SAMPLE,
            None if self.sampled.is_zero() => Duration::ZERO,
            None => {
                self.began
                    .elapsed()
                    .div_f64(SAMPLES.into())
                    .clamp(EVERY, RARELY)
                    - SAMPLE
            }
        };
        (!self.refused).then(|| self.switched + pause)
    }

    /// Takes the next step: on, off, or nothing. `None` until something was measured, or when the kernel
    /// does not allow it.
    pub fn sample(&mut self, ebpf: &Ebpf) -> Option<KernelCost> {
        let now = Instant::now();
        if self.refused {
            return None;
        }
        if self.stats.is_some() {
            if now - self.switched >= SAMPLE {
                let so_far = self.so_far(ebpf);
                let spent = time(&so_far).saturating_sub(time(&self.before));
                self.before = so_far;
                self.stats = None;
                self.share = share(spent, now - self.switched);
                self.reckoned_ns += self.share * (now - self.until).as_nanos() as f64;
                self.until = now;
                self.sampled += now - self.switched;
                self.switched = now;
            }
        } else if self.next().is_some_and(|next| now >= next) {
            match enable_stats(Stats::RunTime) {
                Ok(fd) => {
                    self.stats = Some(fd);
                    self.switched = now;
                    self.base = totals(ebpf);
                }
                Err(_) => self.refused = true,
            }
        }
        // Asking costs a call for each program, so a sample under way counts only while there is no other.
        let (so_far, sampled, share) = match self.stats {
            Some(_) if self.sampled.is_zero() => {
                let (so_far, sampled) = (self.so_far(ebpf), now - self.switched);
                let share = share(time(&so_far), sampled);
                (so_far, sampled, share)
            }
            _ => (self.before.clone(), self.sampled, self.share),
        };
        if sampled.is_zero() {
            return None;
        }
        let run_ns = self.reckoned_ns + share * (now - self.until).as_nanos() as f64;
        let runs = so_far.into_iter().map(|(name, (_, n))| (name, n));
        Some(KernelCost {
            run_ns: run_ns as u64,
            sampled_ns: sampled.as_nanos() as u64,
            wall_ns: (now - self.began).max(sampled).as_nanos() as u64,
            runs: runs.collect(),
        })
    }

    /// Time in our programs, ns, and runs, in all samples up to now.
    fn so_far(&self, ebpf: &Ebpf) -> HashMap<String, (u64, u64)> {
        let mut all = self.before.clone();
        for (name, (ns, n)) in totals(ebpf) {
            let (base_ns, base_n) = self.base.get(&name).copied().unwrap_or_default();
            let sum = all.entry(name).or_default();
            sum.0 += ns.saturating_sub(base_ns);
            sum.1 += n.saturating_sub(base_n);
        }
        all
    }
}

/// Time in all programs together, ns.
fn time(programs: &HashMap<String, (u64, u64)>) -> u64 {
    programs.values().map(|(ns, _)| ns).sum()
}

/// Part of a CPU.
fn share(ns: u64, of: Duration) -> f64 {
    match of.is_zero() {
        true => 0.0,
        false => ns as f64 / of.as_nanos() as f64,
    }
}

/// Time in each of our programs, ns, and its runs, whoever had them measured.
fn totals(ebpf: &Ebpf) -> HashMap<String, (u64, u64)> {
    let programs = ebpf.programs();
    programs
        .filter_map(|(name, program)| Some((name.to_owned(), run_info(program)?)))
        .collect()
}

fn run_info(program: &Program) -> Option<(u64, u64)> {
    program.fd().ok()?;
    let info = program.info().ok()?;
    Some((info.run_time().as_nanos() as u64, info.run_count()))
}

/// How often a probe's programs ran: the one that ran most often, as an entry and a return are one call.
pub fn runs_of(probe: &str, runs: &HashMap<String, u64>) -> Option<u64> {
    let programs = attach::programs_of(probe);
    programs.filter_map(|p| runs.get(p)).max().copied()
}

/// Memory of our maps in bytes: what /proc/self/fdinfo accounts (`memlock`).
pub fn map_bytes() -> u64 {
    sum_of("map_type:", "memlock:")
}

/// Programs that make up for each other: what one of them is skipped for, another one does (decision 0010).
const MADE_UP_FOR: [&str; 3] = ["on_tcp_state", "on_tcp_state_again", "on_tcp_state_done"];

/// Runs of our programs that the kernel skipped and nothing makes up for, as /proc/self/fdinfo tells
/// (`recursion_misses`).
pub fn skipped_runs(ebpf: &Ebpf) -> u64 {
    ebpf.programs()
        .filter(|(name, _)| !MADE_UP_FOR.contains(name))
        .filter_map(|(_, program)| {
            let fd = program.fd().ok()?.as_fd().as_raw_fd();
            let text = fdinfo(Path::new(&format!("/proc/self/fdinfo/{fd}")))?;
            number(&text, "recursion_misses:")
        })
        .sum()
}

/// Sum of a number over those of our descriptors that are of a kind.
fn sum_of(kind: &str, field: &str) -> u64 {
    let Ok(dir) = fs::read_dir("/proc/self/fdinfo") else {
        return 0;
    };
    dir.filter_map(|entry| {
        let text = fdinfo(&entry.ok()?.path())?;
        text.contains(kind).then(|| number(&text, field)).flatten()
    })
    .sum()
}

/// A small file of the kernel's, in one read: it makes the text anew for each, and there are hundreds of files.
fn fdinfo(path: &Path) -> Option<String> {
    let mut bytes = [0; 2048];
    let n = fs::File::open(path).ok()?.read(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes[..n]).into_owned())
}

/// A number in an fdinfo file.
pub fn number(text: &str, field: &str) -> Option<u64> {
    let line = text.lines().find_map(|l| l.strip_prefix(field))?;
    line.trim().parse().ok()
}

/// What watching cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// Time in our kernel programs, ns over the window (`None` where the kernel does not tell).
    pub kernel_ns: Option<u64>,
    /// CPU time of this process, ns.
    pub own_cpu_ns: u64,
    /// Resident memory of this process, bytes.
    pub rss_bytes: u64,
    /// Memory of the maps, bytes.
    pub map_bytes: u64,
    /// From start to the first data, ns.
    pub start_ns: u64,
}

impl Cost {
    /// What was spent since `earlier`; memory and start are what they are now.
    pub fn since(self, earlier: &Self) -> Self {
        let kernel = self.kernel_ns.map(|total| {
            // The kernel's measure is an estimate and may shrink.
            total.saturating_sub(earlier.kernel_ns.unwrap_or_default())
        });
        Self {
            kernel_ns: kernel,
            own_cpu_ns: self.own_cpu_ns.saturating_sub(earlier.own_cpu_ns),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_costs_what_was_spent_since_the_one_before() {
        let spent = Cost {
            kernel_ns: Some(10),
            own_cpu_ns: 100,
            rss_bytes: 5,
            ..Cost::default()
        };
        let total = Cost {
            kernel_ns: Some(15),
            own_cpu_ns: 130,
            rss_bytes: 7,
            ..Cost::default()
        };
        let cost = total.since(&spent);
        assert_eq!(
            (cost.kernel_ns, cost.own_cpu_ns, cost.rss_bytes),
            (Some(5), 30, 7)
        );
        // The kernel's measure is an estimate and may shrink.
        assert_eq!(spent.since(&total).kernel_ns, Some(0));
        assert_eq!(Cost::default().since(&spent).kernel_ns, None);
    }
}
