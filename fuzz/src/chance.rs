//! Runs one target without a fuzzer: with its seeds, and with what becomes of them by chance. Nothing leads it to what was not
//! covered yet, and nothing but what the target asserts is checked; but it needs no compiler of C++ and no instrumented
//! dependencies. `cargo xtask fuzz --quick` runs all.

mod mutator;

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use mutator::Mutator;

/// An input that takes longer than this hangs. The machine may be busy with other things.
const HANGS: Duration = Duration::from_secs(25);

const USAGE: &str =
    "usage: mutate TARGET SECONDS SEED FOLDER-FOR-FAILURES SEEDS..., or mutate TARGET FILE";

/// What is run now, for whoever finds that it hangs.
#[derive(Default)]
struct Now {
    input: Mutex<Vec<u8>>,
    runs: AtomicU64,
}

/// What runs a target, by its name.
pub type Target = (&'static str, fn(&[u8]));

/// Runs one of these, as the arguments say: TARGET SECONDS SEED FOLDER-FOR-FAILURES SEEDS..., or TARGET FILE for that one input. Answers
/// with how many inputs it took.
///
/// # Errors
/// The target failed, and where that input is; or what is wrong with the arguments.
pub fn run(targets: &[Target], args: &[String]) -> Result<u64, String> {
    let (name, rest) = args.split_first().ok_or(USAGE)?;
    let target = targets.iter().find(|(known, _)| known == name);
    let (_, target) = target.ok_or_else(|| format!("there is no target {name}"))?;
    if let [file] = rest {
        target(&fs::read(file).map_err(|why| format!("{file}: {why}"))?);
        return Ok(1);
    }
    let [seconds, seed, found, folders @ ..] = rest else {
        return Err(USAGE.to_owned());
    };
    let number = |text: &String| {
        let number = text.parse::<u64>();
        number.map_err(|_| format!("{text} is no number"))
    };
    let until = Instant::now() + Duration::from_secs(number(seconds)?);
    let found = PathBuf::from(found);
    let seeds = read(folders)?;
    let now = Arc::new(Now::default());
    watch(Arc::clone(&now), found.clone());
    let one = |input: &[u8]| {
        input.clone_into(&mut now.input.lock().expect("nobody panics with it"));
        let runs = now.runs.fetch_add(1, Relaxed);
        match catch_unwind(AssertUnwindSafe(|| target(input))) {
            Ok(()) => Ok(()),
            Err(_) => Err(keep(&found, runs, input)),
        }
    };
    for seed in &seeds {
        one(seed)?;
    }
    let mut mutator = Mutator::new(number(seed)?, seeds);
    while Instant::now() < until {
        one(&mutator.next())?;
    }
    Ok(now.runs.load(Relaxed))
}

/// Every file in these folders, in the order of their names.
fn read(folders: &[String]) -> Result<Vec<Vec<u8>>, String> {
    let mut files = Vec::new();
    for folder in folders {
        let list = fs::read_dir(folder).map_err(|why| format!("{folder}: {why}"))?;
        files.extend(list.flatten().map(|file| file.path()));
    }
    files.sort();
    let read = |path: &PathBuf| fs::read(path).map_err(|why| format!("{}: {why}", path.display()));
    files.iter().map(read).collect()
}

/// Keeps what a target failed of, and says where.
fn keep(folder: &Path, runs: u64, input: &[u8]) -> String {
    let path = folder.join(format!("crash-{}-{runs}", std::process::id()));
    match fs::write(&path, input) {
        Ok(()) => format!("Test unit written to {}", path.display()),
        Err(why) => format!("{}: {why}", path.display()),
    }
}

/// Ends the process when one input takes too long.
fn watch(now: Arc<Now>, found: PathBuf) {
    thread::spawn(move || {
        let (mut last, mut since) = (0, Instant::now());
        loop {
            thread::sleep(Duration::from_secs(1));
            let runs = now.runs.load(Relaxed);
            if runs != last {
                (last, since) = (runs, Instant::now());
            } else if since.elapsed() > HANGS {
                let input = now.input.lock().expect("nobody panics with it");
                eprintln!("it takes longer than {} s", HANGS.as_secs());
                eprintln!("{}", keep(&found, runs, &input));
                std::process::exit(1);
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{Target, run};

    const TARGETS: &[Target] = &[
        ("takes", |_| {}),
        ("fails", |input| assert!(!input.starts_with(b"x"))),
    ];

    fn of(name: &str, folder: &std::path::Path) -> Result<u64, String> {
        let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
        let args = [name, "1", "7", &path("found"), &path("seeds")];
        run(TARGETS, &args.map(str::to_owned))
    }

    #[test]
    fn what_a_target_fails_of_is_kept_and_fails_again() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["found", "seeds"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        fs::write(folder.path().join("seeds/one"), "y, and no x before it").unwrap();
        assert!(of("takes", folder.path()).unwrap() > 1000);
        assert!(of("missing", folder.path()).is_err());

        let why = of("fails", folder.path()).unwrap_err();
        let kept = why.strip_prefix("Test unit written to ").unwrap();
        assert!(fs::read(kept).unwrap().starts_with(b"x"));
        let again = ["fails".to_owned(), kept.to_owned()];
        assert!(std::panic::catch_unwind(|| run(TARGETS, &again)).is_err());
    }
}
