//! `bench php`: what nginx and PHP-FPM still answer while they are watched, as a section of the page.

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{
    history::Key,
    report::{Spread, Verdict, head, values},
    section::{Section, Table},
};

/// Pages: name in the result, and in words.
const PAGES: [(&str, &str); 3] = [
    ("waits", "three calls that take their time"),
    ("torture", "24 calls that are answered at once"),
    ("computes", "no calls"),
];

/// Who watches: name in the result, and in words.
const VARIANTS: [(&str, &str); 3] = [
    ("again", "nothing attached, once more"),
    ("diagnose", "stallscope diagnose, all processes"),
    ("bpftrace", "bpftrace, connects and polls by name"),
];

/// Throughput lost on pages that wait, percent.
const LOST_PERCENT: f64 = 2.0;
/// What bpftrace's one-liner loses on a page that only calls, where it is not installed, percent.
const BPFTRACE_PERCENT: f64 = 6.0;

/// Judges what was measured.
pub fn section(measured: &Value) -> Result<Section> {
    let number = |key: &str| measured[key].as_u64().with_context(|| format!("no {key}"));
    let how = format!(
        "nginx, {} PHP-FPM workers, `wrk` with as many connections, the peers and whoever watches share the CPUs; slow calls take {} ms",
        number("workers")?,
        number("slow_ms")?
    );
    let keys = PAGES.iter().filter_map(|(page, name)| {
        let kept = kept(measured, "diagnose", page)?;
        Some(Key {
            name: format!("php: answered by nobody watched / by watched: {name}"),
            values: kept.iter().map(|share| 1.0 / share).collect(),
        })
    });
    Ok(Section {
        verb: "php",
        title: "nginx and PHP-FPM",
        head: head(measured, &how),
        tables: vec![table(measured)?],
        verdicts: verdicts(measured)?,
        keys: keys.collect(),
    })
}

/// In each round, what was answered over what was answered with nothing attached: before and after.
fn kept(measured: &Value, variant: &str, page: &str) -> Option<Vec<f64>> {
    let of = |variant: &str| values(&measured["per_s"][variant][page]);
    let (first, again, watched) = (of("nothing"), of("again"), of(variant));
    let alike = first.len() == again.len() && first.len() == watched.len() && !first.is_empty();
    let rounds = first.iter().zip(&again).zip(&watched);
    let share = |((first, again), watched): ((&f64, &f64), &f64)| match variant {
        "again" => again / first,
        _ => watched / f64::midpoint(*first, *again),
    };
    alike.then(|| rounds.map(share).collect())
}

fn table(measured: &Value) -> Result<Table> {
    let mut rows = Vec::new();
    let mut bare = vec!["nothing attached".to_owned()];
    for (page, _) in PAGES {
        let spread = Spread::of(&values(&measured["per_s"]["nothing"][page]));
        bare.push(spread.context("the result lacks rates")?.rounded());
    }
    rows.push(bare);
    for (variant, name) in VARIANTS {
        let cells: Option<Vec<String>> = PAGES
            .iter()
            .map(|(page, _)| {
                let share = Spread::of(&kept(measured, variant, page)?)?;
                let (least, most) = (share.least, share.most);
                Some(format!("x {:.3} ({least:.3}-{most:.3})", share.median))
            })
            .collect();
        let missing = || vec!["not measured: not installed".to_owned(); PAGES.len()];
        let mut row = vec![name.to_owned()];
        row.extend(cells.unwrap_or_else(missing));
        rows.push(row);
    }
    Ok(Table {
        caption: "Requests answered per second with nothing attached, median of the rounds (least-most), and what is left of them while watched: \
                  the ratio to the rounds' own mean of two blocks with nothing attached. How much these two differ says what a ratio is worth. Every \
                  request in nginx's log must be in the tool's report."
            .to_owned(),
        head: [""].into_iter().chain(PAGES.map(|(_, name)| name)).collect(),
        rows,
    })
}

fn verdicts(measured: &Value) -> Result<Vec<Verdict>> {
    let lost = |variant: &str, page: &str| {
        let share = Spread::of(&kept(measured, variant, page)?)?.median;
        Some((1.0 - share) * 100.0)
    };
    let of = |page: &str| lost("diagnose", page).context("the result lacks rates");
    let bpftrace = lost("bpftrace", "torture").unwrap_or(BPFTRACE_PERCENT);
    Ok(vec![
        Verdict {
            what: "throughput lost to stallscope, pages that wait".to_owned(),
            got: of("waits")?,
            limit: LOST_PERCENT,
            unit: " %",
        },
        Verdict {
            what: "throughput lost to stallscope, 24 calls at once; the limit: to bpftrace"
                .to_owned(),
            got: of("torture")?,
            limit: (bpftrace * 100.0).round() / 100.0,
            unit: " %",
        },
    ])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn measured(waits: f64, torture: f64) -> Value {
        let row = |waits: f64, torture: f64| json!({ "waits": [waits, waits / 2.0], "torture": [torture, torture], "computes": [9.0, 9.0] });
        json!({
            "rounds": 2, "cpus": 2, "processor": "x", "kernel": "6.1", "load": 0.1, "workers": 16, "slow_ms": 5,
            "blocks": 6, "disturbed_blocks": 0, "bpftrace": "bpftrace v0",
            "per_s": {
                "nothing": row(1000.0, 100.0), "again": row(1000.0, 100.0),
                "diagnose": row(waits, torture), "bpftrace": row(1000.0, 95.0),
            },
        })
    }

    #[test]
    fn what_is_lost_is_judged_by_rounds() {
        let found = section(&measured(990.0, 96.0)).unwrap();
        assert_eq!(found.missed(), 0);
        let text = found.text();
        assert!(text.contains("x 0.990 (0.990-0.990)"), "{text}");
        assert!(text.contains("| 4.00 % | 5 % | met |"), "{text}");
        // 2.5 % where 2 may be lost, and 6 where bpftrace loses 5.
        assert_eq!(section(&measured(975.0, 94.0)).unwrap().missed(), 2);
    }

    #[test]
    fn a_tool_that_is_not_installed_is_said_to_be() {
        let mut alone = measured(990.0, 93.9);
        alone["per_s"]["bpftrace"] = Value::Null;
        let found = section(&alone).unwrap();
        assert_eq!(found.missed(), 1);
        assert!(found.text().contains("not measured: not installed"));
        assert!(section(&json!({})).is_err());
    }
}
