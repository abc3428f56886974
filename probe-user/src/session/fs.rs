//! `stallscope fs`: files, space, journals and who sleeps behind them, once or live.

use super::{Setup, pages::Pages};
use crate::{
    attach::{Mode, Options, Signals as Watched},
    cli::Fs,
    error::Error,
    present,
    target::Target,
};

/// Runs it.
///
/// # Errors
/// Options that contradict each other; what attaching and reading say.
pub async fn run(args: &Fs, target: Target, setup: Setup) -> Result<u8, Error> {
    let options = Options {
        mode: Mode::Signals,
        log: args.kernel.verbose,
        signals: Watched {
            files: true,
            journal: true,
            ..Watched::default()
        },
        ..Options::default()
    };
    let pages = Pages {
        args: &args.pages,
        signal: "files and journals",
        place: Some("this machine".to_owned()),
        page: present::fs::page,
        json: present::fs::json,
    };
    pages.run(&options, target, setup).await
}
