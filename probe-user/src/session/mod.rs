//! Wires the stages into the commands: attach, collect, aggregate, diagnose, present.

mod count;
mod daemon;
mod diagnose;
mod diff;
mod dns;
mod doctor;
mod fs;
pub mod fuzzing;
mod live;
mod output;
mod own;
mod pages;
mod record;
mod replay;
mod report;
mod screen;
mod signals;
mod tcp;
mod udp;
mod view;
mod workers;

use std::time::Instant;

pub use output::{complain, plain};

use crate::{
    attach::tracefs::{self, Tracefs},
    cli::{self, Cli, Command, Kernel, Targets},
    diagnose::rules::{self, CATALOGUE},
    error::Error,
    present,
    target::{Proc, Target, nearest},
};

/// Nothing wrong, or nothing to judge.
pub const CLEAR: u8 = 0;
/// `diagnose` found something at warning or above.
pub const FOUND: u8 = 1;
/// It could not do its job.
pub const FAILED: u8 = 2;

/// What every command is given beside its own arguments.
#[derive(Clone, Copy, Debug)]
struct Setup {
    /// When the process started, as near as it can tell.
    started: Instant,
    /// How text looks.
    style: present::Style,
}

/// Runs a command; the answer is the exit code. Call it before any thread exists: where tracefs is not
/// mounted, the process leaves its mount namespace.
///
/// # Errors
/// Why it could not do its job (exit code [`FAILED`]).
pub fn run(cli: Cli, started: Instant) -> Result<u8, Error> {
    let setup = Setup {
        started,
        style: present::Style {
            color: if output::colour(cli.color) {
                present::Color::Always
            } else {
                present::Color::Never
            },
            width: own::terminal_size().map_or(WIDTH, |(columns, _)| columns),
        },
    };
    match cli.command {
        None => {
            view::check(cli.view.watch.kernel.verbose)?;
            let target = prepare(&cli.view.targets, &cli.view.watch.kernel)?.0;
            runtime()?.block_on(view::run(&cli.view, target, setup))
        }
        Some(Command::Record(args)) => {
            let target = prepare(&args.targets, &args.watch.kernel)?.0;
            runtime()?.block_on(record::run(&args, target, setup))
        }
        Some(Command::Replay(args)) => replay::run(&args, setup),
        Some(Command::Demo(args)) => replay::demo(&args, setup),
        Some(Command::Diff(args)) => diff::run(&args, setup),
        Some(Command::Diagnose(args)) => {
            let target = prepare(&args.targets, &args.watch.kernel)?.0;
            runtime()?.block_on(diagnose::run(&args, target, setup))
        }
        Some(Command::Watch(args)) => daemon(daemon::watch(&args)?, setup),
        Some(Command::Serve(args)) => daemon(daemon::serve(&args)?, setup),
        Some(Command::Count(args)) => {
            let (target, tracefs) = prepare(&args.targets, &args.kernel)?;
            runtime()?.block_on(count::run(&args, target, &tracefs, setup))
        }
        Some(Command::Workers(args)) => {
            let target = prepare(&args.targets, &args.kernel)?.0;
            runtime()?.block_on(workers::run(&args, target, setup))
        }
        Some(Command::Tcp(args)) => {
            let target = prepare(&Targets::default(), &args.kernel)?.0;
            runtime()?.block_on(tcp::run(&args, target, setup))
        }
        Some(Command::Udp(args)) => {
            let target = prepare(&Targets::default(), &args.kernel)?.0;
            runtime()?.block_on(udp::run(&args, target, setup))
        }
        Some(Command::Dns(args)) => {
            let target = prepare(&args.targets, &args.kernel)?.0;
            runtime()?.block_on(dns::run(&args, target, setup))
        }
        Some(Command::Fs(args)) => {
            let target = prepare(&Targets::default(), &args.kernel)?.0;
            runtime()?.block_on(fs::run(&args, target, setup))
        }
        Some(Command::Doctor(args)) => {
            if args.kernel.verbose {
                output::log_to_stderr();
            }
            let tracefs = tracefs::ensure();
            runtime()?.block_on(doctor::run(&args, tracefs, setup))
        }
        Some(Command::Explain { rule }) => explain(&rule, setup.style),
        Some(Command::Rules { json: true }) => show(&present::rules::json()),
        Some(Command::Rules { json: false }) => show(&present::rules::text(setup.style)),
        Some(Command::Completions { shell }) => {
            output::judge(cli::completions(shell, &mut std::io::stdout().lock()))?;
            Ok(CLEAR)
        }
        Some(Command::Man) => {
            output::judge(cli::man(&mut std::io::stdout().lock()))?;
            Ok(CLEAR)
        }
    }
}

/// Columns where stdout is not a terminal.
const WIDTH: usize = 92;

/// What a command that attaches needs first: the target, while a mistake in it costs nothing, then tracefs.
fn prepare(targets: &Targets, kernel: &Kernel) -> Result<(Target, Tracefs), Error> {
    if kernel.verbose {
        output::log_to_stderr();
    }
    let target = Target::resolve(Proc::default(), targets)?;
    Ok((target, tracefs::ensure()?))
}

/// What runs for weeks.
fn daemon(settings: daemon::Settings, setup: Setup) -> Result<u8, Error> {
    let target = prepare(&settings.targets, &settings.watch.kernel)?.0;
    runtime()?.block_on(daemon::run(settings, target, setup))
}

/// Timers and signals on this thread; no other thread is started.
fn runtime() -> Result<tokio::runtime::Runtime, Error> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Error::Io {
            what: "cannot set up timers".into(),
            source,
        })
}

fn show(text: &str) -> Result<u8, Error> {
    output::print(text)?;
    Ok(CLEAR)
}

fn explain(asked: &str, style: present::Style) -> Result<u8, Error> {
    if let Some(rule) = rules::find(asked) {
        return show(&present::explain::text(rule, style));
    }
    let known = CATALOGUE.iter().flat_map(|rule| [rule.id, rule.name]);
    let hint = match nearest(asked, known, 1).first() {
        Some(near) => format!("did you mean {near}?"),
        None => "`stallscope rules` lists them".into(),
    };
    Err(Error::Usage(format!("no rule {}: {hint}", plain(asked))))
}
