//! The census over time, in a bounded number of points.

use super::{MAX_POINTS, Point};

/// Points of one window, oldest first, by the clock of the kernel side.
#[derive(Clone, Debug, Default)]
pub(super) struct Timeline {
    points: Vec<Point>,
    /// Of so many censuses one is kept, a power of two.
    stride: u64,
    taken: u64,
    last: Option<Point>,
}

impl Timeline {
    /// Adds a point, whose time is still the clock's.
    pub fn push(&mut self, point: Point) {
        self.last = Some(point);
        let stride = self.stride.max(1);
        self.taken += 1;
        if !(self.taken - 1).is_multiple_of(stride) {
            return;
        }
        self.points.push(point);
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
        let kept = self.points.last().map(|p| p.at_ns);
        let last = self.last.filter(|last| Some(last.at_ns) != kept);
        self.points
            .iter()
            .copied()
            .chain(last)
            .map(|point| Point {
                at_ns: point.at_ns.saturating_sub(start_ns),
                ..point
            })
            .collect()
    }

    /// A time line that goes on from the last census of this one.
    pub fn successor(&self) -> Self {
        let mut next = Self::default();
        if let Some(point) = self.last {
            next.push(point);
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
            timeline.push(Point {
                at_ns: second,
                ..Point::default()
            });
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
