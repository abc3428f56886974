//! Sick and healthy windows.

use probe_common::loss::slot;

use super::*;
use crate::{
    aggregate::tcp::fixture::{failed, gap, healthy, path, process, to, window_with},
    attach::State,
    diagnose::rules::tcp::test::{only, quiet, remedies, summary},
};

const MS: u64 = 1_000_000;
const SOCK: &str = "/run/php/php8.2-fpm.sock";

fn with(gaps: Vec<Gap>) -> Window {
    let mut tcp = healthy();
    for gap in &gaps {
        for &(errno, n) in &gap.failed {
            tcp.failed.push(failed(
                process(901, "nginx"),
                gap.peer.clone(),
                errno as i32,
                n,
            ));
        }
    }
    tcp.gaps = gaps;
    window_with(tcp)
}

fn restarted(length_ns: u64, count: u64) -> Gap {
    gap(path(SOCK), length_ns, libc::ENOENT, count)
}

#[test]
fn a_restart_gives_length_failed_connects_and_who_came_back() {
    let mut window = with(vec![restarted(412 * MS, 1203)]);
    window.tcp.as_mut().unwrap().failed.push(failed(
        process(5, "other"),
        to("10.0.0.9:80"),
        libc::ETIMEDOUT,
        1203,
    ));
    let f = only(check(&window));
    assert_eq!(
        (f.severity, f.confidence.level),
        (Severity::Warning, Level::High)
    );
    assert_eq!((f.explains, f.explains_what), (0.5, "the failed connects"));
    assert_eq!(
        (f.culprit.pid, &f.culprit.peer),
        (Some(1234), &Some(path(SOCK)))
    );
    let text = summary(&f);
    for words in [
        "1203 connects to ",
        " failed: nobody listened there for 412 ms (ENOENT 1203).",
        "Refused: nginx (pid 901) 1203.",
        "It began 2000 ms after the start of the window, and ended when php-fpm8.2 (pid 1234) listened.",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!((f.measured[0].observed.value, f.measured[1].observed.value) == (1203.0, 412e6));
    let all = remedies(&f);
    assert!(
        all.starts_with("reload instead of restart: the listening socket stays open (PHP-FPM"),
        "{all}"
    );
    assert!(
        all.contains("2919.9/s x 412 ms = 1203 connects wait up to 412 ms instead of failing"),
        "{all}"
    );
    assert!(all.contains("fastcgi_next_upstream"), "{all}");
}

#[test]
fn a_second_is_critical() {
    let of = |ms| only(check(&with(vec![restarted(ms * MS, 50)]))).severity;
    assert_eq!(of(999), Severity::Warning);
    assert_eq!(of(1000), Severity::Critical);
}

#[test]
fn a_single_failed_connect_is_an_info() {
    let of = |count| only(check(&with(vec![restarted(100 * MS, count)]))).severity;
    assert_eq!(of(1), Severity::Info);
    assert_eq!(of(2), Severity::Warning);
}

#[test]
fn a_service_that_is_not_back_is_critical() {
    let mut gap = gap(to("127.0.0.1:9000"), 0, libc::ECONNREFUSED, 20);
    (gap.end_ns, gap.back, gap.start_seen) = (None, None, true);
    let f = only(check(&with(vec![gap.clone()])));
    assert_eq!(f.severity, Severity::Critical);
    assert_eq!(
        f.title,
        "Connects fail: nobody listens on an address any more"
    );
    let text = summary(&f);
    assert!(
        text.contains("nobody has listened there for 8000 ms (ECONNREFUSED 20)"),
        "{text}"
    );
    assert!(
        text.contains("Nobody was back when the window ended."),
        "{text}"
    );
    assert!(f.evidence[0].command.as_deref() == Some("ss -ltnp 'sport = :9000'"));
    gap.failed = vec![(libc::ECONNREFUSED as u32, 1)];
    assert_eq!(only(check(&with(vec![gap]))).severity, Severity::Warning);
}

#[test]
fn an_address_that_nobody_ever_served_is_no_gap() {
    quiet(&check(&window_with(healthy())));
    let mut nscd = gap(path("/var/run/nscd/socket"), 0, libc::ENOENT, 5000);
    (nscd.end_ns, nscd.back, nscd.served_before) = (None, None, false);
    quiet(&check(&with(vec![nscd])));
}

#[test]
fn a_service_that_starts_after_its_clients_is_told_so() {
    let mut gap = gap(path("/run/app.sock"), 700 * MS, libc::ENOENT, 30);
    gap.served_before = false;
    let f = only(check(&with(vec![gap])));
    assert_eq!(
        f.title,
        "Connects failed before a service listened: it started later than its clients"
    );
    assert!(remedies(&f).starts_with("start the service before its clients"));
    assert!(!remedies(&f).contains("reload"));
    assert!(
        f.confidence
            .reasons
            .iter()
            .any(|r| r.contains("for the first time"))
    );
}

#[test]
fn several_gaps_of_one_address_are_one_finding_with_the_longest() {
    let mut later = restarted(900 * MS, 70);
    (later.start_ns, later.end_ns) = (5000 * MS, Some(5900 * MS));
    let other = gap(to("127.0.0.1:8081"), 50 * MS, libc::ECONNREFUSED, 3);
    let verdict = check(&with(vec![restarted(100 * MS, 30), other, later]));
    assert_eq!(verdict.findings.len(), 2);
    let f = &verdict.findings[0];
    assert!(summary(f).contains("nobody listened there 2 times, at most for 900 ms (ENOENT 100)"));
    assert!(summary(f).contains("Refused: nginx (pid 901) 100."));
    assert!(summary(f).contains("It began 5000 ms after"));
}

#[test]
fn a_service_on_another_machine_is_asked_about() {
    let mut gap = gap(to("10.0.0.9:9000"), 300 * MS, libc::ECONNREFUSED, 30);
    gap.back = None;
    let f = only(check(&with(vec![gap])));
    assert!(
        remedies(&f).starts_with("ask whoever runs "),
        "{}",
        remedies(&f)
    );
    assert!(!remedies(&f).contains("systemd"));
    assert!(summary(&f).contains("who came back was not seen"));
}

#[test]
fn a_begin_that_was_not_seen_and_losses_lower_the_confidence() {
    let sparse = |count| only(check(&with(vec![restarted(300 * MS, count)]))).confidence;
    assert_eq!(sparse(9).level, Level::Medium);
    assert!(
        sparse(9).reasons[0].contains("33.3 ms earlier"),
        "{:?}",
        sparse(9)
    );
    assert_eq!(sparse(10).level, Level::High);
    let mut seen = restarted(300 * MS, 3);
    seen.start_seen = true;
    assert_eq!(only(check(&with(vec![seen]))).confidence.level, Level::High);

    let mut window = with(vec![restarted(300 * MS, 500)]);
    window.losses = vec![0; slot::COUNT as usize];
    window.losses[slot::RING_FULL as usize] = 3;
    let f = only(check(&window));
    assert_eq!(f.confidence.level, Level::Medium);
    assert!(f.confidence.reasons[0].starts_with("3 "));
}

#[test]
fn without_its_probes_it_is_not_judged() {
    let mut window = window_with(healthy());
    for probe in window.probes.iter_mut().filter(|p| p.id == "listens") {
        probe.state = State::Off("refused".to_owned());
    }
    assert_eq!(
        check(&window).not_judged,
        [
            "when exactly listeners end and come back, and who they are: probe listens is off: refused"
        ]
    );
    window.tcp = None;
    assert!(
        check(&window)
            .not_judged
            .contains(&"TCP was not watched".to_owned())
    );
}

#[test]
fn commands_hold_no_name_of_the_traced_system() {
    let mut gap = gap(path("/run/$(reboot).sock"), 300 * MS, libc::ENOENT, 30);
    gap.refused = vec![(process(901, "`reboot`"), 30)];
    gap.back = Some(process(902, "; reboot"));
    let f = only(check(&with(vec![gap])));
    let commands = f.evidence.iter().filter_map(|e| e.command.as_deref());
    let remedies = f.remedies.iter().filter_map(|r| r.command.as_deref());
    assert!(commands.chain(remedies).all(|c| !c.contains("reboot")));
}
