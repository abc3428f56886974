//! `stallscope udp`: UDP of one network namespace, once or live.

use super::{
    Setup,
    pages::{Pages, namespace},
};
use crate::{
    attach::{Mode, Options, Signals},
    cli::Udp,
    error::Error,
    present,
    target::Target,
};

/// Runs it.
///
/// # Errors
/// Options that contradict each other; what attaching and reading say.
pub async fn run(args: &Udp, target: Target, setup: Setup) -> Result<u8, Error> {
    let options = Options {
        mode: Mode::Signals,
        log: args.kernel.verbose,
        signals: Signals {
            udp: true,
            ..Signals::default()
        },
        netns_of: args.netns,
        ..Options::default()
    };
    let pages = Pages {
        args: &args.pages,
        signal: "UDP",
        place: Some(namespace(args.netns)),
        page: present::udp::page,
        json: present::udp::json,
    };
    pages.run(&options, target, setup).await
}
