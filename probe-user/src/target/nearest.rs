//! What someone may have meant: the names nearest to a mistyped one.

/// Up to `max` of `names` that are near to `wanted`, nearest first: those that contain it, or that few edits
/// lead to.
pub fn nearest<'a>(wanted: &str, names: impl Iterator<Item = &'a str>, max: usize) -> Vec<&'a str> {
    // A third of the letters may be wrong; beyond that, a suggestion is noise.
    let limit = (wanted.chars().count() / 3).max(1);
    let mut near: Vec<(usize, &str)> = names
        .filter_map(|name| {
            let edits = distance(wanted, name);
            // Containment counts as near, but a typo of one letter is nearer.
            let contains = wanted.len() >= 3 && (name.contains(wanted) || wanted.contains(name));
            if edits <= limit {
                Some((edits, name))
            } else if contains && name.len() >= 3 {
                Some((limit + edits, name))
            } else {
                None
            }
        })
        .collect();
    near.sort_unstable();
    near.dedup();
    near.into_iter().take(max).map(|(_, name)| name).collect()
}

/// Edits (insert, delete, replace, swap of neighbours) that lead from `a` to `b`.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replace = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replace.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        for (a, b, edits) in [
            ("", "", 0),
            ("poll", "poll", 0),
            ("pol", "poll", 1),
            ("conenct", "connect", 1),
            ("recv", "recvfrom", 4),
            ("abc", "xyz", 3),
        ] {
            assert_eq!(distance(a, b), edits, "{a} {b}");
            assert_eq!(distance(b, a), edits, "{b} {a}");
        }
    }

    #[test]
    fn the_likely_names_come_first_and_noise_does_not() {
        let names = ["connect", "poll", "ppoll", "epoll_wait", "recvfrom", "read"];
        let near = |wanted| nearest(wanted, names.iter().copied(), 3);
        assert_eq!(near("conect"), ["connect"]);
        assert_eq!(near("poll"), ["poll", "ppoll", "epoll_wait"]);
        assert_eq!(near("recv"), ["recvfrom"]);
        assert_eq!(near("mmap"), [""; 0]);
        assert_eq!(near(""), [""; 0]);
    }
}
