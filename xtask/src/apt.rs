//! Debian packages: which of a list are missing, and how they get in without touching anything else.

use std::{path::Path, process::Command};

use anyhow::{Result, bail};

use crate::sh;

/// Installs the packages in "$@" and leaves the machine otherwise as it was: no service is started
/// (policy-rc.d, Debian's own switch for that), none is enabled for the next boot, no package goes.
/// The trap also takes the switch away after an error or Ctrl-C.
const INSTALL: &str = r#"
policy=/usr/sbin/policy-rc.d
mark='written by stallscope cargo xtask setup'
if [ -e "$policy" ] && grep -q "$mark" "$policy"; then rm -f "$policy"; fi
# Without a service manager nothing starts, and what enables its own units is not ours to undo.
manager=$(command -v systemctl)
before=$(mktemp) && after=$(mktemp) || exit 1
enabled() { find /etc/systemd/system -type l -path '*.wants/*' -printf '%f\n' 2>/dev/null | sort -u; }
enabled > "$before"
trap 'rm -f "$before" "$after"' EXIT
trap 'exit 130' INT TERM HUP
if [ ! -e "$policy" ]; then
    trap 'rm -f "$before" "$after" "$policy"' EXIT
    printf '#!/bin/sh\n# %s; no service starts meanwhile\nexit 101\n' "$mark" > "$policy"
    chmod 755 "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
get() { apt-get install -y -q --no-install-recommends --no-remove "$@"; }
get "$@" || { echo 'setup: apt-get failed; once more with fresh package lists'; apt-get update -q && get "$@"; }
result=$?
enabled > "$after"
if [ -n "$manager" ]; then
    for unit in $(comm -13 "$before" "$after"); do
        echo "setup: disabling $unit, which the packages just enabled"
        systemctl disable --quiet "$unit"
    done
fi
exit $result
"#;

/// Whether this is a machine with Debian's package tools.
pub fn is_here() -> bool {
    Path::new("/etc/debian_version").exists()
        && sh::find("apt-get").is_some()
        && sh::find("dpkg-query").is_some()
}

/// Which of `packages` are not installed, in the order given.
pub fn missing<'a>(packages: &[&'a str]) -> Vec<&'a str> {
    packages
        .iter()
        .copied()
        .filter(|package| !is_installed(package))
        .collect()
}

fn is_installed(package: &str) -> bool {
    sh::quiet(Command::new("dpkg-query").args(["-W", "-f=${db:Status-Status}\n", package]))
        .is_some_and(|status| status.lines().any(|line| line == "installed"))
}

/// The version of `package` that apt would install by its present lists.
pub fn candidate(package: &str) -> Option<String> {
    let policy = sh::quiet(Command::new("apt-cache").args(["policy", package]))?;
    let version = policy
        .lines()
        .find_map(|line| line.trim().strip_prefix("Candidate: "))?;
    (version != "(none)").then(|| version.to_owned())
}

/// Fetches apt's package lists, having said why. Needs root or sudo.
pub fn update(why: &str) -> Result<()> {
    let Some(mut update) = sh::as_root("apt-get") else {
        bail!("{why}: as root, run `apt-get update`");
    };
    println!("setup: fetching package lists ({why}): apt-get update");
    sh::run(update.args(["update", "-q"]))
}

/// Installs `packages`, having said which and why. Needs root or sudo.
pub fn install(packages: &[&str], why: &str) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let by_hand = format!(
        "apt-get install --no-install-recommends {}",
        packages.join(" ")
    );
    if !is_here() {
        bail!(
            "missing {} ({why}): this is no Debian machine, install them by hand",
            packages.join(", ")
        );
    }
    let Some(mut shell) = sh::as_root("sh") else {
        bail!(
            "missing {} ({why}): as root, run `{by_hand}`",
            packages.join(", ")
        );
    };
    if packages.iter().any(|package| candidate(package).is_none()) {
        update(&format!(
            "the present ones lack some of {}",
            packages.join(", ")
        ))?;
    }
    println!(
        "setup: installing {} ({why}): {by_hand}",
        packages.join(", ")
    );
    shell.args(["-c", INSTALL, "setup"]).args(packages);
    let status = shell.status()?;
    let left = missing(packages);
    if !status.success() || !left.is_empty() {
        bail!(
            "could not install {} ({why}): as root, try `{by_hand}`",
            packages.join(", ")
        );
    }
    Ok(())
}
