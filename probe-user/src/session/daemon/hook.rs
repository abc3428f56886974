//! `--on-finding`: a program that is given each finding's report as JSON on stdin; without a shell, with an end to its
//! patience, and one at a time. A thread runs it: it never holds up the watching.

mod run;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        mpsc::{self, Sender},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rustix::fs::{Access, access};

use super::{recorder::Files, settings::Keep};
use crate::{diagnose::steady::Open, error::Error, present::log, present::metrics::Own};

/// Findings that wait while it runs; further ones are dropped, and counted as failed.
const WAITING: u64 = 16;
/// It is killed after this long, with what it started.
const PATIENCE: Duration = Duration::from_secs(60);
/// At the end, it is given this long.
const LAST_PATIENCE: Duration = Duration::from_secs(5);

/// What one run is about.
pub struct Job {
    /// What it reads.
    json: Arc<str>,
    /// Environment.
    variables: Vec<(&'static str, std::ffi::OsString)>,
    command: Vec<String>,
}

impl Job {
    /// On a finding; its files, where it is saved.
    pub fn new(open: &Open, json: Arc<str>, files: Option<Files>) -> Self {
        let finding = &open.finding;
        let mut variables = vec![
            ("STALLSCOPE_RULE", finding.rule.id.into()),
            ("STALLSCOPE_RULE_NAME", finding.rule.name.into()),
            ("STALLSCOPE_SEVERITY", open.worst.name().into()),
            ("STALLSCOPE_HEADLINE", log::headline(finding).into()),
        ];
        if let Some(files) = files {
            variables.push(("STALLSCOPE_FILE", files.report.into()));
            variables.push(("STALLSCOPE_RECORDING", files.recording.into()));
        }
        Self {
            json,
            variables,
            command: Vec::new(),
        }
    }
}

/// What the thread counts, and is told.
#[derive(Default)]
struct Shared {
    runs: AtomicU64,
    failures: AtomicU64,
    waiting: AtomicU64,
    /// It is to come to its end.
    end: AtomicBool,
}

/// Runs it.
pub struct Hook {
    command: Vec<String>,
    shared: Arc<Shared>,
    /// Begun with the first run.
    thread: Option<(Sender<Job>, JoinHandle<()>)>,
}

impl Hook {
    /// Makes sure that the program is there.
    ///
    /// # Errors
    /// It is not, or may not be run.
    pub fn new(keep: &Keep) -> Result<Self, Error> {
        Ok(Self {
            command: checked(&keep.on_finding)?,
            shared: Arc::default(),
            thread: None,
        })
    }

    /// True when there is something to run.
    pub fn is_there(&self) -> bool {
        !self.command.is_empty()
    }

    /// Has it run on a finding.
    pub fn run(&mut self, mut job: Job) {
        if self.command.is_empty() {
            return;
        }
        if self.shared.waiting.load(Relaxed) >= WAITING {
            self.shared.failures.fetch_add(1, Relaxed);
            run::say("it is behind: a finding is left out");
            return;
        }
        if self.thread.is_none() {
            let (tell, told) = mpsc::channel();
            let shared = Arc::clone(&self.shared);
            let spawned = std::thread::Builder::new()
                .name("hook".to_owned())
                .spawn(move || run::all(&told, &shared));
            match spawned {
                Ok(handle) => self.thread = Some((tell, handle)),
                Err(error) => {
                    self.shared.failures.fetch_add(1, Relaxed);
                    run::say(&format!("it cannot be run: {error}"));
                    return;
                }
            }
        }
        job.command.clone_from(&self.command);
        self.shared.waiting.fetch_add(1, Relaxed);
        if let Some((tell, _)) = &self.thread {
            let _ = tell.send(job);
        }
    }

    /// Adds what became of them.
    pub fn count(&self, own: &mut Own) {
        own.hooks = self.shared.runs.load(Relaxed);
        own.hook_failures = self.shared.failures.load(Relaxed);
    }

    /// Takes over another command.
    ///
    /// # Errors
    /// As [`Hook::new`].
    pub fn reload(&mut self, keep: &Keep) -> Result<(), Error> {
        self.command = checked(&keep.on_finding)?;
        Ok(())
    }

    /// Gives what runs a moment, and ends it.
    pub fn close(self) {
        let Some((tell, handle)) = self.thread else {
            return;
        };
        drop(tell);
        self.shared.end.store(true, Relaxed);
        // A program that cannot be killed (on a disk that stalls) is left behind.
        let until = Instant::now() + 2 * LAST_PATIENCE;
        while !handle.is_finished() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A command whose program can be run, with its full path.
///
/// # Errors
/// It is not there, or may not be run.
pub fn checked(command: &[String]) -> Result<Vec<String>, Error> {
    let Some((program, rest)) = command.split_first() else {
        return Ok(Vec::new());
    };
    let cannot = |why: &str| {
        Error::Usage(format!(
            "--on-finding: cannot run {program}: {why}; name a program by its path (there is no shell)"
        ))
    };
    let found = if program.contains('/') {
        PathBuf::from(program)
    } else {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let places = std::env::split_paths(&path).map(|dir| dir.join(program));
        let mut runnable = places.filter(|place| is_runnable(place));
        runnable
            .next()
            .ok_or_else(|| cannot("it is in no directory of PATH"))?
    };
    if !found.exists() {
        return Err(cannot("it is not there"));
    }
    if !is_runnable(&found) {
        return Err(cannot("it is no program that may be run"));
    }
    let found = found.to_str().map(str::to_owned);
    let found = found.ok_or_else(|| cannot("its path is no text"))?;
    Ok(std::iter::once(found).chain(rest.iter().cloned()).collect())
}

fn is_runnable(path: &Path) -> bool {
    path.is_file() && access(path, Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests;
