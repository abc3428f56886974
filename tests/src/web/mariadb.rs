//! A real MariaDB with a database of its own, and what it says of itself.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, ensure};

use super::{free_port, program, wait_for};
use crate::child::Spawned;

/// A running mariadbd; dropping it ends it. It has a database `shop` with a table `orders`, which its user `shop`, with the
/// same password, may fill over TCP (`insert.php` of the stack).
pub struct Mariadb {
    /// Where it listens on 127.0.0.1.
    pub port: u16,
    /// Its process id.
    pub pid: u32,
    socket: PathBuf,
    _server: Spawned,
    _dir: tempfile::TempDir,
}

/// What the client sends first.
const SETUP: &str = "CREATE DATABASE shop; \
    CREATE TABLE shop.orders (id INT AUTO_INCREMENT PRIMARY KEY, item INT, note VARCHAR(40)) ENGINE=InnoDB; \
    CREATE USER shop@'%' IDENTIFIED BY 'shop'; GRANT ALL ON shop.* TO shop@'%'";

impl Mariadb {
    /// Starts it with its data in a directory `data` of this one, which must be empty or not be there yet, and waits until it
    /// answers.
    pub fn start(at: &Path) -> anyhow::Result<Self> {
        let data = at.join("data");
        fs::create_dir_all(&data)?;
        let dir = tempfile::Builder::new().prefix("mariadb-").tempdir()?;
        let (socket, log) = (dir.path().join("socket"), dir.path().join("log"));
        // Small, so that a small disk has room for it.
        let options = [
            "--no-defaults".to_owned(),
            format!("--datadir={}", data.display()),
            "--innodb-log-file-size=16M".to_owned(),
            "--innodb-buffer-pool-size=64M".to_owned(),
        ];
        let made = Command::new(program("mariadb-install-db", "mariadb-server")?)
            .args(&options)
            .args(["--user=root", "--skip-test-db"])
            .arg("--auth-root-authentication-method=normal")
            .stdin(Stdio::null())
            .output()?;
        ensure!(
            made.status.success(),
            "mariadb-install-db: {}{}",
            String::from_utf8_lossy(&made.stdout),
            String::from_utf8_lossy(&made.stderr)
        );
        let port = free_port()?;
        let mut server = Spawned::start(
            Command::new(program("mariadbd", "mariadb-server")?)
                .args(&options)
                .args(["--user=root", "--bind-address=127.0.0.1"])
                .args(["--skip-name-resolve", "--skip-log-bin"])
                .arg(format!("--port={port}"))
                .arg(format!("--socket={}", socket.display()))
                .arg(format!("--log-error={}", log.display()))
                .arg(format!("--pid-file={}", dir.path().join("pid").display()))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        )?;
        // It writes out what it has changed before it ends.
        server.grace = Duration::from_secs(20);
        let started = Self {
            port,
            pid: server.process.id(),
            socket,
            _server: server,
            _dir: dir,
        };
        wait_for("mariadbd", &log, || started.ask("SELECT 1").is_ok())?;
        started.ask(SETUP)?;
        Ok(started)
    }

    /// What the command-line client prints.
    fn ask(&self, statements: &str) -> anyhow::Result<String> {
        let out = Command::new(program("mariadb", "mariadb-client")?)
            .args([
                "--no-defaults",
                "--user=root",
                "--batch",
                "--skip-column-names",
            ])
            .arg(format!("--socket={}", self.socket.display()))
            .args(["--execute", statements])
            .stdin(Stdio::null())
            .output()?;
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        ensure!(
            out.status.success(),
            "{statements}: {text}{}",
            String::from_utf8_lossy(&out.stderr)
        );
        Ok(text)
    }

    /// Its own counters, by name: `Com_commit`. Asking them is counted, too.
    pub fn status(&self) -> anyhow::Result<BTreeMap<String, u64>> {
        let text = self.ask("SHOW GLOBAL STATUS")?;
        let pair = |line: &str| {
            let (name, value) = line.split_once('\t')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        let all: BTreeMap<_, _> = text.lines().filter_map(pair).collect();
        ensure!(!all.is_empty(), "no counters: {text}");
        Ok(all)
    }

    /// One of them.
    pub fn counter(&self, name: &str) -> anyhow::Result<u64> {
        let value = self.status()?.get(name).copied();
        value.with_context(|| format!("MariaDB has no {name}"))
    }
}
