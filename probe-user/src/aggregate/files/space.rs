//! How full file systems are, how fast they fill, and where they are mounted.

use std::{cmp::Ordering, collections::BTreeMap};

use super::{Device, FileSystem, Mount, SpacePoint, Trend};
use crate::{
    aggregate::series::Series,
    collect::files::{FsUse, Uses},
};

/// File systems followed: containers have one each.
const MAX_FILE_SYSTEMS: usize = 4096;
/// Pieces of the window whose paces are compared, and the looks that takes.
const PIECES: usize = 4;

/// Looks at all file systems.
#[derive(Clone, Debug, Default)]
pub(super) struct Spaces {
    courses: BTreeMap<Device, Course>,
    /// As the last look said.
    pub not_asked: Vec<Device>,
}

#[derive(Clone, Debug)]
struct Course {
    points: Series<Point>,
    looks: u64,
    last: FsUse,
    least: (u64, u64),
}

#[derive(Clone, Copy, Debug)]
struct Point {
    at_ns: u64,
    bytes: u64,
    inodes: u64,
}

impl Spaces {
    /// Takes in looks, in order.
    pub fn push<'a>(&mut self, looks: impl IntoIterator<Item = &'a Uses>) {
        for look in looks {
            self.not_asked.clone_from(&look.not_asked);
            for now in &look.file_systems {
                let known =
                    self.courses.len() < MAX_FILE_SYSTEMS || self.courses.contains_key(&now.device);
                if known {
                    self.look(look.at_ns, now);
                }
            }
            // What is not there any more was unmounted: nothing is said of it.
            self.courses
                .retain(|device, _| look.file_systems.iter().any(|f| f.device == *device));
        }
    }

    fn look(&mut self, at_ns: u64, now: &FsUse) {
        let course = self.courses.entry(now.device).or_insert_with(|| Course {
            points: Series::default(),
            looks: 0,
            last: *now,
            least: (u64::MAX, u64::MAX),
        });
        // Another size: it was made larger, or another one has the number now.
        if (course.last.total_bytes, course.last.inodes) != (now.total_bytes, now.inodes)
            && !dynamic(&course.last, now)
        {
            course.points = Series::default();
            course.looks = 0;
        }
        course.points.push(Point {
            at_ns,
            bytes: now.available_bytes,
            inodes: now.free_inodes,
        });
        course.looks += 1;
        course.last = *now;
        course.least.0 = course.least.0.min(now.available_bytes);
        course.least.1 = course.least.1.min(now.free_inodes);
    }

    /// For a window that begins where this one ends.
    pub fn successor(&self) -> Self {
        let courses = self.courses.iter().map(|(device, course)| {
            let next = Course {
                points: course.points.successor(),
                looks: 1,
                last: course.last,
                least: (course.last.available_bytes, course.last.free_inodes),
            };
            (*device, next)
        });
        Self {
            courses: courses.collect(),
            not_asked: self.not_asked.clone(),
        }
    }

    /// What ends first comes first, then the fullest.
    pub fn finish(&self, start_ns: u64, mounts: &[Mount]) -> Vec<FileSystem> {
        let mut list: Vec<FileSystem> = self
            .courses
            .values()
            .map(|course| course.finish(start_ns, mounts))
            .collect();
        let spaces: Vec<(Device, u64, u64)> = list
            .iter()
            .filter(|f| f.mount.fs_type != OVERLAY)
            .map(|f| (f.device, f.total_bytes, f.inodes))
            .collect();
        for overlay in list.iter_mut().filter(|f| f.mount.fs_type == OVERLAY) {
            let same = spaces
                .iter()
                .find(|s| (s.1, s.2) == (overlay.total_bytes, overlay.inodes));
            overlay.space_of = same.map(|s| s.0);
        }
        list.sort_by(order);
        list
    }
}

const OVERLAY: &[u8] = b"overlay";

/// True where the number of inodes follows from the free space (xfs, zfs), and changes all the time.
fn dynamic(before: &FsUse, now: &FsUse) -> bool {
    before.total_bytes == now.total_bytes && before.inodes > 0 && now.inodes > 0
}

fn order(a: &FileSystem, b: &FileSystem) -> Ordering {
    let ends = |f: &FileSystem| f.ends().map_or(f64::INFINITY, |(s, _)| s);
    // What lasts for a month is ordered by how full it is.
    let soon = |f: &FileSystem| ends(f).min(30.0 * 86_400.0);
    let full = |f: &FileSystem| f.inodes_used().unwrap_or(0.0).max(f.bytes_used());
    soon(a)
        .total_cmp(&soon(b))
        .then(full(b).total_cmp(&full(a)))
        .then(a.device.cmp(&b.device))
}

impl Course {
    fn finish(&self, start_ns: u64, mounts: &[Mount]) -> FileSystem {
        let now = self.last;
        let points: Vec<Point> = self.points.iter().collect();
        let span_ns = match points.as_slice() {
            [first, .., last] => last.at_ns.saturating_sub(first.at_ns),
            _ => 0,
        };
        let same = mounts.iter().filter(|m| m.device == now.device).count() as u64;
        FileSystem {
            device: now.device,
            mount: mount_of(mounts, now.device).cloned().unwrap_or_default(),
            more_mounts: same.saturating_sub(1),
            space_of: None,
            total_bytes: now.total_bytes,
            available_bytes: now.available_bytes,
            inodes: now.inodes,
            free_inodes: now.free_inodes,
            bytes: trend(&points, |p| p.bytes, self.least.0),
            inodes_trend: if now.inodes > 0 {
                trend(&points, |p| p.inodes, self.least.1)
            } else {
                Trend::default()
            },
            looks: self.looks,
            span_ns,
            over_time: points
                .iter()
                .map(|p| SpacePoint {
                    at_ns: p.at_ns.saturating_sub(start_ns),
                    available_bytes: p.bytes,
                    free_inodes: p.inodes,
                })
                .collect(),
        }
    }
}

/// From the first to the last look, and how much faster or slower it was in the quarters of that time: the
/// residuals of a regression are not independent here, as files come in bursts.
fn trend(points: &[Point], free: impl Fn(&Point) -> u64, least: u64) -> Trend {
    let none = Trend {
        least,
        ..Trend::default()
    };
    let [first, .., last] = points else {
        return none;
    };
    let pace = |from: &Point, to: &Point| {
        let seconds = to.at_ns.saturating_sub(from.at_ns) as f64 / 1e9;
        (seconds > 0.0).then(|| (free(from) as f64 - free(to) as f64) / seconds)
    };
    let Some(per_s) = pace(first, last) else {
        return none;
    };
    // Whole looks, so that none counts twice: the quarters are equally long to within one look.
    let borders: Vec<&Point> = (0..=PIECES)
        .map(|n| &points[n * (points.len() - 1) / PIECES])
        .collect();
    let paces: Option<Vec<f64>> = borders.windows(2).map(|b| pace(b[0], b[1])).collect();
    let range_per_s = paces.filter(|_| points.len() > PIECES).map(|paces| {
        let (low, high) = (f64::INFINITY, f64::NEG_INFINITY);
        paces
            .iter()
            .fold((low, high), |(low, high), p| (low.min(*p), high.max(*p)))
    });
    Trend {
        per_s,
        range_per_s,
        least,
        seconds_left: (per_s > 0.0).then(|| free(last) as f64 / per_s),
    }
}

/// The mount that best shows a file system: one of its root, at the shortest path.
pub(in crate::aggregate) fn mount_of(mounts: &[Mount], device: Device) -> Option<&Mount> {
    mounts
        .iter()
        .filter(|m| m.device == device)
        .min_by_key(|m| (m.root != b"/", m.mount_point.len()))
}

/// A path in a file system, as it is seen where that is mounted. One that was too deep to be kept whole, or that
/// is not below what is mounted, stays as it is behind the mount point.
pub(super) fn mounted_path(mounts: &[Mount], device: Device, path: &[u8]) -> Vec<u8> {
    // Of several mounts the one that shows the most of the path, so the shortest root; not a bind mount of a
    // single file.
    let best = mounts
        .iter()
        .filter(|m| m.device == device)
        .filter_map(|m| Some((m, below(path, &m.root)?)))
        .min_by_key(|(m, _)| (m.root.len(), m.mount_point.len()));
    let (mount_point, rest) = match best {
        Some((mount, rest)) => (&mount.mount_point[..], rest),
        None => match mount_of(mounts, device) {
            Some(mount) => (&mount.mount_point[..], path),
            None => return path.to_vec(),
        },
    };
    let mut whole = mount_point
        .strip_suffix(b"/")
        .unwrap_or(mount_point)
        .to_vec();
    if !rest.is_empty() && !rest.starts_with(b"/") {
        whole.push(b'/');
    }
    whole.extend_from_slice(rest);
    if whole.is_empty() {
        b"/".to_vec()
    } else {
        strip_slash(whole)
    }
}

fn strip_slash(mut path: Vec<u8>) -> Vec<u8> {
    if path.len() > 1 && path.ends_with(b"/") {
        path.pop();
    }
    path
}

/// What of `path` is below `root`: `/a/b` below `/a` is `/b`.
fn below<'a>(path: &'a [u8], root: &[u8]) -> Option<&'a [u8]> {
    let root = root.strip_suffix(b"/").unwrap_or(root);
    let rest = path.strip_prefix(root)?;
    (rest.is_empty() || rest.starts_with(b"/")).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(minor: u32, at: &str, root: &str) -> Mount {
        Mount {
            device: Device { major: 8, minor },
            mount_point: at.into(),
            root: root.into(),
            ..Mount::default()
        }
    }

    #[test]
    fn paths_are_those_of_the_mount() {
        let mounts = [
            mount(1, "/", "/"),
            mount(2, "/srv/bind", "/data/www"),
            mount(2, "/srv", "/"),
            mount(3, "/only", "/sub"),
        ];
        let path = |minor, path: &str| {
            let path = mounted_path(&mounts, Device { major: 8, minor }, path.as_bytes());
            String::from_utf8(path).unwrap()
        };
        assert_eq!(path(1, "/var/www"), "/var/www");
        assert_eq!(path(1, "/"), "/");
        assert_eq!(path(2, "/data/www/css"), "/srv/data/www/css");
        assert_eq!(path(2, "/"), "/srv");
        assert_eq!(path(3, "/sub/x"), "/only/x");
        assert_eq!(path(3, "/subway"), "/only/subway");
        assert_eq!(path(2, ".../deep/er"), "/srv/.../deep/er");
        assert_eq!(path(9, "/unknown"), "/unknown");
    }

    fn points(free: &[u64]) -> Vec<Point> {
        let point = |(second, &inodes)| Point {
            at_ns: second as u64 * 1_000_000_000,
            bytes: 0,
            inodes,
        };
        free.iter().enumerate().map(point).collect()
    }

    #[test]
    fn a_pace_comes_with_how_steady_it_is() {
        let t = trend(
            &points(&[1000, 990, 980, 960, 950, 940, 930, 900, 880]),
            |p| p.inodes,
            880,
        );
        assert_eq!(t.per_s, 15.0);
        assert_eq!(t.range_per_s, Some((10.0, 25.0)));
        let left = t.seconds_left.unwrap();
        assert!((left - 880.0 / 15.0).abs() < 1e-9);
        let (soonest, latest) = t.left_between().unwrap();
        assert!((soonest - 35.2).abs() < 1e-9 && (latest.unwrap() - 88.0).abs() < 1e-9);
    }

    #[test]
    fn what_does_not_shrink_does_not_end_and_two_looks_say_nothing_of_steadiness() {
        let grown = trend(&points(&[100, 120]), |p| p.inodes, 100);
        assert_eq!((grown.per_s, grown.seconds_left), (-20.0, None));
        let two = trend(&points(&[100, 90]), |p| p.inodes, 90);
        assert_eq!((two.range_per_s, two.seconds_left), (None, Some(9.0)));
        assert_eq!(trend(&points(&[100]), |p| p.inodes, 100).seconds_left, None);
        // A burst, then nothing: it does not shrink all the time.
        let burst = trend(&points(&[900, 600, 600, 600, 600, 600]), |p| p.inodes, 600);
        let (soonest, latest) = burst.left_between().unwrap();
        assert!(soonest < burst.seconds_left.unwrap() && latest.is_none());
    }
}
