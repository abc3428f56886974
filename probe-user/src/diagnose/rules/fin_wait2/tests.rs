//! Sick and healthy windows.

use super::*;
use crate::{
    aggregate::tcp::{
        ProcessSockets, States,
        fixture::{durations, from, half_closed, healthy, process, to, window_with},
    },
    attach::State,
    diagnose::rules::tcp::test::{only, quiet, remedies, summary},
};

const S: u64 = 1_000_000_000;
const PEER: &str = "203.0.113.5";

/// 400 orphans and 100 held towards one peer, all for 20 s.
fn pile() -> HalfClosed {
    HalfClosed {
        holders: vec![(process(901, "haproxy"), 100, 17)],
        ..half_closed(from(PEER, 80), 400, 100, 20 * S)
    }
}

fn with(half: HalfClosed) -> Window {
    let mut tcp = healthy();
    tcp.half_closed = vec![half, half_closed(from("198.51.100.7", 80), 2, 0, S / 10)];
    window_with(tcp)
}

#[test]
fn a_pile_names_its_peer_both_numbers_and_the_holder() {
    let f = only(check(&with(pile())));
    assert_eq!(f.severity, Severity::Warning);
    assert_eq!(f.confidence.level, Level::High);
    assert_eq!(f.culprit.peer, Some(from(PEER, 80)));
    assert_eq!(f.culprit.pid, Some(901));
    assert!((f.explains - 500.0 / 502.0).abs() < 1e-9);
    assert_eq!(f.explains_what, "the half-closed sockets");
    let text = summary(&f);
    for words in [
        "500 sockets towards 203.0.113.5 (client of port 80) are closed by this side only ",
        "(FIN_WAIT_2): 400 orphaned, 100 held by a process.",
        "haproxy (pid 901) holds 100 of them (descriptor 17, for one)",
        "Held ones have no timer",
        "go after 60000 ms (tcp_fin_timeout)",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let commands: Vec<_> = f
        .evidence
        .iter()
        .filter_map(|e| e.command.as_deref())
        .collect();
    assert_eq!(
        commands,
        [
            "ss -tanop state fin-wait-2 'dst 203.0.113.5 and sport = :80'",
            "ls -l /proc/901/fd/17",
        ]
    );
}

#[test]
fn a_timeout_beyond_a_minute_lasts_twice_what_is_beyond() {
    let mut window = with(pile());
    let set = |window: &mut Window, s| {
        window.tcp.as_mut().unwrap().settings.fin_timeout_s = Some(s);
    };
    set(&mut window, 90);
    let text = summary(&only(check(&window)));
    assert!(
        text.contains("go after 60000 ms (tcp_fin_timeout is 90, "),
        "{text}"
    );
    // 5 s on either side: an orphan of 65 goes after 10 s already, so that 15 would be no gain.
    set(&mut window, 65);
    let f = only(check(&window));
    assert!(summary(&f).contains("go after 10000 ms"), "{}", summary(&f));
    assert!(!remedies(&f).contains("fin_timeout"));
}

#[test]
fn the_holder_must_close_and_the_timer_is_for_orphans() {
    let mut half = pile();
    half.entered_per_s = 10.0;
    half.age = durations(&[(20 * S, 500)]);
    let text = remedies(&only(check(&with(half.clone()))));
    assert!(text.starts_with("after shutdown(), wait"), "{text}");
    assert!(
        text.contains("haproxy (pid 901): timeout client-fin"),
        "{text}"
    );
    assert!(
        text.contains("[net.ipv4.tcp_fin_timeout = 60 -> net.ipv4.tcp_fin_timeout = 15] 10/s x 15 s = 150 at most, instead of x 60 s = 600"),
        "{text}"
    );
    // Nothing there for a timer that is short already, nor for sockets that are held.
    let mut window = with(half.clone());
    window.tcp.as_mut().unwrap().settings.fin_timeout_s = Some(15);
    assert!(!remedies(&only(check(&window))).contains("fin_timeout"));
    (half.orphaned, half.held) = (0, 500);
    let f = only(check(&with(half)));
    assert!(!remedies(&f).contains("fin_timeout") && remedies(&f).contains("restart haproxy"));
    assert_eq!(f.confidence.level, Level::Medium);
}

#[test]
fn orphans_alone_blame_the_other_side() {
    let f = only(check(&with(half_closed(
        to("203.0.113.5:443"),
        400,
        0,
        30 * S,
    ))));
    assert!(
        remedies(&f).starts_with("have the program at "),
        "{}",
        remedies(&f)
    );
    assert_eq!(f.culprit.pid, None);
    assert!(!summary(&f).contains("Held"));
}

#[test]
fn the_process_that_should_close_is_named_when_it_is_on_this_machine() {
    let mut window = with(half_closed(to("127.0.0.1:9000"), 400, 0, 30 * S));
    window.tcp.as_mut().unwrap().processes.push(ProcessSockets {
        process: process(77, "worker"),
        states: States {
            close_wait: 400,
            ..States::default()
        },
    });
    let text = summary(&only(check(&window)));
    assert!(
        text.contains("CLOSE_WAIT sockets are held by worker (pid 77)"),
        "{text}"
    );
}

#[test]
fn what_clients_take_to_answer_is_healthy_however_many_there_are() {
    quiet(&check(&window_with(healthy())));
    // 4,000 closes a second, answered within a quarter of a second: 1,000 at once.
    let mut half = half_closed(from(PEER, 443), 1000, 0, S / 4);
    half.entered_per_s = 4000.0;
    quiet(&check(&with(half)));
}

#[test]
fn a_few_slow_clients_behind_a_busy_address_are_healthy() {
    // 2,000 closes a second behind a NAT, of which 1 in 100 takes 30 s.
    let mut half = half_closed(from(PEER, 443), 600, 0, 30 * S);
    half.entered_per_s = 2000.0;
    quiet(&check(&with(half.clone())));
    // A tenth is the limit.
    half.entered_per_s = 600.0 / 30.0 * 10.5;
    quiet(&check(&with(half.clone())));
    half.entered_per_s = 600.0 / 30.0 * 8.0;
    assert!(only(check(&with(half))).measured[1].observed.value > STUCK_SHARE);
}

#[test]
fn number_and_age_have_their_limits() {
    quiet(&check(&with(half_closed(from(PEER, 80), 99, 0, 20 * S))));
    only(check(&with(half_closed(from(PEER, 80), 100, 0, 20 * S))));
    quiet(&check(&with(half_closed(
        from(PEER, 80),
        500,
        0,
        28 * S / 10,
    ))));
    only(check(&with(half_closed(
        from(PEER, 80),
        500,
        0,
        33 * S / 10,
    ))));
}

#[test]
fn browsers_that_leave_one_connection_each_are_no_pile() {
    let mut tcp = healthy();
    tcp.half_closed = (0..250)
        .map(|n| half_closed(from(&format!("198.51.100.{n}"), 443), 2, 0, 40 * S))
        .collect();
    quiet(&check(&window_with(tcp)));
}

#[test]
fn orphans_at_the_kernels_limit_are_critical() {
    let mut window = with(pile());
    let tcp = window.tcp.as_mut().unwrap();
    tcp.settings.max_orphans = Some(1000);
    tcp.counters.orphans = Some(899);
    assert_eq!(only(check(&window)).severity, Severity::Warning);
    window.tcp.as_mut().unwrap().counters.orphans = Some(900);
    let f = only(check(&window));
    assert_eq!(f.severity, Severity::Critical);
    assert!(summary(&f).contains("900 of 1000 orphans that the kernel allows"));
}

#[test]
fn a_short_window_cannot_tell_how_old_held_sockets_are() {
    let mut window = with(half_closed(from(PEER, 80), 0, 150, 2 * S));
    quiet(&check(&window));
    window.duration_ns = 2 * S;
    let verdict = check(&window);
    assert!(verdict.findings.is_empty());
    assert!(
        verdict.not_judged[0].contains("2.0 s are too short"),
        "{:?}",
        verdict.not_judged
    );
}

#[test]
fn missing_probes_and_sockets_not_followed_are_named() {
    let mut window = with(HalfClosed {
        holders: Vec::new(),
        ..pile()
    });
    let tcp = window.tcp.as_mut().unwrap();
    (tcp.owners_known, tcp.half_closed_left_out) = (false, 12);
    for probe in window.probes.iter_mut().filter(|p| p.id == "socket_owners") {
        probe.state = State::Off("refused".to_owned());
    }
    let verdict = check(&window);
    assert_eq!(
        verdict.not_judged,
        ["which processes hold half-closed sockets: probe socket_owners is off: refused"]
    );
    let f = only(verdict);
    assert_eq!(f.confidence.level, Level::Medium);
    assert!(f.confidence.reasons[0].starts_with("12 half-closed sockets were counted"));
    assert!(summary(&f).contains("Who holds them is not known"));
    window.tcp = None;
    assert_eq!(check(&window).not_judged, ["TCP was not watched"]);
    assert_eq!(
        check(&window_with(Tcp::default())).not_judged,
        ["no census was taken"]
    );
}
