//! `lab`: plays the incidents on real servers and shows that the right cause comes first; and that healthy servers get silence.
//! The work is done by `tests/lab`.

use std::{fs, process::Command};

use anyhow::{Context, Result, bail};

use crate::{
    build::{self, Purpose},
    setup, sh,
};

/// Options of `lab`.
#[derive(clap::Args)]
pub struct Options {
    /// Play these and show their reports; without any option: list what there is
    #[arg(value_name = "SCENARIO")]
    names: Vec<String>,
    /// Play all of them, healthy ones for a minute each, and print a table
    #[arg(long)]
    all: bool,
    /// Play the few that `cargo xtask test` plays
    #[arg(long, conflicts_with = "all")]
    quick: bool,
    /// Play the healthy ones
    #[arg(long)]
    healthy: bool,
    /// Draw parameters from this number, and for further runs from those that follow [default: the clock's]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Play each so often
    #[arg(long, value_name = "N", default_value_t = 1)]
    runs: u64,
    /// Write the table to docs/lab.md (of `--healthy`: docs/lab-healthy.md), with date and kernel
    #[arg(long)]
    write: bool,
}

/// Builds everything and plays.
pub fn run(options: &Options) -> Result<()> {
    // Of what is built now, whatever is committed until the end.
    let head = || sh::output(Command::new("git").args(["rev-parse", "--short", "HEAD"]));
    let commit = options.write.then(head).transpose()?;
    setup::test_packages()?;
    // It finds stallscope beside itself.
    let (program, _) = build::with_stallscope(Purpose::Measurements, "lab")?;
    let Some(mut command) = sh::as_root(&program) else {
        bail!("watching needs root, and there is no sudo: run as root");
    };
    sh::clean_library_path(&mut command);
    command.args(&options.names);
    for (flag, given) in [
        ("--all", options.all),
        ("--quick", options.quick),
        ("--healthy", options.healthy),
    ] {
        if given {
            command.arg(flag);
        }
    }
    if let Some(seed) = options.seed {
        command.args(["--seed", &seed.to_string()]);
    }
    command.args(["--runs", &options.runs.to_string()]);
    let table = sh::target_dir()?.join("lab.md");
    if options.write {
        command.arg("--markdown").arg(&table);
    }
    let played = sh::run(&mut command);
    if let Some(commit) = commit {
        let table = fs::read_to_string(&table).context("the table")?;
        write(options, &commit, &table)?;
    }
    played
}

/// Writes the document that holds the table. Healthy servers take hours to be played with twenty seeds: what earlier sittings gave
/// stays below, each with the code it was about.
fn write(options: &Options, commit: &str, table: &str) -> Result<()> {
    let name = if options.all { "lab" } else { "lab-healthy" };
    let what = if options.all { "--all" } else { "--healthy" };
    let date = sh::today()?;
    let kernel = sh::output(Command::new("uname").arg("-r"))?;
    let path = sh::root().join("docs").join(name).with_extension("md");
    let earlier = match fs::read_to_string(&path) {
        Ok(text) if !options.all => sections(&text).to_owned(),
        _ => String::new(),
    };
    let text = format!(
        "<!-- Written by `cargo xtask lab {what} --write`. -->\n# {}\n\n\
         Each seed draws the numbers and the names of its run; `cargo xtask lab SCENARIO --seed N` plays it again and shows its report. *Found* \n\
         are the causes at warning or above, with what hangs below them; *beside others* compares numbers of the report with those of whoever \n\
         is named.\n\n\
         ## {}, Linux {}, at {}\n\n{table}{earlier}",
        if options.all {
            "The lab"
        } else {
            "Healthy servers"
        },
        date,
        kernel.trim(),
        commit.trim(),
    );
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// The sittings in a document, from an empty line on.
fn sections(text: &str) -> &str {
    text.find("\n## ").map_or("", |at| &text[at..])
}

#[cfg(test)]
mod tests {
    use super::sections;

    #[test]
    fn earlier_sittings_are_kept_whole() {
        let text = "# Healthy servers\n\nWords.\n\n## b\n\n| 2 |\n\n## a\n\n| 1 |\n";
        assert_eq!(sections(text), "\n## b\n\n| 2 |\n\n## a\n\n| 1 |\n");
        assert_eq!(sections("# The first\n"), "");
    }
}
