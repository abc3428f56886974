//! Metrics and findings are sent to a collector, as OTLP over gRPC or HTTP: from a bounded queue, with growing pauses while the
//! other side does not take them.
//!
//! Nothing is sent unless the user names a collector. A finding is sent until it is taken or refused, so it may arrive twice
//! when an answer is lost, with the same `log.record.uid`.

pub(in crate::session) mod answer;
mod client;
mod inbox;
mod line;
pub(in crate::session) mod plan;
mod retry;
mod sender;
#[cfg(test)]
mod tests;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::{mpsc, watch};

use self::{inbox::Inbox, sender::Sender};
use super::net::{Plan as NetPlan, Shared};
use crate::{
    present::metrics::{Own, otlp::Resource},
    session::own,
};

pub use self::plan::{Plan, usual_protocol};
pub use crate::present::metrics::otlp::Event;

/// What was sent.
#[derive(Default)]
pub struct Counts {
    sent: AtomicU64,
    retried: AtomicU64,
    dropped: AtomicU64,
    rejected: AtomicU64,
    queued: AtomicU64,
}

impl Counts {
    /// One was dropped before it came into the queue.
    pub fn dropped(&self) {
        add(&self.dropped, 1);
    }

    /// Adds them.
    pub fn count(&self, own: &mut Own) {
        own.otlp_sent = self.sent.load(Ordering::Relaxed);
        own.otlp_retried = self.retried.load(Ordering::Relaxed);
        own.otlp_dropped = self.dropped.load(Ordering::Relaxed);
        own.otlp_rejected = self.rejected.load(Ordering::Relaxed);
        own.otlp_queued = self.queued.load(Ordering::Relaxed);
    }
}

fn add(to: &AtomicU64, count: u64) {
    to.fetch_add(count, Ordering::Relaxed);
}

/// Sends until the plan's sender is gone.
pub async fn send(
    events: mpsc::Receiver<Event>,
    shared: Arc<Shared>,
    mut plan: watch::Receiver<NetPlan>,
    resource: Resource,
) {
    let instance = own::uuid();
    let about = resource.about(&instance);
    let mut inbox = Inbox::new(events, Arc::clone(&shared), instance);
    loop {
        let now = plan.borrow_and_update().push.clone();
        let Some(now) = now else {
            // There is no collector now; what a later one is told of begins then.
            tokio::select! {
                changed = plan.changed() => match changed {
                    Ok(()) => {}
                    Err(_) => return,
                },
                () = inbox.next() => inbox.forget(),
            }
            continue;
        };
        let mut sender = Sender::new(now, Arc::clone(&shared), about.clone());
        tokio::select! {
            changed = plan.changed() => if changed.is_err() {
                sender.flush(&mut inbox).await;
                return;
            },
            never = sender.run(&mut inbox) => match never {},
        }
    }
}
