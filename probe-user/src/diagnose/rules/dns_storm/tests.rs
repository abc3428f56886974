//! Sick and healthy windows.

use super::*;
use crate::{
    aggregate::{
        dns::{
            Resolver,
            fixture::{answered, asked_by, healthy, server, storm, waits, window_with, www},
        },
        fixture::{INCIDENT_A, window_of},
        udp::fixture as udp,
    },
    diagnose::{
        rules::tcp::test::{only, quiet, remedies, summary},
        run,
    },
};

const MS: u64 = 1_000_000;
const S: u64 = 1000 * MS;

fn found(dns: Dns) -> Finding {
    only(check(&window_with(dns)))
}

/// One server that was asked so; by the pool `www`, all for one name.
fn dns(sums: Sums) -> Dns {
    asked_by(www(), "api.example.com", "192.0.2.1", sums, 50.0)
}

/// The socket of the stub of [`storm`] drops so many.
fn with_drops(mut window: Window, local: &str, drops: u64) -> Window {
    window.udp = Some(Box::new(udp::sick(udp::dropping(local, drops))));
    window
}

#[test]
fn a_storm_costs_seconds_that_are_named_by_group() {
    let f = found(storm());
    assert_eq!(
        f.title,
        "A storm of identical lookups, and some are never answered"
    );
    assert_eq!(
        (f.severity, f.confidence.level),
        (Severity::Critical, Level::High)
    );
    assert_eq!(f.culprit.group.as_deref(), Some(&b"www"[..]));
    assert_eq!((f.culprit.php_fpm, f.culprit.pid), (true, Some(4711)));
    assert_eq!(f.culprit.peer, Some(server("127.0.0.53")));
    let text = summary(&f);
    for words in [
        "3600 of 10000 questions to",
        "(36 %) had no answer in time.",
        "Waiting in vain took 18000000 ms of pool www: 3600 waits of 5000 ms on average.",
        "Asked: 1000/s, all servers together up to 50000/s in the worst tenth of a second; 6398 (64 %) asked what \
         someone here had asked less than a second before; 3600 were retries.",
        "Most asked for: hooks.example.com (A) 10000 by pool www.",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let all = remedies(&f);
    assert!(all.starts_with("ask less"), "{all}");
    assert!(
        all.contains("[options timeout:5 attempts:2 -> options timeout:1 attempts:3] 3600 waits x (5000 ms - 1000 ms) = up to 14400000 ms less waiting"),
        "{all}"
    );
}

#[test]
fn drops_at_the_servers_own_socket_are_the_cause() {
    let window = with_drops(window_with(storm()), "127.0.0.53:53", 3500);
    let diagnosis = run(&window);
    let ids: Vec<_> = diagnosis.findings.iter().map(|f| f.rule.id).collect();
    assert_eq!(ids, ["U01"]);
    let symptom = &diagnosis.findings[0].symptoms[0];
    assert_eq!(symptom.rule.id, "U02");
    assert_eq!(symptom.caused_by[0].id, "U01");
    assert_eq!(
        symptom.title,
        "Lookups are lost: a storm of identical ones overflows the DNS server's buffer"
    );
    // A socket on every address is the server's as well; one of another port, or few drops, are not.
    let ids = |local: &str, drops| {
        let window = with_drops(window_with(storm()), local, drops);
        let findings = run(&window).findings;
        findings.iter().map(|f| f.rule.id).collect::<Vec<_>>()
    };
    assert_eq!(ids("0.0.0.0:53", 3500), ["U01"]);
    assert_eq!(ids("127.0.0.1:53", 3500).len(), 2);
    assert_eq!(ids("0.0.0.0:5353", 3500).len(), 2);
    assert_eq!(ids("127.0.0.53:53", 3).len(), 2);
}

#[test]
fn requests_that_wait_for_a_server_that_does_not_answer_are_a_symptom() {
    let sums = Sums {
        asked: 40,
        timed_out: waits(40, 5 * S),
        unanswered: 40,
        ..Sums::default()
    };
    let f = found(dns(sums));
    assert_eq!(f.title, "A DNS server does not answer");
    assert_eq!(f.severity, Severity::Critical);
    assert!(remedies(&f).starts_with("take this server out of resolv.conf"));
    let mut w01 = f.clone();
    assert!(same_server(&f, &w01));
    w01.culprit.peer = Some(server("192.0.2.2"));
    assert!(!same_server(&f, &w01));
}

#[test]
fn lost_time_is_a_share_of_the_requests_of_its_group() {
    let mut window = window_of(412, INCIDENT_A);
    let wall_ns: u64 = window.groups[0].all_wall_ns();
    let sums = Sums {
        asked: 10_000,
        answered: 9990,
        latency: waits(9990, MS),
        timed_out: waits(10, wall_ns / 100),
        unanswered: 10,
        ..Sums::default()
    };
    window.dns = Some(Box::new(dns(sums)));
    let f = only(check(&window));
    assert_eq!(f.explains_what, REQUEST_TIME);
    assert!(
        summary(&f).contains("a request (10 % of its time)"),
        "{}",
        summary(&f)
    );
    // 1 in 1,000 is a warning, a tenth of the request time more.
    assert_eq!(f.severity, Severity::Critical);
}

#[test]
fn severity_follows_the_share() {
    let of = |asked: u64, lost: u64| {
        let sums = Sums {
            asked,
            timed_out: waits(lost, 5 * S),
            unanswered: lost,
            ..answered(asked - lost, MS)
        };
        let sums = Sums { asked, ..sums };
        let f = found(dns(sums));
        (f.severity, f.confidence.level)
    };
    assert_eq!(of(1000, 1), (Severity::Info, Level::Low));
    assert_eq!(of(100_000, 50).0, Severity::Info);
    assert_eq!(of(10_000, 50).0, Severity::Warning);
    assert_eq!(of(1000, 50).0, Severity::Critical);
}

#[test]
fn a_slow_server_is_not_a_lossy_one() {
    let f = found(dns(answered(100, 400 * MS)));
    assert_eq!(f.title, "A DNS server answers slowly");
    assert_eq!(f.severity, Severity::Info);
    assert!(remedies(&f).starts_with("speak with whoever runs the server"));
    assert_eq!(
        found(dns(answered(100, 1500 * MS))).severity,
        Severity::Warning
    );
}

#[test]
fn nobody_listening_is_not_a_time_out() {
    let sums = Sums {
        asked: 50,
        refused: 50,
        ..Sums::default()
    };
    let f = found(dns(sums));
    assert_eq!(f.title, "Nobody listens at the address of a DNS server");
    assert!(
        summary(&f).starts_with("50 of 50 questions"),
        "{}",
        summary(&f)
    );
}

#[test]
fn a_thread_that_still_waits_counts_with_its_time_so_far() {
    let mut dns = dns(Sums {
        asked: 6,
        waiting: 6,
        ..Sums::default()
    });
    dns.waiting = (0..6)
        .map(|n| Waiting {
            group: www(),
            pid: n,
            tid: n,
            server: server("192.0.2.1"),
            for_ns: if n == 0 { 10 * MS } else { 3 * S },
            ..Waiting::default()
        })
        .collect();
    let f = found(dns.clone());
    assert_eq!(f.severity, Severity::Critical);
    let text = summary(&f);
    assert!(
        text.contains("Waiting in vain took 15000 ms of pool www: 5 waits"),
        "{text}"
    );
    assert!(
        text.contains("5 threads waited still when the window ended"),
        "{text}"
    );
    // One that has just asked waits for nothing unusual.
    dns.waiting.truncate(1);
    quiet(&check(&window_with(dns)));
}

#[test]
fn search_domains_and_ndots_are_named() {
    let mut dns = storm();
    dns.clients[0].expanded = 4000;
    dns.resolvers[0].resolver = Resolver {
        ndots: 5,
        ..dns.resolvers[0].resolver.clone()
    };
    let f = found(dns);
    let all = remedies(&f);
    assert!(
        all.contains("[options ndots:5 -> options ndots:1] 4000 of 10000"),
        "{all}"
    );
    assert!(
        summary(&f).contains("4000 questions of pool www were for a name with a search domain")
    );
}

#[test]
fn lookups_of_event_loops_cost_what_nobody_knows() {
    let sums = Sums {
        unanswered: 20,
        asked: 1000,
        ..answered(980, MS)
    };
    let sums = Sums {
        asked: 1000,
        ..sums
    };
    let f = found(dns(sums));
    assert_eq!(f.confidence.level, Level::Medium);
    assert_eq!(f.title, "Some lookups are never answered");
    assert!(!remedies(&f).contains("cheaper"));
}

#[test]
fn a_busy_client_of_a_quick_resolver_is_left_alone() {
    quiet(&check(&window_with(healthy())));
    quiet(&check(&window_with(Dns::default())));
    // The same name again and again, answered from a cache.
    let mut sums = answered(200_000, MS / 2);
    sums.duplicates = 199_000;
    quiet(&check(&window_with(asked_by(
        www(),
        "db.example",
        "127.0.0.53",
        sums,
        40_000.0,
    ))));
    // Far away, and uncached: slow for some, as it must be.
    let mut far = answered(1000, 60 * MS);
    far.latency.durations.record_n(900 * MS, 30);
    quiet(&check(&window_with(dns(far))));
}

#[test]
fn what_was_not_watched_is_not_judged() {
    let mut window = window_with(healthy());
    window.dns = None;
    assert_eq!(check(&window).not_judged, ["DNS was not watched"]);
}
