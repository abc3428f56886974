//! Mounts of a run, which end with it however it ends.

use std::{ffi::CString, fs, path::Path};

use anyhow::ensure;

/// Gives the process a mount namespace of its own, and takes away what older runs left mounted outside of it.
///
/// The tool looks at every file system of the machine, and truly reports one that another run has filled up.
pub fn keep_to_ourselves() -> anyhow::Result<()> {
    // Runs mount in namespaces of their own, so whatever shows here is nobody's any more.
    for place in left_behind(&fs::read_to_string("/proc/self/mounts")?) {
        println!("{place} was left by a run that was killed: unmounting it");
        let path = CString::new(place)?;
        // SAFETY: a path that lives past the call.
        let gone = unsafe { libc::umount2(path.as_ptr(), 0) };
        ensure!(gone == 0, "umount: {}", std::io::Error::last_os_error());
    }
    // SAFETY: takes an integer. No other thread runs yet, so that all that begin later are in it too.
    let made = unsafe { libc::unshare(libc::CLONE_NEWNS) };
    ensure!(made == 0, "unshare: {}", std::io::Error::last_os_error());
    let (none, root) = (std::ptr::null(), c"/".as_ptr());
    // SAFETY: the path lives past the call; the other arguments are not looked at when only propagation is changed.
    let private = unsafe {
        libc::mount(
            none,
            root,
            none,
            libc::MS_REC | libc::MS_PRIVATE,
            none.cast(),
        )
    };
    ensure!(private == 0, "mount: {}", std::io::Error::last_os_error());
    Ok(())
}

/// Mount points on loop devices in a temporary directory of ours (`crate::ext4`).
fn left_behind(mounts: &str) -> Vec<String> {
    let temporary = std::env::temp_dir();
    let ours = |place: &Path| {
        let inside = place.strip_prefix(&temporary).ok()?;
        let first = inside.iter().next()?.to_str()?;
        first.starts_with(".tmp").then_some(())
    };
    let place = |line: &str| {
        let (device, rest) = line.split_once(' ')?;
        let place = rest.split(' ').next()?;
        ours(Path::new(place)).filter(|()| device.starts_with("/dev/loop"))?;
        Some(place.to_owned())
    };
    mounts.lines().filter_map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::left_behind;

    #[test]
    fn only_what_a_test_mounted_is_taken_away() {
        let dir = std::env::temp_dir().display().to_string();
        let mounts = format!(
            "/dev/vda / ext4 rw 0 0\n/dev/loop0 {dir}/.tmpAb1/mnt ext4 rw 0 0\n\
             /dev/loop1 {dir}/snap/mnt squashfs ro 0 0\ntmpfs {dir}/.tmpAb2 tmpfs rw 0 0\n"
        );
        assert_eq!(left_behind(&mounts), [format!("{dir}/.tmpAb1/mnt")]);
    }
}
