//! Sums by key that grow, end, and may begin again at 0: what came of each in a window.
//!
//! Rows are taken out of the kernel's tables now and then (`collect::table`). A window adds up the lives of a row; the next
//! window knows nothing of rows that have ended.

use std::{borrow::Cow, collections::HashMap, hash::Hash, sync::Arc};

use crate::bounded::has_room;

/// Ended rows that a window tells apart; further ones are added up in [`Sum::other`].
const MAX_ENDED: usize = 16_384;

/// Something that grows.
pub(super) trait Sum: Clone {
    /// What it is a sum of.
    type Key: Clone + Eq + Hash;

    /// Adds another sum; of two names, the later one stays.
    fn add(&mut self, more: &Self);

    /// What came since `earlier`, a former state of it.
    fn since(&self, earlier: &Self) -> Self;

    /// Where it is added up when there are too many.
    fn other(key: &Self::Key) -> Self::Key;
}

/// Sums of one window.
#[derive(Clone, Debug)]
pub(super) struct Lives<S: Sum> {
    /// At the start of the window; copies of the window share it.
    base: Arc<HashMap<S::Key, S>>,
    /// Of the rows that there are.
    now: HashMap<S::Key, S>,
    /// Of the lives that have ended in the window.
    ended: HashMap<S::Key, S>,
}

impl<S: Sum> Default for Lives<S> {
    fn default() -> Self {
        Self {
            base: Arc::default(),
            now: HashMap::new(),
            ended: HashMap::new(),
        }
    }
}

impl<S: Sum> Lives<S> {
    /// Takes in rows that have ended, with their last sums; before those of the same reading that live.
    pub fn end(&mut self, rows: impl IntoIterator<Item = (S::Key, S)>) {
        for (mut key, mut sum) in rows {
            self.now.remove(&key);
            if !has_room(&self.ended, &key, MAX_ENDED) {
                if let Some(base) = self.base_mut().remove(&key) {
                    sum = sum.since(&base);
                }
                key = S::other(&key);
            }
            match self.ended.get_mut(&key) {
                Some(all) => all.add(&sum),
                None => drop(self.ended.insert(key, sum)),
            }
        }
    }

    /// Takes in sums at a later moment.
    pub fn learn(&mut self, rows: impl IntoIterator<Item = (S::Key, S)>) {
        self.now.extend(rows);
    }

    /// Those of a window that begins where this one ends.
    pub fn successor(&self) -> Self {
        Self {
            base: Arc::new(fitting(&self.now)),
            now: fitting(&self.now),
            ended: HashMap::new(),
        }
    }

    /// The keys of the window, and what came of each.
    pub fn grown(&self) -> impl Iterator<Item = (&S::Key, S)> {
        self.sums().map(|(key, sum, base)| match base {
            Some(base) => (key, sum.since(base)),
            None => (key, sum.into_owned()),
        })
    }

    /// The keys of the window, the sum of each, and what it was at the start where it was there.
    pub fn sums(&self) -> impl Iterator<Item = (&S::Key, Cow<'_, S>, Option<&S>)> {
        let ended = self.ended.iter().map(|(key, ended)| {
            let Some(now) = self.now.get(key) else {
                return (key, Cow::Borrowed(ended));
            };
            let mut sum = ended.clone();
            sum.add(now);
            (key, Cow::Owned(sum))
        });
        let alive = self.now.iter();
        let alive = alive.filter(|(key, _)| !self.ended.contains_key(*key));
        let alive = alive.map(|(key, now)| (key, Cow::Borrowed(now)));
        ended
            .chain(alive)
            .map(|(key, sum)| (key, sum, self.base.get(key)))
    }

    /// Is the row there, or was it in the window?
    pub fn contains(&self, key: &S::Key) -> bool {
        self.now.contains_key(key) || self.ended.contains_key(key)
    }

    /// The keys of the rows that there are.
    pub fn keys(&self) -> impl Iterator<Item = &S::Key> {
        self.now.keys()
    }

    /// What was known at the start of the window, to be added to.
    pub fn base_mut(&mut self) -> &mut HashMap<S::Key, S> {
        Arc::make_mut(&mut self.base)
    }
}

/// A copy that has no more room than it needs. A clone has as much as its source, which is as much as that ever needed: what
/// goes from window to window would only grow.
pub(super) fn fitting<K: Clone + Eq + Hash, V: Clone>(map: &HashMap<K, V>) -> HashMap<K, V> {
    let rows = map.iter();
    rows.map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    impl Sum for u64 {
        type Key = u32;

        fn add(&mut self, more: &Self) {
            *self += more;
        }

        fn since(&self, earlier: &Self) -> Self {
            self.checked_sub(*earlier)
                .expect("no sum is smaller than what it was")
        }

        fn other(_: &u32) -> u32 {
            u32::MAX
        }
    }

    /// What may happen to a table.
    #[derive(Clone, Debug)]
    enum Step {
        Grows {
            key: u32,
            by: u64,
        },
        Ends {
            key: u32,
        },
        /// A reading of everything.
        Looks,
        /// The same, and a window ends there.
        Turns,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0..6u32, 1..9u64).prop_map(|(key, by)| Step::Grows { key, by }),
            3 => (0..6u32).prop_map(|key| Step::Ends { key }),
            2 => Just(Step::Looks),
            1 => Just(Step::Turns),
        ]
    }

    proptest! {
        /// Whatever is taken out, when, and however often: each window has what came in it.
        #[test]
        fn windows_have_what_came_in_them(steps in prop::collection::vec(step(), 0..80)) {
            let mut window: Lives<u64> = Lives::default();
            let mut table: HashMap<u32, u64> = HashMap::new();
            let mut truth: HashMap<u32, u64> = HashMap::new();
            let mut retired = Vec::new();
            for step in steps.into_iter().chain([Step::Turns]) {
                match step {
                    Step::Grows { key, by } => {
                        *table.entry(key).or_default() += by;
                        *truth.entry(key).or_default() += by;
                    }
                    Step::Ends { key } => retired.extend(table.remove_entry(&key)),
                    Step::Looks | Step::Turns => {
                        window.end(retired.drain(..));
                        window.learn(table.clone());
                    }
                }
                if let Step::Turns = step {
                    let grown: HashMap<u32, u64> = window
                        .grown()
                        .map(|(key, n)| (*key, n))
                        .filter(|(_, n)| *n > 0)
                        .collect();
                    prop_assert_eq!(&grown, &truth);
                    window = window.successor();
                    prop_assert_eq!(window.base.len(), table.len());
                    truth.clear();
                }
            }
        }
    }

    #[test]
    fn the_rows_that_have_ended_are_bounded_and_nothing_of_them_is_lost() {
        let mut window: Lives<u64> = Lives::default();
        let n = 2 * MAX_ENDED as u32;
        window.learn((0..n).map(|key| (key, 3)));
        let mut window = window.successor();
        window.end((0..n).map(|key| (key, 5)));
        // They come back.
        window.learn((0..n).map(|key| (key, 1)));
        assert_eq!(window.ended.len(), MAX_ENDED + 1);
        let grown: u64 = window.grown().map(|(_, n)| n).sum();
        assert_eq!(grown, u64::from(n) * 3);
    }
}
