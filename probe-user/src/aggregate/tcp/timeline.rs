//! The census over time, in a bounded number of points.

use super::Point;
use crate::aggregate::series::Series;

/// Points of one window, oldest first, by the clock of the kernel side.
#[derive(Clone, Debug, Default)]
pub(super) struct Timeline(Series<Point>);

impl Timeline {
    /// Adds a point, whose time is still the clock's.
    pub fn push(&mut self, point: Point) {
        self.0.push(point);
    }

    /// The points, and always the last census.
    pub fn finish(&self, start_ns: u64) -> Vec<Point> {
        let points = self.0.iter().map(|point| Point {
            at_ns: point.at_ns.saturating_sub(start_ns),
            ..point
        });
        points.collect()
    }

    /// A time line that goes on from the last census of this one.
    pub fn successor(&self) -> Self {
        Self(self.0.successor())
    }
}
