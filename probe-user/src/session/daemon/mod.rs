//! What runs for weeks: `stallscope watch`, the flight recorder, and `stallscope serve`, which gives metrics out. One loop
//! does both: look, judge, add up; what it finds goes to the recorder and to the network's thread.

mod hook;
pub(super) mod http;
mod net;
mod news;
mod notify;
pub(super) mod push;
mod recorder;
pub(super) mod settings;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::signal::unix::{Signal, SignalKind, signal};

use self::settings::Keep;
pub use self::settings::Settings;
use self::{
    hook::{Hook, Job},
    net::Net,
    news::News,
    recorder::{Incident, Recorder},
};
use super::{
    CLEAR, Setup,
    live::{Live, Woken},
    output, own, record,
    signals::{End, Signals},
};
use crate::{
    aggregate::{Rolling, Window},
    attach::Options,
    cli,
    collect::{
        Reading,
        recording::{Frame, Full},
    },
    diagnose::{
        self, Diagnosis,
        steady::{Change, MOST, Steadiness, Steady},
    },
    error::Error,
    present::{
        self,
        metrics::{Own, Seen, Store, otlp::Resource},
    },
    target::Target,
};

/// A finding opens when so many windows in a row have it ...
const OPENS_AFTER: u32 = 2;
/// ... and closes when it was gone for so many spans: windows are up to two spans long, and the last of it must have left them.
const CLOSES_AFTER_SPANS: u32 = 1;
/// When it ends where no end was asked for: longer than any machine is up.
const FOREVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Runs it until it is told to end.
///
/// # Errors
/// Why it could not do its job.
pub async fn run(settings: Settings, target: Target, setup: Setup) -> Result<u8, Error> {
    // What can fail for a reason of the user's own comes first, before anything is attached.
    let bound = net::bind(&settings)?;
    let hook = Hook::new(&settings.keep)?;
    let mut recorder = Recorder::open(&settings.keep)?;
    let options = Options {
        lasting: true,
        ..record::options(&settings.watch, &target)
    };
    let mut live = Live::start(&options, target, setup.started)?;
    let mut signals = Signals::lasting()?;
    let mut reload = hangup()?;
    let resource = Resource {
        host: own::host(),
        kernel: own::kernel(),
        target: output::plain(live.words()),
    };
    let net = Net::start(bound, resource)?;
    recorder.begin(&record::header(&live))?;
    let mut watched = Watched::new(&mut live, &settings, recorder, hook, net)?;
    let until = live.began + settings.duration.unwrap_or(FOREVER);
    output::complain(&output::plain(&format!(
        "watching {}; {}",
        live.words(),
        settings.words()
    )));
    notify::ready();
    let mut settings = settings;
    let mut next = Instant::now() + settings.interval;
    let ended = loop {
        let fold: &mut dyn FnMut(Reading) = &mut |reading| watched.events(reading);
        let woken = live
            .watch_or(
                next.min(until),
                &mut signals,
                Some(fold),
                |_| {},
                reload.recv(),
            )
            .await;
        match woken {
            Err(error) => break Err(error),
            Ok(Woken::By(_)) => watched.reload(&mut settings),
            Ok(Woken::Ended(End::Target)) if settings.is_pids_only() => {
                output::complain(
                    "what was watched has ended, and its ids stand for nothing that comes",
                );
                break Ok(());
            }
            // Its next process is followed as soon as it is there.
            Ok(Woken::Ended(End::Time | End::Target)) => {}
            Ok(Woken::Ended(End::Interrupt | End::Terminate)) => break Ok(()),
        }
        if Instant::now() >= next.min(until) {
            if let Err(error) = watched.look(&mut live) {
                break Err(error);
            }
            if Instant::now() >= until {
                break Ok(());
            }
            // After a stall, the missed looks are left out rather than made up for.
            next = (next + settings.interval).max(Instant::now() + settings.interval / 2);
        }
    };
    if ended.is_ok() {
        // What came since the last look is told and saved, too.
        let _ = watched.look(&mut live);
    }
    notify::stopping();
    watched.close();
    let _detaching = live.detach();
    ended.map(|()| CLEAR)
}

/// SIGHUP: the configuration is to be read again.
fn hangup() -> Result<Signal, Error> {
    signal(SignalKind::hangup()).map_err(|source| Error::Io {
        what: "cannot handle SIGHUP".into(),
        source,
    })
}

/// What was seen, and who is told of it.
struct Watched {
    rolling: Rolling,
    steady: Steady,
    store: Store,
    own: Own,
    news: News,
    /// That findings found no place was said.
    crowded: bool,
    keep: Keep,
    recorder: Recorder,
    hook: Hook,
    net: Net,
}

impl Watched {
    fn new(
        live: &mut Live,
        settings: &Settings,
        mut recorder: Recorder,
        hook: Hook,
        net: Net,
    ) -> Result<Self, Error> {
        let full = full(live)?;
        let span_ns = settings.span.as_nanos() as u64;
        let rolling = Rolling::lasting(&live.about(), &full.reading, full.cost, span_ns);
        recorder.push(Frame::Full(Box::new(full)));
        Ok(Self {
            rolling,
            steady: Steady::new(Steadiness {
                windows: OPENS_AFTER,
                gone_ns: span_ns * u64::from(CLOSES_AFTER_SPANS),
            }),
            store: Store::default(),
            own: Own {
                version: env!("CARGO_PKG_VERSION"),
                ..Own::default()
            },
            news: News::default(),
            crowded: false,
            keep: settings.keep.clone(),
            recorder,
            hook,
            net,
        })
    }

    /// Takes in what came since.
    fn events(&mut self, reading: Reading) {
        self.rolling.push(&reading);
        self.recorder.push(Frame::Events(Box::new(reading)));
    }

    /// Looks at everything, judges it, and tells who is to know.
    fn look(&mut self, live: &mut Live) -> Result<(), Error> {
        let full = full(live)?;
        let (at_ns, unix_ns) = (full.reading.at_ns, full.unix_ns);
        let look = self
            .rolling
            .look(&full.reading, &full.probes, full.cost, unix_ns);
        (self.own.cpu_ns, self.own.kernel_ns) = (full.cost.own_cpu_ns, full.cost.kernel_ns);
        self.recorder.push(Frame::Full(Box::new(full)));
        let diagnosis = diagnose::run(&look.recent);
        let changes = self.steady.update(at_ns, &diagnosis);
        for change in &changes {
            self.tell(change, at_ns, unix_ns);
        }
        if self.steady.crowded_out() > 0 && !std::mem::replace(&mut self.crowded, true) {
            output::complain(&format!(
                "more than {MOST} findings at once: the mildest are left out from now on"
            ));
        }
        self.keep(&look.recent, &diagnosis, at_ns, unix_ns);
        self.recorder.count(&mut self.own);
        self.hook.count(&mut self.own);
        self.net.count(&mut self.own);
        let seen = Seen {
            slice: &look.last,
            recent: &look.recent,
            open: self.steady.open(),
            changes: &changes,
            not_judged: &diagnosis.not_judged,
            own: &self.own,
        };
        self.store.push(&seen, unix_ns);
        self.net.publish(self.store.snapshot());
        Ok(())
    }

    fn tell(&mut self, change: &Change, at_ns: u64, unix_ns: u64) {
        let Some(change) = self.news.heard(change, self.keep.severity) else {
            return;
        };
        self.net.tell(&change, at_ns, unix_ns);
        // What follows from something else is in the report of that.
        if !change.open().symptom {
            output::complain(&output::plain(&present::log::change(&change)));
        }
    }

    /// Saves what is news, with all that is found beside it, and has the hook run.
    fn keep(&mut self, window: &Window, diagnosis: &Diagnosis, at_ns: u64, unix_ns: u64) {
        let pause_ns = self.keep.pause.as_nanos() as u64;
        let open = self.steady.open();
        let news = self.news.pick(at_ns, open, self.keep.severity, pause_ns);
        let Some(first) = news.first() else { return };
        if !self.recorder.saves() && !self.hook.is_there() {
            return;
        }
        let json: Arc<str> = present::json::report(window, diagnosis).into();
        let files = self.recorder.saves().then(|| {
            // The earliest of them; what is older was there long before, and is not what this is about.
            let onset_ns = news.iter().map(|open| open.onset_ns).min();
            let judged_from_ns = at_ns.saturating_sub(window.duration_ns);
            let incident = Incident::new(
                Arc::clone(&json),
                present::html::report(window, diagnosis),
                onset_ns.unwrap_or(at_ns),
                judged_from_ns,
                at_ns,
            );
            self.recorder.save(first.finding.rule.id, unix_ns, incident)
        });
        for open in &news {
            self.hook
                .run(Job::new(open, Arc::clone(&json), files.clone().flatten()));
        }
    }

    /// Reads the configuration again; where it is wrong, the old one stays.
    fn reload(&mut self, settings: &mut Settings) {
        let read = settings.again().and_then(|new| {
            self.net.reload(&new)?;
            self.recorder.reload(&new.keep)?;
            self.hook.reload(&new.keep)?;
            Ok(new)
        });
        match read {
            Ok(new) => {
                self.own.reloads += 1;
                self.keep = new.keep.clone();
                output::complain(&output::plain(&format!(
                    "configuration read: {}",
                    new.words()
                )));
                *settings = new;
            }
            Err(error) => {
                self.own.reload_failures += 1;
                output::complain(&output::plain(&format!(
                    "the configuration stays as it was: {error}"
                )));
            }
        }
    }

    /// Saves what is under way, and ends the threads.
    fn close(self) {
        self.recorder.close();
        self.hook.close();
        self.net.close();
    }
}

/// A look at everything.
fn full(live: &mut Live) -> Result<Full, Error> {
    Ok(Full {
        reading: live.collector.read()?,
        probes: live.probes(),
        cost: live.cost(),
        unix_ns: own::unix_ns(),
    })
}

/// `stallscope watch`.
///
/// # Errors
/// A bad configuration.
pub fn watch(args: &cli::Recorder) -> Result<Settings, Error> {
    Settings::of_watch(args)
}

/// `stallscope serve`.
///
/// # Errors
/// A bad configuration.
pub fn serve(args: &cli::Serve) -> Result<Settings, Error> {
    Settings::of_serve(args)
}
