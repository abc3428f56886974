//! Sick and healthy windows.

use probe_common::part;

use super::*;
use crate::{
    aggregate::{
        fixture::{INCIDENT_A, MS, Page, S, window_of},
        tcp::fixture::{durations, healthy, on_path, on_port, process, queue},
    },
    diagnose::{
        rules::tcp::test::{only, quiet, remedies, summary},
        run,
    },
};

/// Nine workers that served `n` such requests in 10 s, and were idle for so much of the time.
fn pool(n: u32, page: Page, idle: f64, queue: ListenQueue) -> Window {
    let mut window = window_of(n, page);
    let total = 90.0 * S as f64;
    let group = &mut window.groups[0];
    group.worker_parts = [0; part::COUNT];
    group.worker_parts[part::IDLE] = (total * idle) as u64;
    group.worker_parts[part::NETWORK] = (total * (1.0 - idle)) as u64;
    let mut tcp = healthy();
    tcp.listeners.insert(
        0,
        ListenQueue {
            owners: vec![process(500, "php-fpm8.2"), process(3, "php-fpm8.2")],
            ..queue
        },
    );
    window.tcp = Some(Box::new(tcp));
    window
}

/// Pages of half a second.
const PAGE: Page = Page {
    calls: 4,
    each_ns: 120 * MS,
    ..INCIDENT_A
};

/// A Unix queue of which so many were waiting at each of 10 looks.
fn waiting(n: u64) -> ListenQueue {
    ListenQueue {
        queue: n,
        queue_max: n + 2,
        queue_sum: 10 * n,
        ..queue(on_path("/run/php/php8.2-fpm.sock"), 511)
    }
}

#[test]
fn a_pool_whose_requests_queue_is_named_with_how_long_they_wait() {
    // 180 requests in 10 s, 36 in the queue: 2 s.
    let f = only(check(&pool(180, PAGE, 0.01, waiting(36))));
    assert_eq!(f.severity, Severity::Critical);
    assert_eq!(f.culprit.group.as_deref(), Some(&b"www"[..]));
    assert_eq!(f.measured[1].observed, Quantity::ns(2 * S));
    let text = summary(&f);
    assert!(
        text.contains("A request waits 2000 ms for a worker (reckoned from the queue)"),
        "{text}"
    );
    assert!(
        text.contains("are 36 on average, at most 38 of 511"),
        "{text}"
    );
    assert!(
        text.contains("waiting for others over the network"),
        "{text}"
    );
    assert_eq!(f.confidence.level, Level::Medium);
    let remedies = remedies(&f);
    assert!(remedies.contains("make the requests shorter"), "{remedies}");
    assert!(f.remedies[1].change.is_some());
}

#[test]
fn over_tcp_the_wait_is_measured() {
    let tcp = ListenQueue {
        wait: durations(&[(300 * MS, 180)]),
        accepted: 180,
        ..ListenQueue {
            address: on_port(9000),
            tcp: true,
            ..waiting(6)
        }
    };
    let f = only(check(&pool(180, PAGE, 0.02, tcp)));
    assert_eq!(
        (f.severity, f.confidence.level),
        (Severity::Warning, Level::High)
    );
    assert!(summary(&f).contains("(median)"));
}

#[test]
fn full_load_with_a_short_queue_is_no_finding() {
    // Busy all the time, 12 waiting, 3,000 served a second: 4 ms.
    let quick = Page {
        calls: 1,
        each_ns: 2 * MS,
        cpu_ns: MS,
        queue_ns: 0,
        ..INCIDENT_A
    };
    quiet(&check(&pool(30_000, quick, 0.0, waiting(12))));
}

#[test]
fn a_pool_with_a_worker_to_spare_is_no_finding() {
    quiet(&check(&pool(180, PAGE, 0.06, waiting(36))));
}

#[test]
fn somebody_elses_queue_is_not_its_own() {
    let mut window = pool(180, PAGE, 0.0, waiting(36));
    window.tcp.as_mut().unwrap().listeners[0].owners = vec![process(812, "nginx")];
    quiet(&check(&window));
    // Too few looks to say how long it is.
    let mut window = pool(180, PAGE, 0.0, waiting(36));
    window.tcp.as_mut().unwrap().listeners[0].looks = 2;
    quiet(&check(&window));
}

#[test]
fn workers_on_the_cpu_are_not_told_to_be_more() {
    let mut window = pool(180, PAGE, 0.0, waiting(36));
    let parts = &mut window.groups[0].worker_parts;
    parts.swap(part::NETWORK, part::ON_CPU);
    let f = only(check(&window));
    assert_eq!(f.remedies.len(), 1);
    assert!(summary(&f).contains("running on a CPU"));
}

#[test]
fn a_slow_peer_is_its_cause_and_refused_connects_its_siblings() {
    let mut window = pool(180, INCIDENT_A, 0.0, waiting(600));
    let listener = &mut window.tcp.as_mut().unwrap().listeners[0];
    (listener.overflows, listener.full) = (38, 10);
    let diagnosis = run(&window);
    let first = &diagnosis.findings[0];
    assert_eq!(first.rule.id, "W01");
    let below: Vec<&str> = first.symptoms.iter().map(|f| f.rule.id).collect();
    assert_eq!(below, ["W02", "T03"]);
}
