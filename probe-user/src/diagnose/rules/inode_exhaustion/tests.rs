//! Sick and healthy windows.

use super::*;
use crate::{
    aggregate::{
        files::{
            Mount, Work,
            fixture::{
                ROOT, UPLOADS, creator, file_system, healthy, mount, taking, team, window_with,
                work,
            },
        },
        fixture::S,
    },
    attach::State,
    diagnose::rules::tcp::test::{only, quiet, remedies, summary},
};

fn uploads() -> Mount {
    mount(UPLOADS, "ext4", "/dev/sdb1", "/var/www/uploads")
}

/// 65,536 inodes, so many of them free, and so many taken a second.
fn filling(free: u64, per_s: f64) -> FileSystem {
    FileSystem {
        total_bytes: 1_073_741_824,
        available_bytes: 600_000_000,
        inodes_trend: taking(per_s, free),
        bytes: taking(4096.0 * per_s, 600_000_000),
        ..file_system(uploads(), 65_536, free)
    }
}

fn css(created: u64) -> Work {
    work(
        team("php-fpm8.2", 4711, 20),
        UPLOADS,
        "/var/www/uploads/css",
        created,
        1200,
    )
}

fn with(fs: FileSystem, created: u64) -> Window {
    let mut files = healthy();
    files.creators.push(creator(css(created)));
    files.created += created;
    files.file_systems.insert(0, fs);
    window_with(files)
}

fn refused(device: Option<Device>, errno: i32, count: u64) -> Refused {
    Refused {
        team: team("php-fpm8.2", 4711, 3),
        call: "openat",
        errno: errno as u32,
        device,
        mount_point: Some(b"/var/www/uploads".to_vec()),
        path: b"/var/www/uploads/css/a.css".to_vec(),
        count,
        first_ns: S,
        last_ns: 2 * S,
    }
}

#[test]
fn a_busy_node_is_silent() {
    quiet(&check(&window_with(healthy())));
}

#[test]
fn refused_calls_with_blocks_free_are_critical_and_name_who_and_where() {
    let mut window = with(filling(0, 0.0), 40);
    let files = window.files.as_mut().unwrap();
    files.refused = vec![refused(Some(UPLOADS), libc::ENOSPC, 311)];
    let f = only(check(&window));
    assert_eq!(f.severity, Severity::Critical);
    assert_eq!(
        f.title,
        "No space left on device: the inodes are used up, the blocks are not"
    );
    let text = summary(&f);
    for words in [
        "311 calls were refused with ENOSPC on /var/www/uploads (/dev/sdb1, ext4): 0 of 65536 inodes are free; \
         most calls were of php-fpm8.2 (3 processes).",
        "600000000 of 1073741824 are free (44 % used)",
        "php-fpm8.2 (20 processes) creates 4/s of the 4/s files created there, in /var/www/uploads/css, and removes none.",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let place = f.culprit.place.unwrap();
    assert_eq!(place.device, UPLOADS);
    assert_eq!(
        place.directory.as_deref(),
        Some(&b"/var/www/uploads/css"[..])
    );
}

#[test]
fn the_end_is_foretold_with_its_uncertainty_and_what_ends_first() {
    let f = only(check(&with(filling(1500, 30.0), 300)));
    assert_eq!(f.severity, Severity::Warning);
    assert_eq!(
        f.title,
        "A file system runs out of inodes before it runs out of blocks"
    );
    assert_eq!(f.confidence.level, Level::Medium);
    let text = summary(&f);
    for words in [
        "The inodes of /var/www/uploads (/dev/sdb1, ext4) end in 50000 ms (45455 ms to 55556 ms at the paces seen): \
         1500 of 65536 inodes are free, and 30 more are taken each second.",
        "at the present rate they last 4882813 ms",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[test]
fn an_end_far_away_is_an_info_and_beyond_a_week_nothing() {
    // 20 h at this rate: worth knowing, and no more.
    let f = only(check(&with(filling(60_000, 0.8), 100)));
    assert_eq!(f.severity, Severity::Info);
    // Two days: only where half are in use, which no cleanup has prevented.
    quiet(&check(&with(filling(60_000, 0.3), 100)));
    let f = only(check(&with(filling(30_000, 0.15), 100)));
    assert_eq!(f.severity, Severity::Info);
    // The same where 90 % are used: there is a day left to act.
    let f = only(check(&with(filling(6_000, 0.4), 100)));
    assert_eq!(f.severity, Severity::Warning);
    quiet(&check(&with(filling(30_000, 0.04), 100)));
}

#[test]
fn an_archive_that_is_unpacked_is_no_warning() {
    // 3,000 files a second on a disk with 6 million free inodes: 33 minutes, if it went on.
    let mut files = healthy();
    files.file_systems[0].inodes_trend = taking(3000.0, 6_000_000);
    files.creators.push(creator(work(
        team("tar", 99, 1),
        ROOT,
        "/srv/linux",
        30_000,
        9000,
    )));
    let verdict = check(&window_with(files));
    assert!(
        verdict
            .findings
            .iter()
            .all(|f| f.severity == Severity::Info)
    );
}

#[test]
fn too_few_looks_and_too_few_files_are_no_rate() {
    let mut fs = filling(1500, 30.0);
    fs.looks = 4;
    quiet(&check(&with(fs, 300)));
    let mut fs = filling(100, 3.0);
    fs.inodes = 1000;
    quiet(&check(&with(fs, 30)));
}

#[test]
fn hardly_any_left_is_told_also_without_a_rate() {
    let still = FileSystem {
        inodes_trend: Trend {
            range_per_s: Some((0.0, 0.0)),
            least: 200,
            ..Trend::default()
        },
        ..filling(200, 1.0)
    };
    let f = only(check(&with(still.clone(), 20)));
    assert_eq!(f.severity, Severity::Warning);
    assert!(summary(&f).starts_with("200 of 65536 inodes are free of /var/www/uploads"));
    // Nobody adds to it.
    let f = only(check(&with(still.clone(), 0)));
    assert_eq!(f.severity, Severity::Info);
    // Nobody can.
    let mut image = still;
    image.mount.options = b"ro,relatime".to_vec();
    quiet(&check(&with(image, 0)));
}

#[test]
fn blocks_that_end_first_are_called_so() {
    let mut fs = filling(60_000, 1.0);
    fs.available_bytes = 20_000_000;
    fs.bytes = taking(20_000_000.0, 20_000_000);
    let f = only(check(&with(fs.clone(), 10)));
    assert_eq!(f.title, "A file system runs out of blocks");
    assert!(summary(&f).contains("Inodes are not short: 60000 of 65536 are free"));
    fs.bytes.least = 0;
    fs.available_bytes = 0;
    let mut window = with(fs, 10);
    window.files.as_mut().unwrap().refused = vec![refused(Some(UPLOADS), libc::ENOSPC, 3)];
    let f = only(check(&window));
    assert_eq!(f.title, "No space left on device: the blocks are used up");
    assert!(remedies(&f).starts_with("find what takes the space"));
}

#[test]
fn errors_with_another_cause_are_not_judged() {
    let mut files = healthy();
    files.refused = vec![
        refused(Some(ROOT), libc::ENOSPC, 5),
        refused(Some(ROOT), libc::EDQUOT, 7),
        refused(None, libc::ENOSPC, 1),
    ];
    let verdict = check(&window_with(files));
    assert!(verdict.findings.is_empty(), "{:#?}", verdict.findings);
    let all = verdict.not_judged.join("\n");
    for words in [
        "5 openat of php-fpm8.2 on / failed with ENOSPC though inodes and blocks were free",
        "7 openat of php-fpm8.2 on / failed with EDQUOT: a quota is used up",
        "1 openat of php-fpm8.2 on a file system that is not known failed with ENOSPC",
    ] {
        assert!(all.contains(words), "{words}: {all}");
    }
}

#[test]
fn btrfs_has_no_inodes_to_run_out_of() {
    let mut fs = filling(0, 0.0);
    (fs.inodes, fs.free_inodes) = (0, 0);
    fs.inodes_trend = Trend::default();
    fs.mount.fs_type = b"btrfs".to_vec();
    let verdict = check(&with(fs, 5000));
    assert!(verdict.findings.is_empty());
    assert!(verdict.not_judged[0].contains("btrfs, which has no fixed number"));
}

#[test]
fn an_overlay_and_what_it_lies_on_are_one() {
    let overlay = Device {
        major: 0,
        minor: 50,
    };
    let mut window = with(filling(1500, 30.0), 0);
    let files = window.files.as_mut().unwrap();
    files.file_systems.push(FileSystem {
        space_of: Some(UPLOADS),
        ..FileSystem {
            device: overlay,
            ..filling(1500, 30.0)
        }
    });
    files.creators.push(creator(Work {
        device: overlay,
        ..css(300)
    }));
    let f = only(check(&window));
    assert!(summary(&f).contains("php-fpm8.2 (20 processes) creates 30/s"));
    assert!(warns_of_inodes(&window, overlay) && warns_of_inodes(&window, UPLOADS));
    assert!(!warns_of_inodes(&window, ROOT));
}

#[test]
fn remedies_come_safest_first() {
    let text = remedies(&only(check(&with(filling(1500, 30.0), 300))));
    let at = |words: &str| {
        text.find(words)
            .unwrap_or_else(|| panic!("{words}: {text}"))
    };
    let order = [
        at("remove what nobody needs from /var/www/uploads/css"),
        at("stop php-fpm8.2 (20 processes) from creating a file for each visit"),
        at("a file system of its own"),
        at("make it again with more inodes, mkfs.ext4 -i 8192"),
    ];
    assert!(order.is_sorted(), "{text}");
}

#[test]
fn a_file_system_is_made_again_only_with_more_inodes() {
    let mkfs = |bytes: u64| {
        let fs = FileSystem {
            total_bytes: bytes,
            available_bytes: bytes / 10,
            ..filling(1500, 30.0)
        };
        let text = remedies(&only(check(&with(fs, 300))));
        let (_, rest) = text.split_once("mkfs.ext4 -i ")?;
        let (ratio, _) = rest.split_once(':')?;
        ratio.parse::<u64>().ok()
    };
    // Large files are on it so far, and it has an inode for each 32 kB: there will be one for half of that.
    assert_eq!(mkfs(65_536 * 32_768), Some(16_384));
    assert_eq!(mkfs(65_536 * 16_384), Some(8192));
    // It has one for each block already.
    assert_eq!(mkfs(65_536 * 4096), None);
    assert_eq!(mkfs(65_536 * 3700), None);
}

#[test]
fn without_its_probes_it_says_so() {
    let mut window = window_with(healthy());
    let off = |p: &mut crate::attach::ProbeStatus| p.state = State::Off("old kernel".to_owned());
    window
        .probes
        .iter_mut()
        .filter(|p| p.id == "no_space")
        .for_each(off);
    let verdict = check(&window);
    assert_eq!(
        verdict.not_judged,
        ["calls refused for want of space: probe no_space is off: old kernel"]
    );
    window.files = None;
    assert_eq!(check(&window).not_judged, ["files were not watched"]);
}
