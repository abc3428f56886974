//! Findings that wait to be sent. There is room for so many; when more come, the oldest go, and are counted.

use std::{collections::VecDeque, convert::Infallible, future::pending, sync::Arc};

use opentelemetry_proto::tonic::logs::v1::LogRecord;
use tokio::sync::mpsc;

use super::{Event, Shared, add};
use crate::present::metrics::otlp;

/// Findings that wait at most.
pub(super) const MOST: usize = 256;
/// Findings in a message at most.
const BATCH: usize = 64;

/// The queue.
pub(super) struct Inbox {
    events: mpsc::Receiver<Event>,
    shared: Arc<Shared>,
    instance: String,
    waiting: VecDeque<LogRecord>,
    /// Those that are being sent: they go back to the others when that fails.
    flying: Vec<LogRecord>,
}

impl Inbox {
    /// Empty.
    pub fn new(events: mpsc::Receiver<Event>, shared: Arc<Shared>, instance: String) -> Self {
        Self {
            events,
            shared,
            instance,
            waiting: VecDeque::new(),
            flying: Vec::new(),
        }
    }

    /// Findings that wait, or are being sent.
    pub fn len(&self) -> usize {
        self.waiting.len() + self.flying.len()
    }

    /// Waits for a finding, and takes it in.
    pub async fn next(&mut self) {
        match self.events.recv().await {
            Some(event) => self.push(&event),
            // The end is not told here.
            None => pending().await,
        }
    }

    /// Takes in whatever comes: to be run beside something that takes its time.
    pub async fn fill(&mut self) -> Infallible {
        loop {
            self.next().await;
        }
    }

    /// Takes in what is there already.
    pub fn drain(&mut self) {
        while let Ok(event) = self.events.try_recv() {
            self.push(&event);
        }
    }

    /// Nobody is to be told of what waits.
    pub fn forget(&mut self) {
        self.waiting.clear();
        self.flying.clear();
    }

    /// The next to be sent. They stay here until [`Inbox::sent`] or [`Inbox::not_sent`] says what became of them.
    pub fn batch(&mut self) -> Vec<LogRecord> {
        self.not_sent();
        let count = self.waiting.len().min(BATCH);
        self.flying = self.waiting.drain(..count).collect();
        self.flying.clone()
    }

    /// The batch needs no more care: how many it was.
    pub fn sent(&mut self) -> usize {
        std::mem::take(&mut self.flying).len()
    }

    /// The batch must wait for another try.
    pub fn not_sent(&mut self) {
        for record in self.flying.drain(..).rev() {
            self.waiting.push_front(record);
        }
        self.trim();
    }

    fn push(&mut self, event: &Event) {
        self.waiting.push_back(otlp::record(event, &self.instance));
        self.trim();
    }

    fn trim(&mut self) {
        while self.waiting.len() > MOST {
            self.waiting.pop_front();
            add(&self.shared.push.dropped, 1);
        }
    }
}
