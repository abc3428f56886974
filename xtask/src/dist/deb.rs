//! The Debian package: files in a tree, and dpkg-deb. The same sources give the same bytes.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use super::{Release, sbom::date, write};
use crate::sh;

/// Debian's name for what `TARGET` runs on.
const ARCHITECTURE: &str = "amd64";
/// Maintainer scripts, as dpkg names them.
const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];
/// Days of the week and months as RFC 5322 has them; the Unix epoch was a Thursday.
const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// Makes the package beside `binary`, and returns its path.
pub fn build(release: &Release, binary: &Path, third_party: &str) -> Result<PathBuf> {
    if sh::find("dpkg-deb").is_none() {
        bail!("dpkg-deb is missing, which makes the Debian package: install the package dpkg");
    }
    let tree = Tree(release.out.join("tree"));
    tree.fill(release, binary, third_party)?;
    let name = format!("stallscope_{}_{ARCHITECTURE}.deb", release.version);
    let out = release.out.join(name);
    let mut dpkg = Command::new("dpkg-deb");
    dpkg.args(["--root-owner-group", "-Zxz", "--build"])
        .arg(&tree.0)
        .arg(&out)
        .env("SOURCE_DATE_EPOCH", release.epoch.to_string())
        .stdout(Stdio::null());
    sh::run(&mut dpkg)?;
    fs::remove_dir_all(&tree.0)?;
    Ok(out)
}

/// What the package unpacks.
struct Tree(PathBuf);

impl Tree {
    fn fill(&self, release: &Release, binary: &Path, third_party: &str) -> Result<()> {
        let packaging = sh::root().join("packaging");
        let read = |name: &str| {
            let path = packaging.join(name);
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        let program = fs::read(binary)?;
        self.put("usr/bin/stallscope", &program, 0o755)?;
        let unit = read("stallscope.service")?;
        self.put(
            "usr/lib/systemd/system/stallscope.service",
            unit.as_bytes(),
            0o644,
        )?;
        let settings = settings(&read("stallscope.toml")?)?;
        self.put("etc/stallscope/stallscope.toml", settings.as_bytes(), 0o644)?;
        self.generated(binary)?;
        self.documents(release, third_party)?;
        let overrides = read("debian/lintian-overrides")?;
        self.put(
            "usr/share/lintian/overrides/stallscope",
            overrides.as_bytes(),
            0o644,
        )?;
        // What dpkg itself reads comes last: it counts what is there.
        let control = read("debian/control")?
            .replace("{version}", &release.version)
            .replace("{architecture}", ARCHITECTURE)
            .replace("{size_kib}", &(size(&self.0)?.div_ceil(1024)).to_string());
        let sums = self.sums()?;
        self.put("DEBIAN/control", control.as_bytes(), 0o644)?;
        self.put(
            "DEBIAN/conffiles",
            b"/etc/stallscope/stallscope.toml\n",
            0o644,
        )?;
        self.put("DEBIAN/md5sums", sums.as_bytes(), 0o644)?;
        for script in SCRIPTS {
            let text = read(&format!("debian/{script}"))?;
            self.put(&format!("DEBIAN/{script}"), text.as_bytes(), 0o755)?;
        }
        Ok(())
    }

    /// What the binary says of itself.
    fn generated(&self, binary: &Path) -> Result<()> {
        let said = |args: &[&str]| sh::output(Command::new(binary).args(args));
        self.packed("usr/share/man/man8/stallscope.8", &said(&["man"])?)?;
        let places = [
            ("bash", "usr/share/bash-completion/completions/stallscope"),
            ("zsh", "usr/share/zsh/vendor-completions/_stallscope"),
            (
                "fish",
                "usr/share/fish/vendor_completions.d/stallscope.fish",
            ),
        ];
        for (shell, place) in places {
            self.put(place, said(&["completions", shell])?.as_bytes(), 0o644)?;
        }
        Ok(())
    }

    fn documents(&self, release: &Release, third_party: &str) -> Result<()> {
        let root = sh::root();
        let folder = "usr/share/doc/stallscope";
        for document in ["README.md", "docs/packages.md"] {
            let text = fs::read_to_string(root.join(document))
                .with_context(|| format!("cannot read {document}"))?;
            let name = document.rsplit('/').next().unwrap_or(document);
            self.put(&format!("{folder}/{name}"), text.as_bytes(), 0o644)?;
        }
        let mit =
            fs::read_to_string(root.join("LICENSE-MIT")).context("cannot read LICENSE-MIT")?;
        self.put(
            &format!("{folder}/copyright"),
            copyright(&mit).as_bytes(),
            0o644,
        )?;
        self.packed(&format!("{folder}/THIRD-PARTY.txt"), third_party)?;
        self.packed(&format!("{folder}/changelog"), &changelog(release))
    }

    fn put(&self, place: &str, bytes: &[u8], mode: u32) -> Result<()> {
        let path = self.0.join(place);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
            // Whatever umask this runs under.
            for folder in folder.ancestors().take_while(|f| f.starts_with(&self.0)) {
                fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
            }
        }
        write(&path, bytes)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        Ok(())
    }

    /// Puts a text there packed, without the time at which that was.
    fn packed(&self, place: &str, text: &str) -> Result<()> {
        self.put(place, text.as_bytes(), 0o644)?;
        sh::run(Command::new("gzip").arg("-9n").arg(self.0.join(place)))
    }

    /// `dpkg --verify` compares with these.
    fn sums(&self) -> Result<String> {
        let mut files = Vec::new();
        walk(&self.0, &mut |path| files.push(path.to_owned()))?;
        files.sort();
        let relative = files.iter().filter_map(|f| f.strip_prefix(&self.0).ok());
        // What is beneath /etc may be changed.
        let relative = relative.filter(|f| !f.starts_with("etc"));
        sh::output(Command::new("md5sum").args(relative).current_dir(&self.0))
    }
}

/// The example of all settings, as the service has them: findings are saved where its unit lets it write.
fn settings(example: &str) -> Result<String> {
    const DIR: &str = "\ndir = \"/var/lib/stallscope\"\n";
    let commented = DIR.replace("\ndir", "\n#dir");
    if !example.contains(&commented) {
        bail!(
            "packaging/stallscope.toml has no line `{}`",
            commented.trim()
        );
    }
    Ok(example.replace(&commented, DIR))
}

fn copyright(mit: &str) -> String {
    let mut text = String::from(
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\
         Upstream-Name: stallscope\nSource: https://github.com/stallscope/stallscope\n\
         Comment: The crates in the binary, with their licences and the texts that these ask for,\n are in THIRD-PARTY.txt.gz.\n\n\
         Files: *\nCopyright: the stallscope maintainers\nLicense: MIT or Apache-2.0\n\n\
         License: Apache-2.0\n On Debian systems the text of the Apache License 2.0 is in\n /usr/share/common-licenses/Apache-2.0.\n\n\
         License: MIT\n",
    );
    for line in mit.trim().lines() {
        // An empty line would end the paragraph.
        text += &match line.trim() {
            "" => " .\n".to_owned(),
            line => format!(" {line}\n"),
        };
    }
    text
}

fn changelog(release: &Release) -> String {
    let days = release.epoch / 86_400;
    let (year, month, day) = date(days);
    let rest = release.epoch % 86_400;
    format!(
        "stallscope ({}) unstable; urgency=medium\n\n  * What changed stands in upstream's CHANGELOG.md.\n\n \
         -- stallscope maintainers <stallscope@users.noreply.github.com>  {}, {day:02} {} {year} {:02}:{:02}:{:02} +0000\n",
        release.version,
        DAYS[(days % 7) as usize],
        MONTHS[(month as usize - 1) % 12],
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

/// Bytes of all files below a folder.
fn size(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    walk(folder, &mut |path| {
        bytes += fs::metadata(path).map_or(0, |m| m.len())
    })?;
    Ok(bytes)
}

fn walk(folder: &Path, see: &mut dyn FnMut(&Path)) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            walk(&path, see)?;
        } else {
            see(&path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_changelog_is_dated_by_the_commit() {
        let release = Release {
            version: "1.2.3".to_owned(),
            epoch: 951_827_696,
            crates: Vec::new(),
            out: PathBuf::new(),
        };
        let text = changelog(&release);
        assert!(text.starts_with("stallscope (1.2.3) unstable;"));
        assert!(
            text.ends_with(">  Tue, 29 Feb 2000 12:34:56 +0000\n"),
            "{text}"
        );
    }

    #[test]
    fn the_service_saves_findings_where_the_unit_lets_it_write() {
        let packaging = sh::root().join("packaging");
        let example = fs::read_to_string(packaging.join("stallscope.toml")).unwrap();
        let set = settings(&example).unwrap();
        assert!(
            set.lines()
                .any(|line| line == "dir = \"/var/lib/stallscope\"")
        );
        let unit = fs::read_to_string(packaging.join("stallscope.service")).unwrap();
        assert!(unit.lines().any(|line| line == "StateDirectory=stallscope"));
        assert!(settings("dir = 1").is_err());
    }

    #[test]
    fn unit_and_manifest_give_the_same_capabilities() {
        let packaging = sh::root().join("packaging");
        let unit = fs::read_to_string(packaging.join("stallscope.service")).unwrap();
        let manifest = fs::read_to_string(packaging.join("kubernetes/daemonset.yaml")).unwrap();
        let given = |name: &str| {
            let line = unit
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .unwrap();
            line.split(' ')
                .map(|c| c.trim_start_matches("CAP_").to_owned())
                .collect::<Vec<_>>()
        };
        let added = manifest
            .lines()
            .find_map(|line| line.trim().strip_prefix("add: ["));
        let added = added.unwrap().trim_end_matches(']').replace('"', "");
        let added: Vec<_> = added.split(", ").map(str::to_owned).collect();
        assert_eq!(given("CapabilityBoundingSet="), added);
        assert_eq!(given("AmbientCapabilities="), added);
    }

    #[test]
    fn systemd_knows_every_line_of_the_unit_and_rates_it_well() {
        let Some(analyze) = sh::find("systemd-analyze") else {
            return;
        };
        let unit = sh::root().join("packaging/stallscope.service");
        let rated = Command::new(&analyze)
            .args(["security", "--offline=true", "--threshold=30", "--no-pager"])
            .arg(&unit)
            .output()
            .unwrap();
        assert!(
            rated.status.success(),
            "{}",
            String::from_utf8_lossy(&rated.stdout)
        );
        // The program and its manual page are not installed here.
        let text = fs::read_to_string(&unit).unwrap();
        let text = text
            .replace("/usr/bin/stallscope", "/bin/true")
            .replace("man:stallscope(8) ", "");
        let folder = std::env::temp_dir().join(format!("unit-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let copy = folder.join("stallscope.service");
        fs::write(&copy, text).unwrap();
        let verified = Command::new(&analyze)
            .arg("verify")
            .arg(&copy)
            .output()
            .unwrap();
        fs::remove_dir_all(&folder).unwrap();
        let said = String::from_utf8_lossy(&verified.stderr);
        assert!(!said.contains("stallscope.service"), "{said}");
    }

    #[test]
    fn no_line_of_the_copyright_file_ends_a_paragraph_too_early() {
        let text = copyright("MIT License\n\nPermission is granted\n");
        assert!(text.ends_with("License: MIT\n MIT License\n .\n Permission is granted\n"));
    }
}
