//! An HTTP client that asks exactly as many times as it is told to.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};

/// One answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Body.
    pub body: String,
}

/// Asks once, on a connection of its own.
pub fn get(server: SocketAddr, path: &str) -> anyhow::Result<Answer> {
    let mut stream = TcpStream::connect(server)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: test\r\n\r\n")?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text
        .split_once("\r\n\r\n")
        .context("an answer without a head")?;
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok());
    Ok(Answer {
        status: status.context("an answer without a status")?,
        body: body.to_owned(),
    })
}

/// Asks `count` times, never more than `at_once` at a time. Every answer must be a 200.
pub fn get_many(
    server: SocketAddr,
    path: &str,
    count: usize,
    at_once: usize,
) -> anyhow::Result<Vec<Answer>> {
    let next = AtomicUsize::new(0);
    let answers = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                while next.fetch_add(1, Ordering::Relaxed) < count {
                    let answer = get(server, path);
                    if let Ok(mut all) = answers.lock() {
                        all.push(answer);
                    }
                }
            });
        }
    });
    let answers = answers.into_inner().unwrap_or_default();
    let answers = answers.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    ensure!(
        answers.len() == count,
        "{} answers of {count}",
        answers.len()
    );
    for answer in &answers {
        ensure!(answer.status == 200, "{path}: {answer:?}");
    }
    Ok(answers)
}

/// Asks `per_s` times a second, never more than `at_once` at a time, until `enough` says so of an answer; all answers. One
/// that does not come, or none that is enough within a minute, is an error.
pub fn get_paced(
    server: SocketAddr,
    path: &str,
    per_s: u32,
    at_once: usize,
    enough: impl Fn(&Answer) -> bool + Sync,
) -> anyhow::Result<Vec<Answer>> {
    const PATIENCE: Duration = Duration::from_secs(60);
    let begun = Instant::now();
    let (next, done) = (AtomicU32::new(0), AtomicBool::new(false));
    let answers = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) && begun.elapsed() < PATIENCE {
                    let turn = next.fetch_add(1, Ordering::Relaxed);
                    let due = Duration::from_secs(1) * turn / per_s;
                    std::thread::sleep(due.saturating_sub(begun.elapsed()));
                    let answer = get(server, path);
                    if answer.as_ref().map_or(true, &enough) {
                        done.store(true, Ordering::Relaxed);
                    }
                    if let Ok(mut all) = answers.lock() {
                        all.push(answer);
                    }
                }
            });
        }
    });
    let answers = answers.into_inner().unwrap_or_default();
    let answers = answers.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    ensure!(
        done.into_inner(),
        "{path}: {} answers in a minute, none of which was enough; the last: {:?}",
        answers.len(),
        answers.last()
    );
    Ok(answers)
}
