//! The rows of the kernel side's maps, as a reading has them.

use std::collections::{HashMap as StdHashMap, HashSet};

use aya::{
    Ebpf,
    maps::{HashMap, MapData},
};
use probe_common::{
    files::{DirId, DirKey, DirPath, DirSum, Refused, RefusedKey, UnlinkKey, Unlinked, flag},
    hist,
    table::{Made, slot},
};

use super::{
    CallSum, Device, Directory,
    place::{Found, Text},
};
use crate::{
    collect::{
        collector::{map, map_error},
        monotonic_ns,
        table::{self, Fate, Look, Table},
    },
    error::Error,
};

/// Makes the rows for what finds no other place.
pub fn make_other_rows(ebpf: &mut Ebpf) -> Result<(), Error> {
    let mut directories: HashMap<&mut MapData, DirKey, DirSum> = map(ebpf, "DIRECTORIES")?;
    directories
        .insert(DirKey::ZERO, DirSum::ZERO, 0)
        .map_err(map_error)?;
    let mut refused: HashMap<&mut MapData, RefusedKey, Refused> = map(ebpf, "REFUSED")?;
    refused
        .insert(RefusedKey::ZERO, Refused::ZERO, 0)
        .map_err(map_error)
}

/// The tables.
pub struct Tables {
    directories: Table<DirKey>,
    unlinked: Table<UnlinkKey>,
    refused: Table<RefusedKey>,
    /// Where directories are, as last read.
    paths: StdHashMap<DirId, Vec<u8>>,
    /// Those of them that no row named then.
    unused: HashSet<DirId>,
    /// Rows that were taken out, and whose directory is not looked for yet.
    waiting: Vec<(UnlinkKey, UnlinkedRow)>,
}

/// What a look at all tables found.
pub struct Rows {
    pub directories: Look<DirKey, Directory>,
    pub unlinked: Look<UnlinkKey, UnlinkedRow>,
    pub refused: Look<RefusedKey, RefusedRow>,
}

impl Default for Tables {
    fn default() -> Self {
        Self {
            directories: Table::new("DIRECTORIES", Some(slot::DIRECTORIES)),
            unlinked: Table::new("UNLINKED", Some(slot::UNLINKED)),
            refused: Table::new("REFUSED", None),
            paths: StdHashMap::new(),
            unused: HashSet::new(),
            waiting: Vec::new(),
        }
    }
}

impl Tables {
    /// The kernel side says that so many rows were made.
    pub fn told(&mut self, made: &Made) {
        self.directories.told(made);
        self.unlinked.told(made);
    }

    /// See [`Table::is_crowded`].
    pub fn are_crowded(&self) -> bool {
        self.directories.is_crowded() || self.unlinked.is_crowded()
    }

    /// The processes that have rows.
    pub fn creators(&self) -> Vec<u32> {
        let pids = self.directories.keys().map(|key| key.tgid);
        let mut pids: Vec<u32> = pids.filter(|pid| *pid != 0).collect();
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    /// All rows, and those that were taken out.
    pub fn look(&mut self, ebpf: &Ebpf) -> Result<Rows, Error> {
        let directories = self.directories(ebpf, true)?;
        let mut unlinked = self.unlinks(ebpf, true)?;
        unlinked.retired.extend(std::mem::take(&mut self.waiting));
        let fate = |key: &RefusedKey| fate(*key == RefusedKey::ZERO);
        let mark = |row: &Refused| row.count;
        let now_ns = monotonic_ns();
        let refused = self.refused.look(ebpf, now_ns, true, mark, fate, refused)?;
        Ok(Rows {
            directories,
            unlinked,
            refused,
        })
    }

    /// Takes rows out. Where files were unlinked by a path is looked for with the next look at everything.
    pub fn make_room(&mut self, ebpf: &Ebpf) -> Result<Vec<Directory>, Error> {
        let unlinked = self.unlinks(ebpf, false)?.retired;
        self.waiting.extend(unlinked);
        let retired = self.directories(ebpf, false)?.retired;
        Ok(retired.into_iter().map(|(_, row)| row).collect())
    }

    fn directories(&mut self, ebpf: &Ebpf, wanted: bool) -> Result<Look<DirKey, Directory>, Error> {
        self.paths.clear();
        table::for_each(ebpf, "DIR_PATHS", |id: DirId, path: &DirPath| {
            self.paths.insert(id, path_of(path));
        })?;
        let fate = |key: &DirKey| fate(*key == DirKey::ZERO);
        let mark = |sum: &DirSum| sum.created + sum.syncs + sum.unlinked + sum.sized;
        let paths = &self.paths;
        let now_ns = monotonic_ns();
        let mut found = self
            .directories
            .look(ebpf, now_ns, wanted, mark, fate, |key, sum| {
                directory(key, sum, paths.get(&key.directory()))
            })?;
        let is_used = |d: &Directory| d.created + d.syncs.count + d.unlinked + d.sized > 0;
        found.rows.retain(|(_, row)| is_used(row));
        self.forget_paths(ebpf)?;
        Ok(found)
    }

    /// Takes paths out of the kernel's table that no row has named twice.
    fn forget_paths(&mut self, ebpf: &Ebpf) -> Result<(), Error> {
        let used: HashSet<DirId> = self.directories.keys().map(DirKey::directory).collect();
        let mut unused = HashSet::new();
        for id in self.paths.keys().filter(|id| !used.contains(id)) {
            if self.unused.contains(id) {
                table::take::<DirId, DirPath>(ebpf, "DIR_PATHS", id)?;
            } else {
                unused.insert(*id);
            }
        }
        self.unused = unused;
        Ok(())
    }

    fn unlinks(
        &mut self,
        ebpf: &Ebpf,
        wanted: bool,
    ) -> Result<Look<UnlinkKey, UnlinkedRow>, Error> {
        let mark = |row: &Unlinked| row.count;
        let now_ns = monotonic_ns();
        self.unlinked.look(
            ebpf,
            now_ns,
            wanted,
            mark,
            |_| Fate::Alive,
            |key, row| UnlinkedRow {
                directory: Text {
                    pid: key.tgid,
                    base: key.base.inode,
                    path: row.text[..(row.len as usize).min(row.text.len())].to_vec(),
                },
                comm: text(&row.comm).to_vec(),
                count: row.count,
            },
        )
    }

    /// Files that were unlinked by a path, as a row of a reading. `found` is where the path leads to; its directory is
    /// entered there when it is known by its path only.
    pub fn unlinked(
        &self,
        key: &UnlinkKey,
        row: &UnlinkedRow,
        found: &mut Option<Found>,
    ) -> Directory {
        let mut directory = Directory {
            pid: row.directory.pid,
            comm: row.comm.clone(),
            // Never 0.
            by_path: (key.hash ^ key.base.inode.rotate_left(32)) | 1,
            unlinked: row.count,
            ..Directory::default()
        };
        let Some(found) = found else { return directory };
        let on_device = |id: &DirId| Device::from_kernel(id.dev) == found.device;
        if found.inode == 0 {
            let mut known = self.paths.iter().filter(|(id, _)| on_device(id));
            if let Some((id, _)) = known.find(|(_, path)| **path == found.path) {
                found.inode = id.inode;
            }
        }
        let mut known = self.paths.iter().filter(|(id, _)| on_device(id));
        let path = known.find(|(id, _)| found.inode != 0 && id.inode == found.inode);
        directory.device = found.device;
        directory.inode = found.inode;
        directory.path = Some(path.map_or_else(|| found.path.clone(), |(_, path)| path.clone()));
        directory
    }
}

/// What user space has made stays.
fn fate(other: bool) -> Fate {
    match other {
        true => Fate::Stays,
        false => Fate::Alive,
    }
}

fn directory(key: &DirKey, sum: &DirSum, path: Option<&Vec<u8>>) -> Directory {
    let examples = sum.examples.iter().map(|name| text(name).to_vec());
    Directory {
        pid: key.tgid,
        comm: text(&sum.comm).to_vec(),
        device: Device::from_kernel(key.dev),
        inode: key.inode,
        path: path.cloned(),
        by_path: 0,
        deleted: sum.flags & flag::DELETED != 0,
        created: sum.created,
        sized: sum.sized,
        sizes: call_sum(sum.sized, sum.size_total, sum.size_max, &sum.sizes),
        syncs: call_sum(
            sum.syncs,
            sum.sync_total_ns,
            sum.sync_max_ns,
            &sum.sync_hist,
        ),
        unlinked: sum.unlinked,
        examples: examples.filter(|name| !name.is_empty()).collect(),
        first_ns: sum.first_ns,
        last_ns: sum.last_ns,
    }
}

fn call_sum(count: u64, total: u64, max: u64, hist: &[u32; hist::BUCKETS]) -> CallSum {
    let buckets = hist.iter().enumerate().filter(|(_, n)| **n > 0);
    CallSum {
        count,
        total_ns: total,
        max_ns: max,
        hist: buckets.map(|(bucket, n)| (bucket as u8, *n)).collect(),
        ..CallSum::default()
    }
}

/// Puts the components, which stand from the last to the first, in order.
fn path_of(path: &DirPath) -> Vec<u8> {
    let used = &path.text[..(path.len as usize).min(path.text.len())];
    let used = used.strip_suffix(b"\0").unwrap_or(used);
    let mut out = match path.whole {
        0 => b"...".to_vec(),
        _ => Vec::new(),
    };
    if !used.is_empty() {
        for component in used.rsplit(|byte| *byte == 0) {
            out.push(b'/');
            out.extend(component);
        }
    }
    if out.is_empty() {
        out.push(b'/');
    }
    out
}

/// What stands before the NUL.
fn text(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Files that were unlinked by a path.
pub struct UnlinkedRow {
    /// What the path says of their directory.
    pub directory: Text,
    /// Name of the process.
    pub comm: Vec<u8>,
    /// How many.
    pub count: u64,
}

/// Refused calls.
pub struct RefusedRow {
    /// As a reading has them.
    pub refused: super::Refused,
    /// The directory of an absolute path.
    pub directory: Option<Text>,
}

fn refused(key: &RefusedKey, row: &Refused) -> RefusedRow {
    let path = text(&row.path).to_vec();
    let slash = path.iter().rposition(|byte| *byte == b'/');
    let directory = slash.filter(|_| path.starts_with(b"/")).map(|slash| Text {
        pid: key.tgid,
        base: 0,
        path: path[..=slash].to_vec(),
    });
    RefusedRow {
        refused: super::Refused {
            pid: key.tgid,
            comm: text(&row.comm).to_vec(),
            call: name(key.nr),
            errno: key.errno,
            device: (key.dev != 0).then(|| Device::from_kernel(key.dev)),
            path,
            count: row.count,
            first_ns: row.first_ns,
            last_ns: row.last_ns,
        },
        directory,
    }
}

/// The name of a system call that may be refused, as its tracepoint spells it.
fn name(nr: u32) -> &'static str {
    macro_rules! names {
        ($($name:literal => $nr:ident $($arch:literal)?,)*) => {
            match i64::from(nr) {
                $( $(#[cfg(target_arch = $arch)])? libc::$nr => $name, )*
                _ => "other",
            }
        };
    }
    names! {
        "openat" => SYS_openat,
        "openat2" => SYS_openat2,
        "open" => SYS_open "x86_64",
        "creat" => SYS_creat "x86_64",
        "write" => SYS_write,
        "pwrite64" => SYS_pwrite64,
        "writev" => SYS_writev,
        "pwritev" => SYS_pwritev,
        "pwritev2" => SYS_pwritev2,
        "fallocate" => SYS_fallocate,
        "ftruncate" => SYS_ftruncate,
        "truncate" => SYS_truncate,
        "fsync" => SYS_fsync,
        "fdatasync" => SYS_fdatasync,
        "mkdir" => SYS_mkdir "x86_64",
        "mkdirat" => SYS_mkdirat,
        "mknod" => SYS_mknod "x86_64",
        "mknodat" => SYS_mknodat,
        "symlink" => SYS_symlink "x86_64",
        "symlinkat" => SYS_symlinkat,
        "link" => SYS_link "x86_64",
        "linkat" => SYS_linkat,
        "rename" => SYS_rename "x86_64",
        "renameat" => SYS_renameat "x86_64",
        "renameat2" => SYS_renameat2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel_path(components: &[&[u8]], whole: u32) -> DirPath {
        let mut path = DirPath::ZERO;
        let mut at = 0;
        for component in components {
            path.text[at..at + component.len()].copy_from_slice(component);
            at += component.len() + 1;
        }
        (path.len, path.whole) = (at as u32, whole);
        path
    }

    #[test]
    fn a_path_is_put_in_order() {
        assert_eq!(
            path_of(&kernel_path(&[b"c\n\xff", b"b", b"a"], 1)),
            b"/a/b/c\n\xff"
        );
        assert_eq!(path_of(&kernel_path(&[], 1)), b"/");
        assert_eq!(path_of(&kernel_path(&[b"c", b"b"], 0)), b".../b/c");
    }

    #[test]
    fn any_bytes_from_the_kernel_are_a_path() {
        let mut path = kernel_path(&[b"a"], 1);
        path.len = u32::MAX;
        assert!(path_of(&path).starts_with(b"/"));
    }

    fn row(pid: u32, count: u64) -> UnlinkedRow {
        UnlinkedRow {
            directory: Text {
                pid,
                base: 0,
                path: b"/x/".to_vec(),
            },
            comm: b"rm".to_vec(),
            count,
        }
    }

    #[test]
    fn unlinked_files_are_of_the_directory_that_their_path_leads_to() {
        let device = Device { major: 8, minor: 1 };
        let id = DirId {
            inode: 12,
            dev: 8 << 20 | 1,
            ..DirId::ZERO
        };
        assert_eq!(Device::from_kernel(id.dev), device);
        let mut tables = Tables::default();
        tables.paths.insert(id, b"/d".to_vec());
        let of = |row: &UnlinkedRow, found: Option<(u64, &[u8])>| {
            let mut found = found.map(|(inode, path)| Found {
                device,
                inode,
                path: path.to_vec(),
            });
            let d = tables.unlinked(&UnlinkKey::ZERO, row, &mut found);
            assert!(d.by_path != 0);
            (d.pid, d.inode, d.unlinked, d.path)
        };
        let path = Some(b"/d".to_vec());
        // By its inode, whatever the path says; and by its path, when it is gone.
        assert_eq!(
            of(&row(7, 2), Some((12, b"/link"))),
            (7, 12, 2, path.clone())
        );
        assert_eq!(of(&row(7, 1), Some((0, b"/d"))), (7, 12, 1, path));
        // One that we have not met, and one that leads nowhere.
        let other = Some(b"/e".to_vec());
        assert_eq!(of(&row(8, 4), Some((13, b"/e"))), (8, 13, 4, other));
        assert_eq!(of(&row(9, 1), None), (9, 0, 1, None));
    }
}
