//! Which directory a path means that a process passed.

use std::{
    ffi::OsStr,
    fs::{self, File},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::ffi::OsStrExt,
        unix::fs::MetadataExt,
    },
    path::{Path, PathBuf},
};

use super::Device;
use crate::collect::{
    mounts::{self, Asking, Entry},
    root::Root,
};

/// The directory part of a path, as it was passed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Text {
    /// Who passed it.
    pub pid: u32,
    /// Inode of the directory that it starts from; 0 when it is absolute.
    pub base: u64,
    /// Any bytes.
    pub path: Vec<u8>,
}

/// What it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its file system.
    pub device: Device,
    /// Its inode; 0 when it is not there any more, or may not be asked for.
    pub inode: u64,
    /// Its path from the file system's root.
    pub path: Vec<u8>,
}

/// Looks for it, as its process sees it; when that is gone, as we do.
pub fn find(text: &Text) -> Option<Found> {
    let process = PathBuf::from(format!("/proc/{}", text.pid));
    let alive = mounts::read(&process.join("mountinfo"))
        .ok()
        .filter(|m| !m.is_empty());
    let process = match alive {
        Some(_) => process,
        None => PathBuf::from("/proc/self"),
    };
    let entries = match &alive {
        Some(entries) => entries,
        None => &mounts::read(&process.join("mountinfo")).ok()?,
    };
    let absolute = match text.path.first()? {
        b'/' => text.path.clone(),
        // From a descriptor's directory, which is not known any more, or from the current one.
        _ => {
            let cwd = process.join("cwd");
            if alive.is_none() || fs::metadata(&cwd).ok()?.ino() != text.base {
                return None;
            }
            let mut path = fs::read_link(&cwd)
                .ok()?
                .into_os_string()
                .into_encoded_bytes();
            path.push(b'/');
            path.extend(&text.path);
            path
        }
    };
    let absolute = tidy(&absolute)?;
    let by_text = mounts::covering(entries, &absolute)?;
    let found = Found {
        device: by_text.mount.device,
        inode: 0,
        path: by_text.mount.inside(&absolute)?,
    };
    if by_text.mount.asking() != Asking::Safe {
        return Some(found);
    }
    Some(look(&process, &absolute, entries).unwrap_or(found))
}

/// The directory itself, through links, if it is there.
fn look(process: &Path, absolute: &[u8], entries: &[Entry]) -> Option<Found> {
    let fd = Root::of(process).and_then(|root| root.open(absolute));
    let fd = fd.ok()?;
    let entry = entry_of(&fd, entries)?;
    let inode = File::from(fd.try_clone().ok()?).metadata().ok()?.ino();
    let real = fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).ok()?;
    // Where its process has another root directory, ours shows another path: then the text has to do.
    let path = entry
        .mount
        .inside(real.as_os_str().as_bytes())
        .or_else(|| entry.mount.inside(absolute))?;
    Some(Found {
        device: entry.mount.device,
        inode,
        path,
    })
}

/// The mount that an open descriptor lies on.
pub fn entry_of<'a>(fd: &OwnedFd, entries: &'a [Entry]) -> Option<&'a Entry> {
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).ok()?;
    let id = text.lines().find_map(|line| line.strip_prefix("mnt_id:"))?;
    let id: u32 = id.trim().parse().ok()?;
    entries.iter().find(|entry| entry.id == id)
}

/// Takes away what does not change where a path leads, as far as the text tells. `None` when it goes up: what is
/// above depends on links.
pub fn tidy(path: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(path.len());
    for component in path.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => {
                let components = Path::new(OsStr::from_bytes(&out)).parent()?;
                out = components.as_os_str().as_bytes().to_vec();
                if out == b"/" {
                    out.clear();
                }
            }
            _ => {
                out.push(b'/');
                out.extend(component);
            }
        }
    }
    if out.is_empty() {
        out.push(b'/');
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_us(path: &[u8]) -> Option<Found> {
        find(&Text {
            pid: std::process::id(),
            base: 0,
            path: path.to_vec(),
        })
    }

    #[test]
    fn paths_are_tidied() {
        let tidied = |path: &[u8]| tidy(path).unwrap();
        assert_eq!(tidied(b"//a/./b//"), b"/a/b");
        assert_eq!(tidied(b"/a/b/../c/"), b"/a/c");
        assert_eq!(tidied(b"/a/../"), b"/");
        assert_eq!(tidied(b"/"), b"/");
        assert_eq!(tidy(b"/.."), None);
    }

    #[test]
    fn a_directory_is_found_through_a_link_and_gone_without_one() {
        let dir = std::env::temp_dir().join(format!("stallscope-place-{}", std::process::id()));
        fs::create_dir_all(dir.join("real")).unwrap();
        std::os::unix::fs::symlink("real", dir.join("link")).unwrap();
        let real = fs::metadata(dir.join("real")).unwrap().ino();
        let through = of_us(dir.join("link/").as_os_str().as_bytes());
        let gone = of_us(dir.join("gone/").as_os_str().as_bytes());
        fs::remove_dir_all(&dir).unwrap();
        let (through, gone) = (through.unwrap(), gone.unwrap());
        assert_eq!(through.inode, real);
        assert!(through.path.ends_with(b"/real"), "{through:?}");
        assert_eq!((gone.device, gone.inode), (through.device, 0));
        assert!(gone.path.ends_with(b"/gone"), "{gone:?}");
    }

    #[test]
    fn nonsense_leads_nowhere() {
        assert_eq!(of_us(b""), None);
        assert_eq!(of_us(b"/.."), None);
        assert!(of_us(b"/\xff\0x/").is_some_and(|found| found.inode == 0));
    }
}
