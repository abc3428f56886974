//! `tidy`: rules about files that no compiler checks.
//!
//! Every Rust file says at its top what it is for; files stay short; the stages of the user side use only
//! what stands to their left; aya and `unsafe` stay where they belong; nothing tracked names a machine.

use std::{fs, path::Path, process::Command};

use anyhow::{Result, bail};

use crate::{object, sh};

/// The stages, in the order that data flows. A stage may use itself and what stands to its left.
const STAGES: [&str; 5] = ["attach", "collect", "aggregate", "diagnose", "present"];
/// Modules above the stages, which wire them; no stage may use these.
const ABOVE: [&str; 2] = ["cli", "session"];
/// The user side's sources.
const USER: &str = "probe-user/src/";
/// Where `unsafe` may stand: the border to the kernel, test workloads made of raw system calls, and a test's allocator that counts.
const UNSAFE: [&str; 9] = [
    "fuzz/",
    "probe-ebpf/",
    "probe-common/",
    "probe-user/src/attach/",
    "probe-user/src/collect/",
    "probe-user/src/main.rs",
    "probe-user/tests/memory.rs",
    "tests/",
    "xtask/vm-init/",
];
/// Where aya may be used, beside the kernel side.
const AYA: [&str; 4] = [
    "probe-ebpf/",
    "probe-common/",
    "probe-user/src/attach/",
    "probe-user/src/collect/",
];
/// Stages that are pure functions, and what they may not touch.
const PURE: [&str; 2] = ["probe-user/src/aggregate/", "probe-user/src/diagnose/"];
const IMPURE: [&str; 8] = [
    "std::fs",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "std::process",
    "std::env",
    "Instant::now",
    "SystemTime::now",
];
/// Files longer than this are listed; longer than [`LONGEST`] fails.
const LONG: usize = 400;
const LONGEST: usize = 800;
/// Lines of a `main.rs` that only dispatches.
const LONGEST_MAIN: usize = 80;
/// What would tie a tracked file to one machine or one registry. Split, so that this file passes itself.
const MACHINE: [&str; 8] = [
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/wo", "rk/"),
    concat!("index.crates", ".io"),
    concat!("static.crates", ".io"),
    concat!("static.rust-lang", ".org"),
    concat!("deb.debian", ".org"),
    concat!("snapshot.debian", ".org"),
];

/// Options of `tidy`.
#[derive(clap::Args)]
pub struct Options {}

/// Checks, and fails when something is wrong.
pub fn run(_: &Options) -> Result<()> {
    check()
}

/// Checks every tracked file, prints what is wrong and the lengths.
pub fn check() -> Result<()> {
    let list = sh::output(
        Command::new("git")
            .args(["ls-files", "-z"])
            .current_dir(sh::root()),
    )?;
    let mut problems = Vec::new();
    let mut lengths = Vec::new();
    for name in list.split('\0').filter(|name| !name.is_empty()) {
        let Ok(bytes) = fs::read(sh::root().join(name)) else {
            continue;
        };
        let text = String::from_utf8_lossy(&bytes);
        if name != "Cargo.lock" {
            problems.extend(machine(name, &text));
        }
        if name.ends_with(".rs") {
            problems.extend(rust(name, &text));
            lengths.push((text.lines().count(), name.to_owned()));
        }
    }
    print_lengths(&mut lengths);
    if problems.is_empty() {
        return Ok(());
    }
    for problem in &problems {
        println!("{problem}");
    }
    bail!("{} rule(s) about files are broken", problems.len());
}

fn print_lengths(lengths: &mut [(usize, String)]) {
    lengths.sort();
    let short = lengths.iter().filter(|(lines, _)| *lines <= LONG).count();
    let Some((median, _)) = lengths.get(lengths.len() / 2) else {
        return;
    };
    println!(
        "{} Rust files, median {median} lines, {short} of at most {LONG}",
        lengths.len()
    );
    for (lines, name) in lengths.iter().filter(|(lines, _)| *lines > LONG) {
        println!("  long: {lines} {name}");
    }
}

/// Paths and hosts of one machine.
fn machine(name: &str, text: &str) -> Vec<String> {
    let is_object = name == object::COMMITTED;
    MACHINE
        .iter()
        .filter(|pattern| text.contains(**pattern))
        .map(|pattern| {
            let line = text
                .lines()
                .position(|line| line.contains(pattern))
                .unwrap_or(0)
                + 1;
            let place = if is_object {
                name.to_owned()
            } else {
                format!("{name}:{line}")
            };
            format!("{place}: names {pattern}, which belongs to one machine or registry")
        })
        .collect()
}

/// Everything that is checked in a Rust file.
fn rust(name: &str, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let mut say = |line: usize, what: String| problems.push(format!("{name}:{line}: {what}"));
    if !text.starts_with("//! ") {
        say(
            1,
            "does not start with a `//!` paragraph that says what it is for".into(),
        );
    }
    let lines = text.lines().count();
    if lines > LONGEST {
        say(
            lines,
            format!("{lines} lines: split it ({LONGEST} at most)"),
        );
    }
    if Path::new(name)
        .file_name()
        .is_some_and(|file| file == "main.rs")
        && name != "probe-ebpf/src/main.rs"
    {
        let is_dispatch = name.contains("/src/");
        if is_dispatch && lines > LONGEST_MAIN {
            say(
                lines,
                format!("{lines} lines: a main.rs only dispatches ({LONGEST_MAIN} at most)"),
            );
        }
    }
    let is_in = |folders: &[&str]| folders.iter().any(|folder| name.starts_with(folder));
    let stage = stage_of(name);
    let mut in_tests = false;
    for (index, line) in text.lines().enumerate() {
        in_tests |= line.trim_start().starts_with("#[cfg(test)]");
        let code = code_of(line);
        let number = index + 1;
        if has_word(&code, "unsafe") && !is_in(&UNSAFE) && !code.contains("unsafe(no_mangle)") {
            say(
                number,
                "`unsafe` outside of the border to the kernel".into(),
            );
        }
        if (code.contains("aya::") || code.contains("aya_log::")) && !is_in(&AYA) {
            say(number, "aya outside of attach and collect".into());
        }
        if let Some(stage) = stage {
            for used in uses(&code) {
                if let Some(reason) = forbidden(stage, used) {
                    say(number, reason);
                }
            }
        }
        if is_in(&PURE) && !in_tests {
            for word in IMPURE.iter().filter(|word| code.contains(**word)) {
                say(number, format!("{word} in a stage that is a pure function"));
            }
        }
    }
    problems
}

/// The stage that a file of the user side belongs to, by position in [`STAGES`].
fn stage_of(name: &str) -> Option<usize> {
    let rest = name.strip_prefix(USER)?;
    let module = rest.split(['/', '.']).next()?;
    STAGES.iter().position(|stage| *stage == module)
}

/// The top-level modules of the crate that a line of code names.
fn uses(code: &str) -> impl Iterator<Item = &str> {
    code.split("crate::").skip(1).flat_map(|rest| {
        // `crate::{a, b::{c}}` as rustfmt writes a one-line group, or `crate::a::b`.
        let group = rest.strip_prefix('{');
        let names = group.unwrap_or(rest);
        let parts = names
            .split(',')
            .take(if group.is_some() { usize::MAX } else { 1 });
        parts.filter_map(|part| {
            part.trim()
                .split(|c: char| !c.is_alphanumeric() && c != '_')
                .next()
        })
    })
}

/// Why `stage` may not use the module `used`, if it may not.
fn forbidden(stage: usize, used: &str) -> Option<String> {
    if ABOVE.contains(&used) {
        return Some(format!(
            "the stage {} uses {used}, which stands above the stages",
            STAGES[stage]
        ));
    }
    let other = STAGES.iter().position(|name| *name == used)?;
    (other > stage).then(|| {
        format!(
            "the stage {} uses {used}, which stands to its right",
            STAGES[stage]
        )
    })
}

/// A line without its comment and without what stands in plain string literals.
fn code_of(line: &str) -> String {
    let mut code = String::with_capacity(line.len());
    let (mut in_string, mut escaped, mut last) = (false, false, ' ');
    for c in line.chars() {
        if in_string {
            if c == '"' && !escaped {
                in_string = false;
                code.push(c);
            }
            escaped = c == '\\' && !escaped;
            continue;
        }
        if c == '/' && last == '/' {
            code.pop();
            break;
        }
        in_string = c == '"' && last != '\'';
        code.push(c);
        last = c;
    }
    code
}

fn has_word(code: &str, word: &str) -> bool {
    code.split(|c: char| !c.is_alphanumeric() && c != '_')
        .any(|part| part == word)
}

#[cfg(test)]
mod tests {
    use super::{code_of, machine, rust};

    fn problems(name: &str, text: &str) -> usize {
        rust(name, text).len()
    }

    #[test]
    fn arrows_go_one_way() {
        let file = "probe-user/src/diagnose/engine.rs";
        assert_eq!(problems(file, "//! x\nuse crate::aggregate::Window;\n"), 0);
        assert_eq!(problems(file, "//! x\nuse crate::present::json;\n"), 1);
        assert_eq!(
            problems(
                file,
                "//! x\nuse crate::{aggregate::Window, present::json};\n"
            ),
            1
        );
        assert_eq!(problems(file, "//! x\nlet x = crate::session::run();\n"), 1);
        assert_eq!(problems(file, "//! x\n// see crate::present\n"), 0);
        assert_eq!(
            problems(
                "probe-user/src/session/mod.rs",
                "//! x\nuse crate::present::json;\n"
            ),
            0
        );
    }

    #[test]
    fn unsafe_and_aya_stay_at_the_border() {
        let text = "//! x\nfn f() { unsafe { aya::f() } }\n";
        assert_eq!(problems("probe-user/src/collect/ring.rs", text), 0);
        assert_eq!(problems("probe-user/src/present/text.rs", text), 2);
        assert_eq!(
            problems(
                "probe-user/src/present/text.rs",
                "//! x\nlet a = \"unsafe\"; // unsafe\n"
            ),
            0
        );
    }

    #[test]
    fn pure_stages_take_no_clock_outside_tests() {
        let file = "probe-user/src/aggregate/window.rs";
        assert_eq!(problems(file, "//! x\nlet t = Instant::now();\n"), 1);
        assert_eq!(
            problems(
                file,
                "//! x\n#[cfg(test)]\nmod tests { fn t() { Instant::now(); } }\n"
            ),
            0
        );
    }

    #[test]
    fn files_say_what_they_are_for_and_stay_short() {
        assert_eq!(problems("a/src/b.rs", "use x;\n"), 1);
        assert_eq!(
            problems("a/src/b.rs", &format!("//! x\n{}", "\n".repeat(900))),
            1
        );
        assert_eq!(
            problems("a/src/main.rs", &format!("//! x\n{}", "\n".repeat(90))),
            1
        );
    }

    #[test]
    fn machine_paths_are_found_with_their_line() {
        let text = format!("one\npath {}user/x\n", concat!("/ho", "me/"));
        assert_eq!(machine("README.md", &text).len(), 1);
        assert!(machine("README.md", &text)[0].starts_with("README.md:2:"));
        assert!(machine("README.md", "/usr/lib\n").is_empty());
    }

    #[test]
    fn comments_and_strings_are_no_code() {
        assert_eq!(code_of("let a = \"x // y\"; // z"), "let a = \"\"; ");
        assert_eq!(code_of("let a = '\"'; unsafe"), "let a = '\"'; unsafe");
    }
}
