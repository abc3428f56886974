//! Debian packages without touching the machine: a private apt root in the cache directory.
//!
//! The system's sources, lists and installed packages stay as they are, and root is not needed. The mirror is the one that
//! the machine's own sources name; only the suite differs. Signatures and hashes are checked by apt as usual.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// Debian's own keys; the package debian-archive-keyring of one release holds those of its neighbours too.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// An apt root of our own; removed with [`Apt::close`].
pub struct Apt {
    dir: PathBuf,
    options: Vec<String>,
}

impl Apt {
    /// A root that sees only `suite` (bullseye, sid, ...) and believes that nothing is installed.
    ///
    /// # Errors
    /// When the machine has no Debian sources to take the mirror from, or the lists cannot be fetched.
    pub fn suite(dir: &Path, suite: &str) -> Result<Self> {
        let mirror = mirror()?;
        let list = format!("deb [arch=amd64 signed-by={KEYRING}] {mirror} {suite} main\n");
        Self::open(dir, Some(&list))
            .with_context(|| format!("cannot read Debian's package lists of {suite}"))
    }

    /// A root with the machine's own sources and its list of installed packages, but lists of its own.
    ///
    /// # Errors
    /// When the lists cannot be fetched.
    pub fn machine(dir: &Path) -> Result<Self> {
        Self::open(dir, None).context("cannot read the package lists of this machine's apt sources")
    }

    fn open(dir: &Path, sources: Option<&str>) -> Result<Self> {
        for sub in ["state/lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(dir.join(sub))?;
        }
        let at = |name: &str| dir.join(name).display().to_string();
        let mut options = vec![
            format!("Dir::State={}", at("state")),
            format!("Dir::Cache={}", at("cache")),
            // Old suites keep their last Release file for years.
            "Acquire::Check-Valid-Until=false".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
            "APT::Architecture=amd64".to_owned(),
            // Without root there is no other user to drop to; with root the cache is often unreadable to it.
            "APT::Sandbox::User=".to_owned(),
        ];
        if let Some(sources) = sources {
            fs::write(dir.join("sources.list"), sources)?;
            fs::write(dir.join("status"), "")?;
            options.push(format!("Dir::Etc::sourcelist={}", at("sources.list")));
            options.push("Dir::Etc::sourceparts=/dev/null".to_owned());
            options.push("Dir::Etc::preferences=/dev/null".to_owned());
            options.push("Dir::Etc::preferencesparts=/dev/null".to_owned());
            options.push(format!("Dir::State::status={}", at("status")));
        } else {
            options.push("Dir::State::status=/var/lib/dpkg/status".to_owned());
        }
        let apt = Self {
            dir: dir.to_owned(),
            options,
        };
        apt.run("apt-get", ["-qq", "update"])?;
        Ok(apt)
    }

    fn run<S: AsRef<OsStr>>(
        &self,
        tool: &str,
        args: impl IntoIterator<Item = S>,
    ) -> Result<String> {
        let mut command = Command::new(tool);
        for option in &self.options {
            command.args(["-o", option]);
        }
        output(command.args(args))
    }

    /// `package` and everything it depends on, by name.
    ///
    /// # Errors
    /// When the package does not exist in this suite.
    pub fn closure(&self, package: &str) -> Result<Vec<String>> {
        let args = [
            "--recurse",
            "--no-recommends",
            "--no-suggests",
            "--no-conflicts",
            "--no-breaks",
            "--no-replaces",
            "--no-enhances",
            package,
        ];
        let text = self.run("apt-cache", ["depends"].into_iter().chain(args))?;
        Ok(text
            .lines()
            .filter(|l| !l.starts_with([' ', '|', '<']))
            .map(str::to_owned)
            .collect())
    }

    /// What apt would have to install for `package`, as `name=version`.
    ///
    /// # Errors
    /// When apt finds no solution.
    pub fn missing(&self, package: &str) -> Result<Vec<String>> {
        let text = self.run(
            "apt-get",
            ["-s", "install", "--no-install-recommends", package],
        )?;
        Ok(parse_simulation(&text))
    }

    /// Downloads `packages` (names, or name=version) and unpacks them below `into`.
    ///
    /// # Errors
    /// When a download, its checksum or dpkg-deb fails.
    pub fn unpack(&self, packages: &[String], into: &Path) -> Result<()> {
        let debs = self.dir.join("debs");
        fs::create_dir_all(&debs)?;
        let mut command = Command::new("apt-get");
        for option in &self.options {
            command.args(["-o", option]);
        }
        output(
            command
                .current_dir(&debs)
                .args(["-qq", "download"])
                .args(packages),
        )?;
        fs::create_dir_all(into)?;
        for entry in fs::read_dir(&debs)? {
            let deb = entry?.path();
            output(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(into))?;
        }
        fs::remove_dir_all(&debs)?;
        Ok(())
    }

    /// Removes the root: the lists are large and not needed again.
    ///
    /// # Errors
    /// When the directory cannot be removed.
    pub fn close(self) -> Result<()> {
        fs::remove_dir_all(&self.dir)
            .with_context(|| format!("cannot remove {}", self.dir.display()))
    }
}

/// The Debian mirror in this machine's own apt sources.
fn mirror() -> Result<String> {
    ensure!(
        Path::new(KEYRING).exists(),
        "{KEYRING} is missing: install the package debian-archive-keyring"
    );
    let release = fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
    let codename = release
        .lines()
        .find_map(|l| l.strip_prefix("VERSION_CODENAME="))
        .unwrap_or("")
        .trim_matches('"');
    let format = "$(REPO_URI) $(RELEASE) $(COMPONENT)";
    let text = output(Command::new("apt-get").args([
        "indextargets",
        "--format",
        format,
        "Created-By: Packages",
    ]))?;
    match pick_mirror(&text, codename) {
        Some(uri) => Ok(uri.to_owned()),
        None => bail!(
            "this machine's apt sources have no Debian mirror ({codename} main): kernels for the guests come from there"
        ),
    }
}

fn pick_mirror<'a>(targets: &'a str, codename: &str) -> Option<&'a str> {
    targets.lines().find_map(|line| {
        let mut words = line.split(' ');
        let uri = words.next()?;
        (words.next() == Some(codename) && words.next() == Some("main")).then_some(uri)
    })
}

fn parse_simulation(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| {
            let rest = line.strip_prefix("Inst ")?;
            let name = rest.split(' ').next()?;
            let version = rest.split_once('(')?.1.split(' ').next()?;
            Some(format!("{name}={version}"))
        })
        .collect()
}

/// Runs a command quietly; its standard output, or an error that carries the last line it said.
fn output(command: &mut Command) -> Result<String> {
    let tool = command.get_program().to_string_lossy().into_owned();
    let done = command
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {tool}"))?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr);
        bail!(
            "{tool} failed: {}",
            said.lines()
                .rfind(|l| !l.trim().is_empty())
                .unwrap_or("no message")
                .trim()
        );
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_that_of_the_release_itself_not_of_its_updates() {
        let targets = "http://a/security/ bookworm-security main\nhttp://b/debian/ bookworm-updates main\n\
                       http://b/debian/ bookworm contrib\nhttp://c/debian/ bookworm main\n";
        assert_eq!(pick_mirror(targets, "bookworm"), Some("http://c/debian/"));
        assert_eq!(pick_mirror(targets, "trixie"), None);
    }

    #[test]
    fn new_and_upgraded_packages_are_both_fetched() {
        let text = "NOTE: simulation\nRemv old-tool [1:1]\nInst a (1:7.2+dfsg-7 Debian:12 [amd64])\nInst b [1.0] (1.1 Debian:12 [amd64])\nConf a (1:7.2)\n";
        assert_eq!(parse_simulation(text), ["a=1:7.2+dfsg-7", "b=1.1"]);
    }
}
