//! Sick and healthy windows.

use probe_common::loss::slot;

use super::*;
use crate::{
    aggregate::{
        Calls, Durations,
        fixture::{INCIDENT_A, window_of},
        tcp::fixture::{
            durations, failed, healthy, on_path, on_port, path, process, queue, window_with,
        },
    },
    attach::State,
    diagnose::{
        rules::tcp::test::{only, quiet, remedies, summary},
        run,
    },
};

const MS: u64 = 1_000_000;
const SOCK: &str = "/run/php/php8.2-fpm.sock";

fn with(queue: ListenQueue) -> Window {
    let mut tcp = healthy();
    tcp.counters.listen_overflows = Some(if queue.tcp { queue.overflows } else { 0 });
    tcp.listeners.insert(0, queue);
    window_with(tcp)
}

/// Backlog 8, full at 2 of 10 looks, 1,000 accepted in 10 s, 400 dropped; connections waited for so long.
fn overflowing(wait: Durations) -> ListenQueue {
    ListenQueue {
        queue: 9,
        queue_max: 9,
        full: 2,
        overflows: 400,
        accepted: 1000,
        wait,
        ..queue(on_port(8080), 8)
    }
}

/// The Unix queue of a pool: 511 wait, 38 were refused.
fn refused() -> Window {
    let mut window = with(ListenQueue {
        overflows: 38,
        queue_max: 512,
        full: 9,
        owners: vec![process(1, "php-fpm8.2")],
        ..queue(on_path(SOCK), 511)
    });
    let tcp = window.tcp.as_mut().unwrap();
    tcp.failed = vec![
        failed(process(812, "nginx"), path(SOCK), libc::EAGAIN, 38),
        failed(process(812, "nginx"), path("/run/x.sock"), libc::ENOENT, 38),
    ];
    window
}

#[test]
fn a_slow_process_is_told_to_accept_sooner_before_anything_else() {
    let f = only(check(&with(overflowing(durations(&[(900 * MS, 1000)])))));
    assert_eq!(f.severity, Severity::Critical);
    assert_eq!(f.confidence.level, Level::High);
    assert_eq!(
        f.title,
        "Connections are turned away: the process accepts them too slowly"
    );
    assert_eq!(
        (f.explains, f.explains_what),
        (1.0, "the handshakes dropped at full queues")
    );
    assert_eq!(f.culprit.peer, Some(on_port(8080)));
    let text = summary(&f);
    for words in [
        "400 handshakes were dropped because the accept queue of tcp :8080 (nginx (pid 812)) was full (40/s, 29 % of the arrivals)",
        "Up to 8 may wait: the backlog that the process gave to listen(); net.core.somaxconn would allow 4096.",
        "too slow in accepting",
        "try again after 1 s, 3 s and 7 s",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let all = remedies(&f);
    assert!(all.starts_with("accept sooner"), "{all}");
    assert!(all.contains("140/s arrive, 100/s are accepted"), "{all}");
    // 140/s x 0.9 s = 126, as a power of two; 128 / 100 a second = 1.28 s.
    assert!(all.contains("[backlog 8 -> backlog 128] 140/s x the longest stall seen, 900 ms = 126; at least twice the present 8, at most what is accepted in a second, 100; as a power of two 128; the last in such a queue waits 1280 ms"), "{all}");
}

#[test]
fn a_quick_process_needs_a_longer_queue() {
    let f = only(check(&with(overflowing(durations(&[(MS, 1000)])))));
    assert_eq!(
        f.title,
        "Connections are turned away: bursts are larger than the accept queue"
    );
    let all = remedies(&f);
    assert!(
        all.starts_with("let more connections wait: listen ... backlog=16 in nginx"),
        "{all}"
    );
    assert!(!all.contains("somaxconn"), "{all}");
    assert!(
        f.remedies[0]
            .risk
            .starts_with("a reload of nginx is enough")
    );
}

#[test]
fn a_tenth_of_a_second_is_too_slow() {
    let of = |ns| only(check(&with(overflowing(durations(&[(ns, 1000)]))))).title;
    assert!(of(85 * MS).contains("bursts"));
    assert!(of(110 * MS).contains("too slowly"));
}

#[test]
fn a_quick_process_whose_queue_stands_full_does_not_keep_up() {
    let f = only(check(&with(ListenQueue {
        full: 8,
        ..overflowing(durations(&[(16 * MS, 1000)]))
    })));
    assert_eq!(
        f.title,
        "Connections are turned away: more arrive than the process accepts"
    );
    assert!(
        summary(&f)
            .contains("the process accepts at once, and still the queue was full at 8 of 10 looks"),
        "{}",
        summary(&f)
    );
    assert!(remedies(&f).starts_with("accept sooner"));
}

#[test]
fn backlog_and_somaxconn_are_raised_together_where_somaxconn_cuts() {
    let mut window = with(ListenQueue {
        limit: 128,
        accepted: 10_000,
        ..overflowing(durations(&[(MS, 1000)]))
    });
    window.tcp.as_mut().unwrap().settings.somaxconn = Some(128);
    let f = only(check(&window));
    assert!(
        summary(&f)
            .contains("limit of net.core.somaxconn. A larger backlog in the application is cut")
    );
    assert!(remedies(&f).contains(
        "[backlog 128, net.core.somaxconn = 128 -> backlog 256, net.core.somaxconn = 256]"
    ));
    assert_eq!(
        f.remedies[0].command.as_deref(),
        Some("sysctl -w net.core.somaxconn=256")
    );
}

#[test]
fn a_queue_that_is_as_long_as_makes_sense_is_not_made_longer() {
    let f = only(check(&with(ListenQueue {
        limit: 4096,
        ..overflowing(durations(&[(MS, 1000)]))
    })));
    assert!(!remedies(&f).contains("backlog"), "{}", remedies(&f));
}

#[test]
fn refused_connects_on_a_unix_socket_are_counted_by_client() {
    let f = only(check(&refused()));
    // How many were accepted is not known.
    assert_eq!(f.severity, Severity::Warning);
    assert_eq!((f.explains, f.explains_what), (0.5, "the failed connects"));
    let text = summary(&f);
    for words in [
        "38 connects failed with EAGAIN because the accept queue of /run/php/php8.2-fpm.sock (php-fpm8.2 (pid 1)) was full (3.8/s)",
        "Turned away: nginx (pid 812) 38",
        "answers 502",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(!text.contains("try again after"), "{text}");
    let all = remedies(&f);
    assert!(
        all.contains("listen.backlog = 1024 in PHP-FPM's pool"),
        "{all}"
    );
    assert!(f.remedies[1].risk.contains("on restart only"));
    let commands: Vec<_> = f
        .evidence
        .iter()
        .filter_map(|e| e.command.as_deref())
        .collect();
    assert_eq!(
        commands,
        [
            "ss -lx",
            "timeout 10 strace -f -e trace=connect -e status=failed -p 812",
            "sysctl net.core.somaxconn",
        ]
    );
}

#[test]
fn a_longer_queue_is_no_remedy_where_what_waits_takes_a_second_already() {
    let of = |limit| {
        let f = only(check(&with(ListenQueue {
            limit,
            ..overflowing(durations(&[(900 * MS, 1000)]))
        })));
        remedies(&f).contains("backlog")
    };
    // 100 are accepted in a second.
    assert!(of(99));
    assert!(!of(100));
}

#[test]
fn what_a_unix_listener_accepted_is_known_from_the_calls() {
    let of = |count| {
        let mut window = refused();
        window.calls = accepts(count);
        only(check(&window))
    };
    // 38 of 10,000 arrivals; 512 that wait take half a second.
    let f = of(9_965);
    assert_eq!(
        (f.severity, f.confidence.level),
        (Severity::Warning, Level::High)
    );
    assert!(
        summary(&f).contains(
            "At 996.2/s accepted, the 512 that wait take 514 ms: the process is too slow"
        ),
        "{}",
        summary(&f)
    );
    assert!(f.title.ends_with("accepts them too slowly"));
    // It stands full at nine of ten looks.
    assert!(of(99_995).title.contains("more arrive"));
}

fn accepts(count: u64) -> Vec<Calls> {
    vec![Calls {
        pid: Some(1),
        comm: b"php-fpm8.2".to_vec(),
        op: "accept4",
        peer: on_path(SOCK),
        count,
        total_ns: 0,
        blocked_ns: 0,
        max_ns: 0,
        errors: vec![(libc::EAGAIN as u32, 3)],
        durations: Durations::default(),
    }]
}

#[test]
fn refusals_at_a_queue_that_no_walk_showed_are_counted_all_the_same() {
    let mut window = refused();
    window.tcp.as_mut().unwrap().listeners[0] = ListenQueue {
        address: on_path(SOCK),
        overflows: 38,
        ..ListenQueue::default()
    };
    let f = only(check(&window));
    assert!(
        summary(&f).contains("The queue itself was not seen"),
        "{}",
        summary(&f)
    );
    assert!(!remedies(&f).contains("backlog"), "{}", remedies(&f));
    assert!(f.evidence.iter().all(|e| e.about != "queue"));
}

#[test]
fn one_in_a_hundred_is_critical() {
    let of = |overflows| {
        only(check(&with(ListenQueue {
            overflows,
            accepted: 9_900,
            ..overflowing(Durations::default())
        })))
        .severity
    };
    assert_eq!(of(99), Severity::Warning);
    assert_eq!(of(100), Severity::Critical);
    assert_eq!(of(1), Severity::Warning);
}

#[test]
fn a_full_queue_that_turned_nothing_away_is_an_info_at_most() {
    let of = |full, looks| {
        check(&with(ListenQueue {
            overflows: 0,
            full,
            looks,
            ..overflowing(Durations::default())
        }))
    };
    let f = only(of(5, 10));
    assert_eq!(
        (f.severity, f.confidence.level),
        (Severity::Info, Level::Medium)
    );
    assert!(summary(&f).contains("was full at 5 of 10 looks: 9 waited."));
    quiet(&of(4, 10));
    quiet(&of(2, 2));
    only(of(3, 3));
}

#[test]
fn bursts_that_fit_are_healthy() {
    quiet(&check(&window_with(healthy())));
    quiet(&check(&with(ListenQueue {
        overflows: 0,
        full: 0,
        queue_max: 500,
        ..overflowing(durations(&[(3 * MS, 90_000)]))
    })));
}

#[test]
fn abort_on_overflow_is_mentioned_as_what_it_is() {
    let mut window = with(overflowing(Durations::default()));
    assert!(!summary(&only(check(&window))).contains("abort"));
    window.tcp.as_mut().unwrap().settings.abort_on_overflow = Some(1);
    let f = only(check(&window));
    assert!(summary(&f).contains("tcp_abort_on_overflow is 1: clients are reset"));
    assert!(!remedies(&f).contains("abort"));
}

#[test]
fn a_full_syn_queue_is_a_finding_of_its_own() {
    let mut window = window_with(healthy());
    let tcp = window.tcp.as_mut().unwrap();
    tcp.counters.syn_queue_drops = Some(1);
    tcp.settings.syncookies = Some(0);
    tcp.settings.max_syn_backlog = Some(128);
    tcp.listeners[0].syn_queue_max = 96;
    let f = only(check(&window));
    assert_eq!(
        (f.severity, f.confidence.level),
        (Severity::Warning, Level::Medium)
    );
    assert!(summary(&f).contains("most unfinished handshakes is tcp :443: up to 96, limit 511."));
    let all = remedies(&f);
    assert!(
        all.contains("[net.ipv4.tcp_syncookies = 0 -> net.ipv4.tcp_syncookies = 1]"),
        "{all}"
    );
    assert!(all.contains("tcp_max_syn_backlog = 4096]"), "{all}");

    let counters = &mut window.tcp.as_mut().unwrap().counters;
    (counters.syn_queue_drops, counters.syncookies_sent) = (Some(0), Some(FEW));
    assert_eq!(only(check(&window)).severity, Severity::Info);
    // Where accept queues overflow as well, cookies are no news.
    let mut both = with(overflowing(Durations::default()));
    both.tcp.as_mut().unwrap().counters.syncookies_sent = Some(FEW);
    only(check(&both));
    window.tcp.as_mut().unwrap().counters.syncookies_sent = Some(FEW - 1);
    quiet(&check(&window));
}

const FEW: u64 = syn::FEW_COOKIES;

#[test]
fn losses_and_inexact_counts_lower_the_confidence() {
    let mut queue = overflowing(Durations::default());
    queue.overflows_inexact = true;
    let f = only(check(&with(queue.clone())));
    assert_eq!(f.confidence.level, Level::Medium);
    assert!(f.confidence.reasons[0].contains("several listeners"));
    (queue.overflows_inexact, queue.accepted) = (false, 0);
    let f = only(check(&with(queue)));
    assert!(f.confidence.reasons[0].contains("how many were accepted"));

    let mut window = refused();
    window.losses = vec![0; slot::COUNT as usize];
    window.losses[slot::RING_FULL as usize] = 3;
    assert!(only(check(&window)).confidence.reasons[0].starts_with("3 "));
    // The kernel's own counter loses nothing with the ring.
    let mut window = with(overflowing(Durations::default()));
    window.losses = refused().losses;
    assert_eq!(only(check(&window)).confidence.level, Level::High);
}

#[test]
fn without_a_probe_its_part_is_not_judged() {
    let mut window = window_with(healthy());
    for probe in &mut window.probes {
        if ["connects", "socket_owners", "accepts"].contains(&probe.id) {
            probe.state = State::Off("refused".to_owned());
        }
    }
    assert_eq!(
        check(&window).not_judged,
        [
            "Unix listeners: probe connects is off: refused",
            "how full the queues of Unix listeners are, and who owns a listener: probe socket_owners is off: refused",
            "how long connections wait for accept(): probe accepts is off: refused",
        ]
    );
    window.tcp = None;
    assert_eq!(check(&window).not_judged, ["TCP was not watched"]);
}

#[test]
fn overflows_that_no_listener_counted_are_said() {
    let of = |all| {
        let mut window = with(overflowing(Durations::default()));
        window.tcp.as_mut().unwrap().counters.listen_overflows = Some(all);
        check(&window).not_judged
    };
    assert!(of(440).is_empty());
    assert!(
        of(800)[0].starts_with("400 of 800 handshakes"),
        "{:?}",
        of(800)
    );
}

#[test]
fn the_queue_of_a_pool_whose_workers_wait_is_a_symptom() {
    let mut window = window_of(412, INCIDENT_A);
    window.tcp = refused().tcp;
    for listener in &mut window.tcp.as_mut().unwrap().listeners {
        // The master holds it, too.
        listener.owners = vec![process(1000, ""), process(3, "php-fpm8.2")];
    }
    let diagnosis = run(&window);
    assert_eq!(diagnosis.findings.len(), 1, "{:#?}", diagnosis.findings);
    let symptom = &diagnosis.findings[0].symptoms[0];
    assert_eq!(symptom.rule, RULE.reference());
    assert_eq!(symptom.culprit.group.as_deref(), Some(&b"www"[..]));
    assert_eq!(symptom.culprit.pid, Some(3));
    assert!(
        summary(symptom).contains("fpm.sock (php-fpm8.2 (pid 3), process 1000) was full"),
        "{}",
        summary(symptom)
    );
}
