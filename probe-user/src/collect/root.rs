//! The root directory of a process, and what lies below it as the process sees it.

use std::{
    ffi::CString,
    fs::{File, OpenOptions},
    io,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::fs::OpenOptionsExt as _,
    },
    path::Path,
};

/// A root directory.
pub struct Root(File);

impl Root {
    /// That of a process; `process` is its directory in /proc.
    pub fn of(process: &Path) -> io::Result<Self> {
        let mut place = OpenOptions::new();
        place
            .read(true)
            .custom_flags(libc::O_PATH | libc::O_DIRECTORY);
        Ok(Self(place.open(process.join("root"))?))
    }

    /// Opens what a path means there, as a mere place (O_PATH), so that nothing is waited for: links that lead out of the
    /// root do not.
    pub fn open(&self, path: &[u8]) -> io::Result<OwnedFd> {
        let path = CString::new(path).map_err(|_| io::ErrorKind::InvalidInput)?;
        // SAFETY: integers only, for which all zero is valid.
        let mut how: libc::open_how = unsafe { std::mem::zeroed() };
        how.flags = (libc::O_PATH | libc::O_CLOEXEC) as u64;
        how.resolve = libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_MAGICLINKS;
        // SAFETY: a NUL-terminated path and a valid structure with its size.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_openat2,
                self.0.as_raw_fd(),
                path.as_ptr(),
                &raw const how,
                size_of::<libc::open_how>(),
            )
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a new descriptor, which nobody else has.
        Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
    }
}
