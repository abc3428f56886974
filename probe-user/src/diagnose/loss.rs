//! What a loss means for the findings, in words.

use probe_common::loss::slot;

use super::Level;
use crate::aggregate::Window;

/// Something that was lost in the window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Its name in JSON.
    pub id: &'static str,
    /// What was lost.
    pub what: &'static str,
    /// What it means for the findings.
    pub means: &'static str,
    /// How often.
    pub count: u64,
    /// The highest confidence that a finding about requests can have beside it.
    pub at_most: Level,
}

impl Loss {
    /// As a reason for less confidence.
    fn words(&self) -> String {
        format!("{} {} ({})", self.count, self.what, self.means)
    }
}

/// (slot, id, what, what it means, the highest confidence left).
const WORDS: [(u32, &str, &str, &str, Level); slot::COUNT as usize] = [
    (
        slot::TASKS_FULL,
        "tasks_full",
        "threads not followed: the thread table was full",
        "their requests and waits are missing; name fewer processes",
        Level::Medium,
    ),
    (
        slot::STATS_FULL,
        "stats_full",
        "calls not added up: the table of calls was full",
        "counts by operation and peer are too low; requests are not affected",
        Level::High,
    ),
    (
        slot::PEERS_FULL,
        "peers_full",
        "peers not told apart: the peer table was full",
        "their waits stand under \"other peers\"",
        Level::Medium,
    ),
    (
        slot::RING_FULL,
        "ring_full",
        "finished requests, exits, failed connects or transitions not delivered: the ring was full",
        "their counts are too low; averages rest on what arrived",
        Level::Medium,
    ),
    (
        slot::REQUEST_PEERS_FULL,
        "request_peers_full",
        "waits in requests that met more peers than are told apart",
        "they stand under \"other peers\"",
        Level::High,
    ),
    (
        slot::CONNECTING_FULL,
        "connecting_full",
        "connects without a time to established: their table was full",
        "times to established are missing; waits are not affected",
        Level::High,
    ),
    (
        slot::EPOLL_FULL,
        "epoll_full",
        "epoll registrations not kept: their table was full",
        "waits in epoll_wait may stand under \"unknown\"",
        Level::Medium,
    ),
    (
        slot::READ_FAILED,
        "read_failed",
        "arguments or kernel structures that could not be read",
        "the peers of these calls are unknown",
        Level::Medium,
    ),
    (
        slot::COUNTS_FULL,
        "counts_full",
        "calls not counted: the counting table was full",
        "counts are too low",
        Level::High,
    ),
    (
        slot::POLL_SET_TOO_LARGE,
        "poll_set_too_large",
        "polls of more descriptors than are looked at",
        "the peers of these waits are unknown",
        Level::Medium,
    ),
    (
        slot::SWITCH_UNSEEN,
        "switch_unseen",
        "switches of a followed thread that the kernel did not report",
        "the time up to the next one stands under \"unexplained\"",
        Level::High,
    ),
    (
        slot::PROGRAM_SKIPPED,
        "program_skipped",
        "events that the kernel did not show us, because another program was active on the CPU",
        "counts are too low by up to so many, and waits may be missing",
        Level::Medium,
    ),
    (
        slot::TCP_SOCKETS_FULL,
        "tcp_sockets_full",
        "TCP sockets not followed from state to state: their table was full",
        "how long they stay in a state is missing; counts are not affected",
        Level::High,
    ),
    (
        slot::TRANSITIONS_FULL,
        "transitions_full",
        "TCP transitions not told apart by peer and process: their table was full",
        "they stand under \"other peers\"",
        Level::High,
    ),
    (
        slot::OWNERS_FULL,
        "owners_full",
        "processes whose TCP sockets were not counted: their table was full",
        "sockets by process are missing; counts by state and peer are not affected",
        Level::High,
    ),
    (
        slot::TCP_CALLS_FULL,
        "tcp_calls_full",
        "calls of connect() or listen() whose end was not seen: their table was full",
        "failed connects are too few; requests are not affected",
        Level::High,
    ),
    (
        slot::FAILING_FULL,
        "failing_full",
        "addresses that failed and are not remembered: their table was full",
        "when they worked again is not known; failures are counted all the same",
        Level::High,
    ),
    (
        slot::TIMEWAITS_FULL,
        "timewaits_full",
        "sockets in TIME_WAIT or FIN_WAIT_2 that were not followed: their table was full",
        "how long they stayed is missing; counts by state are not affected",
        Level::High,
    ),
    (
        slot::UDP_SOCKETS_FULL,
        "udp_sockets_full",
        "UDP drops not told apart by socket: their table was full",
        "whose they were is not known; the kernel's own counters have them all",
        Level::High,
    ),
    (
        slot::DNS_QUESTIONS_FULL,
        "dns_questions_full",
        "DNS questions not followed: their table was full",
        "their answers, time-outs and latency are missing",
        Level::Medium,
    ),
    (
        slot::DNS_NAMES_FULL,
        "dns_names_full",
        "DNS questions not told apart by name: their table was full",
        "they stand under \"other names\"",
        Level::High,
    ),
    (
        slot::DNS_UNREADABLE,
        "dns_unreadable",
        "messages to or from port 53 that could not be read, or are no DNS",
        "they are not counted as questions or answers",
        Level::High,
    ),
    (
        slot::DIRECTORIES_FULL,
        "directories_full",
        "created files not told apart by directory: their table was full",
        "they stand under \"other directories\"",
        Level::High,
    ),
    (
        slot::OPEN_FILES_FULL,
        "open_files_full",
        "created files whose end was not seen: their table was full",
        "their sizes are missing; how many were created is not affected",
        Level::High,
    ),
    (
        slot::JOURNAL_SUMS_FULL,
        "journal_sums_full",
        "journal work and sleeps not told apart by process: their table was full",
        "they stand under \"other processes\"",
        Level::High,
    ),
    (
        slot::SLEEPERS_FULL,
        "sleepers_full",
        "uninterruptible sleeps not measured: their table was full",
        "tasks stuck behind a disk are too few",
        Level::High,
    ),
    (
        slot::STACKS_FULL,
        "stacks_full",
        "kernel stacks not kept: their table was full",
        "what these tasks slept for is not known",
        Level::High,
    ),
    (
        slot::FILE_CALLS_FULL,
        "file_calls_full",
        "calls of fsync() or unlink() whose end was not seen: their table was full",
        "they are missing from the sums of their directory",
        Level::High,
    ),
    (
        slot::TRANSITION_UNSEEN,
        "transition_unseen",
        "TCP sockets that changed their state without our being shown it",
        "transitions are too few by at least so many",
        Level::High,
    ),
    (
        slot::SLEEP_UNSEEN,
        "sleep_unseen",
        "uninterruptible sleeps whose end the kernel did not report",
        "they are not measured",
        Level::High,
    ),
];

/// What was lost in a window; empty when nothing was.
pub fn losses(counts: &[u64]) -> Vec<Loss> {
    WORDS
        .iter()
        .filter_map(|&(slot, id, what, means, at_most)| {
            let count = counts.get(slot as usize).copied().unwrap_or(0);
            (count > 0).then_some(Loss {
                id,
                what,
                means,
                count,
                at_most,
            })
        })
        .collect()
}

/// Every kind of loss, by its id, with how often it was in a window.
pub fn loss_counts(counts: &[u64]) -> impl Iterator<Item = (&'static str, u64)> {
    WORDS
        .iter()
        .map(|&(slot, id, ..)| (id, counts.get(slot as usize).copied().unwrap_or(0)))
}

/// The highest confidence that the window's losses leave to a finding about requests, and why.
pub(super) fn ceiling(window: &Window) -> (Level, Vec<String>) {
    let lost: Vec<Loss> = losses(&window.losses)
        .into_iter()
        .filter(|l| l.at_most < Level::High)
        .collect();
    let level = lost.iter().map(|l| l.at_most).min().unwrap_or(Level::High);
    (level, lost.iter().map(Loss::words).collect())
}

/// The highest confidence that losses leave to a finding that rests on what was lost in these
/// [`slot`]s, and why: its counts are too low.
pub(super) fn lowered_by(window: &Window, slots: &[u32]) -> (Level, Vec<String>) {
    let bears = |id| WORDS.iter().any(|w| w.1 == id && slots.contains(&w.0));
    let lost: Vec<Loss> = losses(&window.losses)
        .into_iter()
        .filter(|l| bears(l.id))
        .collect();
    let level = lost.iter().map(|_| Level::Medium).min();
    (
        level.unwrap_or(Level::High),
        lost.iter().map(Loss::words).collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_loss_has_words_at_its_own_slot() {
        let all = losses(&[1; slot::COUNT as usize]);
        assert_eq!(all.len(), slot::COUNT as usize);
        for (place, words) in WORDS.iter().enumerate() {
            assert_eq!(words.0 as usize, place);
        }
        let mut ids: Vec<_> = all.iter().map(|l| l.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), all.len());
    }

    #[test]
    fn a_full_ring_lowers_what_can_be_said() {
        let mut window = Window {
            losses: vec![0; slot::COUNT as usize],
            ..Window::default()
        };
        assert_eq!(ceiling(&window), (Level::High, Vec::new()));
        window.losses[slot::RING_FULL as usize] = 3;
        let (level, why) = ceiling(&window);
        assert_eq!(level, Level::Medium);
        assert!(
            why[0].starts_with(
                "3 finished requests, exits, failed connects or transitions not delivered"
            ),
            "{why:?}"
        );
    }
}
