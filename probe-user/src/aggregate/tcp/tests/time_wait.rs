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
