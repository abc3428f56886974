//! `dist --try`: the package is installed, run, upgraded and purged in a Debian of its own, which ends with nothing left.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::Release;
use crate::sh;

/// What a node has at least.
const SUITE: &str = "bookworm";

/// In a mount namespace of its own, which takes every mount along when it ends: $1 the Debian, $2 a folder for what is written
/// in it, $3 the package.
const TRIAL: &str = r#"
set -eu
say() { printf 'try: %s\n' "$*"; }
upper="$2/upper"; work="$2/work"; root="$2/root"
mkdir -p "$upper" "$work" "$root"
mount -t overlay -o "lowerdir=$1,upperdir=$upper,workdir=$work" overlay "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount --rbind /dev "$root/dev"
cp "$3" "$root/tmp/stallscope.deb"
within() { LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot "$root" "$@"; }
# What dpkg itself keeps of a package that was there is no business of the package.
files() { (cd "$upper" && find . -mindepth 1 ! -path './var/lib/dpkg/*' ! -path './var/log/*' ! -path './var/cache/*' ! -path './tmp/*' | sort); }
files > "$2/before"

say 'install'
within dpkg -i /tmp/stallscope.deb
within dpkg --verify stallscope
within stallscope --version
test ! -e "$root/etc/systemd/system/multi-user.target.wants/stallscope.service" || { say 'it enabled its service'; exit 1; }
within gzip -t /usr/share/man/man8/stallscope.8.gz

say 'run'
within stallscope doctor | tail -n 2
# As its unit runs it, as far as there is no systemd here: another user, these capabilities and no others.
caps=$(sed -n 's/^AmbientCapabilities=//p' "$root/usr/lib/systemd/system/stallscope.service" | tr 'A-Z ' 'a-z,' | sed 's/cap_/+/g')
mount -t tracefs tracefs "$root/sys/kernel/tracing"
mkdir -p "$root/var/lib/stallscope"
chown 65534:65534 "$root/var/lib/stallscope"
within setpriv --reuid 65534 --regid 65534 --clear-groups --no-new-privs --bounding-set="-all,$caps" --inh-caps="-all,$caps" \
    --ambient-caps="-all,$caps" stallscope serve --config /etc/stallscope/stallscope.toml --listen 127.0.0.1:0 --duration 4s

say 'upgrade'
echo '# a change of the administrator' >> "$root/etc/stallscope/stallscope.toml"
within dpkg -i --force-confold /tmp/stallscope.deb
grep -q 'a change of the administrator' "$root/etc/stallscope/stallscope.toml"

say 'remove'
within dpkg -r stallscope
test -e "$root/etc/stallscope/stallscope.toml" -a -d "$root/var/lib/stallscope"
test ! -e "$root/usr/bin/stallscope"

say 'purge'
within dpkg -P stallscope
files > "$2/after"
# Folders that other packages have, too, are new in the upper layer only.
left=$(comm -13 "$2/before" "$2/after" | while read -r path; do
    if [ -d "$1/$path" ] && [ -d "$root/$path" ]; then continue; fi
    [ -e "$root/$path" ] && echo "$path"
done)
if [ -n "$left" ]; then say "left behind: $left"; exit 1; fi
say 'nothing is left'
"#;

/// Tries `package`. Where there can be no Debian, that is said, and nothing fails.
pub fn run(release: &Release, package: &Path) -> Result<()> {
    if !sh::is_root() {
        println!("try: skipped, as it needs root");
        return Ok(());
    }
    let Some(debian) = debian()? else {
        return Ok(());
    };
    let folder = release.out.with_file_name("dist-try");
    remove(&folder)?;
    fs::create_dir_all(&folder)?;
    let mut trial = Command::new("unshare");
    trial
        .args(["--mount", "--propagation=private", "sh", "-c", TRIAL, "try"])
        .args([&debian, &folder])
        .arg(package);
    let result = sh::run(&mut trial);
    remove(&folder)?;
    result
}

/// A small Debian, fetched once. `None`, with the reason printed, where it cannot be had.
fn debian() -> Result<Option<PathBuf>> {
    let folder = sh::target_dir()?.join(format!("debian-{SUITE}"));
    if folder.join("usr/bin/dpkg").exists() {
        return Ok(Some(folder));
    }
    let Some(debootstrap) = sh::find("debootstrap") else {
        println!("try: skipped, as there is no debootstrap (the package of that name)");
        return Ok(None);
    };
    println!(
        "try: fetching a small Debian {SUITE}: it is not in {} yet",
        folder.display()
    );
    let fresh = folder.with_extension("fresh");
    remove(&fresh)?;
    let mut fetch = Command::new(debootstrap);
    fetch.args(["--variant=minbase", SUITE]).arg(&fresh);
    if sh::quiet(&mut fetch).is_none() {
        remove(&fresh)?;
        println!("try: skipped, as debootstrap cannot reach a Debian mirror");
        return Ok(None);
    }
    // What apt keeps is not needed again.
    remove(&fresh.join("var/cache/apt/archives"))?;
    if !fresh.join("usr/bin/dpkg").exists() {
        bail!("debootstrap made no Debian in {}", fresh.display());
    }
    fs::rename(&fresh, &folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(Some(folder))
}

fn remove(folder: &Path) -> Result<()> {
    match folder.exists() {
        true => fs::remove_dir_all(folder)
            .with_context(|| format!("cannot remove {}", folder.display())),
        false => Ok(()),
    }
}
