//! A thread of its own asks the file systems how full they are, and where paths lead.
//!
//! Whatever may hang is asked by yet another thread, which is left behind when it does not answer: a device that
//! vanished stops nothing but the answer about itself.

use std::{
    collections::HashSet,
    fs, io,
    os::{fd::AsRawFd, fd::OwnedFd, unix::fs::MetadataExt},
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender, TryIter},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{
    Device, FsUse, Uses,
    place::{self, Found, Text, entry_of},
};
use crate::{
    collect::{
        monotonic_ns,
        mounts::{self, Asking, Entry, Mount},
        root::Root,
    },
    error::Error,
};

/// The file systems are asked this often, ...
const EVERY: Duration = Duration::from_secs(1);
/// ... this often by what runs for weeks, ...
const EVERY_LASTING: Duration = Duration::from_secs(5);
/// ... as long as that takes one part in this many of a CPU.
const SHARE: u32 = 100;
/// What may be spent beyond that when someone asks, so that a look stands at each end of a short watch.
const ALLOWANCE: Duration = Duration::from_millis(200);
/// How long one file system gets to answer.
const ANSWER_IN: Duration = Duration::from_secs(1);
/// How long whoever asks out of turn waits at most.
const PATIENCE: Duration = Duration::from_millis(1500);
/// Threads that were left behind, at most; then nothing is asked any more.
const MAX_LEFT_BEHIND: u32 = 8;
/// Mount namespaces that are looked at beside our own.
const MAX_NAMESPACES: usize = 64;
/// Paths looked up in one go.
const MAX_LOOKUPS: usize = 256;

/// What the thread has found out.
pub enum News {
    /// How full the file systems are.
    Uses(Uses),
    /// What is mounted, when it has changed.
    Mounts(Vec<Mount>),
    /// Where a path leads, if anywhere.
    Found(Text, Option<Found>),
}

/// Someone wants to know now.
struct Question {
    texts: Vec<Text>,
    creators: Vec<u32>,
    done: SyncSender<()>,
}

/// The thread. Dropping it ends the thread.
pub struct Asker {
    ask: Option<Sender<Question>>,
    news: Receiver<News>,
    thread: Option<JoinHandle<()>>,
}

impl Asker {
    /// Starts the thread.
    ///
    /// # Errors
    /// There can be no more threads.
    pub fn start(lasting: bool) -> Result<Self, Error> {
        let every = match lasting {
            true => EVERY_LASTING,
            false => EVERY,
        };
        let (ask, asked) = mpsc::channel();
        let (tell, news) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("file-systems".to_owned())
            .spawn(move || Work::new(tell).run(&asked, every))
            .map_err(|source| Error::Io {
                what: "a thread for the file systems".to_owned(),
                source,
            })?;
        Ok(Self {
            ask: Some(ask),
            news,
            thread: Some(thread),
        })
    }

    /// What came since the last time.
    pub fn news(&self) -> TryIter<'_, News> {
        self.news.try_iter()
    }

    /// Has the file systems asked now, those too that these processes see, and paths looked up. Waits for the
    /// answers, but not for ever; what takes longer comes later.
    pub fn ask(&self, texts: Vec<Text>, creators: Vec<u32>) {
        let (done, wait) = mpsc::sync_channel(1);
        let question = Question {
            texts,
            creators,
            done,
        };
        if let Some(ask) = &self.ask
            && ask.send(question).is_ok()
        {
            let _ = wait.recv_timeout(PATIENCE);
        }
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        // Nobody asks any more: the thread ends.
        self.ask = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What is done for the asking thread by one that may be left behind.
type Job = Box<dyn FnOnce() + Send>;

/// A thread that may be left behind.
struct Helper {
    jobs: Option<Sender<Job>>,
    left_behind: u32,
}

impl Helper {
    /// Has something done; `None` when it takes too long, or may not be tried any more.
    fn within<T: Send + 'static>(
        &mut self,
        time: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        if self.left_behind >= MAX_LEFT_BEHIND {
            return None;
        }
        let (answer, wait) = mpsc::sync_channel(1);
        let job: Job = Box::new(move || {
            let _ = answer.send(work());
        });
        self.jobs()?.send(job).ok()?;
        match wait.recv_timeout(time) {
            Ok(answer) => Some(answer),
            Err(_) => {
                // It ends when its call returns, if ever: nobody sends it more.
                self.jobs = None;
                self.left_behind += 1;
                None
            }
        }
    }

    fn jobs(&mut self) -> Option<&Sender<Job>> {
        if self.jobs.is_none() {
            let (send, jobs) = mpsc::channel::<Job>();
            thread::Builder::new()
                .name("statfs".to_owned())
                .spawn(move || jobs.iter().for_each(|job| job()))
                .ok()?;
            self.jobs = Some(send);
        }
        self.jobs.as_ref()
    }
}

/// One mount namespace, through a process that is in it.
#[derive(Clone, PartialEq, Eq)]
struct Namespace {
    /// Our own, or /proc/PID.
    process: PathBuf,
    entries: Arc<[Entry]>,
}

struct Work {
    tell: Sender<News>,
    helper: Helper,
    namespaces: Vec<Namespace>,
    told: Vec<Mount>,
    /// Those that did not answer: they are not asked again.
    silent: HashSet<Device>,
    began: Instant,
    spent: Duration,
}

impl Work {
    fn new(tell: Sender<News>) -> Self {
        Self {
            tell,
            helper: Helper {
                jobs: None,
                left_behind: 0,
            },
            namespaces: Vec::new(),
            told: Vec::new(),
            silent: HashSet::new(),
            began: Instant::now(),
            spent: Duration::ZERO,
        }
    }

    fn run(mut self, asked: &Receiver<Question>, every: Duration) {
        let mut next = Instant::now();
        let mut creators = Vec::new();
        loop {
            let now = Instant::now();
            if now >= next {
                let took = self.look(&creators);
                next = now + every.max(took * SHARE);
            }
            match asked.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(question) => {
                    creators = question.creators;
                    if self.spent <= self.began.elapsed() / SHARE + ALLOWANCE {
                        let took = self.look(&creators);
                        next = Instant::now() + every.max(took * SHARE);
                    }
                    self.find(question.texts);
                    // Whoever asked may have given up.
                    let _ = question.done.send(());
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Reads what is mounted, and asks every file system once. Returns how long that took.
    fn look(&mut self, creators: &[u32]) -> Duration {
        let began = Instant::now();
        self.read_namespaces(creators);
        let uses = self.uses();
        let mounts = self.mounts();
        if mounts != self.told {
            self.told.clone_from(&mounts);
            self.say(News::Mounts(mounts));
        }
        self.say(News::Uses(uses));
        let took = began.elapsed();
        self.spent += took;
        took
    }

    fn read_namespaces(&mut self, creators: &[u32]) {
        let mut found = Vec::new();
        let mut seen = HashSet::new();
        let own = PathBuf::from("/proc/self");
        let others = creators
            .iter()
            .map(|pid| PathBuf::from(format!("/proc/{pid}")));
        for process in std::iter::once(own).chain(others) {
            if found.len() > MAX_NAMESPACES {
                break;
            }
            // Naming the namespace asks nothing of the file systems in it.
            let Ok(namespace) = fs::metadata(process.join("ns/mnt")) else {
                continue;
            };
            if !seen.insert(namespace.ino()) {
                continue;
            }
            if let Ok(entries) = mounts::read(&process.join("mountinfo")) {
                found.push(Namespace {
                    process,
                    entries: entries.into(),
                });
            }
        }
        self.namespaces = found;
    }

    /// All mounts of our own namespace, and of the others those of file systems that it does not have.
    fn mounts(&self) -> Vec<Mount> {
        let mut known = HashSet::new();
        let mut out = Vec::new();
        for namespace in &self.namespaces {
            let new = namespace
                .entries
                .iter()
                .filter(|e| !known.contains(&e.mount.device));
            let new: Vec<Mount> = new.map(|e| e.mount.clone()).collect();
            known.extend(new.iter().map(|mount| mount.device));
            out.extend(new);
        }
        out
    }

    fn uses(&mut self) -> Uses {
        let mut uses = Uses {
            at_ns: monotonic_ns(),
            ..Uses::default()
        };
        let mut done = HashSet::new();
        let namespaces = self.namespaces.clone();
        for namespace in &namespaces {
            for entry in namespace.entries.iter() {
                let device = entry.mount.device;
                match entry.mount.asking() {
                    Asking::Pointless => continue,
                    Asking::MayHang => {
                        if !uses.not_asked.contains(&device) {
                            uses.not_asked.push(device);
                        }
                        continue;
                    }
                    Asking::Safe => {}
                }
                if done.contains(&device) {
                    continue;
                }
                if self.silent.contains(&device) {
                    done.insert(device);
                    continue;
                }
                let (asked, entry) = (namespace.clone(), entry.clone());
                match self.helper.within(ANSWER_IN, move || ask(&asked, &entry)) {
                    Some(Ok(file_system)) => {
                        uses.file_systems.push(file_system);
                        done.insert(device);
                    }
                    // Covered by another mount, or gone: perhaps it shows elsewhere.
                    Some(Err(e)) => log::debug!("statfs of device {device:?}: {e}"),
                    None => {
                        self.silent.insert(device);
                        done.insert(device);
                    }
                }
            }
        }
        uses.not_asked.extend(self.silent.iter().copied());
        uses
    }

    /// Looks up where paths lead.
    fn find(&mut self, texts: Vec<Text>) {
        let until = Instant::now() + ANSWER_IN;
        for text in texts.into_iter().take(MAX_LOOKUPS) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let asked = text.clone();
            let found = self.helper.within(left, move || place::find(&asked));
            self.say(News::Found(text, found.flatten()));
        }
    }

    fn say(&self, news: News) {
        // The receiver goes right before the thread is told to end.
        let _ = self.tell.send(news);
    }
}

/// Asks one file system how full it is, through one of its mount points.
fn ask(namespace: &Namespace, entry: &Entry) -> io::Result<FsUse> {
    let fd = Root::of(&namespace.process)?.open(&entry.mount.mount_point)?;
    // Another mount may cover this one.
    if entry_of(&fd, &namespace.entries).map(|e| e.mount.device) != Some(entry.mount.device) {
        return Err(io::Error::other("covered by another mount"));
    }
    let stat = statvfs(&fd)?;
    let unit = stat.f_frsize;
    Ok(FsUse {
        device: entry.mount.device,
        total_bytes: stat.f_blocks.saturating_mul(unit),
        free_bytes: stat.f_bfree.saturating_mul(unit),
        available_bytes: stat.f_bavail.saturating_mul(unit),
        inodes: stat.f_files,
        free_inodes: stat.f_ffree,
    })
}

fn statvfs(fd: &OwnedFd) -> io::Result<libc::statvfs> {
    // SAFETY: integers only, for which all zero is valid.
    let mut stat: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: writes one structure.
    if unsafe { libc::fstatvfs(fd.as_raw_fd(), &raw mut stat) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(stat)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_root_file_system_answers_and_agrees_with_statvfs() {
        let (tell, news) = mpsc::channel();
        let mut work = Work::new(tell);
        work.look(&[std::process::id()]);
        let news: Vec<News> = news.try_iter().collect();
        let mounts = news.iter().find_map(|n| match n {
            News::Mounts(mounts) => Some(mounts),
            _ => None,
        });
        let uses = news.iter().find_map(|n| match n {
            News::Uses(uses) => Some(uses),
            _ => None,
        });
        let (mounts, uses) = (mounts.unwrap(), uses.unwrap());
        // The last mount at the root is the one that shows.
        let root = mounts.iter().rfind(|m| m.mount_point == b"/").unwrap();
        if root.asking() == Asking::Safe {
            let found: Vec<_> = uses
                .file_systems
                .iter()
                .filter(|u| u.device == root.device)
                .collect();
            let expected = statvfs(&fs::File::open("/").unwrap().into()).unwrap();
            assert_eq!(found.len(), 1);
            assert_eq!(found[0].inodes, expected.f_files);
            assert_eq!(found[0].total_bytes, expected.f_blocks * expected.f_frsize);
        }
        let mut devices: Vec<_> = uses.file_systems.iter().map(|u| u.device).collect();
        devices.sort();
        devices.dedup();
        assert_eq!(devices.len(), uses.file_systems.len(), "each once");
    }

    #[test]
    fn what_does_not_answer_is_left_behind() {
        let mut helper = Helper {
            jobs: None,
            left_behind: 0,
        };
        let short = Duration::from_millis(20);
        let (hang, hung) = mpsc::channel::<()>();
        assert_eq!(helper.within(short, move || hung.recv().is_ok()), None);
        assert_eq!(helper.within(ANSWER_IN, || 7), Some(7));
        assert_eq!(helper.left_behind, 1);
        drop(hang);
        helper.left_behind = MAX_LEFT_BEHIND;
        assert_eq!(helper.within(ANSWER_IN, || 7), None, "enough of it");
    }
}
