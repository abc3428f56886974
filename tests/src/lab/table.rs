//! A table of runs, as text and as Markdown.

use std::time::Duration;

use super::{Fault, Outcome};
use crate::stolen;

/// A run in short.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// The scenario.
    pub name: String,
    /// Its seed.
    pub seed: u64,
    /// The rules of the first findings at warning or above, in order; `silence` where there are none.
    pub found: String,
    /// Its numbers beside those of others.
    pub truths: Vec<String>,
    /// What is wrong; nothing: it is as it should be.
    pub faults: Vec<Fault>,
    /// How long it took.
    pub took: Duration,
    /// Share of the CPU time that the hypervisor took away meanwhile, see [`stolen`].
    pub stolen: f64,
}

/// What is thought of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All is as it should be.
    Good,
    /// Not all is, but the machine was taken away meanwhile, which may be why: not judged.
    Disturbed,
    /// Not all is.
    Wrong,
}

impl Row {
    /// Of what came of it.
    pub fn of(outcome: &Outcome) -> Self {
        let findings = outcome.said.report.findings().iter();
        let loud = findings.filter(|f| f["severity"] != "info");
        let loud: Vec<String> = loud
            .map(|f| {
                let below = f["symptoms"].as_array().into_iter().flatten();
                let below: Vec<&str> = below.map(short).collect();
                match below.is_empty() {
                    true => short(f).to_owned(),
                    false => format!("{} ({})", short(f), below.join(", ")),
                }
            })
            .collect();
        let truths = outcome.truths.iter().map(|t| {
            let off = t.off().map_or("not told".to_owned(), |off| match off {
                0.0 => "equal".to_owned(),
                off => format!("{:.1} % off", off * 100.0),
            });
            format!("{}: {off} ({})", t.what, t.source)
        });
        Self {
            found: match loud.is_empty() {
                true => "silence".to_owned(),
                false => loud.join(", "),
            },
            truths: truths.collect(),
            faults: super::judge(outcome),
            ..Self::default()
        }
    }

    /// Is all as it should be?
    pub fn verdict(&self) -> Verdict {
        let excused = self.stolen > stolen::MUCH && self.faults.iter().all(|f| f.excusable);
        match self.faults.is_empty() {
            true => Verdict::Good,
            false if excused => Verdict::Disturbed,
            false => Verdict::Wrong,
        }
    }

    /// With the reason.
    fn says(&self, good: &str, wrong: &str) -> String {
        match self.verdict() {
            Verdict::Good => good.to_owned(),
            Verdict::Wrong => wrong.to_owned(),
            Verdict::Disturbed => format!(
                "not judged: the hypervisor took {:.0} % of the CPU time",
                self.stolen * 100.0
            ),
        }
    }
}

fn short(finding: &serde_json::Value) -> &str {
    let rule = finding["rule"].as_str().unwrap_or_default();
    rule.split(' ').next().unwrap_or_default()
}

/// For a terminal.
pub fn text(rows: &[Row]) -> String {
    let mut out = format!(
        "{:<26} {:>20} {:>5}  {:<24} verdict\n",
        "scenario", "seed", "s", "found"
    );
    for row in rows {
        let verdict = row.says("ok", "WRONG");
        out.push_str(&format!(
            "{:<26} {:>20} {:>5.0}  {:<24} {verdict}\n",
            row.name,
            row.seed,
            row.took.as_secs_f64(),
            row.found
        ));
        for fault in &row.faults {
            out.push_str(&format!("    {}\n", fault.says));
        }
    }
    out
}

/// For docs/: the rows of one table; what is wrong stands in it too.
pub fn markdown(rows: &[Row]) -> String {
    let mut out = String::from(
        "| scenario | seed | found | beside others | verdict | s |\n|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let mut verdict = row.says("ok", "**wrong**");
        if row.verdict() != Verdict::Good {
            let faults: Vec<&str> = row.faults.iter().map(|f| &*f.says).collect();
            verdict += &format!(": {}", faults.join("; "));
        }
        let cells = [
            row.name.clone(),
            row.seed.to_string(),
            row.found.clone(),
            row.truths.join("; "),
            verdict,
            format!("{:.0}", row.took.as_secs_f64()),
        ];
        let cells = cells.map(|cell| cell.replace('|', "\\|").replace('\n', " "));
        out.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    out
}
