//! How time is divided, as a row of signs: the same signs and words wherever a bar is shown.

use probe_common::part;

use crate::aggregate::Parts;

/// Each part, in the order in which a bar shows them, its sign, and its name in the legend.
pub const LEGEND: [(usize, char, &str); part::COUNT] = [
    (part::NETWORK, '░', "network"),
    (part::ON_CPU, '▓', "on CPU"),
    (part::RUN_QUEUE, '█', "waiting for CPU"),
    (part::DISK, '▒', "disk"),
    (part::LOCK, '▪', "lock"),
    (part::CLIENT, '~', "client"),
    (part::LOCAL, '-', "pipe or child"),
    (part::SLEEP, 'z', "sleep"),
    (part::UNEXPLAINED, '?', "unknown"),
    (part::IDLE, '·', "idle"),
];

/// The sign of a part; that of unknown time for what is no part.
pub fn sign(part: usize) -> char {
    let mut legend = LEGEND.iter();
    legend.find(|l| l.0 == part).map_or('?', |l| l.1)
}

/// Its name in the legend.
pub fn words(part: usize) -> &'static str {
    let mut legend = LEGEND.iter();
    legend.find(|l| l.0 == part).map_or("unknown", |l| l.2)
}

/// How many of `width` cells each part gets, in the order of [`LEGEND`], those without any left out. Together they are
/// always `width`, except that no time at all has no cells.
///
/// By largest remainders; what would fill half a cell is given one at the cost of what has most, so that it shows.
pub fn cells(parts: &Parts, width: usize) -> Vec<(usize, usize)> {
    let total: u128 = parts.iter().map(|&ns| u128::from(ns)).sum();
    if total == 0 || width == 0 {
        return Vec::new();
    }
    let scaled = |part: usize| u128::from(parts[part]) * width as u128;
    let mut cells: Vec<(usize, usize)> = LEGEND
        .iter()
        .map(|&(part, ..)| (part, (scaled(part) / total) as usize))
        .collect();
    let left = width - cells.iter().map(|c| c.1).sum::<usize>();
    let mut by_rest: Vec<usize> = (0..cells.len()).collect();
    by_rest.sort_by_key(|&i| (std::cmp::Reverse(scaled(cells[i].0) % total), i));
    for &i in by_rest.iter().take(left) {
        cells[i].1 += 1;
    }
    for i in 0..cells.len() {
        if cells[i].1 > 0 || scaled(cells[i].0) * 2 < total {
            continue;
        }
        if let Some(most) = (0..cells.len()).max_by_key(|&j| cells[j].1)
            && cells[most].1 > 1
        {
            cells[most].1 -= 1;
            cells[i].1 += 1;
        }
    }
    cells.retain(|c| c.1 > 0);
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(parts: &Parts, width: usize) -> usize {
        cells(parts, width).iter().map(|c| c.1).sum()
    }

    #[test]
    fn a_bar_is_always_full() {
        let uneven: Parts = std::array::from_fn(|i| 3u64.pow(i as u32 * 2));
        for parts in [[1; part::COUNT], [u64::MAX; part::COUNT], uneven] {
            for width in 1..200 {
                assert_eq!(lengths(&parts, width), width);
            }
        }
        assert!(cells(&Parts::default(), 20).is_empty());
        assert!(cells(&uneven, 0).is_empty());
    }

    #[test]
    fn what_would_fill_half_a_cell_shows() {
        let small = [part::ON_CPU, part::DISK, part::LOCK];
        let mut parts = Parts::default();
        parts[part::NETWORK] = 1000;
        // 0.59 of 100 cells each: by remainders, one of the three would go without.
        small.iter().for_each(|&part| parts[part] = 6);
        let mut expected = vec![(part::NETWORK, 97), (part::ON_CPU, 1)];
        expected.extend([(part::DISK, 1), (part::LOCK, 1)]);
        assert_eq!(cells(&parts, 100), expected);
        // A tenth of a cell does not.
        small.iter().for_each(|&part| parts[part] = 1);
        assert_eq!(cells(&parts, 100), [(part::NETWORK, 100)]);
    }

    #[test]
    fn no_two_parts_share_a_sign() {
        for (n, (part, sign, words)) in LEGEND.iter().enumerate() {
            assert!(LEGEND[n + 1..].iter().all(|l| l.1 != *sign));
            assert_eq!((super::sign(*part), super::words(*part)), (*sign, *words));
        }
        assert!((0..part::COUNT).all(|p| LEGEND.iter().any(|l| l.0 == p)));
    }
}
