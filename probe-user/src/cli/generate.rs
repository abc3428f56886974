//! Completions and the manual page, from the same definition as the parser.

use std::io::{self, Write};

use clap::{Command, CommandFactory};
use clap_mangen::Man;

use super::Cli;

/// Writes the completion script for `shell`.
///
/// # Errors
/// What `out` refuses.
pub fn completions(shell: clap_complete::Shell, out: &mut dyn Write) -> io::Result<()> {
    // The generator panics on a failed write, so it writes to memory.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "stallscope", &mut script);
    out.write_all(&script)
}

/// Writes the manual page, roff. One page holds every command, so that one file is all there is to copy.
///
/// # Errors
/// What `out` refuses.
pub fn man(out: &mut dyn Write) -> io::Result<()> {
    let mut command = Cli::command();
    command.build();
    let page = Man::new(command.clone())
        .title("STALLSCOPE")
        .section("8")
        .manual("System administration");
    page.render_title(out)?;
    page.render_name_section(out)?;
    page.render_synopsis_section(out)?;
    page.render_description_section(out)?;
    page.render_options_section(out)?;
    for sub in command.get_subcommands() {
        subcommand(sub, out)?;
    }
    writeln!(out, ".SH EXAMPLES")?;
    notes(&command, out)?;
    page.render_version_section(out)
}

/// The section of one command: its headings are those of a page of its own, moved below the command's name.
fn subcommand(command: &Command, out: &mut dyn Write) -> io::Result<()> {
    let page = Man::new(command.clone());
    let mut body = Vec::new();
    page.render_synopsis_section(&mut body)?;
    page.render_options_section(&mut body)?;
    let about = command.get_about().map(ToString::to_string);
    writeln!(out, ".SH {}", command.get_name().to_uppercase())?;
    writeln!(out, "{}", about.unwrap_or_default().replace('-', "\\-"))?;
    for line in String::from_utf8_lossy(&body).lines() {
        match line.strip_prefix(".SH ") {
            Some(heading) => writeln!(out, ".SS {heading}")?,
            None => writeln!(out, "{line}")?,
        }
    }
    writeln!(out, ".SS EXAMPLES")?;
    notes(command, out)
}

/// The last part of the help, line by line as it is there.
fn notes(command: &Command, out: &mut dyn Write) -> io::Result<()> {
    let text = command.get_after_help().map(ToString::to_string);
    writeln!(out, ".nf")?;
    for line in text.unwrap_or_default().lines() {
        if !matches!(line, "Examples:" | "Start here:") {
            // No line begins with a dot or an apostrophe for roff: `\&` is empty, but comes first.
            let line = line.replace('\\', "\\e").replace('-', "\\-");
            writeln!(out, "\\&{line}")?;
        }
    }
    writeln!(out, ".fi")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_every_command_with_its_options_and_examples() {
        let mut page = Vec::new();
        man(&mut page).unwrap();
        let page = String::from_utf8(page).unwrap();
        assert!(page.contains(".TH STALLSCOPE 8"), "{page}");
        for name in ["DIAGNOSE", "COUNT", "WORKERS", "DOCTOR", "EXPLAIN", "RULES"] {
            assert!(page.contains(&format!("\n.SH {name}\n")), "{name}");
        }
        assert!(page.contains("no\\-fastcgi"), "{page}");
        assert!(page.contains("PHP\\-FPM pool www"), "{page}");
    }

    #[test]
    fn every_shell_gets_a_script_that_knows_the_options() {
        for shell in <clap_complete::Shell as clap::ValueEnum>::value_variants() {
            let mut script = Vec::new();
            completions(*shell, &mut script).unwrap();
            let script = String::from_utf8(script).unwrap();
            assert!(script.contains("no-fastcgi"), "{shell}");
        }
    }

    #[test]
    fn a_full_disk_is_an_error_and_no_panic() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        assert!(completions(clap_complete::Shell::Bash, &mut Full).is_err());
        assert!(man(&mut Full).is_err());
    }
}
