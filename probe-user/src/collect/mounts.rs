//! Mounted file systems, as /proc/PID/mountinfo lists them.

/// A device number as the kernel has it in a super block (`s_dev`), which mountinfo shows too. stat(2) may show
/// another one (btrfs).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Device {
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
}

impl Device {
    /// From the kernel's own dev_t: 12 bits and 20 bits (include/linux/kdev_t.h).
    pub fn from_kernel(dev: u32) -> Self {
        Self {
            major: dev >> 20,
            minor: dev & 0xf_ffff,
        }
    }
}

/// A mounted file system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mount {
    /// Device number of the super block.
    pub device: Device,
    /// Where it is mounted, any bytes.
    pub mount_point: Vec<u8>,
    /// What of it is mounted there: `/`, or a directory of it (a bind mount).
    pub root: Vec<u8>,
    /// Type: ext4, xfs, overlay, tmpfs, ...
    pub fs_type: Vec<u8>,
    /// Source, such as `/dev/sda1`, any bytes.
    pub source: Vec<u8>,
    /// Options of this mount, joined by commas.
    pub options: Vec<u8>,
    /// Options of the file system, joined by commas (`data=ordered`, `commit=5` where they are not the default).
    pub super_options: Vec<u8>,
}
