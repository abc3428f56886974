//! What ends a run before its time.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::Error;

/// Exit code after a second Ctrl-C, as a shell would report it: 128 + SIGINT.
const INTERRUPTED: i32 = 130;

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Its time was up.
    Time,
    /// Ctrl-C.
    Interrupt,
    /// SIGTERM, or the terminal went away (SIGHUP).
    Terminate,
    /// Nothing of the target lives any more.
    Target,
}

impl End {
    /// What the report says about it; `None` when the run was as long as asked.
    pub fn note(self) -> Option<&'static str> {
        match self {
            Self::Time => None,
            Self::Interrupt => Some("ended early: interrupted (Ctrl-C)"),
            Self::Terminate => Some("ended early: told to terminate"),
            Self::Target => Some("ended early: the target ended"),
        }
    }
}

/// The signals that end a run with a full report.
#[derive(Debug)]
pub struct Signals {
    int: Signal,
    term: Signal,
    /// `None` when it has another meaning.
    hup: Option<Signal>,
}

impl Signals {
    /// Takes over SIGINT, SIGTERM and SIGHUP.
    ///
    /// # Errors
    /// [`Error::Io`] when the kernel refuses.
    pub fn new() -> Result<Self, Error> {
        Ok(Self {
            hup: Some(Self::take(SignalKind::hangup())?),
            ..Self::lasting()?
        })
    }

    /// Takes over SIGINT and SIGTERM.
    ///
    /// # Errors
    /// Likewise.
    pub fn lasting() -> Result<Self, Error> {
        Ok(Self {
            int: Self::take(SignalKind::interrupt())?,
            term: Self::take(SignalKind::terminate())?,
            hup: None,
        })
    }

    fn take(kind: SignalKind) -> Result<Signal, Error> {
        signal(kind).map_err(|source| Error::Io {
            what: "cannot handle signals".into(),
            source,
        })
    }

    /// Waits for the first of them. After Ctrl-C the next one ends the process at once.
    pub async fn end(&mut self) -> End {
        tokio::select! {
            _ = self.int.recv() => {
                next_interrupt_ends();
                End::Interrupt
            }
            _ = self.term.recv() => End::Terminate,
            () = hung_up(&mut self.hup) => End::Terminate,
        }
    }
}

/// The terminal went away.
async fn hung_up(hup: &mut Option<Signal>) {
    match hup {
        Some(hup) => {
            hup.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// From now on Ctrl-C ends the process at once, also while the report is being made: a thread of its own
/// waits for it, as this one is busy then. What is loaded in the kernel goes with the process.
fn next_interrupt_ends() {
    std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        // Without it, a second Ctrl-C has no effect and the report comes to its end: that is no error.
        let Ok(runtime) = runtime else { return };
        runtime.block_on(async {
            if let Ok(mut interrupt) = signal(SignalKind::interrupt())
                && interrupt.recv().await.is_some()
            {
                std::process::exit(INTERRUPTED);
            }
        });
    });
}
