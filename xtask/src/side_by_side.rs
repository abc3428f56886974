//! Work on several items at once, on threads.

use std::sync::{
    OnceLock,
    atomic::{AtomicUsize, Ordering},
};

/// Does `work` on each item, on at most `most` at once; the results are in the items' order.
pub fn side_by_side<T: Sync, R: Send + Sync>(
    items: &[T],
    most: usize,
    work: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let results: Vec<OnceLock<R>> = items.iter().map(|_| OnceLock::new()).collect();
    std::thread::scope(|scope| {
        for _ in 0..most.min(items.len()) {
            scope.spawn(|| {
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    let (Some(item), Some(result)) = (items.get(i), results.get(i)) else {
                        break;
                    };
                    // Nobody else has this item.
                    let _ = result.set(work(item));
                }
            });
        }
    });
    results
        .into_iter()
        .filter_map(OnceLock::into_inner)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn results_come_in_the_items_order_and_no_more_than_so_many_at_once() {
        let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let done = side_by_side(&[30, 1, 20, 2], 2, |ms| {
            let now = running.fetch_add(1, Ordering::SeqCst) + 1;
            most.fetch_max(now, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(*ms));
            running.fetch_sub(1, Ordering::SeqCst);
            ms * 2
        });
        assert_eq!(done, [60, 2, 40, 4]);
        assert_eq!(most.into_inner(), 2);
        assert!(side_by_side(&[0; 0], 2, |n| *n).is_empty());
    }
}
