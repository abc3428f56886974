//! Makes aya's loader without the kernel's type information, which it would read and decode on the spot.
//!
//! The object needs none (offsets are looked up by [`super::btf`]), and `EbpfLoader::new` takes 19 MB at its
//! peak for it before one can say so.

use std::{ffi::CStr, thread};

use aya::EbpfLoader;

/// A directory in which there is no /sys/kernel/btf/vmlinux.
const EMPTY_ROOT: &CStr = c"/sys/kernel/btf";

/// A loader with no type information. Where changing the root directory is not allowed
/// (CAP_SYS_CHROOT), it is only slower.
pub fn new<'a>() -> EbpfLoader<'a> {
    let mut loader = thread::scope(|scope| {
        let thread = thread::Builder::new().spawn_scoped(scope, || {
            leave_root();
            EbpfLoader::new()
        });
        match thread.map(thread::ScopedJoinHandle::join) {
            Ok(Ok(loader)) => loader,
            _ => EbpfLoader::new(),
        }
    });
    loader.btf(None);
    loader
}

/// Gives the calling thread, and no other, a root directory in which nothing is found. It is to end soon.
fn leave_root() {
    // SAFETY: unshare takes no pointer, chroot a NUL-terminated string. The root directory is the
    // thread's own after the first, and stays as it is when that fails.
    unsafe {
        if libc::unshare(libc::CLONE_FS) == 0 {
            libc::chroot(EMPTY_ROOT.as_ptr());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_directory_of_other_threads_stays() {
        let _loader = new();
        assert!(std::path::Path::new("/proc/self/stat").exists());
    }
}
