//! Something over time in one line: `▁▂▃▇█`.

/// From nothing to the top.
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The most in each of at most `columns` stretches of `length_ns`, against `top`, from moments (ns after the
/// beginning, value). A stretch without a moment is as the one before it; before the first one there is nothing.
pub(super) fn spark(
    points: impl IntoIterator<Item = (u64, u64)>,
    top: u64,
    length_ns: u64,
    columns: usize,
) -> String {
    let points: Vec<(u64, u64)> = points.into_iter().collect();
    let columns = columns.min(points.len().max(1));
    if columns == 0 {
        return String::new();
    }
    let mut most: Vec<Option<u64>> = vec![None; columns];
    for (at_ns, value) in points {
        let at = u128::from(at_ns) * columns as u128 / u128::from(length_ns.max(1));
        let place = &mut most[at.min(columns as u128 - 1) as usize];
        *place = Some(place.unwrap_or(0).max(value));
    }
    let mut before = None;
    most.into_iter()
        .map(|value| {
            before = value.or(before);
            before.map_or(' ', |value| level(value, top))
        })
        .collect()
}

/// How fast a sum grew in each of at most `columns` stretches of `length_ns`, against the fastest; from moments (ns
/// after the beginning, how far the sum had come) in order of time.
pub(super) fn growth(
    points: impl IntoIterator<Item = (u64, u64)>,
    length_ns: u64,
    columns: usize,
) -> String {
    let points: Vec<(u64, u64)> = points.into_iter().collect();
    // In a stretch without a moment nothing is known to have grown: there is to be none.
    let columns = columns.min(points.len());
    let mut points = points.into_iter().peekable();
    let (mut so_far, mut before) = (0, 0);
    let grown: Vec<u64> = (1..=columns as u128)
        .map(|n| {
            let end = u128::from(length_ns) * n / columns as u128;
            // What comes late belongs to the last stretch.
            let last = n == columns as u128;
            while let Some((_, sum)) = points.next_if(|p| last || u128::from(p.0) <= end) {
                so_far = sum;
            }
            let grown = so_far.saturating_sub(before);
            before = so_far;
            grown
        })
        .collect();
    let top = grown.iter().copied().max().unwrap_or(0);
    grown.into_iter().map(|n| level(n, top)).collect()
}

fn level(value: u64, top: u64) -> char {
    let level = value as f64 / top.max(1) as f64 * (LEVELS.len() - 1) as f64;
    // A cast from a float saturates.
    LEVELS[(level.round() as usize).min(LEVELS.len() - 1)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_column_is_the_most_of_its_stretch() {
        let points = [(0, 0), (10, 100), (20, 50), (30, 0)];
        assert_eq!(spark(points, 100, 40, 4), "▁█▅▁");
        assert_eq!(spark(points, 100, 40, 2), "█▅");
        // No more columns than points.
        assert_eq!(spark(points, 100, 40, 80).chars().count(), 4);
    }

    #[test]
    fn growth_is_what_came_in_each_stretch() {
        let points = [(10, 5), (20, 10), (30, 30), (99, 30)];
        assert_eq!(growth(points, 40, 4), "▃▃█▁");
        assert_eq!(growth([(1, 7), (120, 9)], 100, 80), "█▃");
        assert_eq!(growth([], 40, 4), "");
        assert_eq!(growth(points, 40, 0), "");
        assert_eq!(growth([(0, u64::MAX), (1, 0)], 0, 3), "█▁");
    }

    #[test]
    fn what_was_not_looked_at_is_as_before_and_nothing_breaks() {
        assert_eq!(spark([(30, 7), (31, 7), (99, 7)], 7, 100, 3), "███");
        assert_eq!(spark([(50, 7), (51, 7), (99, 7)], 7, 100, 3), " ██");
        assert_eq!(spark([], 1, 0, 10), " ");
        assert_eq!(spark([(1, 1)], 0, 0, 0), "");
        assert_eq!(spark([(u64::MAX, u64::MAX)], 0, 0, 5), "█");
    }
}
