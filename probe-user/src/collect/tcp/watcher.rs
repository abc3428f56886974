//! A thread of its own takes censuses and walks over descriptors, so that the ring is emptied meanwhile.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use aya::Ebpf;

use super::{
    Census, Owners, Settings, TcpReading, census::Taker, counters, owners::Walker, proc_net,
};
use crate::{
    attach::{
        Iterators, clock,
        netns::{self, Netns},
    },
    error::Error,
};

/// A census and a walk are wanted this often.
const EVERY: Duration = Duration::from_secs(1);
/// Settings change by hand.
const SETTINGS_EVERY: Duration = Duration::from_secs(5);
/// Censuses may take this part of one CPU; when one takes longer than 50 ms, they are further apart.
const CENSUS_SHARE: u32 = 20;
/// Walks may take this part of one CPU: their answers change more slowly, and other tools pay for the locks.
const WALK_SHARE: u32 = 100;
/// What may be spent beyond the shares when someone asks, so that a census stands at each end of a short
/// watch, even one of a million sockets.
const ALLOWANCE: Duration = Duration::from_secs(1);
/// Longest wait for an answer: a census of millions of sockets takes a second or two.
const PATIENCE: Duration = Duration::from_secs(10);

enum News {
    Census(Box<Census>),
    Owners(Owners),
    Settings(Settings),
}

/// The thread, and what it has found out. Dropping it ends the thread.
pub struct Watcher {
    ask: Option<Sender<SyncSender<()>>>,
    news: Receiver<News>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    settings: Settings,
}

impl Watcher {
    /// Starts the thread.
    ///
    /// # Errors
    /// A map cannot be used, or there can be no more threads.
    pub fn start(
        ebpf: &mut Ebpf,
        iterators: &mut Iterators,
        netns: Option<Netns>,
    ) -> Result<Self, Error> {
        let walker = iterators
            .take("on_descriptor")
            .map(|link| Walker::new(ebpf, link))
            .transpose()
            .map_err(|e| Error::Kernel(format!("owners of sockets: {e}")))?;
        let taker = iterators
            .take("on_census")
            .map(|link| Taker::new(ebpf, link))
            .transpose()
            .map_err(io_error("the tables of the census"))?;
        let (ask, asked) = mpsc::channel();
        let (tell, news) = mpsc::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let work = Work {
            taker,
            walker,
            tell,
            stop: Arc::clone(&stop),
        };
        let thread = thread::Builder::new()
            .name("tcp-census".to_owned())
            .spawn(move || {
                // Another namespace's sockets would be wrong; none are only missing.
                if let Some(fd) = netns.and_then(|netns| netns.fd)
                    && let Err(e) = netns::enter(&fd)
                {
                    log::warn!("no census of sockets: {e}");
                    return;
                }
                work.run(&asked);
            })
            .map_err(io_error("a thread for the census"))?;
        Ok(Self {
            ask: Some(ask),
            news,
            stop,
            thread: Some(thread),
            settings: Settings::default(),
        })
    }

    /// Adds what came since the last time.
    pub fn news(&mut self, reading: &mut Option<Box<TcpReading>>) {
        for news in self.news.try_iter() {
            let reading = reading.get_or_insert_default();
            match news {
                News::Census(census) => reading.censuses.push(*census),
                News::Owners(owners) => reading.owners.push(owners),
                News::Settings(settings) => self.settings = settings,
            }
        }
        if let Some(reading) = reading {
            reading.settings.clone_from(&self.settings);
            reading.hz = clock::hz();
            reading.cohort_shift = clock::cohort_shift(reading.hz);
        }
    }

    /// Has a census taken and the descriptors walked now. Nothing new comes when the bound on their cost
    /// forbids it.
    pub fn ask(&self) -> Answer {
        let (done, wait) = mpsc::sync_channel(1);
        // Without a thread, `done` is dropped, and there is nothing to wait for.
        let _ = self.ask.as_ref().map(|ask| ask.send(done));
        Answer {
            wait,
            until: Instant::now() + PATIENCE,
        }
    }
}

/// What was asked for, on its way.
pub struct Answer {
    wait: Receiver<()>,
    until: Instant,
}

impl Answer {
    /// Waits so long; true when it is still to come.
    pub fn wait(&self, long: Duration) -> bool {
        // What takes longer comes with a later reading.
        self.wait.recv_timeout(long) == Err(RecvTimeoutError::Timeout)
            && Instant::now() < self.until
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Nobody asks any more: the thread ends.
        self.ask = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn io_error(what: &str) -> impl FnOnce(io::Error) -> Error {
    let what = what.to_owned();
    move |source| Error::Io { what, source }
}

/// What the thread works with.
struct Work {
    taker: Option<Taker>,
    walker: Option<Walker>,
    tell: Sender<News>,
    stop: Arc<AtomicBool>,
}

impl Work {
    fn run(mut self, asked: &Receiver<SyncSender<()>>) {
        let mut censuses = Pace::new(CENSUS_SHARE);
        let mut walks = Pace::new(WALK_SHARE);
        let mut settings = Instant::now();
        loop {
            let now = Instant::now();
            if now >= settings {
                self.say(News::Settings(counters::settings()));
                settings = now + SETTINGS_EVERY;
            }
            if now >= censuses.next {
                censuses.spend(|| self.census());
            }
            if now >= walks.next {
                walks.spend(|| self.walk());
            }
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            let next = settings.min(censuses.next).min(walks.next);
            match asked.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(done) => {
                    if censuses.may_be_asked() {
                        censuses.spend(|| self.census());
                    }
                    if walks.may_be_asked() {
                        walks.spend(|| self.walk());
                    }
                    // Whoever asked may have given up.
                    let _ = done.send(());
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn census(&mut self) {
        let census = match &mut self.taker {
            Some(taker) => taker.take(&self.stop),
            None => proc_net::census(),
        };
        match census {
            Ok(census) => self.say(News::Census(Box::new(census))),
            Err(e) => log::debug!("census: {e}"),
        }
    }

    fn walk(&mut self) {
        match self.walker.as_mut().map(|walker| walker.walk(&self.stop)) {
            Some(Ok(owners)) => self.say(News::Owners(owners)),
            Some(Err(e)) => log::debug!("walk over descriptors: {e}"),
            None => {}
        }
    }

    fn say(&self, news: News) {
        // The receiver goes right before the thread is told to end.
        let _ = self.tell.send(news);
    }
}

/// How often something may be done that costs CPU time.
struct Pace {
    /// One part in this many of a CPU.
    share: u32,
    began: Instant,
    spent: Duration,
    next: Instant,
}

impl Pace {
    fn new(share: u32) -> Self {
        let now = Instant::now();
        Self {
            share,
            began: now,
            spent: Duration::ZERO,
            next: now,
        }
    }

    fn spend(&mut self, work: impl FnOnce()) {
        let (began, cpu) = (Instant::now(), thread_cpu());
        work();
        let took = thread_cpu().saturating_sub(cpu);
        self.spent += took;
        self.next = began + EVERY.max(took * self.share);
    }

    /// True when doing it out of turn stays within the share and the allowance.
    fn may_be_asked(&self) -> bool {
        self.spent <= self.began.elapsed() / self.share + ALLOWANCE
    }
}

/// CPU time of the calling thread.
fn thread_cpu() -> Duration {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the argument is a valid timespec; the clock exists on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut now) };
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn burn(ms: u64) {
        let until = thread_cpu() + Duration::from_millis(ms);
        while thread_cpu() < until {}
    }

    #[test]
    fn what_costs_more_is_done_less_often() {
        let mut pace = Pace::new(20);
        let before = Instant::now();
        pace.spend(|| burn(5));
        assert!(pace.next >= before + EVERY);
        assert!(pace.next <= Instant::now() + EVERY);
        let before = Instant::now();
        pace.spend(|| burn(100));
        assert!(pace.next >= before + Duration::from_secs(2));
    }

    #[test]
    fn waiting_costs_nothing() {
        let mut pace = Pace::new(20);
        pace.spend(|| thread::sleep(Duration::from_millis(100)));
        assert!(pace.next <= Instant::now() + EVERY);
    }

    #[test]
    fn asking_has_an_end_when_it_is_dear() {
        let mut pace = Pace::new(100);
        assert!(pace.may_be_asked());
        pace.spent = Duration::from_millis(900);
        assert!(pace.may_be_asked());
        pace.spent = Duration::from_secs(2);
        assert!(!pace.may_be_asked());
    }
}
