//! S02: one process, or the workers of one pool, create many small files quickly.

mod advice;
#[cfg(test)]
mod tests;
mod words;

use super::{
    Doc, Rule, Stage, Subject, Verdict, inode_exhaustion, journal_stall, storage,
    tcp::{self, MAX_FINDINGS},
};
use crate::{
    aggregate::{
        Group, Window,
        files::{Creator, FileSystem, Files, Work},
    },
    diagnose::{Confidence, Culprit, Finding, Level, Measured, Quantity, Severity},
};

/// The rule.
pub const RULE: Rule = Rule {
    id: "S02",
    name: "small-file-storm",
    summary: "one process creates many small files quickly",
    stage: Stage::Preview,
    subject: Subject::Culprit,
    severity: Severity::Warning,
    needs: &["files"],
    causes: &[],
    doc: DOC,
    check,
};

const DOC: Doc = Doc {
    sees: "Files that open() with O_CREAT really created, on any file system, with their sizes when their \
creator closed them, fsyncs and removals; by team (the workers of a pool, or the processes of one name) and \
by the directory that holds at least 80 % of what it created there. Small means: smaller than the space for \
which the file system has one inode (16 KiB on an ordinary ext4), at the median.

What is many follows from what it costs. It is a warning when requests create at least 100 files each; when \
the team waits for fsync on what it creates, for a fifth of its request time, or all together for a second \
in each second; when the team's files end the inodes (rule S03); or when it gives most of the work to a \
journal that is waited for (rule S01), and it is their number that makes the work: at least 20 in each request, or \
in each fsync where there are no requests, or an fsync for each. Without such a cost, at least 100 files a second, or 20 for each \
request, are an info.

Fewer than 100 files in the window are never a finding. Builds, archives that are unpacked, mail queues and \
session directories create many small files as well, and do no harm: they cost none of that.",
    matters: "Each file is an inode, a directory entry, at least one block and, on ext4, changes to five or \
more blocks of metadata that pass through the journal. Created, written and closed one after the other they \
take 20 to 100 µs of CPU each with a warm cache, several milliseconds each when every one is synced. A visit \
that writes 300 files pays that 300 times, and the files stay: at 15 a second, inodes are used up in days.",
    confirm: "Count the creations of one process, and the files in a directory:

    timeout 10 strace -f -e trace=openat -p PID 2>&1 | grep -c O_CREAT
    ls -U DIR | wc -l",
    try_: "From the safest to the most far-reaching: write one file in place of many, or a name that is used \
again (a hash of the content, not of the visit); keep what is computed in a cache (APCu, Redis); write to \
tmpfs what may be lost; leave out the fsync where the file can be made again, or sync once for all of them; \
remove old files by age.",
    wrong: "A program that is meant to write many files (a mail server, a build, a backup) may be named as an \
info: then nothing needs to be done.

Sizes are known for files that are closed by the process that created them; a file that is written later or \
by another process counts as what it was at that close. Files that come into being by rename or link are not \
creations.

Requests are known only where workers serve one at a time (php-fpm and other prefork servers); elsewhere \
files for each request are not told.",
};

/// A request that creates so many files spends 2 to 10 ms of CPU on that alone (20 to 100 µs each), as much as
/// an ordinary page takes altogether.
const PER_REQUEST: f64 = 100.0;
/// A request with a session, a lock and a few uploads stays below, and what is synced at once by a mail queue or a database.
const PER_REQUEST_SOME: f64 = 20.0;
/// Fewer requests do not show that each of them does it: one of them may have unpacked an archive.
const MIN_REQUESTS: u64 = 3;
/// As many a day as an ordinary ext4 of 130 GB has inodes: 8.6 million.
const MANY_PER_S: f64 = 100.0;
/// Fewer are no storm, at whatever rate.
const MIN_CREATED: u64 = 100;
/// Share of request time that is lost to fsync.
const SYNC_SHARE: f64 = 0.2;
/// Without requests: so many tasks wait in fsync at any time. A mail queue at 50 mails a second and 5 ms each has a
/// quarter of that.
const SYNC_LOAD: f64 = 1.0;
/// Of the files created, at least so many are synced; otherwise the fsyncs are for other files.
const SYNCED: f64 = 0.5;
/// Share of the files, or of a journal's work, from which on a team is the one behind it.
const MOST: f64 = 0.5;
/// The size for which an ordinary file system has an inode, where the number is not fixed; bytes.
const ORDINARY_RATIO: u64 = 16_384;
/// A file takes a block at least, or in memory a page: none is large below, however many inodes there are; bytes.
const BLOCK: u64 = 4096;
/// The sizes of fewer than this share of the files say nothing about all of them.
const SIZED: f64 = 0.1;

/// What it costs, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Cost {
    /// They end the inodes.
    Inodes,
    /// Others wait for the journal.
    Journal,
    /// The team waits for fsync.
    Sync,
    /// Each request pays for many.
    Request,
    /// Nothing that was measured.
    None,
}

/// What was measured about one team on one file system.
struct Case<'a> {
    window: &'a Window,
    files: &'a Files,
    creator: &'a Creator,
    fs: Option<&'a FileSystem>,
    group: Option<&'a Group>,
    cost: Cost,
}

fn check(window: &Window) -> Verdict {
    let mut verdict = Verdict::clear();
    let files = match storage::files(window) {
        Ok(files) => files,
        Err(why) => {
            verdict.not_judged.push(why);
            return verdict;
        }
    };
    verdict.not_judged.extend(tcp::without(
        window,
        "file_syncs",
        "what fsync costs those that create files",
    ));
    let creators = files.creators.iter();
    let mut cases: Vec<Case<'_>> = creators
        .filter_map(|creator| Case::new(window, files, creator))
        .collect();
    let created = |c: &Case<'_>| std::cmp::Reverse(c.work().created);
    cases.sort_by_key(|c| (c.cost, created(c)));
    let more = cases.len().saturating_sub(MAX_FINDINGS);
    cases.truncate(MAX_FINDINGS);
    verdict.findings = cases.iter().map(finding).collect();
    if let Some(last) = verdict.findings.last_mut().filter(|_| more > 0) {
        last.summary.push(words::more(more));
    }
    verdict
}

impl<'a> Case<'a> {
    /// The case against a team, if there is one.
    fn new(window: &'a Window, files: &'a Files, creator: &'a Creator) -> Option<Self> {
        let work = &creator.work;
        let mut case = Self {
            window,
            files,
            creator,
            fs: storage::file_system(files, work.device),
            group: storage::group(window, &work.team),
            cost: Cost::None,
        };
        if work.created < MIN_CREATED || work.team.name.is_empty() || !case.is_small() {
            return None;
        }
        case.cost = [Cost::Inodes, Cost::Journal, Cost::Sync, Cost::Request]
            .into_iter()
            .find(|cost| case.pays(*cost))
            .unwrap_or(Cost::None);
        let many =
            case.per_s() >= MANY_PER_S || case.per_request().is_some_and(|n| n >= PER_REQUEST_SOME);
        (case.cost != Cost::None || many).then_some(case)
    }

    fn work(&self) -> &'a Work {
        &self.creator.work
    }

    fn seconds(&self) -> f64 {
        tcp::seconds(self.window)
    }

    fn per_s(&self) -> f64 {
        self.work().created as f64 / self.seconds()
    }

    fn requests(&self) -> u64 {
        self.group.map_or(0, Group::all_requests)
    }

    /// Files created for each request, where the team serves enough of them.
    fn per_request(&self) -> Option<f64> {
        let requests = self.requests();
        (requests >= MIN_REQUESTS).then(|| self.work().created as f64 / requests as f64)
    }

    /// The space for which the file system has one inode, bytes.
    fn ratio(&self) -> u64 {
        let fs = self.fs.filter(|fs| fs.inodes > 0);
        fs.map_or(ORDINARY_RATIO, |fs| (fs.total_bytes / fs.inodes).max(BLOCK))
    }

    fn sizes_known(&self) -> bool {
        let work = self.work();
        work.sizes.count > 0 && work.sizes.count as f64 >= SIZED * work.created as f64
    }

    /// Where sizes are not known, a storm is one all the same; the confidence says so.
    fn is_small(&self) -> bool {
        !self.sizes_known() || self.work().sizes.quantile(0.5) < self.ratio()
    }

    fn in_memory(&self) -> bool {
        self.fs.is_some_and(|fs| storage::in_memory(&fs.mount))
    }

    /// Time in fsync, as a share of request time, or in seconds for each second where there are no requests.
    fn sync_cost(&self) -> (f64, bool) {
        let ns = self.work().syncs.total_ns as f64;
        match self.group {
            Some(group) => (ns / group.all_wall_ns().max(1) as f64, true),
            None => (ns / self.window.duration_ns.max(1) as f64, false),
        }
    }

    /// Is there an fsync for most of the files?
    fn are_synced(&self) -> bool {
        let work = self.work();
        work.syncs.count as f64 >= SYNCED * work.created as f64
    }

    /// Would fewer files be less to wait for? Whoever syncs a few files at once waits for the disk, and would for one of them.
    fn number_matters(&self) -> bool {
        let work = self.work();
        let syncs = work.syncs.count;
        let for_each_sync = || (syncs > 0).then(|| work.created as f64 / syncs as f64);
        let at_once = self.per_request().or_else(for_each_sync);
        self.are_synced() || at_once.is_none_or(|n| n >= PER_REQUEST_SOME)
    }

    fn pays(&self, cost: Cost) -> bool {
        let work = self.work();
        match cost {
            Cost::Inodes => {
                let here = |c: &&Creator| c.work.device == work.device;
                let all: u64 = self
                    .files
                    .creators
                    .iter()
                    .filter(here)
                    .map(|c| c.work.created)
                    .sum();
                work.grown() > 0
                    && work.created as f64 >= MOST * all as f64
                    && inode_exhaustion::warns_of_inodes(self.window, work.device)
            }
            Cost::Journal => {
                self.number_matters()
                    && journal_stall::share_of(self.window, work.device, &work.team) >= MOST
            }
            Cost::Sync => {
                let (cost, of_requests) = self.sync_cost();
                let limit = if of_requests { SYNC_SHARE } else { SYNC_LOAD };
                self.are_synced() && cost >= limit && !self.in_memory()
            }
            Cost::Request => self.per_request().is_some_and(|n| n >= PER_REQUEST),
            Cost::None => false,
        }
    }

    fn severity(&self) -> Severity {
        match self.cost {
            Cost::None => Severity::Info,
            _ => Severity::Warning,
        }
    }

    fn confidence(&self) -> Confidence {
        let doubts = [
            (!self.sizes_known()).then(|| {
                let why = "how large the files are is not known: their creator did not close them";
                (Level::Medium, why.to_owned())
            }),
            (self.cost == Cost::Inodes).then(|| {
                let why = "that the inodes end takes the present rate to go on";
                (Level::Medium, why.to_owned())
            }),
        ];
        tcp::confidence(
            self.window,
            storage::FILES,
            doubts.into_iter().flatten(),
            "each creation was counted in the kernel",
        )
    }
}

fn finding(case: &Case<'_>) -> Finding {
    let work = case.work();
    Finding {
        rule: RULE.reference(),
        title: words::title(case),
        severity: case.severity(),
        confidence: case.confidence(),
        explains: tcp::share(work.created, case.files.created),
        explains_what: "the files created",
        culprit: Culprit {
            group: Some(work.team.name.clone()),
            php_fpm: work.team.php_fpm,
            pid: work.team.pids.first().copied(),
            place: case
                .fs
                .map(|fs| storage::place(&fs.mount, work.path.as_deref())),
            ..Culprit::default()
        },
        measured: measured(case),
        summary: words::summary(case),
        evidence: words::evidence(case),
        remedies: advice::remedies(case),
        window_ns: case.window.duration_ns,
        first_ns: None,
        caused_by: Vec::new(),
        symptoms: Vec::new(),
    }
}

fn measured(case: &Case<'_>) -> Vec<Measured> {
    let rate = Measured {
        what: "small files created per second",
        observed: Quantity::per_second(case.per_s()),
        threshold: Quantity::per_second(MANY_PER_S),
    };
    let per_request = |limit| {
        case.per_request().map(|n| Measured {
            what: "files created for each request",
            observed: Quantity::count(n),
            threshold: Quantity::count(limit),
        })
    };
    let (cost, of_requests) = case.sync_cost();
    match case.cost {
        Cost::Inodes => vec![Measured {
            what: "share of the files created on the file system whose inodes end",
            observed: Quantity::ratio(tcp::share(case.work().created, case.files.created)),
            threshold: Quantity::ratio(MOST),
        }],
        Cost::Journal => vec![Measured {
            what: "share of the work of a journal that others wait for",
            observed: Quantity::ratio(journal_stall::share_of(
                case.window,
                case.work().device,
                &case.work().team,
            )),
            threshold: Quantity::ratio(MOST),
        }],
        Cost::Sync if of_requests => vec![Measured {
            what: "share of request time spent in fsync on what it creates",
            observed: Quantity::ratio(cost),
            threshold: Quantity::ratio(SYNC_SHARE),
        }],
        Cost::Sync => vec![Measured {
            what: "tasks in fsync on what they create, on average",
            observed: Quantity::count(cost),
            threshold: Quantity::count(SYNC_LOAD),
        }],
        Cost::Request => per_request(PER_REQUEST).into_iter().collect(),
        Cost::None if case.per_s() >= MANY_PER_S => vec![rate],
        Cost::None => per_request(PER_REQUEST_SOME).into_iter().collect(),
    }
}
