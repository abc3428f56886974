//! TIME_WAIT, by when the timers run out.

use super::*;

fn cohort(at: u64) -> usize {
    ((jiffies(at + 60 * S) >> SHIFT) % COHORTS as u64) as usize
}

/// A census each second for 100 s of sockets that came `came` at these seconds and left when they were so old.
fn cohorts(stays: &[(u64, u64)]) -> Vec<Census> {
    (0..100)
        .map(|second| {
            let mut census = census(second * S, &[]);
            for &(came, stayed) in stays {
                if (came..came + stayed).contains(&second) {
                    census.time_wait[cohort(came * S)] += 1;
                    census.totals[usize::from(state::TIME_WAIT)] += 1;
                }
            }
            census
        })
        .collect()
}

fn time_wait(tcp: &Tcp) -> &StateDwell {
    let all = &tcp.dwell_by_state;
    all.iter().find(|d| d.state == "time_wait").expect("a row")
}

#[test]
fn time_wait_is_known_from_when_the_timers_run_out() {
    // 10 leave by their timer, which is a second late; 5 are taken over after 20 s.
    let stays: Vec<(u64, u64)> = (0..15).map(|n| (n, if n < 10 { 61 } else { 20 })).collect();
    let mut reading = tcp_reading(cohorts(&stays));
    let peer = key(kind::INET, 0, &[10, 0, 0, 8], 80);
    reading.transitions = vec![moved(&peer, 7, state::FIN_WAIT2, state::CLOSE, 15)];
    let tcp = window(vec![reading], 100);
    let dwell = time_wait(&tcp);
    // The first came before the first census.
    assert_eq!((dwell.count, dwell.present, dwell.entered), (15, 0, 14));
    let seconds = |q| dwell.durations.quantile(q) as f64 / S as f64;
    assert!((59.0..62.5).contains(&seconds(0.9)), "{}", seconds(0.9));
    assert!((17.5..22.5).contains(&seconds(0.1)), "{}", seconds(0.1));
}

#[test]
fn the_oldest_in_time_wait_is_known() {
    let mut reading = tcp_reading(cohorts(&[(0, 90)]));
    reading.censuses.truncate(31);
    let tcp = window(vec![reading], 30);
    assert!((29..32).contains(&(time_wait(&tcp).oldest_ns / S)));
}

#[test]
fn a_timer_set_anew_is_no_end() {
    // Five sockets come at 1 s and are moved to another cohort at 21 s.
    let mut censuses = cohorts(&[]);
    for census in &mut censuses[1..60] {
        let at = census.at_ns - START;
        let moved_at = if at < 21 * S { S } else { 21 * S };
        census.time_wait[cohort(moved_at)] = 5;
    }
    censuses.truncate(60);
    let mut reading = tcp_reading(censuses);
    let peer = key(kind::INET, 0, &[10, 0, 0, 8], 80);
    reading.transitions = vec![moved(&peer, 7, state::FIN_WAIT2, state::CLOSE, 5)];
    let tcp = window(vec![reading.clone()], 60);
    assert_eq!(time_wait(&tcp).count, 0);
    // Had ten come in, five of them may as well have left.
    reading.transitions = vec![moved(&peer, 7, state::FIN_WAIT2, state::CLOSE, 10)];
    assert_eq!(time_wait(&window(vec![reading], 60)).count, 5);
}

#[test]
fn nothing_is_said_about_a_long_pause() {
    let mut censuses = cohorts(&[(0, 20)]);
    censuses.drain(5..40);
    let tcp = window(vec![tcp_reading(censuses)], 100);
    assert!(tcp.dwell_by_state.iter().all(|d| d.count == 0));
    assert_eq!(tcp.slowed_to_ns.map(|ns| ns / MS), Some(1546));
}

/// Sums since attach of so many stays of 3 s in FIN_WAIT_2 and of 20 s in TIME_WAIT.
fn followed(half_closed: u64, closed: u64) -> Option<[Timewait; 2]> {
    let stays = |count: u64, ns: u64| Timewait {
        begun: count + 1,
        left: TransitionSum {
            sum: CallSum {
                count,
                total_ns: count * ns,
                max_ns: ns,
                hist: Box::new([(probe_common::hist::bucket(ns) as u8, count as u32)]),
                ..CallSum::default()
            },
            timed: count,
            ..TransitionSum::default()
        },
    };
    Some([stays(half_closed, 3 * S), stays(closed, 20 * S)])
}

#[test]
fn what_the_kernel_side_followed_goes_before_the_census() {
    let mut first = tcp_reading(vec![census(0, &[])]);
    first.timewait = followed(5, 0);
    let mut aggregator = fold(vec![first], 0).signals_successor(0);
    let mut later = tcp_reading(vec![census(S, &[]), census(2 * S, &[])]);
    later.timewait = followed(7, 4);
    aggregator.push(whole(later, 2));
    // A look at the ring alone says nothing about it.
    aggregator.push(whole(tcp_reading(Vec::new()), 3));
    let dwells = |probes: &[&'static str]| {
        let probes = probes.iter().copied().map(probe).collect();
        let window = aggregator.signals_window(probes, Cost::default());
        window.tcp.unwrap().dwell_by_state
    };
    let said = |d: &StateDwell| (d.state, d.source, d.entered, d.count, d.durations.len());
    let all = dwells(&PROBES);
    // Into FIN_WAIT_2 they come by a transition; there was none.
    assert_eq!(said(&all[0]), ("fin_wait_2", "exact", 0, 2, 2));
    assert_eq!(said(&all[1]), ("time_wait", "exact", 4, 4, 4));
    assert!((2 * S..4 * S).contains(&all[0].durations.quantile(0.5)));
    assert!((18 * S..23 * S).contains(&all[1].durations.quantile(0.5)));
    // Without the transitions, the first part of a stay in FIN_WAIT_2 is not known.
    let part = dwells(&["tcp_census"]);
    assert_eq!(
        part.iter().map(|d| d.state).collect::<Vec<_>>(),
        ["time_wait"]
    );
}
