//! bpftrace beside the tool: an independent count or time of the same thing.

use std::{
    io::Read as _,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, ensure};

use crate::{child::Spawned, programs, web};

/// A bpftrace that is attached.
pub struct Bpftrace(Spawned);

impl Bpftrace {
    /// Starts a script that has so many programs, and waits until they are attached.
    pub fn start(script: &str, its_programs: usize) -> anyhow::Result<Self> {
        // It looks for tracefs, which need not be mounted: a mount of its own, which ends with it.
        let mount = "mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null; exec \"$@\"";
        let mut bpftrace = Spawned::start(
            Command::new("unshare")
                .args(["-m", "sh", "-c", mount, "sh"])
                .arg(web::program("bpftrace", "bpftrace")?)
                .args(["-e", script])
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::null()),
        )?;
        let ended = programs::wait_until(&mut bpftrace.process, |pid| {
            programs::held_by(pid).0.len() == its_programs
        })?;
        ensure!(!ended, "bpftrace ended at once");
        // From loaded to attached.
        std::thread::sleep(Duration::from_millis(500));
        Ok(Self(bpftrace))
    }

    /// Ends it; answers what it printed.
    pub fn end(mut self) -> anyhow::Result<String> {
        self.0.signal(libc::SIGINT);
        let mut text = String::new();
        let stdout = self.0.process.stdout.as_mut().context("no pipe")?;
        stdout.read_to_string(&mut text)?;
        Ok(text)
    }
}

/// A bpftrace that times the commits of one ext4 journal.
pub struct Commits(Bpftrace);

impl Commits {
    /// Of the file system on this device: major and minor number.
    pub fn start((major, minor): (u32, u32)) -> anyhow::Result<Self> {
        let dev = major << 20 | minor;
        let script = format!(
            "tracepoint:jbd2:jbd2_start_commit /args->dev == {dev}/ {{ @start = nsecs; }} \
             tracepoint:jbd2:jbd2_end_commit /args->dev == {dev} && @start/ \
             {{ printf(\"commit %llu\\n\", nsecs - @start); @start = 0; }}"
        );
        Bpftrace::start(&script, 2).map(Self)
    }

    /// Ends it: how long each commit took, ns, in order of their length.
    pub fn end(self) -> anyhow::Result<Vec<u64>> {
        let text = self.0.end()?;
        let mut took: Vec<u64> = text
            .lines()
            .filter_map(|line| line.strip_prefix("commit ")?.parse().ok())
            .collect();
        took.sort_unstable();
        Ok(took)
    }
}

/// The median to compare with one that the tool has of so many: of as many, ours. One more or fewer may end between the two ends
/// of the watches; theirs is then no further than the neighbours of ours, and this is the one next to `told`.
pub fn median_beside(sorted: &[u64], of: Option<f64>, told: Option<f64>) -> f64 {
    let median = quantile(sorted, 0.5);
    let (Some(told), Ok(at)) = (told, sorted.binary_search(&median)) else {
        return median as f64;
    };
    if of == Some(sorted.len() as f64) {
        return median as f64;
    }
    let last = sorted.len() - 1;
    let (below, above) = (sorted[at.saturating_sub(1)], sorted[(at + 1).min(last)]);
    told.clamp(below as f64, above as f64)
}

/// The value that a share of them, in order of their size, does not exceed, as the tool has it: the nearest rank.
pub fn quantile(sorted: &[u64], q: f64) -> u64 {
    let rank = (sorted.len() as f64 * q).ceil() as usize;
    sorted
        .get(rank.clamp(1, sorted.len().max(1)) - 1)
        .copied()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::median_beside;

    #[test]
    fn a_median_of_one_more_lies_between_the_neighbours() {
        let ours = [10, 20, 40, 80];
        assert_eq!(median_beside(&ours, Some(4.0), Some(40.0)), 20.0);
        assert_eq!(median_beside(&ours, Some(5.0), Some(30.0)), 30.0);
        assert_eq!(median_beside(&ours, Some(5.0), Some(50.0)), 40.0);
        assert_eq!(median_beside(&ours, Some(3.0), None), 20.0);
        assert_eq!(median_beside(&[], Some(1.0), Some(7.0)), 0.0);
    }
}
