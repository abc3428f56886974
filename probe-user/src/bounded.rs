//! Tables with a most number of rows: whoever the traced system is, it does not decide how much memory the tool takes.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash},
};

/// Does the key have a row in the table, or is there room for one, where it may have `most` rows? What has neither is to be counted
/// elsewhere, or as left out.
pub fn has_room<K: Eq + Hash, V, S: BuildHasher>(
    table: &HashMap<K, V, S>,
    key: &K,
    most: usize,
) -> bool {
    table.len() < most || table.contains_key(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_table_has_room_for_what_is_in_it() {
        let table = HashMap::from([("a", 1), ("b", 2)]);
        assert!(has_room(&table, &"c", 3));
        assert!(has_room(&table, &"b", 2));
        assert!(!has_room(&table, &"c", 2));
    }
}
