//! Makes the guest look like a small node: file systems, modules, the loopback interface.

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::{Command, Stdio};

/// Source, target, type. tracefs is left unmounted on purpose: the tool must cope, and must not leave it mounted.
const MOUNTS: &[(&str, &str, &str)] = &[
    ("devtmpfs", "/dev", "devtmpfs"),
    ("proc", "/proc", "proc"),
    ("sysfs", "/sys", "sysfs"),
    ("tmpfs", "/tmp", "tmpfs"),
    ("tmpfs", "/run", "tmpfs"),
    ("devpts", "/dev/pts", "devpts"),
    ("tmpfs", "/dev/shm", "tmpfs"),
    ("cgroup2", "/sys/fs/cgroup", "cgroup2"),
    ("bpf", "/sys/fs/bpf", "bpf"),
];

/// Mounts what a running system has.
pub fn mounts() -> Result<(), String> {
    for (source, target, kind) in MOUNTS {
        mount(source, target, kind).map_err(|e| format!("cannot mount {kind} on {target}: {e}"))?;
    }
    fs::write("/proc/sys/kernel/hostname", "guest")
        .map_err(|e| format!("cannot set the host name: {e}"))
}

fn mount(source: &str, target: &str, kind: &str) -> io::Result<()> {
    fs::create_dir_all(target)?;
    let (source, target, kind) = (
        CString::new(source)?,
        CString::new(target)?,
        CString::new(kind)?,
    );
    // SAFETY: three strings that live past the call, and no data for the file system.
    let done = unsafe {
        libc::mount(
            source.as_ptr(),
            target.as_ptr(),
            kind.as_ptr(),
            0,
            std::ptr::null(),
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Loads the modules of /modules in the order of their names.
pub fn modules() -> Result<(), String> {
    let listed = fs::read_dir("/modules").map_err(|e| format!("cannot list /modules: {e}"))?;
    let mut files: Vec<_> = listed.filter_map(|e| Some(e.ok()?.path())).collect();
    files.sort();
    for file in files {
        load(&file).map_err(|e| format!("cannot load {}: {e}", file.display()))?;
        // The memory of the initramfs is the guest's own.
        let _ = fs::remove_file(&file);
    }
    Ok(())
}

fn load(file: &std::path::Path) -> io::Result<()> {
    let module = File::open(file)?;
    // SAFETY: an open descriptor, an empty parameter string that lives past the call, no flags.
    let done =
        unsafe { libc::syscall(libc::SYS_finit_module, module.as_raw_fd(), c"".as_ptr(), 0) };
    let error = io::Error::last_os_error();
    if done == 0 || error.raw_os_error() == Some(libc::EEXIST) {
        Ok(())
    } else {
        Err(error)
    }
}

/// Gives busybox its names in /bin; programs that are there already keep theirs.
pub fn tools() -> Result<(), String> {
    let done = Command::new("/bin/busybox")
        .args(["--install", "-s", "/bin"])
        .stderr(Stdio::null())
        .status();
    done.map(|_| ())
        .map_err(|e| format!("cannot run busybox: {e}"))
}

/// Sets the loopback interface up; the kernel gives it 127.0.0.1 and ::1.
pub fn loopback() -> io::Result<()> {
    // SAFETY: plain numbers; the result is checked before it becomes a descriptor.
    let raw = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if raw < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `raw` is a new descriptor that nothing else owns.
    let socket = unsafe { OwnedFd::from_raw_fd(raw) };
    // SAFETY: an ifreq of zeros is valid: an empty name and no flags.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads one ifreq, which lives past the call.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &request) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Seconds since the kernel started, as /proc/uptime says them.
pub fn uptime() -> String {
    let text = fs::read_to_string("/proc/uptime").unwrap_or_default();
    text.split(' ').next().unwrap_or("?").to_owned()
}
