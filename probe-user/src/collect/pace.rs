//! How often something may be done that costs CPU time.

use std::time::{Duration, Instant};

/// What may be spent beyond the share when someone asks, so that a look stands at each end of a short watch, even one
/// at a million sockets.
const ALLOWANCE: Duration = Duration::from_secs(1);

/// How often something may be done.
pub struct Pace {
    /// It is wanted this often.
    pub every: Duration,
    /// One part in this many of a CPU.
    share: u32,
    made: Instant,
    spent: Duration,
    /// When it was last done, and the CPU time that it took.
    last: Option<(Instant, Duration)>,
}

impl Pace {
    /// Every so often, as long as it takes no more than one part in `share` of a CPU; at once for the first time.
    pub fn new(every: Duration, share: u32) -> Self {
        Self {
            every,
            share,
            made: Instant::now(),
            spent: Duration::ZERO,
            last: None,
        }
    }

    /// Does it.
    pub fn spend(&mut self, work: impl FnOnce()) {
        let (began, cpu) = (Instant::now(), thread_cpu());
        work();
        let took = thread_cpu().saturating_sub(cpu);
        self.spent += took;
        self.last = Some((began, took));
    }

    /// When it is next due.
    pub fn next(&self) -> Instant {
        match self.last {
            Some((began, took)) => began + self.every.max(took * self.share),
            None => self.made,
        }
    }

    /// True when it is due.
    pub fn is_due(&self) -> bool {
        Instant::now() >= self.next()
    }

    /// True when doing it out of turn stays within the share and the allowance.
    pub fn may_be_asked(&self) -> bool {
        self.spent <= self.made.elapsed() / self.share + ALLOWANCE
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

    const EVERY: Duration = Duration::from_secs(1);

    fn burn(ms: u64) {
        let until = thread_cpu() + Duration::from_millis(ms);
        while thread_cpu() < until {}
    }

    #[test]
    fn what_costs_more_is_done_less_often() {
        let mut pace = Pace::new(EVERY, 20);
        assert!(pace.is_due());
        let before = Instant::now();
        pace.spend(|| burn(5));
        assert!(!pace.is_due());
        assert!(pace.next() >= before + EVERY);
        assert!(pace.next() <= Instant::now() + EVERY);
        let before = Instant::now();
        pace.spend(|| burn(100));
        assert!(pace.next() >= before + Duration::from_secs(2));
    }

    #[test]
    fn waiting_costs_nothing() {
        let mut pace = Pace::new(EVERY, 20);
        pace.spend(|| std::thread::sleep(Duration::from_millis(100)));
        assert!(pace.next() <= Instant::now() + EVERY);
    }

    #[test]
    fn what_is_wanted_more_often_is_done_within_the_share() {
        let mut pace = Pace::new(EVERY, 20);
        let before = Instant::now();
        pace.spend(|| burn(10));
        pace.every = Duration::from_millis(1);
        assert!(pace.next() >= before + Duration::from_millis(200));
        assert!(pace.next() < before + EVERY);
    }

    #[test]
    fn asking_has_an_end_when_it_is_dear() {
        let mut pace = Pace::new(EVERY, 100);
        assert!(pace.may_be_asked());
        pace.spent = Duration::from_millis(900);
        assert!(pace.may_be_asked());
        pace.spent = Duration::from_secs(2);
        assert!(!pace.may_be_asked());
    }
}
