//! A test runner of its own: cases run one after the other on the main thread.
//!
//! libtest runs cases on threads; workloads here are forked children, which die with the thread that made
//! them, and two attached tools would see each other. The command line is libtest's where it matters:
//! `[FILTER...] [--exact] [--list]`; other options are ignored.

use std::{
    collections::HashMap,
    io::Write as _,
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

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

/// A case that takes longer than this hangs: the whole run ends with a message.
const WATCHDOG: Duration = Duration::from_secs(180);

/// Runs the cases that the command line asks for and prints one line each. `prepare` comes before the first:
/// what it leaves open is shared by the cases and no leak.
pub fn run(suite: &str, tests: &[Test], prepare: fn() -> anyhow::Result<()>) -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let filters: Vec<&String> = args.iter().filter(|a| !a.starts_with("--")).collect();
    let exact = args.iter().any(|a| a == "--exact");
    let chosen: Vec<&Test> = tests
        .iter()
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
    if let Err(error) = prepare() {
        println!("cannot prepare: {error:#}");
    }
    let watchdog = Watchdog::start();
    let (mut passed, mut skipped, mut failed) = (0, 0, Vec::new());
    for test in &chosen {
        print!("test {} ... ", test.name);
        let _ = std::io::stdout().flush();
        let t = Instant::now();
        watchdog.begin(test.name);
        let fds = open_descriptors();
        let result = catch_unwind(AssertUnwindSafe(test.run));
        let result = match result {
            Ok(Ok(())) => leaked(&fds),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(anyhow::anyhow!(
                "{}",
                panic.lock().map(|text| text.clone()).unwrap_or_default()
            )),
        };
        watchdog.end();
        let ms = t.elapsed().as_millis();
        match result {
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
                    failed.push(test.name);
                    println!("FAILED ({ms} ms)\n    {error:#}");
                }
            },
        }
    }
    for name in &failed {
        println!("failed: {name}");
    }
    println!(
        "test result: {}. {passed} passed; {} failed; {skipped} skipped; finished in {:.1} s",
        if failed.is_empty() { "ok" } else { "FAILED" },
        failed.len(),
        begun.elapsed().as_secs_f64()
    );
    if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(101)
    }
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
