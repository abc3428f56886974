//! `stallscope diagnose`: watch for a while, then judge and report.

use std::path::Path;

use super::{
    Setup,
    live::{Live, ended_unseen},
    output::{self, Progress},
    record::{self, Tape},
    replay::Fold,
    report,
    signals::{End, Signals},
};
use crate::{
    aggregate::{Aggregator, Window},
    cli::Diagnose,
    collect::recording::Frame,
    error::Error,
    present,
    target::Target,
};

/// Runs it; the exit code says whether anything at warning or above was found, also when the reader of the
/// report went away before its end (`| head`).
pub async fn run(args: &Diagnose, target: Target, setup: Setup) -> Result<u8, Error> {
    if let Some(path) = &args.record {
        record::free(path)?;
    }
    let options = record::options(&args.watch, &target);
    let mut live = Live::start(&options, target, setup.started)?;
    let mut signals = Signals::new()?;
    let mut progress = Progress::new();
    let second = &mut |live: &Live| progress.show(&line(live, args));
    let watched = match &args.record {
        None => watch(args, &mut live, &mut signals, second).await,
        Some(path) => recorded(args, path, &mut live, &mut signals, second).await,
    };
    progress.clear();
    let (window, end) = watched?;
    let words = live.words().to_owned();
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

/// Watches.
async fn watch(
    args: &Diagnose,
    live: &mut Live,
    signals: &mut Signals,
    second: &mut dyn FnMut(&Live),
) -> Result<(Window, End), Error> {
    let mut window = Aggregator::new(live.about());
    let until = live.began + args.duration;
    let mut push = |reading| window.push(reading);
    let end = live.watch(until, signals, Some(&mut push), second).await?;
    window.push(live.collector.read()?);
    Ok((window.finish(live.probes(), live.cost()), end))
}

/// Watches, and records what is seen. The window is made of what a replay finds in the file, so that both say the same. A file
/// that cannot be written any more is no reason to go without the report.
async fn recorded(
    args: &Diagnose,
    path: &Path,
    live: &mut Live,
    signals: &mut Signals,
    second: &mut dyn FnMut(&Live),
) -> Result<(Window, End), Error> {
    let header = record::header(live);
    let tape = Tape::create(path, &header, record::BESIDE_BYTES)?;
    let mut fold = Fold::new(header, true);
    let mut refused = None;
    let mut each = |frame: Frame| {
        if refused.is_none() {
            refused = tape.push(&frame).err();
        }
        fold.push(frame);
        Ok(())
    };
    let until = live.began + args.duration;
    let end = record::frames(live, until, signals, &mut each, second).await?;
    let ended = match refused {
        None => tape.finish(),
        Some(error) => Err(error),
    };
    let file = path.display();
    let kept = tape.kept().unwrap_or_else(|| "nothing".to_owned());
    output::complain(&output::plain(&match ended {
        Ok(kept) => format!("recorded {kept} to {file}"),
        Err(error) => format!("{error}; {file} has {kept}"),
    }));
    Ok((fold.finish(), end))
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
