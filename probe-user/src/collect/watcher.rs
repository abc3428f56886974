//! A thread of its own in the network namespace that looks at sockets, so that the ring is emptied meanwhile.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::{
    attach::netns::{self, Netns},
    error::Error,
};

/// Longest wait for an answer: a census of millions of sockets takes a second or two.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the thread does.
pub trait Work: Send + 'static {
    /// Does what is due, and says when something is again.
    fn due(&mut self) -> Instant;
    /// Does everything now, as far as the bounds on its cost allow.
    fn asked(&mut self);
    /// Something has happened that may be worth a look.
    fn nudged(&mut self) {}
}

enum Request {
    /// Do everything now, and say when it is done.
    Ask(SyncSender<()>),
    Nudge,
}

/// The way back from the thread.
pub struct Teller<N> {
    tell: Sender<N>,
    stop: Arc<AtomicBool>,
}

impl<N> Teller<N> {
    /// Passes something on.
    pub fn say(&self, news: N) {
        // The receiver goes right before the thread is told to end.
        let _ = self.tell.send(news);
    }

    /// Set when the thread is to end.
    pub fn stop(&self) -> &AtomicBool {
        &self.stop
    }
}

/// The thread. Dropping it ends it.
pub struct Watcher<N> {
    requests: Option<Sender<Request>>,
    news: Receiver<N>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl<N: Send + 'static> Watcher<N> {
    /// Starts it.
    ///
    /// # Errors
    /// There can be no more threads.
    pub fn start<W: Work>(
        name: &str,
        netns: Option<Netns>,
        make: impl FnOnce(Teller<N>) -> W,
    ) -> Result<Self, Error> {
        let (requests, requested) = mpsc::channel();
        let (tell, news) = mpsc::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let work = make(Teller {
            tell,
            stop: Arc::clone(&stop),
        });
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn({
                let stop = Arc::clone(&stop);
                move || {
                    // Another namespace's sockets would be wrong; none are only missing.
                    if let Some(fd) = netns.and_then(|netns| netns.fd)
                        && let Err(e) = netns::enter(&fd)
                    {
                        log::warn!("no census of sockets: {e}");
                        return;
                    }
                    run(work, &requested, &stop);
                }
            })
            .map_err(|source| Error::Io {
                what: "a thread for the census".to_owned(),
                source,
            })?;
        Ok(Self {
            requests: Some(requests),
            news,
            stop,
            thread: Some(thread),
        })
    }

    /// What came since the last time.
    pub fn news(&self) -> impl Iterator<Item = N> + '_ {
        self.news.try_iter()
    }

    /// Has everything looked at now. Nothing new comes when the bound on its cost forbids it.
    pub fn ask(&self) -> Answer {
        let (done, wait) = mpsc::sync_channel(1);
        // Without a thread, `done` is dropped, and there is nothing to wait for.
        self.send(Request::Ask(done));
        Answer {
            wait,
            until: Instant::now() + PATIENCE,
        }
    }

    /// Says that something has happened, without waiting.
    pub fn nudge(&self) {
        self.send(Request::Nudge);
    }

    fn send(&self, request: Request) {
        let _ = self.requests.as_ref().map(|to| to.send(request));
    }
}

fn run(mut work: impl Work, requested: &Receiver<Request>, stop: &AtomicBool) {
    loop {
        let next = work.due();
        if stop.load(Ordering::Relaxed) {
            return;
        }
        match requested.recv_timeout(next.saturating_duration_since(Instant::now())) {
            Ok(Request::Ask(done)) => {
                work.asked();
                // Whoever asked may have given up.
                let _ = done.send(());
            }
            Ok(Request::Nudge) => work.nudged(),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// What was asked for, on its way.
pub struct Answer {
    wait: Receiver<()>,
    until: Instant,
}

impl Answer {
    /// Waits so long; true when it is still to come.
    pub fn wait(&self, long: Duration) -> bool {
        // What takes longer comes with a later reading.
        self.wait.recv_timeout(long) == Err(RecvTimeoutError::Timeout)
            && Instant::now() < self.until
    }
}

impl<N> Drop for Watcher<N> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Nobody asks any more: the thread ends.
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Names what could not be had.
pub fn io_error(what: &str) -> impl FnOnce(io::Error) -> Error {
    let what = what.to_owned();
    move |source| Error::Io { what, source }
}
