//! Where the tracepoints' descriptions are: tracefs, mounted for this process alone when nobody has mounted it.
//!
//! The private mount lives in a mount namespace of our own and goes with the process, however it ends.

use std::{
    ffi::{CStr, CString},
    fs, io,
    path::{Path, PathBuf},
};

use crate::error::Error;

/// Where the kernel keeps an empty directory for tracefs; the first place everybody looks.
const PLACE: &CStr = c"/sys/kernel/tracing";
/// Where it is mounted, besides [`PLACE`], on older systems.
const OLD_PLACE: &str = "/sys/kernel/debug/tracing";

/// A usable tracefs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracefs {
    /// Its mount point.
    pub path: PathBuf,
    /// Mounted by us, in a mount namespace of our own.
    pub private: bool,
}

/// Finds tracefs, or mounts it for this process alone. Call it before any thread exists: a mount namespace
/// belongs to the thread that leaves the old one, and to those that it starts afterwards.
///
/// # Errors
/// [`Error::Privilege`] when mounting needs CAP_SYS_ADMIN, [`Error::Kernel`] when the kernel has no tracefs.
pub fn ensure() -> Result<Tracefs, Error> {
    if let Some(path) = mounted(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default()) {
        return Ok(Tracefs {
            path,
            private: false,
        });
    }
    let place = Path::new(PLACE.to_str().unwrap_or_default());
    if !place.is_dir() {
        return Err(Error::Kernel(format!(
            "this kernel has no tracefs ({} is missing): it is built without tracing, which everything here rests on",
            place.display()
        )));
    }
    mount_privately().map_err(|(what, source)| {
        if source.kind() == io::ErrorKind::PermissionDenied {
            // Whoever lacks this one as a rule lacks those as well: one message names them all.
            if let Err(error) = super::privilege::check() {
                return error;
            }
            let what = format!("{what} (tracefs is not mounted; `mount -t tracefs tracefs /sys/kernel/tracing` does it for all)");
            return super::privilege::lacks(&what, "CAP_SYS_ADMIN");
        }
        Error::Io {
            what: format!("cannot {what} (tracefs is not mounted)"),
            source,
        }
    })?;
    Ok(Tracefs {
        path: place.into(),
        private: true,
    })
}

/// Names of the system calls that this kernel can trace, sorted, as their tracepoints spell them.
///
/// # Errors
/// The directory cannot be read: no permission, or a kernel without system call tracepoints.
pub fn syscalls(tracefs: &Path) -> Result<Vec<String>, Error> {
    let dir = tracefs.join("events/syscalls");
    let entries = fs::read_dir(&dir).map_err(|source| Error::Io {
        what: format!("cannot list {}", dir.display()),
        source,
    })?;
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|name| Some(name.strip_prefix("sys_enter_")?.to_owned()))
        .collect();
    names.sort();
    Ok(names)
}

/// Mount point of a tracefs in `mountinfo`, of those where aya looks for it as well. Looking into the debugfs
/// directory itself would make the kernel mount it there for everybody, so only the table is read.
pub(super) fn mounted(mountinfo: &str) -> Option<PathBuf> {
    let place = PLACE.to_str().ok()?;
    [place, OLD_PLACE]
        .into_iter()
        .find(|&wanted| {
            // The last one mounted at a place covers those before it.
            let last = mounts(mountinfo)
                .filter(|&(point, _)| point == wanted)
                .last();
            last.is_some_and(|(_, kind)| kind == "tracefs")
        })
        .map(Into::into)
}

/// Mount point and file system type of each line.
fn mounts(mountinfo: &str) -> impl Iterator<Item = (&str, &str)> {
    mountinfo.lines().filter_map(|line| {
        // id parent dev root POINT options [optional fields] - TYPE source options
        let (mount, kind) = line.split_once(" - ")?;
        Some((mount.split(' ').nth(4)?, kind.split(' ').next()?))
    })
}

/// What failed, in words, and why.
type Failed = (&'static str, io::Error);

fn mount_privately() -> Result<(), Failed> {
    // SAFETY: takes no pointer; it moves only the calling thread to a copy of its mount namespace.
    check("leave the mount namespace", unsafe {
        libc::unshare(libc::CLONE_NEWNS)
    })?;
    // The copy still shares its mounts' events with the original: unless that ends first, the new mount
    // would appear for everybody.
    if let Err(failed) = make_private(c"/", libc::MS_REC) {
        // In a chroot, / is no mount point. What the new mount will sit on is then the one that matters.
        let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let Some(parent) = parent(&mountinfo) else {
            return Err(failed);
        };
        make_private(&parent, 0)?;
    }
    // SAFETY: three NUL-terminated strings that outlive the call, and no data.
    check("mount tracefs", unsafe {
        libc::mount(
            c"tracefs".as_ptr(),
            PLACE.as_ptr(),
            c"tracefs".as_ptr(),
            libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC,
            std::ptr::null(),
        )
    })
}

/// The mount point that [`PLACE`] lies on, where `mountinfo` shows it.
pub(super) fn parent(mountinfo: &str) -> Option<CString> {
    let place = Path::new(PLACE.to_str().ok()?);
    let point = mounts(mountinfo)
        .map(|(point, _)| point)
        .filter(|point| place.starts_with(point))
        .max_by_key(|point| point.len())?;
    CString::new(point).ok()
}

fn make_private(point: &CStr, recursive: libc::c_ulong) -> Result<(), Failed> {
    // SAFETY: a NUL-terminated string that outlives the call; the kernel ignores the null pointers here.
    check("make the mounts private", unsafe {
        libc::mount(
            std::ptr::null(),
            point.as_ptr(),
            std::ptr::null(),
            libc::MS_PRIVATE | recursive,
            std::ptr::null(),
        )
    })
}

fn check(what: &'static str, result: libc::c_int) -> Result<(), Failed> {
    if result == 0 {
        return Ok(());
    }
    Err((what, io::Error::last_os_error()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEBIAN: &str = "\
22 27 0:21 / /proc rw,relatime - proc proc rw
23 27 0:22 / /sys rw,nosuid shared:7 - sysfs sysfs rw
30 23 0:7 / /sys/kernel/debug rw shared:15 - debugfs debugfs rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
";

    #[test]
    fn a_mounted_tracefs_is_found_at_its_two_places() {
        assert_eq!(mounted(DEBIAN), None);
        let modern = format!(
            "{DEBIAN}31 23 0:12 / /sys/kernel/tracing rw,nosuid shared:16 - tracefs tracefs rw\n"
        );
        assert_eq!(mounted(&modern), Some("/sys/kernel/tracing".into()));
        let old =
            format!("{DEBIAN}32 30 0:12 / /sys/kernel/debug/tracing rw - tracefs tracefs rw\n");
        assert_eq!(mounted(&old), Some(OLD_PLACE.into()));
        let elsewhere = format!("{DEBIAN}33 27 0:12 / /mnt rw - tracefs tracefs rw\n");
        assert_eq!(mounted(&elsewhere), None);
    }

    #[test]
    fn a_tracefs_that_something_else_covers_is_none() {
        let covered = format!(
            "{DEBIAN}31 23 0:12 / /sys/kernel/tracing rw - tracefs tracefs rw\n\
             34 31 0:40 / /sys/kernel/tracing ro - tmpfs tmpfs ro\n"
        );
        assert_eq!(mounted(&covered), None);
    }

    #[test]
    fn a_table_of_nonsense_is_an_empty_one() {
        for text in ["", "\n\n", "a b c", " - ", "1 2 3 4 5 6 - ", "- tracefs"] {
            assert_eq!(mounted(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_new_mount_sits_on_the_deepest_mount_above_it() {
        assert_eq!(parent(DEBIAN).as_deref(), Some(c"/sys"));
        assert_eq!(
            parent("27 1 254:0 / / rw - ext4 /dev/vda rw").as_deref(),
            Some(c"/")
        );
        assert_eq!(parent("22 27 0:21 / /sys/kernelx rw - proc proc rw"), None);
    }

    #[test]
    fn only_system_calls_are_listed_sorted() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "sys_enter_poll",
            "sys_exit_poll",
            "sys_enter_connect",
            "enable",
        ] {
            fs::create_dir_all(dir.path().join("events/syscalls").join(name)).unwrap();
        }
        assert_eq!(syscalls(dir.path()).unwrap(), ["connect", "poll"]);
        assert!(syscalls(&dir.path().join("none")).is_err());
    }
}
