//! Hand-made sides of a comparison.

use super::*;
use crate::diagnose::Severity;

/// A second, ns.
pub const S: u64 = 1_000_000_000;

/// Durations of `count` requests around `ms` milliseconds: evenly from nine tenths of it to eleven.
pub fn around(ms: f64, count: u64) -> Distribution {
    let span = |k: u64| {
        let at = ms * 1e6 * (0.9 + 0.2 * (k as f64 + 0.5) / count as f64);
        Span {
            low_ns: at * 0.99,
            high_ns: at * 1.01,
            count: 1,
        }
    };
    Distribution::new((0..count).map(span).collect())
}

/// Pool www on web-07 for 10 s: `requests` of some `ms` milliseconds with so many connects each; everything watched.
pub fn facts(requests: u64, ms: f64, connects: u64) -> Facts {
    let pool = About {
        group: "pool www".to_owned(),
        of: String::new(),
    };
    let mut facts = Facts {
        host: "web-07".to_owned(),
        kernel: "6.1.0".to_owned(),
        tool_version: "0.1.0".to_owned(),
        target: "pool www".to_owned(),
        start_unix_ns: 1_700_000_000 * S,
        duration_ns: 10 * S,
        probes: crate::attach::probe_ids()
            .map(|id| (id.to_owned(), None))
            .collect(),
        watched: CATALOGUE.iter().map(|what| what.section).collect(),
        groups: vec![Served {
            group: pool.group.clone(),
            requests,
            incomplete: 0,
        }],
        ..Facts::default()
    };
    for (what, q) in [
        (&measures::WALL_P50, 0.5),
        (&measures::WALL_P90, 0.9),
        (&measures::WALL_P95, 0.95),
        (&measures::WALL_P99, 0.99),
    ] {
        let of = around(ms, requests);
        add(&mut facts, what, &pool, Sample::Quantile { of, q });
    }
    let sum = (requests * connects) as f64;
    let of = requests;
    add(
        &mut facts,
        &measures::CONNECTS,
        &pool,
        Sample::Mean { sum, of },
    );
    facts
}

/// The same a minute later.
pub fn later(mut facts: Facts) -> Facts {
    facts.start_unix_ns += 60 * S;
    facts
}

/// Adds a measurement.
pub fn add(facts: &mut Facts, what: &'static What, about: &About, sample: Sample) {
    facts.measures.push(Measure {
        what,
        about: about.clone(),
        sample,
    });
}

/// What has no group.
pub fn of(name: &str) -> About {
    About {
        group: String::new(),
        of: name.to_owned(),
    }
}

/// So many in the window.
pub fn events(count: u64) -> Sample {
    Sample::Events { count, ns: 10 * S }
}

/// Far beyond its rule's limit.
pub fn found(rule: &str, culprit: &str, severity: Severity) -> Found {
    Found {
        rule: rule.to_owned(),
        title: "Requests wait for one slow peer".to_owned(),
        severity,
        culprit: culprit.to_owned(),
        explains: 0.98,
        explains_what: "the time lost in requests".to_owned(),
        limits: vec![Limit {
            observed: 0.98,
            threshold: 0.5,
        }],
    }
}

/// Incident A, and what is left when its page is cached.
pub fn incident_a() -> (Facts, Facts) {
    let (mut before, mut after) = (facts(412, 9210.0, 24), later(facts(424, 48.0, 0)));
    before.findings = vec![
        found(
            "W01 blocking-upstream",
            "pool www, 203.0.113.5:443",
            Severity::Critical,
        ),
        found(
            "T03 accept-queue-overflow",
            "/run/php/php8.2-fpm.sock",
            Severity::Critical,
        ),
    ];
    let queue = of("/run/php/php8.2-fpm.sock");
    add(&mut before, &measures::OVERFLOWS, &queue, events(380));
    for (facts, last) in [(&mut before, 55_120), (&mut after, 4_210)] {
        let level = Sample::Level {
            last,
            least: last - 100,
            most: last,
        };
        add(facts, &measures::STATE, &of("TIME_WAIT"), level);
    }
    (before, after)
}
