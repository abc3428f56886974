//! S03: a file system runs out of inodes before it runs out of blocks.

mod advice;
#[cfg(test)]
mod tests;
mod words;

use super::{
    Cause, Doc, Rule, Stage, Subject, Verdict, storage,
    tcp::{self, MAX_FINDINGS},
};
use crate::{
    aggregate::{
        Window,
        files::{Creator, Device, FileSystem, Files, Refused, Trend},
    },
    diagnose::{Confidence, Culprit, Finding, Level, Measured, Quantity, Severity},
};

/// The rule.
pub const RULE: Rule = Rule {
    id: "S03",
    name: "inode-exhaustion",
    summary: "a file system runs out of inodes, or will at the present rate",
    stage: Stage::Preview,
    subject: Subject::FileSystem,
    severity: Severity::Critical,
    needs: &["files"],
    causes: &[Cause::of("S02", |cause, found| {
        cause.severity >= Severity::Warning && same_device(cause, found)
    })],
    doc: DOC,
    check,
};

const DOC: Doc = Doc {
    sees: "Of each mounted file system, once a second: inodes and blocks in use. Beside that: who creates files \
where, and calls that the kernel refused with ENOSPC. It fires when calls were refused while blocks were \
free; when fewer than 1 % of the inodes are left; or when the rate of the window ends them: within ten times \
the window, or within a day where 90 % are in use already (warning); or within a day, or a week where half of \
them are in use (info).

The time left comes with a range: the window is cut into quarters, and the slowest and the fastest of them \
give the latest and the soonest end. Fewer than five looks, or fewer than 100 inodes taken, are no rate.

It says which end first, inodes or blocks. When it is the blocks, it says so under the same id: calls are \
refused with the same error, and the remedies are others.

Network and FUSE file systems are not asked, because asking may hang. btrfs has no fixed number of inodes, \
so there is nothing to run out of before the space does: not judged. xfs makes inodes from free space as \
they are needed, up to a share of it (imaxpct): its number of free inodes is what it could still make.",
    matters: "Every file takes an inode, whatever its size, and ext4 decides at mkfs how many there are: one \
for 16 KiB by default. Files smaller than that use up inodes faster than blocks. Then every creation fails \
with \"No space left on device\" while df shows free space: sessions, uploads, temporary files and logs fail \
together, and deleting one large file does not help.",
    confirm: "Compare inodes and blocks, and find the directories with most files:

    df -i; df
    find / -xdev -printf '%h\\n' | sort | uniq -c | sort -rn | head

The refused calls themselves, by name of the process:

    timeout 10 strace -f -e trace=openat,mkdir,rename -e status=failed -p PID",
    try_: "First stop what creates them (rule S02 names it), then remove what nobody needs: a job that deletes \
by age, started regularly. Give such files a file system of their own, so that only they can fill it, or \
tmpfs where they may be lost. More inodes: on ext4 only with mkfs (-i or -N), or in proportion when the file \
system grows (resize2fs); on xfs with xfs_growfs -m; on tmpfs with mount -o remount,nr_inodes=N.",
    wrong: "The forecast takes the rate of the window to go on. An archive that is being unpacked, a build or \
a restore ends before the inodes do; that is why a forecast far beyond the window is an info only.

Files that are removed while others are created give their inodes back: the rate here is that of the \
file system, net of that, not the creations counted. A cleanup that comes once an hour is not seen in a \
window between two of them.

ENOSPC has other causes, too: a directory index that is full, a project quota, reserved blocks. When neither \
inodes nor blocks were nearly used up, the rule says that it does not judge the refused calls.",
};

/// From here on any burst takes the rest: on an ordinary 100 GB ext4, 65,000 files.
const NEARLY_NONE: f64 = 0.99;
/// Where so many inodes are in use, a rate that ends the rest within a day is worth a warning: there is a day
/// to act. Below it, most rates end before the inodes do.
const NEARLY_FULL: f64 = 0.9;
/// See [`NEARLY_FULL`], s.
const DAY_S: f64 = 86_400.0;
/// What was seen for some time is believed to go on for ten times as long, not for longer: most bursts of
/// work (a build, an archive) end. An end within that is a warning however much is left.
const BELIEVED: f64 = 10.0;
/// Where less is in use, an end further away than a day is no news: sessions and caches grow until a cleanup comes,
/// once an hour or once a day, and fall back.
const HALF_FULL: f64 = 0.5;
/// An end that is further away than a week is none either: log rotation and cleanup jobs run weekly at the latest.
const WEEK_S: f64 = 7.0 * DAY_S;
/// Five looks give four quarters to compare.
const LOOKS: u64 = 5;
/// So few inodes taken are no rate.
const FEW: f64 = 100.0;
/// So few bytes taken are no rate: a log of an ordinary node writes as much.
const FEW_BYTES: f64 = 100e6;

/// What runs out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resource {
    Inodes,
    Blocks,
}

/// Why it fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// The present rate ends them, some day.
    Far,
    /// The present rate ends them soon.
    Ahead,
    /// Hardly any is left.
    NearlyNone,
    /// Calls were refused.
    Refused,
}

/// What was measured about one file system.
struct Case<'a> {
    window: &'a Window,
    files: &'a Files,
    fs: &'a FileSystem,
    resource: Resource,
    kind: Kind,
    /// Calls refused for want of space on it.
    refused: Vec<&'a Refused>,
    /// Who created files on it, most first.
    creators: Vec<&'a Creator>,
}

fn check(window: &Window) -> Verdict {
    let mut verdict = Verdict::clear();
    let files = match storage::files(window) {
        Ok(files) if files.file_systems.is_empty() => {
            let why = "no file system was asked how full it is";
            verdict.not_judged.push(why.to_owned());
            return verdict;
        }
        Ok(files) => files,
        Err(why) => {
            verdict.not_judged.push(why);
            return verdict;
        }
    };
    verdict.not_judged.extend(tcp::without(
        window,
        "no_space",
        "calls refused for want of space",
    ));
    verdict.not_judged.extend(words::not_judged(files));
    let mut cases = cases(window, files);
    cases.sort_by(|a, b| b.kind.cmp(&a.kind).then(a.left().total_cmp(&b.left())));
    let more = cases.len().saturating_sub(MAX_FINDINGS);
    cases.truncate(MAX_FINDINGS);
    verdict.findings = cases.iter().map(finding).collect();
    if let Some(last) = verdict.findings.last_mut().filter(|_| more > 0) {
        last.summary.push(words::more(more));
    }
    verdict
}

/// True when inodes of this file system are what it warns of.
pub(super) fn warns_of_inodes(window: &Window, device: Device) -> bool {
    let Some(files) = window.files.as_deref() else {
        return false;
    };
    cases(window, files).iter().any(|case| {
        case.resource == Resource::Inodes && case.kind > Kind::Far && case.is_on(device)
    })
}

fn cases<'a>(window: &'a Window, files: &'a Files) -> Vec<Case<'a>> {
    let own_space = |fs: &&FileSystem| fs.space_of.is_none() && !read_only(fs);
    let spaces = files.file_systems.iter().filter(own_space);
    spaces
        .filter_map(|fs| Case::new(window, files, fs))
        .collect()
}

/// Full as it was made, and nobody can add to it.
fn read_only(fs: &FileSystem) -> bool {
    let options = [&fs.mount.options, &fs.mount.super_options];
    options
        .iter()
        .any(|list| list.split(|&b| b == b',').any(|option| option == b"ro"))
}

/// Devices whose space is that of `fs`: itself, and overlays on it.
fn devices<'a>(files: &'a Files, fs: &'a FileSystem) -> impl Iterator<Item = Device> + 'a {
    let same = |f: &&FileSystem| f.device == fs.device || f.space_of == Some(fs.device);
    files.file_systems.iter().filter(same).map(|f| f.device)
}

impl<'a> Case<'a> {
    fn new(window: &'a Window, files: &'a Files, fs: &'a FileSystem) -> Option<Self> {
        let devices: Vec<Device> = devices(files, fs).collect();
        let refused: Vec<&Refused> = files
            .refused
            .iter()
            .filter(|r| r.errno == libc::ENOSPC as u32)
            .filter(|r| r.device.is_some_and(|d| devices.contains(&d)))
            .collect();
        let mut creators: Vec<&Creator> = files
            .creators
            .iter()
            .filter(|c| c.work.created > 0 && devices.contains(&c.work.device))
            .collect();
        creators.sort_by_key(|c| std::cmp::Reverse(c.work.grown()));
        let created = creators.iter().map(|c| c.work.created).sum::<u64>();
        let kind = |resource| kind(fs, resource, !refused.is_empty(), created, window);
        let (inodes, blocks) = (kind(Resource::Inodes), kind(Resource::Blocks));
        let ends = fs.ends().is_none_or(|(_, inodes)| inodes);
        // Of equals, what ends first.
        let (resource, kind) = match (inodes, blocks) {
            (Some(i), Some(b)) if b > i || (b == i && !ends) => (Resource::Blocks, b),
            (Some(i), _) => (Resource::Inodes, i),
            (None, Some(b)) => (Resource::Blocks, b),
            (None, None) => return None,
        };
        Some(Self {
            window,
            files,
            fs,
            resource,
            kind,
            refused,
            creators,
        })
    }

    fn is_on(&self, device: Device) -> bool {
        devices(self.files, self.fs).any(|d| d == device)
    }

    fn trend(&self) -> &Trend {
        match self.resource {
            Resource::Inodes => &self.fs.inodes_trend,
            Resource::Blocks => &self.fs.bytes,
        }
    }

    /// Time left, s.
    fn left(&self) -> f64 {
        self.trend().seconds_left.unwrap_or(f64::INFINITY)
    }

    fn used(&self) -> f64 {
        used(self.fs, self.resource)
    }

    fn refusals(&self) -> u64 {
        self.refused.iter().map(|r| r.count).sum()
    }

    fn severity(&self) -> Severity {
        let created: u64 = self.creators.iter().map(|c| c.work.created).sum();
        match self.kind {
            Kind::Refused => Severity::Critical,
            Kind::Ahead => Severity::Warning,
            // Nobody adds to it: it may have been so for years.
            Kind::NearlyNone if created == 0 && self.trend().per_s <= 0.0 => Severity::Info,
            Kind::NearlyNone => Severity::Warning,
            Kind::Far => Severity::Info,
        }
    }

    fn confidence(&self) -> Confidence {
        let ahead = matches!(self.kind, Kind::Ahead | Kind::Far);
        let unsteady = self
            .trend()
            .left_between()
            .is_some_and(|(_, latest)| latest.is_none());
        let doubts = [
            ahead.then(|| {
                let why = "the forecast takes the present rate to go on";
                (Level::Medium, why.to_owned())
            }),
            (ahead && unsteady).then(|| {
                let why = "nothing was taken in one quarter of the window: it comes in bursts";
                (Level::Low, why.to_owned())
            }),
            (self.resource == Resource::Inodes && self.fs.mount.fs_type == b"xfs").then(|| {
                let why =
                    "xfs makes inodes from free space: their number is what it could still make";
                (Level::Medium, why.to_owned())
            }),
        ];
        tcp::confidence(
            self.window,
            if ahead { &[] } else { storage::FILES },
            doubts.into_iter().flatten(),
            "the file system's own numbers",
        )
    }

    /// Refused: share of the refused calls. Otherwise: share of what was created there by whom it names.
    fn explains(&self) -> (f64, &'static str) {
        if self.kind == Kind::Refused {
            let all = self.files.refused.iter().map(|r| r.count).sum();
            return (
                tcp::share(self.refusals(), all),
                "the calls refused for want of space",
            );
        }
        let created = |c: &&Creator| c.work.created;
        let all = self.creators.iter().map(created).sum();
        let first = self.creators.first().map_or(0, created);
        (tcp::share(first, all), "the files created there")
    }
}

/// Share in use.
fn used(fs: &FileSystem, resource: Resource) -> f64 {
    match resource {
        Resource::Inodes => fs.inodes_used().unwrap_or(0.0),
        Resource::Blocks => fs.bytes_used(),
    }
}

/// The share in use at the fullest look.
fn most_used(fs: &FileSystem, resource: Resource) -> f64 {
    let (least, all) = match resource {
        Resource::Inodes => (fs.inodes_trend.least, fs.inodes),
        Resource::Blocks => (fs.bytes.least, fs.total_bytes),
    };
    1.0 - least as f64 / all.max(1) as f64
}

/// True when this resource has no fixed end, or none at all.
fn has_none(fs: &FileSystem, resource: Resource) -> bool {
    match resource {
        Resource::Inodes => fs.inodes == 0,
        Resource::Blocks => fs.total_bytes == 0,
    }
}

fn kind(
    fs: &FileSystem,
    resource: Resource,
    refused: bool,
    created: u64,
    window: &Window,
) -> Option<Kind> {
    if has_none(fs, resource) {
        return None;
    }
    if most_used(fs, resource) >= NEARLY_NONE {
        if refused {
            return Some(Kind::Refused);
        }
        // That a disk is full of data, without an error in sight, is for other tools to say.
        if resource == Resource::Inodes {
            return Some(Kind::NearlyNone);
        }
    }
    let (trend, few) = match resource {
        Resource::Inodes => (&fs.inodes_trend, FEW),
        Resource::Blocks => (&fs.bytes, FEW_BYTES),
    };
    let left = trend.seconds_left?;
    let taken = trend.per_s * fs.span_ns as f64 / 1e9;
    // Inodes that nobody was seen to take (a restore over NFS, for one) end all the same.
    if fs.looks < LOOKS || taken < few && created < few as u64 {
        return None;
    }
    let used = used(fs, resource);
    // Large files are copied every day, and fit.
    let soon = left <= BELIEVED * tcp::seconds(window)
        && (resource == Resource::Inodes || used >= NEARLY_FULL);
    let full = used >= NEARLY_FULL && left <= DAY_S;
    if soon || full {
        return Some(Kind::Ahead);
    }
    // The far future is worth a line only when it is nearer than that of the blocks, and the pace is steady.
    let steady = trend.range_per_s.is_some_and(|(slow, _)| slow > 0.0);
    (resource == Resource::Inodes && steady && left <= far(used)).then_some(Kind::Far)
}

/// The furthest end that is told of, s.
fn far(used: f64) -> f64 {
    if used >= HALF_FULL { WEEK_S } else { DAY_S }
}

/// True when both are about one file system.
fn same_device(a: &Finding, b: &Finding) -> bool {
    let device = |f: &Finding| f.culprit.place.as_ref().map(|p| p.device);
    device(a).is_some() && device(a) == device(b)
}

fn finding(case: &Case<'_>) -> Finding {
    let (explains, explains_what) = case.explains();
    let creator = case.creators.first().map(|c| &c.work);
    let refused = case.refused.first().map(|r| &r.team);
    let team = creator.map(|w| &w.team).or(refused);
    Finding {
        rule: RULE.reference(),
        title: words::title(case),
        severity: case.severity(),
        confidence: case.confidence(),
        explains,
        explains_what,
        culprit: Culprit {
            group: team.map(|t| t.name.clone()).filter(|n| !n.is_empty()),
            php_fpm: team.is_some_and(|t| t.php_fpm),
            pid: team.and_then(|t| t.pids.first().copied()),
            place: Some(storage::place(
                &case.fs.mount,
                creator.and_then(|w| w.path.as_deref()),
            )),
            ..Culprit::default()
        },
        measured: measured(case),
        summary: words::summary(case),
        evidence: words::evidence(case),
        remedies: advice::remedies(case),
        window_ns: case.window.duration_ns,
        first_ns: case.refused.iter().map(|r| r.first_ns).min(),
        caused_by: Vec::new(),
        symptoms: Vec::new(),
    }
}

fn measured(case: &Case<'_>) -> Vec<Measured> {
    let share = |what, limit| Measured {
        what,
        observed: Quantity::ratio(case.used()),
        threshold: Quantity::ratio(limit),
    };
    let in_use = match case.resource {
        Resource::Inodes => "share of the inodes that are in use",
        Resource::Blocks => "share of the blocks that are in use",
    };
    match case.kind {
        Kind::Refused => vec![
            Measured {
                what: "calls refused for want of space",
                observed: Quantity::count(case.refusals() as f64),
                threshold: Quantity::count(1.0),
            },
            share(in_use, NEARLY_NONE),
        ],
        Kind::NearlyNone => vec![share(in_use, NEARLY_NONE)],
        Kind::Ahead | Kind::Far => {
            let limit = match (case.kind, case.used() >= NEARLY_FULL) {
                (Kind::Far, _) => far(case.used()),
                (_, true) => DAY_S,
                _ => BELIEVED * tcp::seconds(case.window),
            };
            vec![Measured {
                what: "time until none is left, at the present rate",
                observed: storage::time(case.left()),
                threshold: storage::time(limit),
            }]
        }
    }
}
