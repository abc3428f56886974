//! A test runner of its own: cases run one after the other on the main thread.
//!
//! libtest runs cases on threads; workloads here are forked children, which die with the thread that made
//! them, and two attached tools would see each other. The command line is libtest's where it matters:
//! `[FILTER...] [--exact] [--list]`; of our own is `--dealt=K/N`, every N-th case from the K-th on, which divides the cases among
//! machines. Other options are ignored.
//!
//! Two kinds of failure may be the machine's, and have the case run again at once. Any other is tried once more at the end of the
//! run, if such cases are few. The run says which cases needed it, and why, and fails when they are many.
//!
//! - A case [`Missed`] a time, in an emulated machine: there a CPU can stand still between a tracepoint and the workload's
//!   reading of the clock, for longer than any useful slack.
//!   The same holds while the hypervisor takes more than a tenth of the machine's time away; what then still misses at the end of the
//!   run is not judged.
//! - Events are [`Unseen`], everywhere: some machines run no BPF program on top of a process of their own that is hidden from
//!   tracing (found on a cloud VM whose first process has not a single sched_switch), interrupts that come upon it included.

mod grace;
mod mounts;

pub use mounts::keep_to_ourselves as keep_mounts_to_ourselves;

use std::{
    collections::HashMap,
    io::Write as _,
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use crate::stolen;

/// One case.
#[derive(Clone, Copy)]
pub struct Test {
    /// What it states, as a path: `waits::poll_is_charged_to_the_peer_that_woke_it`.
    pub name: &'static str,
    /// Panics or returns an error when the statement is false.
    pub run: fn() -> anyhow::Result<()>,
}

/// A list of cases named `module::function`.
#[macro_export]
macro_rules! tests {
    ($($module:ident :: { $($name:ident),* $(,)? })*) => {
        &[$($(
            $crate::harness::Test {
                name: concat!(stringify!($module), "::", stringify!($name)),
                run: $module::$name,
            },
        )*)*]
    };
}

/// The error that marks a case as not applicable here; made by [`crate::feature::require`].
#[derive(Debug)]
pub struct Skip(pub String);

impl std::fmt::Display for Skip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Skip {}

/// The error of a case that saw everything that it should, but a time was not what the workload measured: returned
/// by [`crate::ensure_time`], or the payload of a panic.
#[derive(Debug)]
pub struct Missed(pub String);

impl std::fmt::Display for Missed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Missed {}

/// The error of a case that saw less than there was, and nothing that there was not.
#[derive(Debug)]
pub struct Unseen(pub String);

impl std::fmt::Display for Unseen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unseen {}

/// The error of a case that [`Missed`] a time while the hypervisor took much of the machine away: it is tried again, and at last
/// not judged, which counts as skipped, and says so.
#[derive(Debug)]
struct Unsteady(String);

impl std::fmt::Display for Unsteady {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unsteady {}

/// As `anyhow::ensure`, for a condition that compares times: fails with [`Missed`].
#[macro_export]
macro_rules! ensure_time {
    ($holds:expr, $($text:tt)+) => {
        if !$holds {
            return Err($crate::harness::Missed(format!($($text)+)).into());
        }
    };
}

/// A case that takes longer than this hangs: the whole run ends with a message.
const WATCHDOG: Duration = Duration::from_secs(180);

/// How often a case is tried whose failure may be the machine's.
const ATTEMPTS: usize = 3;

/// At most one case in so many (but at least one) may need another attempt: more is no accident.
const REPEATED: usize = 10;

/// So many cases may fail and be tried once more at the end, when nothing else of the run is left: real servers on a busy
/// machine are not always in time. When more fail, it is no accident. Each is named, with what it failed of.
const LATER: usize = 3;

/// Which of the cases are ours where they are dealt to several machines, one after the other: every one but for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Hand {
    first: usize,
    of: usize,
}

impl Default for Hand {
    fn default() -> Self {
        Self { first: 0, of: 1 }
    }
}

impl Hand {
    /// From `K/N`.
    fn of(text: &str) -> Option<Self> {
        let (first, of) = text.split_once('/')?;
        let (first, of) = (first.parse().ok()?, of.parse().ok()?);
        (first < of).then_some(Self { first, of })
    }

    fn has(self, n: usize) -> bool {
        n % self.of == self.first
    }
}

/// Runs the cases that the command line asks for and prints one line each. `prepare` comes before the first:
/// what it leaves open is shared by the cases and no leak.
pub fn run(suite: &str, tests: &[Test], prepare: fn() -> anyhow::Result<()>) -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let filters: Vec<&String> = args.iter().filter(|a| !a.starts_with("--")).collect();
    let exact = args.iter().any(|a| a == "--exact");
    let hand = match args.iter().find_map(|a| a.strip_prefix("--dealt=")) {
        None => Hand::default(),
        Some(text) => match Hand::of(text) {
            Some(hand) => hand,
            None => {
                eprintln!("{suite}: --dealt={text} is not K/N, with K from 0 to N - 1");
                return ExitCode::from(101);
            }
        },
    };
    let chosen: Vec<&Test> = tests
        .iter()
        .enumerate()
        .filter(|(n, _)| hand.has(*n))
        .map(|(_, test)| test)
        .filter(|t| {
            filters.is_empty()
                || filters.iter().any(|f| {
                    if exact {
                        t.name == f.as_str()
                    } else {
                        t.name.contains(f.as_str())
                    }
                })
        })
        .collect();
    if args.iter().any(|a| a == "--list") {
        for test in &chosen {
            println!("{}: test", test.name);
        }
        return ExitCode::SUCCESS;
    }
    // SAFETY: no arguments, cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("{suite}: these tests load BPF programs: run them as root");
        return ExitCode::from(101);
    }

    // A failed assertion is printed once, by the loop below.
    let panic = Arc::new(Mutex::new(String::new()));
    let place = Arc::clone(&panic);
    std::panic::set_hook(Box::new(move |info| {
        if std::thread::current().name() != Some("main") {
            eprintln!("{info}");
        } else if let Ok(mut place) = place.lock() {
            *place = info.to_string();
        }
    }));
    println!("running {} {suite} tests", chosen.len());
    let begun = Instant::now();
    if let Err(error) = mounts::keep_to_ourselves() {
        println!("cannot keep mounts to ourselves: {error:#}");
        return ExitCode::from(101);
    }
    if let Err(error) = prepare() {
        println!("cannot prepare: {error:#}");
    }
    let watchdog = Watchdog::start();
    let _short = grace::Short::begin();
    let emulated = emulated();
    let excuse = |error: &anyhow::Error| excuse(error, emulated);
    let attempt = |test: &Test| {
        print!("test {} ... ", test.name);
        let _ = std::io::stdout().flush();
        let mut t = Instant::now();
        let again = |error: &anyhow::Error| {
            println!("again: {error}");
            print!("test {} ... ", test.name);
            let _ = std::io::stdout().flush();
        };
        let (result, attempts) = repeat(excuse, again, || {
            t = Instant::now();
            let ticks = stolen::Ticks::now();
            watchdog.begin(test.name);
            let result = once(test, &panic);
            watchdog.end();
            result.map_err(|error| marked(error, ticks.share_since()))
        });
        (result, attempts, t.elapsed().as_millis())
    };
    let (mut passed, mut skipped, mut repeated) = (0, 0, 0);
    let (mut later, mut failed) = (Vec::new(), Vec::new());
    for test in &chosen {
        let (result, attempts, ms) = attempt(test);
        match result {
            Ok(()) if attempts > 1 => {
                passed += 1;
                repeated += 1;
                println!("ok on attempt {attempts} ({ms} ms)");
            }
            Ok(()) => {
                passed += 1;
                println!("ok ({ms} ms)");
            }
            Err(error) => match error.downcast_ref::<Skip>() {
                Some(skip) => {
                    skipped += 1;
                    println!("skipped: {skip}");
                }
                None => {
                    println!("again: at the end, for {error:#}");
                    later.push((*test, error));
                }
            },
        }
    }
    let few = later.iter().filter(|(_, e)| !e.is::<Unsteady>()).count() <= LATER;
    for (test, error) in later {
        let tried = (few || error.is::<Unsteady>()).then(|| attempt(test));
        let error = match tried {
            Some((Ok(()), _, ms)) => {
                passed += 1;
                repeated += 1;
                println!("ok at the end ({ms} ms)");
                continue;
            }
            Some((Err(error), ..)) if error.is::<Unsteady>() => {
                skipped += 1;
                println!("skipped: not judged: {error}");
                continue;
            }
            Some((Err(error), ..)) => error,
            None => {
                print!("test {} ... ", test.name);
                error
            }
        };
        failed.push(test.name);
        println!("FAILED\n    {error:#}");
    }
    for name in &failed {
        println!("failed: {name}");
    }
    let often = too_often(repeated, chosen.len());
    let good = failed.is_empty() && !often;
    println!(
        "test result: {}. {passed} passed; {} failed; {skipped} skipped; {repeated} repeated; finished in {:.1} s",
        if good { "ok" } else { "FAILED" },
        failed.len(),
        begun.elapsed().as_secs_f64()
    );
    if often {
        println!("{repeated} cases passed on another attempt only: more than one in {REPEATED}");
    }
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(101)
    }
}

/// Runs a case; `panic` is where the hook leaves its message.
fn once(test: &Test, panic: &Mutex<String>) -> anyhow::Result<()> {
    let fds = open_descriptors();
    match catch_unwind(AssertUnwindSafe(test.run)) {
        Ok(Ok(())) => leaked(&fds),
        Ok(Err(error)) => Err(error),
        Err(payload) => Err(match payload.downcast::<Missed>() {
            Ok(missed) => (*missed).into(),
            Err(_) => anyhow::anyhow!(
                "{}",
                panic.lock().map(|text| text.clone()).unwrap_or_default()
            ),
        }),
    }
}

/// May a failure be the machine's?
fn excuse(error: &anyhow::Error, emulated: bool) -> bool {
    error.is::<Unseen>() || error.is::<Unsteady>() || emulated && error.is::<Missed>()
}

/// A failure, where the hypervisor took this share of the CPU time meanwhile.
fn marked(error: anyhow::Error, share: f64) -> anyhow::Error {
    if share <= stolen::MUCH || error.is::<Skip>() || error.is::<Unseen>() {
        return error;
    }
    let taken = format!(
        "the hypervisor took {:.0} % of the CPU time meanwhile",
        share * 100.0
    );
    match error.is::<Missed>() {
        true => Unsteady(format!("{error:#}; {taken}")).into(),
        false => error.context(taken),
    }
}

/// Runs a case until it has no excuse, or has had its attempts; the last result, and the number of attempts.
fn repeat(
    excuse: impl Fn(&anyhow::Error) -> bool,
    mut again: impl FnMut(&anyhow::Error),
    mut run: impl FnMut() -> anyhow::Result<()>,
) -> (anyhow::Result<()>, usize) {
    let mut attempt = 1;
    loop {
        let result = run();
        match &result {
            Err(error) if attempt < ATTEMPTS && excuse(error) => again(error),
            _ => return (result, attempt),
        }
        attempt += 1;
    }
}

/// Have so many of the cases needed another attempt that it cannot be an accident?
fn too_often(repeated: usize, cases: usize) -> bool {
    repeated > cases.div_ceil(REPEATED)
}

/// Is this a machine that QEMU emulates instruction by instruction, as `cargo xtask vm` does?
pub fn emulated() -> bool {
    std::fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| is_emulated(&text))
}

fn is_emulated(cpuinfo: &str) -> bool {
    cpuinfo
        .lines()
        .any(|line| line.starts_with("model name") && line.contains("QEMU TCG"))
}

/// Open descriptors of this process and what they are.
fn open_descriptors() -> HashMap<i32, String> {
    let Ok(dir) = std::fs::read_dir("/proc/self/fd") else {
        return HashMap::new();
    };
    dir.flatten()
        .filter_map(|entry| {
            let fd = entry.file_name().to_str()?.parse().ok()?;
            let target = std::fs::read_link(entry.path()).ok()?;
            Some((fd, target.to_string_lossy().into_owned()))
        })
        .filter(|(_, target)| !target.ends_with("/fd"))
        .collect()
}

/// Fails when a case left descriptors open; threads that are just ending get a moment.
fn leaked(before: &HashMap<i32, String>) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(2);
    loop {
        let left: Vec<String> = open_descriptors()
            .into_iter()
            .filter(|(fd, target)| before.get(fd) != Some(target))
            .map(|(fd, target)| format!("{fd} -> {target}"))
            .collect();
        if left.is_empty() {
            return Ok(());
        }
        anyhow::ensure!(
            Instant::now() < deadline,
            "descriptors left open: {}",
            left.join(", ")
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Ends the process when a case hangs, so that a run in a VM ends by itself.
struct Watchdog(Arc<Mutex<Option<(&'static str, Instant)>>>);

impl Watchdog {
    fn start() -> Self {
        let current = Arc::new(Mutex::new(None::<(&str, Instant)>));
        let shared = Arc::clone(&current);
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(Duration::from_millis(500));
                let hung = shared
                    .lock()
                    .ok()
                    .and_then(|c| *c)
                    .filter(|(_, begun)| begun.elapsed() > WATCHDOG);
                if let Some((name, _)) = hung {
                    println!("FAILED\ntest {name} hangs: ending the run");
                    grace::end();
                    std::process::exit(101);
                }
            }
        });
        Self(current)
    }

    fn begin(&self, name: &'static str) {
        if let Ok(mut current) = self.0.lock() {
            *current = Some((name, Instant::now()));
        }
    }

    fn end(&self) {
        if let Ok(mut current) = self.0.lock() {
            *current = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    enum Case {
        Good,
        Late,
        Blind,
        Wrong,
    }
    use Case::{Blind, Good, Late, Wrong};

    /// What happens to a case with these results: passed or not, how many attempts, how many were announced.
    fn outcome(emulated: bool, results: &[Case]) -> (bool, usize, usize) {
        let (mut results, mut announced) = (results.iter(), 0);
        let (result, attempt) = repeat(
            |error| excuse(error, emulated),
            |_| announced += 1,
            || match results.next().expect("one result for each attempt") {
                Good => Ok(()),
                Late => Err(anyhow::Error::new(Missed("late".into())).context("in a step")),
                Blind => Err(anyhow::Error::new(Unseen("3, not 4".into())).context("in a step")),
                Wrong => Err(anyhow::anyhow!("wrong")),
            },
        );
        (result.is_ok(), attempt, announced)
    }

    #[test]
    fn a_time_that_is_missed_while_the_machine_is_taken_away_is_not_judged() {
        let late = || anyhow::Error::new(Missed("5 ms, not 3".into())).context("in a step");
        let error = marked(late(), 0.5);
        assert!(error.is::<Unsteady>() && excuse(&error, false));
        assert_eq!(
            error.to_string(),
            "in a step: 5 ms, not 3; the hypervisor took 50 % of the CPU time meanwhile"
        );
        assert!(!excuse(&marked(late(), 0.05), false));
        // What has nothing to do with times stays what it is, with a word more.
        let wrong = marked(anyhow::anyhow!("wrong"), 0.5);
        assert!(!excuse(&wrong, true), "{wrong:#}");
        assert!(format!("{wrong:#}").ends_with("wrong"));
        let skip = marked(Skip("no kprobes".into()).into(), 0.5);
        assert_eq!(skip.to_string(), "no kprobes");
    }

    #[test]
    fn only_what_may_be_the_machines_is_tried_again_and_not_for_ever() {
        assert_eq!(outcome(true, &[Good]), (true, 1, 0));
        assert_eq!(outcome(true, &[Late, Good]), (true, 2, 1));
        assert_eq!(outcome(true, &[Late, Late, Late]), (false, 3, 2));
        assert_eq!(outcome(true, &[Wrong]), (false, 1, 0));
        assert_eq!(outcome(true, &[Late, Wrong]), (false, 2, 1));
        assert_eq!(outcome(false, &[Late]), (false, 1, 0));
        assert_eq!(outcome(false, &[Blind, Good]), (true, 2, 1));
        assert_eq!(outcome(false, &[Blind, Late]), (false, 2, 1));
        assert_eq!(outcome(false, &[Blind, Blind, Blind]), (false, 3, 2));
    }

    #[test]
    fn a_panic_about_a_time_is_told_from_others() {
        let late = Test {
            name: "late",
            run: || std::panic::panic_any(Missed("late".into())),
        };
        let wrong = Test {
            name: "wrong",
            run: || panic!("wrong"),
        };
        let place = Mutex::new("message".to_owned());
        let error = once(&late, &place).expect_err("it panics");
        assert_eq!(error.downcast_ref::<Missed>().map(|m| &*m.0), Some("late"));
        let error = once(&wrong, &place).expect_err("it panics");
        assert!(!error.is::<Missed>() && error.to_string() == "message");
    }

    #[test]
    fn a_case_that_leaves_a_descriptor_open_fails() {
        // Other tests run meanwhile, with descriptors of their own: this one is nobody else's.
        const FILE: &str = "/dev/full";
        let says = |result: anyhow::Result<()>| {
            result.is_err_and(|error| error.to_string().contains(FILE))
        };
        let place = Mutex::new(String::new());
        let tidy = Test {
            name: "tidy",
            run: || {
                std::fs::File::open(FILE)?;
                Ok(())
            },
        };
        let leaks = Test {
            name: "leaks",
            run: || {
                std::mem::forget(std::fs::File::open(FILE)?);
                Ok(())
            },
        };
        assert!(!says(once(&tidy, &place)));
        assert!(says(once(&leaks, &place)));
        // What was open before is no leak of a later case.
        assert!(!says(once(&tidy, &place)));
    }

    #[test]
    fn dealt_cases_are_each_somebodys_and_only_one_s() {
        let hands: Vec<Hand> = ["0/3", "1/3", "2/3"]
            .into_iter()
            .filter_map(Hand::of)
            .collect();
        for n in 0..20 {
            assert_eq!(hands.iter().filter(|hand| hand.has(n)).count(), 1);
            assert!(Hand::default().has(n));
        }
        for wrong in ["3/3", "0/0", "1", "a/3", "-1/3"] {
            assert_eq!(Hand::of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn one_case_in_ten_may_be_repeated() {
        assert!(!too_often(0, 0) && !too_often(1, 1) && !too_often(5, 50));
        assert!(too_often(2, 10) && too_often(6, 50));
    }

    #[test]
    fn only_emulation_counts_as_emulated() {
        assert!(is_emulated(
            "vendor_id\t: AuthenticAMD\nmodel name\t: QEMU TCG CPU version 2.5+\n"
        ));
        assert!(!is_emulated(
            "model name\t: AMD EPYC 7B13\nflags\t: hypervisor\n"
        ));
    }
}
