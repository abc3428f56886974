//! The view of what happens now.

use std::time::{Duration, Instant};

use tokio::time::sleep_until;

use super::{SPAN_NS, View};
use crate::{
    aggregate::{Rolling, Window},
    attach::ProbeStatus,
    cli,
    collect::{Cost, Reading},
    error::Error,
    present::tui::{Action, Moment, Tone},
    session::{
        Setup,
        live::{Live, Woken},
        output, own, record,
        signals::{End, Signals},
    },
    target::Target,
};

/// The first numbers come this soon, however long the interval.
const FIRST: Duration = Duration::from_millis(250);
/// How often there is a look at everything, rules included, at most ...
const LOOK: Duration = Duration::from_secs(1);
/// ... unless these looks would take more than one part in this many of a CPU. Between them there are glances.
const LOOK_SHARE: u32 = 100;
/// Glances take at most one part in this many.
const GLANCE_SHARE: u32 = 100;
/// Numbers older than this mislead whoever watches, so a look may cost more.
const STALE: Duration = Duration::from_secs(3);
/// Nothing changes any more.
const NEVER: Duration = Duration::from_secs(3600);

/// Runs it until it is left.
///
/// # Errors
/// Why it could not do its job.
pub async fn run(args: &cli::View, target: Target, setup: Setup) -> Result<u8, Error> {
    let options = record::options(&args.watch, &target);
    let live = Live::start(&options, target, setup.started)?;
    let mut signals = Signals::new()?;
    let mut watched = Watched::new(live)?;
    let mut view = View::open(setup.style, false)?;
    let mut next = Instant::now() + FIRST.min(args.interval);
    // When the last of the target is gone, what was seen stays on the screen.
    let mut over = false;
    loop {
        let due = view.draw()?;
        let woken = if over {
            let until = due.unwrap_or_else(|| Instant::now() + NEVER);
            tokio::select! {
                end = signals.end() => Woken::Ended(end),
                told = view.input.next() => Woken::By(told),
                () = sleep_until(until.into()) => Woken::Ended(End::Time),
            }
        } else {
            let until = due.map_or(next, |due| due.min(next));
            let Watched { live, rolling, .. } = &mut watched;
            let fold: &mut dyn FnMut(Reading) = &mut |reading| rolling.push(&reading);
            live.watch_or(until, &mut signals, Some(fold), |_| {}, view.input.next())
                .await?
        };
        match woken {
            Woken::By(told) => {
                if view.told(told, || watched.total())? == Action::Quit {
                    break;
                }
            }
            Woken::Ended(End::Time) => {}
            Woken::Ended(End::Interrupt | End::Terminate) => break,
            Woken::Ended(End::Target) => {
                over = true;
                watched.look(&mut view)?;
                let words = output::plain(watched.live.words());
                let text = format!("{words} ended; this is what was seen last (q ends)");
                view.app.say(Tone::Warning, text);
            }
        }
        if !over && Instant::now() >= next {
            let took = match Instant::now() >= watched.next_look {
                true => {
                    watched.look(&mut view)?;
                    Duration::ZERO
                }
                false => watched.glance(&mut view)?,
            };
            // After a stall, the missed looks are left out rather than made up for.
            let least = Instant::now() + took * GLANCE_SHARE;
            next = (next + args.interval).max(least);
        }
    }
    let closed = view.close();
    let _detaching = watched.live.detach();
    closed
}

/// What is watched, and what was seen of it.
struct Watched {
    live: Live,
    rolling: Rolling,
    probes: Vec<ProbeStatus>,
    cost: Cost,
    next_look: Instant,
}

impl Watched {
    fn new(mut live: Live) -> Result<Self, Error> {
        let (base, cost) = (live.collector.read()?, live.cost());
        Ok(Self {
            rolling: Rolling::new(&live.about(), &base, cost, SPAN_NS),
            probes: live.probes(),
            cost,
            next_look: Instant::now(),
            live,
        })
    }

    /// Looks at everything, and shows it.
    fn look(&mut self, view: &mut View) -> Result<(), Error> {
        let (began, before) = (Instant::now(), own::cpu_ns());
        let reading = self.live.collector.read()?;
        (self.probes, self.cost) = (self.live.probes(), self.live.cost());
        let now = self.moment(reading.at_ns);
        let look = self
            .rolling
            .look(&reading, &self.probes, self.cost, now.unix_ns);
        view.look(look, now);
        let took = Duration::from_nanos(own::cpu_ns().saturating_sub(before));
        // The one of the next second begins a little early, so that an interval of a second has one each time.
        self.next_look = began + (LOOK * 9 / 10).max((took * LOOK_SHARE).min(STALE));
        Ok(())
    }

    /// Looks at what the threads do, and shows it; says how much CPU time that took.
    fn glance(&mut self, view: &mut View) -> Result<Duration, Error> {
        let before = own::cpu_ns();
        let reading = self.live.collector.glance()?;
        self.cost = self.live.cost();
        let now = self.moment(reading.at_ns);
        let last = self
            .rolling
            .glance(&reading, &self.probes, self.cost, now.unix_ns);
        view.glance(last, now);
        Ok(Duration::from_nanos(own::cpu_ns().saturating_sub(before)))
    }

    fn moment(&self, at_ns: u64) -> Moment {
        Moment {
            at_ns,
            elapsed_ns: self.live.watched().as_nanos() as u64,
            unix_ns: own::unix_ns(),
        }
    }

    /// All of it.
    fn total(&self) -> Window {
        self.rolling.total(&self.probes, self.cost)
    }
}
