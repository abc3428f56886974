//! Mounted file systems, as /proc/PID/mountinfo lists them.

use std::{fs, io, path::Path};

use serde::{Deserialize, Serialize};

/// A device number as the kernel has it in a super block (`s_dev`), which mountinfo shows too. stat(2) may show
/// another one (btrfs).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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

/// What to do with a file system that is to be asked how full it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asking {
    /// It answers from memory.
    Safe,
    /// Its answer may come from elsewhere, or never: network, FUSE.
    MayHang,
    /// It has nothing that could run out: a view of the kernel, or read-only by its nature.
    Pointless,
}

impl Mount {
    /// Whether it may be asked.
    pub fn asking(&self) -> Asking {
        const MAY_HANG: &[&[u8]] = &[
            b"9p",
            b"afs",
            b"autofs",
            b"beegfs",
            b"ceph",
            b"cifs",
            b"coda",
            b"fuse",
            b"fuseblk",
            b"gfs2",
            b"glusterfs",
            b"gpfs",
            b"lustre",
            b"ncpfs",
            b"nfs",
            b"nfs4",
            b"ocfs2",
            b"orangefs",
            b"smb3",
            b"smbfs",
            b"vboxsf",
            b"virtiofs",
            b"wekafs",
        ];
        const POINTLESS: &[&[u8]] = &[
            b"binder",
            b"binfmt_misc",
            b"bpf",
            b"cgroup",
            b"cgroup2",
            b"configfs",
            b"cpuset",
            b"cramfs",
            b"debugfs",
            b"devpts",
            b"efivarfs",
            b"erofs",
            b"fusectl",
            b"hugetlbfs",
            b"iso9660",
            b"mqueue",
            b"nfsd",
            b"nsfs",
            b"proc",
            b"pstore",
            b"resctrl",
            b"romfs",
            b"rpc_pipefs",
            b"securityfs",
            b"selinuxfs",
            b"smackfs",
            b"squashfs",
            b"sysfs",
            b"tracefs",
            b"udf",
        ];
        let kind = self.fs_type.as_slice();
        if kind.starts_with(b"fuse.") || MAY_HANG.contains(&kind) {
            Asking::MayHang
        } else if POINTLESS.contains(&kind) {
            Asking::Pointless
        } else {
            Asking::Safe
        }
    }

    /// What a path that this mount shows is called within its file system; `None` when it shows no such path.
    pub fn inside(&self, path: &[u8]) -> Option<Vec<u8>> {
        let rest = match self.mount_point.as_slice() {
            b"/" => path,
            point => path.strip_prefix(point)?,
        };
        if !rest.is_empty() && rest[0] != b'/' {
            return None;
        }
        let mut inside = match self.root.as_slice() {
            b"/" => Vec::new(),
            root => root.to_vec(),
        };
        inside.extend(rest);
        while inside.len() > 1 && inside.ends_with(b"/") {
            inside.pop();
        }
        if inside.is_empty() {
            inside.push(b'/');
        }
        Some(inside)
    }
}

/// A line of mountinfo.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    /// By which descriptors name it (`mnt_id` in fdinfo).
    pub id: u32,
    /// The mount.
    pub mount: Mount,
}

/// The mount that shows a path, by its text alone: the one that covers it and was made last.
pub(super) fn covering<'a>(entries: &'a [Entry], path: &[u8]) -> Option<&'a Entry> {
    let covering = entries.iter().filter(|e| e.mount.inside(path).is_some());
    // Of equal lengths, `max_by_key` takes the last.
    covering.max_by_key(|e| e.mount.mount_point.len())
}

/// Reads a mountinfo.
pub(super) fn read(path: &Path) -> io::Result<Vec<Entry>> {
    Ok(parse(&fs::read(path)?))
}

/// Parses proc_pid_mountinfo(5): `36 35 98:0 /root /mnt rw,noatime shared:1 - ext4 /dev/sda1 rw,errors=continue`.
/// A line that is not like this is left out.
pub(super) fn parse(text: &[u8]) -> Vec<Entry> {
    let lines = text.split(|byte| *byte == b'\n');
    lines.filter_map(line).collect()
}

fn line(line: &[u8]) -> Option<Entry> {
    let mut fields = line.split(|byte| *byte == b' ');
    let id = number(fields.next()?)?;
    let _parent = fields.next()?;
    let device = fields.next()?;
    let colon = device.iter().position(|byte| *byte == b':')?;
    let (root, mount_point, options) = (fields.next()?, fields.next()?, fields.next()?);
    // Optional fields, ended by a dash; a source may be empty.
    fields.find(|field| *field == b"-")?;
    let fs_type = fields.next()?;
    let source = fields.next().unwrap_or_default();
    let super_options = fields.next().unwrap_or_default();
    Some(Entry {
        id,
        mount: Mount {
            device: Device {
                major: number(&device[..colon])?,
                minor: number(&device[colon + 1..])?,
            },
            mount_point: unescape(mount_point),
            root: unescape(root),
            fs_type: unescape(fs_type),
            source: unescape(source),
            options: unescape(options),
            super_options: unescape(super_options),
        },
    })
}

fn number(text: &[u8]) -> Option<u32> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Blanks, tabs, newlines, backslashes and number signs are written as `\040` and the like.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        let octal = |byte: u8| matches!(byte, b'0'..=b'7').then(|| u32::from(byte - b'0'));
        if let (b'\\', [a, b, c, after @ ..]) = (first, tail)
            && let (Some(a), Some(b), Some(c)) = (octal(*a), octal(*b), octal(*c))
        {
            out.push((a * 64 + b * 8 + c) as u8);
            rest = after;
        } else {
            out.push(*first);
            rest = tail;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"22 1 254:1 / / rw,relatime - ext4 /dev/vda1 rw,data=writeback\n\
        30 22 0:25 / /tmp rw,nosuid shared:5 master:2 - tmpfs tmpfs rw,size=100k\n\
        31 22 254:1 /srv/a\\040b /mnt/x\\134y\\012 ro - ext4 /dev/vda1 rw\n\
        32 22 0:40 / /net rw - nfs4 host:/x rw\n\
        33 22 0:41 / /empty rw -  rw\n\
        34 22 0:42 / /sshfs rw - fuse.sshfs me@host: rw\n\
        garbage\n35 22 0:x / /y rw - ext4 a b\n36 22 0:43 / /z rw no dash\n";

    #[test]
    fn reads_lines_with_and_without_optional_fields() {
        let entries = parse(TEXT);
        let points: Vec<_> = entries
            .iter()
            .map(|e| e.mount.mount_point.clone())
            .collect();
        let expected: [&[u8]; 6] = [b"/", b"/tmp", b"/mnt/x\\y\n", b"/net", b"/empty", b"/sshfs"];
        assert_eq!(points, expected);
        let tmp = &entries[1].mount;
        assert_eq!(
            tmp.device,
            Device {
                major: 0,
                minor: 25
            }
        );
        assert_eq!(
            (entries[1].id, tmp.super_options.as_slice()),
            (30, &b"rw,size=100k"[..])
        );
        assert_eq!(entries[2].mount.root, b"/srv/a b");
        assert_eq!(entries[0].mount.asking(), Asking::Safe);
        assert_eq!(entries[3].mount.asking(), Asking::MayHang);
        assert_eq!(entries[5].mount.asking(), Asking::MayHang);
    }

    #[test]
    fn any_cut_of_it_is_read_without_panic() {
        for n in 0..TEXT.len() {
            assert!(parse(&TEXT[..n]).len() <= 6);
            assert!(parse(&TEXT[n..]).len() <= 7);
        }
        assert_eq!(unescape(b"\\04\\400x\\"), b"\\04\0x\\");
    }

    #[test]
    fn a_path_belongs_to_the_mount_that_covers_it() {
        let entries = parse(TEXT);
        let shown = |path: &[u8]| {
            let entry = covering(&entries, path).unwrap();
            (entry.id, entry.mount.inside(path).unwrap())
        };
        assert_eq!(shown(b"/tmp/a"), (30, b"/a".to_vec()));
        assert_eq!(shown(b"/tmp"), (30, b"/".to_vec()));
        assert_eq!(shown(b"/tmpfoo"), (22, b"/tmpfoo".to_vec()));
        assert_eq!(shown(b"/mnt/x\\y\n/c/"), (31, b"/srv/a b/c".to_vec()));
        assert_eq!(shown(b"/"), (22, b"/".to_vec()));
    }

    #[test]
    fn a_kernel_device_number_is_taken_apart() {
        let device = Device::from_kernel(254 << 20 | 3);
        assert_eq!((device.major, device.minor), (254, 3));
    }
}
