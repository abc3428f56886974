//! What the sections of the page share: verdicts, medians of rounds, and on what it was measured.

use serde_json::Value;

/// Largest resident memory while diagnosing, MB.
pub const RSS_MB: f64 = 20.0;

/// A goal with its number.
pub struct Verdict {
    /// What is held to it.
    pub what: String,
    /// What was measured.
    pub got: f64,
    /// The most that it may be.
    pub limit: f64,
    /// Of both.
    pub unit: &'static str,
}

impl Verdict {
    /// Is it within the limit?
    pub fn met(&self) -> bool {
        self.got <= self.limit
    }
}

/// Median and extremes of the rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// Half are less.
    pub median: f64,
    /// None is less.
    pub least: f64,
    /// None is more.
    pub most: f64,
}

impl Spread {
    /// Of some values; `None` of none.
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let median = match sorted.len() {
            0 => return None,
            n if n % 2 == 1 => sorted[middle],
            _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
        };
        Some(Self {
            median,
            least: sorted[0],
            most: sorted[sorted.len() - 1],
        })
    }

    /// `median (least-most)`, in whole numbers.
    pub fn rounded(&self) -> String {
        format!("{:.0} ({:.0}-{:.0})", self.median, self.least, self.most)
    }
}

/// The numbers of a list.
pub fn values(list: &Value) -> Vec<f64> {
    let list = list.as_array().map_or(&[][..], Vec::as_slice);
    list.iter().filter_map(Value::as_f64).collect()
}

/// With less of its CPU time taken away, a share, a machine is steady enough for medians of ratios.
const STOLEN: f64 = 0.02;

/// On what, how, and what stood in the way.
pub fn head(measured: &Value, how: &str) -> Vec<String> {
    let text = |key: &str| measured[key].as_str().unwrap_or("unknown").to_owned();
    let mut lines = vec![
        format!(
            "machine: {} CPUs, {}, Linux {}",
            measured["cpus"],
            text("processor"),
            text("kernel")
        ),
        format!(
            "{} rounds, {how}; load average at the end {}",
            measured["rounds"], measured["load"]
        ),
    ];
    match measured.get("bpftrace").map(Value::as_str) {
        // It takes no part.
        None => {}
        Some(Some(version)) => lines.push(version.to_owned()),
        Some(None) => lines.push("bpftrace is not installed: its rows are left out (`cargo xtask setup --tests` installs it)".into()),
    }
    if let Some(n @ 1..) = measured["disturbed_blocks"].as_u64() {
        lines.push(format!(
            "DISTURBED: in {n} of {} blocks other tracing programs were loaded on this machine, which adds to every number",
            measured["blocks"]
        ));
    }
    if let Some(stolen @ STOLEN..) = measured["stolen"].as_f64() {
        lines.push(format!(
            "DISTURBED: the hypervisor took {:.0} % of the CPU time, which adds to every time",
            stolen * 100.0
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        let spread = Spread::of(&[4.0, 1.0, 2.0, 3.0]).unwrap();
        assert_eq!(
            spread,
            Spread {
                median: 2.5,
                least: 1.0,
                most: 4.0
            }
        );
        assert_eq!(Spread::of(&[]), None);
    }
}
