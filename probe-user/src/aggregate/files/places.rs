//! Who creates, syncs and unlinks files, by directory and by file system.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{Creator, Device, MAX_FILE_ROWS, Mount, Sizes, Work, space::mounted_path};
use crate::{
    aggregate::{
        Timed,
        identity::Processes,
        lives::{Lives, Sum},
        team::{self, Members, TeamKey},
    },
    collect::files::Directory,
};

/// A directory that holds this share of what a team created in a file system is where it creates files: of a
/// cache with hashed subdirectories, that is the one above them.
const NEARLY_ALL: f64 = 0.8;
/// Example names kept of a row.
const MAX_EXAMPLES: usize = 4;

/// Process, file system, and the directory: its inode; its path where it is known by that only. And which path unlinked files
/// were given by.
type Key = (u32, Device, u64, Vec<u8>, u64);

fn key(row: &Directory) -> Key {
    let path = row.path.as_ref().filter(|_| row.inode == 0);
    (
        row.pid,
        row.device,
        row.inode,
        path.cloned().unwrap_or_default(),
        row.by_path,
    )
}

/// The sums of every (process, directory).
#[derive(Clone, Debug, Default)]
pub(super) struct Places(Lives<Row>);

/// A row, and what of it grows.
#[derive(Clone, Debug)]
struct Row {
    sums: Sums,
    row: Arc<Directory>,
}

impl Sum for Row {
    type Key = Key;

    fn add(&mut self, more: &Self) {
        self.sums.add(&more.sums);
        self.row = Arc::clone(&more.row);
    }

    fn since(&self, earlier: &Self) -> Self {
        Self {
            sums: self.sums.since(&earlier.sums),
            row: Arc::clone(&self.row),
        }
    }

    fn other(key: &Key) -> Key {
        (key.0, Device::default(), 0, Vec::new(), 0)
    }
}

fn keyed(row: Directory) -> (Key, Row) {
    let sums = Sums::from(&row);
    let row = Arc::new(row);
    (key(&row), Row { sums, row })
}

/// What is subtracted of a row.
#[derive(Clone, Debug, Default)]
struct Sums {
    created: u64,
    sizes: Sizes,
    syncs: Timed,
    unlinked: u64,
}

impl From<&Directory> for Sums {
    fn from(row: &Directory) -> Self {
        Self {
            created: row.created,
            sizes: Sizes::from(&row.sizes),
            syncs: Timed::from(&row.syncs),
            unlinked: row.unlinked,
        }
    }
}

/// A team at work in a directory: file system, inode, path.
type Place<'a> = (TeamKey, Device, u64, &'a [u8]);

impl Sums {
    fn since(&self, earlier: &Self) -> Self {
        Self {
            created: self.created.saturating_sub(earlier.created),
            sizes: self.sizes.since(&earlier.sizes),
            syncs: self.syncs.since(&earlier.syncs),
            unlinked: self.unlinked.saturating_sub(earlier.unlinked),
        }
    }

    fn add(&mut self, more: &Self) {
        self.created += more.created;
        self.sizes.add(&more.sizes);
        self.syncs.add(&more.syncs);
        self.unlinked += more.unlinked;
    }

    fn is_empty(&self) -> bool {
        self.created + self.sizes.count + self.syncs.count + self.unlinked == 0
    }
}

/// The result.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub created: u64,
    pub places: Vec<Work>,
    pub other: Work,
    pub creators: Vec<Creator>,
}

impl Places {
    /// Sums at a later moment, and those of rows that were taken out before.
    pub fn learn(&mut self, rows: Vec<Directory>, retired: Vec<Directory>) {
        self.0.end(retired.into_iter().map(keyed));
        self.0.learn(rows.into_iter().map(keyed));
    }

    /// For a window that begins where this one ends.
    pub fn successor(&self) -> Self {
        Self(self.0.successor())
    }

    /// By team and directory, and by team and file system.
    pub fn finish(&self, mounts: &[Mount], processes: &Processes) -> Found {
        let mut found = Found::default();
        let mut places: HashMap<Place<'_>, (Work, Members)> = HashMap::new();
        let mut creators: HashMap<(TeamKey, Device), Whole> = HashMap::new();
        // In order, so that of several example names and paths the same are shown each time.
        let rows: BTreeMap<&Key, Row> = self.0.grown().collect();
        for (key, Row { sums: grown, row }) in &rows {
            if grown.is_empty() {
                continue;
            }
            let grown = grown.clone();
            found.created += grown.created;
            let work = work(row, grown, mounts);
            let weight = work.created + work.syncs.count + work.unlinked;
            let team = team::key(processes, row.pid, &row.comm);
            let whole = creators.entry((team.clone(), row.device)).or_default();
            whole.add(&work);
            whole.members.add(row.pid, weight);
            let (sum, members) = places
                .entry((team, row.device, row.inode, &key.3))
                .or_default();
            add(sum, &work);
            members.add(row.pid, weight);
        }
        found.places = places
            .into_iter()
            .map(|((team, ..), (work, members))| Work {
                team: members.team(team),
                ..work
            })
            .collect();
        found.places.sort_by(by_work);
        for work in found
            .places
            .split_off(found.places.len().min(MAX_FILE_ROWS))
        {
            add(&mut found.other, &work);
        }
        (found.other.path, found.other.device) = (None, Device::default());
        found.creators = creators
            .into_iter()
            .map(|((team, _), whole)| whole.finish(team))
            .collect();
        found.creators.sort_by(|a, b| by_work(&a.work, &b.work));
        found.creators.truncate(MAX_FILE_ROWS);
        found
    }
}

fn work(row: &Directory, grown: Sums, mounts: &[Mount]) -> Work {
    Work {
        device: row.device,
        path: row
            .path
            .as_deref()
            .map(|path| mounted_path(mounts, row.device, path)),
        deleted: row.deleted,
        created: grown.created,
        sizes: grown.sizes,
        syncs: grown.syncs,
        unlinked: grown.unlinked,
        examples: row.examples.clone(),
        ..Work::default()
    }
}

/// Adds what another process did in the same directory, or in another one.
fn add(sum: &mut Work, other: &Work) {
    if sum.path.is_none() {
        sum.path.clone_from(&other.path);
    }
    sum.device = other.device;
    sum.deleted |= other.deleted;
    sum.created += other.created;
    sum.sizes.add(&other.sizes);
    sum.syncs.add(&other.syncs);
    sum.unlinked += other.unlinked;
    let room = MAX_EXAMPLES.saturating_sub(sum.examples.len());
    // Names are of files that were created, so of the window only where it created some.
    let names = other.examples.iter().filter(|_| other.created > 0);
    sum.examples.extend(names.take(room).cloned());
}

fn by_work(a: &Work, b: &Work) -> std::cmp::Ordering {
    let key = |w: &Work| {
        (
            Reverse((w.created, w.syncs.count, w.unlinked)),
            w.path.clone(),
            w.team.name.clone(),
        )
    };
    key(a).cmp(&key(b))
}

/// What a team did in a file system.
#[derive(Debug, Default)]
struct Whole {
    work: Work,
    members: Members,
    /// Files created by directory.
    created: BTreeMap<Vec<u8>, u64>,
}

impl Whole {
    fn add(&mut self, work: &Work) {
        add(&mut self.work, work);
        if let Some(path) = work.path.as_ref().filter(|_| work.created > 0) {
            *self.created.entry(path.clone()).or_default() += work.created;
        }
    }

    fn finish(self, team: TeamKey) -> Creator {
        let (path, directories) = deepest(&self.created, self.work.created);
        Creator {
            work: Work {
                team: self.members.team(team),
                path: path.or(self.work.path),
                ..self.work
            },
            directories,
        }
    }
}

/// The deepest directory that nearly all of `all` files were created in or below, and how many directories
/// there those are.
fn deepest(created: &BTreeMap<Vec<u8>, u64>, all: u64) -> (Option<Vec<u8>>, u64) {
    let enough = (all as f64 * NEARLY_ALL).ceil() as u64;
    let mut below: HashMap<&[u8], (u64, u64)> = HashMap::new();
    for (path, count) in created {
        for above in prefixes(path) {
            let sum = below.entry(above).or_default();
            sum.0 += count;
            sum.1 += 1;
        }
    }
    below
        .into_iter()
        .filter(|(_, (count, _))| *count >= enough.max(1))
        .max_by_key(|(path, _)| path.len())
        .map_or((None, 0), |(path, (_, directories))| {
            (Some(path.to_vec()), directories)
        })
}

/// `/`, `/a`, `/a/b` of `/a/b`.
fn prefixes(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let inner = path
        .iter()
        .enumerate()
        .filter(|&(at, b)| at > 0 && *b == b'/');
    let root = path.starts_with(b"/").then(|| &path[..1]);
    let whole = Some(path).filter(|path| path.len() > 1 || !path.starts_with(b"/"));
    root.into_iter()
        .chain(inner.map(|(at, _)| &path[..at]))
        .chain(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn created(list: &[(&str, u64)]) -> BTreeMap<Vec<u8>, u64> {
        list.iter()
            .map(|(path, n)| (path.as_bytes().to_vec(), *n))
            .collect()
    }

    #[test]
    fn hashed_subdirectories_are_one_place() {
        let list = created(&[
            ("/var/cache/css/a0", 100),
            ("/var/cache/css/b1", 120),
            ("/var/cache/css/c2", 110),
            ("/tmp", 3),
        ]);
        let (path, directories) = deepest(&list, 333);
        assert_eq!(path.as_deref(), Some(&b"/var/cache/css"[..]));
        assert_eq!(directories, 3);
    }

    #[test]
    fn one_directory_is_itself_and_the_root_is_the_last_resort() {
        let one = created(&[("/a/b", 5)]);
        assert_eq!(deepest(&one, 5), (Some(b"/a/b".to_vec()), 1));
        let root = created(&[("/", 5)]);
        assert_eq!(deepest(&root, 5), (Some(b"/".to_vec()), 1));
        let apart = created(&[("/a", 5), ("/b", 5)]);
        assert_eq!(deepest(&apart, 10), (Some(b"/".to_vec()), 2));
        assert_eq!(deepest(&created(&[]), 7), (None, 0));
    }
}
