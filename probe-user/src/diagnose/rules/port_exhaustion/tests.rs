//! Sick and healthy windows.

use probe_common::loss::slot;

use super::*;
use crate::{
    aggregate::tcp::{
        States,
        fixture::{failed, healthy, on_port, ports, process, queue, to, window_with},
    },
    attach::State,
    diagnose::rules::tcp::test::{only, quiet, remedies, summary},
};

const API: &str = "10.0.0.8:443";

/// So many sockets in TIME_WAIT, a few open, and this many a second more.
fn closing(time_wait: u64, per_s: f64) -> Ports {
    let php = process(4711, "php-fpm8.2");
    let states = States {
        established: 4,
        time_wait,
        ..States::default()
    };
    Ports {
        opened_per_s: per_s,
        closed_by_us_per_s: per_s,
        growth_per_s: per_s,
        levels_off_at: per_s * 60.0 + 4.0,
        closer: Some(php.clone()),
        opener: Some(php),
        ..ports(API, states)
    }
}

/// The same when it fills the range: seconds are left.
fn filling(time_wait: u64, per_s: f64) -> Ports {
    let ports = closing(time_wait, per_s);
    let left = (ports.usable - ports.used()) as f64 / per_s;
    Ports {
        seconds_left: Some(left),
        ..ports
    }
}

fn with(ports: Ports) -> Window {
    let mut tcp = healthy();
    tcp.ports.insert(0, ports);
    window_with(tcp)
}

fn change(window: &mut Window, how: impl Fn(&mut Tcp)) {
    how(window.tcp.as_mut().unwrap());
}

#[test]
fn failures_for_want_of_a_port_are_critical_and_name_destination_closer_and_arithmetic() {
    let mut ports = closing(28_228, 1200.0);
    (ports.failures, ports.first_failure_ns) = (311, Some(2_000_000_000));
    let mut window = with(ports);
    change(&mut window, |tcp| {
        let php = process(4711, "php-fpm8.2");
        tcp.failed = vec![
            failed(php.clone(), to(API), libc::EADDRNOTAVAIL, 311),
            failed(php.clone(), to(API), libc::ETIMEDOUT, 311),
        ];
    });
    let f = only(check(&window));
    assert_eq!(f.severity, Severity::Critical);
    assert_eq!(f.confidence.level, Level::High);
    assert_eq!((f.explains, f.explains_what), (0.5, "the failed connects"));
    assert_eq!(f.culprit.peer, Some(to(API)));
    assert_eq!(f.culprit.pid, Some(4711));
    let text = summary(&f);
    for words in [
        "311 connects from 10.0.0.2 to ",
        "failed with EADDRNOTAVAIL: up to 28232 of 28232 local ports were in use",
        "php-fpm8.2 (pid 4711) opens 1200/s and closes 1200/s before the other side does",
        "1200/s x 60 s = 72000.",
        "32768 to 60999 are 28232.",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let commands: Vec<_> = f
        .evidence
        .iter()
        .filter_map(|e| e.command.as_deref())
        .collect();
    assert!(
        commands.contains(&"ss -Htan state time-wait dst 10.0.0.8:443 | wc -l"),
        "{commands:?}"
    );
}

#[test]
fn ports_that_will_run_out_are_foretold_with_the_seconds_left() {
    let f = only(check(&with(filling(12_228, 1000.0))));
    assert_eq!(f.severity, Severity::Warning);
    assert_eq!(f.confidence.level, Level::Medium);
    assert_eq!(
        f.title,
        "The local ports to one destination run out in 16 s"
    );
    let text = summary(&f);
    assert!(
        text.contains(
            "run out in 16000 ms: 12232 of 28232 are in use; kept up, this rate takes 60004."
        ),
        "{text}"
    );
    assert!((f.explains - 12_228.0 / 12_232.0).abs() < 1e-9);
}

#[test]
fn remedies_come_safest_first_with_arithmetic_and_current_values() {
    let text = remedies(&only(check(&with(filling(12_228, 1000.0)))));
    let at = |words: &str| {
        text.find(words)
            .unwrap_or_else(|| panic!("{words}: {text}"))
    };
    let order = [
        at("keep connections open"),
        at("close first"),
        at(
            "[net.ipv4.tcp_tw_reuse = 2 -> net.ipv4.tcp_tw_reuse = 1] 1000/s x 1 s = 1000 ports held instead of x 60 s = 60000",
        ),
        at(
            "[net.ipv4.ip_local_port_range = 32768 60999 -> net.ipv4.ip_local_port_range = 10240 65535] 55296 ports instead of 28232, / 60 s = 921.6/s to each destination instead of 470.5/s",
        ),
        at("not enough by itself: the present rate takes 60004"),
        at("over more addresses"),
    ];
    assert!(order.is_sorted(), "{text}");
    assert!(!text.contains("recycle") && !text.contains("fin_timeout"));
}

#[test]
fn what_is_set_already_is_not_proposed() {
    let mut window = with(filling(12_228, 1000.0));
    change(&mut window, |tcp| {
        tcp.settings.tw_reuse = Some(1);
        tcp.settings.port_range = Some((1024, 65535));
    });
    let f = only(check(&window));
    let text = remedies(&f);
    assert!(
        !text.contains("tw_reuse") && !text.contains("port_range"),
        "{text}"
    );
    assert!(summary(&f).contains("taken over already (tcp_tw_reuse)"));
    // The default, 2, is enough where the destination is on loopback.
    let mut window = with(Ports {
        peer: to("127.0.0.1:9000"),
        ..filling(12_228, 1000.0)
    });
    assert!(!remedies(&only(check(&window))).contains("tw_reuse"));
    // Without timestamps it does nothing.
    change(&mut window, |tcp| tcp.settings.timestamps = Some(0));
    let f = only(check(&window));
    assert!(remedies(&f).contains("[net.ipv4.tcp_timestamps = 0 -> net.ipv4.tcp_timestamps = 1]"));
    assert!(!summary(&f).contains("already"));
}

#[test]
fn services_within_a_wider_range_are_reserved_first() {
    let mut window = with(filling(12_228, 1000.0));
    change(&mut window, |tcp| {
        tcp.settings.reserved_ports = vec![(40_000, 40_009)];
        tcp.listeners.push(queue(on_port(11_211), 128));
        tcp.listeners.push(queue(on_port(50_000), 128));
    });
    let f = only(check(&window));
    let wider = f
        .remedies
        .iter()
        .find_map(|r| r.command.clone().filter(|c| c.contains("port_range")));
    assert_eq!(
        wider.as_deref(),
        Some(
            "sysctl -w net.ipv4.ip_local_reserved_ports=40000-40009,11211 \
             net.ipv4.ip_local_port_range='10240 65535'"
        )
    );
}

#[test]
fn reserved_and_listened_ports_are_in_the_arithmetic() {
    let mut window = with(Ports {
        usable: 28_220,
        ..filling(12_228, 1000.0)
    });
    change(&mut window, |tcp| {
        tcp.settings.reserved_ports = vec![(40_000, 40_009), (1, 99)]
    });
    let text = summary(&only(check(&window)));
    assert!(
        text.contains("are 28232, less 10 reserved, less 2 listened on: 28220."),
        "{text}"
    );
}

#[test]
fn a_lowered_fin_timeout_is_said_to_do_nothing() {
    let mut window = with(filling(12_228, 1000.0));
    assert!(!summary(&only(check(&window))).contains("tcp_fin_timeout"));
    change(&mut window, |tcp| tcp.settings.fin_timeout_s = Some(15));
    assert!(
        summary(&only(check(&window)))
            .contains("tcp_fin_timeout is set to 15 s here: that does nothing for TIME_WAIT")
    );
}

#[test]
fn a_large_number_in_time_wait_that_levels_off_below_the_limit_is_healthy() {
    quiet(&check(&window_with(healthy())));
    // 400 closes a second hold 24,000 of 28,232 ports, for ever.
    quiet(&check(&with(closing(24_000, 400.0))));
    // It has only just begun.
    quiet(&check(&with(closing(2_000, 400.0))));
}

#[test]
fn nine_tenths_of_the_ports_are_too_many() {
    let of = |time_wait| check(&with(closing(time_wait, 0.0)));
    quiet(&of(25_404 - 4));
    let f = only(of(25_409 - 4));
    assert_eq!(f.severity, Severity::Warning);
    assert!(summary(&f).contains("25409 of 28232 local ports from 10.0.0.2 to"));
    assert!(summary(&f).contains("before the window began"));
}

#[test]
fn ports_that_a_connect_may_take_over_are_not_in_use() {
    quiet(&check(&with(Ports {
        reusable: 27_000,
        peak: 1_232,
        ..closing(28_228, 0.0)
    })));
}

#[test]
fn a_storm_that_ended_before_the_last_census_is_judged_by_its_peak() {
    let ports = Ports {
        peak: 28_232,
        failures: 5,
        ..closing(0, 0.0)
    };
    let f = only(check(&with(ports)));
    assert!(summary(&f).contains("up to 28232 of 28232"));
}

#[test]
fn failures_with_ports_to_spare_have_another_cause() {
    let of = |peak| {
        check(&with(Ports {
            peak,
            failures: 7,
            ..closing(0, 0.0)
        }))
    };
    let f = only(of(14_116));
    assert_eq!(
        (f.severity, f.confidence.level),
        (Severity::Critical, Level::Medium)
    );
    let other = of(14_115);
    assert!(other.findings.is_empty());
    assert!(
        other.not_judged[0]
            .starts_with("7 connects to 10.0.0.8:443 failed with EADDRNOTAVAIL, but at most 14115"),
        "{:?}",
        other.not_judged
    );
}

#[test]
fn what_fills_the_ports_decides_what_is_proposed() {
    let of = |states: States| {
        let mut ports = ports(API, states);
        ports.opener = Some(process(7, "client"));
        only(check(&with(ports)))
    };
    let n = 27_000;
    let open = of(States {
        established: n,
        ..States::default()
    });
    assert!(summary(&open).contains("27000 are open connections; client (pid 7) opens"));
    assert!(remedies(&open).starts_with("open fewer connections"));
    assert!(!remedies(&open).contains("tw_reuse"));
    let silent = of(States {
        syn_sent: n,
        ..States::default()
    });
    assert!(summary(&silent).contains("does not answer (SYN_SENT)"));
    let leak = of(States {
        close_wait: n,
        ..States::default()
    });
    assert!(remedies(&leak).contains("must close()"));
    let half = of(States {
        fin_wait_2: n,
        ..States::default()
    });
    assert!(remedies(&half).contains("rule T02"));
}

#[test]
fn where_the_kernel_keeps_fewer_in_time_wait_than_there_are_ports_none_run_out() {
    let mut window = with(filling(12_228, 1000.0));
    change(&mut window, |tcp| {
        tcp.settings.max_tw_buckets = Some(28_227)
    });
    quiet(&check(&window));
    change(&mut window, |tcp| {
        tcp.settings.max_tw_buckets = Some(28_228)
    });
    only(check(&window));
}

#[test]
fn few_connects_and_losses_lower_the_confidence_and_are_named() {
    let mut small = filling(70, 2.0);
    (small.usable, small.seconds_left) = (100, Some(13.0));
    let f = only(check(&with(small)));
    assert_eq!(f.confidence.level, Level::Low);
    assert!(
        f.confidence.reasons[0].contains("20 connects only"),
        "{:?}",
        f.confidence
    );

    let mut window = with(Ports {
        failures: 9,
        ..closing(28_228, 1200.0)
    });
    window.losses = vec![0; slot::COUNT as usize];
    window.losses[slot::RING_FULL as usize] = 3;
    let f = only(check(&window));
    assert_eq!(f.confidence.level, Level::Medium);
    assert!(
        f.confidence.reasons[0].starts_with("3 "),
        "{:?}",
        f.confidence
    );
}

#[test]
fn without_a_probe_its_part_is_not_judged() {
    let mut window = window_with(healthy());
    for probe in &mut window.probes {
        if ["tcp_states", "connects"].contains(&probe.id) {
            probe.state = State::Off("refused".to_owned());
        }
    }
    assert_eq!(
        check(&window).not_judged,
        [
            "whether ports will run out at the present rate: probe tcp_states is off: refused",
            "connects that fail for want of a port: probe connects is off: refused",
        ]
    );
    window.tcp = None;
    assert_eq!(check(&window).not_judged, ["TCP was not watched"]);
    assert_eq!(
        check(&window_with(Tcp::default())).not_judged,
        ["no census was taken"]
    );
}

#[test]
fn the_worst_destinations_are_listed_and_the_others_counted() {
    let mut tcp = healthy();
    tcp.ports = (1..=7)
        .map(|n| Ports {
            failures: u64::from(n == 7),
            ..ports(&format!("10.0.0.{n}:443"), closing(26_000, 0.0).states)
        })
        .collect();
    let verdict = check(&window_with(tcp));
    assert_eq!(verdict.findings.len(), MAX_FINDINGS);
    assert_eq!(verdict.findings[0].culprit.peer, Some(to("10.0.0.7:443")));
    assert!(summary(&verdict.findings[4]).ends_with("So it is with 2 more destinations."));
}
