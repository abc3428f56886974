//! The table of `vm --all`, in docs/kernel-matrix.md: what each kernel gave, and which probes are active on it.

use std::{collections::BTreeMap, fs};

use anyhow::{Context as _, Result};

use super::{
    console::{self, Totals},
    probes::{self, Probe},
    qemu::Outcome,
    verdict::{DOCTOR, SCENARIOS, TESTS},
};
use crate::sh;

/// Where the table is.
const PATH: &str = "docs/kernel-matrix.md";

/// A kernel of the table.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// As in the matrix: `5.10`.
    name: &'static str,
    /// As `uname -r` says it.
    release: String,
    probes: Vec<Probe>,
    tests: String,
    scenarios: String,
    /// From the start of QEMU to its end, s.
    took_s: f64,
}

impl Row {
    /// Of a guest.
    pub fn of(name: &'static str, release: &str, outcome: &Outcome) -> Self {
        let lines = |job: &str| outcome.report.job(job).map_or(&[][..], |job| &job.lines);
        Self {
            name,
            release: release.to_owned(),
            probes: probes::read(lines(DOCTOR)).unwrap_or_default(),
            tests: result(lines(TESTS)),
            scenarios: result(lines(SCENARIOS)),
            took_s: outcome.total.as_secs_f64(),
        }
    }
}

/// `136 of 137, 1 skipped; failed: a, b`.
fn result(lines: &[String]) -> String {
    let Some(Totals {
        passed,
        failed,
        skipped,
    }) = console::totals(lines)
    else {
        return "did not end".to_owned();
    };
    let mut text = format!("{passed} of {}", passed + failed);
    if skipped > 0 {
        text += &format!(", {skipped} skipped");
    }
    let names: Vec<&str> = console::failures(lines)
        .iter()
        .map(|(name, _)| *name)
        .collect();
    if !names.is_empty() {
        text += &format!("; failed: {}", names.join(", "));
    }
    text
}

/// Writes the table.
///
/// # Errors
/// When the file cannot be written.
pub fn write(rows: &[Row]) -> Result<()> {
    let path = sh::root().join(PATH);
    fs::write(&path, text(rows, &sh::today()?))
        .with_context(|| format!("cannot write {}", path.display()))
}

fn text(rows: &[Row], date: &str) -> String {
    let mut out = format!(
        "<!-- Written by `cargo xtask vm --all`. -->\n# Kernel matrix\n\n{date}. Debian's cloud kernels in QEMU (emulated, two CPUs). The scenarios \
         run the binary and compare what it\nfinds with what its workloads counted: one for each signal. See [kernels](kernels.md) for \
         what is known of each kernel.\n\n| kernel | probes active | kernel tests | scenarios | s |\n|---|---|---|---|---|\n"
    );
    for row in rows {
        let active = row.probes.iter().filter(|p| p.off.is_none()).count();
        out += &format!(
            "| {} ({}) | {active} of {} | {} | {} | {:.0} |\n",
            row.name,
            row.release,
            row.probes.len(),
            row.tests,
            row.scenarios,
            row.took_s
        );
    }
    let names: Vec<&str> = rows.iter().map(|row| row.name).collect();
    out += &format!(
        "\n| probe | {} |\n|---|{}\n",
        names.join(" | "),
        "---|".repeat(rows.len())
    );
    let mut probes: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (n, row) in rows.iter().enumerate() {
        for probe in &row.probes {
            let states = probes.entry(&probe.id).or_default();
            states.resize(n, "not known");
            states.push(probe.off.as_deref().unwrap_or("active"));
        }
    }
    for (id, mut states) in probes {
        states.resize(rows.len(), "not known");
        out += &format!("| `{id}` | {} |\n", states.join(" | "));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &'static str, probes: &[(&str, Option<&str>)]) -> Row {
        let probe = |(id, off): &(&str, Option<&str>)| Probe {
            id: (*id).to_owned(),
            off: off.map(str::to_owned),
        };
        Row {
            name,
            probes: probes.iter().map(probe).collect(),
            ..Row::default()
        }
    }

    #[test]
    fn each_kernel_says_of_each_probe_whether_it_is_active() {
        let rows = [
            row("5.10", &[("calls", None)]),
            row("6.1", &[("calls", None), ("epoll", Some("no BTF"))]),
        ];
        let text = text(&rows, "2026-01-02");
        assert!(text.contains("| 5.10 () | 1 of 1 |") && text.contains("| 6.1 () | 1 of 2 |"));
        assert!(text.contains("| `calls` | active | active |\n"));
        assert!(text.contains("| `epoll` | not known | no BTF |\n"));
    }

    #[test]
    fn a_result_names_what_failed() {
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(result(&[]), "did not end");
        let text = "test a ... FAILED (1 ms)\nfailed: a\ntest result: FAILED. 3 passed; 1 failed; 2 skipped; x";
        assert_eq!(result(&lines(text)), "3 of 4, 2 skipped; failed: a");
    }
}
