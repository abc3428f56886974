//! A real Redis that keeps nothing on disk, and what it says of itself.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::Context as _;

use super::{free_port, program, wait_for};
use crate::child::Spawned;

/// A running redis-server; dropping it ends it and removes its directory.
pub struct Redis {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Its process id.
    pub pid: u32,
    /// A connection of our own, to ask it over.
    control: BufReader<TcpStream>,
    /// How often it was asked.
    asked: u64,
    _server: Spawned,
    _dir: tempfile::TempDir,
}

/// What Redis counts, but for what comes of asking it.
#[derive(Clone, Copy, Debug)]
pub struct RedisCounts {
    /// Commands that it has done.
    pub commands: u64,
    /// Connections that it has accepted.
    pub connections: u64,
}

impl Redis {
    /// Starts it and waits until it answers.
    pub fn start() -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("redis-").tempdir()?;
        let log = dir.path().join("redis.log");
        let port = free_port()?;
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        let server = Spawned::start(
            Command::new(program("redis-server", "redis-server")?)
                .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
                .args(["--save", "", "--appendonly", "no", "--daemonize", "no"])
                .args(["--tcp-backlog", "511"])
                .arg("--dir")
                .arg(dir.path())
                .arg("--logfile")
                .arg(&log)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        )?;
        // Not by connecting: each connection would be counted.
        wait_for("redis-server", &log, || {
            std::fs::read_to_string(&log).is_ok_and(|text| text.contains("Ready to accept"))
        })?;
        let control = TcpStream::connect(addr)?;
        control.set_read_timeout(Some(Duration::from_secs(10)))?;
        Ok(Self {
            addr,
            pid: server.process.id(),
            control: BufReader::new(control),
            asked: 0,
            _server: server,
            _dir: dir,
        })
    }

    /// What it has counted so far.
    pub fn counts(&mut self) -> anyhow::Result<RedisCounts> {
        self.control.get_mut().write_all(b"INFO stats\r\n")?;
        let mut head = String::new();
        self.control.read_line(&mut head)?;
        let length = head.trim_end().strip_prefix('$');
        let length: usize = length
            .and_then(|n| n.parse().ok())
            .with_context(|| format!("INFO answers {head:?}"))?;
        let mut text = vec![0; length + 2];
        self.control.read_exact(&mut text)?;
        let text = String::from_utf8_lossy(&text);
        let number = |name: &str| -> anyhow::Result<u64> {
            let mut lines = text.lines();
            let value = lines.find_map(|l| l.strip_prefix(name)?.strip_prefix(':')?.parse().ok());
            value.with_context(|| format!("INFO has no {name}: {text}"))
        };
        // A command counts once it is done: this one is not yet among them, those before it are.
        let commands = number("total_commands_processed")? - self.asked;
        self.asked += 1;
        Ok(RedisCounts {
            commands,
            connections: number("total_connections_received")? - 1,
        })
    }
}
