//! A section of docs/bench.md: tables and verdicts of one measurement, as text and on the page.

use std::fmt::Write as _;

use serde_json::Value;

use super::{
    history::Key,
    report::{Spread, Verdict, values},
};

/// Everything that is printed.
pub struct Section {
    /// The verb that measures it.
    pub verb: &'static str,
    /// Its heading.
    pub title: &'static str,
    /// On what it was measured.
    pub head: Vec<String>,
    /// What was measured.
    pub tables: Vec<Table>,
    /// What was to be reached.
    pub verdicts: Vec<Verdict>,
    /// What is kept, to be compared with later runs.
    pub keys: Vec<Key>,
}

/// A table.
pub struct Table {
    /// What it shows.
    pub caption: String,
    /// Titles of the columns.
    pub head: Vec<&'static str>,
    /// Its rows.
    pub rows: Vec<Vec<String>>,
}

impl Section {
    /// How many goals are missed.
    pub fn missed(&self) -> usize {
        self.verdicts.iter().filter(|v| !v.met()).count()
    }

    /// Markdown, which a terminal shows as well.
    pub fn text(&self) -> String {
        let mut out = format!("## {}\n\n", self.title);
        for line in &self.head {
            let _ = writeln!(out, "- {line}");
        }
        for table in &self.tables {
            let _ = writeln!(out, "\n{}\n\n| {} |", table.caption, table.head.join(" | "));
            let _ = writeln!(out, "{}|", "|---".repeat(table.head.len()));
            for row in &table.rows {
                let _ = writeln!(out, "| {} |", row.join(" | "));
            }
        }
        out.push_str("\n| goal | measured | at most | |\n|---|---|---|---|\n");
        for v in &self.verdicts {
            let verdict = if v.met() { "met" } else { "**missed**" };
            let (what, got, limit, unit) = (&v.what, v.got, v.limit, v.unit);
            let _ = writeln!(
                out,
                "| {what} | {got:.2}{unit} | {limit}{unit} | {verdict} |"
            );
        }
        out
    }

    /// The page with this section instead of its last one. What is around it is left as it is.
    pub fn page(&self, old: &str) -> String {
        let begin = format!("<!-- Written by `cargo xtask bench {}`. -->", self.verb);
        let end = format!(
            "<!-- End of what `cargo xtask bench {}` writes. -->",
            self.verb
        );
        let section = format!("{begin}\n\n{}\n{end}\n", self.text());
        let parts = old.split_once(&begin).and_then(|(before, rest)| {
            let (_, after) = rest.split_once(&end)?;
            Some((before, after.strip_prefix('\n').unwrap_or(after)))
        });
        match parts {
            Some((before, after)) => format!("{before}{section}{after}"),
            None => format!("{}\n\n{section}", old.trim_end()),
        }
    }
}

/// `change` of the two values of each round; nothing where not all rounds have both.
pub fn by_rounds(a: &Value, b: &Value, change: impl Fn(f64, f64) -> f64) -> Vec<f64> {
    let (a, b) = (values(a), values(b));
    if a.len() != b.len() {
        return Vec::new();
    }
    a.iter().zip(&b).map(|(a, b)| change(*a, *b)).collect()
}

/// The ratios of the rounds.
pub fn ratios(a: &Value, b: &Value) -> Vec<f64> {
    by_rounds(a, b, |a, b| a / b)
}

/// Median over the rounds of `change` of the two values of each round.
pub fn in_rounds(a: &Value, b: &Value, change: impl Fn(f64, f64) -> f64) -> Option<f64> {
    Spread::of(&by_rounds(a, b, change)).map(|s| s.median)
}

/// A number with so many digits, or that there is none.
pub fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |v| format!("{v:.digits$}"))
}
