//! The census over time, in a bounded number of points.

use super::{MAX_POINTS, Point, States};

/// Points of one window, oldest first, by the clock of the kernel side.
#[derive(Clone, Debug, Default)]
pub(super) struct Timeline {
    /// When, CLOCK_MONOTONIC ns, and what was counted.
    points: Vec<(u64, States)>,
    /// Of so many censuses one is kept, a power of two.
    stride: u64,
    taken: u64,
    last: Option<(u64, States)>,
}

impl Timeline {
    pub fn push(&mut self, at_ns: u64, states: States) {
        self.last = Some((at_ns, states));
        let stride = self.stride.max(1);
        self.taken += 1;
        if !(self.taken - 1).is_multiple_of(stride) {
            return;
        }
        self.points.push((at_ns, states));
        if self.points.len() >= MAX_POINTS {
            let mut n = 0;
            self.points.retain(|_| {
                n += 1;
                n % 2 == 1
            });
            self.stride = stride * 2;
            // The next one to be kept is a whole stride behind the last one kept.
            self.taken = 1 + (self.points.len() as u64 - 1) * self.stride + stride;
        }
    }

    /// The points, and always the last census.
    pub fn finish(&self, start_ns: u64) -> Vec<Point> {
        let kept = self.points.last().map(|p| p.0);
        let last = self.last.filter(|last| Some(last.0) != kept);
        self.points
            .iter()
            .copied()
            .chain(last)
            .map(|(at_ns, states)| Point {
                at_ns: at_ns.saturating_sub(start_ns),
                states,
            })
            .collect()
    }

    /// A time line that goes on from the last census of this one.
    pub fn successor(&self) -> Self {
        let mut next = Self::default();
        if let Some((at_ns, states)) = self.last {
            next.push(at_ns, states);
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_run_keeps_evenly_spaced_points_and_the_last() {
        let mut timeline = Timeline::default();
        for second in 0..5000u64 {
            timeline.push(second, States::default());
        }
        let points = timeline.finish(0);
        assert!(points.len() <= MAX_POINTS + 1, "{}", points.len());
        assert!(points.len() >= MAX_POINTS / 2);
        assert_eq!(points.last().unwrap().at_ns, 4999);
        let gaps: Vec<u64> = points[..points.len() - 1]
            .windows(2)
            .map(|p| p[1].at_ns - p[0].at_ns)
            .collect();
        assert!(gaps.iter().all(|gap| *gap == gaps[0]), "{gaps:?}");
    }
}
