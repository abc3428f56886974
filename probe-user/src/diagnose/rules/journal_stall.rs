//! S01: tasks wait for an ext4 journal commit.

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
        Group, Team, Window,
        files::Device,
        journal::{Disk, Journal, Sleep, Syncs, WaitsFor, is_journal},
    },
    diagnose::{Confidence, Culprit, Finding, Level, Measured, Quantity, Severity, engine::off},
};

/// The rule.
pub const RULE: Rule = Rule {
    id: "S01",
    name: "journal-stall",
    summary: "tasks wait for an ext4 journal commit, or in fsync before it",
    stage: Stage::Preview,
    subject: Subject::FileSystem,
    severity: Severity::Critical,
    needs: &["journal_commits"],
    causes: &[Cause::of("S02", |cause, found| {
        let device = |f: &Finding| f.culprit.place.as_ref().map(|p| p.device);
        cause.severity >= Severity::Warning
            && device(cause).is_some()
            && device(cause) == device(found)
    })],
    doc: DOC,
    check,
};

const DOC: Doc = Doc {
    sees: "Commits of each ext4 (and ext3) journal from jbd2's start to its end, with their phases; fsync by \
process, from call to return; who changes how much; and tasks in uninterruptible sleep (D), each with the \
kernel stack that says what it sleeps for: a commit, room in a transaction, a buffer that a commit holds. It \
fires when both are there: slow commits (95 % are not done within 100 ms, or one that is still not done) and \
victims that lost time behind them. Where commits are quick and fsync is not (95 % of at least ten calls are not \
done within 100 ms), it fires as well and says that callers wait for their own data, before the commit starts.

Severity: critical when a group's requests lost half of their time so, or, without requests, when one task or \
more was always asleep and a commit takes a second; warning from a tenth of the request time, or of one \
task's time; below that, info.

What each number covers: fsync counts all of the caller's wait. In data=ordered mode it writes its own data \
first, before any commit starts, then waits for the commit, and perhaps for the one before it. A commit's \
phases begin later: locking waits for changes that are still being made, flushing writes data of files that \
belong to the transaction, logging writes the journal. jbd2's own statistics may thus show zeros while callers \
wait for seconds.",
    matters: "There is one journal for a file system, and one transaction runs at a time. While a commit is slow, \
everybody who calls fsync, and at last everybody who creates, renames or removes a file there, sleeps in D, \
where no signal ends it. Load and CPU look idle and iowait is flat; requests hang for seconds.",
    confirm: "Look at the transactions, who sleeps in D, and behind what:

    cat /proc/fs/jbd2/*/info
    ps -eo state,pid,comm,wchan:32 | grep ^D
    cat /proc/PID/stack
    timeout 10 strace -f -T -e trace=fsync,fdatasync -p PID",
    try_: "From the safest to the most far-reaching: fewer fsyncs, or one for many files; put what may be lost on \
tmpfs; find what makes the device slow (a limit in the block cgroup, a cloud disk's IOPS, another process's \
writes); a journal on a device of its own; a longer commit= only where commits come from that timer. \
data=writeback leaves out the flushing phase alone, and after a crash files may hold stale blocks, contents of \
files that were removed; nobarrier loses the file system itself in a power failure.

commit=5 is not what makes fsync slow: each fsync starts a commit of its own, whatever it says.",
    wrong: "Sleeps are not told apart by device. Where several file systems have slow commits, a team's sleeps count \
for each of those that it calls fsync on or changes, and the confidence says so.

Fsync of a large file takes long on any disk, and no journal is to blame: fewer than ten calls of a team are left \
alone.

Without function names (kernel.kptr_restrict=2) what a task sleeps for is not known; then the time in fsync \
stands in for it, which includes the writing of the caller's own data: a slow device with a healthy journal \
may be blamed on the journal.

xfs, btrfs and others keep logs of their own that are not watched: there the rule does not judge.",
};

/// A rotating disk writes a small commit in 20 to 40 ms, an SSD in 1 to 5. One that takes 100 ms has waited
/// behind something.
const SLOW_NS: u64 = 100_000_000;
/// Fewer calls of fsync may be for a few large files, which take their time to be written.
const MIN_SYNCS: u64 = 10;
/// A commit of a second: users wait for seconds behind it.
const VERY_SLOW_NS: u64 = 1_000_000_000;
/// Share of request time.
const HALF: f64 = 0.5;
/// Share of request time; or of one task's time, where there are no requests.
const TENTH: f64 = 0.1;
/// One task or more is asleep at any time, on average.
const ALWAYS: f64 = 1.0;
/// Less than a hundredth of one task's time is not worth a line.
const SOME: f64 = 0.01;

/// Somebody who lost time.
struct Victim<'a> {
    team: &'a Team,
    /// Time lost behind the journal, ns.
    lost_ns: u64,
    /// The group whose requests lost it.
    group: Option<&'a Group>,
    /// The sleeps that prove it, with their stacks; none where these are not known.
    sleeps: Vec<&'a Sleep>,
    /// Sleeps of the team for whatever reason.
    all_sleeps: u64,
}

/// What was measured about one file system.
struct Case<'a> {
    window: &'a Window,
    journal: &'a Journal,
    disk: &'a Disk,
    /// Most time lost first.
    victims: Vec<Victim<'a>>,
    /// Commits are quick: callers of fsync wait for their own data before them.
    own_data: bool,
    /// How `lost_ns` is known: by stacks, or by the time in fsync alone.
    by_stacks: bool,
    /// Other file systems with slow commits.
    others: usize,
}

fn check(window: &Window) -> Verdict {
    let mut verdict = Verdict::clear();
    let journal = match storage::journal(window) {
        Ok(journal) => journal,
        Err(why) => {
            verdict.not_judged.push(why);
            return verdict;
        }
    };
    if journal.disks.is_empty() {
        verdict.not_judged.push(words::no_journal(journal));
        return verdict;
    }
    verdict.not_judged.extend(tcp::without(
        window,
        "sleepers",
        "who sleeps behind a commit",
    ));
    if let Some(why) = &journal.no_symbols {
        verdict
            .not_judged
            .push(format!("what tasks in D sleep for: {why}"));
    }
    let mut cases = cases(window, journal);
    cases.sort_by_key(|c| std::cmp::Reverse((c.severity(), c.lost_ns())));
    let more = cases.len().saturating_sub(MAX_FINDINGS);
    cases.truncate(MAX_FINDINGS);
    verdict.findings = cases.iter().map(finding).collect();
    if let Some(last) = verdict.findings.last_mut().filter(|_| more > 0) {
        last.summary.push(words::more(more));
    }
    verdict
}

/// The share of a file system's fsyncs, or of the changes to its journal, that is a team's; 0 where nobody waits
/// for that journal.
pub(super) fn share_of(window: &Window, device: Device, team: &Team) -> f64 {
    let Some(journal) = window.journal.as_deref() else {
        return 0.0;
    };
    let cases = cases(window, journal);
    let warned = |c: &&Case<'_>| c.disk.device == device && c.severity() >= Severity::Warning;
    let Some(case) = cases.iter().find(warned) else {
        return 0.0;
    };
    let (syncs, changes) = (&case.disk.syncs, &case.disk.changes);
    let share = |rows: Vec<(&Team, u64)>| {
        let all = rows.iter().map(|r| r.1).sum();
        let own = rows.iter().filter(|r| r.0.is(team)).map(|r| r.1).sum();
        tcp::share(own, all)
    };
    // What a kernel thread writes back was dirtied by others before: it is nobody's share.
    let changes = changes.iter().filter(|c| !c.team.is_kernel());
    share(syncs.iter().map(|s| (&s.team, s.calls.count)).collect())
        .max(share(changes.map(|c| (&c.team, c.blocks)).collect()))
}

fn cases<'a>(window: &'a Window, journal: &'a Journal) -> Vec<Case<'a>> {
    let slow: Vec<&Disk> = journal.disks.iter().filter(|d| is_slow(d)).collect();
    let quick = journal.disks.iter().filter(|d| !is_slow(d));
    slow.iter()
        .filter_map(|disk| Case::new(window, journal, disk, slow.len() - 1))
        .chain(quick.filter_map(|disk| Case::before_commits(window, journal, disk)))
        .collect()
}

/// True when a team calls fsync often, and it is slow.
fn is_slow_sync(syncs: &Syncs) -> bool {
    !syncs.team.is_kernel()
        && syncs.calls.count >= MIN_SYNCS
        && syncs.calls.durations.quantile(0.95) >= SLOW_NS
}

fn is_slow(disk: &Disk) -> bool {
    let commits = &disk.commits;
    let ended = commits.total.count > 0 && commits.quantiles_ns[1] >= SLOW_NS;
    ended || commits.under_way_ns.is_some_and(|ns| ns >= SLOW_NS)
}

impl<'a> Case<'a> {
    fn new(
        window: &'a Window,
        journal: &'a Journal,
        disk: &'a Disk,
        others: usize,
    ) -> Option<Self> {
        let mut case = Self {
            window,
            journal,
            disk,
            victims: Vec::new(),
            own_data: false,
            by_stacks: stacks_known(window, journal),
            others,
        };
        let by_stacks = case.by_stacks;
        case.victims = if by_stacks {
            case.sleepers()
        } else {
            case.in_fsync()
        };
        case.victims.sort_by_key(|v| std::cmp::Reverse(v.lost_ns));
        (case.load() >= SOME).then_some(case)
    }

    /// Commits are quick here, but fsync is not: the case of those who wait in it.
    fn before_commits(window: &'a Window, journal: &'a Journal, disk: &'a Disk) -> Option<Self> {
        let mut case = Self {
            window,
            journal,
            disk,
            victims: Vec::new(),
            own_data: true,
            by_stacks: false,
            others: 0,
        };
        case.victims = case.in_fsync();
        let slow = |v: &Victim<'_>| {
            let mut syncs = disk.syncs.iter();
            syncs.any(|s| s.team.is(v.team) && is_slow_sync(s))
        };
        case.victims.retain(slow);
        if stacks_known(window, journal) {
            for victim in &mut case.victims {
                let own = |s: &&Sleep| s.team.is(victim.team);
                victim.sleeps = journal
                    .sleeps
                    .iter()
                    .filter(own)
                    .filter(|s| s.waits_for == WaitsFor::BlockIo || is_journal(s.waits_for))
                    .collect();
                victim.all_sleeps = journal.sleeps.iter().filter(own).map(Sleep::count).sum();
            }
        }
        case.victims.sort_by_key(|v| std::cmp::Reverse(v.lost_ns));
        (case.load() >= SOME).then_some(case)
    }

    /// When the first slow commit began, ns after the window's start.
    fn first_slow_ns(&self) -> Option<u64> {
        let commits = &self.disk.commits;
        let ended = commits.timeline.iter().find(|c| c.took_ns >= SLOW_NS);
        let under_way = commits.under_way_ns.filter(|ns| *ns >= SLOW_NS);
        let began = under_way.map(|ns| self.window.duration_ns.saturating_sub(ns));
        ended.map(|c| c.at_ns).or(began)
    }

    /// Those asleep for this journal, by their stacks.
    fn sleepers(&self) -> Vec<Victim<'a>> {
        let mut victims: Vec<Victim<'a>> = Vec::new();
        let sleeps = self.journal.sleeps.iter();
        for sleep in sleeps.filter(|s| is_journal(s.waits_for) && !s.team.is_kernel()) {
            if self.others > 0 && !self.uses(&sleep.team) {
                continue;
            }
            match victims.iter_mut().find(|v| v.team.is(&sleep.team)) {
                Some(victim) => {
                    victim.lost_ns += sleep.total_ns();
                    victim.sleeps.push(sleep);
                }
                None => victims.push(Victim {
                    team: &sleep.team,
                    lost_ns: sleep.total_ns(),
                    group: storage::group(self.window, &sleep.team),
                    sleeps: vec![sleep],
                    all_sleeps: self.all_sleeps(&sleep.team),
                }),
            }
        }
        victims
    }

    /// Those in fsync on this file system.
    fn in_fsync(&self) -> Vec<Victim<'a>> {
        let syncs = self.disk.syncs.iter().filter(|s| !s.team.is_kernel());
        let victim = |s: &'a Syncs| Victim {
            team: &s.team,
            lost_ns: s.calls.total_ns + s.under_way_ns.min(self.window.duration_ns),
            group: storage::group(self.window, &s.team),
            sleeps: Vec::new(),
            all_sleeps: 0,
        };
        syncs.map(victim).collect()
    }

    fn uses(&self, team: &Team) -> bool {
        self.disk.syncs.iter().any(|s| s.team.is(team))
            || self.disk.changes.iter().any(|c| c.team.is(team))
    }

    fn all_sleeps(&self, team: &Team) -> u64 {
        let sleeps = self.journal.sleeps.iter().filter(|s| s.team.is(team));
        sleeps.map(Sleep::count).sum()
    }

    fn lost_ns(&self) -> u64 {
        self.victims.iter().map(|v| v.lost_ns).sum()
    }

    /// Tasks asleep behind the journal at any time, on average.
    fn load(&self) -> f64 {
        self.lost_ns() as f64 / self.window.duration_ns.max(1) as f64
    }

    /// The largest share of a group's request time that was lost.
    fn request_share(&self) -> Option<f64> {
        let shares = self.victims.iter().filter_map(Victim::request_share);
        shares.max_by(f64::total_cmp)
    }

    /// The longest that most commits take, and what has not ended.
    fn slowest_ns(&self) -> u64 {
        if self.own_data {
            return self.disk.all_syncs().durations.quantile(0.95);
        }
        let commits = &self.disk.commits;
        commits.quantiles_ns[1].max(commits.under_way_ns.unwrap_or(0))
    }

    fn severity(&self) -> Severity {
        let (load, share) = (self.load(), self.request_share().unwrap_or(0.0));
        if share >= HALF || load >= ALWAYS && self.slowest_ns() >= VERY_SLOW_NS {
            Severity::Critical
        } else if share >= TENTH || load >= TENTH {
            Severity::Warning
        } else {
            Severity::Info
        }
    }

    fn confidence(&self) -> Confidence {
        let doubts = [
            (!self.by_stacks && !self.own_data).then(|| {
                let why = "the time in fsync includes writing the caller's own data";
                (Level::Medium, why.to_owned())
            }),
            (self.by_stacks && self.others > 0).then(|| {
                let why = "other file systems have slow commits, too, and sleeps are not told apart by device";
                (Level::Medium, why.to_owned())
            }),
        ];
        tcp::confidence(
            self.window,
            storage::JOURNAL,
            doubts.into_iter().flatten(),
            if self.own_data {
                "each fsync and each commit was timed in the kernel"
            } else {
                "commits and sleeps were timed one by one in the kernel, and the stacks say what for"
            },
        )
    }

    /// By stacks: share of all uninterruptible sleep, but that of kernel threads. Else: of the time in fsync.
    fn explains(&self) -> (f64, &'static str) {
        if self.by_stacks {
            let user = self.journal.sleeps.iter().filter(|s| !s.team.is_kernel());
            let all = user.map(Sleep::total_ns).sum();
            return (
                tcp::share(self.lost_ns(), all),
                "the time asleep in D state",
            );
        }
        let disks = self.journal.disks.iter();
        let all = disks.map(|d| d.all_syncs().total_ns).sum();
        (tcp::share(self.lost_ns(), all), "the time in fsync")
    }
}

impl Victim<'_> {
    fn request_share(&self) -> Option<f64> {
        self.group
            .map(|g| (self.lost_ns as f64 / g.all_wall_ns().max(1) as f64).min(1.0))
    }

    /// Sleeps behind the journal.
    fn count(&self) -> u64 {
        self.sleeps.iter().map(|s| s.count()).sum()
    }

    fn longest_ns(&self) -> u64 {
        let longest = self.sleeps.iter().map(|s| s.longest_ns());
        longest.max().unwrap_or(0)
    }
}

/// True when it is known what tasks in D sleep for.
fn stacks_known(window: &Window, journal: &Journal) -> bool {
    off(window, "sleepers").is_none() && journal.no_symbols.is_none()
}

fn finding(case: &Case<'_>) -> Finding {
    let (explains, explains_what) = case.explains();
    let first = case.victims.first().map(|v| v.team);
    Finding {
        rule: RULE.reference(),
        title: words::title(case),
        severity: case.severity(),
        confidence: case.confidence(),
        explains,
        explains_what,
        culprit: Culprit {
            group: first.map(|t| t.name.clone()).filter(|n| !n.is_empty()),
            php_fpm: first.is_some_and(|t| t.php_fpm),
            pid: first.and_then(|t| t.pids.first().copied()),
            place: Some(words::place(case.disk)),
            ..Culprit::default()
        },
        measured: measured(case),
        summary: words::summary(case),
        evidence: words::evidence(case),
        remedies: advice::remedies(case),
        window_ns: case.window.duration_ns,
        first_ns: case.first_slow_ns(),
        caused_by: Vec::new(),
        symptoms: Vec::new(),
    }
}

fn measured(case: &Case<'_>) -> Vec<Measured> {
    let lost = match case.request_share() {
        Some(share) => Measured {
            what: "share of request time asleep behind the journal",
            observed: Quantity::ratio(share),
            threshold: Quantity::ratio(TENTH),
        },
        None => Measured {
            what: "tasks asleep behind the journal, on average",
            observed: Quantity::count(case.load()),
            threshold: Quantity::count(TENTH),
        },
    };
    let commit = Measured {
        what: if case.own_data {
            "fsync, p95"
        } else {
            "a commit, p95 or still under way"
        },
        observed: Quantity::ns(case.slowest_ns()),
        threshold: Quantity::ns(SLOW_NS),
    };
    vec![commit, lost]
}
