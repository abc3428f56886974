//! `stallscope diagnose`: watch for a while, then judge and report.

use super::{
    Setup,
    live::{Live, ended_unseen},
    output::{self, Progress},
    report,
    signals::{End, Signals},
};
use crate::{
    aggregate::{Aggregator, Window},
    attach::{Mode, Options, Signals as Watched},
    cli::Diagnose,
    error::Error,
    present,
    target::Target,
};

/// Runs it; the exit code says whether anything at warning or above was found, also when the reader of the
/// report went away before its end (`| head`).
pub async fn run(args: &Diagnose, target: Target, setup: Setup) -> Result<u8, Error> {
    let options = Options {
        mode: Mode::Ledger {
            follow_all: target.is_all(),
        },
        log: args.watch.kernel.verbose,
        fastcgi: !args.watch.no_fastcgi,
        signals: Watched::ALL,
        netns_of: args.watch.netns,
        ..Options::default()
    };
    let mut live = Live::start(&options, target, setup.started)?;
    let mut signals = Signals::new()?;
    let mut window = Aggregator::new(live.about());
    let mut progress = Progress::new();
    let end = live
        .watch(
            live.began + args.duration,
            &mut signals,
            Some(&mut |reading| window.push(reading)),
            |live| progress.show(&line(live, args)),
        )
        .await?;
    progress.clear();
    window.push(live.collector.read()?);
    let words = live.words().to_owned();
    let window = window.finish(live.probes(), live.cost());
    let _detaching = live.detach();
    if end == End::Target && saw_nothing(&window) {
        return Err(ended_unseen(&words));
    }
    if let Some(note) = end.note() {
        output::complain(&format!(
            "{note} after {}; the report covers that time",
            present::units::duration(window.duration_ns)
        ));
    }
    report::print(window, args.output, setup.style)
}

fn saw_nothing(window: &Window) -> bool {
    window.processes.is_empty() && window.groups.is_empty() && window.calls.is_empty()
}

fn line(live: &Live, args: &Diagnose) -> String {
    // A path or name of any length must leave room for the rest.
    let words: String = live.words().chars().take(30).collect();
    format!(
        "watching {words}: {} of {} s (Ctrl-C: report now)",
        live.watched().as_secs(),
        args.duration.as_secs_f64()
    )
}
