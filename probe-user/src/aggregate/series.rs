//! What changes over time, in a bounded number of points; and how fast it changed at its worst.

use std::collections::VecDeque;

/// Points of a [`Series`]; beyond, every second one is left out, again and again.
pub const MAX_POINTS: usize = 600;
/// A peak rate is that of the worst stretch of this length, ns: so often the kernel side tells how far its sums
/// have come.
pub const PEAK_NS: u64 = 100_000_000;

/// Points in order of time, evenly thinned out.
#[derive(Clone, Debug)]
pub(super) struct Series<P> {
    points: Vec<P>,
    /// Of so many points one is kept, a power of two.
    stride: u64,
    taken: u64,
    last: Option<P>,
    last_is_kept: bool,
}

impl<P> Default for Series<P> {
    fn default() -> Self {
        Self {
            points: Vec::new(),
            stride: 1,
            taken: 0,
            last: None,
            last_is_kept: false,
        }
    }
}

impl<P: Copy> Series<P> {
    /// Adds a point.
    pub fn push(&mut self, point: P) {
        self.last = Some(point);
        self.taken += 1;
        self.last_is_kept = (self.taken - 1).is_multiple_of(self.stride);
        if !self.last_is_kept {
            return;
        }
        self.points.push(point);
        if self.points.len() >= MAX_POINTS {
            self.last_is_kept = self.points.len() % 2 == 1;
            let mut n = 0;
            self.points.retain(|_| {
                n += 1;
                n % 2 == 1
            });
            let stride = self.stride;
            self.stride = stride * 2;
            // The next one to be kept is a whole stride behind the last one kept.
            self.taken = 1 + (self.points.len() as u64 - 1) * self.stride + stride;
        }
    }

    /// The points kept, and always the last.
    pub fn iter(&self) -> impl Iterator<Item = P> + '_ {
        let last = self.last.filter(|_| !self.last_is_kept);
        self.points.iter().copied().chain(last)
    }

    /// The last point.
    pub fn last(&self) -> Option<P> {
        self.last
    }

    /// A series that goes on from the last point of this one.
    pub fn successor(&self) -> Self {
        let mut next = Self::default();
        if let Some(point) = self.last {
            next.push(point);
        }
        next
    }
}

/// How far sums had come at a moment of a window, in order of time: points of a [`Growth`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grown<const N: usize> {
    /// When, ns after the window's start.
    pub at_ns: u64,
    /// Since then, by sum.
    pub since_start: [u64; N],
}

/// How far sums come over time. What is left out between two points is in the later one.
#[derive(Clone, Debug, Default)]
pub(super) struct Growth<const N: usize> {
    /// What the sums were when the window began.
    base: Option<[u64; N]>,
    moments: Series<(u64, [u64; N])>,
}

impl<const N: usize> Growth<N> {
    /// One that begins with these sums.
    pub fn from(base: [u64; N]) -> Self {
        Self {
            base: Some(base),
            moments: Series::default(),
        }
    }

    /// A later moment; sums of before are 0 where nothing else was said.
    pub fn step(&mut self, at_ns: u64, sums: [u64; N]) {
        self.base.get_or_insert([0; N]);
        self.moments.push((at_ns, sums));
    }

    /// One that goes on from the last moment of this one.
    pub fn successor(&self) -> Self {
        let last = self.moments.last().map(|(_, sums)| sums);
        Self {
            base: last.or(self.base),
            moments: Series::default(),
        }
    }

    /// The points.
    pub fn points(&self, start_ns: u64) -> Vec<Grown<N>> {
        let base = self.base.unwrap_or([0; N]);
        let point = |(at_ns, sums): (u64, [u64; N])| Grown {
            at_ns: at_ns.saturating_sub(start_ns),
            since_start: std::array::from_fn(|i| sums[i].saturating_sub(base[i])),
        };
        self.moments.iter().map(point).collect()
    }
}

/// The worst stretch of [`PEAK_NS`], from how far a sum had come at some moments. Between two moments further
/// apart it may have grown in a jump, so the peak is at least that.
#[derive(Clone, Debug, Default)]
pub(super) struct Peak {
    /// Moments of the last [`PEAK_NS`], and the one before.
    moments: VecDeque<(u64, u64)>,
    /// The most that it grew in a [`PEAK_NS`].
    most: f64,
}

impl Peak {
    /// Moments kept: there are ten a second, and those at which a reading was taken.
    const KEPT: usize = 16;

    /// Starts at a moment at which the sum was `total`.
    pub fn from(at_ns: u64, total: u64) -> Self {
        Self {
            moments: [(at_ns, total)].into(),
            most: 0.0,
        }
    }

    /// A later moment; one that is not later than the last is taken as the same.
    pub fn step(&mut self, at_ns: u64, total: u64) {
        let Some(&(last_ns, last)) = self.moments.back() else {
            self.moments.push_back((at_ns, total));
            return;
        };
        let (at_ns, total) = (at_ns.max(last_ns), total.max(last));
        let within = |then: u64| at_ns - then <= PEAK_NS;
        let grown = match self.moments.iter().find(|(then, _)| within(*then)) {
            Some(&(_, before)) => (total - before) as f64,
            None => (total - last) as f64 * PEAK_NS as f64 / (at_ns - last_ns) as f64,
        };
        self.most = self.most.max(grown);
        self.moments.push_back((at_ns, total));
        while self.moments.len() > Self::KEPT
            || self.moments.len() > 1 && !within(self.moments[0].0)
        {
            self.moments.pop_front();
        }
    }

    /// The rate in the worst stretch, per second.
    pub fn per_s(&self) -> f64 {
        self.most * 1e9 / PEAK_NS as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_long_run_keeps_evenly_spaced_points_and_the_last() {
        let mut series = Series::default();
        (0..5000u64).for_each(|second| series.push(second));
        let points: Vec<u64> = series.iter().collect();
        assert!(points.len() <= MAX_POINTS + 1, "{}", points.len());
        assert!(points.len() >= MAX_POINTS / 2);
        assert_eq!(points.last(), Some(&4999));
        let gaps: Vec<u64> = points[..points.len() - 1]
            .windows(2)
            .map(|p| p[1] - p[0])
            .collect();
        assert!(gaps.iter().all(|gap| *gap == gaps[0]), "{gaps:?}");
        for length in [0u64, 1, 599, 600, 601, 1199, 1200, 1201] {
            let mut series = Series::default();
            (0..length).for_each(|n| series.push(n));
            let points: Vec<u64> = series.iter().collect();
            assert_eq!(points.last().copied(), length.checked_sub(1));
            assert!(points.windows(2).all(|p| p[0] < p[1]), "{length}");
        }
    }

    #[test]
    fn growth_is_told_from_the_start_of_each_window() {
        let mut growth = Growth::default();
        growth.step(10, [3, 1]);
        growth.step(20, [5, 5]);
        let points = |g: &Growth<2>, start| -> Vec<(u64, [u64; 2])> {
            let points = g.points(start).into_iter();
            points.map(|p| (p.at_ns, p.since_start)).collect()
        };
        assert_eq!(points(&growth, 5), [(5, [3, 1]), (15, [5, 5])]);
        let mut next = growth.successor();
        assert!(next.points(20).is_empty());
        next = next.successor();
        next.step(30, [6, 7]);
        assert_eq!(points(&next, 20), [(10, [1, 2])]);
    }

    #[test]
    fn a_peak_is_the_worst_tenth_of_a_second() {
        let mut peak = Peak::from(0, 0);
        for tenth in 1..=10 {
            peak.step(tenth * 100 * MS, tenth * 5);
        }
        assert_eq!(peak.per_s(), 50.0);
        // A burst of 90 in 20 ms, in two pieces, after 5 in a slow second.
        peak.step(2000 * MS, 55);
        peak.step(2010 * MS, 100);
        peak.step(2020 * MS, 145);
        assert_eq!(peak.per_s(), 900.0);
        // What grew over a second is taken as even: at least so much.
        peak.step(3020 * MS, 2145);
        assert_eq!(peak.per_s(), 2000.0);
        // A moment that is told late changes nothing.
        peak.step(3000 * MS, 2000);
        assert_eq!(peak.per_s(), 2000.0);
        assert_eq!(Peak::default().per_s(), 0.0);
    }
}
