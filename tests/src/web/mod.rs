//! Real servers on 127.0.0.1 with directories and settings of their own, and a client that counts.

mod backend;
mod client;
mod gunicorn;
mod haproxy;
mod mariadb;
mod pages;
mod redis;
mod stack;
mod unbound;

pub use backend::{Backend, Page};
pub use client::{Answer, get, get_many, get_paced};
pub use gunicorn::Gunicorn;
pub use haproxy::{Haproxy, Pass, Site, Visits, visit};
pub use mariadb::Mariadb;
pub use redis::{Redis, RedisCounts};
pub use stack::{AccessLine, FastCgi, Settings, Stack};
pub use unbound::{ResolvConf, Unbound};

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};

/// A port on 127.0.0.1 that was free a moment ago, for servers that cannot be told to pick one.
pub fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Waits until something listens.
pub fn wait_for_listener(addr: SocketAddr, log: &Path) -> anyhow::Result<()> {
    wait_for(&format!("a listener on {addr}"), log, || {
        TcpStream::connect(addr).is_ok()
    })
}

/// Waits until a condition holds; quotes the server's log when it does not within ten seconds.
pub fn wait_for(what: &str, log: &Path, ready: impl Fn() -> bool) -> anyhow::Result<()> {
    let begun = Instant::now();
    while !ready() {
        ensure!(
            begun.elapsed() < Duration::from_secs(10),
            "waited 10 s for {what}; its log: {}",
            std::fs::read_to_string(log).unwrap_or_default()
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// A program of a Debian package.
pub fn program(name: &str, package: &str) -> anyhow::Result<PathBuf> {
    for dir in ["/usr/sbin", "/usr/bin"] {
        let path = Path::new(dir).join(name);
        if path.is_file() {
            return Ok(path);
        }
    }
    anyhow::bail!("{name} is missing: apt-get install {package} (`cargo xtask test` does it)")
}

/// Lets the workers, which are not root, into a scratch directory.
pub fn open_to_all(dir: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755))
        .with_context(|| format!("chmod {}", dir.display()))
}

/// A directory that the workers, which are not root, may write to; it is made where there is none.
pub fn writable_to_all(dir: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::create_dir_all(dir)?;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o777))
        .with_context(|| format!("chmod {}", dir.display()))
}

/// A page that nginx answers by itself.
pub const PLAIN: &str = "/plain";

/// The same, but nginx closes the connection once the client has asked nothing more for a second.
pub const SHORT: &str = "/short";

/// The same, but nginx closes its sending half at once, and keeps reading until the client closes, for two minutes at most.
pub const LINGERS: &str = "/lingers";

/// Runs `wrk` for a time and returns its report.
pub fn wrk(url: &str, connections: u32, time: Duration) -> anyhow::Result<String> {
    run_wrk(&[], url, connections, time)
}

/// The same with a connection for each request; requests answered per second.
pub fn wrk_short(url: &str, connections: u32, time: Duration) -> anyhow::Result<f64> {
    let text = run_wrk(&["-HConnection: close"], url, connections, time)?;
    requests_per_s(&text)
}

/// Requests answered per second, by wrk's report.
pub fn requests_per_s(report: &str) -> anyhow::Result<f64> {
    let rate = report
        .lines()
        .find_map(|l| l.strip_prefix("Requests/sec:")?.trim().parse().ok());
    rate.with_context(|| format!("wrk tells no rate: {report}"))
}

fn run_wrk(
    options: &[&str],
    url: &str,
    connections: u32,
    time: Duration,
) -> anyhow::Result<String> {
    let out = Command::new(program("wrk", "wrk")?)
        .args(options)
        .args([
            "-t1",
            &format!("-c{connections}"),
            &format!("-d{}s", time.as_secs()),
            url,
        ])
        .output()?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    ensure!(
        out.status.success(),
        "wrk: {text}{}",
        String::from_utf8_lossy(&out.stderr)
    );
    Ok(text)
}
