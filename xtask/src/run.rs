//! `run`: builds what is here, then becomes stallscope.

use std::{os::unix::process::CommandExt as _, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::{build, sh};

/// First arguments of stallscope that need no root.
const PLAIN: &[&str] = &[
    "explain",
    "rules",
    "completions",
    "man",
    "help",
    "replay",
    "diff",
];

/// Options of `run`.
#[derive(clap::Args)]
pub struct Options {
    /// Arguments for stallscope, after `--`
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "ARGS"
    )]
    arguments: Vec<String>,
}

/// Builds and runs; on success this process is stallscope, and its exit code is stallscope's.
pub fn run(options: &Options) -> Result<()> {
    let binary = build::stallscope(&build::object()?)?;
    let mut command = if needs_root(&options.arguments) && !sh::is_root() {
        let Some(command) = sh::as_root(&binary) else {
            bail!(
                "stallscope needs root to watch the kernel, and there is no sudo: as root, run {}",
                binary.display()
            );
        };
        println!(
            "run: root is needed to watch the kernel: sudo {}",
            binary.display()
        );
        command
    } else {
        Command::new(&binary)
    };
    sh::clean_library_path(&mut command);
    command.args(&options.arguments);
    let error = command.exec();
    Err(error).with_context(|| format!("cannot start {}", sh::show(&command)))
}

fn needs_root(arguments: &[String]) -> bool {
    let asks = |flags: &[&str]| {
        arguments
            .iter()
            .any(|argument| flags.contains(&argument.as_str()))
    };
    let plain = arguments
        .first()
        .is_some_and(|first| PLAIN.contains(&first.as_str()));
    !plain && !asks(&["-h", "--help", "-V", "--version"])
}

#[cfg(test)]
mod tests {
    use super::needs_root;

    #[test]
    fn only_what_watches_the_kernel_needs_root() {
        let check = |line: &str| {
            needs_root(
                &line
                    .split_whitespace()
                    .map(str::to_owned)
                    .collect::<Vec<_>>(),
            )
        };
        assert!(check("diagnose --duration 10s"));
        assert!(check(""));
        assert!(!check("explain W01"));
        assert!(!check("diagnose --help"));
        assert!(!check("--version"));
    }
}
