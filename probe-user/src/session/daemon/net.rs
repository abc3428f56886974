//! The network's thread: serves metrics and sends them, so that neither a slow reader nor a dead collector holds up the
//! watching.

use std::{
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::Instant,
};

use tokio::sync::{mpsc, watch};

use super::{
    http::{self, Published},
    push::{self, Event},
    settings::Settings,
};
use crate::{
    diagnose::steady::Change,
    error::Error,
    present::metrics::{Own, Snapshot, otlp::Resource},
};

/// Findings that wait to be sent; further ones are dropped, and counted.
const EVENTS: usize = 256;

/// What both threads see.
#[derive(Default)]
pub struct Shared {
    published: Mutex<Arc<Published>>,
    /// What the HTTP side counts.
    pub http: http::Counts,
    /// What the OTLP side counts.
    pub push: push::Counts,
}

impl Shared {
    /// Metrics as of the last slice.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.published().snapshot()
    }

    /// The same, with their text.
    pub fn published(&self) -> Arc<Published> {
        Arc::clone(
            &self
                .published
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// These are the metrics from now on.
    pub fn publish(&self, snapshot: Arc<Snapshot>) {
        let new = Arc::new(Published::new(snapshot));
        *self
            .published
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = new;
    }
}

/// What the thread is to do: read and checked, before it is begun or changed.
#[derive(Clone, Default)]
pub struct Plan {
    /// How it serves.
    pub http: http::Plan,
    /// Where it sends.
    pub push: Option<push::Plan>,
}

/// Ports that are ours, and the plan.
pub struct Bound {
    http: http::Bound,
    plan: Plan,
}

/// Takes the ports, and reads all files that the plan needs.
///
/// # Errors
/// A port is taken, a file is missing or bad.
pub fn bind(settings: &Settings) -> Result<Bound, Error> {
    let plan = plan(settings)?;
    Ok(Bound {
        http: http::bind(settings.listen.as_ref())?,
        plan,
    })
}

fn plan(settings: &Settings) -> Result<Plan, Error> {
    Ok(Plan {
        http: http::Plan::read(settings.listen.as_ref(), settings.interval)?,
        push: settings.push.as_ref().map(push::Plan::read).transpose()?,
    })
}

/// The thread.
pub struct Net {
    began: Instant,
    shared: Arc<Shared>,
    events: mpsc::Sender<Event>,
    /// Dropping it ends the thread.
    plan: Option<watch::Sender<Plan>>,
    thread: Option<JoinHandle<()>>,
}

impl Net {
    /// Starts it; where there is nothing to serve or send, no thread is made.
    ///
    /// # Errors
    /// There can be no more threads.
    pub fn start(bound: Bound, resource: Resource) -> Result<Self, Error> {
        let began = Instant::now();
        let shared = Arc::<Shared>::default();
        let (events, told) = mpsc::channel(EVENTS);
        let idle = bound.http.is_empty() && bound.plan.push.is_none();
        let (plan, planned) = watch::channel(bound.plan);
        if idle {
            return Ok(Self {
                began,
                shared,
                events,
                plan: None,
                thread: None,
            });
        }
        let io = |source| Error::Io {
            what: "a thread for the network".to_owned(),
            source,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(io)?;
        let thread = std::thread::Builder::new()
            .name("network".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || {
                    runtime.block_on(async {
                        let serving = http::serve(bound.http, Arc::clone(&shared), planned.clone());
                        let sending = push::send(told, shared, planned, resource);
                        tokio::join!(serving, sending);
                    });
                }
            })
            .map_err(io)?;
        Ok(Self {
            began,
            shared,
            events,
            plan: Some(plan),
            thread: Some(thread),
        })
    }

    /// These are the metrics from now on.
    pub fn publish(&self, snapshot: Arc<Snapshot>) {
        self.shared.publish(snapshot);
    }

    /// A finding opened, got worse or closed at `at_ns`, CLOCK_MONOTONIC, which is `unix_ns`.
    pub fn tell(&self, change: &Change, at_ns: u64, unix_ns: u64) {
        if self.thread.is_none() {
            return;
        }
        let event = Event::new(change, at_ns, unix_ns);
        if self.events.try_send(event).is_err() {
            self.shared.push.dropped();
        }
    }

    /// Takes over certificates, passwords and the collector; the addresses that are listened on stay.
    ///
    /// # Errors
    /// A file is missing or bad; everything stays as it was then.
    pub fn reload(&self, settings: &Settings) -> Result<(), Error> {
        let new = plan(settings)?;
        if let Some(plan) = &self.plan {
            plan.send_replace(new);
        }
        Ok(())
    }

    /// Adds what was served and sent.
    pub fn count(&self, own: &mut Own) {
        own.uptime_ns = self.began.elapsed().as_nanos() as u64;
        self.shared.http.count(own);
        self.shared.push.count(own);
    }

    /// Ends the thread: what is being sent has a moment to arrive.
    pub fn close(mut self) {
        drop(self.plan.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
