//! An ext4 file system of the test's own, on a disk that can be made slow: a loop device with a limit in the block
//! cgroup, or, in a guest of `cargo xtask vm`, one of the disks that it has for this.

use std::{
    ffi::CString,
    fs::{self, File},
    os::{fd::AsRawFd as _, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail, ensure};
use tempfile::TempDir;

use crate::harness::Skip;

/// Size of the image.
const SIZE: u64 = 256 << 20;

/// Where the limits of the root group are (cgroup v1; `io` of v2 has none for it).
const LIMIT: &str = "blkio.throttle.write_iops_device";

/// Disks of a guest: fast and slow (xtask/src/vm/disks.rs).
const GUEST: [&str; 2] = ["/dev/vda", "/dev/vdb"];

/// A mounted file system. Dropping it lifts the limit, unmounts it and gives the device back.
pub struct Ext4 {
    /// Where it is mounted.
    pub dir: PathBuf,
    /// Device: `loop0`.
    pub device: String,
    /// Its number: major and minor.
    pub number: (u32, u32),
    limit: Option<PathBuf>,
    image: Option<Loop>,
    place: TempDir,
}

impl Ext4 {
    /// On a fast disk.
    pub fn fast() -> anyhow::Result<Self> {
        Self::with(None, "")
    }

    /// On a fast disk, with so many inodes (mkfs rounds up); not in a guest.
    pub fn with_inodes(inodes: u32) -> anyhow::Result<Self> {
        Self::mount(None, "", Some(inodes))
    }

    /// The directory that its image and its mount point are in.
    pub fn place(&self) -> &Path {
        self.place.path()
    }

    /// On a disk that makes so many writes a second (in a guest: as many as its disk is set to).
    pub fn slow(writes_per_s: u32) -> anyhow::Result<Self> {
        Self::with(Some(writes_per_s), "")
    }

    /// With a limit or without, and with options of ext4.
    pub fn with(writes_per_s: Option<u32>, options: &str) -> anyhow::Result<Self> {
        Self::mount(writes_per_s, options, None)
    }

    fn mount(
        writes_per_s: Option<u32>,
        options: &str,
        inodes: Option<u32>,
    ) -> anyhow::Result<Self> {
        let place = tempfile::tempdir()?;
        let guest = Path::new(GUEST[usize::from(writes_per_s.is_some())]);
        let (image, device) = match mkfs() {
            Some(mkfs) => {
                let image = Loop::make(&mkfs, place.path(), inodes)?;
                let device = image.device.clone();
                (Some(image), device)
            }
            None if guest.exists() && inodes.is_none() => (None, guest.to_owned()),
            None => {
                let what =
                    "there is neither mkfs.ext4 (package e2fsprogs) nor a disk for the tests";
                return Err(Skip(what.to_owned()).into());
            }
        };
        let dir = place.path().join("mnt");
        fs::create_dir(&dir)?;
        mount(&device, &dir, options)?;
        if let Some(image) = &image {
            image.goes_with_its_mount()?;
        }
        let rdev = fs::metadata(&device)?.rdev();
        let mut mounted = Self {
            dir,
            device: device
                .file_name()
                .map_or_else(String::new, |n| n.to_string_lossy().into_owned()),
            number: (libc::major(rdev), libc::minor(rdev)),
            limit: None,
            image,
            place,
        };
        if let Some(writes) = writes_per_s
            && mounted.image.is_some()
        {
            mounted.limit = Some(limit_file()?);
            mounted.set_limit(writes)?;
        }
        Ok(mounted)
    }

    /// So many writes a second from now on; 0: any.
    fn set_limit(&self, writes_per_s: u32) -> anyhow::Result<()> {
        let Some(file) = &self.limit else {
            return Ok(());
        };
        let (major, minor) = self.number;
        fs::write(file, format!("{major}:{minor} {writes_per_s}"))
            .with_context(|| format!("cannot write {}", file.display()))
    }

    /// Transactions that the journal has committed since it was mounted, as jbd2 itself counts them.
    pub fn transactions(&self) -> anyhow::Result<u64> {
        let dir = format!("/proc/fs/jbd2/{}-8/info", self.device);
        let text = fs::read_to_string(&dir).with_context(|| format!("cannot read {dir}"))?;
        let count = text.split(' ').next().and_then(|n| n.parse().ok());
        count.with_context(|| format!("{dir} begins otherwise: {text}"))
    }
}

impl Drop for Ext4 {
    fn drop(&mut self) {
        // A limit that stays would be met by whoever gets the device next.
        if let Err(error) = self.set_limit(0) {
            eprintln!("{error:#}");
        }
        let dir = CString::new(self.dir.as_os_str().as_encoded_bytes()).unwrap_or_default();
        // SAFETY: a string that lives past the call.
        if unsafe { libc::umount2(dir.as_ptr(), 0) } != 0 {
            eprintln!(
                "cannot unmount {}: {}",
                self.dir.display(),
                std::io::Error::last_os_error()
            );
            // SAFETY: likewise. It goes when its last user does.
            unsafe { libc::umount2(dir.as_ptr(), libc::MNT_DETACH) };
        }
        self.image = None;
    }
}

fn mkfs() -> Option<PathBuf> {
    let places = ["/usr/sbin/mkfs.ext4", "/sbin/mkfs.ext4"];
    places.into_iter().map(PathBuf::from).find(|p| p.is_file())
}

fn limit_file() -> anyhow::Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let found = mounts.lines().find_map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        let file = Path::new(words.get(1)?).join(LIMIT);
        (*words.get(2)? == "cgroup" && file.exists()).then_some(file)
    });
    found.ok_or_else(|| Skip(format!("no block cgroup (v1) has a {LIMIT} for its root")).into())
}

fn mount(device: &Path, dir: &Path, options: &str) -> anyhow::Result<()> {
    let source = CString::new(device.as_os_str().as_encoded_bytes())?;
    let target = CString::new(dir.as_os_str().as_encoded_bytes())?;
    let options = CString::new(options)?;
    // SAFETY: strings that live past the call.
    let done = unsafe {
        libc::mount(
            source.as_ptr(),
            target.as_ptr(),
            c"ext4".as_ptr(),
            0,
            options.as_ptr().cast(),
        )
    };
    ensure!(
        done == 0,
        "cannot mount {}: {}",
        device.display(),
        std::io::Error::last_os_error()
    );
    Ok(())
}

/// A loop device on an image; dropping it detaches it.
struct Loop {
    device: PathBuf,
    file: File,
}

/// ioctl(2) numbers of include/uapi/linux/loop.h.
const LOOP_SET_FD: libc::Ioctl = 0x4c00;
const LOOP_CLR_FD: libc::Ioctl = 0x4c01;
const LOOP_SET_STATUS64: libc::Ioctl = 0x4c04;
const LOOP_CTL_GET_FREE: libc::Ioctl = 0x4c82;
const LO_FLAGS_AUTOCLEAR: u32 = 4;

/// `struct loop_info64` of the same header.
#[repr(C)]
struct LoopInfo {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    sizelimit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    names: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

impl Loop {
    fn make(mkfs: &Path, place: &Path, inodes: Option<u32>) -> anyhow::Result<Self> {
        let path = place.join("image");
        let image = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)?;
        image.set_len(SIZE)?;
        let made = Command::new(mkfs)
            // Nothing is left to be written later.
            .args(["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"])
            .args(inodes.map(|n| format!("-N{n}")))
            .arg(&path)
            .output()?;
        ensure!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        let control = File::options()
            .read(true)
            .write(true)
            .open("/dev/loop-control")?;
        // Another program may take the free one first.
        for _ in 0..20 {
            // SAFETY: takes nothing, returns a number.
            let free = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) };
            ensure!(
                free >= 0,
                "no loop device: {}",
                std::io::Error::last_os_error()
            );
            let device = PathBuf::from(format!("/dev/loop{free}"));
            let file = File::options().read(true).write(true).open(&device)?;
            // SAFETY: takes an open descriptor.
            if unsafe { libc::ioctl(file.as_raw_fd(), LOOP_SET_FD, image.as_raw_fd()) } == 0 {
                return Ok(Self { device, file });
            }
        }
        bail!("no loop device: {}", std::io::Error::last_os_error())
    }
}

impl Loop {
    /// Has the kernel detach it when nobody mounts or opens it any more: a run that is killed leaves no device.
    fn goes_with_its_mount(&self) -> anyhow::Result<()> {
        // SAFETY: integers and arrays of them, for which zero is valid.
        let mut status: LoopInfo = unsafe { std::mem::zeroed() };
        status.flags = LO_FLAGS_AUTOCLEAR;
        // SAFETY: takes an open descriptor and a structure of the kernel's layout.
        let set =
            unsafe { libc::ioctl(self.file.as_raw_fd(), LOOP_SET_STATUS64, &raw const status) };
        ensure!(set == 0, "loop device: {}", std::io::Error::last_os_error());
        Ok(())
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        // SAFETY: takes nothing.
        if unsafe { libc::ioctl(self.file.as_raw_fd(), LOOP_CLR_FD) } != 0 {
            eprintln!(
                "cannot detach {}: {}",
                self.device.display(),
                std::io::Error::last_os_error()
            );
        }
    }
}
