//! What a comparison says, and what it does not.

use super::{
    fixture::{S, add, around, events, facts, found, incident_a, later, of},
    *,
};
use crate::diagnose::Severity;

fn verdict(before: &Facts, after: &Facts) -> Verdict {
    compare(before, after).verdict
}

fn judged(c: &Comparison, what: &What) -> Option<Judged> {
    let row = c.rows.iter().find(|r| r.what.id == what.id);
    row.map(|r| r.judged)
}

#[test]
fn what_was_mended_is_better_and_the_other_way_round_worse() {
    let (before, after) = incident_a();
    let c = compare(&before, &after);
    assert_eq!(c.verdict, Verdict::Better);
    assert_eq!(judged(&c, &measures::WALL_P50), Some(Judged::Better));
    assert_eq!(judged(&c, &measures::WALL_P95), Some(Judged::Better));
    // Fewer connects explain it; they are not the gain.
    assert_eq!(judged(&c, &measures::CONNECTS), Some(Judged::Lower));
    assert_eq!(judged(&c, &measures::STATE), Some(Judged::Lower));
    // A queue that is in no row after had no overflow after.
    assert_eq!(judged(&c, &measures::OVERFLOWS), Some(Judged::Better));
    let headline = &c.rows[c.headline.unwrap()];
    assert_eq!(headline.what.id, measures::WALL_P95.id);
    let gone: Vec<_> = c.findings.iter().map(|f| (f.fate, f.better)).collect();
    assert_eq!(gone, [(Fate::Gone, Some(true)); 2]);
    assert!(c.load.same && c.notes.is_empty(), "{:?}", c.notes);

    let back = compare(&after, &before);
    assert_eq!(back.verdict, Verdict::Worse);
    assert_eq!(judged(&back, &measures::WALL_P95), Some(Judged::Worse));
    assert_eq!(back.findings[0].fate, Fate::New);
    assert_eq!(back.notes, [Note::Swapped]);
}

#[test]
fn the_same_run_is_the_same() {
    let (before, _) = incident_a();
    let c = compare(&before, &before);
    assert_eq!(c.verdict, Verdict::Same);
    assert_eq!(c.notes, [Note::SameRun]);
    assert!(c.findings.iter().all(|f| f.fate == Fate::Stayed));
    assert_eq!(judged(&c, &measures::WALL_P95), Some(Judged::Alike));
}

#[test]
fn what_chance_may_have_made_is_the_same() {
    // 20 % more, of ten requests each that vary by 10 %.
    let few = compare(&facts(10, 100.0, 24), &later(facts(10, 115.0, 24)));
    assert_eq!(few.verdict, Verdict::Same);
    assert_eq!(judged(&few, &measures::WALL_P50), Some(Judged::Chance));
    // The same of a thousand is none.
    let many = compare(&facts(1000, 100.0, 24), &later(facts(1000, 115.0, 24)));
    assert_eq!(many.verdict, Verdict::Worse);
    // However many: 5 % is no matter.
    let sure = compare(&facts(5000, 100.0, 24), &later(facts(5000, 105.0, 24)));
    assert_eq!(
        (sure.verdict, judged(&sure, &measures::WALL_P50)),
        (Verdict::Same, Some(Judged::Alike))
    );
}

#[test]
fn a_percentile_is_not_judged_by_fewer_requests_than_it_takes() {
    // Half the time in half the requests; that the 95th percentile is below the longest takes 104.
    let c = compare(&facts(40, 200.0, 24), &later(facts(40, 100.0, 24)));
    assert_eq!(judged(&c, &measures::WALL_P50), Some(Judged::Better));
    assert_eq!(judged(&c, &measures::WALL_P95), Some(Judged::Chance));
    assert_eq!(c.verdict, Verdict::Better);
}

#[test]
fn some_of_both_is_mixed() {
    let (mut before, mut after) = incident_a();
    after.findings = vec![found("U02 dns-storm", "pool www", Severity::Warning)];
    assert_eq!(verdict(&before, &after), Verdict::Mixed);
    // One that is only worth knowing does not count.
    after.findings[0].severity = Severity::Info;
    assert_eq!(verdict(&before, &after), Verdict::Better);
    after.findings.clear();
    add(
        &mut after,
        &measures::DROPS,
        &of("127.0.0.1:8125"),
        events(500),
    );
    let c = compare(&before, &after);
    assert_eq!(c.verdict, Verdict::Mixed);
    // What is worse is said first.
    assert_eq!(c.rows[c.headline.unwrap()].what.id, measures::DROPS.id);
    // Were there as many before, nothing is worse.
    add(
        &mut before,
        &measures::DROPS,
        &of("127.0.0.1:8125"),
        events(450),
    );
    assert_eq!(verdict(&before, &after), Verdict::Better);
}

#[test]
fn rates_of_what_comes_in_bursts_must_double() {
    let with = |count| {
        let mut facts = facts(400, 50.0, 0);
        add(
            &mut facts,
            &measures::DROPS,
            &of("127.0.0.1:8125"),
            events(count),
        );
        facts
    };
    let against = |a, b| verdict(&with(a), &later(with(b)));
    assert_eq!(against(1000, 1900), Verdict::Same);
    assert_eq!(against(1000, 2100), Verdict::Worse);
    // Twice a few may be chance.
    assert_eq!(against(3, 7), Verdict::Same);
}

#[test]
fn under_another_load_rates_are_not_compared_but_requests_are() {
    let with = |requests, ms, drops| {
        let mut facts = facts(requests, ms, 24);
        add(
            &mut facts,
            &measures::DROPS,
            &of("127.0.0.1:8125"),
            events(drops),
        );
        facts
    };
    let c = compare(&with(400, 100.0, 1000), &later(with(2000, 100.0, 5000)));
    assert!(!c.load.same);
    assert_eq!(judged(&c, &measures::DROPS), Some(Judged::Load));
    assert_eq!(c.verdict, Verdict::Same);
    let c = compare(&with(400, 100.0, 1000), &later(with(2000, 20.0, 5000)));
    assert_eq!(c.verdict, Verdict::Better);
    // Against the load, a change is one all the more.
    let c = compare(&with(400, 100.0, 5000), &later(with(2000, 100.0, 1000)));
    assert_eq!(judged(&c, &measures::DROPS), Some(Judged::Better));
    // 3 % are the same load.
    assert!(
        compare(&with(400, 1.0, 0), &later(with(412, 1.0, 0)))
            .load
            .same
    );
}

#[test]
fn requests_on_one_side_only_cannot_be_compared() {
    let idle = later(facts(0, 1.0, 0));
    let c = compare(&facts(412, 9210.0, 24), &idle);
    assert_eq!(c.verdict, Verdict::NotComparable);
    assert_eq!(
        c.obstacles,
        [Obstacle::RequestsOnOneSide {
            side: Side::Before,
            group: "pool www".to_owned(),
            requests: 412
        }]
    );
    // A finding that is gone for want of requests is no gain.
    let (before, _) = incident_a();
    assert_eq!(verdict(&before, &idle), Verdict::NotComparable);

    let mut other = later(facts(400, 50.0, 0));
    other.groups[0].group = "pool shop".to_owned();
    assert!(matches!(
        compare(&facts(400, 50.0, 0), &other).obstacles[..],
        [Obstacle::NoGroupInCommon { .. }]
    ));
}

#[test]
fn made_up_names_cannot_be_compared() {
    let (before, mut after) = incident_a();
    after.redacted = true;
    assert_eq!(compare(&before, &after).obstacles, [Obstacle::Redacted]);
    // In one and the same run they are the same.
    assert_eq!(verdict(&after, &after), Verdict::Same);
}

#[test]
fn too_few_requests_are_not_the_same() {
    let c = compare(&facts(5, 100.0, 24), &later(facts(3, 100.0, 24)));
    assert_eq!(
        c.obstacles,
        [Obstacle::TooFewRequests {
            before: 5,
            after: 3,
            needed: 8
        }]
    );
    // What is beyond doubt all the same is said.
    let (mut before, after) = incident_a();
    before.groups[0].requests = 5;
    assert_eq!(verdict(&before, &after), Verdict::Better);
    // No requests on either side, as when only sockets were watched: these are compared.
    let (none, mut drops) = (facts(0, 1.0, 0), later(facts(0, 1.0, 0)));
    assert_eq!(verdict(&none, &drops), Verdict::Same);
    add(
        &mut drops,
        &measures::DROPS,
        &of("127.0.0.1:8125"),
        events(500),
    );
    assert_eq!(verdict(&none, &drops), Verdict::Worse);
}

#[test]
fn what_one_side_could_not_see_is_not_compared_and_said() {
    let (mut before, after) = incident_a();
    let overflow = before
        .measures
        .iter()
        .position(|m| m.what.id == "listen_overflows");
    assert!(overflow.is_some());
    let probe = before
        .probes
        .iter_mut()
        .find(|p| p.0 == "tcp_census")
        .unwrap();
    probe.1 = Some("no BTF".to_owned());
    let c = compare(&before, &after);
    assert_eq!(judged(&c, &measures::OVERFLOWS), None);
    assert_eq!(judged(&c, &measures::STATE), None);
    assert_eq!(
        c.notes,
        [Note::ProbeOff {
            side: Side::Before,
            probe: "tcp_census".to_owned(),
            why: "no BTF".to_owned()
        }]
    );
    // A section that a report does not have at all.
    let (before, mut after) = incident_a();
    after.watched.remove(&Section::Tcp);
    assert_eq!(judged(&compare(&before, &after), &measures::STATE), None);
}

#[test]
fn a_finding_whose_rule_could_not_look_is_not_gone() {
    let (mut before, mut after) = incident_a();
    (before.measures, after.measures) = (Vec::new(), Vec::new());
    let no = |rule: &str| (rule.to_owned(), "probe tcp_census is off".to_owned());
    before.findings.remove(0);
    after.not_judged = vec![no("T03 accept-queue-overflow")];
    let c = compare(&before, &after);
    assert_eq!(
        (c.findings[0].fate, c.findings[0].better),
        (Fate::Gone, None)
    );
    assert!(matches!(c.findings[0].doubt, Some(Doubt::NotJudged(_))));
    assert_eq!(c.verdict, Verdict::Same);
    // What neither could judge does not matter.
    before.not_judged = after.not_judged.clone();
    assert_eq!(verdict(&before, &after), Verdict::Better);
}

#[test]
fn a_finding_at_its_limit_comes_and_goes_by_chance() {
    let (mut before, after) = (facts(400, 50.0, 24), later(facts(400, 50.0, 24)));
    before.findings = vec![found(
        "W01 blocking-upstream",
        "pool www",
        Severity::Warning,
    )];
    assert_eq!(verdict(&before, &after), Verdict::Better);
    before.findings[0].limits[0].observed = 0.53;
    let c = compare(&before, &after);
    assert_eq!(
        (c.verdict, &c.findings[0].doubt),
        (Verdict::Same, &Some(Doubt::AtItsLimit))
    );
    // One refused call where one is enough.
    before.findings[0].limits[0] = Limit {
        observed: 2.0,
        threshold: 1.0,
    };
    assert_eq!(verdict(&before, &after), Verdict::Same);
}

#[test]
fn a_finding_that_stays_counts_when_it_is_milder_or_graver() {
    let with = |severity| {
        let mut facts = facts(400, 50.0, 24);
        facts.findings = vec![found("W01 blocking-upstream", "pool www", severity)];
        facts
    };
    let against = |a, b| verdict(&with(a), &later(with(b)));
    assert_eq!(
        against(Severity::Critical, Severity::Warning),
        Verdict::Better
    );
    assert_eq!(
        against(Severity::Warning, Severity::Critical),
        Verdict::Worse
    );
    assert_eq!(against(Severity::Warning, Severity::Warning), Verdict::Same);
    // Another culprit is another finding.
    let mut other = later(with(Severity::Warning));
    other.findings[0].culprit = "pool shop".to_owned();
    let c = compare(&with(Severity::Warning), &other);
    let fates: Vec<_> = c.findings.iter().map(|f| f.fate).collect();
    assert_eq!(
        (fates, c.verdict),
        (vec![Fate::Gone, Fate::New], Verdict::Mixed)
    );
}

#[test]
fn findings_alike_in_rule_and_culprit_are_matched_one_by_one() {
    let with = |n: usize| {
        let mut facts = facts(400, 50.0, 24);
        facts.findings = vec![found("T04 listener-gap", "127.0.0.1:80", Severity::Warning); n];
        facts
    };
    let fates = |a, b| {
        let c = compare(&with(a), &later(with(b)));
        let count = |fate| c.findings.iter().filter(|f| f.fate == fate).count();
        [Fate::Gone, Fate::New, Fate::Stayed].map(count)
    };
    assert_eq!(fates(2, 2), [0, 0, 2]);
    assert_eq!(fates(3, 1), [2, 0, 1]);
    assert_eq!(fates(1, 3), [0, 2, 1]);
}

#[test]
fn what_differs_about_the_runs_is_said() {
    let before = facts(400, 50.0, 24);
    let mut after = facts(4000, 50.0, 24);
    after.host = "web-08".to_owned();
    after.target = "all processes".to_owned();
    after.kernel = "6.6.0".to_owned();
    after.tool_version = "0.2.0".to_owned();
    after.duration_ns = 100 * S;
    after.start_unix_ns += 5 * S;
    after.losses = vec![("requests not delivered".into(), "too few".into(), 3)];
    after.groups.push(Served {
        group: "cron".to_owned(),
        requests: 7,
        incomplete: 1,
    });
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    let (hosts, targets) = (pair("web-07", "web-08"), pair("pool www", "all processes"));
    let (kernels, versions) = (pair("6.1.0", "6.6.0"), pair("0.1.0", "0.2.0"));
    assert_eq!(
        compare(&before, &after).notes,
        [
            Note::Hosts(hosts.0, hosts.1),
            Note::Targets(targets.0, targets.1),
            Note::Kernels(kernels.0, kernels.1),
            Note::Versions(versions.0, versions.1),
            Note::Lengths(10 * S, 100 * S),
            Note::Lost {
                side: Side::After,
                what: "requests not delivered".to_owned(),
                means: "too few".to_owned(),
                count: 3
            },
            Note::GroupOnOneSide {
                side: Side::After,
                group: "cron".to_owned(),
                requests: 8
            },
        ]
    );
    after.host = before.host.clone();
    assert!(compare(&before, &after).notes.contains(&Note::Overlap));
}

#[test]
fn what_has_the_same_name_is_one() {
    let twice = |n: u64| {
        let mut facts = facts(400, 50.0, 24);
        for _ in 0..n {
            add(
                &mut facts,
                &measures::DROPS,
                &of("127.0.0.1:8125"),
                events(100),
            );
        }
        facts
    };
    let c = compare(&twice(1), &later(twice(5)));
    let rows: Vec<_> = c
        .rows
        .iter()
        .filter(|r| r.what.id == measures::DROPS.id)
        .collect();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].after.unwrap().value, 50.0);
    assert_eq!(c.verdict, Verdict::Worse);
    let mut sum = Sample::Quantile {
        of: around(10.0, 5),
        q: 0.5,
    };
    sum.add(&Sample::Quantile {
        of: around(10.0, 5),
        q: 0.5,
    });
    assert!(matches!(sum, Sample::Quantile { of, .. } if of.len() == 10));
}

/// Two runs of one thing are called different in at most one of a hundred cases: drawn from one law, a long-tailed one.
#[test]
fn two_draws_from_one_law_are_the_same() {
    let mut seed = 1u64;
    let mut uniform = || {
        // xorshift64*: any generator will do, and this one is always the same.
        seed ^= seed >> 12;
        seed ^= seed << 25;
        seed ^= seed >> 27;
        (seed.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1u64 << 53) as f64
    };
    let mut draw = |n: u64| {
        let mut side = facts(n, 50.0, 24);
        let mut spans = Vec::new();
        for _ in 0..n {
            // Log-normal-like, with a tail: mostly 20 to 80 ms.
            let bell = (0..12).map(|_| uniform()).sum::<f64>() - 6.0;
            let at = 40e6 * (0.6 * bell).exp();
            spans.push(Span {
                low_ns: at,
                high_ns: at * 1.01,
                count: 1,
            });
        }
        let drawn = Distribution::new(spans);
        for m in &mut side.measures {
            if let Sample::Quantile { of, .. } = &mut m.sample {
                of.clone_from(&drawn);
            }
        }
        side
    };
    for n in [20, 200, 1500] {
        let different = (0..200)
            .filter(|_| verdict(&draw(n), &later(draw(n))) != Verdict::Same)
            .count();
        assert!(different <= 2, "{different} of 200 with {n} requests");
    }
}
