//! One scenario for each signal that no other file has without Debian's packages: these run in the guests of `cargo xtask vm`, too.
//! See `GUEST` in main.rs for all of them.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, ensure};
use probe_tests::{
    child::{self, Child},
    dns,
    ext4::Ext4,
    netns::Netns,
    report::{Report, diagnose, evidence},
    sys,
};

/// Lookups that nobody answers, each asked twice.
const LOOKUPS: u64 = 8;
/// How long a client waits for an answer, ms.
const WAIT_MS: i32 = 300;

/// U02: a name server that listens and does not answer costs a client its time-outs.
pub fn a_silent_name_server_is_named_with_the_time_that_it_costs() -> anyhow::Result<()> {
    let _netns = Netns::enter()?;
    let at = dns::server("127.0.0.1");
    let _silent = {
        use std::os::fd::FromRawFd as _;
        let fd = dns::udp_server(&at);
        // SAFETY: new, owned by nobody else.
        unsafe { std::os::fd::OwnedFd::from_raw_fd(fd) }
    };
    let mut client = child::fork(move |link| {
        sys::set_comm(b"asks-in-vain");
        link.wait();
        let begun = sys::now_ns();
        let mut waited = 0;
        for n in 0..LOOKUPS {
            let fd = dns::udp_client(&at);
            let question = dns::question(n as u16, &format!("host{n}.test"), dns::A);
            for _ in 0..2 {
                dns::send(fd, &question, None);
                let asked = sys::now_ns();
                assert!(!dns::wait(fd, WAIT_MS), "an answer");
                waited += sys::now_ns() - asked;
            }
            let _ = sys::close(fd);
        }
        link.send(&[waited, sys::now_ns() - begun]);
        link.wait();
    })?;
    let tool = diagnose(client.pid)?;
    client.go()?;
    let waited = client.recv()?[0] as f64;
    let output = tool.interrupt()?;
    let report = Report::of(&output)?;
    let finding = report.finding("U02")?;
    let asked = |what: &str| evidence(finding, "questions", what);
    let told = (asked("asked"), asked("retries"));
    ensure!(
        told == (Some(2.0 * LOOKUPS as f64), Some(LOOKUPS as f64)),
        "{told:?}: {finding}"
    );
    let lost = evidence(finding, "time-outs", "in all").context("no time")?;
    ensure!(
        (lost - waited).abs() <= waited * 0.05,
        "lost {lost} ns, the client waited {waited}: {finding}"
    );
    ensure!(output.code == Some(1), "exit code {:?}", output.code);
    Ok(())
}

/// A process that makes files of a thousand bytes in a directory, at most a thousand a second (a disk of 60,000 blocks is to be
/// large enough), syncing every `each`th, for so long; it answers how many it made, and how long it was in fsync, ns.
fn writer(name: &'static str, dir: &Path, each: u64, time: Duration) -> anyhow::Result<Child> {
    let dir = dir.to_owned();
    child::fork(move |link| {
        sys::set_comm(name.as_bytes());
        link.wait();
        let begun = sys::now_ns();
        let (mut made, mut synced_ns) = (0, 0);
        while sys::now_ns() - begun < time.as_nanos() as u64 {
            let path = dir.join(format!("page-{made}.css"));
            std::fs::write(&path, [b'x'; 1000]).expect("a file");
            made += 1;
            if made % each == 0 {
                let file = std::fs::File::open(&path).expect("open");
                let began = sys::now_ns();
                file.sync_all().expect("fsync");
                synced_ns += sys::now_ns() - began;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        link.send(&[made, synced_ns]);
        link.wait();
    })
}

/// S02: whoever makes many small files is named with their directory, and every one is counted.
pub fn a_storm_of_small_files_is_counted_with_its_directory() -> anyhow::Result<()> {
    let disk = Ext4::fast()?;
    let dir = disk.dir.join("css");
    std::fs::create_dir(&dir)?;
    let mut writer = writer("storms", &dir, u64::MAX, Duration::from_secs(3))?;
    let tool = diagnose(writer.pid)?;
    writer.go()?;
    let made = writer.recv()?[0] as f64;
    let report = Report::of(&tool.interrupt()?)?;
    let finding = report.finding("S02")?;
    let told = evidence(finding, "files", "created");
    ensure!(told == Some(made), "{told:?} of {made}: {finding}");
    let place = &finding["culprit"]["place"]["file.directory"];
    ensure!(
        place.as_str().is_some_and(|d| Path::new(d) == dir)
            && finding["culprit"]["group"] == "storms",
        "{}",
        finding["culprit"]
    );
    Ok(())
}

/// S01: whoever waits in fsync on a slow disk is the victim of its journal.
pub fn a_slow_journal_is_named_with_who_waits() -> anyhow::Result<()> {
    // Why without delayed allocation: see journal_stall.rs.
    let disk = Ext4::with(Some(20), "nodelalloc")?;
    let mut writer = writer("waits-in-fsync", &disk.dir, 4, Duration::from_secs(6))?;
    let tool = diagnose(writer.pid)?;
    writer.go()?;
    let synced = *writer.recv()?.get(1).context("no time")? as f64;
    let output = tool.interrupt()?;
    let report = Report::of(&output)?;
    let finding = report.finding("S01")?;
    let place = &finding["culprit"]["place"]["system.filesystem.mountpoint"];
    ensure!(
        place == &disk.dir.display().to_string() && output.code == Some(1),
        "exit code {:?}, {place}: {finding}",
        output.code
    );
    let text = finding["summary"].to_string();
    ensure!(text.contains("waits-in-fsync"), "{text}");
    let lost = finding["evidence"].as_array().into_iter().flatten();
    let lost: f64 = lost
        .filter(|e| e["about"] == "lost")
        .filter_map(|e| e["value"].as_f64())
        .sum();
    ensure!(
        lost <= synced * 1.05 && lost >= synced / 4.0,
        "{lost} ns lost behind commits, in fsync for {synced} ns: {finding}"
    );
    Ok(())
}
