//! Takes censuses and walks over descriptors, in a thread of its own.

use std::time::{Duration, Instant};

use aya::Ebpf;

use super::{
    Census, Owners, Settings, TcpReading, census::Taker, counters, owners::Walker, proc_net,
};
use crate::{
    attach::{Iterators, clock, netns::Netns},
    collect::{
        pace::Pace,
        watcher::{self, Answer, Teller, Work, io_error},
    },
    error::Error,
};

/// A census and a walk are wanted this often ...
const EVERY: Duration = Duration::from_secs(1);
/// ... or this often by what runs for weeks: a census walks the empty buckets of the kernel's table too, 3 ms on a machine
/// with 24 GB.
const EVERY_LASTING: Duration = Duration::from_millis(2500);
/// Settings change by hand.
const SETTINGS_EVERY: Duration = Duration::from_secs(5);
/// Censuses may take this part of one CPU; when one takes longer than 50 ms, they are further apart.
const CENSUS_SHARE: u32 = 20;
/// Walks may take this part of one CPU: their answers change more slowly, and other tools pay for the locks.
const WALK_SHARE: u32 = 100;

enum News {
    Census(Box<Census>),
    Owners(Owners),
    Settings(Settings),
}

/// The thread, and what it has found out. Dropping it ends the thread.
pub struct Watcher {
    thread: watcher::Watcher<News>,
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
        lasting: bool,
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
        let every = match lasting {
            true => EVERY_LASTING,
            false => EVERY,
        };
        let thread = watcher::Watcher::start("tcp-census", netns, |tell| Looks {
            taker,
            walker,
            tell,
            censuses: Pace::new(every, CENSUS_SHARE),
            walks: Pace::new(every, WALK_SHARE),
            lasting,
            settings: Instant::now(),
        })?;
        Ok(Self {
            thread,
            settings: Settings::default(),
        })
    }

    /// Adds what came since the last time.
    pub fn news(&mut self, reading: &mut Option<Box<TcpReading>>) {
        for news in self.thread.news() {
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

    /// Has a census taken and the descriptors walked now.
    pub fn ask(&self) -> Answer {
        self.thread.ask()
    }
}

/// What the thread works with.
struct Looks {
    taker: Option<Taker>,
    walker: Option<Walker>,
    tell: Teller<News>,
    censuses: Pace,
    walks: Pace,
    /// One look follows the other for weeks: none is taken out of turn so that it stands at an end.
    lasting: bool,
    settings: Instant,
}

impl Work for Looks {
    fn due(&mut self) -> Instant {
        let now = Instant::now();
        if now >= self.settings {
            self.tell.say(News::Settings(counters::settings()));
            self.settings = now + SETTINGS_EVERY;
        }
        if self.censuses.is_due() {
            self.census();
        }
        if self.walks.is_due() {
            self.walk();
        }
        self.settings
            .min(self.censuses.next())
            .min(self.walks.next())
    }

    fn asked(&mut self) {
        let may = |pace: &Pace| pace.may_be_asked() && (!self.lasting || pace.is_due());
        let (census, walk) = (may(&self.censuses), may(&self.walks));
        if census {
            self.census();
        }
        if walk {
            self.walk();
        }
    }
}

impl Looks {
    fn census(&mut self) {
        self.censuses.spend(|| {
            let census = match &mut self.taker {
                Some(taker) => taker.take(self.tell.stop()),
                None => proc_net::census(),
            };
            match census {
                Ok(census) => self.tell.say(News::Census(Box::new(census))),
                Err(e) => log::debug!("census: {e}"),
            }
        });
    }

    fn walk(&mut self) {
        self.walks.spend(|| {
            let walked = self.walker.as_mut().map(|w| w.walk(self.tell.stop()));
            match walked {
                Some(Ok(owners)) => self.tell.say(News::Owners(owners)),
                Some(Err(e)) => log::debug!("walk over descriptors: {e}"),
                None => {}
            }
        });
    }
}
