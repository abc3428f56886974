//! TCP: states, peers, processes, ports, what did not close, queues, and what failed.

mod failed;
mod half_closed;
mod peers;
mod ports;
mod processes;
mod queues;
mod states;
#[cfg(test)]
mod tests;

use super::cells::why_empty;
use crate::{
    aggregate::tcp::{States, Tcp},
    present::tui::{Data, Screen, no_below},
};

/// The screen.
pub const SCREEN: Screen = Screen {
    title: "tcp",
    sections: &[
        states::SECTION,
        peers::SECTION,
        processes::SECTION,
        ports::SECTION,
        half_closed::SECTION,
        queues::SECTION,
        failed::SECTION,
        failed::GAPS,
    ],
    below: no_below,
};

/// What the numbers of sockets rest on.
const CENSUS: &[(&str, &str)] = &[("tcp_census", "what the kernel's own tables hold")];
/// What the rates rest on.
const STATES: (&str, &str) = (
    "tcp_states",
    "rates, who closed first, how long in most states",
);
/// What the holders of sockets rest on.
const OWNERS: (&str, &str) = ("socket_owners", "which process holds what; Unix listeners");

fn tcp(data: &Data) -> Option<&Tcp> {
    data.recent.tcp.as_deref()
}

fn empty(data: &Data, probes: &[(&str, &str)], nothing: &str) -> String {
    why_empty(data, tcp(data).is_some(), "TCP is", probes, nothing)
}

/// Sockets in the state of this name.
fn in_state(states: &States, name: &str) -> u64 {
    let named = states.named();
    let found = named.iter().find(|(state, _)| *state == name);
    found.map_or(0, |(_, n)| *n)
}

/// Sockets in states that have no column of their own in the lists of peers and processes.
fn in_other(states: &States) -> u64 {
    let own = states.established + states.time_wait + states.close_wait + states.fin_wait_2;
    states.total() - own - states.syn_sent - states.listen
}
