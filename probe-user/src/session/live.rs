//! The loop all live commands share: drain the ring, find new processes of the target, stop when it is time.
//!
//! It sleeps until something is due, a quarter of a second at most; the kernel side wakes it where the ring fills faster.

use std::{
    convert::Infallible,
    future::{Future, pending},
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use tokio::{io::unix::AsyncFd, time::sleep_until};

use super::{
    output, own,
    signals::{End, Signals},
};
use crate::{
    aggregate::{About, Cost},
    attach::{self, Options, ProbeStatus},
    collect::{Collector, Reading},
    error::Error,
    target::Target,
};

/// How often the ring is emptied, and what was in it folded into the window. Where a quarter of the ring fills meanwhile, the
/// kernel side says so; a wake-up for each record would cost the traced processes.
const FOLD: Duration = Duration::from_millis(250);
/// With so many bytes of records in memory they are folded at once, so that memory does not grow with their rate.
const MUCH: usize = 3 << 20;
/// Where nothing came, readings that say so are this far apart.
const NOTHING: Duration = Duration::from_secs(1);
/// How often `/proc` is searched for new processes of the target.
const SCAN: Duration = Duration::from_secs(1);
/// Searching takes at most one part in this many of a CPU.
const SCAN_SHARE: u32 = 200;
/// A named target counts as ended after this many searches in a row found nothing alive: a restarting
/// service is without a process for a moment.
const EMPTY_SCANS: u32 = 3;

/// A target being watched.
pub struct Live {
    /// Reads the kernel side.
    pub collector: Collector,
    target: Target,
    /// From the start of the process until everything was attached and followed.
    first_data: Duration,
    /// When watching began, by three clocks.
    pub began: Instant,
    start_unix_ns: u64,
    start_ns: u64,
    empty_scans: u32,
    /// Processes given to the collector, when last searched for.
    known: Vec<u32>,
    next_scan: Instant,
}

/// Why a stretch of watching is over.
#[derive(Debug)]
pub enum Woken<T> {
    /// As [`Live::watch`] says.
    Ended(End),
    /// What was waited for beside it came.
    By(T),
}

/// The target was there when it was named, and gone before there was anything to report.
pub fn ended_unseen(words: &str) -> Error {
    let words = output::plain(words);
    Error::Target(format!("{words} ended before anything was seen"))
}

impl Live {
    /// Attaches and follows the target.
    ///
    /// # Errors
    /// What attaching or following says.
    pub fn start(options: &Options, target: Target, started: Instant) -> Result<Self, Error> {
        let mut attached = attach::attach(options)?;
        attached.leave_behind();
        let mut collector = Collector::new(attached)?;
        let began = Instant::now();
        let (start_unix_ns, start_ns) = (own::unix_ns(), own::monotonic_ns());
        let known = target.pids()?;
        if !target.is_all() && collector.follow(&known)? == 0 {
            return Err(ended_unseen(target.words()));
        }
        collector.drain();
        Ok(Self {
            collector,
            target,
            began,
            first_data: started.elapsed(),
            start_unix_ns,
            start_ns,
            empty_scans: 0,
            known,
            next_scan: Instant::now() + SCAN,
        })
    }

    /// What a window that starts now, or when watching began, is about.
    pub fn about(&self) -> About {
        About {
            host: own::host(),
            kernel: own::kernel(),
            target: self.target.words().to_owned(),
            start_unix_ns: self.start_unix_ns,
            start_ns: self.start_ns,
        }
    }

    /// What is watched, in words; escape before showing.
    pub fn words(&self) -> &str {
        self.target.words()
    }

    /// How long it has been watched.
    pub fn watched(&self) -> Duration {
        self.began.elapsed()
    }

    /// Watches until `until`, a signal, or the target's end. `fold` is given what came since, a few times
    /// a second; without it there is no ring to empty (`count`), and nothing is measured, as measuring
    /// would cost more than the counting. `second` is called about once a second.
    ///
    /// # Errors
    /// Reading the kernel side or `/proc` failed.
    pub async fn watch(
        &mut self,
        until: Instant,
        signals: &mut Signals,
        fold: Option<&mut dyn FnMut(Reading)>,
        second: impl FnMut(&Self),
    ) -> Result<End, Error> {
        let nothing = pending::<Infallible>();
        match self.watch_or(until, signals, fold, second, nothing).await? {
            Woken::Ended(end) => Ok(end),
            Woken::By(never) => match never {},
        }
    }

    /// The same, and until `wake` is there.
    ///
    /// # Errors
    /// Likewise.
    pub async fn watch_or<T>(
        &mut self,
        until: Instant,
        signals: &mut Signals,
        mut fold: Option<&mut dyn FnMut(Reading)>,
        mut second: impl FnMut(&Self),
        wake: impl Future<Output = T>,
    ) -> Result<Woken<T>, Error> {
        let ring = match fold {
            Some(_) => self.collector.ring().transpose(),
            None => Ok(None),
        };
        let ring = ring.map_err(|source| Error::Io {
            what: "cannot wait for the ring".into(),
            source,
        })?;
        let mut next_fold = Instant::now() + FOLD;
        let mut said = Instant::now();
        let until = sleep_until(until.into());
        tokio::pin!(until, wake);
        loop {
            let mut next = self.next_scan;
            if fold.is_some() {
                next = next.min(next_fold);
                next = next.min(self.collector.next_cost().unwrap_or(next));
            }
            tokio::select! {
                biased;
                end = signals.end() => return Ok(Woken::Ended(end)),
                told = &mut wake => return Ok(Woken::By(told)),
                () = &mut until => return Ok(Woken::Ended(End::Time)),
                () = filled(ring.as_ref()) => {}
                () = sleep_until(next.into()) => {}
            }
            let now = Instant::now();
            if let Some(fold) = &mut fold {
                self.collector.drain();
                if self.collector.next_cost().is_some_and(|next| now >= next) {
                    self.collector.kernel_cost();
                }
                if now >= next_fold || self.collector.waiting_bytes() >= MUCH {
                    next_fold = now + FOLD;
                    if self.collector.has_news() || now - said >= NOTHING {
                        said = now;
                        fold(self.collector.events()?);
                    }
                }
            }
            if now >= self.next_scan {
                if self.scan(&mut fold)? {
                    return Ok(Woken::Ended(End::Target));
                }
                // Searching a large `/proc` takes milliseconds: it is done the less often the longer it takes.
                self.next_scan = now + SCAN.max(now.elapsed() * SCAN_SHARE);
                second(self);
            }
        }
    }

    /// Follows what belongs to the target by now; true when nothing of it lives any more.
    fn scan(&mut self, fold: &mut Option<&mut dyn FnMut(Reading)>) -> Result<bool, Error> {
        if self.target.is_all() {
            return Ok(false);
        }
        let pids = self.target.pids()?;
        // What was there before is followed already, with all threads and processes it starts.
        let new: Vec<u32> = pids
            .iter()
            .filter(|pid| self.known.binary_search(pid).is_err())
            .copied()
            .collect();
        if !new.is_empty() {
            self.collector.follow(&new)?;
        }
        let mut alive = !pids.is_empty();
        self.known = pids;
        if !alive && let Some(fold) = fold {
            // What a followed process forked counts as well, also when the process itself has ended.
            let reading = self.collector.threads()?;
            alive = !reading.tasks.is_empty();
            fold(reading);
        }
        if alive {
            self.empty_scans = 0;
            return Ok(false);
        }
        self.empty_scans += 1;
        Ok(self.target.is_pids_only() || self.empty_scans >= EMPTY_SCANS)
    }

    /// What watching has cost so far.
    pub fn cost(&mut self) -> Cost {
        Cost {
            kernel_ns: self.collector.kernel_cost().map(|cost| cost.run_ns),
            own_cpu_ns: own::cpu_ns(),
            rss_bytes: own::rss_bytes(),
            map_bytes: self.collector.map_bytes(),
            start_ns: self.first_data.as_nanos() as u64,
        }
    }

    /// What became of each probe.
    pub fn probes(&self) -> Vec<ProbeStatus> {
        self.collector.probes()
    }

    /// Detaches everything, in the background: neither the report waits for it, nor does a slow reader of
    /// the report keep anything attached.
    pub fn detach(self) -> Detaching {
        Detaching(Some(std::thread::spawn(move || drop(self))))
    }
}

/// Waits until the kernel side says that the ring fills.
async fn filled(ring: Option<&AsyncFd<OwnedFd>>) {
    match ring {
        // Readiness is told at a change only: what lies in the ring by then wakes nobody.
        Some(ring) => match ring.readable().await {
            Ok(mut ready) => ready.clear_ready(),
            Err(_) => pending().await,
        },
        None => pending().await,
    }
}

/// Everything is being detached; dropping this waits for it, and says so when it takes long: on a busy node some 30 ms for
/// each of a hundred tracepoints, on an idle one no time at all. The report is out by then.
#[must_use = "dropping it waits until everything is detached"]
pub struct Detaching(Option<std::thread::JoinHandle<()>>);

impl Drop for Detaching {
    fn drop(&mut self) {
        const QUICK: Duration = Duration::from_millis(300);
        let Some(thread) = self.0.take() else { return };
        let began = Instant::now();
        while !thread.is_finished() && began.elapsed() < QUICK {
            std::thread::sleep(QUICK / 20);
        }
        let mut progress = output::Progress::new();
        if !thread.is_finished() {
            progress.show("detaching (the kernel takes its time on a busy node)");
        }
        let _ = thread.join();
    }
}
