//! Keys, the mouse, and what becomes of the terminal.
//!
//! A thread of its own reads the keys: the reader waits when an escape sequence is not there as a whole, and for that
//! time nobody would empty the ring.

use std::{
    collections::VecDeque,
    io::{self, Write},
    os::unix::net::UnixStream,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use ratatui::crossterm::event::{self, Event};
use rustix::event::{PollFd, PollFlags, poll};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::Error;

/// Events that wait to be looked at; more are not read.
const WAITING: usize = 1000;

/// What happened.
#[derive(Debug)]
pub enum Told {
    /// A key, a click, a pasted text.
    Event(Event),
    /// The terminal has another size.
    Resized,
    /// Someone wants us to stop (SIGTSTP).
    Stopped,
    /// We were stopped, and go on.
    Continued,
    /// The terminal went away.
    Gone,
}

/// Where it comes from.
pub struct Input {
    queue: Arc<Queue>,
    /// A byte comes when there is something in the queue. When this end is closed, the thread ends.
    woken: tokio::net::UnixStream,
    resized: Signal,
    stopped: Signal,
    continued: Signal,
}

type Queue = Mutex<VecDeque<Told>>;

fn locked(queue: &Queue) -> MutexGuard<'_, VecDeque<Told>> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Input {
    /// Starts to listen.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn start() -> Result<Self, Error> {
        start().map_err(|source| Error::Io {
            what: "cannot read keys".into(),
            source,
        })
    }

    /// What happened next. Nothing is lost when it is not waited for to the end.
    pub async fn next(&mut self) -> Told {
        loop {
            if let Some(told) = self.ready() {
                return told;
            }
            tokio::select! {
                _ = self.woken.readable() => {
                    let mut bytes = [0; 64];
                    // Without a byte it was woken for nothing, and waits again. The other end is closed only after `Gone`.
                    let _ = self.woken.try_read(&mut bytes);
                }
                _ = self.resized.recv() => return Told::Resized,
                _ = self.stopped.recv() => return Told::Stopped,
                _ = self.continued.recv() => return Told::Continued,
            }
        }
    }

    /// What happened already.
    pub fn ready(&mut self) -> Option<Told> {
        locked(&self.queue).pop_front()
    }
}

fn start() -> io::Result<Input> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    theirs.set_nonblocking(true)?;
    let input = Input {
        queue: Arc::default(),
        woken: tokio::net::UnixStream::from_std(ours)?,
        resized: signal(SignalKind::window_change())?,
        stopped: signal(SignalKind::from_raw(rustix::process::Signal::TSTP.as_raw()))?,
        continued: signal(SignalKind::from_raw(rustix::process::Signal::CONT.as_raw()))?,
    };
    let queue = Arc::clone(&input.queue);
    thread::Builder::new()
        .name("keys".to_owned())
        .spawn(move || {
            let mut theirs = theirs;
            read(&queue, &mut theirs);
            locked(&queue).push_back(Told::Gone);
            wake(&mut theirs);
            // Kept open, so that nobody is woken by its end again and again.
            std::mem::forget(theirs);
        })?;
    Ok(input)
}

/// A full pipe has woken already.
fn wake(theirs: &mut UnixStream) {
    let _ = theirs.write(&[0]);
}

/// Reads until the terminal or the view is gone.
fn read(queue: &Queue, theirs: &mut UnixStream) {
    let keys = io::stdin();
    loop {
        let mut polled = [
            PollFd::new(&keys, PollFlags::IN),
            PollFd::new(&*theirs, PollFlags::IN),
        ];
        match poll(&mut polled, None) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return,
        }
        let (terminal, view) = (polled[0].revents(), polled[1].revents());
        // At the terminal's end the reader would read nothing for ever.
        let over = PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
        if !view.is_empty() || terminal.intersects(over) {
            return;
        }
        while let Ok(true) = event::poll(Duration::ZERO) {
            let Ok(event) = event::read() else { return };
            let mut queue = locked(queue);
            // Whoever types faster than this does not type by hand.
            if queue.len() < WAITING {
                queue.push_back(Told::Event(event));
            }
            drop(queue);
            wake(theirs);
        }
    }
}
