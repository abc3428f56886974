//! `stallscope dns`: DNS questions of the processes named, once or live.

use super::{Setup, pages::Pages};
use crate::{
    attach::{Mode, Options, Signals},
    cli::Dns,
    error::Error,
    present,
    target::Target,
};

/// Runs it.
///
/// # Errors
/// Options that contradict each other; what attaching and reading say.
pub async fn run(args: &Dns, target: Target, setup: Setup) -> Result<u8, Error> {
    let options = Options {
        // Who waits for an answer, and for how long, is told by the calls of the threads that are followed.
        mode: Mode::Ledger {
            follow_all: target.is_all(),
        },
        log: args.kernel.verbose,
        // No request is shown.
        fastcgi: false,
        signals: Signals {
            dns: true,
            // A server on this machine may have dropped what was never answered.
            udp: true,
            ..Signals::default()
        },
        netns_of: args.netns,
        ..Options::default()
    };
    let pages = Pages {
        args: &args.pages,
        signal: "DNS",
        place: None,
        page: present::dns::page,
        json: present::dns::json,
    };
    pages.run(&options, target, setup).await
}
