//! A real resolver with names of the test's own, and processes that ask it without the machine's files being touched.

use std::{
    ffi::CString,
    fs::{self, File},
    net::{IpAddr, UdpSocket},
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, ensure};

use super::{program, wait_for};
use crate::child::Spawned;

/// A running unbound on port 53 of an address. It knows every name below `test.`, and asks nobody.
pub struct Unbound {
    /// The server.
    pub spawned: Spawned,
    dir: tempfile::TempDir,
}

impl Unbound {
    /// Starts it with a receive buffer of so many bytes (the kernel doubles it), and waits until it answers.
    pub fn start(ip: IpAddr, rcvbuf: u32) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("unbound-").tempdir()?;
        let (conf, log) = (dir.path().join("unbound.conf"), dir.path().join("log"));
        fs::write(
            &conf,
            format!(
                "server:\n interface: {ip}\n port: 53\n do-daemonize: no\n use-syslog: no\n logfile: {log}\n \
                 chroot: \"\"\n username: \"\"\n directory: {dir}\n pidfile: \"\"\n num-threads: 1\n \
                 so-rcvbuf: {rcvbuf}\n module-config: \"iterator\"\n local-zone: \"test.\" redirect\n \
                 local-data: \"test. 60 IN A 127.0.0.1\"\n local-data: \"test. 60 IN AAAA ::1\"\n\
                 remote-control:\n control-enable: yes\n control-interface: {dir}/control\n control-use-cert: no\n",
                log = log.display(),
                dir = dir.path().display()
            ),
        )?;
        let spawned = Spawned::start(
            Command::new(program("unbound", "unbound")?)
                .arg("-c")
                .arg(&conf)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        )?;
        wait_for("unbound", &log, || answers(ip))?;
        Ok(Self { spawned, dir })
    }

    /// Questions that it has had, by its own count.
    pub fn questions(&self) -> anyhow::Result<u64> {
        let out = Command::new(program("unbound-control", "unbound")?)
            .arg("-c")
            .arg(self.dir.path().join("unbound.conf"))
            .arg("stats_noreset")
            .output()?;
        let text = String::from_utf8_lossy(&out.stdout);
        let mut lines = text.lines();
        let count = lines.find_map(|l| l.strip_prefix("total.num.queries=")?.parse().ok());
        count.with_context(|| format!("unbound-control: {out:?}"))
    }
}

/// Asks for the address of `test.`.
fn answers(ip: IpAddr) -> bool {
    const QUESTION: &[u8] =
        b"\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04test\x00\x00\x01\x00\x01";
    let ask = || -> std::io::Result<usize> {
        let any: IpAddr = if ip.is_ipv4() {
            [0; 4].into()
        } else {
            [0u16; 8].into()
        };
        let socket = UdpSocket::bind((any, 0))?;
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        socket.connect((ip, 53))?;
        socket.send(QUESTION)?;
        socket.recv(&mut [0; 512])
    };
    ask().is_ok()
}

/// The calling thread, and every process that it starts, sees another /etc/resolv.conf, until this is dropped.
pub struct ResolvConf {
    before: File,
    folder: PathBuf,
    _file: tempfile::NamedTempFile,
}

impl ResolvConf {
    /// Puts `text` in its place, in a mount namespace of the thread's own.
    pub fn with(text: &str) -> anyhow::Result<Self> {
        use std::os::unix::fs::PermissionsExt as _;
        let file = tempfile::NamedTempFile::new()?;
        fs::write(file.path(), text)?;
        // For workers that are not root.
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o644))?;
        let target = fs::canonicalize("/etc/resolv.conf").context("/etc/resolv.conf")?;
        let entered = Self {
            before: File::open("/proc/thread-self/ns/mnt")?,
            folder: std::env::current_dir()?,
            _file: file,
        };
        // SAFETY: changes the calling thread only, whose root and working directory become its own.
        let r = unsafe { libc::unshare(libc::CLONE_NEWNS) };
        ensure!(r == 0, "unshare: {}", std::io::Error::last_os_error());
        mount(None, Path::new("/"), libc::MS_REC | libc::MS_PRIVATE)?;
        mount(Some(entered._file.path()), &target, libc::MS_BIND)?;
        Ok(entered)
    }
}

impl Drop for ResolvConf {
    fn drop(&mut self) {
        // SAFETY: a namespace of the right kind; changes the calling thread only.
        unsafe { libc::setns(self.before.as_raw_fd(), libc::CLONE_NEWNS) };
        let _ = std::env::set_current_dir(&self.folder);
    }
}

fn mount(source: Option<&Path>, target: &Path, flags: libc::c_ulong) -> anyhow::Result<()> {
    let text = |path: &Path| CString::new(path.as_os_str().as_encoded_bytes());
    let source = source.map(text).transpose()?;
    let target_text = text(target)?;
    let from = source.as_ref().map_or(std::ptr::null(), |s| s.as_ptr());
    // SAFETY: both paths live through the call, which takes neither a type nor data.
    let r = unsafe {
        libc::mount(
            from,
            target_text.as_ptr(),
            std::ptr::null(),
            flags,
            std::ptr::null(),
        )
    };
    let error = std::io::Error::last_os_error();
    ensure!(r == 0, "mount on {}: {error}", target.display());
    Ok(())
}
