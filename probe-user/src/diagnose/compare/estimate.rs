//! What a measurement says of the truth behind it: its value, and the range that chance leaves.
//!
//! Everything is at 99 %: two ranges that do not overlap differ by chance once in some thousands of
//! comparisons (decision 0012).

/// Standard deviations on either side that hold 99 % of a normal distribution.
const Z: f64 = 2.576;
/// What is outside of the range, on each side.
const TAIL: f64 = 0.005;
/// Up to so many samples, binomial ranks are computed exactly.
const EXACT: u64 = 2000;

/// A value with the range that it may truly have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// As measured.
    pub value: f64,
    /// It is hardly less than this.
    pub low: f64,
    /// It is hardly more than this; infinite when there are too few samples to say.
    pub high: f64,
}

impl Estimate {
    /// True when the samples are too few to bound it on the one side or the other.
    pub fn is_open(&self) -> bool {
        self.low <= 0.0 || self.high.is_infinite()
    }

    /// How far the truth may be from the value, as a share of it; infinite when it is not bounded.
    pub fn spread(&self) -> f64 {
        let off = (self.high - self.value).max(self.value - self.low);
        if off > 0.0 { off / self.value } else { 0.0 }
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.low <= other.high && other.low <= self.high
    }
}

/// What became of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Alike.
    Alike,
    /// It differs, but chance may have done it.
    Chance,
    /// It is lower, beyond chance.
    Lower,
    /// It is higher, beyond chance.
    Higher,
}

/// How far `after` is from `before`: a change is at least `least` times as much or as little, and more than `floor`.
pub fn change(before: &Estimate, after: &Estimate, least: f64, floor: f64) -> Change {
    let (small, large) = if before.value < after.value {
        (before.value, after.value)
    } else {
        (after.value, before.value)
    };
    if large < small * least || large - small <= floor {
        Change::Alike
    } else if before.overlaps(after) {
        Change::Chance
    } else if after.value < before.value {
        Change::Lower
    } else {
        Change::Higher
    }
}

/// Durations by bucket, shortest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Distribution {
    buckets: Vec<Span>,
}

/// Durations in one bucket: at least `low_ns` and at most `high_ns`, which is infinite for the last one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    /// Shortest.
    pub low_ns: f64,
    /// Longest.
    pub high_ns: f64,
    /// How many.
    pub count: u64,
}

impl Distribution {
    /// From buckets in whatever order.
    pub fn new(mut buckets: Vec<Span>) -> Self {
        buckets.retain(|b| b.count > 0);
        buckets.sort_by(|a, b| a.low_ns.total_cmp(&b.low_ns));
        Self { buckets }
    }

    /// Durations counted.
    pub fn len(&self) -> u64 {
        let counts = self.buckets.iter().map(|b| b.count);
        counts.fold(0, u64::saturating_add)
    }

    /// True when nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// Adds another one's; equal buckets need not be one.
    fn add(&mut self, other: &Self) {
        let mut all = std::mem::take(&mut self.buckets);
        all.extend(&other.buckets);
        *self = Self::new(all);
    }

    /// The duration that a share of `q` of them does not exceed. Its range is the one between two of the sorted
    /// durations, whose ranks follow from the binomial distribution whatever the durations' own is; and as a
    /// bucket does not tell where in it a duration lies, the range ends at the outer edges of theirs.
    pub fn quantile(&self, q: f64) -> Option<Estimate> {
        let n = self.len();
        if n == 0 {
            return None;
        }
        let (first, last) = ranks(n, q);
        Some(Estimate {
            value: self.interpolated(q),
            low: first.and_then(|r| self.at(r)).map_or(0.0, |b| b.low_ns),
            high: last
                .and_then(|r| self.at(r))
                .map_or(f64::INFINITY, |b| b.high_ns),
        })
    }

    /// The bucket of the duration of this rank, from 1.
    fn at(&self, rank: u64) -> Option<&Span> {
        let mut seen = 0u64;
        self.buckets.iter().find(|b| {
            seen = seen.saturating_add(b.count);
            seen >= rank
        })
    }

    fn interpolated(&self, q: f64) -> f64 {
        let rank = q * self.len() as f64;
        let mut below = 0.0;
        for b in &self.buckets {
            let count = b.count as f64;
            if below + count >= rank {
                let width = if b.high_ns.is_finite() {
                    b.high_ns - b.low_ns
                } else {
                    0.0
                };
                return b.low_ns + width * ((rank - below) / count).clamp(0.0, 1.0);
            }
            below += count;
        }
        self.buckets.last().map_or(0.0, |b| b.low_ns)
    }
}

/// The ranks (from 1) between which the quantile of `n` durations lies; `None` on a side where there are too few to
/// say. Below rank `r` is at least what has `r` durations up to it, and of `n` durations a binomial number is.
fn ranks(n: u64, q: f64) -> (Option<u64>, Option<u64>) {
    let (first, last) = if n <= EXACT {
        exact(n, q)
    } else {
        let (mean, sd) = (n as f64 * q, (n as f64 * q * (1.0 - q)).sqrt());
        // A cast from a float saturates.
        (
            (mean - Z * sd).floor() as u64,
            (mean + Z * sd).ceil() as u64 + 1,
        )
    };
    ((first > 0).then_some(first), (last <= n).then_some(last))
}

/// The largest rank with P(fewer than it are below) <= [`TAIL`], 0 when there is none, and the smallest with
/// P(as many as it or more are below) <= [`TAIL`], beyond `n` when there is none.
fn exact(n: u64, q: f64) -> (u64, u64) {
    let (ln_q, ln_rest) = (q.ln(), (1.0 - q).ln());
    let mut ln_choose = 0.0;
    let mut sum = 0.0;
    let (mut first, mut last) = (0, n + 1);
    for k in 0..=n {
        if k > 0 {
            ln_choose += ((n - k + 1) as f64).ln() - (k as f64).ln();
        }
        // `sum` is the probability of fewer than k.
        if 1.0 - sum <= TAIL {
            last = k;
            break;
        }
        sum += (ln_choose + k as f64 * ln_q + (n - k) as f64 * ln_rest).exp();
        if sum <= TAIL {
            first = k + 1;
        }
    }
    (first, last)
}

/// What was measured.
#[derive(Clone, Debug, PartialEq)]
pub enum Sample {
    /// So many events in a time, as a rate per second. Events come by a Poisson law.
    Events {
        /// How many.
        count: u64,
        /// In which time, ns.
        ns: u64,
    },
    /// A sum over so many requests, as its mean. How it varies among them is not in a report: it is taken to vary
    /// by as much as its mean.
    Mean {
        /// The sum.
        sum: f64,
        /// Over how many.
        of: u64,
    },
    /// A quantile.
    Quantile {
        /// Of these.
        of: Distribution,
        /// Which, 0 to 1.
        q: f64,
    },
    /// So many waits of some length together, as time per time. Both their number and their lengths vary.
    Time {
        /// All together, ns.
        total_ns: u64,
        /// How many.
        count: u64,
        /// In which time, ns.
        ns: u64,
    },
    /// A number of things that was looked at now and then.
    Level {
        /// At the end.
        last: u64,
        /// The least seen.
        least: u64,
        /// The most seen.
        most: u64,
    },
}

impl Sample {
    /// Adds another one of the same kind; a sum over requests is over the same ones.
    pub(super) fn add(&mut self, other: &Self) {
        match (self, other) {
            (Self::Events { count, .. }, Self::Events { count: more, .. }) => {
                *count = count.saturating_add(*more);
            }
            (Self::Mean { sum, .. }, Self::Mean { sum: more, .. }) => *sum += more,
            (Self::Quantile { of, .. }, Self::Quantile { of: more, .. }) => of.add(more),
            (
                Self::Time {
                    total_ns, count, ..
                },
                Self::Time {
                    total_ns: more_ns,
                    count: more,
                    ..
                },
            ) => {
                *total_ns = total_ns.saturating_add(*more_ns);
                *count = count.saturating_add(*more);
            }
            (
                Self::Level { last, least, most },
                Self::Level {
                    last: l,
                    least: a,
                    most: b,
                },
            ) => {
                *last = last.saturating_add(*l);
                *least = least.saturating_add(*a);
                *most = most.saturating_add(*b);
            }
            _ => {}
        }
    }

    /// The same when there was nothing of it.
    pub(super) fn none(&self, window_ns: u64, requests: u64) -> Option<Self> {
        Some(match self {
            Self::Events { .. } => Self::Events {
                count: 0,
                ns: window_ns,
            },
            Self::Mean { .. } => Self::Mean {
                sum: 0.0,
                of: requests,
            },
            Self::Time { .. } => Self::Time {
                total_ns: 0,
                count: 0,
                ns: window_ns,
            },
            Self::Level { .. } => Self::Level {
                last: 0,
                least: 0,
                most: 0,
            },
            Self::Quantile { .. } => return None,
        })
    }

    /// Its value and range; `None` when nothing was measured.
    pub fn estimate(&self) -> Option<Estimate> {
        match self {
            Self::Quantile { of, q } => of.quantile(*q),
            &Self::Events { count, ns } => (ns > 0).then(|| {
                let (low, high) = poisson(count);
                let per_s = 1e9 / ns as f64;
                Estimate {
                    value: count as f64 * per_s,
                    low: low * per_s,
                    high: high * per_s,
                }
            }),
            &Self::Mean { sum, of } => (of > 0 && sum.is_finite()).then(|| {
                let value = sum / of as f64;
                around(value, Z / (of as f64).sqrt())
            }),
            &Self::Time {
                total_ns,
                count,
                ns,
            } => (ns > 0).then(|| {
                let value = total_ns as f64 / ns as f64;
                around(value, Z * (2.0 / count.max(1) as f64).sqrt())
            }),
            &Self::Level { last, least, most } => Some(Estimate {
                value: last as f64,
                low: poisson(least.min(last)).0,
                high: poisson(most.max(last)).1,
            }),
        }
    }
}

/// A value that may be off by a share of itself.
fn around(value: f64, share: f64) -> Estimate {
    Estimate {
        value,
        low: value * (1.0 - share).max(0.0),
        high: value * (1.0 + share),
    }
}

/// The means from which `count` events come, but for 1 % of all cases: Byar's approximation, right to a percent
/// from no event on.
fn poisson(count: u64) -> (f64, f64) {
    let n = count as f64;
    let low = if count == 0 {
        0.0
    } else {
        n * (1.0 - 1.0 / (9.0 * n) - Z / (3.0 * n.sqrt()))
            .max(0.0)
            .powi(3)
    };
    let m = n + 1.0;
    let high = m * (1.0 - 1.0 / (9.0 * m) + Z / (3.0 * m.sqrt())).powi(3);
    (low, high)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(values: impl IntoIterator<Item = (u64, u64)>) -> Distribution {
        let span = |(ms, count): (u64, u64)| Span {
            low_ns: ms as f64 * 1e6,
            high_ns: ms as f64 * 1e6,
            count,
        };
        Distribution::new(values.into_iter().map(span).collect())
    }

    #[test]
    fn ranks_are_those_of_the_tables() {
        // Nonparametric 99 % ranges of the median, as in any table of order statistics.
        assert_eq!(ranks(8, 0.5), (Some(1), Some(8)));
        assert_eq!(ranks(10, 0.5), (Some(1), Some(10)));
        assert_eq!(ranks(20, 0.5), (Some(4), Some(17)));
        assert_eq!(ranks(100, 0.5), (Some(37), Some(64)));
        // With fewer, even the shortest and the longest do not bound it.
        assert_eq!(ranks(7, 0.5), (None, None));
        // That the 95th percentile is below the longest takes 104.
        assert_eq!(ranks(103, 0.95).1, None);
        assert_eq!(ranks(104, 0.95).1, Some(104));
        // Where the approximation begins, it goes on alike.
        for q in [0.5, 0.9, 0.95, 0.99] {
            let (exact, near) = (ranks(EXACT, q), ranks(EXACT + 1, q));
            let off = |a: Option<u64>, b: Option<u64>| a.unwrap().abs_diff(b.unwrap());
            assert!(
                off(exact.0, near.0) <= 3 && off(exact.1, near.1) <= 3,
                "{q}: {exact:?} {near:?}"
            );
        }
    }

    #[test]
    fn a_quantile_has_the_range_of_its_ranks_and_the_width_of_its_buckets() {
        let all = spans((1..=100).map(|ms| (ms, 1)));
        let median = all.quantile(0.5).unwrap();
        assert_eq!((median.low, median.high), (37e6, 64e6));
        let wide = Distribution::new(vec![Span {
            low_ns: 8e6,
            high_ns: 9e6,
            count: 1000,
        }]);
        let median = wide.quantile(0.5).unwrap();
        assert_eq!((median.low, median.high), (8e6, 9e6));
        assert!((8e6..=9e6).contains(&median.value));
        assert_eq!(Distribution::default().quantile(0.5), None);
        assert!(spans([(5, 3)]).quantile(0.5).unwrap().is_open());
    }

    #[test]
    fn rates_have_the_range_of_a_poisson_law() {
        for (count, low, high) in [(0, 0.0, 5.30), (10, 3.72, 21.4), (100, 76.1, 128.8)] {
            let (l, h) = poisson(count);
            assert!(
                (l - low).abs() < 0.2 && (h - high).abs() < 0.3,
                "{count}: {l} {h}"
            );
        }
        let rate = Sample::Events {
            count: 380,
            ns: 10_000_000_000,
        };
        let e = rate.estimate().unwrap();
        assert!((e.value - 38.0).abs() < 1e-9 && e.low > 33.0 && e.high < 44.0);
    }

    #[test]
    fn a_change_is_beyond_chance_and_relevant() {
        let of = |ms: u64, count| spans([(ms, count)]).quantile(0.5).unwrap();
        let change = |a, b| change(&a, &b, 1.1, 1e5);
        assert_eq!(change(of(9000, 400), of(48, 400)), Change::Lower);
        assert_eq!(change(of(48, 400), of(9000, 400)), Change::Higher);
        // Too little to matter, however sure it is.
        assert_eq!(change(of(100, 100_000), of(105, 100_000)), Change::Alike);
        // Too few to be sure, however much it is.
        assert_eq!(change(of(9000, 3), of(48, 3)), Change::Chance);
        // Below the floor of what is worth a word.
        let tiny = |value| Estimate {
            value,
            low: value,
            high: value,
        };
        assert_eq!(change(tiny(1e4), tiny(9e4)), Change::Alike);
        assert_eq!(change(tiny(0.0), tiny(0.0)), Change::Alike);
    }

    #[test]
    fn absurd_numbers_do_no_harm() {
        let sample = Sample::Events {
            count: u64::MAX,
            ns: 1,
        };
        assert!(sample.estimate().unwrap().high.is_finite());
        let full = spans([(1, u64::MAX), (2, u64::MAX)]);
        assert!(full.quantile(0.99).is_some());
        assert_eq!(Sample::Mean { sum: 1.0, of: 0 }.estimate(), None);
        assert_eq!(Sample::Events { count: 1, ns: 0 }.estimate(), None);
    }
}
