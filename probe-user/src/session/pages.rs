//! Pages about one signal (`tcp`, `udp`, `dns`, ...): one after a while, or live ones of the last seconds.

use std::{
    io::{self, IsTerminal},
    time::{Duration, Instant},
};

use super::{
    CLEAR, Setup,
    live::Live,
    output::{self, Progress, Reader},
    own,
    screen::Screen,
    signals::{End, Signals},
};
use crate::{
    aggregate::{About, Aggregator, Window},
    attach::Options,
    cli,
    error::Error,
    present::{self, Style},
    target::Target,
};

/// How long to watch when nothing is said and nobody watches live.
const ONCE: Duration = Duration::from_secs(10);
/// How often a live page is refreshed when nothing is said.
const REFRESH: Duration = Duration::from_secs(1);
/// A live page covers one to two of these: long enough for rates that do not jump, short enough to see an
/// end. With slower pages, it covers one to two pages.
const SPAN: Duration = Duration::from_secs(5);

/// What the pages of one command are made of.
pub struct Pages<'a> {
    /// How long, how often, and as what.
    pub args: &'a cli::Pages,
    /// What is watched, in a word: `TCP`.
    pub signal: &'static str,
    /// What they are about, where that is no target: `network namespace of 4711`.
    pub place: Option<String>,
    /// Writes a page for so many rows, where it has a screen.
    pub page: fn(&Window, Option<usize>, Style) -> String,
    /// Writes it as one JSON document on one line.
    pub json: fn(&Window) -> String,
}

/// A network namespace in words.
pub fn namespace(of: Option<u32>) -> String {
    match of {
        Some(pid) => format!("network namespace of {pid}"),
        None => "this network namespace".to_owned(),
    }
}

impl Pages<'_> {
    /// Attaches, and shows them.
    ///
    /// # Errors
    /// Options that contradict each other; what attaching and reading say.
    pub async fn run(&self, options: &Options, target: Target, setup: Setup) -> Result<u8, Error> {
        let args = self.args;
        if args.duration.is_some() && args.count.is_some() {
            let why = "--count is for live pages; --duration prints one page";
            return Err(Error::Usage(why.to_owned()));
        }
        let live = Live::start(options, target, setup.started)?;
        let wants_live = args.interval.is_some() || args.count.is_some();
        if args.duration.is_none() && (wants_live || io::stdout().is_terminal()) {
            self.refresh(live, setup).await
        } else {
            self.once(live, setup).await
        }
    }

    fn about(&self, live: &Live) -> About {
        let about = live.about();
        About {
            target: self.place.clone().unwrap_or(about.target),
            ..about
        }
    }

    async fn once(&self, mut live: Live, setup: Setup) -> Result<u8, Error> {
        let length = self.args.duration.unwrap_or(ONCE);
        let mut signals = Signals::new()?;
        let mut window = Aggregator::new(self.about(&live));
        let mut progress = Progress::new();
        let end = live
            .watch(
                live.began + length,
                &mut signals,
                Some(&mut |reading| window.push(reading)),
                |live| {
                    progress.show(&format!(
                        "watching {}: {} of {} s (Ctrl-C: result now)",
                        self.signal,
                        live.watched().as_secs(),
                        length.as_secs_f64()
                    ));
                },
            )
            .await?;
        progress.clear();
        window.push(live.collector.read()?);
        let window = window.finish(live.probes(), live.cost());
        let _detaching = live.detach();
        if let Some(note) = end.note() {
            output::complain(&format!(
                "{note} after {}; the page covers that time",
                present::units::duration(window.duration_ns)
            ));
        }
        output::print(&if self.args.json {
            (self.json)(&window)
        } else {
            (self.page)(&window, None, setup.style)
        })?;
        Ok(CLEAR)
    }

    /// Pages until the count is up, a signal, the target's end, or until nobody reads any more.
    async fn refresh(&self, mut live: Live, setup: Setup) -> Result<u8, Error> {
        let args = self.args;
        let every = args.interval.unwrap_or(REFRESH);
        let span = SPAN.max(every);
        let mut signals = Signals::new()?;
        let mut screen = Screen::new(args.json);
        // The page shows the older of two windows; when it is two spans long, the younger one takes its place.
        let mut older = Aggregator::new(self.about(&live));
        let mut younger: Option<Aggregator> = None;
        let mut spent = [live.cost(); 2];
        let mut began = Instant::now();
        let mut next = began;
        let mut shown = 0u64;
        let end = loop {
            // After a stall, the missed pages are left out rather than made up for.
            next = (next + every).max(Instant::now());
            let end = live
                .watch(
                    next,
                    &mut signals,
                    Some(&mut |reading| {
                        if let Some(younger) = &mut younger {
                            younger.push(reading.clone());
                        }
                        older.push(reading);
                    }),
                    |_| {},
                )
                .await?;
            let reading = live.collector.read()?;
            if let Some(younger) = &mut younger {
                younger.push(reading.clone());
            }
            older.push(reading);
            let cost = live.cost();
            let window = older.signals_window(live.probes(), cost.since(&spent[0]));
            let text = if args.json {
                (self.json)(&window)
            } else {
                // The last row stays free.
                (self.page)(&window, screen.rows(1), setup.style)
            };
            if screen.show(&text)? == Reader::Gone {
                break End::Time;
            }
            shown += 1;
            if end != End::Time || args.count.is_some_and(|count| shown >= count) {
                break end;
            }
            if began.elapsed() >= span {
                began = Instant::now();
                let now = older.signals_successor(own::unix_ns());
                if let Some(ready) = younger.replace(now) {
                    older = ready;
                    spent[0] = spent[1];
                }
                spent[1] = cost;
            }
        };
        let _detaching = live.detach();
        drop(screen);
        if let Some(note) = end.note().filter(|_| end == End::Target) {
            output::complain(note);
        }
        Ok(CLEAR)
    }
}
