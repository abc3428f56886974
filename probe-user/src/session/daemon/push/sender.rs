//! What is sent when: findings as soon as they come, metrics every interval; what is not taken again after a pause. Of metrics only
//! the newest wait, for each says all that the ones before it said.

use std::{convert::Infallible, sync::Arc, sync::atomic::Ordering, time::Duration};

use opentelemetry_proto::tonic::resource::v1::Resource as About;
use tokio::time::{Instant, sleep_until, timeout};

use super::{
    Shared, add,
    answer::{Outcome, Partial},
    client::{Client, Message},
    inbox::Inbox,
    plan::Plan,
    retry::Retry,
};
use crate::{present::metrics::otlp, session::output};

/// How long what is left may take to arrive, at the end.
const LAST: Duration = Duration::from_secs(2);
/// How soon metrics are looked for again when there were no new ones.
const SOON: Duration = Duration::from_secs(1);

/// Sends to one collector.
pub(super) struct Sender {
    client: Client,
    shared: Arc<Shared>,
    about: About,
    url: String,
    interval: Duration,
    metrics: Lane,
    findings: Lane,
    /// When metrics are sent next.
    due: Instant,
    /// Those that were sent last are of this moment, ns since the Unix epoch.
    sent_unix_ns: u64,
    /// Since when something is not taken.
    trouble: Option<Instant>,
    /// That something was left out of a message is said once.
    told_partial: bool,
}

/// Metrics, or findings: a collector may take one and not the other.
struct Lane {
    what: &'static str,
    retry: Retry,
    /// That it is refused was said.
    told_refused: bool,
}

impl Lane {
    fn new(what: &'static str) -> Self {
        Self {
            what,
            retry: Retry::default(),
            told_refused: false,
        }
    }
}

impl Sender {
    /// Nothing is sent yet.
    pub fn new(plan: Plan, shared: Arc<Shared>, about: About) -> Self {
        Self {
            url: plan.end.url(),
            interval: plan.interval,
            client: Client::new(plan),
            shared,
            about,
            metrics: Lane::new("metrics"),
            findings: Lane::new("findings"),
            due: Instant::now(),
            sent_unix_ns: 0,
            trouble: None,
            told_partial: false,
        }
    }

    /// Sends for good.
    pub async fn run(&mut self, inbox: &mut Inbox) -> Infallible {
        loop {
            let now = Instant::now();
            let findings = (inbox.len() > 0).then(|| self.findings.retry.ready(now));
            let metrics = self.metrics.retry.ready(now).max(self.due);
            if findings.is_some_and(|at| at <= now) {
                self.send_findings(inbox).await;
            } else if metrics <= now {
                self.send_metrics(inbox).await;
            } else {
                let next = findings.map_or(metrics, |at| at.min(metrics));
                tokio::select! {
                    () = sleep_until(next) => {}
                    () = inbox.next() => {}
                }
            }
            let waiting = inbox.len() as u64 + u64::from(self.metrics.retry.is_failing());
            self.shared.push.queued.store(waiting, Ordering::Relaxed);
        }
    }

    /// The end: what is left has a moment to arrive.
    pub async fn flush(&mut self, inbox: &mut Inbox) {
        inbox.drain();
        // Without the other side's time limits, and without pauses: it is now or never.
        let _ = timeout(LAST, async {
            while inbox.len() > 0 {
                if !self.send_findings(inbox).await {
                    return;
                }
            }
            self.send_metrics(inbox).await;
        })
        .await;
        let left = inbox.len();
        if left > 0 {
            add(&self.shared.push.dropped, left as u64);
            self.say(&format!("findings that were not sent: {left}"));
        }
    }

    /// One message of findings; whether it is settled.
    async fn send_findings(&mut self, inbox: &mut Inbox) -> bool {
        let message = Message::Logs(otlp::logs(inbox.batch(), &self.about));
        self.count_retry(|sender| &sender.findings);
        let outcome = self.export(message, inbox).await;
        if matches!(outcome, Outcome::Later { .. }) {
            inbox.not_sent();
            self.settle(|sender| &mut sender.findings, outcome, 0)
        } else {
            let count = inbox.sent();
            self.settle(|sender| &mut sender.findings, outcome, count as u64)
        }
    }

    /// The newest metrics, unless they were sent already.
    async fn send_metrics(&mut self, inbox: &mut Inbox) {
        let snapshot = self.shared.snapshot();
        let now = Instant::now();
        if snapshot.at_unix_ns == self.sent_unix_ns {
            self.due = now + self.interval.min(SOON);
            return;
        }
        self.count_retry(|sender| &sender.metrics);
        for request in otlp::points(&snapshot, &self.about) {
            let outcome = self.export(Message::Metrics(request), inbox).await;
            if !self.settle(|sender| &mut sender.metrics, outcome, 1) {
                return;
            }
        }
        self.sent_unix_ns = snapshot.at_unix_ns;
        // What was late is not made up for.
        self.due = (self.due + self.interval).max(now);
    }

    async fn export(&mut self, message: Message, inbox: &mut Inbox) -> Outcome {
        tokio::select! {
            outcome = self.client.export(message) => outcome,
            never = inbox.fill() => match never {},
        }
    }

    fn count_retry(&self, lane: fn(&Self) -> &Lane) {
        if lane(self).retry.is_failing() {
            add(&self.shared.push.retried, 1);
        }
    }

    /// Takes note of what became of `count` messages of a lane; whether they need no more care.
    fn settle(&mut self, lane: fn(&mut Self) -> &mut Lane, outcome: Outcome, count: u64) -> bool {
        let now = Instant::now();
        match outcome {
            Outcome::Later { why, asked } => {
                lane(self).retry.failed(now, asked);
                let what = lane(self).what;
                if self.trouble.is_none() {
                    self.trouble = Some(now);
                    self.say(&format!("{what} are not taken: {why}; trying again"));
                }
                return false;
            }
            Outcome::Taken(partial) => {
                add(&self.shared.push.sent, count);
                let lane = lane(self);
                lane.retry.settled();
                lane.told_refused = false;
                if let Some(partial) = partial {
                    self.left_out(&partial);
                }
            }
            Outcome::Refused(why) => {
                add(&self.shared.push.dropped, count);
                let lane = lane(self);
                lane.retry.settled();
                let told = std::mem::replace(&mut lane.told_refused, true);
                let what = lane.what;
                if !told {
                    self.say(&format!("{what} are refused: {why}; they are dropped"));
                }
            }
        }
        if !self.metrics.retry.is_failing()
            && !self.findings.retry.is_failing()
            && let Some(since) = self.trouble.take()
        {
            let seconds = (now - since).as_secs();
            self.say(&format!("it answers again, after {seconds} s"));
        }
        true
    }

    /// Something was left out of a message that was taken otherwise.
    fn left_out(&mut self, partial: &Partial) {
        add(&self.shared.push.rejected, partial.rejected);
        if !std::mem::replace(&mut self.told_partial, true) {
            self.say(&format!(
                "points or findings that were left out: {}; {}",
                partial.rejected, partial.why
            ));
        }
    }

    fn say(&self, what: &str) {
        output::complain(&output::plain(&format!("OTLP to {}: {what}", self.url)));
    }
}
