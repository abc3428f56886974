//! Folds what readings say about files.

use super::{
    Files, Mount,
    places::Places,
    refused::RefusedSums,
    space::{Spaces, mount_of},
};
use crate::{
    aggregate::{
        identity::Processes,
        series::{Growth, PEAK_NS, Peak},
    },
    collect::files::FilesReading,
};

/// Files in the window so far.
#[derive(Clone, Debug, Default)]
pub(in crate::aggregate) struct FilesFold {
    places: Places,
    refused: RefusedSums,
    spaces: Spaces,
    peak: Peak,
    timeline: Growth<1>,
    /// Where the last step stood.
    last_step: Option<(u64, u64)>,
    mounts: Vec<Mount>,
}

impl FilesFold {
    /// Takes in the reading that the window starts at: its sums are the base, and its last look at the file
    /// systems is the first.
    pub fn set_base(&mut self, reading: &FilesReading) {
        self.places.learn(reading.directories.clone(), Vec::new());
        self.refused.learn(reading.refused.clone(), Vec::new());
        self.spaces.push(reading.uses.last());
        self.mounts(&reading.mounts);
        for step in reading.steps.iter().rev().take(1) {
            self.last_step = Some((step.at_ns, step.created));
            self.timeline = Growth::from([step.created]);
        }
        *self = self.successor();
    }

    /// Takes in a reading; in the order in which they were taken.
    pub fn push(&mut self, reading: FilesReading) {
        self.places.learn(reading.directories, reading.retired);
        self.refused.learn(reading.refused, reading.refused_retired);
        self.spaces.push(&reading.uses);
        self.mounts(&reading.mounts);
        for step in &reading.steps {
            // The first file of a burst tells nothing of when the others came, before it.
            let start = (step.at_ns.saturating_sub(PEAK_NS), 0);
            if self.last_step.is_none() {
                self.peak = Peak::from(start.0, start.1);
            }
            self.peak.step(step.at_ns, step.created);
            self.timeline.step(step.at_ns, [step.created]);
            self.last_step = Some((step.at_ns, step.created));
        }
    }

    fn mounts(&mut self, mounts: &[Mount]) {
        if !mounts.is_empty() {
            self.mounts = mounts.to_vec();
        }
    }

    /// For a window that begins where this one ends: the sums so far are its base.
    pub fn successor(&self) -> Self {
        Self {
            places: self.places.successor(),
            refused: self.refused.successor(),
            spaces: self.spaces.successor(),
            peak: self
                .last_step
                .map(|(at_ns, created)| Peak::from(at_ns, created))
                .unwrap_or_default(),
            timeline: self.timeline.successor(),
            last_step: self.last_step,
            mounts: self.mounts.clone(),
        }
    }

    /// The result. `span` is the window's start and end, CLOCK_MONOTONIC ns.
    pub fn finish(&self, span: (u64, u64), processes: &Processes) -> Files {
        let found = self.places.finish(&self.mounts, processes);
        let not_asked = self.spaces.not_asked.iter();
        Files {
            created: found.created,
            peak_per_s: self.peak.per_s(),
            timeline: self.timeline.points(span.0),
            places: found.places,
            other: found.other,
            creators: found.creators,
            file_systems: self.spaces.finish(span.0, &self.mounts),
            not_asked: not_asked
                .filter_map(|device| mount_of(&self.mounts, *device).cloned())
                .collect(),
            refused: self.refused.finish(span.0, &self.mounts, processes),
        }
    }
}
