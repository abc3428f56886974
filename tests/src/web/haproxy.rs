//! HAProxy in front of a server, and visitors who come for one page and leave.

use std::{
    fs,
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::PathBuf,
    process::{Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};

use super::{open_to_all, program, wait_for};
use crate::child::Spawned;

/// How HAProxy passes on what comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// Bytes. When the visitor closes, it closes its own connection to the server, before the server does: each leaves a
    /// local port in TIME_WAIT. A connect that fails is not tried again.
    Bytes,
    /// Requests, each on a connection of its own to the server, which is told to close it. (Where HAProxy closes first here,
    /// it does so by a reset, and nothing is left in TIME_WAIT.)
    Requests,
}

/// An address that HAProxy listens on, and the server behind it.
#[derive(Clone, Copy, Debug)]
pub struct Site<'a> {
    /// What it is called in HAProxy's own counters.
    pub name: &'a str,
    /// What it does with connections.
    pub pass: Pass,
    /// Where it listens.
    pub on: SocketAddr,
    /// The server.
    pub server: SocketAddr,
}

/// A running HAProxy; dropping it ends it and removes its directory.
pub struct Haproxy {
    /// Its process id; it is one process.
    pub pid: u32,
    socket: PathBuf,
    _server: Spawned,
    _dir: tempfile::TempDir,
}

impl Haproxy {
    /// Starts it for these sites, and waits until it answers; it has connected to no server then.
    pub fn start(sites: &[Site]) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("haproxy-").tempdir()?;
        open_to_all(dir.path())?;
        let (conf, log) = (dir.path().join("haproxy.cfg"), dir.path().join("log"));
        let socket = dir.path().join("stats");
        let mut text = format!(
            "global\n maxconn 4000\n stats socket {} mode 600\n\
             defaults\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n",
            socket.display()
        );
        for Site {
            name,
            pass,
            on,
            server,
        } in sites
        {
            let how = match pass {
                Pass::Bytes => " mode tcp\n retries 0\n",
                // Visitors who leave take what waits for a server with them.
                Pass::Requests => {
                    " mode http\n option http-server-close\n option abortonclose\n http-reuse never\n \
                     http-request set-header Accept-Encoding gzip\n"
                }
            };
            text.push_str(&format!(
                "listen {name}\n{how} bind {on}\n server web {server}\n"
            ));
        }
        fs::write(&conf, text)?;
        let out = fs::File::create(&log)?;
        let server = Spawned::start(
            Command::new(program("haproxy", "haproxy")?)
                .arg("-db")
                .arg("-f")
                .arg(&conf)
                .stdin(Stdio::null())
                .stdout(out.try_clone()?)
                .stderr(out),
        )?;
        let started = Self {
            pid: server.process.id(),
            socket,
            _server: server,
            _dir: dir,
        };
        wait_for("HAProxy", &log, || started.show_stat().is_ok())?;
        Ok(started)
    }

    /// A counter of HAProxy's own for the server side of a site, such as `econ`: connects that failed.
    pub fn counter(&self, site: &str, field: &str) -> anyhow::Result<u64> {
        let text = self.show_stat()?;
        let mut lines = text.trim_start_matches("# ").lines();
        let names = lines.next().context("HAProxy says nothing")?;
        let at = names.split(',').position(|name| name == field);
        let at = at.with_context(|| format!("HAProxy has no {field}: {names}"))?;
        let row = lines.find(|line| line.starts_with(&format!("{site},BACKEND,")));
        let value = row.and_then(|row| row.split(',').nth(at));
        let value = value.with_context(|| format!("HAProxy has no site {site}: {text}"))?;
        value.parse().with_context(|| format!("{field}: {value}"))
    }

    fn show_stat(&self) -> anyhow::Result<String> {
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"show stat\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        ensure!(text.starts_with("# "), "HAProxy says {text:?}");
        Ok(text)
    }
}

/// What visitors counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Visits {
    /// They had their page.
    pub answered: u64,
    /// The connection ended without one.
    pub turned_away: u64,
}

/// So many visitors at once, at most: one who waits holds up no other.
const AT_ONCE: usize = 16;

/// `times` visitors, so many a second. Each connects, asks for a page whose body is `ok`, reads it, and closes before the
/// other side does.
pub fn visit(to: SocketAddr, times: u64, per_s: u64) -> anyhow::Result<Visits> {
    let begun = Instant::now();
    let next = AtomicU64::new(0);
    let all = Mutex::new(Ok(Visits::default()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                let mut own = Visits::default();
                let ended = loop {
                    let turn = next.fetch_add(1, Ordering::Relaxed);
                    if turn >= times {
                        break Ok(());
                    }
                    let due = Duration::from_nanos(turn * 1_000_000_000 / per_s);
                    std::thread::sleep(due.saturating_sub(begun.elapsed()));
                    match page(to) {
                        Ok(true) => own.answered += 1,
                        Ok(false) => own.turned_away += 1,
                        Err(error) => break Err(error),
                    }
                };
                if let Ok(mut all) = all.lock() {
                    match (&mut *all, ended) {
                        (Ok(sum), Ok(())) => {
                            sum.answered += own.answered;
                            sum.turned_away += own.turned_away;
                        }
                        (whole, Err(error)) => *whole = Err(error),
                        (Err(_), Ok(())) => {}
                    }
                }
            });
        }
    });
    let all = all.into_inner();
    all.unwrap_or_else(|_| bail!("a visitor panicked"))
}

/// Asks once: false when the connection was made and ended without an answer.
fn page(to: SocketAddr) -> anyhow::Result<bool> {
    let mut stream = TcpStream::connect(to).with_context(|| format!("a visitor of {to}"))?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut text = Vec::new();
    let mut part = [0; 1024];
    let mut ask = || -> std::io::Result<bool> {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")?;
        while !text.ends_with(b"\r\n\r\nok") {
            match stream.read(&mut part)? {
                0 => return Ok(false),
                n => text.extend_from_slice(&part[..n]),
            }
        }
        Ok(true)
    };
    match ask() {
        Ok(answered) => Ok(answered),
        Err(e) if matches!(e.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
            Ok(false)
        }
        Err(e) => Err(e).with_context(|| format!("a visitor of {to}")),
    }
}
