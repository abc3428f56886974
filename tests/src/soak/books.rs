//! What the makers of churn did, beside what the tool counted of it and what it says it has lost.
//!
//! Everything happens in a network namespace of its own, so that the kernel's counters there are a third account, and each kind
//! of thing has something that nobody else on the machine does.

use std::{
    collections::BTreeMap,
    fmt,
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};

use crate::netns;

/// How long a look is waited for; they come every five seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// One kind of thing.
#[derive(Clone, Debug)]
pub struct Book {
    /// What is counted.
    pub what: &'static str,
    /// By those that made them.
    pub made: u64,
    /// By somebody else who knows: a server's log, the kernel.
    pub others: Option<(&'static str, u64)>,
    /// By the tool.
    pub seen: u64,
    /// What the tool says it has lost where these are counted.
    pub lost: u64,
}

impl Book {
    /// What was made is what was seen and what was lost, by everybody's account. The tool counts losses of all kinds of records
    /// together, everybody's on the machine: they explain what is missing up to their number, and without any, nothing may be
    /// missing. Nothing explains what was not made.
    pub fn is_balanced(&self) -> bool {
        let agree = self.others.is_none_or(|(_, count)| count == self.made);
        let missing = self.made.checked_sub(self.seen);
        agree && missing.is_some_and(|missing| missing <= self.lost)
    }
}

impl fmt::Display for Book {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            what,
            made,
            seen,
            lost,
            ..
        } = self;
        write!(f, "{what:<14} made {made:>8}")?;
        if let Some((who, count)) = self.others {
            write!(f, ", {who} {count}")?;
        }
        let verdict = match self.is_balanced() {
            true if made == seen => "exact",
            true => "some of what was lost",
            false => "WRONG",
        };
        write!(f, "; seen {seen:>8}, lost {lost}: {verdict}")
    }
}

/// What the tool has counted, as its metrics say.
#[derive(Clone, Debug)]
pub struct Counted(String);

impl Counted {
    /// Asks `serve` at its socket.
    pub fn ask(socket: &Path) -> anyhow::Result<Self> {
        let mut stream = UnixStream::connect(socket)
            .with_context(|| format!("no metrics at {}", socket.display()))?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: soak\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let (head, body) = text.split_once("\r\n\r\n").context("no head")?;
        ensure!(head.starts_with("HTTP/1.1 200"), "{head}");
        Ok(Self(body.to_owned()))
    }

    /// Asks until so many looks were taken since `before`: what happened before the first of them is in it.
    pub fn after(socket: &Path, looks: u64, before: Option<&Self>) -> anyhow::Result<Self> {
        let begun = Instant::now();
        let wanted = before.map_or(0, Self::looks) + looks;
        loop {
            match Self::ask(socket) {
                Ok(counted) if counted.looks() >= wanted => return Ok(counted),
                // Before the first look there is nothing.
                Ok(_) | Err(_) if begun.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(200));
                }
                Ok(counted) => anyhow::bail!("no look in {PATIENCE:?}:\n{}", counted.0),
                Err(error) => return Err(error),
            }
        }
    }

    fn looks(&self) -> u64 {
        self.sum("stallscope_looks_total", &[])
    }

    /// The sum of a counter's rows whose labels hold all of these.
    pub fn sum(&self, name: &str, labels: &[&str]) -> u64 {
        let rows = self.0.lines().filter(|line| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with(['{', ' ']))
                && labels.iter().all(|label| line.contains(label))
        });
        rows.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .map(|value| value as u64)
            .sum()
    }

    /// What it says it has lost, by what was full or unseen.
    pub fn losses(&self) -> BTreeMap<String, u64> {
        let rows = self.0.lines().filter_map(|line| {
            let rest = line.strip_prefix("stallscope_losses_total{stallscope_loss=\"")?;
            let (loss, value) = rest.split_once("\"} ")?;
            Some((loss.to_owned(), value.parse::<f64>().ok()? as u64))
        });
        rows.filter(|(_, count)| *count > 0).collect()
    }

    /// The sum of these losses.
    pub fn lost(&self, of: &[&str]) -> u64 {
        let losses = self.losses();
        of.iter().filter_map(|loss| losses.get(*loss)).sum()
    }
}

/// The kernel's counters of the calling thread's network namespace.
#[derive(Clone, Copy, Debug)]
pub struct Kernel {
    /// TCP connections opened, and taken.
    connections: u64,
}

impl Kernel {
    /// As they are now.
    pub fn now() -> anyhow::Result<Self> {
        let opened = netns::counter("Tcp", "ActiveOpens")?;
        Ok(Self {
            connections: opened + netns::counter("Tcp", "PassiveOpens")?,
        })
    }

    /// Ends of connections since then: each has two of them here.
    pub fn ends_since(self, before: Self) -> u64 {
        self.connections - before.connections
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# TYPE stallscope_file_created counter
stallscope_file_created_total{stallscope_group=\"soak\",stallscope_directory=\"/tmp/a b\"} 7
stallscope_file_created_total{stallscope_group=\"soak\",stallscope_directory=\"/tmp\"} 4.0
stallscope_file_created_total{stallscope_group=\"php\",stallscope_directory=\"/tmp\"} 100
stallscope_losses_total{stallscope_loss=\"ring_full\"} 3
stallscope_losses_total{stallscope_loss=\"tasks_full\"} 0
stallscope_looks_total 12
";

    #[test]
    fn rows_of_a_label_add_up() {
        let counted = Counted(TEXT.to_owned());
        let group = "stallscope_group=\"soak\"";
        assert_eq!(counted.sum("stallscope_file_created_total", &[group]), 11);
        assert_eq!(counted.looks(), 12);
        assert_eq!(counted.losses(), BTreeMap::from([("ring_full".into(), 3)]));
        assert_eq!(counted.lost(&["ring_full", "stats_full"]), 3);
    }

    #[test]
    fn books_are_balanced_or_wrong() {
        let book = |made, others, seen, lost| Book {
            what: "x",
            made,
            others,
            seen,
            lost,
        };
        assert!(book(5, None, 5, 0).is_balanced());
        assert!(book(5, Some(("kernel", 5)), 3, 2).is_balanced());
        // Too few, too many, and others who say something else.
        assert!(!book(5, None, 4, 0).is_balanced());
        assert!(!book(5, None, 2, 2).is_balanced());
        assert!(!book(5, None, 6, 9).is_balanced());
        assert!(!book(5, Some(("kernel", 6)), 5, 0).is_balanced());
    }
}
