//! From raw arguments to a [`Cli`], or one line that says what is wrong with them.

use std::ffi::OsString;

use clap::{
    CommandFactory, Parser,
    builder::{OsStringValueParser, TypedValueParser},
    error::ErrorKind,
};

use super::Cli;
use crate::error::Error;

/// Why there is nothing to run.
#[derive(Debug)]
pub enum Stop {
    /// Help or version, for stdout; the exit code is 0.
    Shown(clap::Error),
    /// A bad argument.
    Bad(Error),
}

impl Stop {
    /// Writes what was asked for; the error is handed back.
    ///
    /// # Errors
    /// The usage error itself. A reader of the help that went away is none.
    pub fn finish(self) -> Result<(), Error> {
        match self {
            Self::Shown(text) => {
                let _ = text.print();
                Ok(())
            }
            Self::Bad(error) => Err(error),
        }
    }
}

/// Parses the arguments, the program's name first.
///
/// # Errors
/// [`Stop::Shown`] for help and version, [`Stop::Bad`] with one line for a bad argument.
pub fn parse(args: &[OsString]) -> Result<Cli, Stop> {
    match Cli::try_parse_from(args) {
        Ok(cli) => Ok(cli),
        Err(error) if shown(&error) => Err(Stop::Shown(error)),
        Err(error) => Err(Stop::Bad(Error::Usage(line(args, &error)))),
    }
}

/// An [`OsString`] of at least one byte.
pub(super) fn not_empty() -> impl TypedValueParser<Value = OsString> {
    OsStringValueParser::new().try_map(|value| {
        if value.is_empty() {
            return Err("it is empty");
        }
        Ok(value)
    })
}

fn shown(error: &clap::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    )
}

/// clap answers with a paragraph, tips and the usage; a tired reader gets one line.
fn line(args: &[OsString], error: &clap::Error) -> String {
    // The rendered text repeats the argument. One with control characters is escaped and parsed again, so
    // that neither the terminal nor the "one line" depends on it.
    let safe: Vec<OsString> = args
        .iter()
        .map(|arg| escape(&arg.to_string_lossy()).into())
        .collect();
    let text = if safe.as_slice() == args {
        error.render().to_string()
    } else {
        match Cli::try_parse_from(&safe) {
            Err(error) if !shown(&error) => error.render().to_string(),
            _ => "an argument has bytes that do not belong there".into(),
        }
    };
    let mut paragraphs = text.split("\n\n");
    let what = one_line(paragraphs.next().unwrap_or_default());
    let what = what.strip_prefix("error: ").unwrap_or(&what);
    let tip: String = paragraphs
        .filter_map(|p| p.trim().strip_prefix("tip: "))
        .map(|tip| format!(" ({})", one_line(tip)))
        .collect();
    let command = Cli::command();
    let sub = args
        .iter()
        .skip(1)
        .find_map(|arg| command.find_subcommand(arg))
        .map(|sub| format!(" {}", sub.get_name()))
        .unwrap_or_default();
    format!("{what}{tip}; see `stallscope{sub} --help`")
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Control characters as `\u{1b}`; the rest as it is.
fn escape(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let (raw, escaped) = if c.is_control() {
                (None, Some(c.escape_default()))
            } else {
                (Some(c), None)
            };
            raw.into_iter().chain(escaped.into_iter().flatten())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Command;

    fn run(args: &[&str]) -> Result<Cli, Stop> {
        let args: Vec<OsString> = std::iter::once("stallscope")
            .chain(args.iter().copied())
            .map(Into::into)
            .collect();
        parse(&args)
    }

    fn error(args: &[&str]) -> String {
        match run(args) {
            Err(Stop::Bad(error)) => error.to_string(),
            other => panic!("{args:?}: {other:?}"),
        }
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn bad_arguments_are_one_line_with_a_hint() {
        for (args, parts) in [
            (
                &["diagnose", "--duration", "0s"][..],
                &[
                    "'0s'",
                    "--duration",
                    "it is 0",
                    "stallscope diagnose --help",
                ][..],
            ),
            (&["diagnose", "-d", "-3s"], &["it is negative"]),
            (&["diagnose", "-d", "30"], &["did you mean 30s?"]),
            (&["diagnose", "--pid", "0"], &["'0'", "--pid"]),
            (&["diagnose", "--pid", "many"], &["'many'", "--pid"]),
            (&["diagnose", "--comm", ""], &["--comm", "empty"]),
            (
                &["diagnose", "--durration", "3s"],
                &["--durration", "--duration"],
            ),
            (
                &["count"],
                &["<SYSCALL>", "not provided", "stallscope count --help"],
            ),
            (
                &["diagnos"],
                &["'diagnos'", "'diagnose'", "`stallscope --help`"],
            ),
            (
                &["rules", "--color", "blue"],
                &["'blue'", "auto, always, never"],
            ),
            (&["workers", "-i", "1ms"], &["between 100ms and 1h"]),
            (&["workers", "-n", "0"], &["'0'", "--count"]),
            (&["tcp", "-L", "80"], &["--events", "not provided"]),
            (&["tcp", "--events", "-L", "80,x"], &["'x'", "--local-port"]),
            (&["tcp", "--events", "-4", "-6"], &["--ipv4", "--ipv6"]),
            (
                &["tcp", "-d", "5s", "-i", "1s"],
                &["--duration", "--interval"],
            ),
            (&["tcp", "--netns", "0"], &["'0'", "--netns"]),
            (&["explain", "W01", "W02"], &["'W02'"]),
        ] {
            let error = error(args);
            assert!(!error.contains('\n'), "{args:?}: {error}");
            for part in parts {
                assert!(error.contains(part), "{args:?}: {error}");
            }
        }
    }

    #[test]
    fn an_argument_with_control_characters_never_reaches_the_terminal_raw() {
        let error = error(&["\u{1b}[31mdiagnose\n\nUsage: lies"]);
        assert!(!error.contains(['\u{1b}', '\n']), "{error:?}");
        assert!(error.contains(r"\u{1b}[31mdiagnose"), "{error}");
    }

    #[test]
    fn targets_add_up() {
        let cli = run(&["diagnose", "--pid", "3", "--pid", "4", "--pool", "www"]).unwrap();
        let Some(Command::Diagnose(diagnose)) = cli.command else {
            panic!("another command");
        };
        assert_eq!(diagnose.targets.pids, [3, 4]);
        assert_eq!(diagnose.targets.pools, ["www"]);
    }

    #[test]
    fn every_command_shows_examples() {
        let mut command = Cli::command();
        // The width is handed down to the commands only now.
        command.build();
        for sub in command.get_subcommands() {
            let help = sub.clone().render_long_help().to_string();
            assert!(help.contains("Examples:"), "{}", sub.get_name());
            assert!(help.contains("stallscope"), "{}", sub.get_name());
            let widest = help.lines().map(|line| line.chars().count()).max();
            assert!(widest <= Some(90), "{}: {widest:?}", sub.get_name());
        }
    }

    #[test]
    fn every_example_in_the_help_parses() {
        let command = Cli::command();
        let mut texts = vec![command.get_after_help().unwrap().to_string()];
        texts.extend(
            command
                .get_subcommands()
                .filter_map(|sub| sub.get_after_help().map(ToString::to_string)),
        );
        let mut examples = 0;
        for line in texts.iter().flat_map(|text| text.lines()) {
            let line = line.trim_start();
            let line = line.strip_prefix("sudo ").unwrap_or(line);
            let Some(rest) = line.strip_prefix("stallscope ") else {
                continue;
            };
            // The comment beside an example begins after two spaces; a pipe or redirection ends it too.
            let rest = rest.split("  ").next().unwrap_or_default();
            let rest = rest.split(['>', '|']).next().unwrap_or_default();
            let args: Vec<&str> = rest.split_whitespace().collect();
            assert!(run(&args).is_ok(), "{line}");
            examples += 1;
        }
        assert!(examples >= 20, "{examples}");
    }
}
