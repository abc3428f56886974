//! The rows of the kernel side's maps, as a reading has them.

use std::collections::HashMap as StdHashMap;

use aya::{
    Ebpf,
    maps::{HashMap, MapData},
};
use probe_common::{
    files::{DirId, DirKey, DirPath, DirSum, Refused, RefusedKey, UnlinkKey, Unlinked, flag},
    hist,
};

use super::{
    CallSum, Device, Directory,
    place::{Found, Text},
};
use crate::{
    collect::collector::{map, map_error},
    error::Error,
};

type Table<'a, K, V> = HashMap<&'a mut MapData, K, V>;

/// Makes the rows for what finds no other place.
pub fn make_other_rows(ebpf: &mut Ebpf) -> Result<(), Error> {
    let mut directories: Table<'_, DirKey, DirSum> = map(ebpf, "DIRECTORIES")?;
    directories
        .insert(DirKey::ZERO, DirSum::ZERO, 0)
        .map_err(map_error)?;
    let mut refused: Table<'_, RefusedKey, Refused> = map(ebpf, "REFUSED")?;
    refused
        .insert(RefusedKey::ZERO, Refused::ZERO, 0)
        .map_err(map_error)
}

/// The processes that have rows.
pub fn creators(ebpf: &mut Ebpf) -> Result<Vec<u32>, Error> {
    let table: Table<'_, DirKey, DirSum> = map(ebpf, "DIRECTORIES")?;
    let mut pids: Vec<u32> = table
        .keys()
        .filter_map(Result::ok)
        .map(|key| key.tgid)
        .collect();
    pids.sort_unstable();
    pids.dedup();
    pids.retain(|pid| *pid != 0);
    Ok(pids)
}

/// All directories, with their paths.
pub fn directories(ebpf: &mut Ebpf) -> Result<Directories, Error> {
    let paths: StdHashMap<DirId, Vec<u8>> = {
        let table: Table<'_, DirId, DirPath> = map(ebpf, "DIR_PATHS")?;
        let rows = table.iter().filter_map(Result::ok);
        rows.map(|(id, path)| (id, path_of(&path))).collect()
    };
    let table: Table<'_, DirKey, DirSum> = map(ebpf, "DIRECTORIES")?;
    let rows = table.iter().filter_map(Result::ok);
    let rows = rows.filter(|(_, sum)| sum.created + sum.syncs + sum.unlinked > 0);
    let list = rows.map(|(key, sum)| directory(&key, &sum, paths.get(&key.directory())));
    Ok(Directories {
        list: list.collect(),
        paths,
    })
}

/// Directories being put together.
pub struct Directories {
    list: Vec<Directory>,
    paths: StdHashMap<DirId, Vec<u8>>,
}

impl Directories {
    /// Adds files that were unlinked by a path; `found` is where that leads to.
    pub fn add_unlinked(&mut self, row: UnlinkedRow, found: Option<&Found>) {
        let Some(found) = found else {
            return self.new_row(&row, Device::default(), 0, None);
        };
        let path = match found.inode {
            0 => None,
            inode => self.paths.iter().find_map(|(id, path)| {
                let same = id.inode == inode && Device::from_kernel(id.dev) == found.device;
                same.then(|| path.clone())
            }),
        };
        let path = path.unwrap_or_else(|| found.path.clone());
        let same = self.list.iter_mut().find(|d| {
            d.pid == row.directory.pid
                && d.device == found.device
                && match found.inode {
                    0 => d.path.as_ref() == Some(&path),
                    inode => d.inode == inode,
                }
        });
        match same {
            Some(directory) => directory.unlinked += row.count,
            None => self.new_row(&row, found.device, found.inode, Some(path)),
        }
    }

    fn new_row(&mut self, row: &UnlinkedRow, device: Device, inode: u64, path: Option<Vec<u8>>) {
        self.list.push(Directory {
            pid: row.directory.pid,
            comm: row.comm.clone(),
            device,
            inode,
            path,
            unlinked: row.count,
            ..Directory::default()
        });
    }

    /// All of them.
    pub fn into_directories(self) -> Vec<Directory> {
        self.list
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

/// All of them.
pub fn unlinked(ebpf: &mut Ebpf) -> Result<Vec<UnlinkedRow>, Error> {
    let table: Table<'_, UnlinkKey, Unlinked> = map(ebpf, "UNLINKED")?;
    let rows = table.iter().filter_map(Result::ok);
    Ok(rows
        .map(|(key, row)| UnlinkedRow {
            directory: Text {
                pid: key.tgid,
                base: key.base.inode,
                path: row.text[..(row.len as usize).min(row.text.len())].to_vec(),
            },
            comm: text(&row.comm).to_vec(),
            count: row.count,
        })
        .collect())
}

/// Refused calls.
pub struct RefusedRow {
    /// As a reading has them.
    pub refused: super::Refused,
    /// The directory of an absolute path.
    pub directory: Option<Text>,
}

/// All of them.
pub fn refused(ebpf: &mut Ebpf) -> Result<Vec<RefusedRow>, Error> {
    let table: Table<'_, RefusedKey, Refused> = map(ebpf, "REFUSED")?;
    let rows = table.iter().filter_map(Result::ok);
    Ok(rows
        .filter(|(_, row)| row.count > 0)
        .map(|(key, row)| {
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
        })
        .collect())
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
    fn unlinked_files_join_their_directory() {
        let device = Device { major: 8, minor: 1 };
        let created = Directory {
            pid: 7,
            device,
            inode: 12,
            path: Some(b"/d".to_vec()),
            created: 5,
            ..Directory::default()
        };
        let mut table = Directories {
            list: vec![created],
            paths: StdHashMap::new(),
        };
        let found = |inode, path: &[u8]| Found {
            device,
            inode,
            path: path.to_vec(),
        };
        // By its inode, whatever the path says; and by its path, when it is gone.
        table.add_unlinked(row(7, 2), Some(&found(12, b"/link")));
        table.add_unlinked(row(7, 1), Some(&found(0, b"/d")));
        // Another process, and one that leads nowhere.
        table.add_unlinked(row(8, 4), Some(&found(12, b"/d")));
        table.add_unlinked(row(9, 1), None);
        let list = table.into_directories();
        let shown: Vec<_> = list
            .iter()
            .map(|d| (d.pid, d.inode, d.created, d.unlinked, d.path.is_some()))
            .collect();
        assert_eq!(
            shown,
            [
                (7, 12, 5, 3, true),
                (8, 12, 0, 4, true),
                (9, 0, 0, 1, false)
            ]
        );
    }
}
