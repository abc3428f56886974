//! The table of `stallscope count`: calls by process name, with what they returned and how long they took.

use std::collections::BTreeMap;

use probe_common::count::{CountKey, WaitSum};
use serde::Serialize;

use super::{
    Style, errno, escape,
    json::{self, Bucket, Host, LossJson, SCHEMA_VERSION, Tool, WindowJson, buckets},
    layout::{cell, right},
    style::Tone,
    units::{count, duration, rate},
};
use crate::{aggregate::Durations, collect::Count, diagnose};

/// Rows that text shows; the JSON document has all.
const ROWS: usize = 60;
/// Results of a row that text shows.
const RESULTS: usize = 4;

/// What was counted.
#[derive(Clone, Debug, Default)]
pub struct Counted {
    /// Host name.
    pub host: String,
    /// Kernel release.
    pub kernel: String,
    /// What was watched, in words.
    pub target: String,
    /// Start, ns since the Unix epoch.
    pub start_unix_ns: u64,
    /// How long was counted, ns.
    pub duration_ns: u64,
    /// The system calls that were asked for: number and name, in the order asked for.
    pub syscalls: Vec<(u32, String)>,
    /// Counts by process name, call and result (as `Collector::counts` gives them).
    pub counts: Vec<Count>,
    /// Durations, when they were asked for (as `Collector::waits` gives them).
    pub waits: Vec<(CountKey, WaitSum)>,
    /// Lost, by [`probe_common::loss::slot`].
    pub losses: Vec<u64>,
}

/// All calls of one name by processes of one name.
#[derive(Default)]
struct Row {
    count: u64,
    /// By errno, 0 for success; most first.
    results: Vec<(u32, u64)>,
    waits: Durations,
    waited_ns: u64,
    max_ns: u64,
}

impl Counted {
    /// Rows by process name (most calls first) and call (in the order asked for).
    fn rows(&self) -> Vec<(Vec<u8>, &str, Row)> {
        let mut rows: BTreeMap<(Vec<u8>, u32), Row> = BTreeMap::new();
        for c in self.counts.iter().filter(|c| c.count > 0) {
            let row = rows.entry((comm(&c.key), c.key.nr)).or_default();
            row.count += c.count;
            match row.results.iter_mut().find(|r| r.0 == c.key.errno) {
                Some(result) => result.1 += c.count,
                None => row.results.push((c.key.errno, c.count)),
            }
        }
        for (key, wait) in self.waits.iter().filter(|w| w.1.count > 0) {
            let row = rows.entry((comm(key), key.nr)).or_default();
            row.waits.add_kernel(&wait.hist, wait.max_ns);
            row.waited_ns += wait.total_ns;
            row.max_ns = row.max_ns.max(wait.max_ns);
        }
        let mut by_name: BTreeMap<&[u8], u64> = BTreeMap::new();
        for ((name, _), row) in &rows {
            *by_name.entry(name).or_default() += row.count;
        }
        let by_name: BTreeMap<Vec<u8>, u64> = by_name
            .into_iter()
            .map(|(name, n)| (name.to_vec(), n))
            .collect();
        let place = |nr| {
            self.syscalls
                .iter()
                .position(|s| s.0 == nr)
                .unwrap_or(usize::MAX)
        };
        let mut rows: Vec<_> = rows.into_iter().collect();
        rows.sort_by(|((a, a_nr), _), ((b, b_nr), _)| {
            by_name
                .get(b)
                .cmp(&by_name.get(a))
                .then(a.cmp(b))
                .then(place(*a_nr).cmp(&place(*b_nr)))
        });
        rows.into_iter()
            .map(|((name, nr), mut row)| {
                row.results
                    .sort_by_key(|&(errno, n)| (std::cmp::Reverse(n), errno));
                let call = self
                    .syscalls
                    .iter()
                    .find(|s| s.0 == nr)
                    .map_or("?", |s| s.1.as_str());
                (name, call, row)
            })
            .collect()
    }
}

fn comm(key: &CountKey) -> Vec<u8> {
    key.comm.iter().copied().take_while(|b| *b != 0).collect()
}

/// The table as text; ends with a newline.
pub fn text(counted: &Counted, style: Style) -> String {
    let rows = counted.rows();
    let mut out = String::new();
    let names: Vec<String> = rows.iter().map(|r| escape::bounded(&r.0, 24)).collect();
    let name_width = names.iter().map(|n| n.chars().count()).max().unwrap_or(0);
    let call_width = rows.iter().map(|r| r.1.len()).max().unwrap_or(0);
    let counts: Vec<(String, String)> = rows
        .iter()
        .map(|r| (count(r.2.count), rate(r.2.count, counted.duration_ns)))
        .collect();
    let count_width = counts.iter().map(|c| c.0.len()).max().unwrap_or(0);
    let rate_width = counts.iter().map(|c| c.1.len()).max().unwrap_or(0);
    for (n, (_, call, row)) in rows.iter().enumerate().take(ROWS) {
        let line = format!(
            "{}   {}   {}   {}   {}",
            cell(&names[n], name_width),
            cell(call, call_width),
            right(&counts[n].0, count_width),
            right(&counts[n].1, rate_width),
            outcome(row)
        );
        out.push_str(line.trim_end());
        out.push('\n');
    }
    if rows.len() > ROWS {
        out.push_str(&format!(
            "and {} more rows; --json has them all\n",
            rows.len() - ROWS
        ));
    }
    for (_, name) in &counted.syscalls {
        if !rows.iter().any(|r| r.1 == name) {
            let seconds = counted.duration_ns as f64 / 1e9;
            let target = escape::bounded(counted.target.as_bytes(), 64);
            out.push_str(&format!(
                "no call of {name} in {seconds:.1} s by {target}\n"
            ));
        }
    }
    for loss in diagnose::losses(&counted.losses) {
        let line = format!("lost: {} {}: {}", count(loss.count), loss.what, loss.means);
        out.push_str(&style.paint(Tone::Warning, &line));
        out.push('\n');
    }
    out
}

/// What the calls returned, unless all succeeded, and how long they took, where that was measured.
fn outcome(row: &Row) -> String {
    let mut pieces = Vec::new();
    if row.results.iter().any(|r| r.0 != 0) {
        for &(errno, n) in row.results.iter().take(RESULTS) {
            let name = if errno == 0 {
                "ok".to_owned()
            } else {
                errno::name(errno)
            };
            pieces.push(format!("{name} {}", count(n)));
        }
        let more: u64 = row.results.iter().skip(RESULTS).map(|r| r.1).sum();
        if more > 0 {
            pieces.push(format!("others {}", count(more)));
        }
    }
    if !row.waits.is_empty() {
        pieces.push(format!("waited p50 {}", duration(row.waits.quantile(0.5))));
        pieces.push(format!("p99 {}", duration(row.waits.quantile(0.99))));
        pieces.push(format!("max {}", duration(row.max_ns)));
    }
    pieces.join("  ")
}

#[derive(Serialize)]
struct Document {
    schema_version: &'static str,
    tool: Tool,
    host: Host,
    window: WindowJson,
    counts: Vec<RowJson>,
    losses: Vec<LossJson>,
}

#[derive(Serialize)]
struct RowJson {
    #[serde(rename = "process.executable.name")]
    comm: String,
    syscall: String,
    count: u64,
    per_second: f64,
    results: Vec<ResultJson>,
    /// Null when durations were not asked for.
    wait: Option<WaitJson>,
}

#[derive(Serialize)]
struct ResultJson {
    /// Null for success.
    #[serde(rename = "error.type")]
    error: Option<String>,
    count: u64,
}

#[derive(Serialize)]
struct WaitJson {
    count: u64,
    total_ns: u64,
    max_ns: u64,
    duration: Vec<Bucket>,
}

/// One JSON document; ends with a newline.
pub fn json(counted: &Counted) -> String {
    let rows = counted.rows().into_iter().map(|(comm, call, row)| RowJson {
        comm: escape::name(&comm),
        syscall: call.to_owned(),
        count: row.count,
        per_second: row.count as f64 * 1e9 / counted.duration_ns.max(1) as f64,
        results: row
            .results
            .iter()
            .map(|&(errno, count)| ResultJson {
                error: (errno != 0).then(|| errno::name(errno)),
                count,
            })
            .collect(),
        wait: (!row.waits.is_empty()).then(|| WaitJson {
            count: row.waits.len(),
            total_ns: row.waited_ns,
            max_ns: row.max_ns,
            duration: buckets(&row.waits),
        }),
    });
    json::line(&Document {
        schema_version: SCHEMA_VERSION,
        tool: Tool::this(),
        host: Host::of(&counted.host, &counted.kernel),
        window: WindowJson::new(counted.start_unix_ns, counted.duration_ns, &counted.target),
        counts: rows.collect(),
        losses: json::losses(&counted.losses),
    })
}

#[cfg(test)]
mod tests {
    use probe_common::{hist, loss::slot};

    use super::*;
    use crate::aggregate::fixture::{MS, S, comm};

    fn counted() -> Counted {
        let count = |name: &[u8], nr, errno, count| Count {
            key: CountKey {
                comm: comm(name),
                nr,
                errno,
            },
            count,
        };
        let mut wait = WaitSum {
            count: 72_428,
            total_ns: S,
            max_ns: 1900 * MS,
            ..WaitSum::ZERO
        };
        wait.hist[hist::bucket(182 * MS) as usize] = 72_428;
        Counted {
            host: "web-07".to_owned(),
            kernel: "6.1.0".to_owned(),
            target: "pool www".to_owned(),
            start_unix_ns: 0,
            duration_ns: 5 * S,
            syscalls: vec![(42, "connect".to_owned()), (7, "poll".to_owned())],
            counts: vec![
                count(b"php-fpm", 7, 0, 72_428),
                count(b"php-fpm", 42, 0, 13),
                count(b"php-fpm", 42, 115, 36_201),
                count(b"\x1b[2J", 42, 0, 1),
            ],
            waits: vec![(
                CountKey {
                    comm: comm(b"php-fpm"),
                    nr: 7,
                    errno: 0,
                },
                wait,
            )],
            losses: Vec::new(),
        }
    }

    #[test]
    fn the_table_of_incident_a() {
        let table = "\
php-fpm   connect   36,214    7,242.8/s   EINPROGRESS 36,201  ok 13
php-fpm   poll      72,428   14,485.6/s   waited p50 176 ms  p99 184 ms  max 1.90 s
\\x1b[2J   connect        1        0.2/s
";
        assert_eq!(text(&counted(), Style::default()), table);
    }

    #[test]
    fn a_call_that_no_one_made_and_what_was_lost_are_said() {
        let mut losses = vec![0; slot::COUNT as usize];
        losses[slot::COUNTS_FULL as usize] = 4;
        let none = Counted {
            counts: Vec::new(),
            waits: Vec::new(),
            losses,
            ..counted()
        };
        let said = "\
no call of connect in 5.0 s by pool www
no call of poll in 5.0 s by pool www
lost: 4 calls not counted: the counting table was full: counts are too low
";
        assert_eq!(text(&none, Style::default()), said);
    }

    #[test]
    fn the_document_has_every_result_and_the_buckets() {
        let v: serde_json::Value = serde_json::from_str(&json(&counted())).expect("it is JSON");
        assert_eq!(v["schema_version"], SCHEMA_VERSION);
        let connect = &v["counts"][0];
        assert_eq!(connect["process.executable.name"], "php-fpm");
        assert_eq!(
            (&connect["syscall"], &connect["count"]),
            (&"connect".into(), &36_214.into())
        );
        assert_eq!(connect["results"][0]["error.type"], "EINPROGRESS");
        assert_eq!(connect["results"][1]["error.type"], serde_json::Value::Null);
        assert_eq!(v["counts"][1]["wait"]["duration"][0]["count"], 72_428);
    }
}
