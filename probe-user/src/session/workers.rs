//! `stallscope workers`: what each worker does now, again and again.

use std::time::Instant;

use super::{
    CLEAR, Setup,
    live::Live,
    output::{self, Reader},
    own,
    screen::Screen,
    signals::{End, Signals},
};
use crate::{
    aggregate::Aggregator,
    attach::{Mode, Options},
    cli::Workers,
    error::Error,
    present,
    target::Target,
};

/// Rows of a terminal that the table's head and foot take.
const FRAME: usize = 6;

/// Runs it until the time or the count is up, a signal, the target's end, or until nobody reads any more.
pub async fn run(args: &Workers, target: Target, setup: Setup) -> Result<u8, Error> {
    let options = Options {
        mode: Mode::Ledger {
            follow_all: target.is_all(),
        },
        log: args.kernel.verbose,
        fastcgi: !args.no_fastcgi,
        ..Options::default()
    };
    let mut live = Live::start(&options, target, setup.started)?;
    let mut signals = Signals::new()?;
    let mut screen = Screen::new(args.json);
    let deadline = args.duration.map(|length| live.began + length);
    let mut next = Instant::now();
    let mut base = live.collector.threads()?;
    let mut spent = live.cost();
    let mut shown = 0u64;
    let end = loop {
        // After a stall, the missed tables are left out rather than made up for.
        next = (next + args.interval).max(Instant::now());
        let until = deadline.map_or(next, |deadline| next.min(deadline));
        let mut about = live.about();
        about.start_unix_ns = own::unix_ns();
        let mut window = Aggregator::since(about, &base);
        let end = live
            .watch(
                until,
                &mut signals,
                Some(&mut |reading| window.push(reading)),
                |_| {},
            )
            .await?;
        base = live.collector.threads()?;
        window.push(base.clone());
        let total = live.cost();
        let window = window.finish(live.probes(), total.since(&spent));
        spent = total;
        let text = if args.json {
            present::workers::json(&window)
        } else {
            present::workers::table(
                &window,
                screen.rows(FRAME).unwrap_or(usize::MAX),
                setup.style,
            )
        };
        if screen.show(&text)? == Reader::Gone {
            break End::Time;
        }
        shown += 1;
        let done = args.count.is_some_and(|count| shown >= count)
            || deadline.is_some_and(|deadline| Instant::now() >= deadline);
        if end != End::Time || done {
            break end;
        }
    };
    let _detaching = live.detach();
    drop(screen);
    if let Some(note) = end.note().filter(|_| end == End::Target) {
        output::complain(note);
    }
    Ok(CLEAR)
}
